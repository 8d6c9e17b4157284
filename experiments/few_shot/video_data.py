"""Meta-training, -validation and -test classes of videos: a list, and how its files are read."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np

from experiments.few_shot.data import (
    Meta,
    Samples,
    check_enough,
    choose_rows,
    classes_of,
    left_out_note,
    read_class_splits,
)
from experiments.few_shot.frame_counts import FILE, FrameCounts
from experiments.few_shot.frames import Clips, Sampling, open_clips
from experiments.few_shot.sampling import Classes, sample_episodes
from experiments.few_shot.settings import Settings
from experiments.shared.csv_index import SPLITS, Row, read_rows
from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Digests
from experiments.shared.labels import number_labels
from experiments.vision.trunks import Trunk, open_trunk, trunk_identity


@dataclass(frozen=True, eq=False)
class VideoSplit(Samples):
    """Videos of some classes.

    Attributes:
        clips: their files.
    """

    clips: Clips


@dataclass(frozen=True, eq=False)
class VideoData(Meta[VideoSplit]):
    """Videos, and the trunk that makes features of their frames.

    Attributes:
        sampling: how pictures are made of them.
        trunk: as it is before any training.
        left_out: (path, reason) of videos that cannot be used.
        counts: the frames of all others.
    """

    sampling: Sampling
    trunk: Trunk
    left_out: tuple[tuple[str, str], ...]
    counts: FrameCounts

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of the videos and the trunk."""
        one = self.sampling
        return {
            "Frames": f"{one.segments} segments of a video, {one.side} x {one.side} pixels of "
            f"{one.scaled} x {one.scaled}",
            "Trunk": f"{self.trunk.num_features:,} features of a frame",
        }

    def identity(self, settings: Settings, digests: Digests) -> dict[str, Any]:
        """What tells the data and the trunk from every other, of JSON's types.

        Raises:
            UserError: a file cannot be read, or was changed.
        """
        files = {name: one.clips.digests(digests) for name, one in self.splits.items()}
        return self.identity_of(files) | {"trunk": job_trunk_identity(settings, digests)}


def load_videos(settings: Settings) -> VideoData:
    """Reads the list of videos, and decodes each once.

    Raises:
        UserError: a list that cannot be used, classes that are too few, too small or in two splits,
            a video that cannot be decoded, an unknown trunk.
    """
    trunk = open_job_trunk(settings, seed=settings.seeds[0])
    sampling = Sampling.of(settings, trunk)
    path = Path(settings.videos)
    rows = read_rows(
        path,
        required=("path", "label"),
        splits=not settings.class_splits,
        files="path",
        outside_paths=settings.outside_paths,
    )
    class_names, labels = number_labels([row["label"] for row in rows], what=str(path))
    if settings.class_splits:
        splits = read_class_splits(settings.class_splits, class_names)
    else:
        splits = _splits_of(path, rows, class_names, labels)
    notes = left_out_note(class_names, splits, "list")
    chosen = {
        split: choose_rows(labels, class_names, names, settings)
        for split, names in splits.items()
        if names
    }
    check_enough(chosen, settings)
    files = {
        split: [_file(rows[row]) for of_class in parts.values() for row in of_class]
        for split, parts in chosen.items()
    }
    counts = FrameCounts(Path(settings.out_dir) / FILE)
    # Where nothing is trained the others are never looked at.
    opened = open_clips(
        files if settings.trained else {"test": files["test"]},
        sampling,
        counts,
        cache_mb=settings.cache_mb,
        num_threads=settings.num_threads,
    )
    clips = {name: Clips(sampling, paths, (), {}) for name, paths in files.items()} | opened.clips
    bad = {name: opened.bad.get(name, {}) for name in files}
    failures = [(files[split][n], error) for split in bad for n, error in bad[split].items()]
    if failures and not settings.skip_bad:
        raise_all(
            [error for _, error in failures],
            f"{path}: videos that cannot be used (mend the list, or leave them out by --skip_bad)",
        )
    if failures:
        videos = "video is" if len(failures) == 1 else "videos are"
        notes.append(f"{len(failures)} {videos} left out, see failed.csv")
    made = {}
    for split, of_class in chosen.items():
        first, kept = 0, {}
        for name, its_rows in of_class.items():
            numbers = range(first, first + len(its_rows))
            kept[name] = [
                row for row, n in zip(its_rows, numbers, strict=True) if n not in bad[split]
            ]
            first += len(its_rows)
        chosen[split] = {name: np.array(one, np.int64) for name, one in kept.items()}
        made[split] = VideoSplit(
            ids=tuple(rows[row]["path"] for one in kept.values() for row in one),
            class_names=tuple(kept),
            classes=classes_of(kept),
            clips=clips[split],
        )
    check_enough(chosen, settings)
    return VideoData(
        name=path.resolve().parent.name,
        train=made["train"],
        val=made.get("val"),
        test=made["test"],
        note="; ".join(notes),
        sampling=sampling,
        trunk=trunk,
        left_out=tuple((str(file), _reason(error, file)) for file, error in failures),
        counts=counts,
    )


def open_job_trunk(settings: Settings, *, seed: int, weights: str | None = None) -> Trunk:
    """Opens the trunk that the settings name.

    Args:
        settings: say which.
        seed: of random weights.
        weights: in place of those of the settings.

    Raises:
        UserError: see `experiments.vision.trunks.open_trunk`.
    """
    try:
        return open_trunk(
            settings.trunk,
            weights=settings.trunk_weights if weights is None else weights,
            seed=seed,
            precision=settings.precision,
            remat=settings.remat,
        )
    except UserError as error:
        raise UserError(f"--trunk={settings.trunk}: {error}") from error


