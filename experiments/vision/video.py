"""Videos as arrays, decoded by PyAV."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from experiments.shared.errors import MissingFileError, UserError

# Errors of PyAV are OSError or ValueError by their second base, but not all of them.
_DECODING_ERRORS = (av.FFmpegError, OSError, ValueError, EOFError)

# Titles and the like may be in any encoding; they are not what is asked for. PyAV 19 minds none
# and no longer has the argument.
_ANY_TITLE: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
)


def read_video(
    path: Path | str, *, size: tuple[int, int] | None = None, max_frames: int | None = None
) -> np.ndarray:
    """Decodes a whole video.

    Args:
        path: any file that FFmpeg reads.
        size: height and width to scale to (bicubic, the aspect is not kept); None: as stored.
        max_frames: stop after so many.

    Returns:
        uint8 ``[T, H, W, 3]``, RGB.

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, or has no frame.
    """
    frames = list(video_frames(path, size=size, max_frames=max_frames))
    if not frames:
        raise UserError(f"{path}: holds no frame of video")
    return np.stack(frames)


def sampled_video(
    path: Path | str, count: int, *, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, int]:
    """Decodes a video of any length and keeps some frames, in their memory alone.

    Args:
        path: any file that FFmpeg reads.
        count: how many frames to keep, sampled uniformly: of T frames number ``k * T // count``; of
            fewer frames all.
        size: as in `read_video`.

    Returns:
        (uint8 ``[min(T, count), H, W, 3]``, T).

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, or has no frame.
    """
    # The packets, which need no decoding, tell nearly always how many frames there are.
    total = _count_packets(path)
    while True:
        keep = min(total, count)
        wanted = set((np.arange(keep) * total // max(keep, 1)).tolist())
        frames, found = [], 0
        for frame in _decoded(path, size, wanted):
            found += 1
            if frame is not None:
                frames.append(frame)
        if not found:
            raise UserError(f"{path}: holds no frame of video")
        if found == total:
            return np.stack(frames), total
        total = found


def video_frames(
    path: Path | str, *, size: tuple[int, int] | None = None, max_frames: int | None = None
) -> Iterator[np.ndarray]:
    """Decodes a video frame by frame; see `read_video`."""
    for frame in islice(_decoded(path, size), max_frames):
        if frame is not None:
            yield frame


def frame_rate(path: Path | str) -> float | None:
    """Frames per second of a video, None where the file does not say.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is not a video.
    """
    with _opened(path) as container:
        rate = container.streams.video[0].average_rate
    return None if rate is None else float(rate)


def _decoded(
    path: Path | str, size: tuple[int, int] | None, wanted: Container[int] | None = None
) -> Iterator[np.ndarray | None]:
    """Each frame; None for those whose number is not wanted, which saves most of the time."""
    height, width = (None, None) if size is None else size
    with _opened(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if wanted is None or number in wanted:
                yield frame.to_ndarray(format="rgb24", height=height, width=width)
            else:
                yield None


def _count_packets(path: Path | str) -> int:
    with _opened(path) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    """Opens a file that has a video stream; what fails while it is read is the file's fault."""
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such video")
    try:
        with av.open(str(path), **_ANY_TITLE) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            yield container
    except _DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded as video ({error})") from error
