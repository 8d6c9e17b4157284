"""Planted events are where their labels say, and training never shows a frame of the test part."""

import numpy as np
import pytest

from experiments.seq_anomaly import events, features, planted
from experiments.seq_anomaly.events import CLIP_FRAMES, KINDS, Clip, Event, make_clips, render


@pytest.fixture(scope="module")
def video():
    """Frames that all differ: noise, fixed over time, and the number of the frame."""
    noise = np.random.default_rng(0).integers(60, 200, (144, 192, 3))
    return (noise[None] + np.arange(200)[:, None, None, None] % 50).astype(np.uint8)


def clips(seed=3, count=12):
    return make_clips("c", 100, 299, count, seed)


def test_clips_are_seeded_and_stay_in_their_part():
    first, again, other = clips(), clips(), clips(seed=4)
    assert [one.events for one in first] == [one.events for one in again]
    assert [one.events for one in first] != [one.events for one in other]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.frames, two.frames)
        assert one.frames.shape == (CLIP_FRAMES,) and one.seed == two.seed
        assert 100 <= one.frames.min() and one.frames.max() <= 299


def test_every_kind_is_planted_and_events_leave_normal_frames_around_them():
    counts = dict.fromkeys(KINDS, 0)
    for clip in make_clips("c", 0, 399, 18, 0):
        end = 0
        for event in clip.events:
            counts[event.kind] += 1
            assert event.start - end >= 4 and event.end <= CLIP_FRAMES - 3
            assert events.SHORTEST <= event.end - event.start <= events.LONGEST
            end = event.end
    assert set(counts.values()) == {4}  # 12 clips with two each
    assert [len(clip.events) for clip in clips()] == [2, 2, 0] * 4


@pytest.mark.parametrize(
    ("kind", "speed"), [("fast", 3), ("rewind", -2), ("freeze", 0), ("dim", 1)]
)
def test_which_frames_are_shown(kind, speed):
    shown = events.positions((Event(kind, 10, 18),))
    steps = np.diff(shown)
    inside = np.zeros(CLIP_FRAMES - 1, bool)
    inside[9:17] = True  # the steps into the frames of the event
    assert (steps[inside] == speed).all() and (steps[~inside] == 1).all()


def test_pixels_change_only_during_events_of_the_picture(video):
    frames = np.arange(CLIP_FRAMES)
    for kind in ("dim", "shake", "vehicle"):
        shown = render(Clip("c", frames, (Event(kind, 20, 30),), 5), video)
        changed = (shown != video[frames]).any(axis=(1, 2, 3))
        assert np.flatnonzero(changed).tolist() == list(range(20, 30)), kind
    plain = render(Clip("c", frames, (Event("freeze", 20, 30),), 5), video)
    np.testing.assert_array_equal(plain, video[frames])


def test_dim_shake_and_vehicle(video):
    frames = np.arange(CLIP_FRAMES)
    dim = render(Clip("c", frames, (Event("dim", 20, 30),), 5), video)
    assert dim[25].mean() / video[25].mean() == pytest.approx(0.55, abs=0.01)

    shake = render(Clip("c", frames, (Event("shake", 20, 30),), 5), video)
    inner = (slice(8, -8), slice(8, -8))
    for frame in range(20, 30):
        matches = [
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if np.array_equal(
                shake[frame][inner], np.roll(video[frame], (dy, dx), axis=(0, 1))[inner]
            )
        ]
        assert len(matches) == 1 and matches != [(0, 0)]

    for seed in range(20):  # never over the edge
        drive = render(Clip("c", frames, (Event("vehicle", 20, 34),), seed), video)
        where = [np.argwhere((drive[f] != video[f]).any(axis=-1)) for f in (20, 33)]
        assert abs(where[1][:, 1].mean() - where[0][:, 1].mean()) >= 5 * 13 - 3


def test_the_parts_of_the_video_are_disjoint():
    assert planted.TRAIN_PART[1] < planted.TEST_PART[0]


def test_grid_colours():
    image = np.zeros((1, 144, 192, 3), np.uint8)
    image[0, 12:24, 24:36] = [255, 102, 51]
    grid = features.grid_colours(image).reshape(12, 16, 3)
    np.testing.assert_allclose(grid[1, 2], [1.0, 0.4, 0.2], rtol=1e-6)
    assert grid.sum() == pytest.approx(1.6)


def test_clips_say_what_they_were_cut_from():
    data = planted.load(train_clips=2, test_clips=3, plant_seed=0)
    for video in (*data.train, *data.test):
        assert video.features.dtype == np.uint8 and len(video.source) == video.num_frames
    assert max(video.source.max() for video in data.train) <= planted.TRAIN_PART[1]
    assert min(video.source.min() for video in data.test) >= planted.TEST_PART[0]
    assert data.unit == "source segments" and len(data.test_units) == len(data.test_labels)
