"""One frame of each equal part of a video, chosen while it is decoded, and cut for training.

This is the sampling of TSN (Wang et al., "Temporal Segment Networks", ECCV 2016): a video of T
frames is divided into equal segments; training takes a random frame of each, testing the middle
one. Of a video that is decoded only those frames are kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.shared.errors import UserError
from experiments.vision.video import TrueLength, count_packets, stream_video

CROPS = ("random", "multiscale", "resized", "center")
"""How `random_view` cuts pictures."""

_SCALES = (1.0, 0.875, 0.75, 0.66)  # of TSN's multi-scale cropping
# Corners, middle, middles of the sides and of the quarters, in quarters of what is cut off.
_PLACES = (
    (0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4),
    (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3),
)  # fmt: skip
_AREA, _ASPECT = (0.4, 1.0), (3 / 4, 4 / 3)  # of "resized"


class Chosen(NamedTuple):
    """Frames of a video.

    Attributes:
        pictures: uint8 ``[K, H, W, 3]``.
        numbers: int ``[K]``, which frames they are; a number may come more than once.
        seconds: float64 ``[K]``, when they are shown, since the first frame of the video; NaN where
            the file does not say.
        length: how many frames the video was taken to have.
    """

    pictures: np.ndarray
    numbers: np.ndarray
    seconds: np.ndarray
    length: int


class View(NamedTuple):
    """The part of a picture that is shown, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def middle_frames(length: int, count: int) -> np.ndarray:
    """The middle frame, int ``[count]``, of each of `count` equal parts of `length` frames.

    Of fewer frames than parts some come more than once.
    """
    return ((2 * np.arange(count) + 1) * length) // (2 * count)


def candidates(length: int, count: int, spread: int = 0) -> list[np.ndarray]:
    """The frames that may stand for each of `count` equal parts of `length` frames.

    Args:
        length: frames of the video, at least 1.
        count: parts. Of fewer frames than parts some stand for several.
        spread: at most so many frames a part, evenly spread over it; 0: all.

    Returns:
        `count` arrays of whole numbers, none of them empty.
    """
    bounds = np.arange(count + 1) * length // count
    found = []
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        size = max(end - first, 1)
        kept = size if not spread else min(size, spread)
        found.append(first + middle_frames(size, kept))
    return found


def random_frames(length: int, count: int, rng: np.random.Generator, spread: int = 0) -> np.ndarray:
    """A random frame, int ``[count]``, of each of `count` equal parts; see `candidates`."""
    shares = rng.random(count)
    parts = candidates(length, count, spread)
    return np.array([part[int(u * len(part))] for part, u in zip(parts, shares, strict=True)])


def read_chosen(
    path: Path | str,
    choose: Callable[[int], np.ndarray],
    *,
    size: tuple[int, int] | None,
    max_pixels: int | None = None,
    length: int = 0,
    crop: str = "stretch",
) -> Chosen:
    """Decodes some frames of a video, as far as the last of them, in one thread.

    Args:
        path: any file that FFmpeg reads.
        choose: returns the numbers of the frames, int ``[K]`` and not falling, of a video of so
            many frames.
        size: height and width of the pictures, None: as they are stored.
        max_pixels: the largest picture that is decoded.
        length: how many frames there are, where that is known; 0: by the packets, which need no
            decoding, and where there are fewer frames than packets, `choose` is asked again.
        crop: how a picture comes to `size`, see `stream_video`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, has no frame, or not as many as `length`.
    """
    known = TrueLength(path, length or count_packets(path))
    while True:
        numbers = choose(known.length) if known.length else np.zeros(0, np.int64)
        chosen, found = _decode(path, numbers, size, max_pixels, crop)
        if chosen is not None:
            return Chosen(*chosen, known.length)
        if length or known.agrees(found):
            raise UserError(f"{path}: has {found} frames, not {length}; was it changed?")


