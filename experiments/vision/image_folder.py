"""Folders of labelled images: class folders, or a table of paths and labels."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from experiments.shared.progress import progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
INDEX = "images.csv"
SPLITS = ("train", "test")

# UnidentifiedImageError is an OSError.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_NAMED = 10  # files that a message lists


@dataclass(frozen=True)
class ImageFile:
    """An image of a data set: where it lies, its class, and "train" or "test"."""

    path: Path
    label: int
    split: str


@dataclass(frozen=True)
class ImageFolder:
    """What a folder holds, before anything is decoded.

    Attributes:
        files: all images, in a fixed order.
        class_names: by label, sorted.
    """

    files: tuple[ImageFile, ...]
    class_names: tuple[str, ...]

    def of(self, split: str) -> tuple[ImageFile, ...]:
        """The images of one split."""
        return tuple(file for file in self.files if file.split == split)


def load(folder: Path | str) -> ImageFolder:
    """Lists a data set.

    Either `images.csv` with the columns path, label, split (paths relative to the folder, split
    "train" or "test"), or folders ``train/<class>/`` and ``test/<class>/`` with image files.

    Raises:
        FileNotFoundError: the folder, or both layouts, are not there.
        ValueError: a table that lacks a column, an unknown split, a class without training images.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of images")
    rows = _from_index(root) if (root / INDEX).is_file() else _from_folders(root)
    names = tuple(sorted({name for _, name, _ in rows}))
    label_of = {name: label for label, name in enumerate(names)}
    trained = {name for _, name, split in rows if split == "train"}
    missing = [name for name in names if name not in trained]
    if missing:
        raise ValueError(f"{root}: no training image of the class {', '.join(missing[:_NAMED])}")
    files = tuple(ImageFile(path, label_of[name], split) for path, name, split in rows)
    return ImageFolder(files, names)


def _from_index(root: Path) -> list[tuple[Path, str, str]]:
    index = root / INDEX
    with open(index, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        lacking = [c for c in ("path", "label", "split") if c not in (table.fieldnames or ())]
        if lacking:
            raise ValueError(f"{index}: has no column {', '.join(lacking)}")
        rows = [(root / row["path"], row["label"], row["split"]) for row in table]
    for number, (_, label, split) in enumerate(rows, 2):
        if split not in SPLITS or not label:
            raise ValueError(
                f"{index}, line {number}: split must be train or test and label not empty, "
                f"got {split!r} and {label!r}"
            )
    if not rows:
        raise ValueError(f"{index}: lists no image")
    return rows


def _from_folders(root: Path) -> list[tuple[Path, str, str]]:
    rows = [
        (path, path.parent.name, split)
        for split in SPLITS
        for path in sorted((root / split).glob("*/*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not rows:
        raise FileNotFoundError(
            f"{root}: holds neither {INDEX} nor images in train/<class>/ and test/<class>/"
        )
    return rows


def decode(
    files: Sequence[ImageFile], *, size: tuple[int, int], skip_bad: bool = False
) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Decodes and scales images.

    Args:
        files: what to decode.
        size: height and width; the image is scaled so that it covers them, and its middle cut out.
        skip_bad: leave out images that do not decode, instead of an error.

    Returns:
        (uint8 ``[N, H, W, 3]``, labels int32 ``[N]``, the files left out).

    Raises:
        ValueError: images that do not decode (named and counted), or none that does.
    """
    images, labels, bad = [], [], []
    for file in progress(files, desc="decoding", unit="image"):
        try:
            images.append(_decode(file.path, size))
            labels.append(file.label)
        except _UNREADABLE:
            bad.append(file.path)
    if bad and not skip_bad:
        named = "\n  ".join(map(str, bad[:_NAMED])) + ("\n  ..." if len(bad) > _NAMED else "")
        raise ValueError(
            f"{len(bad)} of {len(files)} images do not decode:\n  {named}\n"
            "Mend or remove them, or leave them out by --skip_bad."
        )
    if not images:
        raise ValueError(f"none of {len(files)} images decodes")
    return np.stack(images), np.asarray(labels, np.int32), bad


def _decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    with Image.open(path) as image:
        rgb = ImageOps.exif_transpose(image).convert("RGB")  # as the camera was held
    scale = max(height / rgb.height, width / rgb.width)
    scaled = max(round(rgb.width * scale), width), max(round(rgb.height * scale), height)
    rgb = rgb.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return np.asarray(rgb.crop((left, top, left + width, top + height)))
