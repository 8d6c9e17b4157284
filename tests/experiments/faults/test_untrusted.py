"""Data and run folders of anyone: they get no memory, file or code but what they were given."""

import io
import json
import os
import zipfile

import av
import numpy as np
import pytest
import slow_job
import video_files
from PIL import Image

from experiments.few_shot.prediction import read_support
from experiments.seq.cache import kept
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.csv_index import Inside
from experiments.shared.errors import UserError
from experiments.shared.prediction import open_run, predict_inputs
from experiments.vision import video
from experiments.vision.image_folder import ImageFile, decode
from experiments.vision.trunks.weights import Weights


def bomb(path, gigabytes=1):
    """An archive of a few megabytes with an array of zeros."""
    header = io.BytesIO()
    count = gigabytes * 2**30 // 4
    described = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("a.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(gigabytes * 2**6):
                member.write(bytes(2**24))
    return path


def test_archives_that_grow_without_end_are_refused(tmp_path, capsys):
    path = bomb(tmp_path / "a.npz")
    assert path.stat().st_size < 2**23
    with pytest.raises(UserError, match=r"a.npz: compressed: its [\d,]+ bytes would take 1,073"):
        Weights(path, "resnet50")
    # A cache that is one is as one that is damaged.
    assert kept(path, {}, lambda: {"a": np.ones(1)})["a"].tolist() == [1]
    assert "a.npz: damaged, computed again" in capsys.readouterr().out


def test_an_archive_of_compressed_numbers_is_none_of_those(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.random.default_rng(0).normal(size=1000), b=1.0)
    assert Weights(tmp_path / "a.npz", "any").take("a", (1000,)).shape == (1000,)


def test_pictures_of_any_size_are_refused(tmp_path):
    """Of the same colour everywhere, so that the file is small."""
    path = tmp_path / "a.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"(?s)1 of 1 images do not decode:.*a.png"):
        decode([ImageFile(path, 0, "test")], size=(8, 8))


def test_a_picture_is_what_its_suffix_may_be(tmp_path, monkeypatch):
    """Of PostScript, Pillow calls another program to draw it."""
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("it was called"))
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(UserError, match="do not decode"):
        decode([ImageFile(path, 0, "test")], size=(8, 8))


def test_frames_of_any_size_are_refused(tmp_path, monkeypatch):
    path = video_files.write_video(tmp_path / "a.mkv", np.zeros((3, 32, 48, 3), np.uint8))
    assert video.read_video(path).shape == (3, 32, 48, 3)
    monkeypatch.setattr(video, "_MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="a.mkv: pictures of 48 x 32 pixels, more than 1000"):
        video.read_video(path)
    with pytest.raises(UserError, match="more than 1000"):
        video.sampled_video(path, 2)


def test_a_video_that_names_another_file_is_none(tmp_path):
    """FFmpeg has formats that are lists of other files."""
    video_files.write_video(tmp_path / "b.mkv", np.zeros((3, 16, 16, 3), np.uint8))
    path = tmp_path / "a.mp4"
    path.write_text("ffconcat version 1.0\nfile b.mkv\n")
    with av.open(str(path)) as container:  # without our limits
        assert len(list(container.decode(video=0))) == 3
    with pytest.raises(UserError, match="a.mp4: cannot be decoded as video"):
        video.read_video(path)
    assert len(video.read_video(tmp_path / "b.mkv")) == 3


@pytest.fixture
def linked(tmp_path):
    """A folder with a file, one outside, and links to that."""
    folder = tmp_path / "data"
    for name in ("x", "y"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.npy").write_bytes(b"")
    (tmp_path / "secret.npy").write_bytes(b"")
    (folder / "x" / "link.npy").symlink_to(tmp_path / "secret.npy")
    return folder


def test_links_in_a_folder_do_not_lead_out_of_it(linked):
    given = {"out_dir": "x", "predict": str(linked)}
    for read in (
        lambda: predict_inputs(slow_job.Settings(**given), [".npy"]),
        lambda: read_support(linked, False),
    ):
        with pytest.raises(UserError, match=r"path 'x/link.npy' is or follows a link that leads"):
            read()
    allowed = slow_job.Settings(**given, outside_paths=True)
    assert len(predict_inputs(allowed, [".npy"])) == len(read_support(linked, True)[0]) == 3
    (linked / "x" / "link.npy").unlink()
    (linked / "x" / "link.npy").symlink_to(linked / "y" / "a.npy")
    assert len(predict_inputs(slow_job.Settings(**given), [".npy"])) == 3


@pytest.mark.parametrize(
    "text", ["../secret.npy", "/etc/passwd", "x/../../secret.npy", "a\0b", "x/link.npy", ".."]
)
def test_paths_that_lead_out(linked, text):
    with pytest.raises(UserError, match="out of the folder|zero byte"):
        Inside(linked).find(text)


@pytest.mark.skipif(os.name != "nt", reason="drives are of Windows")
def test_another_drive_leads_out(linked):
    with pytest.raises(UserError, match="out of the folder"):
        Inside(linked).find("C:\\secret.npy")


@pytest.fixture
def run_folder(tmp_path):
    """The least that is a run."""
    with Checkpoints(tmp_path / "checkpoints" / "run") as checkpoints:
        checkpoints.save(1, {"w": np.ones(2)}, {"history": []})
    return tmp_path


def opened(folder, data):
    settings = slow_job.Settings(out_dir=str(folder), predict="x")
    text = json.dumps({"settings": settings.to_json(), "data": data})
    (folder / "settings.json").write_text(text)
    return open_run(
        settings, methods=lambda settings: ["sums"], run_name=lambda settings, method, seed: "run"
    )


@pytest.mark.parametrize("names", ["ab", 3, {"a": 0}, ["a", 1], [None]])
def test_class_names_of_a_run_folder_are_names(run_folder, names):
    with pytest.raises(UserError, match="settings.json: its class_names are not names"):
        opened(run_folder, {"class_names": names})


def test_what_a_run_folder_lacks_is_told(run_folder):
    run = opened(run_folder, {"class_names": ["a"]})
    assert run.arrays["w"].tolist() == [1, 1] and run.data["class_names"] == ["a"]
    with pytest.raises(UserError, match="settings.json: of its data it does not say trunk"):
        run.data["trunk"]
    with pytest.raises(UserError, match=r"the checkpoint .*run/1 is of another model: it has no b"):
        run.arrays["b"]
