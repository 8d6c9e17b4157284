"""How a model wants its pictures: range, normalisation, order of the colours and of the axes.

Models are published with a `preprocessor_config.json` (video models of late with a
`video_preprocessor_config.json`) in their folder, and what it says is done. Beside a single file
(ONNX, TorchScript) such a file may be put by hand. Without one: values in [0, 1], then normalised
by the mean and standard deviation of ImageNet, as torchvision and VideoMAE have it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.files import read_json

FILES = ("preprocessor_config.json", "video_preprocessor_config.json")
PICTURES, CLIPS = ("BCHW", "BHWC"), ("BCTHW", "BTCHW", "BTHWC")
"""Orders of the axes: batch, time, colour (channel), height, width."""

_OURS = "BTHWC"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What is done with pictures before a model sees them.

    Attributes:
        scale: factor of the bytes.
        offset: what is subtracted after it.
        mean: of each channel, subtracted then.
        std: of each channel, divided by at last.
        flip: the channels are blue, green, red.
        size: height and width, None where nothing says it.
        layout: one of `PICTURES` or `CLIPS`, empty where nothing says it.
    """

    scale: float = 1 / 255
    offset: float = 0.0
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    flip: bool = False
    size: tuple[int, int] | None = None
    layout: str = ""

    def __call__(self, frames: np.ndarray, layout: str) -> np.ndarray:
        """Returns float32 pictures in a layout; of `PICTURES` the first frame of each window.

        Args:
            frames: uint8 ``[B, T, H, W, 3]``.
            layout: one of `PICTURES` or `CLIPS`.
        """
        values: np.ndarray = frames.astype(np.float32)
        if self.flip:
            values = values[..., ::-1]
        values = values * np.float32(self.scale) - np.float32(self.offset)
        values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        axes = [_OURS.index(axis) for axis in layout]
        if "T" in layout:
            return np.ascontiguousarray(values.transpose(axes))
        return np.ascontiguousarray(values[:, 0].transpose([axis - (axis > 1) for axis in axes]))

    def text(self) -> str:
        """Returns all of it in words, for the identity of an encoder."""
        colours = "BGR" if self.flip else "RGB"
        scaling = f"scale {self.scale:.9g}, offset {self.offset:g}"
        return f"{colours}, {scaling}, mean {list(self.mean)}, std {list(self.std)}"


def read_preprocessing(folder: Path) -> Preprocessing | None:
    """Reads what is said in a model's folder, None where there is no such file.

    Besides the published keys there may be "layout", one of `PICTURES` or `CLIPS`.

    Raises:
        UserError: it cannot be read, or says what cannot be done; names the file and the key.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    said = read_json(path)
    if not isinstance(said, dict):
        raise UserError(f"{path}: must be a JSON object")
    rescaled, normalised = said.get("do_rescale", True), said.get("do_normalize", True)
    layout = said.get("layout", "")
    if layout not in ("", *PICTURES, *CLIPS):
        raise UserError(f"{path}: layout: allowed: {', '.join((*PICTURES, *CLIPS))}")
    cut = said.get("crop_size") if said.get("do_center_crop", True) else None
    return Preprocessing(
        scale=_number(said.get("rescale_factor", 1 / 255), path) if rescaled else 1.0,
        offset=1.0 if said.get("offset") else 0.0,  # as ViViT has it
        mean=_channels(said, "image_mean", _IMAGENET_MEAN, path) if normalised else (0.0,) * 3,
        std=_channels(said, "image_std", _IMAGENET_STD, path) if normalised else (1.0,) * 3,
        flip=bool(said.get("do_flip_channel_order", False)),
        size=_size(cut if cut is not None else said.get("size"), path),
        layout=layout,
    )


def layout_of(shape: Sequence[Any]) -> str:
    """Returns the layout of an input by where its shape has the three colours; empty if unclear.

    Args:
        shape: whole numbers, and whatever else for the axes of any length.
    """
    kinds = {4: PICTURES, 5: CLIPS}.get(len(shape), ())
    fitting = [layout for layout in kinds if shape[layout.index("C")] == 3]
    return fitting[0] if len(fitting) == 1 else ""


def _number(value: Any, path: Path) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise UserError(f"{path}: a finite number is expected, not {value!r}")
    return float(value)


def _channels(
    said: dict[str, Any], key: str, default: tuple[float, ...], path: Path
) -> tuple[float, ...]:
    values = said.get(key, default)
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise UserError(f"{path}: {key}: three numbers are expected, not {values!r}")
    found = tuple(_number(value, path) for value in values)
    if key == "image_std" and min(found) <= 0:
        raise UserError(f"{path}: {key}: must be greater than 0, not {values!r}")
    return found


def _size(value: Any, path: Path) -> tuple[int, int] | None:
    """Height and width of what is published as a number or in one of three forms."""
    if isinstance(value, dict):
        sides = (value.get("height"), value.get("width"))
        value = sides if None not in sides else value.get("shortest_edge")
    if value is None:
        return None
    height, width = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value,) * 2
    if any(type(side) is not int or side < 1 for side in (height, width)):
        raise UserError(f"{path}: a size of two whole numbers is expected, not {value!r}")
    return height, width
