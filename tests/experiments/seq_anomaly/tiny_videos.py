"""A tiny data set of features whose anomalous rows differ in one feature, and its settings."""

import csv
import functools
from pathlib import Path

import numpy as np

from experiments.seq_anomaly.dataset import AnomalyDataset, Event, Video
from experiments.seq_anomaly.settings import Settings

NUM_FEATURES = 3
NUM_ROWS = 24
EVENT = (8, 17)  # of every video but the last of a split


def features(rng: np.random.Generator, start: int, end: int) -> np.ndarray:
    """Returns [24, 3] float32; the first feature is 2 higher in rows start to end."""
    rows = rng.normal(size=(NUM_ROWS, NUM_FEATURES))
    rows[start:end, 0] += 2
    return rows.astype(np.float32)


def split(name: str, count: int, seed: int) -> tuple[Video, ...]:
    rng = np.random.default_rng(seed)
    videos = []
    for index in range(count):
        start, end = EVENT if index < count - 1 else (0, 0)
        labels = np.zeros(NUM_ROWS, np.uint8)
        labels[start:end] = 1
        events = (Event("anomaly", start, end),) if end else ()
        videos.append(Video(f"{name}{index}", features(rng, start, end), labels, events))
    return tuple(videos)


@functools.cache
def dataset() -> AnomalyDataset:
    """Returns 6 training and 4 test videos in memory, one row a frame."""
    return AnomalyDataset("tiny", split("train", 6, 0), split("test", 4, 1), 1)


def write(folder: Path) -> Path:
    """Writes the same data in the index layout and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "index.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "path", "split", "labels"))
        for name, videos in (("train", dataset().train), ("test", dataset().test)):
            for video in videos:
                np.save(folder / f"{video.id}.npy", video.features)
                text = ";".join(f"{event.start}-{event.end}" for event in video.events)
                rows.writerow((video.id, f"{video.id}.npy", name, text))
    return folder


def settings(**changes) -> Settings:
    """Returns settings under which the tiny data is learned in a second."""
    values = {
        "layout": "planted",  # so that no folder is asked for; the data is given directly
        "tau": 4,
        "batch_size": 4,
        "epochs": 3,
        "steps_per_epoch": 5,
        "learning_rate": 0.3,
        "exemplar_iterations": 3,
        "alpha": 3.0,
    }
    return Settings(**(values | changes))
