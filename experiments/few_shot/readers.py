"""`--predict`: files made what a run was trained on, be they stored features or videos."""

import abc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.extract_tse.clips import Clip, read_clips
from experiments.extract_tse.manifest import Manifest
from experiments.extract_tse.predicting import is_video, kept_manifest
from experiments.few_shot.data import to_segments
from experiments.few_shot.frames import Sampling
from experiments.few_shot.models import make_model
from experiments.few_shot.settings import Settings
from experiments.few_shot.video_data import job_trunk_identity, open_job_trunk
from experiments.few_shot.video_training import Parts
from experiments.shared.checkpoints import fill
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.shared.identity import refuse_differences
from experiments.shared.prediction import OpenRun
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.npy_file import read_npy
from experiments.vision.segments import Chosen, middle_frames
from experiments.vision.trunks import RANDOM
from tempalign.heads import FewShotHead


class Shown(NamedTuple):
    """Which frames of a video its segments are, to draw them.

    Attributes:
        path: of the file.
        frames: int ``[T]``.
        seconds: float ``[T]``, since the first frame; NaN where the file does not say.
        max_pixels: of frames that are decoded.
    """

    path: Path
    frames: np.ndarray
    seconds: np.ndarray
    max_pixels: int


class Sample(NamedTuple):
    """What was made of a file.

    Attributes:
        features: float32 ``[T, F]``, as the head is given them.
        shown: of a video, else None.
        note: what is unusual about the file, or empty.
    """

    features: np.ndarray
    shown: Shown | None
    note: str


Take = Callable[[int, Sample], None]


class Reader(abc.ABC):
    """Makes files what a run was trained on.

    Attributes:
        head: that was trained, with its best parameters.
        sequences: suffixes of files with features that it reads, beside videos.
    """

    head: FewShotHead
    sequences: tuple[str, ...]

    @abc.abstractmethod
    def check(self, files: Sequence[Path], flag: str) -> None:
        """Raises UserError, before anything is read, for files that the run has no use for."""

    @abc.abstractmethod
    def read(self, files: Sequence[Path], take: Take) -> dict[int, str]:
        """Reads files.

        Args:
            files: which.
            take: is called with the number of a file and what it holds, when that is ready.

        Returns:
            Why videos cannot be used, by their numbers.

        Raises:
            UserError: a file of features that cannot be used.
        """


def open_reader(request: Settings, run: OpenRun[Settings]) -> Reader:
    """Returns what reads files for a run.

    Raises:
        UserError: the trunk of the run cannot be opened, or is another one now.
    """
    return FrameReader(request, run) if run.settings.videos else StoredReader(request, run)


class StoredReader(Reader):
    """For a run on stored features; of videos these are made by the encoder that made those."""

    sequences = (".npy",)

    def __init__(self, request: Settings, run: OpenRun[Settings]) -> None:
        """Opens the head."""
        self._request, self._settings, self._folder = request, run.settings, run.folder
        self._scaling = Scaling(run.arrays["scaling.mean"], run.arrays["scaling.std"])
        model = make_model(run.settings, run.method, len(self._scaling.mean), seed=0)
        graphdef, params = nnx.split(model, nnx.Param)
        best = fill(nnx.to_pure_dict(params), run.arrays, str(run.folder), below="best.")
        self.head = nnx.merge(graphdef, jax.tree.map(jnp.asarray, best))
        self._manifest: Manifest | None = None

    def check(self, files: Sequence[Path], flag: str) -> None:
        """Refuses videos where the encoder is not known."""
        if self._manifest is None and any(map(is_video, files)):
            self._manifest = kept_manifest(self._folder, flag)

    def read(self, files: Sequence[Path], take: Take) -> dict[int, str]:
        """See `Reader`."""
        videos = [number for number, file in enumerate(files) if is_video(file)]
        others = [number for number in range(len(files)) if number not in set(videos)]
        for number in progress(others, desc="reading", unit="file"):
            take(number, Sample(self._features(read_npy(files[number]), files[number]), None, ""))
        if not videos:
            return {}
        assert self._manifest is not None
        request, pixels = self._request, self._manifest.settings("-").max_pixels
        encoder = self._manifest.open_encoder(
            request.video_encoder,
            weights=request.video_encoder_weights,
            allow_pickle=request.allow_pickle,
            flag="video_encoder",
        )

        def taken(place: int, clip: Clip) -> None:
            number = videos[place]
            rows = self._rows(len(clip.rows))
            shown = Shown(files[number], clip.middles[rows], clip.seconds[rows, 1], pixels)
            take(number, Sample(self._features(clip.rows, files[number]), shown, clip.note))

        reasons = read_clips([files[n] for n in videos], self._manifest, encoder, taken)
        return {videos[place]: reason for place, reason in reasons.items()}

    def _features(self, x: np.ndarray, file: Path) -> np.ndarray:
        settings = self._settings
        if x.shape[1] != len(self._scaling.mean):
            raise UserError(
                f"{file}: has {x.shape[1]} features a frame, but the run was trained on "
                f"{len(self._scaling.mean)}"
            )
        x = to_segments(x, settings.num_segments, settings.sampling, settings.center)
        return self._scaling.apply(x)

    def _rows(self, length: int) -> np.ndarray:
        """The rows that segments are, or lie nearest to."""
        count = self._settings.num_segments
        if self._settings.sampling == "middle":
            return middle_frames(length, count)
        return np.round(np.linspace(0, length - 1, count)).astype(np.int64)


