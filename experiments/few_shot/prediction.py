"""`--predict`: new sequences or videos, classified by a few labelled ones with a trained model."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from experiments.extract_tse.predicting import (
    is_video,
    new_picture,
    refuse_if_all_failed,
    sequences_or_videos,
    tell,
)
from experiments.few_shot.matched import draw_matches, match
from experiments.few_shot.readers import Reader, Sample, open_reader
from experiments.few_shot.settings import Settings
from experiments.few_shot.training import run_name
from experiments.shared.csv_index import Inside, read_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.labels import number_labels
from experiments.shared.pictures import draw
from experiments.shared.prediction import OpenRun, open_run, say_classes
from experiments.vision.video import SUFFIXES
from tempalign.heads import FewShotHead


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also names the labelled sequences or videos, and which run.

    Returns:
        What to print: the nearest classes of one input; of several, the nearest one of the first
        few, and the file with all; and of videos where the pictures of their alignments are.

    Raises:
        UserError: the files, or the run, are not there or not usable; a sequence has not the
            features that the run was trained on; a video, whose features nothing says how to make.
    """
    run = open_run(request, methods=_methods, run_name=run_name, prefer=("tam",))
    reader = open_reader(request, run)
    supports = _Supports.read(request, run, reader)
    inputs = sequences_or_videos(request, reader.sequences)
    reader.check([file for _, file in inputs], f"--predict={request.predict}")
    logits: dict[int, np.ndarray] = {}
    drawn: dict[int, Sample] = {}
    notes: dict[str, str] = {}

    def take(number: int, query: Sample) -> None:
        logits[number] = supports.logits(reader.head, query.features)
        if query.note:
            notes[inputs[number][0]] = query.note
        if query.shown is not None and number < request.predict_pictures:
            drawn[number] = query

    reasons = reader.read([file for _, file in inputs], take)
    failed = [(inputs[number], reasons[number]) for number in sorted(reasons)]
    refuse_if_all_failed([(file, why) for (_, file), why in failed], len(logits))
    num_videos = sum(is_video(file) for _, file in inputs)
    told = tell(run.folder, notes, {name: why for (name, _), why in failed}, num_videos)
    numbers = sorted(logits)
    found = np.stack([logits[number] for number in numbers])
    names = dataclasses.replace(run, data={"class_names": list(supports.class_names)})
    text = say_classes(
        names,
        [inputs[number][0] for number in numbers],
        np.asarray(jax.nn.softmax(found)),
        supports.about,
        -found,
    )
    drawings = []
    for number in sorted(drawn):
        path = new_picture(run.folder, "matched", inputs[number][0])
        args = (inputs[number], drawn[number], logits[number])
        drawings.append((path.name, partial(_drawn, run, reader, supports, *args)))
        path.touch()  # the next one may have the same name
    made = draw(run.folder, drawings)
    if made.pictures:
        first, last = (run.folder / made.pictures[place].file for place in (0, -1))
        shown = f"{first}" + (f" to {last}" if first != last else "")
        told.append(f"How frames are aligned with those of the nearest classes: {shown}")
    return "\n\n".join([text, *told, *made.notes])


