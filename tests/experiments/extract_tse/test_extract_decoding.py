"""One video as messages: which pictures, of which frames, and what is a failure."""

import os
import wave

import av
import numpy as np
import pytest
from tiny_extraction import SIDE, frames_of, write_mp4, write_video

from experiments.extract_tse import decoding as module
from experiments.extract_tse.decoding import Begin, End, Failure, Pictures, Task, decode
from experiments.extract_tse.windows import Plan, Windows
from experiments.vision.video import read_video

FOURS = Windows.parse("4", (), "3")
SEVERAL = Windows.parse("4", ("2", "5", "L"), "1")


def task_of(path, **options):
    given = {
        "path": str(path),
        "windows": FOURS,
        "frames": 3,
        "size": (SIDE, SIDE),
        "crop": "stretch",
        "max_pixels": 10_000,
        "max_bytes": 1_000_000,
    }
    return Task(**given | options)


def decoded(task):
    """The last Begin, all pictures after it, and the last message."""
    *messages, last = decode(task)
    begin = max(k for k, message in enumerate(messages) if isinstance(message, Begin))
    parts = [message.pictures for message in messages[begin + 1 :]]
    assert all(isinstance(message, Pictures) for message in messages[begin + 1 :])
    assert isinstance(last, End)
    return messages[begin].length, np.concatenate(parts), last


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mkv", frames_of(20))


