"""Recordings whose direction can be told: every one of them grows brighter."""

from pathlib import Path

import numpy as np
from video_files import write_video

FLAGS = """--layout=index
--outside_paths
--standardize
--num_steps=3
--methods=full
--epochs=2
--batch_size=8
--seeds=0,1
--baselines=mean_1nn,dtw_1nn
--num_threads=0
"""


def pictures(count, *, seed, side=32):
    """Returns uint8 [count, side, side, 3]: noise that stays, ever brighter."""
    noise = np.random.default_rng(seed).integers(0, 60, (side, side, 3))
    light = np.linspace(0, 180, count).astype(int)[:, None, None, None]
    return (noise[None] + light).astype(np.uint8)


def write_recordings(folder: Path, names=("one", "two", "three"), shots=(24, 16)) -> Path:
    """Writes a folder a recording, with shots of so many frames; returns the folder."""
    for number, name in enumerate(names):
        for shot, count in enumerate(shots):
            frames = pictures(count, seed=10 * number + shot)
            write_video(folder / name / f"{shot:02}.mkv", frames)
    return folder


def write_flags(path: Path) -> Path:
    """Writes a flagfile of experiments.k400 that is quick; returns the path."""
    path.write_text(FLAGS)
    return path