class _Supports:
    """The labelled samples.

    Attributes:
        class_names: [C].
        of_class: the samples of each.
    """

    def __init__(self, class_names: Sequence[str], of_class: Sequence[Sequence[Sample]]) -> None:
        self.class_names, self.of_class = tuple(class_names), of_class

    @classmethod
    def read(cls, request: Settings, run: OpenRun[Settings], reader: Reader) -> "_Supports":
        """Reads them; all must be usable.

        Raises:
            UserError: one is not.
        """
        del run
        flag = f"--predict_support={request.predict_support}"
        files, labels = read_support(
            request.predict_support, request.outside_paths, reader.sequences
        )
        reader.check(files, flag)
        class_names, numbers = number_labels(labels)
        samples: dict[int, Sample] = {}
        reasons = reader.read(files, samples.__setitem__)
        raise_all([UserError(f"{files[n]}: {why}") for n, why in sorted(reasons.items())], flag)
        rows = [np.flatnonzero(numbers == k).tolist() for k in range(len(class_names))]
        return cls(class_names, [[samples[row] for row in of_class] for of_class in rows])

    @property
    def about(self) -> str:
        """How many there are, in words."""
        counts = [len(one) for one in self.of_class]
        fewest, most = min(counts), max(counts)
        shots = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        return f"one of {len(counts)} classes of {shots} labelled sequences, "

    def logits(self, head: FewShotHead, query: np.ndarray) -> np.ndarray:
        """Returns the logits ``[C]`` of a query ``[T, F]``."""
        counts = np.array([len(one) for one in self.of_class])
        found = np.zeros(len(counts), np.float32)
        for shots in np.unique(counts):  # classes of as many samples are compared together
            chosen = np.flatnonzero(counts == shots)
            support = np.stack(
                [np.stack([one.features for one in self.of_class[k]]) for k in chosen.tolist()]
            )
            found[chosen] = _logits(head, query[None], support)[0]
        return found


def _drawn(
    run: OpenRun[Settings],
    reader: Reader,
    supports: _Supports,
    named: tuple[str, Path],
    query: Sample,
    logits: np.ndarray,
):
    """Draws a query beside the nearest samples of the two nearest classes."""
    assert query.shown is not None
    found = [
        match(
            reader.head, run.settings, run.method, query.features,
            supports.class_names[k], float(-logits[k]), supports.of_class[k],
        )
        for k in np.argsort(-logits, kind="stable")[:2].tolist()
    ]  # fmt: skip
    return draw_matches(named[1].name, query.shown, found)


def read_support(
    path: Path | str, outside_paths: bool, sequences: Sequence[str] = (".npy",)
) -> tuple[list[Path], list[str]]:
    """Finds labelled sequences or videos.

    Args:
        path: a folder with a folder of files (or of folders with such) for each class, or a CSV
            file with the columns path (relative to it) and label. Of a folder that has sequences
            and videos the sequences are taken.
        outside_paths: paths of the CSV file, or links in the folder, may lead out of it.
        sequences: suffixes of files with features, beside those of videos.

    Returns:
        (files, the label of each): at least two classes.

    Raises:
        MissingFileError: it is not there.
        UserError: anything else that is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        inside = Inside(path, outside_paths)
        files = inside.found(sequences) or inside.found(SUFFIXES)
        labels = [file.relative_to(path).parts[0] for file in files]
        loose = [file for file in files if file.parent == path]
        if loose:
            raise UserError(
                f"--predict_support={path}: {loose[0].name} is in no class folder; give each class "
                "a folder, whose name is the label"
            )
    elif path.is_file():
        rows = read_rows(
            path, required=("path", "label"), splits=False, files="path",
            outside_paths=outside_paths,
        )  # fmt: skip
        files = [path.parent / row["path"] for row in rows]
        labels = [row["label"] for row in rows]
    else:
        raise MissingFileError(f"--predict_support={path}: no such file or folder")
    if len(set(labels)) < 2:
        kinds = " or ".join([*sequences, "videos"])
        raise UserError(
            f"--predict_support={path}: holds labelled files ({kinds}) of {len(set(labels))} "
            "classes; two or more are needed to tell apart"
        )
    return files, labels


@nnx.jit
def _logits(model: FewShotHead, query: ArrayLike, support: ArrayLike) -> jax.Array:
    """Logits [Q, way] of queries [Q, T, F] by supports [way, shot, T, F]."""
    return model(query, support)


def _methods(settings: Settings) -> Sequence[str]:
    if not settings.trained:
        raise UserError(
            f"--out_dir={settings.out_dir}: the job has --encoder=none, so nothing was trained "
            "there; --predict needs a trained encoder"
        )
    return settings.train_through
