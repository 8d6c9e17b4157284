"""Videos as arrays, decoded by PyAV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

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
        FileNotFoundError: there is no such file.
        ValueError: it does not decode, or has no frame.
    """
    frames = list(video_frames(path, size=size, max_frames=max_frames))
    if not frames:
        raise ValueError(f"{path}: holds no frame of video")
    return np.stack(frames)


def video_frames(
    path: Path | str, *, size: tuple[int, int] | None = None, max_frames: int | None = None
) -> Iterator[np.ndarray]:
    """Decodes a video frame by frame; see `read_video`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such video")
    height, width = (None, None) if size is None else size
    try:
        with av.open(str(path), **_ANY_TITLE) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            for number, frame in enumerate(container.decode(video=0)):
                if number == max_frames:
                    return
                yield frame.to_ndarray(format="rgb24", height=height, width=width)
    except _DECODING_ERRORS as error:
        raise ValueError(f"{path}: cannot be decoded as video ({error})") from error


def frame_rate(path: Path | str) -> float | None:
    """Frames per second of a video, None where the file does not say.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a video.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such video")
    try:
        with av.open(str(path), **_ANY_TITLE) as container:
            if not container.streams.video:
                raise ValueError("it has no video stream")
            rate = container.streams.video[0].average_rate
    except _DECODING_ERRORS as error:
        raise ValueError(f"{path}: cannot be decoded as video ({error})") from error
    return None if rate is None else float(rate)
