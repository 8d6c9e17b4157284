"""Camera moves and folders of videos: what is rendered, read and refused."""

import numpy as np
import pytest
import tiny_clips

from experiments.grids import camera
from experiments.grids.dataset import batches, check_readable, load

FRAMES = np.random.default_rng(0).integers(0, 256, (3, *camera.FRAME, 3), dtype=np.uint8)


def moves(seed=0, count=3):
    return camera.make_moves(FRAMES, count, num_frames=5, side=16, seed=seed, desc="")


@pytest.fixture
def folder(tmp_path):
    return tiny_clips.write_folder(tmp_path)


def test_moves_are_a_function_of_the_seed():
    videos, labels = moves()
    assert videos.shape == (3, 5, 16, 16, 3) and videos.dtype == np.uint8
    assert labels.shape == (3,) and set(labels) <= set(range(len(camera.CLASS_NAMES)))
    again, _ = moves()
    np.testing.assert_array_equal(videos, again)
    other, _ = moves(seed=1)
    assert np.any(videos != other)
    assert np.any(videos[:, 0] != videos[:, -1])  # it moves


def test_opposite_moves_show_the_same_frames_in_opposite_order(monkeypatch):
    videos, labels = moves()
    monkeypatch.setattr(camera, "_MOVES", -camera._MOVES)
    camera._render.clear_cache()
    opposite, same_labels = moves()
    camera._render.clear_cache()
    np.testing.assert_array_equal(labels, same_labels)
    np.testing.assert_allclose(videos.astype(int), opposite[:, ::-1].astype(int), atol=1)


def test_all_moves_look_the_same_in_the_middle(monkeypatch):
    videos, _ = moves()
    monkeypatch.setattr(camera, "_MOVES", camera._MOVES[[4, 2, 0, 5, 1, 3]])
    camera._render.clear_cache()
    others, _ = moves()
    camera._render.clear_cache()
    np.testing.assert_allclose(videos[:, 2].astype(int), others[:, 2].astype(int), atol=1)
    assert np.abs(videos[:, 0].astype(int) - others[:, 0]).max() > 10


def test_pans_and_zooms_go_where_their_names_say(monkeypatch):
    # The picture's red is its row and its green its column: the window's mean says where it is.
    row, column = np.indices(camera.FRAME)
    picture = np.stack([row, column, 0 * row], axis=-1)[None].astype(np.uint8)
    videos, labels = camera.make_moves(picture, 60, num_frames=5, side=16, seed=0, desc="")
    for video, label in zip(videos.astype(float), labels, strict=True):
        place = video.mean((1, 2))
        height = np.ptp(video[..., 0], axis=(1, 2))
        travel = np.abs(place[-1] - place[0])
        name = camera.CLASS_NAMES[label]
        assert (travel[0] > 8) == (name in ("pan up", "pan down")), name
        assert (travel[1] > 8) == (name in ("pan left", "pan right")), name
        assert (height[-1] > 1.2 * height[0]) == (name == "zoom out"), name
        assert (height[0] > 1.2 * height[-1]) == (name == "zoom in"), name
    assert set(labels) == set(range(6))


def test_a_folder_of_videos(folder):
    data = load(tiny_clips.settings(folder))
    assert data.class_names == ("brighter", "darker")
    assert (len(data.train), len(data.test)) == (6, 3)
    check_readable(data)
    found = list(batches(data.train, 4, seed=0, epoch=1))
    assert [batch.videos.shape for batch in found] == [(4, 5, 16, 16, 3)] * 2
    assert found[1].valid.tolist() == [1, 1, 0, 0]
    # Five of seven frames, all of four.
    assert {int(n) for batch in found for n in batch.lengths[batch.valid > 0]} == {5, 4}
    threaded = list(batches(data.train, 4, seed=0, epoch=1, num_threads=2))
    for one, other in zip(found, threaded, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_depth_is_the_luminance(folder):
    colour = load(tiny_clips.settings(folder)).test.read(0)
    grey = load(tiny_clips.settings(folder, input="depth")).test.read(0)
    assert grey.shape == (*colour.shape[:-1], 1)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[..., 0], expected, atol=0.51)


def rewritten(folder, change):
    index = folder / "videos.csv"
    index.write_text(change(index.read_text()))
    return folder


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.replace("label", "class"), ValueError, "has no column label"),
        (lambda t: t.replace("darker,test", "darker,dev"), ValueError, "line 8: split must be"),
        (lambda t: t.replace("train1", "lost"), FileNotFoundError, "line 3: .*lost.mkv"),
        (lambda t: t.replace("brighter,train", "darker,train"), ValueError, "no training video of"),
        (lambda t: t.replace("brighter", "darker"), ValueError, "has 1 class"),
        (lambda t: t[: t.index("test0")], ValueError, "no row of the split test"),
    ],
)
def test_wrong_tables(folder, change, error, message):
    with pytest.raises(error, match=message):
        load(tiny_clips.settings(rewritten(folder, change)))


def test_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no videos.csv"):
        load(tiny_clips.settings(tmp_path))


def test_videos_that_cannot_be_used_are_named(folder):
    with pytest.raises(ValueError, match=r"train1.mkv: has 4 frames, fewer than --min_frames=5"):
        check_readable(load(tiny_clips.settings(folder, min_frames=5)))
    (folder / "train2.mkv").write_text("not a video")
    with pytest.raises(ValueError, match=r"train2.mkv: cannot be decoded as video"):
        check_readable(load(tiny_clips.settings(folder)))
