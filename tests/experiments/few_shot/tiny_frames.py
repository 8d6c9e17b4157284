"""Tiny videos whose classes differ in the order of their colours, and settings to go with them."""

import numpy as np
from video_files import write_video

from experiments.few_shot.settings import Settings

COLOURS = {"r": (220, 20, 20), "g": (20, 220, 20), "b": (20, 20, 220)}
CLASSES = {
    "rgb": "train", "gbr": "train", "brg": "train",
    "bgr": "test", "grb": "test", "rbg": "test",
}  # fmt: skip
PER_CLASS = 3
HEIGHT, WIDTH = 12, 16


def clip(order, number):
    """Frames uint8 [T, 12, 16, 3], T from 8 to 11: each colour for some frames, some noise."""
    rng = np.random.default_rng([number, *order.encode()])
    lengths = rng.integers(2, 4, len(order)) + 1
    frames = np.stack([COLOURS[c] for c, n in zip(order, lengths, strict=True) for _ in range(n)])
    noise = rng.integers(-15, 16, (len(frames), HEIGHT, WIDTH, 3))
    return (frames[:, None, None] + noise).astype(np.uint8)


def write(folder, classes=CLASSES, per_class=PER_CLASS):
    """Writes class folders of videos and videos.csv; returns the folder."""
    lines = ["path,label,split"]
    for number in range(per_class):
        for name, split in classes.items():
            write_video(folder / name / f"{number}.mkv", clip(name, number))
            lines.append(f"{name}/{number}.mkv,{name},{split}")
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    return folder


def settings(folder, **changes):
    """Returns settings for the folder that `write` wrote."""
    values = {
        "videos": str(folder / "videos.csv"),
        "trunk": "tiny_trunk:staged",
        "train_trunk": "all",
        "encoder": "none",
        "num_segments": 3,
        "way": 3,
        "shots": (1,),
        "episodes": 20,
        "matchings": ("mean", "tam"),
        "train_through": ("tam",),
        "epochs": 3,
        "steps_per_epoch": 2,
        "batch_episodes": 2,
        "val_episodes": 8,
        "num_threads": 2,
        "videos_at_once": 4,
        "learning_rate": 1e-2,
        "trunk_learning_rate": 1e-2,
    }
    return Settings(**(values | changes))
