"""Videos as rows of features with a label for every frame, and the checks that both must pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Content, dataset_identity, digest_array

CLASS_NAMES = ("normal", "anomalous")


@dataclass(frozen=True)
class Event:
    """Something out of the ordinary.

    Attributes:
        kind: what it is, in a word or two.
        start: its first frame.
        end: the frame after its last.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Video:
    """One video.

    Attributes:
        id: its name.
        features: floating point [R, F], one row a frame or a snippet; or what they are yet to be
            computed from, uint8 [T, H, W, 3].
        labels: uint8 [T], 1 for the anomalous frames.
        events: what the labels stand for, where it is known.
        pixel_change: float32 [T], mean absolute change of the pixels since the frame before,
            where it is known.
        source: int [T], the frame of a recording that each frame shows, where several videos were
            cut from one.
    """

    id: str
    features: np.ndarray
    labels: np.ndarray
    events: tuple[Event, ...] = ()
    pixel_change: np.ndarray | None = None
    source: np.ndarray | None = None

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.labels)


@dataclass(frozen=True)
class AnomalyDataset:
    """A training and a test split.

    Attributes:
        name: for titles.
        train: videos to learn from.
        test: videos to score.
        frames_per_row: frames that one row of features stands for.
        note: what a reader of results must know about the data.
        strips: pictures of events by kind, uint8 [n, H, W, 3] consecutive frames.
    """

    name: str
    train: tuple[Video, ...]
    test: tuple[Video, ...]
    frames_per_row: int
    note: str = ""
    strips: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_features(self) -> int:
        """F."""
        return self.train[0].features.shape[1]

    @property
    def test_labels(self) -> np.ndarray:
        """uint8 [sum of T], the labels of all test frames in order."""
        return np.concatenate([video.labels for video in self.test])

    @property
    def unit(self) -> str:
        """What is independent in the test split, in the plural."""
        cut = any(video.source is not None for video in self.test)
        return "source segments" if cut else "test videos"

    @property
    def test_units(self) -> np.ndarray:
        """To which unit each test frame belongs, int [sum of T], see `source_segments`."""
        return np.repeat(source_segments(self.test), [video.num_frames for video in self.test])


def source_segments(videos: Sequence[Video]) -> np.ndarray:
    """Numbers what is independent: int [V], one for each video.

    A video of its own is independent of the others. Of those that were cut from one recording, the
    ones that overlap in it, directly or through others, show the same things, and are one.
    """
    segments = np.arange(len(videos))
    cut = [
        (int(video.source.min()), int(video.source.max()), index)
        for index, video in enumerate(videos)
        if video.source is not None
    ]
    end = -1
    current = -1
    for first, last, index in sorted(cut):
        current = current if first <= end else index
        segments[index], end = current, max(end, last)
    return segments


def identity(dataset: AnomalyDataset) -> dict[str, Any]:
    """Returns what tells a data set from every other, see `dataset_identity`."""
    contents = {
        name: Content(
            [video.id for video in videos],
            [digest_array(video.labels) for video in videos],
            [digest_array(video.features) for video in videos],
        )
        for name, videos in (("train", dataset.train), ("test", dataset.test))
    }
    return dataset_identity(contents, CLASS_NAMES)


