"""Labelled videos, in memory or decoded when they are needed."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np

from experiments.shared.csv_index import evaluated_split, read_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.fingerprint import (
    Content,
    Digests,
    dataset_identity,
    digest_array,
    digest_json,
)
from experiments.shared.labels import lonely_classes, number_labels
from experiments.shared.progress import progress
from experiments.time_layer import camera
from experiments.time_layer.reading import digests_of, in_channels, read_video, refuse_missing
from experiments.time_layer.settings import Settings

INDEX = "videos.csv"
_FILLER = -1


class Batch(NamedTuple):
    """Videos of one size.

    Attributes:
        videos: ``[B, S, H, W, channels]``, uint8; uint16 of measured depth.
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
        ids: names of the videos.
        labels: int32 ``[N]``.
        units: int ``[N]``; videos of one unit are not independent of each other.
        videos: uint8 ``[N, S, H, W, channels]``, or None.
        paths: of the files, or empty.
        settings: how files are decoded.
        known: digests of files, once they were taken: one that is read must still be the same.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    units: np.ndarray
    videos: np.ndarray | None
    paths: tuple[Path, ...]
    settings: Settings
    known: Digests = field(default_factory=Digests)

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.labels)

    def digests(self, known: Digests) -> list[str]:
        """Digests of the files; from then on, reading one that was changed is an error."""
        object.__setattr__(self, "known", known)
        return digests_of(self.paths, known)

    def read(self, row: int) -> np.ndarray:
        """Returns one video ``[T, H, W, channels]`` with T at most `source_frames`.

        Raises:
            UserError: it does not decode, has fewer frames than `min_frames`, or was changed.
        """
        if self.videos is not None:
            return self.videos[row]
        with self.known.checked(self.paths[row]):
            return read_video(self.paths[row], self.settings)


@dataclass(frozen=True)
class VideoDataset:
    """What a job is trained and tested on.

    Attributes:
        name: as the report calls it.
        train: the training split.
        val: the validation split, on which rows of the results are picked; None without one.
        test: the test split.
        class_names: by label.
        unit: what is independent in the test split, in the plural: "videos".
        note: what must be known about the data; empty for nothing.
        made_of: what decides the videos where they are not files, of JSON's types.
    """

    name: str
    train: Split
    val: Split | None
    test: Split
    class_names: tuple[str, ...]
    unit: str
    note: str
    made_of: Mapping[str, Any]

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


def load(settings: Settings) -> VideoDataset:
    """Opens or makes the data set that the settings name.

    Raises:
        UserError: a file is not there or cannot be used; the message names it.
    """
    return _camera(settings) if settings.layout == "camera" else _folder(settings)


def identity(dataset: VideoDataset, digests: Digests) -> dict[str, Any]:
    """Returns what tells a data set from every other, of JSON's types.

    Args:
        dataset: of files, whose content counts, or of camera moves, which are a function of the
            settings, of the frames and of the code that renders them.
        digests: what is known of files.

    Raises:
        UserError: a file cannot be read.
    """
    if not dataset.made_of:
        parts = {
            name: Content(split.ids, split.labels, split.digests(digests))
            for name, split in dataset.splits.items()
        }
        return dataset_identity(parts, dataset.class_names)
    return {
        "num_samples": {name: len(split) for name, split in dataset.splits.items()},
        "class_names": list(dataset.class_names),
        "labels": {name: digest_array(split.labels) for name, split in dataset.splits.items()},
        "renderer": digests.of_file(camera.__file__),
        **dataset.made_of,
    }


