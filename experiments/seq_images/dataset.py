"""The images of an experiment: a folder of the user's, or what comes along."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from experiments.seq_images.settings import Settings
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Content, dataset_identity, digest_array
from experiments.vision import image_folder

SILHOUETTES_FILE = Path(__file__).resolve().parents[1] / "data" / "silhouettes.npz"
ANIMALS = (
    "bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra",
)  # fmt: skip

_TEST_PER_CLASS = {"silhouettes": 100, "digits": 100}
_NAMED = 5


@dataclass(frozen=True)
class Split:
    """Images to train or to test on.

    Attributes:
        ids: names of the images.
        images: uint8 ``[N, S, S, 3]``.
        labels: int32 ``[N]``.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Returns how many images there are."""
        return len(self.ids)


@dataclass(frozen=True)
class ImageDataset:
    """A data set of images.

    Attributes:
        name: how the report names it.
        train: to train on.
        test: to test on.
        class_names: by label.
        note: what must be known about the data; empty for nothing.
        skipped: files that were left out.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    note: str = ""
    skipped: tuple[str, ...] = ()


def load_folder(
    folder: Path | str, *, image_size: int, skip_bad: bool = False, outside_paths: bool = False
) -> ImageDataset:
    """Reads the user's images, see `experiments.vision.image_folder`.

    Args:
        folder: of the images.
        image_size: S, side of the images.
        skip_bad: leave out images that do not decode.
        outside_paths: paths and links may lead out of the folder.

    Raises:
        MissingFileError: the folder is not there, or holds no images.
        UserError: images that do not decode, a table that cannot be used, no test image.
    """
    root = Path(folder)
    found = image_folder.load(root, outside_paths=outside_paths)
    if not found.of("test"):
        raise UserError(f"{root}: no image to test on (split test)")
    splits, skipped = {}, []
    for name in image_folder.SPLITS:
        files = found.of(name)
        images, labels, bad = image_folder.decode(
            files, size=(image_size, image_size), skip_bad=skip_bad
        )
        left_out = set(bad)
        ids = [_id(file.path, root) for file in files if file.path not in left_out]
        splits[name] = Split(tuple(ids), images, labels)
        skipped += [_id(path, root) for path in bad]
    return ImageDataset(
        root.resolve().name, splits["train"], splits["test"], found.class_names,
        note=found.note, skipped=tuple(skipped),
    )  # fmt: skip


def load_silhouettes(*, image_size: int, split_seed: int = 0) -> ImageDataset:
    """Loads the silhouettes of animals: of each of 10 classes 50 to train, 100 to test.

    Raises:
        MissingFileError: the file is not there: not run from a checkout.
    """
    if not SILHOUETTES_FILE.is_file():
        raise MissingFileError(f"{SILHOUETTES_FILE}: no such file; it is in the checkout only")
    with np.load(SILHOUETTES_FILE, allow_pickle=False) as stored:
        packed, labels = stored["packed"], stored["labels"].astype(np.int32)
    grey = np.stack([packed // 16, packed % 16], axis=-1).reshape(len(packed), 28, 28) * 17
    note = (
        "silhouettes of animals (a subset of animal_mnist, MIT licence), 28 x 28 pixels in 16 "
        f"shades, scaled to {image_size} x {image_size}. No image is nearly a copy of another, "
        "mirrored ones included. Small, white on black and hardly any texture: unlike the "
        "photographs that the encoder has learned from and that the paper is about"
    )
    return _embedded("silhouettes", grey, labels, ANIMALS, image_size, split_seed, note)


def load_small_digits(*, image_size: int, split_seed: int = 0) -> ImageDataset:
    """Loads scikit-learn's 8 x 8 digits: 100 of each to test, the others to train."""
    digits = load_digits()
    grey = np.round(digits.images / 16 * 255).astype(np.uint8)
    names = tuple(str(k) for k in range(10))
    note = (
        f"scikit-learn's handwritten digits, 8 x 8 pixels, scaled to {image_size} x {image_size}. "
        "A 6 that is turned by 180 degrees is a 9: the paper's rotations change classes here"
    )
    labels = digits.target.astype(np.int32)
    return _embedded("digits", grey, labels, names, image_size, split_seed, note)


def identity(dataset: ImageDataset) -> dict[str, Any]:
    """Returns what tells a data set from every other, see `dataset_identity`."""
    splits = {"train": dataset.train, "test": dataset.test}
    contents = {
        name: Content(split.ids, split.labels, [digest_array(image) for image in split.images])
        for name, split in splits.items()
    }
    return dataset_identity(contents, dataset.class_names)


def training_rows(split: Split, settings: Settings, seed: int) -> np.ndarray:
    """Returns which training images a seed trains on, in rising order."""
    count = settings.train_per_class
    if not count:
        return np.arange(len(split))
    rng = np.random.default_rng([seed, 1])
    rows = [
        rng.permutation(np.flatnonzero(split.labels == label))[:count]
        for label in np.unique(split.labels)
    ]
    return np.sort(np.concatenate(rows))


def check_classes(dataset: ImageDataset, settings: Settings) -> None:
    """Refuses data that the episodes of these settings cannot be drawn from.

    Raises:
        UserError: one class only, a class with too few images, more classes an episode than there
            are; names the classes and the flags.
    """
    names = dataset.class_names
    if len(names) < 2:
        raise UserError(
            f"{dataset.name}: has one class only ({', '.join(names)}); a classifier needs two"
        )
    if settings.classes_per_episode > len(names):
        raise UserError(
            f"--classes_per_episode={settings.classes_per_episode}: there are only {len(names)}"
        )
    counts = np.bincount(dataset.train.labels, minlength=len(names))
    needed = settings.largest_support + settings.queries
    flags = f"--num_support={settings.largest_support} + --queries={settings.queries}"
    if settings.train_per_class:
        if settings.train_per_class < needed:
            raise UserError(
                f"--train_per_class={settings.train_per_class}: an episode needs {needed} images "
                f"of each class ({flags})"
            )
        needed, flags = settings.train_per_class, f"--train_per_class={settings.train_per_class}"
    few = [f"{names[label]} ({counts[label]})" for label in np.flatnonzero(counts < needed)]
    if few:
        raise UserError(
            f"{dataset.name}: {len(few)} classes have fewer training images than the {needed} "
            f"needed ({flags}): {_listed(few)}. Lower the flags, or leave those classes out."
        )


def _embedded(
    name: str,
    grey: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    image_size: int,
    split_seed: int,
    note: str,
) -> ImageDataset:
    """A seeded split, stratified by class, of grey images uint8 ``[N, h, w]``."""
    size, bilinear = (image_size, image_size), Image.Resampling.BILINEAR
    scaled = np.stack([np.asarray(Image.fromarray(one).resize(size, bilinear)) for one in grey])
    images = np.repeat(scaled[..., None], 3, axis=-1)
    rng = np.random.default_rng(split_seed)
    tested = np.zeros(len(labels), bool)
    for label in range(len(class_names)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        tested[rows[: _TEST_PER_CLASS[name]]] = True

    def split(rows: np.ndarray) -> Split:
        ids = tuple(f"{name}/{row:04d}" for row in rows)
        return Split(ids, images[rows], labels[rows])

    return ImageDataset(
        name,
        split(np.flatnonzero(~tested)),
        split(np.flatnonzero(tested)),
        class_names,
        note=f"{note}. The split is seeded (split_seed={split_seed}), stratified by class",
    )


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
