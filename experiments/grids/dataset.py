"""Labelled videos, in memory or decoded when they are needed."""

import csv
import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np

from experiments.grids import camera
from experiments.grids.settings import Settings
from experiments.shared.progress import progress
from experiments.vision.video import read_video

INDEX = "videos.csv"
_CLIPS = Path(__file__).resolve().parents[1] / "data"
_CLIP_FILES = {
    "bikes": _CLIPS / "clips" / "bikes.mp4",
    "bigbuckbunny": _CLIPS / "clips" / "bigbuckbunny.mp4",
    "carphone": _CLIPS / "clips" / "carphone.mp4",
    "surveillance": _CLIPS / "surveillance.mp4",
}
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Batch(NamedTuple):
    """Videos of one size.

    Attributes:
        videos: uint8 ``[B, S, H, W, channels]``.
        lengths: int32 ``[B]``, true frames.
        labels: int32 ``[B]``.
        valid: float32 ``[B]``, 0 for the filler of the last batch.
    """

    videos: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class Split:
    """The videos of one split: an array, or files that are decoded when they are read.

    Attributes:
        labels: int32 ``[N]``.
        videos: uint8 ``[N, S, H, W, channels]``, or None.
        paths: of the files, or empty.
        settings: how files are decoded.
    """

    labels: np.ndarray
    videos: np.ndarray | None
    paths: tuple[Path, ...]
    settings: Settings

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.labels)

    def read(self, row: int) -> np.ndarray:
        """One video, uint8 ``[T, H, W, channels]`` with T at most `source_frames`.

        Raises:
            ValueError: it does not decode, or has fewer frames than `min_frames`.
        """
        if self.videos is not None:
            return self.videos[row]
        return _decode(self.paths[row], self.settings)


