"""Camera moves and folders of videos: what is rendered, read and refused."""

import threading

import numpy as np
import pytest
import tiny_clips

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.time_layer import camera, dataset
from experiments.time_layer.dataset import batches, check_readable, identity, load

FRAMES = np.random.default_rng(0).integers(0, 256, (3, *camera.FRAME, 3), dtype=np.uint8)


def moves(seed=0, count=3):
    return camera.make_moves(FRAMES, count, num_frames=5, side=16, seed=seed, desc="")


@pytest.fixture
def folder(tmp_path):
    return tiny_clips.write_folder(tmp_path)


def test_moves_are_a_function_of_the_seed():
    videos, labels, sources = moves()
    assert videos.shape == (3, 5, 16, 16, 3) and videos.dtype == np.uint8
    assert labels.shape == (3,) and set(labels) <= set(range(len(camera.CLASS_NAMES)))
    assert sources.shape == (3,) and set(sources) <= set(range(len(FRAMES)))
    again = moves().videos
    np.testing.assert_array_equal(videos, again)
    other = moves(seed=1).videos
    assert np.any(videos != other)
    assert np.any(videos[:, 0] != videos[:, -1])  # it moves


def test_a_move_says_over_which_frame_it_goes():
    # Flat frames of 10, 20 and 30; a move may invert them.
    flat = np.broadcast_to(np.array([10, 20, 30], np.uint8)[:, None, None, None], FRAMES.shape)
    found = camera.make_moves(flat, 20, num_frames=3, side=8, seed=0, desc="")
    value = found.videos[:, 1, 4, 4, 0].astype(int)
    value = np.where(value > 127, 255 - value, value)
    np.testing.assert_array_equal(value, 10 * (found.sources + 1))
    assert set(found.sources) == {0, 1, 2}


def test_opposite_moves_show_the_same_frames_in_opposite_order(monkeypatch):
    videos, labels, _ = moves()
    monkeypatch.setattr(camera, "_MOVES", -camera._MOVES)
    camera._render.clear_cache()
    opposite, same_labels, _ = moves()
    camera._render.clear_cache()
    np.testing.assert_array_equal(labels, same_labels)
    np.testing.assert_allclose(videos.astype(int), opposite[:, ::-1].astype(int), atol=1)


def test_all_moves_look_the_same_in_the_middle(monkeypatch):
    videos = moves().videos
    monkeypatch.setattr(camera, "_MOVES", camera._MOVES[[4, 2, 0, 5, 1, 3]])
    camera._render.clear_cache()
    others = moves().videos
    camera._render.clear_cache()
    np.testing.assert_allclose(videos[:, 2].astype(int), others[:, 2].astype(int), atol=1)
    assert np.abs(videos[:, 0].astype(int) - others[:, 0]).max() > 10


def test_pans_and_zooms_go_where_their_names_say(monkeypatch):
    # The picture's red is its row and its green its column: the window's mean says where it is.
    row, column = np.indices(camera.FRAME)
    picture = np.stack([row, column, 0 * row], axis=-1)[None].astype(np.uint8)
    videos, labels, _ = camera.make_moves(picture, 60, num_frames=5, side=16, seed=0, desc="")
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


def test_threads_decode_videos_not_batches(folder, monkeypatch):
    # Two videos of the only batch meet here; a thread alone would wait in vain.
    meet = threading.Barrier(2)
    read = dataset.read_video

    def meeting(path, settings):
        meet.wait(timeout=20)
        return read(path, settings)

    monkeypatch.setattr(dataset, "read_video", meeting)
    data = load(tiny_clips.settings(folder))
    (batch,) = batches(data.train, 6, seed=None, num_threads=2)
    assert batch.labels.tolist() == data.train.labels.tolist()


def test_luminance(folder):
    colour = load(tiny_clips.settings(folder)).test.read(0)
    grey = load(tiny_clips.settings(folder, input="luminance")).test.read(0)
    assert grey.shape == (*colour.shape[:-1], 1)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[..., 0], expected, atol=0.51)


def rewritten(folder, change):
    index = folder / "videos.csv"
    index.write_text(change(index.read_text()))
    return folder


