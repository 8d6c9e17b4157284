"""`--predict`: new sequences or videos, classified with the newest checkpoint of a run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.dejavid.moments import Moment, draw_moments, moments
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import StepSpec, predict_step, split_head
from experiments.dejavid.training import run_name
from experiments.extract_tse.clips import Clip, read_clips
from experiments.extract_tse.manifest import Manifest
from experiments.extract_tse.predicting import (
    is_video,
    kept_manifest,
    new_picture,
    refuse_if_all_failed,
    sequences_or_videos,
    tell,
)
from experiments.shared.errors import UserError
from experiments.shared.pictures import draw
from experiments.shared.prediction import OpenRun, open_run, say_classes
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.batches import padded_length
from experiments.tse.npy_file import read_npy
from experiments.tse.sources import check_tse
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers
from tempalign import heads

_SEQUENCES = (".npy", ".pt")


class _Answer(NamedTuple):
    """Of one sequence: what it is called, its logits ``[C]``, and its length in words."""

    id: str
    logits: np.ndarray
    about: str


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`; of videos, the
            encoder where it is a file or code, and how many are drawn.

    Returns:
        What to print: the most probable classes of one sequence; of several, the most probable one
        of the first few, and the file with all.

    Raises:
        UserError: the files, or the run, are not there or not usable; a sequence has not the
            features that the run was trained on; a video, whose features nothing says how to make.
    """
    run = open_run(request, methods=lambda s: s.methods, run_name=run_name, prefer=("full",))
    classifier = _Classifier(run)
    inputs = sequences_or_videos(request, _SEQUENCES)
    videos = [number for number, (_, file) in enumerate(inputs) if is_video(file)]
    manifest = None
    if videos:  # an error is better early
        manifest = kept_manifest(run.folder, f"--predict={request.predict}")
    answers: dict[int, list[_Answer]] = {}
    others = [number for number in range(len(inputs)) if number not in set(videos)]
    for number in progress(others, desc="predicting"):
        name, file = inputs[number]
        answers[number] = [
            _Answer(f"{name}{part}", classifier.logits(x, f"{file}{part}"), f"{len(x)} steps, ")
            for part, x in _sequences(file).items()
        ]
    told: list[str] = []
    if manifest is not None:
        told = _videos(request, run, classifier, manifest, inputs, videos, answers)
    found = [answer for number in sorted(answers) for answer in answers[number]]
    logits = np.stack([answer.logits for answer in found])
    text = say_classes(
        run,
        [answer.id for answer in found],
        np.asarray(jax.nn.softmax(logits)),
        found[-1].about,
    )
    return "\n\n".join([text, *told])


def _suffix(file: Path) -> str:
    return file.suffix.lower()


def _videos(
    request: Settings,
    run: OpenRun[Settings],
    classifier: "_Classifier",
    manifest: Manifest,
    inputs: Sequence[tuple[str, Path]],
    videos: Sequence[int],
    answers: dict[int, list[_Answer]],
) -> list[str]:
    """Classifies and draws videos.

    Args:
        request: of this call.
        run: what classifies.
        classifier: that of the run.
        manifest: of the features that it was trained on.
        inputs: (id, file), the videos among them.
        videos: their numbers in `inputs`.
        answers: by number in `inputs`; those of the videos are added.

    Returns:
        What to say besides: which could not be used, and where the pictures are.
    """
    encoder = manifest.open_encoder(
        request.encoder, weights=request.encoder_weights, allow_pickle=request.allow_pickle
    )
    drawn: dict[int, Clip] = {}
    unusual: dict[str, str] = {}

    def take(place: int, clip: Clip) -> None:
        name, file = inputs[videos[place]]
        logits = classifier.logits(clip.rows, str(file))
        answers[videos[place]] = [_Answer(name, logits, f"{len(clip.rows)} windows, ")]
        if clip.note:
            unusual[name] = clip.note
        if place < request.predict_pictures and run.settings.pooling == "none":
            drawn[videos[place]] = clip

    reasons = read_clips([inputs[number][1] for number in videos], manifest, encoder, take)
    failed = [(inputs[videos[place]], reasons[place]) for place in sorted(reasons)]
    refuse_if_all_failed([(file, why) for (_, file), why in failed], len(answers))
    told = tell(run.folder, unusual, {name: why for (name, _), why in failed}, len(videos))
    max_pixels = manifest.settings("-").max_pixels
    pictures: list[Path] = []
    notes: dict[str, None] = {}
    for number in sorted(drawn):
        name, clip = inputs[number][0], drawn[number]
        path = new_picture(run.folder, "moments", name)
        draws = partial(
            classifier.draw, clip.path.name, clip, answers[number][0].logits, max_pixels
        )
        made = draw(run.folder, [(path.name, draws)])
        pictures += [run.folder / picture.file for picture in made.pictures]
        notes |= dict.fromkeys(made.notes)
    if pictures:
        shown = f"{pictures[0]}" + (f" to {pictures[-1]}" if len(pictures) > 1 else "")
        told.append(f"Which moments each step of the centroid found: {shown}")
    return [*told, *notes]


