"""A folder of tiny images of three classes, and settings to go with it."""

from pathlib import Path

import numpy as np
from PIL import Image

from experiments.seq_images.settings import Settings

CLASS_NAMES = ("blue", "green", "red")
TRAIN, TEST = 6, 4
SIZE = 8


def image(rng: np.random.Generator, label: int) -> np.ndarray:
    """Returns uint8 [10, 10, 3]: noise with more of one colour."""
    pixels = rng.integers(0, 150, size=(10, 10, 3))
    pixels[..., 2 - label] += 80
    return pixels.astype(np.uint8)


def write(folder: Path, *, train: int = TRAIN, names=CLASS_NAMES) -> Path:
    """Writes the class folders and returns the folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", TEST)):
        for label, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = folder / split / name / f"{number}.png"
                Image.fromarray(image(rng, label)).save(path)
    return folder


def values(folder: Path | str, **changes) -> dict:
    """Returns settings, by name, under which the tiny data is learned in a second."""
    return {
        "data_dir": str(folder),
        "image_size": SIZE,
        "encoder": "pixels",
        "tau": 3,
        "draws": 2,
        "num_support": 2,
        "queries": 2,
        "exemplar_iterations": 2,
        "alpha": 10.0,
        "learning_rate": 0.01,
        "epochs": 3,
        "steps_per_epoch": 5,
        **changes,
    }


def settings(folder: Path | str, **changes) -> Settings:
    """Returns the same as `Settings`."""
    return Settings(**values(folder, **changes))
