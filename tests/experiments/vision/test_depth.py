"""Measured depth: the numbers as they are stored, holes, and how much is held at once."""

import weakref

import numpy as np
import pytest
from PIL import Image
from video_files import write_grey, write_video

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision import depth, video
from experiments.vision.depth import FARTHEST, DepthRange, sampled_depth

LIMITS = DepthRange(500, 4500)
MILLIMETRES = np.random.default_rng(0).integers(500, 4500, (7, 24, 36)).astype(np.uint16)
SIZE = MILLIMETRES.shape[1:]


def write_pngs(folder, frames, name="MDepth-{:08d}.png", first=1):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(frames, start=first):
        Image.fromarray(picture).save(folder / name.format(number))
    return folder


def millimetres(pictures):
    return 500 + (pictures[..., 0].astype(np.float64) - 1) / (FARTHEST - 1) * 4000


@pytest.mark.parametrize("name", ["MDepth-{:08d}.png", "{}.png", "frame_{:d}_.png"])
def test_a_folder_of_numbered_pictures(tmp_path, name):
    frames = np.concatenate([MILLIMETRES] * 2)  # past 9, where names sort otherwise
    folder = write_pngs(tmp_path / "v", frames, name)
    (folder / "notes.txt").write_text("")
    if "_." in name:
        with pytest.raises(MissingFileError, match="holds no numbered PNG"):
            sampled_depth(folder, 5, size=SIZE, limits=LIMITS)
        return
    found, total = sampled_depth(folder, 99, size=SIZE, limits=LIMITS)
    assert total == 14 and found.dtype == np.uint16 and found.shape == (14, *SIZE, 1)
    np.testing.assert_allclose(millimetres(found), frames, atol=0.1)


@pytest.mark.parametrize("pixels", ["gray16le", "gray12le", "gray"])
def test_a_video_keeps_its_numbers(tmp_path, pixels):
    frames = MILLIMETRES if pixels != "gray" else (MILLIMETRES // 20).astype(np.uint16)
    limits = LIMITS if pixels != "gray" else DepthRange(25, 225)
    frames = np.minimum(frames, 4095 if pixels == "gray12le" else 65535)
    path = write_grey(tmp_path / "v.mkv", frames, pixels=pixels)
    found, total = sampled_depth(path, 3, size=SIZE, limits=limits)
    expected = limits.pictures(frames[np.arange(3) * 7 // 3])
    assert total == 7
    np.testing.assert_array_equal(found[..., 0], expected)


def test_the_range_and_holes():
    stored = np.array([[0, 1, 500, 2500, 4500, 65535]], np.uint16)
    found = LIMITS.pictures(stored)
    assert found.tolist() == [[0, 1, 1, 32768, FARTHEST, FARTHEST]]


def test_holes_are_not_mixed_with_what_was_measured():
    picture = np.full((8, 8), 30000, np.uint16)
    picture[:, ::3] = 0
    picture[:4, :4] = 0
    small = depth.scaled(picture, (2, 2))
    assert set(np.unique(depth.scaled(picture, (4, 4)))) <= {0, 30000}
    assert small[1, 1] == 30000 and small[0, 0] == 0
    assert depth.scaled(picture, (16, 16)).max() == 30000


def test_what_is_no_depth(tmp_path):
    def read(path):
        return sampled_depth(path, 3, size=SIZE, limits=LIMITS)

    colour = write_video(tmp_path / "c.mkv", np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"c.mkv: its pixels are bgr0, .* --input=luminance takes"):
        read(colour)
    folder = write_pngs(tmp_path / "colours", np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="MDepth-00000001.png: a picture of the mode RGB"):
        read(folder)
    (folder / "MDepth-00000001.png").write_text("no picture")
    with pytest.raises(UserError, match="MDepth-00000001.png: cannot be read as a picture"):
        read(folder)
    (folder / "1.png").write_text("")
    with pytest.raises(UserError, match="1.png and MDepth-00000001.png have the same number"):
        read(folder)
    with pytest.raises(MissingFileError, match="none: no such video"):
        read(tmp_path / "none")


@pytest.mark.parametrize("kind", ["depth video", "depth folder", "colours"])
def test_no_more_frames_are_held_than_are_kept(tmp_path, monkeypatch, kind):
    """Of each picture that is converted it is known whether it is still somewhere."""
    held, most = set(), []

    def counted(original):
        def convert(*args, **options):
            picture = original(*args, **options)
            key = object()
            held.add(key)
            weakref.finalize(picture, held.discard, key)
            most.append(len(held))
            return picture

        return convert

    frames = np.zeros((200, 16, 16), np.uint16)
    if kind == "colours":
        path = write_video(tmp_path / "v.mkv", np.zeros((200, 16, 16, 3), np.uint8))
        monkeypatch.setattr(video, "_picture", counted(video._picture))
        found, total = video.sampled_video(path, 5, size=(8, 8))
    else:
        make = write_pngs if kind == "depth folder" else write_grey
        path = make(tmp_path / ("v" if kind == "depth folder" else "v.mkv"), frames)
        monkeypatch.setattr(depth, "scaled", counted(depth.scaled))
        found, total = sampled_depth(path, 5, size=(8, 8), limits=LIMITS)
    assert (len(found), total, len(most)) == (5, 200, 5) and max(most) <= 5