class _Classifier:
    """The head of a run, with the scaling that it was trained with."""

    def __init__(self, run: OpenRun[Settings]) -> None:
        arrays, settings = run.arrays, run.settings
        self._settings, self._names = settings, run.data["class_names"]
        self._params = {
            name: arrays[f"state.params.{name}"] for name in ("centroids", "log_weights")
        }
        self._num_features = self._params["centroids"].shape[2]
        head = heads.DejaVidHead(
            *self._params["centroids"].shape,
            diagonal=settings.diagonal,
            fixed_paths=False,
            path_precision=settings.path_precision,
        )
        self._spec = StepSpec(split_head(head)[0], (), settings.pooling, 0.0)
        self._scaling = Scaling(arrays["scaling.mean"], arrays["scaling.std"])

    def logits(self, x: np.ndarray, what: str) -> np.ndarray:
        """Returns the logits ``[C]`` of a sequence ``[T, F]`` as it is stored.

        Raises:
            UserError: it has not the features that the run was trained on; names it as `what`.
        """
        if x.shape[1] != self._num_features:
            raise UserError(
                f"--predict: {what} has {x.shape[1]} features a step, but the run was trained on "
                f"{self._num_features}"
            )
        padded = np.zeros((1, padded_length(len(x)), self._num_features), x.dtype)
        padded[0, : len(x)] = x
        lengths = np.array([len(x)], np.int32)
        return np.asarray(predict_step(self._spec, self._params, padded, lengths, self._scaling)[0])

    def draw(self, name: str, clip: Clip, logits: np.ndarray, max_pixels: int) -> Any:
        """Draws which moments of a video the two nearest centroids found."""
        x = self._scaling.apply(clip.rows.astype(np.float32))
        ranked = np.argsort(-logits, kind="stable")[:2]
        found: list[list[Moment]] = [
            moments(
                clip,
                x,
                np.asarray(self._params["centroids"][label]),
                np.exp(self._params["log_weights"][label]),
                diagonal=self._settings.diagonal,
            )
            for label in ranked
        ]
        names = [self._names[label] for label in ranked]
        return draw_moments(name, clip, names, found, max_pixels)


def _sequences(file: Path) -> dict[str, np.ndarray]:
    """The sequences of a file, by what follows its name: nothing where it holds one."""
    if _suffix(file) != ".pt":
        return {"": read_npy(file)}
    content = tensor_headers(file)
    if isinstance(content, StoredTensor):
        headers = {"": content}
    else:
        named = ((f"[{key}]", part) for key, part in content.items())
        headers = {key: part for key, part in named if isinstance(part, StoredTensor)}
    if not headers:
        raise UserError(f"--predict: {file} is a dict without a tensor")
    return {
        key: check_tse(read_tensor(file, header), f"{file}{key}") for key, header in headers.items()
    }
