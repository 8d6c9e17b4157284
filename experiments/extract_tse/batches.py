"""From pictures to rows: batches of one shape, filled from several videos.

A batch that is not full is filled up with black, so the encoder is compiled once and the result of
a picture does not depend on how many came with it. That it does not depend on which came with it,
or on its place, either, is tried with the encoder itself (`rows_are_independent`); where it does,
each video has batches of its own, so that a video's numbers are always the same.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.extract_tse.windows import Plan
from experiments.shared.errors import UserError
from experiments.vision.encoders import Encoder, NotFiniteError

_ANY_VIDEO = object()  # the key of batches that videos share


def collect(plan: Plan) -> "WindowFeatures | WindowMeans":
    """Returns what makes rows of a video's features, by what its encoder takes."""
    return WindowMeans(plan) if plan.samples is None else WindowFeatures(plan)


class WindowFeatures:
    """Rows of an encoder of windows: one result for every different window."""

    def __init__(self, plan: Plan) -> None:
        """Takes the plan of the video."""
        self._plan, self._done = plan, 0
        self._features = np.zeros((0, 0), np.float32)

    def add(self, features: np.ndarray) -> None:
        """Takes the results of the next windows, float32 ``[n, F]``."""
        if not self._done:
            shape = len(self._plan.windows), features.shape[1]
            self._features = np.zeros(shape, np.float32)
        self._features[self._done : self._done + len(features)] = features
        self._done += len(features)

    def rows(self) -> np.ndarray | None:
        """Returns float32 ``[T, W * F]``; None while some are missing."""
        if self._done < len(self._plan.windows):
            return None
        return self._features[self._plan.rows].reshape(len(self._plan.rows), -1)


class WindowMeans:
    """Rows of an encoder of single pictures: the mean over the frames of each window.

    A frame is encoded once, however many windows it is in, and forgotten: what is kept is the sum
    of all so far, and that sum at the beginning of each window that is open. In float64, the
    difference of two such sums has more digits than a float32 mean.
    """

    def __init__(self, plan: Plan) -> None:
        """Takes the plan of the video."""
        self._plan = plan
        self._frames = plan.covered()  # whose features come, in order
        self._open_after = np.zeros(plan.length, np.int64)  # how many windows begin at a frame
        np.add.at(self._open_after, plan.windows[:, 0], 1)
        self._done = self._closed = 0
        self._sum = np.zeros(0)
        self._before: dict[int, np.ndarray] = {}  # the sum before a frame where windows begin
        self._means = np.zeros((0, 0), np.float32)

    def add(self, features: np.ndarray) -> None:
        """Takes the features of the next frames, float32 ``[n, F]``."""
        plan = self._plan
        if not self._done:
            self._sum = np.zeros(features.shape[1])
            self._means = np.zeros((len(plan.windows), features.shape[1]), np.float32)
        for row in features:
            frame = self._frames[self._done]
            self._done += 1
            if self._open_after[frame]:
                self._before[frame] = self._sum.copy()
            self._sum += row
            while self._closed < len(plan.ready) and plan.ready[self._closed] == frame:
                first, last = plan.windows[self._closed].tolist()
                mean = (self._sum - self._before[first]) / (last - first + 1)
                self._means[self._closed] = mean
                self._closed += 1
                self._open_after[first] -= 1
                if not self._open_after[first]:
                    del self._before[first]

    def rows(self) -> np.ndarray | None:
        """Returns float32 ``[T, W * F]``; None while some are missing."""
        if self._closed < len(self._plan.windows):
            return None
        return self._means[self._plan.rows].reshape(len(self._plan.rows), -1)


