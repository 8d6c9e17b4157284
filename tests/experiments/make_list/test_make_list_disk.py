"""Walking a folder of videos, links and circles among them, and finding files by their names."""

import os
import tempfile
from pathlib import Path

import pytest
import tiny_lists
from hypothesis import given
from hypothesis import strategies as st

from experiments.make_list.disk import Entry, NamedVideos, VideoFolder, is_within
from experiments.shared.errors import MissingFileError, UserError


def walk(folder):
    return list(VideoFolder(folder).walk())


def find(folder, *names, within=""):
    videos = VideoFolder(folder)
    return NamedVideos(videos.walk(), videos.identity).find(Entry(names, "x", "train", within))


def test_only_videos_are_found_in_one_order(tmp_path):
    names = ("b/1.MP4", "a/deep/down/2.webm", "a/3.avi", "4.mkv")
    others = ("a/.hidden.mp4", ".folder/5.mp4", "b/6.txt", "7", "a/._3.avi")
    tiny_lists.videos(tmp_path, *names, *others)
    (tmp_path / "folder.mp4").mkdir()
    assert walk(tmp_path) == ["4.mkv", "a/3.avi", "a/deep/down/2.webm", "b/1.MP4"]
    with pytest.raises(MissingFileError, match="--videos=.*none: no such folder"):
        VideoFolder(tmp_path / "none")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9)


@given(st.sets(st.tuples(NAMES, NAMES), max_size=6), st.randoms(use_true_random=False))
def test_any_names_are_found_whoever_made_them_first(names, random):
    expected = sorted(f"f{folder}/v{name}.mp4" for folder, name in names)
    shuffled = list(expected)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as place:
        folder = tiny_lists.videos(Path(place), *shuffled)
        assert sorted(walk(folder)) == expected
        for path in expected:
            stem = path.removesuffix(".mp4").partition("/")[2]
            assert find(folder, stem, within=path.partition("/")[0]) == path


def test_links_are_followed_but_not_in_circles(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", "train/a/1.mp4", "train/b/2.mp4")
    outside = tiny_lists.videos(tmp_path / "elsewhere", "3.mp4", "deep/4.mp4")
    (folder / "train" / "c").symlink_to(outside)
    (folder / "train" / "a" / "up").symlink_to("..")
    (outside / "deep" / "back").symlink_to(folder / "train")
    (folder / "train" / "a" / "gone.mp4").symlink_to("nothing.mp4")
    videos = VideoFolder(folder)
    found = list(videos.walk())
    assert found == ["train/a/1.mp4", "train/b/2.mp4", "train/c/3.mp4", "train/c/deep/4.mp4"]
    assert videos.linked == {os.path.realpath(outside)}


def test_one_file_has_one_identity_by_whatever_link(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", "all/1.mp4", "all/2.mp4")
    (folder / "test").symlink_to("all")
    (folder / "2.mp4").symlink_to("all/2.mp4")
    (tmp_path / "short").symlink_to(folder)
    videos = VideoFolder(tmp_path / "short")
    found = {path: videos.identity(path) for path in videos.walk()}
    assert found == {
        "2.mp4": "all/2.mp4",
        "all/1.mp4": "all/1.mp4",
        "all/2.mp4": "all/2.mp4",
        "test/1.mp4": "all/1.mp4",
        "test/2.mp4": "all/2.mp4",
    }
    assert find(folder, "1") == "all/1.mp4"  # both paths are the same file


def test_the_first_name_counts_and_the_class_folder_decides(tmp_path):
    folder = tiny_lists.videos(tmp_path, "x/id.mp4", "y/id_000001_000002.mp4", "a/1.avi", "b/1.mp4")
    assert find(folder, "id_000001_000002", "id") == "y/id_000001_000002.mp4"
    assert find(folder, "id_000003_000004", "id") == "x/id.mp4"
    assert find(folder, "none") is None
    assert find(folder, "1", within="b") == "b/1.mp4"
    with pytest.raises(UserError, match="a/1.avi and b/1.mp4 both have the name of one video"):
        find(folder, "1")


def test_is_within():
    assert is_within("/a/b", "/a") and is_within("/a", "/a") and is_within("/a", "/")
    assert not is_within("/ab", "/a") and not is_within("/a", "/a/b")