def read_whole(
    path: Path | str,
    choose: Callable[[int], np.ndarray],
    *,
    packets: int,
    size: tuple[int, int],
    max_pixels: int | None = None,
) -> tuple[int, Chosen | None]:
    """Decodes a video to its end, which shows whether it can be used, and keeps some frames.

    Args:
        path: as in `read_chosen`.
        choose: likewise; of no frame where nothing is to be kept.
        packets: that the file has.
        size: as in `read_chosen`.
        max_pixels: likewise.

    Returns:
        (how many frames it has; those that were chosen, None where none were or where there are
        more or fewer frames than packets).

    Raises:
        MissingFileError: there is no such file.
        UserError: it does not decode, or has no frame.
    """
    numbers = choose(packets) if packets else np.zeros(0, np.int64)
    chosen, found = _decode(path, numbers, size, max_pixels, whole=True)
    if not found:
        raise UserError(f"{path}: holds no frame of video")
    return found, Chosen(*chosen, found) if chosen is not None and found == packets else None


def center_view(scaled: int, side: int) -> View:
    """The middle of pictures with sides of `scaled` pixels."""
    start = (scaled - side) // 2
    return View(start, start, side, side)


def random_view(
    crop: str, scaled: int, side: int, rng: np.random.Generator, *, flip: bool = False
) -> View:
    """A random part of pictures with sides of `scaled` pixels.

    Args:
        crop: "random": `side` pixels square, anywhere (the TAM paper); "multiscale": sides of 1,
            0.875, 0.75 or 0.66 of the picture's, which may differ by one step, at one of 13 places
            (TSN); "resized": 0.4 to 1 of the area, of an aspect of 3/4 to 4/3, anywhere; "center":
            `side` pixels square in the middle.
        scaled: of the pictures.
        side: of what `cut` makes of the part.
        rng: makes the same number of draws for each crop.
        flip: mirror half of the views.
    """
    u = rng.random(5)
    mirrored = bool(flip and u[4] < 0.5)
    if crop == "center":
        return center_view(scaled, side)._replace(flip=mirrored)
    if crop == "multiscale":
        pairs = [
            (a, b) for i, a in enumerate(_SCALES) for j, b in enumerate(_SCALES) if abs(i - j) <= 1
        ]
        height, width = (int(scaled * scale) for scale in pairs[int(u[0] * len(pairs))])
        down, right = _PLACES[int(u[1] * len(_PLACES))]
        top, left = (scaled - height) // 4 * down, (scaled - width) // 4 * right
        return View(top, left, height, width, mirrored)
    height = width = side
    if crop == "resized":
        area = scaled**2 * (_AREA[0] + u[0] * (_AREA[1] - _AREA[0]))
        aspect = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** u[1]
        height = min(max(round((area / aspect) ** 0.5), 1), scaled)
        width = min(max(round((area * aspect) ** 0.5), 1), scaled)
    top, left = (int(x * (scaled - part + 1)) for x, part in ((u[2], height), (u[3], width)))
    return View(top, left, height, width, mirrored)


def cut(pictures: np.ndarray, view: View, side: int) -> np.ndarray:
    """Cuts pictures ``[T, H, W, 3]``, all alike: uint8 ``[T, side, side, 3]``."""
    top, left, height, width, flip = view
    part = pictures[:, top : top + height, left : left + width]
    if part.shape[1:3] != (side, side):
        scaled = (
            Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR) for one in part
        )
        part = np.stack([np.asarray(one) for one in scaled])
    return np.ascontiguousarray(part[:, :, ::-1] if flip else part)


def _decode(
    path: Path | str,
    numbers: np.ndarray,
    size: tuple[int, int] | None,
    max_pixels: int | None,
    crop: str = "stretch",
    *,
    whole: bool = False,
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray] | None, int]:
    """Decodes as far as the last of some frames, or to the end.

    Returns:
        (pictures, numbers and seconds, or None where there are not all of the frames; how many
        frames were decoded).
    """
    wanted = set(numbers.tolist())
    last = max(wanted, default=-1)
    kept: dict[int, tuple[np.ndarray, float]] = {}
    found, first = 0, None
    for frame in stream_video(
        path, size=size, crop=crop, wanted=wanted, max_pixels=max_pixels, num_threads=1
    ):
        found += 1
        if first is None:
            first = frame.seconds
        if frame.picture is not None:
            is_known = frame.seconds is not None and first is not None
            seconds = frame.seconds - first if is_known else np.nan  # type: ignore[operator]
            kept[frame.number] = (frame.picture, seconds)
        if frame.number == last and not whole:
            break
    if not wanted or len(kept) < len(wanted):
        return None, found
    chosen = [kept[number] for number in numbers.tolist()]
    pictures, times = zip(*chosen, strict=True)
    return (np.stack(pictures), numbers, np.array(times)), found