class Batches:
    """Fills batches, has them encoded, and hands the results out.

    Attributes:
        shared: whether videos may share a batch; to be said before the first pictures.
        seconds: that encoding took.
        num_features: F; None before the first batch where the encoder does not say.
    """

    def __init__(self, encoder: Encoder, batch_size: int, *, shared: bool = True) -> None:
        """Takes the encoder, and how many pictures or windows it gets at once."""
        self.seconds = 0.0
        self.num_features = encoder.spec.num_features
        self._encoder, self.shared = encoder, shared
        spec = encoder.spec
        self._shape = (batch_size, spec.frames or 1, *spec.size, 3)
        self._filling: dict[Any, _Filling] = {}

    def add(self, take: Callable[[np.ndarray], None], pictures: np.ndarray) -> None:
        """Takes pictures uint8 ``[n, k, H, W, 3]`` of one video.

        Args:
            take: is called with their features, float32 ``[m, F]``, in order, some at a time.
            pictures: any number of them.

        Raises:
            UserError: the encoder returns something else than features.
        """
        key = _ANY_VIDEO if self.shared else take
        while len(pictures):
            filling = self._filling.setdefault(key, _Filling(self._shape))
            pictures = pictures[filling.add(take, pictures) :]
            if filling.is_full:
                self._encode(self._filling.pop(key))

    def flush(self, take: Callable[[np.ndarray], None] | None = None) -> None:
        """Encodes what is waiting: of one video, or where videos share batches, of all."""
        keys = list(self._filling) if take is None else [take]
        for key in keys:
            if key in self._filling:
                self._encode(self._filling.pop(key))

    def forget(self, take: Callable[[np.ndarray], None]) -> None:
        """Drops what is waiting of a video that has batches of its own."""
        self._filling.pop(take, None)

    def _encode(self, filling: "_Filling") -> None:
        began = time.perf_counter()
        features = encoded(self._encoder, filling.pictures)
        self.seconds += time.perf_counter() - began
        if self.num_features is None:
            self.num_features = features.shape[1]
        if features.shape[1] != self.num_features:
            raise UserError(
                f"--encoder={self._encoder.spec.name}: returned {features.shape[1]} features, "
                f"expected {self.num_features}"
            )
        for take, begin, end in filling.parts:
            take(features[begin:end])


class _Filling:
    """A batch that is not full yet."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.pictures = np.zeros(shape, np.uint8)
        self.parts: list[tuple[Callable[[np.ndarray], None], int, int]] = []

    @property
    def _used(self) -> int:
        return self.parts[-1][2] if self.parts else 0

    @property
    def is_full(self) -> bool:
        return self._used == len(self.pictures)

    def add(self, take: Callable[[np.ndarray], None], pictures: np.ndarray) -> int:
        """Takes as many as there is room for; returns how many that were."""
        begin = self._used
        end = min(begin + len(pictures), len(self.pictures))
        self.pictures[begin:end] = pictures[: end - begin]
        self.parts.append((take, begin, end))
        return end - begin


def encoded(encoder: Encoder, pictures: np.ndarray) -> np.ndarray:
    """Calls an encoder and checks the shape of what it returns.

    Args:
        encoder: the encoder.
        pictures: uint8 ``[B, k, H, W, 3]``.

    Returns:
        float32 ``[B, F]``; numbers may be NaN.

    Raises:
        UserError: it returns another shape.
    """
    try:
        features = encoder(pictures)
    except NotFiniteError as error:  # of some videos; the others are not to suffer
        features = error.features
    if features.ndim != 2 or len(features) != len(pictures) or not features.shape[1]:
        raise UserError(
            f"--encoder={encoder.spec.name}: returned shape {features.shape} for "
            f"{len(pictures)} windows, expected [{len(pictures)}, features]"
        )
    return features.astype(np.float32, copy=False)


def rows_are_independent(encoder: Encoder, batch_size: int) -> bool:
    """Tries whether a picture's features are the same bits in any place and with any others.

    Args:
        encoder: the encoder.
        batch_size: of the batches that it will be given.

    Raises:
        UserError: it returns another shape than features.
    """
    spec = encoder.spec
    shape = (batch_size, spec.frames or 1, *spec.size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    # Every picture in another place, and every second one gone, but for the one at the front.
    moved = np.roll(noise, 1, axis=0)
    kept = np.arange(batch_size) % 2 == batch_size % 2
    kept[0] = True
    moved[~kept] = 0
    first, second = encoded(encoder, noise), encoded(encoder, moved)
    return np.roll(first, 1, axis=0)[kept].tobytes() == second[kept].tobytes()