class FrameReader(Reader):
    """For a run on videos: the trunk as it was trained."""

    sequences = ()

    def __init__(self, request: Settings, run: OpenRun[Settings]) -> None:
        """Opens trunk and head, the first from what the command line names where it is a file.

        Raises:
            UserError: see `open_reader`.
        """
        settings = run.settings
        weights = _trusted(request, run)
        trunk = open_job_trunk(settings, seed=run.seed, weights=weights)
        now = job_trunk_identity(settings, Digests(), weights)
        refuse_differences(run.data["trunk"], now, f"the run in {run.folder}", "--trunk")
        self._sampling = Sampling.of(settings, trunk)
        self._parts = Parts(
            settings, trunk, make_model(settings, run.method, trunk.num_features, seed=0)
        )
        best = fill(self._parts.params, run.arrays, str(run.folder), below="best.")
        self._params = jax.tree.map(jnp.asarray, best)
        self.head = self._parts.head(self._params)
        self._num_threads, self._at_once = request.num_threads, request.videos_at_once

    def check(self, files: Sequence[Path], flag: str) -> None:
        """Refuses what is no video."""
        others = [file for file in files if not is_video(file)]
        if others:
            raise UserError(f"{flag}: the run was trained on videos, {others[0]} is none")

    def read(self, files: Sequence[Path], take: Take) -> dict[int, str]:
        """See `Reader`."""
        reasons: dict[int, str] = {}
        at_once = min(self._at_once, len(files))
        with ThreadPoolExecutor(self._num_threads) as pool:
            decoded = pool.map(self._attempt, files)
            ready: list[tuple[int, Chosen]] = []
            for number, one in enumerate(progress(decoded, total=len(files), desc="videos")):
                if isinstance(one, Chosen):
                    ready.append((number, one))
                else:
                    reasons[number] = str(one).removeprefix(f"{files[number]}: ")
                if len(ready) == at_once or (ready and number == len(files) - 1):
                    self._encode(files, ready, at_once, take)
                    ready = []
        return reasons

    def _encode(
        self, files: Sequence[Path], ready: list[tuple[int, Chosen]], at_once: int, take: Take
    ) -> None:
        pictures = np.stack([one.pictures for _, one in ready])
        filler = ((0, at_once - len(ready)), *((0, 0),) * (pictures.ndim - 1))
        features = self._parts.features(self._params, np.pad(pictures, filler))
        for (number, one), x in zip(ready, features, strict=False):
            shown = Shown(files[number], one.numbers, one.seconds, self._sampling.max_pixels)
            take(number, Sample(x, shown, ""))

    def _attempt(self, file: Path) -> Chosen | UserError:
        try:
            return self._sampling.tested(file)
        except UserError as error:
            return error


def _trusted(request: Settings, run: OpenRun[Settings]) -> str:
    """The weights of a run's trunk; a run folder may come from anyone, and names no files or code.

    Raises:
        UserError: the command line must name what the run folder does.
    """
    settings, needed = run.settings, []
    if ":" in settings.trunk and request.trunk != settings.trunk:
        needed.append(f"--trunk={settings.trunk}")
    if settings.trunk_weights in ("", RANDOM):
        weights = settings.trunk_weights
    else:
        weights = request.trunk_weights
        if not weights:
            needed.append(f"--trunk_weights={settings.trunk_weights}")
    run.refuse_unnamed("trunk", needed)
    return weights