@pytest.mark.parametrize("windows", [FOURS, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("message_bytes", [1, 3000, 10**9])
def test_windows_have_their_samples_in_the_order_of_the_plan(
    video, windows, message_bytes, monkeypatch
):
    monkeypatch.setattr(module, "_MESSAGE_BYTES", message_bytes)
    whole = read_video(video, size=(SIDE, SIDE))
    length, pictures, end = decoded(task_of(video, windows=windows))
    plan = Plan.of(windows, 20, 3)
    assert length == 20
    np.testing.assert_array_equal(pictures, whole[plan.samples])
    np.testing.assert_allclose(end.seconds, np.arange(20) / 5)
    assert end.note == "" and 0 < end.busy < 100
    assert end.source[:2] == (video.stat().st_size, video.stat().st_mtime_ns)


def test_single_pictures_are_all_frames_that_are_in_a_window(video):
    whole = read_video(video, size=(SIDE, SIDE))
    np.testing.assert_array_equal(decoded(task_of(video, frames=None))[1][:, 0], whole)
    gaps = task_of(video, frames=None, windows=Windows.parse("2", (), "5"))
    np.testing.assert_array_equal(decoded(gaps)[1][:, 0], whole[[0, 1, 5, 6, 10, 11, 15, 16]])


@pytest.mark.parametrize("frames", [None, 3])
@pytest.mark.parametrize("guess", [0, 1, 19, 21, 500])
def test_a_wrong_number_of_packets_is_mended(video, monkeypatch, guess, frames):
    expected = decoded(task_of(video, frames=frames))
    monkeypatch.setattr(module, "count_packets", lambda path: guess)
    found = decoded(task_of(video, frames=frames))
    assert found[0] == 20
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_number_of_frames_that_changes_is_a_failure(video, monkeypatch):
    lengths, picture = iter([7, 5]), np.zeros((SIDE, SIDE, 3), np.uint8)

    def stream(path, **options):
        return (module.Frame(k, 0.0, picture) for k in range(next(lengths)))

    monkeypatch.setattr(module, "count_packets", lambda path: 5)
    monkeypatch.setattr(module, "stream_video", stream)
    *_, last = decode(task_of(video))
    assert last == Failure("has another number of frames each time, [5, 7]")


@pytest.mark.parametrize("windows", [FOURS, SEVERAL], ids=["one", "several"])
def test_no_more_frames_are_held_than_the_plan_says(video, monkeypatch, windows):
    held, most = set(), 0
    plan = Plan.of(windows, 20, 3)

    class Picture(np.ndarray):
        def __del__(self):
            held.discard(id(self))

    def stream(path, wanted, **options):
        nonlocal most
        for number in range(20):
            picture = None
            if number in wanted:
                picture = np.zeros((SIDE, SIDE, 3), np.uint8).view(Picture)
                held.add(id(picture))
                most = max(most, len(held))
            yield module.Frame(number, number / 5, picture)
            del picture

    monkeypatch.setattr(module, "stream_video", stream)
    decoded(task_of(video, windows=windows))
    assert plan.most_kept() <= most <= plan.most_kept() + 1 < 20


def test_too_many_pictures_at_once_are_refused(video):
    whole = Windows.parse("L", (), "1")
    task = task_of(video, windows=whole, frames=20)
    needed = 20 * SIDE * SIDE * 3
    assert isinstance(list(decode(task_of(video, windows=whole, max_bytes=needed)))[-1], End)
    *_, last = decode(Task(**task.__dict__ | {"max_bytes": needed - 1}))
    assert "more than --max_memory" in last.reason


def test_uneven_time_stamps(tmp_path):
    stamps = [0, 10, 15, 40, 90]
    path = write_video(tmp_path / "uneven.mkv", frames_of(5), stamps=stamps)
    task = task_of(path, allow_truncated=True)
    np.testing.assert_allclose(decoded(task)[2].seconds, np.array(stamps) / 100)


@pytest.mark.parametrize("found", [[0.0, None, 0.4, 0.6], [0.0, 0.4, 0.2, 0.6]])
@pytest.mark.parametrize(("rate", "expected"), [(4.0, 0.25), (None, 1)])
def test_missing_time_stamps_follow_from_the_rate(found, rate, expected):
    stamps, notes = module._stamps(found, rate)
    np.testing.assert_array_equal(stamps, np.arange(4) * expected)
    assert len(notes) == 1 and notes[0].startswith("no time stamps")


def nothing(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not a video")


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))


def no_frames(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.height = stream.width = 32
        stream.pix_fmt = "bgr0"
        container.start_encoding()


def no_whole_frame(path):
    write_video(path.with_suffix(".mkv"), frames_of(1))
    path.write_bytes(path.with_suffix(".mkv").read_bytes()[:1500])


def cut(path):
    write_mp4(path, frames_of(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def cut_matroska(path):
    write_video(path.with_suffix(".mkv"), frames_of(20))
    content = path.with_suffix(".mkv").read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def without_index(path):
    write_mp4(path, frames_of(20), options={})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def large(path):
    write_video(path.with_suffix(".mkv"), frames_of(1, height=101, width=100))
    path.with_suffix(".mkv").rename(path)


def unknown_codec(path):
    write_video(path.with_suffix(".mkv"), frames_of(3))
    content = path.with_suffix(".mkv").read_bytes()
    assert content.count(b"V_FFV1") == 1
    path.write_bytes(content.replace(b"V_FFV1", b"V_WHAT"))


def folder(path):
    path.mkdir()


def missing(path):
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nothing, "cannot be decoded as video"),
        (text, "cannot be decoded as video"),
        (sound, "it has no video stream"),
        (no_frames, "it has no video stream"),
        (no_whole_frame, "holds no frame"),
        (cut, r"^\d frames of the 20 that its header names; it is truncated"),
        (cut_matroska, r"2.\d+ seconds of the 4.00 that its header names; it is truncated"),
        (without_index, "cannot be decoded as video"),
        (large, "pictures of 100 x 101 pixels, more than 10000"),
        (unknown_codec, "no decoder|cannot be decoded"),
        (folder, "no such video"),
        (missing, "no such video"),
    ],
)
def test_a_bad_file_is_a_failure_in_one_line(tmp_path, make, reason):
    path = tmp_path / "bad video.mp4"
    make(path)
    *_, last = decode(task_of(path))
    assert isinstance(last, Failure)
    assert str(path) not in last.reason.split("(")[0] and "\n" not in last.reason
    pytest.raises(ValueError, raise_value, last.reason).match(reason)


def raise_value(text):
    raise ValueError(text)


def test_a_truncated_file_may_be_taken_as_it_is(tmp_path):
    path = tmp_path / "cut.mp4"
    cut(path)
    length, _, end = decoded(task_of(path, allow_truncated=True))
    assert 2 <= length < 18 and end.note.startswith(f"{length} frames of the 20")


def test_a_file_that_changes_meanwhile_is_a_failure(video):
    messages = decode(task_of(video))
    assert next(messages) == Begin(20)
    os.utime(video, ns=(1, 1))
    *_, last = messages
    assert last == Failure("was changed while it was read")


def test_whatever_a_decoder_raises_is_a_failure(video, monkeypatch):
    def stream(path, **options):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(module, "stream_video", stream)
    *_, last = decode(task_of(video))
    assert last == Failure("ZeroDivisionError: by zero")
