"""What takes longer: memory with a long video, and real clips that become a trained classifier."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_extraction import content_of, settings, write_list, write_video

from experiments.extract_tse import job
from experiments.vision.video import read_video

ROOT = Path(__file__).parents[3]
CLIPS = ROOT / "experiments" / "data" / "clips"
SIDE = 224
LENGTH = 20_000  # frames: 3 GB of pictures

MEASURED = """
import resource, sys
from experiments.extract_tse.decoding import End, Pictures, Task, decode
from experiments.extract_tse.windows import Windows

path, window, windows, stride, frames = sys.argv[1:]
windows = Windows.parse(window, tuple(filter(None, windows.split(","))), stride)
task = Task(path, windows, int(frames) or None, (224, 224), "center", 10**7, 10**9)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 0
for message in decode(task):
    if isinstance(message, Pictures):
        count += len(message.pictures)
assert isinstance(message, End), message
print(count, len(message.seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """A plain picture whose brightness changes."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        for number in range(LENGTH):
            picture = np.full((64, 64, 3), number % 251, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads kilobytes, as Linux has them")
@pytest.mark.parametrize(
    ("window", "windows", "stride", "frames"),
    [("L/5", "", "L/40", 16), ("L/5", "", "L/40", 0), ("16", "16,64,L", "50", 16)],
)
def test_a_long_video_is_never_held(long_video, window, windows, stride, frames):
    arguments = [str(long_video), window, windows, stride, str(frames)]
    command = [sys.executable, "-c", MEASURED, *arguments]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    _, length, kilobytes = map(int, told.split())
    assert length == LENGTH
    assert kilobytes < 150_000  # a twentieth of its pictures
    assert LENGTH * SIDE * SIDE * 3 > 20 * 1000 * kilobytes


@pytest.mark.slow
def test_mobilenet_gives_the_same_bytes_in_shards(tmp_path):
    """Whether batches that videos share change a number of the encoder that comes with this."""
    rows = []
    for number, name in enumerate(("bikes", "carphone")):
        frames = read_video(CLIPS / f"{name}.mp4", size=(64, 64), max_frames=21)
        for part, start in enumerate((0, 7)):
            path = f"{name}{part}.mkv"
            write_video(tmp_path / path, frames[start:])
            rows.append((path, "ab"[number], "train"))
    write_list(tmp_path, rows)
    options = {"encoder": "mobilenet_v2", "size": 64, "batch_size": 16, "dtype": "float32"}
    job.run(settings(tmp_path, **options))
    for shard in ("0/2", "1/2"):
        job.run(settings(tmp_path, **options, out_dir=str(tmp_path / "b"), shard=shard))
    assert content_of(tmp_path / "b") == content_of(tmp_path / "tse")


@pytest.mark.slow
def test_clips_become_a_classifier(tmp_path):
    """From video files to a report by two commands."""
    rows = []
    for name in ("bikes", "bigbuckbunny", "carphone"):
        frames = read_video(CLIPS / f"{name}.mp4", size=(64, 64), max_frames=120)
        for part in range(6):
            path = f"{name}/{part}.mkv"
            write_video(tmp_path / path, frames[20 * part : 20 * part + 20])
            rows.append((path, name, "train" if part < 4 else "test"))
    index = write_list(tmp_path, rows)
    out, trained = tmp_path / "tse", tmp_path / "run"
    for command in (
        ["extract_tse", f"--videos={index}", f"--out_dir={out}", "--encoder=thumbnail"],
        ["k400", f"--data_dir={out}", f"--out_dir={trained}", "--epochs=1", "--batch_size=4"],
    ):
        subprocess.run(
            [sys.executable, "-m", f"experiments.{command[0]}", *command[1:]], cwd=ROOT, check=True
        )
    assert "thumbnail" in (out / "manifest.json").read_text()
    assert (trained / "report.md").is_file()