def check_video(video: Video, frames_per_row: int) -> None:
    """Checks labels and features against each other.

    Args:
        video: its features are known to be a finite [R, F].
        frames_per_row: as of the data set.

    Raises:
        UserError: labels that are not 0 or 1, or not one a frame; names the video.
    """
    labels, rows = video.labels, len(video.features)
    if labels.ndim != 1 or labels.dtype.kind not in "biuf":
        raise UserError(
            f"video '{video.id}': labels must be numbers of shape [T], "
            f"got {labels.dtype}{list(labels.shape)}"
        )
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise UserError(
            f"video '{video.id}': labels must be 0 or 1, got {labels[wrong[0]]} at frame {wrong[0]}"
        )
    expected = -(-len(labels) // frames_per_row)
    if expected == rows:
        return
    if frames_per_row == 1:
        raise UserError(
            f"video '{video.id}': {len(labels)} labels, but features of {rows} frames; with "
            "features of snippets give --protocol=snippet"
        )
    raise UserError(
        f"video '{video.id}': {len(labels)} labels are {expected} snippets of {frames_per_row} "
        f"frames, but there are features of {rows} snippets"
    )


def check_splits(dataset: AnomalyDataset, tau: int) -> None:
    """Checks what training and evaluation need.

    Args:
        dataset: of checked videos.
        tau: rows of a training window.

    Raises:
        UserError: no videos, one class only, or a training video shorter than a window.
    """
    for name, videos, why in (
        ("training", dataset.train, "the classifier must see both"),
        ("test", dataset.test, "AUC and AP are undefined"),
    ):
        if not videos:
            raise UserError(f"{dataset.name}: no video in the {name} split")
        anomalous = sum(int(video.labels.sum()) for video in videos)
        frames = sum(video.num_frames for video in videos)
        if anomalous in (0, frames):
            only = "anomalous" if anomalous else "normal"
            raise UserError(
                f"{dataset.name}: the {name} split has {only} frames only ({frames:,} in "
                f"{len(videos)} videos): {why}"
            )
    short = [video for video in dataset.train if len(video.features) < tau]
    if short:
        raise UserError(
            f"{dataset.name}: {len(short)} training videos are shorter than --tau={tau}, "
            f"such as '{short[0].id}' with {len(short[0].features)} rows of features; leave them "
            "out or give a smaller --tau"
        )
    for video in (*dataset.train, *dataset.test):
        if video.features.shape[1:] != dataset.train[0].features.shape[1:]:
            raise UserError(
                f"video '{video.id}': {video.features.shape[1]} features a row, but "
                f"'{dataset.train[0].id}' has {dataset.num_features}"
            )


def row_labels(labels: np.ndarray, frames_per_row: int) -> np.ndarray:
    """Returns the label [R] of every row: that of most of its frames, 1 where they are even.

    Args:
        labels: [T], 0 or 1.
        frames_per_row: frames of a row; the last row may have fewer.
    """
    if frames_per_row == 1:
        return labels.astype(np.uint8)
    starts = np.arange(0, len(labels), frames_per_row)
    counts = np.minimum(frames_per_row, len(labels) - starts)
    return (2 * np.add.reduceat(labels.astype(np.int64), starts) >= counts).astype(np.uint8)


def frame_scores(scores: np.ndarray, num_frames: int, frames_per_row: int) -> np.ndarray:
    """Returns the scores [T] of frames: each has that of its row [R]."""
    return np.repeat(scores, frames_per_row)[:num_frames]


def prepare(features: np.ndarray, *, center: str, motion: bool) -> np.ndarray:
    """Returns the features [R, F] of a video as the classifier takes them.

    Args:
        features: [R, F] as they were extracted.
        center: "median": subtract it, over the video; "none".
        motion: add the change since the row before, see `add_motion`.
    """
    if center == "median":
        features = features.astype(np.float32)
        features = features - np.median(features, axis=0)
    return add_motion(features) if motion else features


def add_motion(features: np.ndarray) -> np.ndarray:
    """Appends the absolute change of every feature since the row before.

    The first row has none before it and gets the change of the second, so that a video does not
    begin with a stillness that is not in it; a single row gets 0.

    Args:
        features: [R, F].

    Returns:
        [R, 2 F].
    """
    change = np.abs(np.diff(features, axis=0))
    first = change[:1] if len(change) else np.zeros_like(features)
    return np.concatenate([features, np.concatenate([first, change])], axis=1)


def feature_change(features: np.ndarray) -> np.ndarray:
    """Returns how far [R] the features moved since the row before (Euclidean), as `add_motion`."""
    motion = add_motion(features.astype(np.float32))[:, features.shape[1] :]
    return np.linalg.norm(motion, axis=1)


def split_scores(scores: np.ndarray, videos: Sequence[Video]) -> list[np.ndarray]:
    """Returns the scores of each video, from those [sum of T] of all frames."""
    return np.split(scores, np.cumsum([video.num_frames for video in videos])[:-1])
