import wave
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from experiments.vision import video as module
from experiments.vision.video import frame_rate, read_video, sampled_video, video_frames

CLIPS = Path(__file__).parents[3] / "experiments" / "data" / "clips"
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), dtype=np.uint8)
TITLE = "Q" * 20


READERS = [
    read_video,
    frame_rate,
    lambda path: next(video_frames(path)),
    lambda path: sampled_video(path, 2),
]


def write(path: Path, frames: np.ndarray = FRAMES, **options) -> Path:
    return write_video(path, frames, **options)


@pytest.fixture
def video(tmp_path) -> Path:
    return write(tmp_path / "video.mkv")


def test_frames_are_those_that_were_written(video):
    read = read_video(video)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, FRAMES)
    np.testing.assert_array_equal(read_video(str(video)), FRAMES)


def test_the_iterator_gives_the_same_frames(video):
    np.testing.assert_array_equal(np.stack(list(islice(video_frames(video), 3))), FRAMES[:3])
    assert len(list(video_frames(video, max_frames=4))) == 4


def test_max_frames_stops_early_and_never_fills_up(video):
    np.testing.assert_array_equal(read_video(video, max_frames=5), FRAMES[:5])
    assert len(read_video(video, max_frames=100)) == len(FRAMES)


@pytest.mark.parametrize("count", [1, 5, 12, 100])
def test_samples_are_those_of_the_whole_video(video, count):
    keep = min(count, 12)
    sampled, total = sampled_video(video, count)
    np.testing.assert_array_equal(sampled, FRAMES[np.arange(keep) * 12 // keep])
    assert total == 12


@pytest.mark.parametrize("guess", [0, 7, 40])
def test_samples_do_not_trust_the_number_of_packets(video, monkeypatch, guess):
    monkeypatch.setattr(module, "count_packets", lambda path: guess)
    sampled, total = sampled_video(video, 5)
    np.testing.assert_array_equal(sampled, FRAMES[np.arange(5) * 12 // 5])
    assert total == 12


def test_only_the_frames_that_are_kept_are_converted(video, monkeypatch):
    converted = []

    def decoded(path, **options):
        for frame in original(path, **options):
            converted.append(frame.picture is not None)
            yield frame

    original = module.stream_video
    monkeypatch.setattr(module, "stream_video", decoded)
    sampled_video(video, 3)
    assert (len(converted), sum(converted)) == (12, 3)


def test_size_is_height_and_width(tmp_path):
    frames = np.zeros((2, 32, 48, 3), np.uint8)
    frames[:, :16, :, 0] = 255  # red above, blue below
    frames[:, 16:, :, 2] = 255
    read = read_video(write(tmp_path / "halves.mkv", frames), size=(20, 40))
    assert read.shape == (2, 20, 40, 3)
    # Far from the edge the scaler keeps the colours.
    assert read[:, :7, :, 0].min() > 250 and read[:, :7, :, 2].max() < 5
    assert read[:, -7:, :, 2].min() > 250 and read[:, -7:, :, 0].max() < 5


def test_frame_rate(video):
    assert frame_rate(video) == 5.0


@pytest.mark.parametrize(
    ("name", "shape", "rate"),
    [
        ("bikes", (250, 272, 640), 25),
        ("bigbuckbunny", (132, 720, 1280), 25),
        ("carphone", (120, 144, 176), 30000 / 1001),
    ],
)
def test_the_demo_clips_decode(name, shape, rate):
    path = CLIPS / f"{name}.mp4"
    assert frame_rate(path) == pytest.approx(rate)
    assert read_video(path, max_frames=1).shape == (1, *shape[1:], 3)
    assert sum(1 for _ in video_frames(path, size=(16, 16))) == shape[0]


def test_a_title_in_another_encoding_is_no_obstacle(tmp_path):
    path = write(tmp_path / "title.mkv", title=TITLE)
    content = path.read_bytes()
    assert content.count(TITLE.encode()) == 1
    path.write_bytes(content.replace(TITLE.encode(), b"\xff" * len(TITLE)))
    np.testing.assert_array_equal(read_video(path), FRAMES)
    assert frame_rate(path) == 5.0


def no_video(path: Path) -> None:
    path.write_text("not a video")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = (CLIPS / "carphone.mp4").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))


@pytest.mark.parametrize("make", [no_video, nothing, cut, sound])
@pytest.mark.parametrize("read", READERS)
def test_what_does_not_decode_is_named(tmp_path, make, read):
    path = tmp_path / "broken.mp4"
    make(path)
    with pytest.raises(ValueError, match=r"broken\.mp4: cannot be decoded as video"):
        read(path)


def test_a_file_without_a_whole_frame_is_named(video):
    video.write_bytes(video.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"video\.mkv: holds no frame"):
        read_video(video)
    with pytest.raises(ValueError, match=r"video\.mkv: holds no frame"):
        sampled_video(video, 3)


@pytest.mark.parametrize("read", READERS)
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"none\.mp4: no such video"):
        read(tmp_path / "none.mp4")
