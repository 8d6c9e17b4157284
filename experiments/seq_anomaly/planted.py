"""`--layout=planted`: the embedded surveillance video, with events planted in clips of it.

The video is real (OpenCV's `vtest.avi`, see `experiments/data/README.md`); the events are not:
`experiments.seq_anomaly.events` makes them. Training and test clips come from two parts of the
video that are disjoint in time, with events of different seeds.
"""

from pathlib import Path

import numpy as np

from experiments.seq_anomaly.dataset import AnomalyDataset, Video
from experiments.seq_anomaly.events import Clip, make_clips, render
from experiments.shared.errors import MissingFileError
from experiments.vision.video import read_video

DATA_FILE = Path(__file__).resolve().parents[1] / "data" / "surveillance.mp4"

TRAIN_PART = (0, 399)
TEST_PART = (420, 794)
"""First and last frame; the recording itself stalls at 405 to 417, in between."""

_STRIP = 10  # frames of a picture of an event


def load(*, train_clips: int, test_clips: int, plant_seed: int) -> AnomalyDataset:
    """Plants the events.

    Args:
        train_clips: clips of the first part of the video.
        test_clips: clips of the second part.
        plant_seed: of the events; training and test draw from different streams of it.

    Returns:
        The data set, whose features are yet to be computed from the pictures of the clips.

    Raises:
        MissingFileError: the video is not there: not run from a checkout.
        UserError: it cannot be read.
    """
    if not DATA_FILE.is_file():
        raise MissingFileError(f"{DATA_FILE}: no such file; the demo data is in the checkout only")
    video = read_video(DATA_FILE)
    seeds = np.random.SeedSequence(plant_seed).generate_state(2)
    clips = make_clips("train", *TRAIN_PART, train_clips, int(seeds[0]))
    clips += make_clips("test", *TEST_PART, test_clips, int(seeds[1]))
    pictures = [render(clip, video) for clip in clips]
    videos = [_video(clip, shown) for clip, shown in zip(clips, pictures, strict=True)]
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


def _video(clip: Clip, shown: np.ndarray) -> Video:
    labels = np.zeros(len(shown), np.uint8)
    for event in clip.events:
        labels[event.start : event.end] = 1
    change = np.abs(np.diff(shown.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    change = np.concatenate([change[:1], change])  # the first frame has none before it
    return Video(clip.id, shown, labels, clip.events, change, clip.frames)
