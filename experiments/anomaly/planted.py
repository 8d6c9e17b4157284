"""`--layout=planted`: the embedded surveillance video, with events planted in clips of it.

The video is real (OpenCV's `vtest.avi`, see `experiments/data/README.md`); the events are not:
`experiments.anomaly.events` makes them. Training and test clips come from two parts of the video
that are disjoint in time, with events of different seeds.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from experiments.anomaly.dataset import AnomalyDataset, Video
from experiments.anomaly.events import Clip, make_clips, render
from experiments.vision.mobilenet import MobileNet
from experiments.vision.video import read_video

DATA_FILE = Path(__file__).resolve().parents[1] / "data" / "surveillance.mp4"

TRAIN_PART = (0, 399)
TEST_PART = (420, 794)
"""First and last frame; the recording itself stalls at 405 to 417, in between."""

_GRID = (12, 16)
_STRIP = 10  # frames of a picture of an event


def load(
    *,
    train_clips: int,
    test_clips: int,
    plant_seed: int,
    encoder: str,
    cache: Path,
) -> AnomalyDataset:
    """Plants the events and extracts the features of every clip.

    Args:
        train_clips: clips of the first part of the video.
        test_clips: clips of the second part.
        plant_seed: of the events; training and test draw from different streams of it.
        encoder: "mobilenet" or "pixels".
        cache: file for the features, read where it holds those of the same pictures.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: the video is not there: not run from a checkout.
        ValueError: the video or the encoder's weights cannot be read.
        OSError: the cache cannot be written.
    """
    if not DATA_FILE.is_file():
        raise FileNotFoundError(f"{DATA_FILE}: no such file; the demo data is in the checkout only")
    video = read_video(DATA_FILE)
    seeds = np.random.SeedSequence(plant_seed).generate_state(2)
    clips = make_clips("train", *TRAIN_PART, train_clips, int(seeds[0]))
    clips += make_clips("test", *TEST_PART, test_clips, int(seeds[1]))
    pictures = [render(clip, video) for clip in clips]
    features = _features(np.concatenate(pictures), encoder, cache)
    per_clip = np.split(features, np.cumsum([len(shown) for shown in pictures])[:-1])
    videos = [
        _video(clip, shown, rows)
        for clip, shown, rows in zip(clips, pictures, per_clip, strict=True)
    ]
    strips: dict[str, np.ndarray] = {}
    for clip, shown in zip(clips[train_clips:], pictures[train_clips:], strict=True):
        for event in clip.events:
            strips.setdefault(event.kind, shown[event.start - 2 : event.start - 2 + _STRIP])
    return AnomalyDataset(
        name="planted events in a surveillance video",
        train=tuple(videos[:train_clips]),
        test=tuple(videos[train_clips:]),
        frames_per_row=1,
        note=(
            "the video is real (vtest.avi of OpenCV, 192 x 144, 10 frames a second), the events "
            "are not: fast, rewind and freeze change which frames are shown, dim, shake and "
            "vehicle change the pixels, all seeded, and the labels are where they were planted. "
            f"Training clips show frames {TRAIN_PART[0]} to {TRAIN_PART[1]} of the video, test "
            f"clips {TEST_PART[0]} to {TEST_PART[1]}, with events of another seed; within a part "
            "the clips overlap. One scene, one camera, and the same kinds of event in both "
            "halves: this shows that the system runs, not how it would do on real anomalies"
        ),
        strips=strips,
    )


def _video(clip: Clip, shown: np.ndarray, features: np.ndarray) -> Video:
    labels = np.zeros(len(shown), np.uint8)
    for event in clip.events:
        labels[event.start : event.end] = 1
    change = np.abs(np.diff(shown.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    change = np.concatenate([change[:1], change])  # the first frame has none before it
    return Video(clip.id, features, labels, clip.events, change)


def _features(images: np.ndarray, encoder: str, cache: Path) -> np.ndarray:
    """Features float32 [N, F] of pictures uint8 [N, H, W, 3], each different one encoded once."""
    digests = [hashlib.blake2b(image.tobytes()).digest()[:8] for image in images]
    names, first, rows = np.unique(
        np.frombuffer(b"".join(digests), np.uint64), return_index=True, return_inverse=True
    )
    stored = _read_cache(cache, encoder, names)
    if stored is None:
        if encoder == "mobilenet":
            stored = MobileNet.load().encode(images[first], desc="features")
        else:
            stored = _grid_colours(images[first])
        part = cache.with_name(cache.name + ".part.npz")
        np.savez(part, features=stored, pictures=names, encoder=np.array(encoder))
        os.replace(part, cache)
    return stored[rows]


def _read_cache(cache: Path, encoder: str, names: np.ndarray) -> np.ndarray | None:
    """The features stored for these pictures; None where there are none, or of others."""
    if not cache.is_file():
        return None
    try:
        with np.load(cache, allow_pickle=False) as stored:
            if str(stored["encoder"]) == encoder and np.array_equal(stored["pictures"], names):
                return stored["features"]
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # damaged: made again
    return None


def _grid_colours(images: np.ndarray) -> np.ndarray:
    """Mean colours of a grid of cells, float32 ``[N, F]`` of uint8 ``[N, H, W, 3]``."""
    count, height, width, _ = images.shape
    rows, columns = _GRID
    cells = images.reshape(count, rows, height // rows, columns, width // columns, 3)
    return (cells.mean(axis=(2, 4)) / 255).reshape(count, -1).astype(np.float32)
