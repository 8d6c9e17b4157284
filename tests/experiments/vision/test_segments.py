"""Frames of segments, chosen while decoding; what training cuts of them."""

import tracemalloc

import numpy as np
import pytest
from video_files import write_video

from experiments.few_shot.data import to_segments
from experiments.shared.errors import MissingFileError, UserError
from experiments.vision import segments

LENGTH = 11


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frame k is of the grey 20 * k."""
    shades = np.arange(LENGTH, dtype=np.uint8) * 20
    frames = np.broadcast_to(shades[:, None, None, None], (LENGTH, 8, 12, 3))
    path = tmp_path_factory.mktemp("segments") / "grey.mkv"
    return write_video(path, np.ascontiguousarray(frames))


@pytest.mark.parametrize(("length", "count"), [(1, 3), (2, 8), (8, 8), (100, 8), (31, 7)])
def test_testing_takes_the_middles_that_stored_features_are_cut_by(length, count):
    numbers = segments.middle_frames(length, count)
    stored = to_segments(np.arange(length, dtype=np.float32)[:, None], count, "middle", "none")
    np.testing.assert_array_equal(numbers, stored[:, 0])


def test_training_takes_any_frame_of_each_part():
    seen = [set() for _ in range(4)]
    for seed in range(200):
        numbers = segments.random_frames(LENGTH, 4, np.random.default_rng(seed))
        again = segments.random_frames(LENGTH, 4, np.random.default_rng(seed))
        np.testing.assert_array_equal(numbers, again)
        for part, number in zip(seen, numbers.tolist(), strict=True):
            part.add(number)
    assert seen == [{0, 1}, {2, 3, 4}, {5, 6, 7}, {8, 9, 10}]


def test_few_frames_of_a_part_and_parts_of_few_frames():
    assert [part.tolist() for part in segments.candidates(40, 2, 2)] == [[5, 15], [25, 35]]
    assert [part.tolist() for part in segments.candidates(2, 4)] == [[0], [0], [1], [1]]
    numbers = segments.random_frames(40, 2, np.random.default_rng(0), 1)
    np.testing.assert_array_equal(numbers, segments.middle_frames(40, 2))


def read(video, numbers, **options):
    return segments.read_chosen(video, lambda _: np.array(numbers), size=(8, 8), **options)


def test_frames_are_those_that_were_chosen(video, monkeypatch):
    decoded = []
    stream = segments.stream_video

    def counted(*arguments, **options):
        for frame in stream(*arguments, **options):
            decoded.append(frame.number)
            yield frame

    monkeypatch.setattr(segments, "stream_video", counted)
    chosen = read(video, [1, 1, 4])
    assert chosen.pictures.shape == (3, 8, 8, 3) and chosen.length == LENGTH
    np.testing.assert_array_equal(chosen.pictures[:, 0, 0, 0], [20, 20, 80])
    np.testing.assert_allclose(chosen.seconds, [0.2, 0.2, 0.8])
    assert decoded == list(range(5))  # and no further


def test_a_video_is_never_held_whole(tmp_path):
    frames = np.zeros((150, 160, 160, 3), np.uint8)
    path = write_video(tmp_path / "long.mkv", frames)
    whole = frames.nbytes
    del frames
    tracemalloc.start()
    try:
        read(path, [10, 75, 149])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 20


def test_packets_that_are_no_frames(video, monkeypatch):
    asked = []

    def middle(length):
        asked.append(length)
        return segments.middle_frames(length, 2)

    monkeypatch.setattr(segments, "count_packets", lambda _: 30)
    chosen = segments.read_chosen(video, middle, size=None)
    assert asked == [30, LENGTH] and chosen.numbers.tolist() == [2, 8]
    with pytest.raises(UserError, match="has 11 frames, not 12"):
        read(video, [11], length=12)
    assert segments.read_whole(video, middle, packets=30, size=(4, 4)) == (LENGTH, None)
    length, kept = segments.read_whole(video, middle, packets=LENGTH, size=(4, 4))
    assert length == LENGTH and kept.pictures[:, 0, 0, 0].tolist() == [40, 160]


def test_files_that_are_no_videos(tmp_path):
    with pytest.raises(MissingFileError, match="no such video"):
        read(tmp_path / "absent.mp4", [0])
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 40)
    with pytest.raises(UserError, match="cannot be decoded"):
        read(tmp_path / "bad.mp4", [0])


@pytest.mark.parametrize("crop", segments.CROPS)
def test_views_lie_in_the_picture_and_differ(crop):
    views, flips = set(), 0
    for seed in range(100):
        view = segments.random_view(crop, 16, 14, np.random.default_rng(seed), flip=True)
        assert 0 <= view.top and view.top + view.height <= 16 and view.height > 0
        assert 0 <= view.left and view.left + view.width <= 16 and view.width > 0
        views.add(view[:4])
        flips += view.flip
        unflipped = segments.random_view(crop, 16, 14, np.random.default_rng(seed))
        assert unflipped == view._replace(flip=False)
    assert 30 < flips < 70
    assert (len(views) == 1) == (crop == "center")
    if crop == "random":
        assert {view[2:] for view in views} == {(14, 14)} and len(views) == 9


def test_cutting():
    picture = np.arange(6 * 6 * 3, dtype=np.uint8).reshape(1, 6, 6, 3)
    middle = segments.cut(picture, segments.center_view(6, 4), 4)
    np.testing.assert_array_equal(middle, picture[:, 1:5, 1:5])
    mirrored = segments.cut(picture, segments.View(0, 2, 4, 4, True), 4)
    np.testing.assert_array_equal(mirrored, picture[:, :4, 5:1:-1])
    scaled = segments.cut(np.repeat(picture, 2, axis=0), segments.View(0, 0, 6, 3), 4)
    assert scaled.shape == (2, 4, 4, 3) and scaled.dtype == np.uint8
