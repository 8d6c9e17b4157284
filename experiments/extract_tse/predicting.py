"""What every `--predict` of videos says and does, whatever was trained on their features."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.extract_tse.listing import ids_of
from experiments.extract_tse.manifest import KEPT, Manifest
from experiments.shared.errors import UserError, raise_all
from experiments.shared.files import unused
from experiments.shared.job import JobOptions
from experiments.shared.prediction import predict_inputs, write_scores
from experiments.vision.video import SUFFIXES

_SHOWN = 5  # notes on videos


def is_video(file: Path) -> bool:
    """Whether a file is one by its suffix."""
    return file.suffix.lower() in SUFFIXES


def sequences_or_videos(request: JobOptions, sequences: Sequence[str]) -> list[tuple[str, Path]]:
    """What `--predict` names: (id, file); of a folder the sequences, and videos where it has none.

    Args:
        request: says what.
        sequences: suffixes of files with features.

    Raises:
        UserError: see `experiments.shared.prediction.predict_inputs`.
    """
    inputs = predict_inputs(request, (*sequences, *SUFFIXES))
    if Path(request.predict).is_dir():
        found = [one for one in inputs if one[1].suffix.lower() in sequences]
        return found or inputs
    return inputs


def kept_manifest(folder: Path, what: str) -> Manifest:
    """Returns the manifest of the features that a run was trained on.

    Args:
        folder: of the run.
        what: begins the message: the flag that names videos.

    Raises:
        UserError: the run kept none.
    """
    path = folder / KEPT
    if not path.is_file():
        raise UserError(
            f"{what}: the run in {folder} was trained on features whose "
            "encoder is not known. Extract those of the videos as those of the training data were, "
            "and give the .npy [T, F] files. (Of data by python -m experiments.extract_tse the "
            "encoder is known; a run from before that was kept learns it by --resume.)"
        )
    return Manifest.read(path)


def refuse_if_all_failed(failed: Sequence[tuple[Path, str]], num_answers: int) -> None:
    """Raises where no input could be used.

    Args:
        failed: (file, reason) of those that could not be.
        num_answers: of those that could.

    Raises:
        UserError: lists them.
    """
    if not num_answers:
        raise_all([UserError(f"{file}: {why}") for file, why in failed], "--predict")


def tell(
    folder: Path, notes: Mapping[str, str], failed: Mapping[str, str], num_videos: int
) -> list[str]:
    """Says what was unusual about videos, and writes down those that could not be used.

    Args:
        folder: of the run.
        notes: by id.
        failed: the reason by id.
        num_videos: in all.

    Returns:
        Paragraphs to print.
    """
    told = []
    if notes:
        lines = sorted(f"{name}: {note}" for name, note in notes.items())
        more = f"\n... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        told.append("\n".join(lines[:_SHOWN]) + more)
    if failed:
        path = write_scores(folder / "predicted_failed.csv", ("id", "reason"), list(failed.items()))
        told.append(f"{len(failed)} of {num_videos} videos could not be used, see {path}")
    return told


def new_picture(folder: Path, kind: str, name: str) -> Path:
    """Returns the path of a picture of a video that does not exist yet, such as moments-ID.png."""
    stem = ids_of([name])[0].rpartition("/")[2]
    return unused(folder / f"{kind}-{stem}.png")
