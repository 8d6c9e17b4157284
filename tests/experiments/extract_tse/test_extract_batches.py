"""Rows from features, and batches of which a video's numbers do not depend."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_extraction import MeanColours, frames_of

from experiments.extract_tse.batches import Batches, collect, encoded, rows_are_independent
from experiments.extract_tse.windows import Plan, Windows
from experiments.shared.errors import UserError
from experiments.vision.encoders import NotFiniteError

LAYOUTS = (
    Windows.parse("4", (), "3"),
    Windows.parse("2", (), "5"),
    Windows.parse("L/5", (), "L/40"),
    Windows.parse("4", ("2", "5", "L"), "1"),
)


@given(st.sampled_from(LAYOUTS), st.integers(1, 50), st.integers(1, 7), st.booleans())
def test_rows_are_means_over_frames_or_features_of_windows(windows, length, step, is_whole):
    rng = np.random.default_rng(length)
    plan = Plan.of(windows, length, 3 if is_whole else None)
    ends = windows.ends(length)
    frames = 10 * rng.normal(size=(length, 2)).astype(np.float32)
    if is_whole:
        features = frames[plan.samples].sum(axis=1)
        expected = [[frames[s].sum(axis=0) for s in plan.samples[row]] for row in plan.rows]
    else:
        used = sorted({k for a, b in ends.reshape(-1, 2) for k in range(a, b + 1)})
        features = frames[used]
        expected = [[frames[a : b + 1].mean(axis=0) for a, b in row] for row in ends]
    work = collect(plan)
    for start in range(0, len(features), step):
        assert work.rows() is None
        work.add(features[start : start + step])
    rows = work.rows()
    assert rows.dtype == np.float32 and rows.shape == (len(ends), 2 * ends.shape[1])
    np.testing.assert_allclose(rows, np.reshape(expected, rows.shape), rtol=1e-5, atol=1e-5)


def test_a_feature_that_is_zero_in_a_window_is_zero_in_its_mean():
    work = collect(Plan.of(Windows.parse("2", (), "2"), 6, None))
    work.add(np.array([[0.1], [0.7], [0], [0], [1e30], [3]], np.float32))
    assert work.rows()[1, 0] == 0


def test_sums_are_forgotten_with_their_windows():
    work = collect(Plan.of(Windows.parse("4", (), "2"), 1000, None))
    for _ in range(1000):
        work.add(np.ones((1, 3), np.float32))
        assert len(work._before) <= 2
    assert not work._before and (work.rows() == 1).all()


def run(encoder, videos, size, *, shared=True, order=None):
    """Features of several videos, whose pictures come in turns."""
    found = {name: [] for name in videos}
    takes = {name: found[name].append for name in videos}
    batches = Batches(encoder, size, shared=shared)
    for name in order or videos:
        batches.add(takes[name], videos[name])
        if not shared:
            batches.flush(takes[name])
    batches.flush()
    return {name: np.concatenate(parts) for name, parts in found.items()}, batches


VIDEOS = {
    name: frames_of(3 * count, seed=count, height=16, width=16).reshape(count, 3, 16, 16, 3)
    for name, count in (("a", 5), ("b", 1), ("c", 8))
}


@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_are_filled_from_several_videos(size):
    encoder = MeanColours()
    found, batches = run(encoder, VIDEOS, size)
    for name, pictures in VIDEOS.items():
        np.testing.assert_array_equal(found[name], MeanColours()(pictures))
    assert {len(call) for call in encoder.calls} == {size}
    assert len(encoder.calls) == -(-14 // size) and batches.num_features == 9
    assert batches.seconds > 0


class Neighbourly(MeanColours):
    """What it returns depends on the place in the batch, or on the other windows of it."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def __call__(self, frames):
        features = super().__call__(frames)
        if self.how == "place":
            return features + 1e-3 * np.arange(len(frames), dtype=np.float32)[:, None]
        return features + features.mean(axis=0)


@pytest.mark.parametrize("how", ["place", "others"])
def test_an_encoder_whose_rows_depend_on_others_is_found_out(how):
    assert rows_are_independent(MeanColours(), 4)
    encoder = Neighbourly(how)
    assert not rows_are_independent(encoder, 4)
    alone = {name: run(encoder, {name: VIDEOS[name]}, 4)[0][name] for name in VIDEOS}
    shared, _ = run(encoder, VIDEOS, 4)
    assert any((shared[name] != alone[name]).any() for name in VIDEOS)
    apart, _ = run(encoder, VIDEOS, 4, shared=False)
    for name, expected in alone.items():
        np.testing.assert_array_equal(apart[name], expected)


def test_what_waits_of_a_video_can_be_forgotten():
    encoder = MeanColours()
    batches = Batches(encoder, 4, shared=False)
    batches.add(never, VIDEOS["b"])
    batches.forget(never)
    batches.flush()
    assert not encoder.calls


def never(features):
    raise AssertionError("handed out")


class Wrong(MeanColours):
    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def __call__(self, frames):
        return self.returned


@pytest.mark.parametrize(
    "shape", [(3, 9), (4,), (4, 0), (4, 3, 3), (5, 9)], ids=lambda shape: str(shape)
)
def test_another_shape_is_named(shape):
    with pytest.raises(UserError, match=r"--encoder=means: returned shape .* for 4 windows"):
        encoded(Wrong(np.zeros(shape)), np.zeros((4, 3, 16, 16, 3), np.uint8))


def test_another_number_of_features_is_named():
    batches = Batches(Wrong(np.zeros((4, 8))), 4, shared=True)
    with pytest.raises(UserError, match="returned 8 features, expected 9"):
        batches.add(print, np.zeros((4, 3, 16, 16, 3), np.uint8))


def test_rows_that_are_not_finite_do_not_harm_the_others():
    class Partly(MeanColours):
        def __call__(self, frames):
            features = super().__call__(frames)
            features[1] = np.nan
            raise NotFiniteError("some", np.array([1]), features)

    found = encoded(Partly(), VIDEOS["a"])
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[2:], MeanColours()(VIDEOS["a"])[2:])
