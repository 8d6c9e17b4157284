"""Measured depth: videos of one grey channel, and folders of numbered PNGs, as 16-bit pictures.

What a file stores is a distance in a unit of its own, mostly millimetres, and 0 where the camera
measured nothing. Values are taken as they are stored, of 8 to 16 bits: nothing on the way rescales
them, as players do with video. A folder is a video where its PNGs have numbers at the end of their
names (`MDepth-00000012.png`, `12.png`), in the order of these.

A picture here is uint16: 0 where nothing was measured, else 1 at the near end of the range and
65535 at its far end; what is nearer or farther is taken for the end. Pictures are scaled by the
mean over what was measured alone, and a pixel less than half of which was is not measured.
"""

import re
from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.video import (
    Frame,
    convert_frames,
    count_packets,
    picked_frames,
    uniform,
)

FARTHEST = 65535
"""The far end of the range in a picture; 0 is where nothing was measured."""

_NUMBERED = re.compile(r".*?(\d+)\.png", re.IGNORECASE)
_MODES = ("L", "I;16", "I;16B", "I")  # Pillow's, of one channel of whole numbers


class DepthRange(NamedTuple):
    """Which distances are told apart, in the units of the files."""

    near: float
    far: float

    def pictures(self, stored: np.ndarray) -> np.ndarray:
        """Returns stored values ``[H, W]`` as uint16, see above."""
        share = (stored.astype(np.float32) - self.near) / (self.far - self.near)
        scaled = 1 + np.rint(np.clip(share, 0, 1) * (FARTHEST - 1))
        return np.where(stored > 0, scaled, 0).astype(np.uint16)


def sampled_depth(
    path: Path, count: int, *, size: tuple[int, int], limits: DepthRange
) -> tuple[np.ndarray, int]:
    """Reads a video of any length and keeps some frames, in their memory alone.

    Args:
        path: a video of one grey channel, or a folder of numbered PNGs.
        count: how many frames to keep, as `experiments.vision.video.uniform` has them.
        size: height and width to scale to; the aspect is not kept.
        limits: what becomes of the stored distances.

    Returns:
        (uint16 ``[min(T, count), H, W, 1]``, T).

    Raises:
        MissingFileError: there is nothing of that name, or a folder without such PNGs.
        UserError: it does not decode, has no frame, or its pictures are no depth: with colours.
    """
    stream = partial(stream_depth, path, size=size, limits=limits)
    length = len(numbered_pictures(path)) if path.is_dir() else count_packets(path)
    return picked_frames(path, length, partial(uniform, count=count), stream)


def stream_depth(
    path: Path,
    *,
    size: tuple[int, int],
    limits: DepthRange,
    wanted: Container[int] | None = None,
) -> Iterator[Frame]:
    """Goes through a video frame by frame, none of which is kept; see `sampled_depth`.

    Yields:
        Every frame in its order; the pictures of those that are `wanted` ``[H, W, 1]``, uint16.
    """

    def converted(stored: np.ndarray) -> np.ndarray:
        return scaled(limits.pictures(stored), size)[..., None]

    if not path.is_dir():
        yield from convert_frames(
            path, lambda frame: converted(_stored(path, frame)), wanted=wanted
        )
        return
    for number, file in enumerate(numbered_pictures(path)):
        is_wanted = wanted is None or number in wanted
        yield Frame(number, None, converted(_read_png(file)) if is_wanted else None)


def numbered_pictures(folder: Path) -> list[Path]:
    """Returns the PNGs of a folder in the order of their numbers.

    Raises:
        MissingFileError: it holds none with a number at the end of its name.
        UserError: two have the same number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if match is None:
            continue
        other = found.setdefault(int(match[1]), path)
        if other is not path:
            raise UserError(f"{folder}: {other.name} and {path.name} have the same number")
    if not found:
        raise MissingFileError(
            f"{folder}: holds no numbered PNG (such as 0001.png), so it is no video of depth"
        )
    return [path for _, path in sorted(found.items())]


def has_numbered_pictures(folder: Path) -> bool:
    """Whether a folder is a video, by its names."""
    return any(_NUMBERED.fullmatch(path.name) for path in folder.iterdir())


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a picture ``[H, W]`` of another size, by the mean over what was measured."""
    if picture.shape == size:
        return picture
    measured = (picture > 0).astype(np.float32)
    share, total = (
        np.asarray(Image.fromarray(part).resize(size[::-1], Image.Resampling.BILINEAR))
        for part in (measured, picture.astype(np.float32))
    )
    mean = np.rint(total / np.maximum(share, 0.5)).clip(1, FARTHEST)
    return np.where(share >= 0.5, mean, 0).astype(np.uint16)


def _stored(path: Path, frame: av.VideoFrame) -> np.ndarray:
    """The numbers of a frame as they are stored, ``[H, W]``."""
    name, plane = frame.format.name, frame.planes[0]
    if not re.fullmatch(r"gray(\d+(le|be))?", name):
        raise UserError(
            f"{path}: its pixels are {name}, not one channel of grey with up to 16 bits, so they "
            "are no measured depth; --input=luminance takes the brightness of any video"
        )
    dtype = np.dtype("u1" if name == "gray" else ">u2" if name.endswith("be") else "<u2")
    rows = np.frombuffer(bytes(plane), dtype).reshape(frame.height, -1)
    return np.rot90(rows[:, : frame.width], round(frame.rotation / 90) % 4)


def _read_png(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode, values = image.mode, np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as a picture ({error})") from error
    if mode not in _MODES or values.min() < 0:
        raise UserError(
            f"{path}: a picture of the mode {mode}, not one channel of grey with up to 16 bits, so "
            "it is no measured depth"
        )
    return values
