"""Tiny videos on disk, and settings for them."""

import numpy as np
from video_files import write_video

from experiments.time_layer.settings import Settings

TINY = {
    "layout": "videos",
    "side": 16,
    "source_frames": 5,
    "num_frames": 1,
    "grids": (1, 2),
    "width": 4,
    "epochs": 2,
    "batch_size": 4,
    "average_frames": 2,
    "num_threads": 0,
}


def settings(folder, **options):
    """Tiny settings over the videos of a folder."""
    given = TINY | {"data_dir": str(folder), "out_dir": str(folder / "out")} | options
    return Settings(**given)


def write_folder(folder, *, num_train=6, num_test=3, num_val=0, lengths=(7, 4)):
    """Videos that grow brighter or darker, and their videos.csv."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for split, count in (("train", num_train), ("test", num_test), ("val", num_val)):
        for index in range(count):
            length = lengths[index % len(lengths)]
            light = np.linspace(40, 200, length)[:: 1 if index % 2 else -1]
            noise = rng.integers(0, 40, (length, 16, 16, 3))
            name = f"{split}{index}.mkv"
            write_video(folder / name, (light[:, None, None, None] + noise).astype(np.uint8))
            lines.append(f"{name},{'brighter' if index % 2 else 'darker'},{split}")
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    return folder