def batches(
    split: Split,
    batch_size: int,
    *,
    seed: int | None,
    epoch: int = 0,
    num_threads: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    filled: int = 0,
) -> Generator[Batch, None, None]:
    """Goes through a split once, in batches of one size.

    Args:
        split: what to read.
        batch_size: the last batch is completed with filler.
        seed: of the order; None for the order of the files.
        epoch: the order is another one for each (seed, epoch).
        num_threads: how many videos are read at the same time, up to a batch ahead; 0 reads in the
            caller's thread.
        process_index: of the processes that share the epoch, the one that asks.
        process_count: how many share it. Each gets its part of the rows of every batch, the first
            process the first ones.
        filled: rows that filler makes of each batch, so that devices can divide it; 0: none are
            added.

    Returns:
        A generator of `Batch`.
    """
    size = filled or batch_size
    order = np.arange(len(split))
    if seed is not None:
        order = np.random.default_rng([seed, epoch]).permutation(order)
    own = np.full((-(-len(order) // batch_size), batch_size), _FILLER)
    own.reshape(-1)[: len(order)] = order
    own = np.pad(own, ((0, 0), (0, size - batch_size)), constant_values=_FILLER)
    own = np.split(own, process_count, axis=1)[process_index]

    def read_row(row: int) -> tuple[int, np.ndarray | None]:
        return row, None if row == _FILLER else split.read(row)

    videos = grain.MapDataset.source(own.reshape(-1)).map(read_row)
    ahead = max(num_threads, own.shape[1]) if num_threads else 0
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
    read = videos.to_iter_dataset(options)
    iterator = iter(read.batch(own.shape[1], batch_fn=partial(_batch, split)))
    try:
        yield from iterator
    finally:
        iterator.close()


def check_readable(dataset: VideoDataset) -> None:
    """Decodes every file once, so that a damaged one is known before training.

    Raises:
        UserError: names up to five that cannot be used.
    """
    errors: list[Exception] = []
    for name, split in dataset.splits.items():
        settings = split.settings
        with ThreadPoolExecutor(max(settings.num_threads, 1)) as pool:
            found = pool.map(partial(_attempt, settings=settings), split.paths)
            total, desc = len(split.paths), f"checking the {name} split"
            shown = progress(found, total=total, desc=desc, unit="video")
            errors += [error for error in shown if error is not None]
    raise_all(errors, dataset.name)


def _batch(split: Split, read: Sequence[tuple[int, np.ndarray | None]]) -> Batch:
    settings, size = split.settings, len(read)
    shape = (size, settings.source_frames, *settings.size, settings.channels)
    dtype = np.uint16 if settings.limits else np.uint8
    videos, lengths, labels = (
        np.zeros(shape, dtype),
        np.ones(size, np.int32),
        np.zeros(size, np.int32),
    )
    valid = np.zeros(size, np.float32)
    for index, (row, video) in enumerate(read):
        if video is not None:
            videos[index, : len(video)], lengths[index] = video, len(video)
            labels[index], valid[index] = split.labels[row], 1
    return Batch(videos, lengths, labels, valid)


def _attempt(path: Path, settings: Settings) -> Exception | None:
    """Reading must go on after a bad file, so that several are named at once."""
    try:
        read_video(path, settings)
    except UserError as error:
        return error
    return None


def _camera(settings: Settings) -> VideoDataset:
    frames = {name: in_channels(camera.clip_frames(name), settings) for name in camera.CLIPS}
    made_of = {"frames": digest_json({name: digest_array(clip) for name, clip in frames.items()})}
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
        train=_moves(train, "train", settings),
        val=None,
        test=_moves(test, settings.test_clip, settings),
        class_names=camera.CLASS_NAMES,
        unit="source frames",
        note=(
            f"the frames are real, from the clips {names} for training and {settings.test_clip} "
            "for testing; the camera's move over a frame is synthetic. Frames are mirrored and "
            "inverted at random, to make more of few clips. In the middle frame all six moves "
            "look the same, so one frame is at chance (16.67 %) by construction; opposite moves "
            "show the same frames in opposite order, so no method that does not see the order can "
            f"be right in more than half of the cases. The test moves go over {len(tested)} frames "
            "of one clip, and moves over the same frame count as one unit: intervals over units "
            "tell nothing about other clips."
        ),
        made_of=made_of,
    )


def _moves(moves: camera.Moves, name: str, settings: Settings) -> Split:
    ids = [f"{name}-frame{frame}-move{row}" for row, frame in enumerate(moves.sources)]
    return Split(tuple(ids), moves.labels, moves.sources, moves.videos, (), settings)


def _folder(settings: Settings) -> VideoDataset:
    root = Path(settings.data_dir)
    index = root / INDEX
    if not index.is_file():
        raise MissingFileError(f"--data_dir={root}: holds no {INDEX} (columns path,label,split)")
    rows = read_rows(
        index,
        required=("path", "label", "split"),
        files="path",
        must_exist=settings.limits is None,  # one of depth may be a folder
        outside_paths=settings.outside_paths,
    )
    refuse_missing([row.path for row in rows if row.path], str(index))
    names, labels = number_labels([row["label"] for row in rows], what=str(index))
    of_split = np.array([row["split"] for row in rows])
    evaluated = evaluated_split(of_split)
    known = set(labels[of_split == "train"].tolist())
    unknown = [name for label, name in enumerate(names) if label not in known]
    if unknown:
        raise UserError(f"{index}: no training video of {', '.join(unknown)}")
    if len(names) < 2:
        raise UserError(f"{index}: has {len(names)} class, at least two are needed")

    def chosen(which: str) -> Split | None:
        places = np.flatnonzero(of_split == which)
        ids = tuple(rows[place]["path"] for place in places)
        paths = tuple(root / name for name in ids)
        units = np.arange(len(places))
        return Split(ids, labels[places], units, None, paths, settings) if len(places) else None

    train, test = chosen("train"), chosen(evaluated)
    if train is None or test is None:
        raise UserError(f"{index}: no row of the split {'test' if train else 'train'}")
    notes = [lonely_classes(train.labels, names, "training video")]
    if evaluated == "val":
        notes.append("there is no test split: what is called test is the validation split")
    return VideoDataset(
        name=root.resolve().name,
        train=train,
        val=chosen("val") if evaluated == "test" else None,
        test=test,
        class_names=names,
        unit="videos",
        note=". ".join(note for note in notes if note),
        made_of={},
    )
