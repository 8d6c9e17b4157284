"""Videos as arrays, decoded by PyAV.

Pictures are as a player shows them: turned as the file's metadata say. Pixels that are not square
are taken as if they were, transparency is dropped, and of a file with several video streams the
first is read that is not the cover of a piece of music.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from experiments.shared.errors import MissingFileError, UserError

SUFFIXES = tuple(
    f".{name}" for name in "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv webm wmv y4m".split()
)
"""Of files in a folder that are taken for videos. (A .ts may be a table of numbers as well.)"""

# Errors of PyAV are OSError or ValueError by their second base, but not all of them.
_DECODING_ERRORS = (av.FFmpegError, OSError, ValueError, EOFError)

# Titles and the like may be in any encoding; they are not what is asked for. PyAV 19 minds none
# and no longer has the argument.
_ANY_TITLE: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
)
# Of these FFmpeg reads other files or devices: what a file names is not asked for either.
_OF_OTHERS = frozenset(
    "alsa concat dash fbdev hls imf jack kmsgrab lavfi openal oss pulse rtp rtsp sap sdp sndio "
    "video4linux2,v4l2 webm_dash_manifest x11grab xcbgrab".split()
)
_OPENING = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - _OF_OTHERS)),
}
_MAX_PIXELS = 2**26
"""Of a picture where the caller names no limit: four times 4K. A few bytes may ask for any size."""

_ATTACHED_PICTURE = 0x400  # of the dispositions of a stream: AV_DISPOSITION_ATTACHED_PIC


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
        number: counted from 0 in the order that frames are shown.
        seconds: its time stamp, on the file's own clock, which need not begin at 0; None where the
            file has none.
        picture: uint8 ``[H, W, 3]``, RGB; None where it was not asked for.
    """

    number: int
    seconds: float | None
    picture: np.ndarray | None


class Header(NamedTuple):
    """What a file says of itself, which may be wrong.

    Attributes:
        frames: how many there are; 0 where it does not say.
        seconds: how long it is, sound included; 0 where it does not say.
        rate: frames per second; None where it does not say.
    """

    frames: int
    seconds: float
    rate: float | None


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
        count: how many frames to keep, see `uniform`.
        size: as in `read_video`.

    Returns:
        (uint8 ``[min(T, count), H, W, 3]``, T).

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, or has no frame.
    """
    stream = partial(stream_video, path, size=size)
    return picked_frames(path, count_packets(path), partial(uniform, count=count), stream)


def uniform(total: int, count: int) -> np.ndarray:
    """Numbers of `count` frames among `total`: ``k * total // count``; of fewer frames all."""
    keep = min(total, count)
    return np.arange(keep) * total // max(keep, 1)


def picked_frames(
    path: Path | str,
    length: int,
    choose: Callable[[int], np.ndarray],
    stream: Callable[..., Iterable[Frame]],
) -> tuple[np.ndarray, int]:
    """Goes through a video once and keeps the frames that are chosen by its length.

    No other picture is held, nor converted. Should the video have another number of frames than was
    thought, they are chosen again, and it is decoded again.

    Args:
        path: of the video, for messages.
        length: how many frames it should have.
        choose: their numbers, by how many there are: at least one, in any order and repeated at
            will.
        stream: called with `wanted`, as `stream_video` has it, for all frames.

    Returns:
        (the pictures ``[K, H, W, C]`` in the order of their numbers, how many frames there are).

    Raises:
        UserError: it has no frame, or whatever `stream` raises.
    """
    known = TrueLength(path, length)
    while True:
        numbers = choose(known.length) if known.length else np.zeros(0, np.int64)
        kept: dict[int, np.ndarray] = {}
        found = 0
        for frame in stream(wanted=set(numbers.tolist())):
            found += 1
            if frame.picture is not None:
                kept[frame.number] = frame.picture
        if known.agrees(found):
            return np.stack([kept[number] for number in numbers.tolist()]), found


class TrueLength:
    """How many frames a video has: first as its packets say, which need no decoding, then as found.

    Attributes:
        length: what to plan with.
    """

    def __init__(self, path: Path | str, length: int) -> None:
        """Takes what it should be; the path is for messages."""
        self.length = length
        self._path, self._tried = path, [length]

    def agrees(self, found: int) -> bool:
        """Whether so many frames were found as were planned; else `length` is what was found.

        Raises:
            UserError: there is none, or another number each time.
        """
        if not found:
            raise UserError(f"{self._path}: holds no frame of video")
        if found == self.length:
            return True
        if found in self._tried:
            raise UserError(f"{self._path}: has another number of frames each time, {self._tried}")
        self.length = found
        self._tried.append(found)
        return False


def video_frames(
    path: Path | str, *, size: tuple[int, int] | None = None, max_frames: int | None = None
) -> Iterator[np.ndarray]:
    """Decodes a video frame by frame; see `read_video`."""
    for frame in islice(stream_video(path, size=size), max_frames):
        if frame.picture is not None:
            yield frame.picture


