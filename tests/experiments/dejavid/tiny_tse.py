"""A tiny data set whose classes differ in the order of their frames, and settings to go with it."""

import csv
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
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


def narrow(num_features: int) -> TseDataset:
    """The same with the first features only."""

    def cut(part: TseSplit) -> TseSplit:
        return TseSplit(
            part.ids, part.labels, part.lengths, [x[:, :num_features] for x in part.source]
        )

    data = dataset()
    return TseDataset("tiny", cut(data.train), cut(data.test), CLASS_NAMES, num_features)


@functools.cache
def dataset_with_val() -> TseDataset:
    """The same with 6 validation sequences."""
    data = dataset()
    return TseDataset(
        "tiny", data.train, data.test, CLASS_NAMES, NUM_FEATURES, val=split("val", 2, 2)
    )


def write(folder: Path, data: TseDataset | None = None, names="123", dtype="f4") -> Path:
    """Writes data (by default the tiny one) in the index layout and returns its folder.

    The classes are called by `names`: numbers from 1, as in the archives of UCR and UEA.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "index.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "path", "label", "split"))
        for name, part in (data or dataset()).splits.items():
            for index, row in enumerate(part.ids):
                np.save(folder / f"{row}.npy", part.source[index].astype(dtype))
                rows.writerow((row, f"{row}.npy", names[part.labels[index]], name))
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


def flags(data_dir, out_dir, *more) -> list[str]:
    """Returns the same settings as a command line, for a folder; what comes later wins."""
    return [
        f"--data_dir={data_dir}", f"--out_dir={out_dir}", "--num_steps=4", "--epochs=3",
        "--batch_size=8", "--learning_rate=0.05", "--dba_samples=5", "--dba_iterations=3",
        "--num_threads=0", "--baselines=", "--methods=full", "--weight_init=ones", *more,
    ]  # fmt: skip


def in_another_process(script: str, *arguments) -> subprocess.CompletedProcess[str]:
    """Runs a script of this folder, with the compiled programs of this process's cache."""
    here = Path(__file__).parent
    kept = {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.run(
        [sys.executable, str(here / script), *map(str, arguments)],
        cwd=here.parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **kept},
        capture_output=True,
        text=True,
        timeout=600,
    )
