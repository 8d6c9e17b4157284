"""One video as a stream of what the encoder is given, with the frames that are still needed alone.

What a video is found to hold goes to whoever asked as a series of messages: `Begin`, then any
number of `Pictures`, and `End`; or `Failure`, whatever came before. A second `Begin` takes back the
messages before it. This module runs in processes that do nothing else: it imports no jax.
"""

import hashlib
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.extract_tse.windows import Plan, Windows
from experiments.shared.errors import UserError
from experiments.vision.video import (
    Frame,
    Header,
    TrueLength,
    count_packets,
    read_header,
    stream_video,
)

_MESSAGE_BYTES = 4_000_000
_WHOLE = 0.9  # of what a header names: a few frames less are common, and no harm
_DIGEST_LENGTH = 32


class Source(NamedTuple):
    """A video file as it was when it was read: its size, time of last change, and digest."""

    size: int
    mtime_ns: int
    digest: str


class Begin(NamedTuple):
    """A video has been opened that should have so many frames; what was sent of it is void."""

    length: int


class Pictures(NamedTuple):
    """The next windows ``[n, k, H, W, 3]``; for encoders of single pictures the next frames, k = 1.

    Attributes:
        pictures: uint8.
    """

    pictures: np.ndarray


class End(NamedTuple):
    """All of a video has been sent.

    Attributes:
        seconds: float64 ``[L]``, the time stamp of each frame.
        note: what was unusual, a few words; or empty.
        source: the file.
        busy: seconds that decoding took, without those spent waiting for the reader.
    """

    seconds: np.ndarray
    note: str
    source: Source
    busy: float


class Failure(NamedTuple):
    """A video cannot be used.

    Attributes:
        reason: one line.
    """

    reason: str


Message = Begin | Pictures | End | Failure


@dataclass(frozen=True)
class Task:
    """What to decode and how.

    Attributes:
        path: of the video.
        windows: which frames of it.
        frames: pictures of each window; None: every frame goes out once.
        size: height and width of the pictures.
        crop: how they come to that size, see `stream_video`.
        max_pixels: larger pictures are not decoded.
        max_bytes: of pictures that may be held at once.
        allow_truncated: take what there is of a file that ends before its header says.
    """

    path: str
    windows: Windows
    frames: int | None
    size: tuple[int, int]
    crop: str
    max_pixels: int
    max_bytes: int
    allow_truncated: bool = False


def decode(task: Task) -> Iterator[Message]:
    """Decodes one video; whatever is wrong with it is a `Failure`, never an exception."""
    try:
        yield from _decode(task)
    except UserError as error:
        yield Failure(_one_line(error, task))
    except Exception as error:  # of all the files of the world, one will raise it
        yield Failure(_one_line(f"{type(error).__name__}: {error}", task))


