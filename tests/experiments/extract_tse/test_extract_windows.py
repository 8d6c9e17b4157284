import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.extract_tse.windows import Length, Plan, Windows
from experiments.shared.errors import UserError

PAPER = Windows.parse("L/5", (), "L/40")  # Kinetics-400 and HMDB51
SSV2 = Windows.parse("16", ("16", "32", "64", "L"), "1")
LENGTHS = st.integers(1, 3000)
NUMBERS = st.integers(1, 90).map(str)
PARTS = st.one_of(NUMBERS, st.integers(1, 90).map(lambda part: f"L/{part}"), st.just("L"))


def check_ends(ends, length):
    """What holds for all windows: inside, in order."""
    assert ends.dtype == np.int64 and ends.ndim == 3 and ends.shape[2] == 2
    assert ends.min() >= 0 and ends.max() <= length - 1
    assert (ends[..., 0] <= ends[..., 1]).all()
    assert (np.diff(ends, axis=0) >= 0).all()


def test_the_windows_of_the_paper_are_33_whatever_the_length():
    for length in [*range(1, 400), 9_999, 180_000]:
        ends = PAPER.ends(length)
        check_ends(ends, length)
        assert ends.shape == (33, 1, 2)
        assert ends[0, 0, 0] == 0 and ends[-1, 0, 1] == length - 1
        if length >= 40:
            widths = ends[:, 0, 1] - ends[:, 0, 0] + 1
            assert set(widths.tolist()) <= {length // 5, -(-length // 5)}
            assert len(np.unique(ends, axis=0)) == 33
    np.testing.assert_array_equal(
        PAPER.ends(200)[:, 0], [(5 * row, 5 * row + 39) for row in range(33)]
    )


@given(LENGTHS)
def test_several_widths_have_a_row_for_every_frame(length):
    ends = SSV2.ends(length)
    check_ends(ends, length)
    assert ends.shape == (length, 4, 2)
    frames = np.arange(length)
    for place, width in enumerate((16, 32, 64)):
        first, last = ends[:, place].T
        np.testing.assert_array_equal(first, np.maximum(frames - width // 2, 0))
        np.testing.assert_array_equal(last, np.minimum(frames + width // 2 - 1, length - 1))
    assert (ends[:, 3] == (0, length - 1)).all()


@given(LENGTHS, PARTS, PARTS)
def test_one_width_covers_the_video_to_its_end(length, width, stride):
    ends = Windows.parse(width, (), stride).ends(length)
    check_ends(ends, length)
    assert ends[0, 0, 0] == 0
    windows = Windows.parse(width, (), width)
    if Length.parse(stride, "stride").of(length)[0] == 1:
        assert ends[-1, 0, 1] == length - 1
    covered = windows.ends(length)[:, 0]
    assert covered[-1, 1] == length - 1
    assert (covered[1:, 0] <= covered[:-1, 1] + 1).all()  # no frame is left out


@given(LENGTHS, st.lists(PARTS, min_size=1, max_size=3), PARTS)
def test_several_widths_stay_inside_and_in_order(length, widths, stride):
    ends = Windows.parse("16", tuple(widths), stride).ends(length)
    check_ends(ends, length)
    assert ends.shape[1] == len(widths)


@pytest.mark.parametrize(
    ("width", "stride", "length", "expected"),
    [
        ("16", "4", 24, [(0, 15), (4, 19), (8, 23)]),
        ("16", "4", 25, [(0, 15), (4, 19), (8, 23), (12, 24)]),  # the last is cut
        ("16", "4", 7, [(0, 6)]),
        ("16", "16", 33, [(0, 15), (16, 31), (32, 32)]),  # snippets, as seq_anomaly counts them
        ("1", "1", 3, [(0, 0), (1, 1), (2, 2)]),
        ("1", "10", 10, [(0, 0)]),  # strides wider than windows
        ("L", "1", 6, [(0, 5)]),
        ("L/2", "L/2", 7, [(0, 2), (3, 6)]),
    ],
)
def test_windows_by_hand(width, stride, length, expected):
    assert Windows.parse(width, (), stride).ends(length)[:, 0].tolist() == list(map(list, expected))


def test_shorter_videos_than_parts_repeat_windows():
    assert len(np.unique(PAPER.ends(3), axis=0)) == 3
    assert PAPER.ends(1).tolist() == [[[0, 0]]] * 33


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "L/0", "5/L", "1.5", "L/", "9" * 10])
def test_what_is_no_length(text):
    with pytest.raises(UserError, match="--stride=.*must be a number of frames"):
        Windows.parse("16", (), text)
    with pytest.raises(UserError, match="--window="):
        Windows.parse(text, (), "1")
    with pytest.raises(UserError, match="--windows="):
        Windows.parse("16", ("16", text), "1")


@given(st.integers(1, 300), st.lists(PARTS, min_size=1, max_size=3), PARTS, st.integers(1, 20))
def test_a_plan_has_every_window_once_and_in_the_order_of_their_ends(length, widths, stride, count):
    windows = Windows.parse("16", tuple(widths), stride)
    for frames in (None, count):
        plan = Plan.of(windows, length, frames)
        np.testing.assert_array_equal(plan.windows[plan.rows], windows.ends(length))
        assert len(np.unique(plan.windows, axis=0)) == len(plan.windows)
        assert set(plan.rows.ravel().tolist()) == set(range(len(plan.windows)))
        assert (np.diff(plan.ready) >= 0).all()
    shared = plan.shared_ends()
    assert (shared[:, 0] <= shared[:, 1]).all() and shared.max() < length


@given(st.integers(1, 100), PARTS, st.integers(1, 20))
def test_samples_are_the_middles_of_equal_parts(length, width, count):
    plan = Plan.of(Windows.parse(width, (), "1"), length, count)
    for (first, last), samples in zip(plan.windows.tolist(), plan.samples.tolist(), strict=True):
        middles = [first + (last - first + 1) * (2 * k + 1) / (2 * count) for k in range(count)]
        assert samples == [int(middle) for middle in middles]
        assert first <= samples[0] and samples[-1] <= last
        if last - first + 1 == count:
            assert samples == list(range(first, last + 1))


@given(st.integers(1, 100), st.lists(PARTS, min_size=1, max_size=2), st.integers(1, 5))
def test_most_kept_is_what_a_decoder_holds(length, widths, count):
    plan = Plan.of(Windows.parse("16", tuple(widths), "2"), length, count)
    kept, most, users = set(), 0, plan.last_users()
    done = 0
    for frame in range(length):
        if users[frame] >= 0:
            kept.add(frame)
        most = max(most, len(kept))
        while done < len(plan.ready) and plan.ready[done] == frame:
            assert set(plan.samples[done].tolist()) <= kept
            kept -= {number for number in kept if users[number] == done}
            done += 1
    assert not kept and done == len(plan.ready) and plan.most_kept() == most


def test_a_long_video_needs_few_pictures_at_once():
    two_hours = 2 * 3600 * 25
    assert Plan.of(PAPER, two_hours, 16).most_kept() <= 160
    assert Plan.of(SSV2, two_hours // 10, 16).most_kept() <= 64 + 16
