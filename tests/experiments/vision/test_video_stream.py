"""Frames with their numbers and time stamps, turned and cut, of files of many kinds."""

from pathlib import Path

import av
import numpy as np
import pytest
from video_files import write_video

from experiments.shared.errors import UserError
from experiments.vision.video import count_packets, read_header, read_video, stream_video

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
# Where it is in an .mp4, the matrix of a stream that is not turned: 1 0 0, 0 1 0, 0 0 1.
UPRIGHT = (1, 0, 0, 1)
TURNED = {0: UPRIGHT, 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}


def write(path: Path, frames=FRAMES, **options) -> Path:
    return write_video(path, frames, **options)


def matrix(numbers):
    """A display matrix as the header of an .mp4 has it."""
    a, b, c, d = ((number * 65536).to_bytes(4, "big", signed=True) for number in numbers)
    zero = bytes(4)
    return a + b + zero + c + d + zero + zero + zero + (1 << 30).to_bytes(4, "big")


def turned(path: Path, degrees: int) -> Path:
    """A video that says it is to be shown turned, counter-clockwise."""
    content = write(path, codec="mpeg4", pixels="yuv420p").read_bytes()
    place = content.index(matrix(UPRIGHT), content.index(b"tkhd"))
    path.write_bytes(content[:place] + matrix(TURNED[degrees]) + content[place + 36 :])
    return path


def pictures(path, **options):
    return np.stack([frame.picture for frame in stream_video(path, **options)])


@pytest.mark.parametrize("degrees", TURNED)
def test_pictures_are_turned_as_they_are_shown(tmp_path, degrees):
    upright = pictures(write(tmp_path / "upright.mp4", codec="mpeg4", pixels="yuv420p"))
    path = turned(tmp_path / "turned.mp4", degrees)
    expected = np.rot90(upright, degrees // 90, axes=(1, 2))
    np.testing.assert_array_equal(pictures(path), expected)
    np.testing.assert_array_equal(read_video(path), expected)


@pytest.mark.parametrize("crop", ["center", "stretch"])
@pytest.mark.parametrize("degrees", TURNED)
def test_size_is_that_of_the_picture_that_is_shown(tmp_path, degrees, crop):
    path = turned(tmp_path / "turned.mp4", degrees)
    assert pictures(path, size=(20, 30), crop=crop).shape == (6, 20, 30, 3)


def test_the_middle_is_cut_and_the_aspect_kept(tmp_path):
    frames = np.zeros((1, 32, 64, 3), np.uint8)
    frames[:, :, :16], frames[:, :, 16:48], frames[:, :, 48:] = 50, 100, 150
    path = write(tmp_path / "wide.mkv", frames)
    cut = pictures(path, size=(16, 16), crop="center")[0]
    assert (cut[:, 1:-1] == 100).all()  # but where the scaler mixes neighbours
    assert pictures(path, size=(16, 16), crop="stretch")[0, 8, [0, 8, 15], 0].tolist() == [
        50,
        100,
        150,
    ]
    # A picture that is exactly of the size is not touched.
    np.testing.assert_array_equal(pictures(path, size=(32, 64), crop="center"), frames)


def test_time_stamps_are_those_of_the_file(tmp_path):
    stamps = [0, 10, 15, 40, 90, 200]
    path = write(tmp_path / "uneven.mkv", stamps=stamps)
    found = list(stream_video(path, wanted={2}))
    assert [frame.number for frame in found] == list(range(6))
    assert [frame.seconds for frame in found] == pytest.approx([stamp / 100 for stamp in stamps])
    assert [frame.picture is not None for frame in found] == [number == 2 for number in range(6)]
    np.testing.assert_array_equal(found[2].picture, FRAMES[2])


@pytest.mark.parametrize(
    ("pixels", "near"),
    [("yuv420p10le", None), ("gray", None), ("gray16le", None), ("bgra", 0), ("gbrp10le", 2)],
)
def test_depths_and_kinds_of_pixels_become_rgb(tmp_path, pixels, near):
    smooth = np.broadcast_to(
        np.linspace(40, 200, 48, dtype=np.uint8)[None, None, :, None], FRAMES.shape
    )
    found = pictures(write(tmp_path / "video.mkv", np.ascontiguousarray(smooth), pixels=pixels))
    assert found.dtype == np.uint8 and found.shape == FRAMES.shape
    assert np.abs(found.astype(int) - smooth).max() <= (4 if near is None else near)


def test_odd_sizes(tmp_path):
    frames = FRAMES[:, :31, :45]
    path = write(tmp_path / "odd.mkv", frames)
    np.testing.assert_array_equal(pictures(path), frames)
    assert pictures(path, size=(17, 9), crop="center").shape == (6, 17, 9, 3)


def test_a_cover_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=5)
        cover.height, cover.width, cover.pix_fmt = 32, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
        container.mux(cover.encode())
    for read in (read_video, count_packets, read_header):
        with pytest.raises(UserError, match="it has no video stream"):
            read(path)


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    path = write(tmp_path / "large.mkv")
    assert len(pictures(path, max_pixels=32 * 48)) == 6
    with pytest.raises(UserError, match=r"large.mkv: pictures of 48 x 32 pixels, more than 1535"):
        next(stream_video(path, max_pixels=32 * 48 - 1))


def test_headers(tmp_path):
    assert read_header(write(tmp_path / "a.mp4", codec="mpeg4", pixels="yuv420p")) == (6, 0.0, 5.0)
    assert read_header(write(tmp_path / "a.mkv")) == (0, pytest.approx(1.2), 5.0)


def test_a_damaged_frame_is_named_by_its_number(tmp_path):
    path = write(tmp_path / "damaged.avi", codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    place = content.rindex(b"\x89PNG")
    content[place : place + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be decoded past frame 4"):
        pictures(path)
