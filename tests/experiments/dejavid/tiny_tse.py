"""A tiny data set whose classes differ in the order of their frames, and settings to go with it."""

import csv
import functools
from pathlib import Path

import numpy as np

from experiments.dejavid.settings import Settings
from experiments.tse.dataset import TseDataset, TseSplit

CLASS_NAMES = ("rise", "fall", "hump")
NUM_FEATURES = 4


def sequence(rng: np.random.Generator, label: int) -> np.ndarray:
    """Returns [T, 4] float32, T from 5 to 12: one of three curves, with noise."""
    time = np.linspace(0, 1, rng.integers(5, 13))
    curve = (time, 1 - time, 1 - np.abs(2 * time - 1))[label]
    noise = 0.2 * rng.normal(size=(len(time), NUM_FEATURES))
    return (curve[:, None] * np.arange(1, NUM_FEATURES + 1) + noise).astype(np.float32)


def split(name: str, per_class: int, seed: int) -> TseSplit:
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(CLASS_NAMES)), per_class)
    series = [sequence(rng, label) for label in labels]
    ids = tuple(f"{name}{index}" for index in range(len(labels)))
    return TseSplit(ids, labels, np.array([len(x) for x in series]), series)


@functools.cache
def dataset() -> TseDataset:
    """Returns 60 training and 21 test sequences in memory, always the same object."""
    return TseDataset("tiny", split("train", 20, 0), split("test", 7, 1), CLASS_NAMES, NUM_FEATURES)


def write(folder: Path) -> Path:
    """Writes the same data in the index layout and returns its folder."""
    data = dataset()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "index.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "path", "label", "split"))
        for name, part in (("train", data.train), ("test", data.test)):
            for index, row in enumerate(part.ids):
                np.save(folder / f"{row}.npy", part.source[index])
                rows.writerow((row, f"{row}.npy", part.labels[index], name))
    return folder


def settings(**changes) -> Settings:
    """Returns settings under which the tiny data is learned in a second."""
    values = {
        "layout": "spoken_digits",  # so that no folder is asked for; the data is given directly
        "num_steps": 4,
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 0.05,
        "dba_samples": 5,
        "dba_iterations": 3,
        "num_threads": 0,
        "baselines": (),
    }
    return Settings(**(values | changes))
