"""Frames of the segments of videos, ready for a trunk; some are decoded once and kept in memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.few_shot.frame_counts import FrameCounts
from experiments.few_shot.settings import Settings
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.shared.progress import progress
from experiments.vision.segments import (
    Chosen,
    candidates,
    center_view,
    cut,
    middle_frames,
    random_frames,
    random_view,
    read_chosen,
    read_whole,
)
from experiments.vision.trunks import Trunk
from experiments.vision.video import count_packets


@dataclass(frozen=True)
class Sampling:
    """How pictures are made of a video.

    Attributes:
        segments: of a video, a picture each.
        spread: frames of a segment that training may take, 0: all.
        side: of the pictures.
        scaled: side to which frames are scaled before.
        crop: of training, see `experiments.vision.segments.random_view`.
        flip: whether training mirrors half of the videos.
        max_pixels: of frames that are decoded.
    """

    segments: int
    spread: int
    side: int
    scaled: int
    crop: str
    flip: bool
    max_pixels: int

    @classmethod
    def of(cls, settings: Settings, trunk: Trunk) -> "Sampling":
        """Returns what the settings say for a trunk.

        Raises:
            UserError: pictures that the trunk cannot take.
        """
        side = settings.side or trunk.side
        smallest, divisor = getattr(trunk, "smallest", 1), getattr(trunk, "divisor", 1)
        if side < smallest or side % divisor:
            raise UserError(
                f"--side={side}: --trunk={settings.trunk} takes sides of at least {smallest}, "
                f"multiples of {divisor}"
            )
        scaled = settings.scaled_side or round(side * 8 / 7)
        if scaled < side:
            raise UserError(f"--scaled_side={scaled}: must be at least the side of {side}")
        return cls(
            settings.num_segments, settings.segment_frames, side, scaled,
            settings.train_crop, settings.flip, settings.max_pixels,
        )  # fmt: skip

    def tested(self, path: Path, length: int = 0) -> Chosen:
        """Decodes the middle frames of the segments, uint8 ``[T, side, side, 3]``, middle cut.

        Raises:
            UserError: see `experiments.vision.segments.read_chosen`.
        """
        return self.middle_of(read_chosen(path, self.middles, length=length, **self.form))

    def middles(self, length: int) -> np.ndarray:
        """Numbers of the middle frames of a video of so many."""
        return middle_frames(length, self.segments)

    def middle_of(self, chosen: Chosen) -> Chosen:
        """Cuts the middle of pictures."""
        view = center_view(self.scaled, self.side)
        return chosen._replace(pictures=cut(chosen.pictures, view, self.side))

    def eligible(self, length: int) -> np.ndarray:
        """Numbers of all frames that training may take of a video of so many."""
        return np.unique(np.concatenate(candidates(length, self.segments, self.spread)))

    @property
    def form(self) -> dict[str, Any]:
        """How frames are decoded, for `experiments.vision.segments`."""
        return {"size": (self.scaled, self.scaled), "max_pixels": self.max_pixels}


class Clips:
    """The videos of a meta split.

    Attributes:
        paths: of the files.
        lengths: frames of each.
    """

    def __init__(
        self,
        sampling: Sampling,
        paths: Sequence[Path],
        lengths: Sequence[int],
        kept: Mapping[int, Chosen],
    ) -> None:
        """Takes the videos, and pictures of some by their numbers, see `open_clips`."""
        self.paths, self.lengths = tuple(paths), tuple(lengths)
        self._sampling, self._kept, self._known = sampling, kept, Digests()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.paths)

    def digests(self, known: Digests) -> list[str]:
        """Digests of the files; from then on, reading one that was changed is an error."""
        self._known = known
        return known.of_files(self.paths)

    def tested(self, row: int) -> np.ndarray:
        """Returns what testing sees of a video, uint8 ``[T, side, side, 3]``.

        Raises:
            UserError: it can no longer be decoded, or was changed.
        """
        if row in self._kept:
            return self._kept[row].pictures
        with self._known.checked(self.paths[row]):
            return self._sampling.tested(self.paths[row], self.lengths[row]).pictures

    def trained(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """Returns what training sees of a video this time, uint8 ``[T, side, side, 3]``.

        Args:
            row: which video.
            rng: decides frames, crop and flip, whether pictures are kept or not.

        Raises:
            UserError: it can no longer be decoded, or was changed.
        """
        one = self._sampling
        numbers = random_frames(self.lengths[row], one.segments, rng, one.spread)
        view = random_view(one.crop, one.scaled, one.side, rng, flip=one.flip)
        if row in self._kept:
            kept = self._kept[row]
            pictures = kept.pictures[np.searchsorted(kept.numbers, numbers)]
        else:
            path = self.paths[row]
            with self._known.checked(path):
                chosen = read_chosen(path, lambda _: numbers, length=self.lengths[row], **one.form)
            pictures = chosen.pictures
        return cut(pictures, view, one.side)


class Opened(NamedTuple):
    """Videos that were decoded once.

    Attributes:
        clips: those that can be used, by split.
        bad: by split, why each of the others cannot, by its number among all of the split.
    """

    clips: dict[str, Clips]
    bad: dict[str, dict[int, Exception]]


def open_clips(
    paths: Mapping[str, Sequence[Path]],
    sampling: Sampling,
    counts: FrameCounts,
    *,
    cache_mb: int,
    num_threads: int,
) -> Opened:
    """Decodes videos once: how many frames each has, whether it can be used, what is kept.

    One that was decoded before is decoded again only to be kept. Sizes and times are printed.

    Args:
        paths: of the files by split; "train" is what training sees.
        sampling: see `Sampling`.
        counts: of videos that were decoded before; those of others are added.
        cache_mb: megabytes of pictures that are kept, of test, val and then train as they come.
        num_threads: files decoded at the same time.
    """
    places = [
        (split, number)
        for split in ("test", "val", "train")
        for number in range(len(paths.get(split, ())))
    ]
    with ThreadPoolExecutor(num_threads) as pool:

        def each(function: Callable[..., Any], arguments: Sequence[tuple], desc: str) -> list:
            found = pool.map(partial(_attempt, function), arguments)
            return list(progress(found, total=len(places), desc=desc, unit="video"))

        files = [paths[split][number] for split, number in places]
        packets = each(count_packets, [(file,) for file in files], "opening videos")
        room, is_kept = cache_mb * 1_000_000, []
        for (split, _), count in zip(places, packets, strict=True):
            size = _bytes(sampling, split, count) if isinstance(count, int) else room + 1
            is_kept.append(size <= room)
            room -= size if is_kept[-1] else 0
        began = time.monotonic()
        tasks = [
            (sampling, split, file, count, keep, None if keep else counts.get(file))
            for (split, _), file, count, keep in zip(places, files, packets, is_kept, strict=True)
        ]
        read = each(_read, tasks, "decoding videos once")
        seconds = time.monotonic() - began
    for file, one in zip(files, read, strict=True):
        if not isinstance(one, Exception):
            counts.note(file, one[0])
    known = sum(task[-1] is not None for task in tasks)
    clips, bad, used, count_kept = {}, {}, 0, 0
    for split in paths:
        found = [one for (name, _), one in zip(places, read, strict=True) if name == split]
        bad[split] = {n: one for n, one in enumerate(found) if isinstance(one, Exception)}
        good = [n for n in range(len(found)) if n not in bad[split]]
        kept = {row: found[n][1] for row, n in enumerate(good) if found[n][1] is not None}
        used += sum(one.pictures.nbytes for one in kept.values())
        count_kept += len(kept)
        clips[split] = Clips(
            sampling, [paths[split][n] for n in good], [found[n][0] for n in good], kept
        )
    wanted = sum(
        _bytes(sampling, split, count)
        for (split, _), count in zip(places, packets, strict=True)
        if isinstance(count, int)
    )
    print(
        f"Videos: {len(places):,}, {len(places) - known:,} decoded once in {seconds:.1f} s by "
        f"{num_threads} threads. "
        f"Pictures of {count_kept:,} are kept in memory, {used / 1e6:,.0f} MB of --cache_mb="
        f"{cache_mb}; those of all would take {wanted / 1e6:,.0f} MB. The others are decoded "
        "whenever they are read.",
        flush=True,
    )
    return Opened(clips, bad)


def _bytes(sampling: Sampling, split: str, length: int) -> int:
    """What is kept of a video takes so many."""
    if split != "train":
        return sampling.segments * sampling.side**2 * 3
    return (len(sampling.eligible(length)) if length else 0) * sampling.scaled**2 * 3


def _read(
    sampling: Sampling,
    split: str,
    path: Path,
    packets: int | Exception,
    keep: bool,
    known: int | None,
) -> tuple[int, Chosen | None]:
    if isinstance(packets, Exception):
        raise packets
    if known is not None:
        return known, None
    choose = sampling.eligible if split == "train" else sampling.middles
    length, chosen = read_whole(
        path,
        choose if keep else lambda _: np.zeros(0, np.int64),
        packets=packets,
        **sampling.form,
    )
    if chosen is not None and split != "train":
        chosen = sampling.middle_of(chosen)
    return length, chosen


def _attempt(function: Callable[..., Any], arguments: tuple) -> Any:
    """Reading must go on after a bad file, so that all are named at once."""
    try:
        return function(*arguments)
    except UserError as error:
        return error
