"""Measured depth as input of the job: videos and folders of PNGs, trained on and predicted."""

import numpy as np
import pytest
import tiny_clips
from PIL import Image
from video_files import write_grey

from experiments.shared import options
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests
from experiments.time_layer import job
from experiments.time_layer.dataset import batches, check_readable, identity, load
from experiments.time_layer.settings import Settings

GIVEN = {"input": "depth", "depth_range": (500.0, 4500.0), "source_frames": 5}


def write_pngs(folder, frames):
    folder.mkdir(parents=True)
    for number, picture in enumerate(frames, start=1):
        Image.fromarray(picture).save(folder / f"MDepth-{number:08d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Someone comes nearer or goes away: every other video a file, every other a folder."""
    folder = tmp_path_factory.mktemp("depth")
    rng, lines = np.random.default_rng(0), ["path,label,split"]
    for split, count in (("train", 6), ("test", 4)):
        for index in range(count):
            away = np.linspace(800, 4000, 7)[:: 1 if index % 2 else -1, None, None]
            frames = (away + rng.uniform(0, 200, (7, 20, 28))).astype(np.uint16)
            frames[:, rng.integers(20), :] = 0  # nothing was measured there
            name = f"{split}{index}" if index % 4 < 2 else f"{split}{index}.mkv"
            if name.endswith(".mkv"):
                write_grey(folder / name, frames)
            else:
                write_pngs(folder / name, frames)
            lines.append(f"{name},{'away' if index % 2 else 'nearer'},{split}")
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    job.run(
        tiny_clips.settings(folder, **GIVEN, grids=(2,), arrangements=("spatial",), baselines=())
    )
    return folder


def test_videos_and_folders_are_read_alike(folder):
    data = load(tiny_clips.settings(folder, **GIVEN))
    check_readable(data)
    (batch,) = batches(data.train, 6, seed=None)
    assert batch.videos.shape == (6, 5, 16, 16, 1) and batch.videos.dtype == np.uint16
    for video, label in zip(batch.videos, batch.labels, strict=True):
        first, last = (frame[frame > 0].mean() for frame in (video[0], video[-1]))
        assert (last > first) == (data.class_names[label] == "away")
    assert (batch.videos == 0).any()  # a hole, where the row that was not measured is most of one


def test_predictions_are_those_of_the_report(folder):
    out = str(folder / "out")
    shown = job.run(Settings(out_dir=out, predict=str(folder / "test0")))
    assert f"{folder / 'test0'}: 5 frames, by TIME_N2_spatial" in shown
    listed = folder / "listed.csv"
    listed.write_text("path\ntest0\ntest1\ntest2.mkv\ntest3.mkv\n")
    rows = (folder / "out" / "predictions.csv").read_text().splitlines()[1:]
    reported = [row.split(",")[2] for row in rows]
    for request, name in ((listed, "predicted.csv"), (folder, "predicted-2.csv")):
        job.run(Settings(out_dir=out, predict=str(request)))
        found = (folder / "out" / name).read_text().splitlines()
        by_id = dict(line.split(",")[:2] for line in found[1:])
        names = [f"test{k}" + ".mkv" * (k > 1) for k in range(4)]
        assert [by_id[name] for name in names] == reported
    assert len(by_id) == 10
    (folder / "out" / "nothing").mkdir(exist_ok=True)
    with pytest.raises(MissingFileError, match="holds neither a folder of numbered PNGs nor"):
        job.run(Settings(out_dir=out, predict=str(folder / "out" / "nothing")))


def test_every_picture_of_a_folder_is_part_of_the_identity(folder):
    data = load(tiny_clips.settings(folder, **GIVEN))
    before = identity(data, Digests())
    picture = folder / "train1" / "MDepth-00000003.png"
    content = picture.read_bytes()
    picture.write_bytes((folder / "train0" / "MDepth-00000003.png").read_bytes())
    try:
        assert identity(data, Digests())["content"] != before["content"]
    finally:
        picture.write_bytes(content)


def test_what_cannot_be_read_is_named(folder, tmp_path):
    (folder / "wrong.csv").write_text("path\nnowhere\n")
    out = str(folder / "out")
    with pytest.raises(MissingFileError, match="nowhere: no such video"):
        job.run(Settings(out_dir=out, predict=str(folder / "wrong.csv")))
    # Colours take no folders.
    with pytest.raises(MissingFileError, match="line 2: no file .*train0"):
        load(tiny_clips.settings(folder))
    (tmp_path / "videos.csv").write_text("path,label,split\na,x,train\nb,y,train\nc,x,test\n")
    with pytest.raises(MissingFileError, match="no file .*a"):
        load(tiny_clips.settings(tmp_path, **GIVEN))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input": "depth"}, "needs --depth_range=.*is now written --input=luminance"),
        ({**GIVEN, "depth_range": (9.0, 5.0)}, "--depth_range=9,5: must be two numbers, near"),
        ({**GIVEN, "depth_range": (9.0,)}, "--depth_range=9: must be two numbers"),
        ({**GIVEN, "input": "rgb"}, "--depth_range: goes with --input=depth"),
        ({**GIVEN, "layout": "camera"}, "nobody measured the depth of the clips"),
    ],
)
def test_wrong_settings(given, message):
    with pytest.raises(UserError, match=message):
        Settings(**{"layout": "videos", "data_dir": "somewhere"} | given)


def test_a_run_of_before_keeps_its_meaning():
    """Where "depth" was the luminance, there was no range."""
    now = Settings(layout="camera", input="luminance")
    before = now.to_json() | {"input": "depth"}
    del before["depth_range"]
    assert Settings.from_json(before) == now
    parsed = options.parse(
        Settings, ["time_layer", "--data_dir=d", "--input=depth", "--depth_range=0,4000"]
    )
    assert parsed.limits == (0, 4000) and Settings.from_json(parsed.to_json()) == parsed
