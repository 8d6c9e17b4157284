"""Tiny videos on disk, lists of them, and encoders that are quick."""

import numpy as np
from video_files import write_video

from experiments.extract_tse.settings import Settings
from experiments.vision.encoders import EncoderSpec

SIDE = 16
LENGTHS = (5, 12, 9)


def frames_of(count, *, seed=0, height=32, width=32):
    """Random pictures, uint8 [count, height, width, 3]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def write_mp4(path, frames, **options):
    """Writes a video whose header names the number of frames, before the frames."""
    options = {
        "codec": "mpeg4",
        "pixels": "yuv420p",
        "options": {"movflags": "faststart"},
    } | options
    return write_video(path, frames, **options)


def write_list(folder, rows, columns=("path", "label", "split")):
    """Writes videos.csv."""
    lines = [",".join(columns), *(",".join(row) for row in rows)]
    path = folder / "videos.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_folder(folder, lengths=LENGTHS):
    """Videos v0.mkv, v1.mkv, ... of these lengths, and their list."""
    rows = []
    for number, length in enumerate(lengths):
        write_video(folder / f"v{number}.mkv", frames_of(length, seed=number))
        rows.append((f"v{number}.mkv", "ab"[number % 2], ("train", "test")[number % 3 == 2]))
    write_list(folder, rows)
    return folder


def settings(folder, **options):
    """Settings over the list of a folder, written to its folder `tse`; decoded in a thread."""
    given = {
        "videos": str(folder / "videos.csv"),
        "out_dir": str(folder / "tse"),
        "encoder": "thumbnail",
        "size": SIDE,
        "window": "4",
        "stride": "2",
        "batch_size": 4,
        "workers": 0,
    }
    return Settings(**given | options)


def flags(folder, **options):
    """The same on a command line."""
    given = settings(folder, **options)
    names = ("videos", "out_dir", "encoder", "size", "window", "stride", "batch_size", "workers")
    return [f"--{name}={getattr(given, name)}" for name in dict.fromkeys([*names, *options])]


def content_of(folder):
    """Every file that does not depend on when the job ran, by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "parts" not in path.relative_to(folder).parts
    }


class MeanColours:
    """An encoder of windows of some frames: the mean colours of each frame, side by side."""

    def __init__(self, frames=3, size=(SIDE, SIDE)):
        identity = {"encoder": "mean colours"}
        self.spec = EncoderSpec("means", 3 * (frames or 1), frames, size, identity, False)
        self.calls = []

    def __call__(self, frames):
        self.calls.append(frames)
        return frames.mean(axis=(2, 3)).reshape(len(frames), -1).astype(np.float32)
