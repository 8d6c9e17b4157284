"""Folders of labelled images: class folders, or a table of paths and labels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from experiments.shared.csv_index import Inside, evaluated_split, read_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.labels import lonely_classes
from experiments.shared.progress import progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
INDEX = "images.csv"
SPLITS = ("train", "test")
"""The splits that are trained and evaluated on."""

# A file is what it holds, not what it is called, and Pillow would call other programs for some.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
_FOLDERS = {"train": "train", "val": "val", "validation": "val", "test": "test"}

# UnidentifiedImageError is an OSError.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
_NAMED = 10  # files that a message lists


@dataclass(frozen=True)
class ImageFile:
    """An image of a data set: where it lies, its class, and "train", "val" or "test"."""

    path: Path
    label: int
    split: str


@dataclass(frozen=True)
class ImageFolder:
    """What a folder holds, before anything is decoded.

    Attributes:
        files: all images, in a fixed order. What is evaluated on is always called "test".
        class_names: by label, sorted.
        note: facts that a report on this data must state; or empty.
    """

    files: tuple[ImageFile, ...]
    class_names: tuple[str, ...]
    note: str = ""

    def of(self, split: str) -> tuple[ImageFile, ...]:
        """The images of one split."""
        return tuple(file for file in self.files if file.split == split)


@dataclass(frozen=True)
class _Found:
    """An image before its class has a number."""

    path: Path
    class_name: str
    split: str


def load(folder: Path | str, *, outside_paths: bool = False) -> ImageFolder:
    """Lists a data set.

    Either `images.csv` with the columns path, label, split (paths relative to the folder), or
    folders ``train/<class>/`` and ``test/<class>/`` with image files, in folders of their own or
    not. Hidden files and folders are left out. Images of the split val (or a folder val) are not
    trained on. Where there are none of the split test, they are what is evaluated on; the note says
    so.

    Args:
        folder: where it is.
        outside_paths: paths in the table, and links among the folders, may lead out of it.

    Raises:
        MissingFileError: the folder, or both layouts, are not there.
        UserError: a table that lacks a column, an unknown split, a class without training images, a
            file in two splits, a path that leads out of the folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder of images")
    found, stray = _from_index(root, outside_paths), 0
    if found is None:
        found, stray = _from_folders(root, outside_paths)
    names = tuple(sorted({image.class_name for image in found}))
    label_of = {name: label for label, name in enumerate(names)}
    trained = [label_of[image.class_name] for image in found if image.split == "train"]
    missing = [name for name in names if label_of[name] not in set(trained)]
    if missing:
        raise UserError(f"{root}: no training image of the class {', '.join(missing[:_NAMED])}")
    tested = evaluated_split(image.split for image in found)
    renamed = {tested: "test"}
    files = tuple(
        ImageFile(image.path, label_of[image.class_name], renamed.get(image.split, image.split))
        for image in found
    )
    left_out = sum(file.split == "val" for file in files)
    notes = [
        "evaluated on the images of the split val, there are none of test" * (tested == "val"),
        f"{left_out} images of the split val are not used" * bool(left_out),
        f"{stray} images beside the class folders are not used" * bool(stray),
        lonely_classes(trained, names, "training image"),
    ]
    return ImageFolder(files, names, "; ".join(filter(None, notes)))


def _from_index(root: Path, outside_paths: bool) -> list[_Found] | None:
    """The images that a table lists, None where there is no table."""
    if not (root / INDEX).is_file():
        return None
    rows = read_rows(
        root / INDEX,
        required=("path", "label", "split"),
        files="path",
        must_exist=False,  # decode names those, and can leave them out
        outside_paths=outside_paths,
    )
    return [_Found(root / row["path"], row["label"], row["split"]) for row in rows]


def _from_folders(root: Path, outside_paths: bool) -> tuple[list[_Found], int]:
    """The images in class folders, and how many lie in none."""
    inside = Inside(root, outside_paths)
    found: list[_Found] = []
    stray = 0
    errors: list[Exception] = []
    first: dict[str, Path] = {}  # by their true place
    for folder, split in _FOLDERS.items():
        for path in sorted(_images(root / folder)):
            below = path.relative_to(root / folder).parts
            if len(below) == 1:
                stray += 1
                continue
            try:
                _, real = inside.find(path.relative_to(root).as_posix())
            except UserError as error:
                errors.append(error)
                continue
            if first.setdefault(real, path) != path:
                errors.append(UserError(f"{path} is the same file as {first[real]}; keep one"))
            found.append(_Found(path, below[0], split))
    raise_all(errors, str(root))
    if not found:
        raise MissingFileError(
            f"{root}: holds neither {INDEX} nor images in train/<class>/ and test/<class>/"
        )
    return found, stray


def _images(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Image files at any depth; folders that are links are followed, but not in circles."""
    real = os.path.realpath(folder)
    if real in above or not os.path.isdir(real):
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images(path, above | {real})
        elif path.suffix.lower() in SUFFIXES:
            yield path


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
        UserError: images that do not decode (named and counted), or none that does.
    """
    images: list[np.ndarray] = []
    labels: list[int] = []
    bad: list[Path] = []
    reasons: list[str] = []
    for file in progress(files, desc="decoding", unit="images"):
        try:
            images.append(_decode(file.path, size))
            labels.append(file.label)
        except _UNREADABLE as error:
            bad.append(file.path)
            reason = f": {error}" if isinstance(error, UserError) else ""
            reasons.append(f"{file.path}{reason}")
    if bad and not skip_bad:
        named = "\n  ".join(reasons[:_NAMED]) + ("\n  ..." if len(bad) > _NAMED else "")
        raise UserError(
            f"{len(bad)} of {len(files)} images do not decode:\n  {named}\n"
            "Mend or remove them, or leave them out by --skip_bad."
        )
    if not images:
        raise UserError(f"none of {len(files)} images decodes")
    return np.stack(images), np.asarray(labels, np.int32), bad


def _decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    with Image.open(path, formats=_FORMATS) as image:
        rgb = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB")  # as the camera was held
    scale = max(height / rgb.height, width / rgb.width)
    scaled = max(round(rgb.width * scale), width), max(round(rgb.height * scale), height)
    rgb = rgb.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return np.asarray(rgb.crop((left, top, left + width, top + height)))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Brings grey of 16 bits to 8, by the range of the type; Pillow would cut at 255."""
    if image.mode == "F":
        raise UserError(
            "floating-point pixels, whose range is not known; save it with 8 or 16 bits"
        )
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:  # of the 32-bit mode, which 16-bit files may have
        raise UserError("pixels of more than 16 bits; save it with 8 or 16 bits")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))