def test_a_validation_split_is_read(tmp_path):
    folder = tiny_clips.write_folder(tmp_path, num_val=2)
    data = load(tiny_clips.settings(folder))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 3,
    }
    # Without a test split it stands for one, and the report says so.
    only = load(tiny_clips.settings(rewritten(folder, lambda t: t.replace(",test", ",val"))))
    assert (len(only.test), only.val) == (5, None)
    assert "what is called test is the validation split" in only.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("label", "class"), "no column label"),
        (lambda t: t.replace("darker,test", "darker,dev"), "line 8: unknown split 'dev'"),
        (lambda t: t.replace("train1", "lost"), "line 3: no file .*lost.mkv"),
        (lambda t: t.replace("test0", "train0"), "name the same file, .*train0.mkv; each file may"),
        (lambda t: t.replace("test0", "../test0"), r"'\.\./test0.mkv' leads out of the folder"),
        (lambda t: t.replace("train1.mkv,brighter,train", "train1.mkv"), "line 3: no label, split"),
        (lambda t: t.replace("brighter,train", "darker,train"), "no training video of brighter"),
        (lambda t: t.replace("brighter", "darker"), "has 1 class"),
        (lambda t: t[: t.index("test0")], "no row of the split test"),
    ],
)
def test_wrong_tables(folder, change, message):
    with pytest.raises(UserError, match=message):
        load(tiny_clips.settings(rewritten(folder, change)))


def test_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no videos.csv"):
        load(tiny_clips.settings(tmp_path))


def test_videos_that_cannot_be_used_are_named_all_at_once(folder):
    with pytest.raises(UserError, match=r"train1.mkv: has 4 frames, fewer than --min_frames=5"):
        check_readable(load(tiny_clips.settings(folder, min_frames=5)))
    for name in ("train2.mkv", "test0.mkv"):
        (folder / name).write_text("not a video")
    with pytest.raises(UserError) as error:
        check_readable(load(tiny_clips.settings(folder, num_threads=2)))
    for name in ("train2.mkv", "test0.mkv"):
        assert f"{name}: cannot be decoded as video" in str(error.value)


def test_the_content_of_every_video_is_part_of_the_identity(folder):
    def found():
        return identity(load(tiny_clips.settings(folder)), Digests())

    before = found()
    assert before == found()
    content = (folder / "test0.mkv").read_bytes()
    (folder / "test0.mkv").write_bytes((folder / "train0.mkv").read_bytes())
    after = found()
    assert {key for key in before if before[key] != after[key]} == {"content", "repeated"}
    (folder / "test0.mkv").write_bytes(content)
    assert found() == before
    rewritten(folder, lambda t: t.replace("brighter,test", "darker,test"))
    assert found()["ids_labels_splits"] != before["ids_labels_splits"]


def test_the_identity_of_camera_moves_is_what_they_are_made_of(tmp_path, monkeypatch):
    few = {"layout": "camera", "num_train": 9, "num_test": 8, "side": 8, "source_frames": 3}

    def found(**options):
        return identity(load(tiny_clips.settings(tmp_path, **few | options)), Digests())

    clips = {
        name: np.random.default_rng(k).integers(0, 256, (2, *camera.FRAME, 3), dtype=np.uint8)
        for k, name in enumerate(camera.CLIPS)
    }

    def make_moves(frames, count, *, seed, **_):
        labels = np.random.default_rng(seed).integers(0, 6, count, dtype=np.int32)
        return camera.Moves(np.zeros((count, 3, 8, 8, 3), np.uint8), labels, labels % len(frames))

    monkeypatch.setattr(camera, "clip_frames", lambda name: clips[name])
    monkeypatch.setattr(camera, "make_moves", make_moves)
    before = found()
    assert before == found()
    assert before["num_samples"] == {"train": 9, "test": 8}
    assert found(data_seed=1)["labels"] != before["labels"]
    clips["carphone"] = clips["carphone"].copy()
    clips["carphone"][0, 0, 0, 0] ^= 1
    after = found()
    assert {key for key in before if before[key] != after[key]} == {"frames"}
