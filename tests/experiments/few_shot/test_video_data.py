"""Lists of videos as meta splits; what is kept in memory and what threads do changes nothing."""

import shutil

import numpy as np
import pytest
import tiny_episodes
import tiny_frames

from experiments.few_shot import frames, video_data
from experiments.few_shot.frame_counts import FILE, FrameCounts
from experiments.few_shot.video_data import load_videos, middle_pictures, training_pictures
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests
from experiments.vision import segments
from experiments.vision.video import read_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_frames.write(tmp_path_factory.mktemp("videos"))


def loaded(folder, **changes):
    settings = tiny_frames.settings(folder, **changes)
    return load_videos(settings), settings


def epoch(data, settings, number, seed=0):
    return np.stack(list(training_pictures(data.train, settings, seed=seed, epoch=number)))


def test_the_column_split_says_which_classes_are_tested_on(folder):
    data, _ = loaded(folder)
    assert data.train.class_names == ("brg", "gbr", "rgb") and data.val is None
    assert data.test.class_names == ("bgr", "grb", "rbg")
    assert data.test.ids[:4] == ("bgr/0.mkv", "bgr/1.mkv", "bgr/2.mkv", "grb/0.mkv")
    np.testing.assert_array_equal(data.test.classes.size, [3, 3, 3])
    assert data.sampling.side == 8 and data.sampling.scaled == 9
    assert list(data.train.clips.lengths) == [
        len(tiny_frames.clip(name, n)) for name in data.train.class_names for n in range(3)
    ]


def test_class_splits_go_before_the_column(folder, tmp_path):
    splits = dict.fromkeys(("rgb", "bgr"), "train") | dict.fromkeys(("gbr", "grb"), "test")
    path = tiny_episodes.write_splits(tmp_path / "splits.csv", splits)
    data, _ = loaded(folder, class_splits=str(path), way=2)
    assert data.train.class_names == ("rgb", "bgr") and data.test.class_names == ("gbr", "grb")
    assert "2 classes of the list are in no meta split" in data.note


def test_lists_that_cannot_be_used(folder, tmp_path):
    def listed(*lines):
        path = folder / "other.csv"
        path.write_text("\n".join(["path,label,split", *lines]) + "\n")
        return tiny_frames.settings(folder, videos=str(path))

    with pytest.raises(UserError, match="class 'a' is in 'train' and in 'test'(.|\n)*") as error:
        load_videos(listed("rgb/0.mkv,a,train", "rgb/1.mkv,a,test"))
    assert "--class_splits" in str(error.value)
    with pytest.raises(UserError, match="no video of the split 'test'"):
        load_videos(listed("rgb/0.mkv,a,train"))
    with pytest.raises(UserError, match="too few for --way=3"):
        load_videos(listed("rgb/0.mkv,a,train", "gbr/1.mkv,b,test"))
    with pytest.raises(MissingFileError, match="no file"):
        load_videos(listed("rgb/absent.mkv,a,train", "gbr/1.mkv,b,test"))
    with pytest.raises(UserError, match="--trunk=nothing: nothing: no such model"):
        loaded(folder, trunk="nothing")
    with pytest.raises(UserError, match="--side=2: .* at least 4"):
        loaded(folder, side=2)


def test_bad_videos_are_named_or_left_out(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "rbg" / "1.mkv").write_bytes(b"no video" * 30)
    whole = (copy / "gbr" / "0.mkv").read_bytes()
    (copy / "gbr" / "0.mkv").write_bytes(b"")
    with pytest.raises(UserError, match="2 problems") as error:
        loaded(copy)
    assert "rbg/1.mkv" in str(error.value) and "--skip_bad" in str(error.value)
    with pytest.raises(MissingFileError):
        loaded(folder, videos=str(tmp_path / "absent.csv"))
    data, _ = loaded(copy, skip_bad=True)
    assert [name.endswith(("rbg/1.mkv", "gbr/0.mkv")) for name, _ in data.left_out] == [True] * 2
    assert data.test.ids[6:] == ("rbg/0.mkv", "rbg/2.mkv") and len(data.test.clips) == 8
    np.testing.assert_array_equal(data.train.classes.size, [3, 2, 3])
    np.testing.assert_array_equal(data.train.classes.first, [0, 3, 5])
    assert "2 videos are left out" in data.note
    assert whole


