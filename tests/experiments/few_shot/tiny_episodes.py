"""Tiny data whose classes differ in the order of their frames, and settings to go with it."""

import csv
from pathlib import Path

import numpy as np

from experiments.few_shot.settings import Settings

CLASSES = ("rise", "fall", "hump", "dip", "late", "early")
SPLITS = {
    "rise": "train", "hump": "train", "late": "train",
    "fall": "test", "dip": "test", "early": "test",
}  # fmt: skip
PER_CLASS = 9
NUM_FEATURES = 4


def sequence(rng: np.random.Generator, label: int) -> np.ndarray:
    """Returns [T, 4] float32, T from 6 to 12: a curve in the plane, with noise."""
    time = np.linspace(0, 1, rng.integers(6, 13))
    hump = 1 - np.abs(2 * time - 1)
    curve = (time, 1 - time, hump, 1 - hump, time**4, 1 - time**4)[label]
    frames = np.stack([curve, 1 - curve, np.cos(2 * curve), np.sin(2 * curve)], axis=1)
    return (frames + 0.1 * rng.normal(size=frames.shape)).astype(np.float32)


def write(folder: Path, *, splits: dict[str, str] | None = None) -> Path:
    """Writes the data in the index layout, and class_splits.csv; returns the folder."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "index.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "path", "label", "split"))
        for number in range(PER_CLASS):
            for label, name in enumerate(CLASSES):
                row = f"{name}{number}"
                np.save(folder / f"{row}.npy", sequence(rng, label))
                rows.writerow((row, f"{row}.npy", name, "train"))
    write_splits(folder / "class_splits.csv", splits or SPLITS)
    return folder


def write_splits(path: Path, splits: dict[str, str]) -> Path:
    """Writes a file for --class_splits."""
    lines = ["class,split", *(f"{name},{split}" for name, split in splits.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(folder: Path, **changes) -> Settings:
    """Returns settings for the folder that `write` wrote."""
    values = {
        "data_dir": str(folder),
        "class_splits": str(folder / "class_splits.csv"),
        "num_segments": 4,
        "sampling": "linear",
        "way": 3,
        "shots": (1, 2),
        "episodes": 40,
        "eval_batch": 16,
        "matchings": ("mean", "diagonal", "tam"),
        "embedding": 3,
        "train_through": ("tam",),
        "epochs": 3,
        "steps_per_epoch": 2,
        "batch_episodes": 2,
        "val_episodes": 16,
        "num_threads": 1,
    }
    return Settings(**(values | changes))