def stream_video(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    crop: str = "stretch",
    wanted: Container[int] | None = None,
    max_pixels: int | None = None,
    num_threads: int | None = None,
) -> Iterator[Frame]:
    """Decodes a video frame by frame, none of which is kept.

    Args:
        path: any file that FFmpeg reads.
        size: height and width of the pictures; None: as stored.
        crop: how a picture comes to `size`: "stretch" scales it, whatever its aspect; "center"
            scales it until it covers the size and cuts off what sticks out, equally on both sides.
        wanted: numbers of the frames whose pictures are wanted; None: all. To convert no others
            saves most of the time.
        max_pixels: the largest picture that is decoded; None: of 64 million pixels.
        num_threads: that decode; None: as PyAV chooses.

    Yields:
        Every frame, in the order that they are shown.

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, or has pictures beyond `max_pixels`.
    """
    reformatter = VideoReformatter()
    return convert_frames(
        path,
        lambda frame: _picture(frame, size, crop, reformatter),
        wanted=wanted,
        max_pixels=max_pixels,
        num_threads=num_threads,
    )


def convert_frames(
    path: Path | str,
    convert: Callable[[av.VideoFrame], np.ndarray],
    *,
    wanted: Container[int] | None = None,
    max_pixels: int | None = None,
    num_threads: int | None = None,
) -> Iterator[Frame]:
    """Decodes a video frame by frame, as `stream_video` does, with a conversion of your own.

    Args:
        path: as for `stream_video`, as are those that are not named here.
        convert: called with PyAV's frames that are wanted, as they are stored.
        wanted: see there.
        max_pixels: see there.
        num_threads: see there.

    Yields:
        Every frame, in the order that they are shown.

    Raises:
        MissingFileError: there is no such file.
        UserError: as for `stream_video`, or what `convert` raises.
    """
    with _opened(path) as (container, stream):
        if num_threads is not None:
            stream.codec_context.thread_count = num_threads
        _check_pixels(path, stream.codec_context, max_pixels)
        number = 0
        try:
            for number, frame in enumerate(container.decode(stream)):
                _check_pixels(path, frame, max_pixels)
                picture = None
                if wanted is None or number in wanted:
                    picture = convert(frame)
                yield Frame(number, frame.time, picture)
        except UserError:
            raise
        except _DECODING_ERRORS as error:
            if not number:
                raise
            raise UserError(
                f"{path}: cannot be decoded past frame {number} ({error}); is it truncated?"
            ) from error


def count_packets(path: Path | str) -> int:
    """Returns how many frames a video should have by its packets, without decoding any.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is not a video.
    """
    with _opened(path) as (container, stream):
        return sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))


def read_header(path: Path | str) -> Header:
    """Returns what the header of a video says of its length, without decoding.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is not a video.
    """
    with _opened(path) as (container, stream):
        rate, seconds = stream.average_rate, 0.0
        # Of other formats FFmpeg may have guessed it from the size of the file.
        if "matroska" in container.format.name and container.duration:
            seconds = container.duration / av.time_base
        return Header(stream.frames, seconds, float(rate) if rate else None)


def frame_rate(path: Path | str) -> float | None:
    """Frames per second of a video, None where the file does not say.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is not a video.
    """
    return read_header(path).rate


def _picture(
    frame: Any, size: tuple[int, int] | None, crop: str, reformatter: VideoReformatter
) -> np.ndarray:
    """A frame as RGB, turned as it is shown, and scaled and cut to `size`."""
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise
    shown = (frame.width, frame.height)[:: -1 if quarters % 2 == 0 else 1]  # height, width
    scaled = shown if size is None else size
    if size is not None and crop == "center":
        factor = max(wanted / side for wanted, side in zip(size, shown, strict=True))
        scaled = tuple(
            max(wanted, round(side * factor)) for wanted, side in zip(size, shown, strict=True)
        )
    height, width = scaled[:: -1 if quarters % 2 else 1]  # as stored
    # Scaled before it is turned: there is less to turn.
    picture = reformatter.reformat(frame, width=width, height=height, format="rgb24").to_ndarray()
    picture = np.rot90(picture, quarters)
    if size is not None:
        top, left = ((side - wanted) // 2 for side, wanted in zip(scaled, size, strict=True))
        picture = picture[top : top + size[0], left : left + size[1]]
    return np.ascontiguousarray(picture)


def _check_pixels(path: Path | str, shape: Any, max_pixels: int | None) -> None:
    most = _MAX_PIXELS if max_pixels is None else max_pixels
    if shape.width * shape.height > most:
        raise UserError(
            f"{path}: pictures of {shape.width} x {shape.height} pixels, more than {most}"
        )


@contextmanager
def _opened(path: Path | str) -> Iterator[tuple[Any, Any]]:
    """Opens a file and its video stream; what fails while it is read is the file's fault."""
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such video")
    try:
        with av.open(str(path), options=_OPENING, **_ANY_TITLE) as container:
            streams = [
                stream
                for stream in container.streams.video
                if not int(stream.disposition) & _ATTACHED_PICTURE
            ]
            if not streams:
                raise ValueError("it has no video stream")
            if streams[0].codec_context is None:
                raise ValueError("FFmpeg has no decoder for its codec")
            yield container, streams[0]
    except UserError:
        raise
    except _DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded as video ({error})") from error