@pytest.mark.parametrize("spread", [0, 2])
def test_pictures_kept_in_memory_are_those_that_are_decoded(folder, spread, capsys):
    options = {"segment_frames": spread, "train_crop": "multiscale", "flip": True}
    kept, settings = loaded(folder, cache_mb=10, num_threads=1, **options)
    assert "Pictures of 18 are kept" in capsys.readouterr().out
    bare, other = loaded(folder, cache_mb=0, num_threads=3, **options)
    assert "Pictures of 0 are kept" in capsys.readouterr().out
    np.testing.assert_array_equal(epoch(kept, settings, 0), epoch(bare, other, 0))
    for (count, one), (number, another) in zip(
        middle_pictures(kept.test, settings), middle_pictures(bare.test, other), strict=True
    ):
        assert count == number
        np.testing.assert_array_equal(one, another)


def test_room_for_some(folder, capsys):
    """Testing goes first: 9 videos of 3 pictures of 8 x 8; then training as far as it goes."""
    room = (9 * 3 * 64 + 2 * 11 * 81) * 3
    paths = {"train": [folder / f"rgb/{n}.mkv" for n in range(3)]}
    paths["test"] = [folder / f"bgr/{n}.mkv" for n in range(3)] * 3
    data, _ = loaded(folder)
    counts = FrameCounts()
    opened = frames.open_clips(paths, data.sampling, counts, cache_mb=room / 1e6, num_threads=1)
    assert len(opened.clips["test"]._kept) == 9
    assert 1 <= len(opened.clips["train"]._kept) < 3
    assert "Videos: 12, 12 decoded once" in capsys.readouterr().out


def test_what_was_decoded_once_is_remembered(folder, tmp_path, capsys):
    options = {"cache_mb": 0, "out_dir": str(tmp_path)}
    data, _ = loaded(folder, **options)
    assert "Videos: 18, 18 decoded once" in capsys.readouterr().out
    data.counts.save(tmp_path / FILE)
    again, _ = loaded(folder, **options)
    assert "Videos: 18, 0 decoded once" in capsys.readouterr().out
    assert again.train.clips.lengths == data.train.clips.lengths
    loaded(folder, out_dir=str(tmp_path))  # to be kept they are decoded
    assert "18 decoded once" in capsys.readouterr().out
    (tmp_path / FILE).write_text('{"x": 1, "y": [1, 2, "z"]}')
    loaded(folder, **options)
    assert "18 decoded once" in capsys.readouterr().out


def test_where_nothing_is_trained_testing_alone_is_read(folder, capsys):
    loaded(folder, train_trunk="none")
    assert "Videos: 9, 9 decoded once" in capsys.readouterr().out


def test_an_epoch_does_not_depend_on_those_before(folder):
    data, settings = loaded(folder)
    first, second = epoch(data, settings, 0), epoch(data, settings, 1)
    assert first.shape == (2, 2, 6, 3, 8, 8, 3) and first.dtype == np.uint8
    assert (first != second).any()
    np.testing.assert_array_equal(second, epoch(data, settings, 1))
    assert (second != epoch(data, settings, 1, seed=1)).any()


def test_queries_come_first_class_by_class_and_supports_after_them(folder):
    """Colours in their order tell the class; each of the three is there once."""
    data, settings = loaded(folder, train_crop="center", segment_frames=1)
    found = epoch(data, settings, 0).reshape(-1, 6, 3, 8, 8, 3).mean((3, 4))
    names = [
        ["".join("rgb"[k] for k in frame_colours.argmax(-1)) for frame_colours in episode]
        for episode in found
    ]
    for episode in names:
        assert episode[:3] == episode[3:] and sorted(episode[:3]) == ["brg", "gbr", "rgb"]


def test_testing_sees_the_middle_of_the_middle_frame(folder):
    data, settings = loaded(folder)
    path = data.test.clips.paths[4]
    whole = read_video(path, size=(9, 9))
    expected = whole[segments.middle_frames(len(whole), 3), :8, :8]
    count, pictures = list(middle_pictures(data.test, settings))[1]
    assert count == 4
    np.testing.assert_array_equal(pictures[0], expected)
    counts = [count for count, _ in middle_pictures(data.test, settings)]
    assert counts == [4, 4, 1]


def test_identity_is_of_content_and_trunk(folder, tmp_path):
    data, settings = loaded(folder)
    was = data.identity(settings, Digests())
    copy = shutil.copytree(folder, tmp_path / "copy")
    data, other = loaded(copy)
    assert data.identity(other, Digests()) == was
    shutil.copy(copy / "rgb" / "0.mkv", copy / "bgr" / "0.mkv")
    data, other = loaded(copy)
    now = data.identity(other, Digests())
    assert now["content"] != was["content"] and now["repeated"]["count"] == 1
    data, other = loaded(folder, trunk="tiny_trunk:colours", train_trunk="none", encoder="linear")
    assert data.identity(other, Digests())["trunk"] != was["trunk"]
    assert video_data.job_trunk_identity(other, Digests())["encoder"] == "tiny_trunk:colours"