@dataclass(frozen=True)
class VideoDataset:
    """What a job is trained and tested on.

    Attributes:
        name: as the report calls it.
        train: the training split.
        test: the test split.
        class_names: by label.
        note: what must be known about it.
        identity: what tells it from another one, of JSON's types.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    note: str
    identity: dict[str, Any]


def load(settings: Settings) -> VideoDataset:
    """Opens or makes the data set that the settings name.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file that cannot be used; the message names it.
    """
    return _camera(settings) if settings.task == "camera" else _folder(settings)


def batches(
    split: Split, batch_size: int, *, seed: int | None, epoch: int = 0, num_threads: int = 0
) -> Generator[Batch, None, None]:
    """Goes through a split once, in batches of one size.

    Args:
        split: what to read.
        batch_size: the last batch is completed with filler.
        seed: of the order; None for the order of the files.
        epoch: the order is another one for each (seed, epoch).
        num_threads: batches read ahead, each by a thread; 0 reads in the caller's.

    Returns:
        A generator of `Batch`.
    """
    order = np.arange(len(split))
    if seed is not None:
        order = np.random.default_rng([seed, epoch]).permutation(order)
    rows = grain.MapDataset.source(order).batch(batch_size, batch_fn=list)
    read = rows.map(partial(_batch, split, batch_size))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    iterator = iter(read.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def _batch(split: Split, batch_size: int, rows: list[int]) -> Batch:
    settings = split.settings
    shape = (batch_size, settings.source_frames, *settings.size, settings.channels)
    videos, lengths = np.zeros(shape, np.uint8), np.ones(batch_size, np.int32)
    for index, row in enumerate(rows):
        video = split.read(row)
        videos[index, : len(video)], lengths[index] = video, len(video)
    filler = (0, batch_size - len(rows))
    labels = np.pad(split.labels[rows], filler)
    return Batch(videos, lengths, labels, np.pad(np.ones(len(rows), np.float32), filler))


def _camera(settings: Settings) -> VideoDataset:
    clips = {name: read_video(path, size=camera.FRAME) for name, path in _CLIP_FILES.items()}
    # Every other frame: neighbours are nearly the same picture.
    frames = {name: _channels(clip[::2], settings) for name, clip in clips.items()}
    tested = frames.pop(settings.test_clip)
    make = partial(camera.make_moves, num_frames=settings.source_frames, side=settings.side)
    seed = 2 * settings.data_seed
    train = make(
        np.concatenate(list(frames.values())),
        settings.num_train,
        seed=seed,
        desc="rendering training moves",
    )
    test = make(tested, settings.num_test, seed=seed + 1, desc="rendering test moves")
    names = ", ".join(frames)
    return VideoDataset(
        name="camera moves over real frames",
        train=Split(train[1], train[0], (), settings),
        test=Split(test[1], test[0], (), settings),
        class_names=camera.CLASS_NAMES,
        note=(
            f"the frames are real, from the clips {names} for training and {settings.test_clip} "
            "for testing; the camera's move over a frame is synthetic. Frames are mirrored and "
            "inverted at random, to make more of few clips. In the middle frame all six moves "
            "look the same, so one frame is at chance (16.67 %) by construction; opposite moves "
            "show the same frames in opposite order, so no method that does not see the order can "
            "be right in more than half of the cases."
        ),
        identity={"moves": [settings.num_train, settings.num_test], "seed": settings.data_seed},
    )


def _folder(settings: Settings) -> VideoDataset:
    root = Path(settings.data_dir)
    index = root / INDEX
    if not index.is_file():
        raise FileNotFoundError(f"--data_dir={root}: holds no {INDEX} (columns path,label,split)")
    with open(index, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        lacking = [c for c in ("path", "label", "split") if c not in (table.fieldnames or ())]
        if lacking:
            raise ValueError(f"{index}: has no column {', '.join(lacking)}")
        rows = [(root / row["path"], row["label"], row["split"]) for row in table]
    for number, (path, label, split) in enumerate(rows, 2):
        if split not in ("train", "test") or not label:
            raise ValueError(
                f"{index}, line {number}: split must be train or test and label not empty, "
                f"got {split!r} and {label!r}"
            )
        if not path.is_file():
            raise FileNotFoundError(f"{index}, line {number}: {path} is not there")
    names = tuple(sorted({label for _, label, split in rows if split == "train"}))
    unknown = sorted({label for _, label, _ in rows} - set(names))
    if unknown:
        raise ValueError(f"{index}: no training video of {', '.join(unknown)}")
    if len(names) < 2:
        raise ValueError(f"{index}: has {len(names)} class, at least two are needed")
    splits = {}
    for which in ("train", "test"):
        chosen = [(path, names.index(label)) for path, label, split in rows if split == which]
        if not chosen:
            raise ValueError(f"{index}: no row of the split {which}")
        paths, labels = zip(*chosen, strict=True)
        splits[which] = Split(np.asarray(labels, np.int32), None, tuple(paths), settings)
    digest = hashlib.sha256(index.read_bytes()).hexdigest()[:16]
    return VideoDataset(root.name, splits["train"], splits["test"], names, "", {"index": digest})


def check_readable(dataset: VideoDataset) -> None:
    """Decodes every file once, so that a damaged one is known before training.

    Raises:
        ValueError: names the first that cannot be used.
    """
    for split in (dataset.train, dataset.test):
        if split.videos is None:
            for row in progress(range(len(split)), desc="checking videos", unit="video"):
                split.read(row)


def _decode(path: Path, settings: Settings) -> np.ndarray:
    video = read_video(path, size=settings.size)
    if len(video) < settings.min_frames:
        raise ValueError(
            f"{path}: has {len(video)} frames, fewer than --min_frames={settings.min_frames}"
        )
    keep = min(len(video), settings.source_frames)
    return _channels(video[np.arange(keep) * len(video) // keep], settings)


def _channels(video: np.ndarray, settings: Settings) -> np.ndarray:
    if settings.input == "rgb":
        return video
    return np.round(video @ _LUMINANCE).astype(np.uint8)[..., None]