def job_trunk_identity(
    settings: Settings, digests: Digests, weights: str | None = None
) -> dict[str, str]:
    """What tells a trunk from every other, of JSON's types.

    Args:
        settings: say which.
        digests: what is known of files.
        weights: in place of those of the settings.

    Raises:
        UserError: a file is not there.
    """
    named = settings.trunk_weights if weights is None else weights
    return trunk_identity(settings.trunk, named, digests)


def training_pictures(
    split: VideoSplit,
    settings: Settings,
    *,
    seed: int,
    epoch: int,
    process_index: int = 0,
    process_count: int = 1,
    filled: int = 0,
) -> Generator[np.ndarray, None, None]:
    """Reads the videos of an epoch's steps, up to a step ahead, by threads.

    Each video is a pure function of (seed, number of the episode, place in it).

    Args:
        split: of meta-training.
        settings: say what an episode is, and how many there are.
        seed: of episodes, frames, crops and flips.
        epoch: from 0: episodes are numbered through the whole run.
        process_index: of the processes that share the episodes of a step, the one that asks.
        process_count: how many share them; the first one has the first ones.
        filled: episodes that a step is filled up to, with the last one again, so that devices can
            divide them; 0: none are added.

    Returns:
        A generator of uint8 ``[episodes, way * (queries + shots), T, side, side, 3]``, one a step:
        of each episode the queries, class by class, then the supports. `close` it to stop early.
    """
    steps, episodes = settings.steps_per_epoch, settings.batch_episodes
    first = epoch * steps * episodes
    rows = _episode_rows(split.classes, settings, seed, first, steps * episodes)
    videos = rows.shape[1]
    clips = split.clips

    def read(place: int) -> np.ndarray:
        number, slot = divmod(place, videos)
        rng = np.random.default_rng((seed, first + number, slot))
        return clips.trained(int(rows[number, slot]), rng)

    of_step = np.minimum(np.arange(filled or episodes), episodes - 1)
    own = np.split(of_step, process_count)[process_index]
    numbers = np.arange(steps)[:, None] * episodes + own
    places = numbers[..., None] * videos + np.arange(videos)
    size = len(own) * videos

    def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(pictures).reshape(len(own), videos, *pictures[0].shape)

    source = grain.MapDataset.source(places.reshape(-1)).map(read)
    ahead = max(settings.num_threads, size)
    options = grain.ReadOptions(num_threads=settings.num_threads, prefetch_buffer_size=ahead)
    return _closing(source.to_iter_dataset(options).batch(size, batch_fn=stack))


def middle_pictures(
    split: VideoSplit, settings: Settings
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Reads what testing sees of all videos of a split, in their order, by threads.

    Returns:
        A generator of (how many videos, uint8 ``[videos_at_once, T, side, side, 3]``), those of the
        last that are missing being zeros.
    """
    count = settings.videos_at_once

    def stack(pictures: Sequence[np.ndarray]) -> tuple[int, np.ndarray]:
        found = np.stack(pictures)
        rest = ((0, count - len(found)), *((0, 0),) * (found.ndim - 1))
        return len(found), np.pad(found, rest)

    source = grain.MapDataset.range(len(split.ids)).map(split.clips.tested)
    ahead = max(settings.num_threads, count)
    options = grain.ReadOptions(num_threads=settings.num_threads, prefetch_buffer_size=ahead)
    return _closing(source.to_iter_dataset(options).batch(count, batch_fn=stack))


def _closing(batches: grain.IterDataset) -> Generator[Any, None, None]:
    """Iterates, and ends the reading threads also where the caller stops early."""
    iterator = iter(batches)
    try:
        yield from iterator
    finally:
        iterator.close()


def _episode_rows(
    classes: Classes, settings: Settings, seed: int, first: int, count: int
) -> np.ndarray:
    """Rows of the videos of episodes, int ``[count, way * (queries + shots)]``."""
    numbers = first + jnp.arange(count, dtype=jnp.int32)
    query, support = sample_episodes(
        seed,
        numbers,
        classes,
        way=settings.way,
        shots=settings.train_shots,
        queries=settings.queries,
    )
    return np.concatenate([np.asarray(query), np.asarray(support).reshape(count, -1)], axis=1)


def _splits_of(
    path: Path, rows: Sequence[Row], class_names: Sequence[str], labels: np.ndarray
) -> dict[str, list[str]]:
    """The classes of each split, by the column of the list."""
    found: Mapping[str, list[int]] = {name: [] for name in SPLITS}
    errors: list[Exception] = []
    split_of: dict[int, str] = {}
    for row, label in zip(rows, labels.tolist(), strict=True):
        split = row["split"]
        if label not in split_of:
            found[split].append(label)
        elif split_of[label] != split:
            errors.append(
                UserError(
                    f"{row.where}: class '{class_names[label]}' is in '{split_of[label]}' and in "
                    f"'{split}'"
                )
            )
        split_of.setdefault(label, split)
    raise_all(
        errors,
        f"{path}: what is tested on must be classes that nothing was trained on; say which by "
        "--class_splits (a CSV file with the columns class,split)",
    )
    for split in ("train", "test"):
        if not found[split]:
            raise UserError(f"{path}: has no video of the split '{split}'; or give --class_splits")
    return {split: [class_names[k] for k in sorted(of_split)] for split, of_split in found.items()}


def _file(row: Row) -> Path:
    assert row.path is not None
    return row.path


def _reason(error: Exception, file: Path) -> str:
    return " ".join(str(error).split()).removeprefix(f"{file}: ")