def source_of(path: Path | str) -> Source:
    """Reads a file once for its `Source`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_LENGTH]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return Source(status.st_size, status.st_mtime_ns, digest)


def _decode(task: Task) -> Iterator[Message]:
    clock = _Clock()
    length = count_packets(task.path)  # raises for what is no video
    source = source_of(task.path)
    header = read_header(task.path)
    known = TrueLength(task.path, length)
    while True:
        if known.length:
            yield from clock.without(Begin(known.length))
        seconds = yield from _windows(task, known.length, clock)
        # The packets are nearly always as many as the frames; where not, the plan was wrong.
        if known.agrees(len(seconds)):
            break
    if os.stat(task.path).st_mtime_ns != source.mtime_ns:
        raise UserError(f"{task.path}: was changed while it was read")
    stamps, notes = _stamps(seconds, header.rate)
    share, shown = _present(stamps, header)
    if share < _WHOLE and not task.allow_truncated:
        raise UserError(
            f"{task.path}: {shown}; it is truncated, or give --allow_truncated if this is meant"
        )
    notes += [shown] if shown else []
    yield End(stamps, "; ".join(notes), source, clock.busy())


def _windows(
    task: Task, length: int, clock: "_Clock"
) -> Generator[Message, None, list[float | None]]:
    """Sends the pictures of a video of L frames; returns the time stamps that were found."""
    if not length:  # no packets, yet there may be frames
        return [frame.seconds for frame in stream_video(task.path, wanted=())]
    plan = Plan.of(task.windows, length, task.frames)
    seconds: list[float | None] = []
    group: list[np.ndarray] = []
    for pictures in _planned(task, plan, seconds):
        group.append(pictures)
        if sum(pictures.nbytes for pictures in group) >= _MESSAGE_BYTES:
            yield from clock.without(Pictures(np.stack(group)))
            group = []
    if group:
        yield from clock.without(Pictures(np.stack(group)))
    return seconds


def _planned(task: Task, plan: Plan, seconds: list[float | None]) -> Iterator[np.ndarray]:
    """Yields each window ``[k, H, W, 3]`` when it is complete, or each frame that is in one."""
    if plan.samples is None:
        for frame in _frames(task, set(plan.covered()), seconds):
            if frame.picture is not None:
                yield frame.picture[None]
        return
    most = plan.most_kept() * task.size[0] * task.size[1] * 3
    if most > task.max_bytes:
        raise UserError(
            f"{task.path}: {plan.length} frames in windows that overlap so much need "
            f"{most / 1e6:,.0f} MB of pictures at once, more than --max_memory"
        )
    users = plan.last_users()
    kept: dict[int, np.ndarray] = {}
    next_window = 0
    for frame in _frames(task, set(np.flatnonzero(users >= 0).tolist()), seconds):
        if frame.picture is not None:
            kept[frame.number] = frame.picture
        while next_window < len(plan.ready) and plan.ready[next_window] <= frame.number:
            samples = plan.samples[next_window].tolist()
            yield np.stack([kept[number] for number in samples])
            for number in set(samples):
                if users[number] == next_window:
                    del kept[number]
            next_window += 1


def _frames(task: Task, wanted: set[int], seconds: list[float | None]) -> Iterator[Frame]:
    """Yields the frames of a video and notes their time stamps."""
    for frame in stream_video(
        task.path,
        size=task.size,
        crop=task.crop,
        wanted=wanted,
        max_pixels=task.max_pixels,
        num_threads=1,  # there are as many processes as there should be threads
    ):
        seconds.append(frame.seconds)
        yield frame


def _stamps(seconds: list[float | None], rate: float | None) -> tuple[np.ndarray, list[str]]:
    """Time stamps in seconds, of the file if it has one for each frame; and a note if not."""
    found = np.array([np.nan if second is None else second for second in seconds])
    if np.isfinite(found).all() and (np.diff(found) >= 0).all():
        return found, []
    if rate is None:
        return np.arange(len(found), dtype=np.float64), ["no time stamps: numbers of frames"]
    return np.arange(len(found)) / rate, [f"no time stamps: {rate:g} frames a second"]


def _present(stamps: np.ndarray, header: Header) -> tuple[float, str]:
    """Which share there is of what the header names, and in words if it is not the same."""
    if header.frames:
        words = f"{len(stamps)} frames of the {header.frames} that its header names"
        return len(stamps) / header.frames, words if len(stamps) != header.frames else ""
    if not header.seconds or len(stamps) < 2:
        return 1.0, ""
    # The last frame is shown for about as long as the others are.
    seconds = float(stamps[-1] - stamps[0]) * len(stamps) / (len(stamps) - 1)
    share = seconds / header.seconds
    words = f"{seconds:.2f} seconds of the {header.seconds:.2f} that its header names"
    return share, words if share < _WHOLE else ""


def _one_line(error: Exception | str, task: Task) -> str:
    """The reason of a failure, without the path, which stands beside it."""
    return " ".join(str(error).split()).removeprefix(f"{task.path}: ")


class _Clock:
    """Time that passes, but for what the reader takes."""

    def __init__(self) -> None:
        self._began, self._waited = time.perf_counter(), 0.0

    def without(self, message: Message) -> Iterator[Message]:
        began = time.perf_counter()
        yield message
        self._waited += time.perf_counter() - began

    def busy(self) -> float:
        return time.perf_counter() - self._began - self._waited
