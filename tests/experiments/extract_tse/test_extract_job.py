"""The command: end to end, gone on with after a kill, in shards, and with bad videos."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import call, never
from tiny_extraction import (
    LENGTHS,
    SIDE,
    MeanColours,
    content_of,
    flags,
    frames_of,
    settings,
    write_folder,
    write_list,
    write_mp4,
    write_video,
)

from experiments.extract_tse import __main__ as module
from experiments.extract_tse import extraction, job
from experiments.extract_tse.settings import Settings
from experiments.extract_tse.windows import Plan, Windows
from experiments.shared import processes
from experiments.shared.errors import UserError
from experiments.tse import index_folder
from experiments.vision.encoders import open_encoder
from experiments.vision.video import read_video

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture
def use(monkeypatch):
    """Makes every `--encoder` the given one."""

    def use(encoder):
        monkeypatch.setattr(job, "open_encoder", lambda name, **options: encoder)
        return encoder

    return use


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("layout", [{}, {"window": "16", "windows": ("2", "L"), "stride": "1"}])
def test_rows_are_the_encoders_features_of_the_windows(folder, layout):
    told = job.run(settings(folder, dtype="float32", crop="stretch", **layout))
    dataset = index_folder.load(folder / "tse")
    windows = settings(folder, **layout).layout
    found = {**dict(zip(dataset.train.ids, dataset.train.source, strict=True))}
    found |= dict(zip(dataset.test.ids, dataset.test.source, strict=True))
    encoder = open_encoder("thumbnail", size=SIDE)
    for number, length in enumerate(LENGTHS):
        frames = encoder(read_video(folder / f"v{number}.mkv", size=(SIDE, SIDE))[:, None])
        ends = windows.ends(length)
        expected = [[frames[a : b + 1].mean(axis=0) for a, b in row] for row in ends]
        np.testing.assert_allclose(
            found[f"v{number}"], np.reshape(expected, (len(ends), -1)), rtol=1e-5
        )
        times = np.load(folder / f"tse/times/v{number}.npy")
        np.testing.assert_allclose(times * 5, Plan.of(windows, length, None).shared_ends())
    assert dataset.class_names == ("a", "b") and "index.csv: 3 videos" in told
    assert "3 videos extracted in" in told and "0 of 3 videos were done before" in told


def test_encoders_of_windows_are_given_samples_of_each(folder, use):
    encoder = use(MeanColours(frames=3))
    job.run(settings(folder, crop="stretch"))
    plan = Plan.of(Windows.parse("4", (), "2"), LENGTHS[1], 3)
    video = read_video(folder / "v1.mkv", size=(SIDE, SIDE))
    expected = MeanColours(3)(video[plan.samples])[plan.rows[:, 0]]
    np.testing.assert_array_equal(np.load(folder / "tse/features/v1.npy"), expected.astype("f2"))
    windows = sum(len(Plan.of(Windows.parse("4", (), "2"), n, 3).windows) for n in LENGTHS)
    tried = 2  # whether rows are independent
    assert len(encoder.calls) - tried == -(-windows // 4)  # batches of 4 are shared


def test_a_window_that_comes_often_is_encoded_once(folder, use):
    encoder = use(MeanColours(frames=3))
    job.run(settings(folder, window="L", stride="L/40", batch_size=1))
    assert np.load(folder / "tse/features/v0.npy").shape[0] == 1
    job.run(settings(folder, window="16", windows=("L",), stride="1", batch_size=1,
                     out_dir=str(folder / "b")))  # fmt: skip
    assert np.load(folder / "b/features/v1.npy").shape == (LENGTHS[1], 9)
    assert len(encoder.calls) == 2 * (2 + len(LENGTHS))


def test_a_second_start_decodes_nothing_and_writes_the_same(folder, monkeypatch):
    job.run(settings(folder))
    before = content_of(folder / "tse")
    monkeypatch.setattr(extraction, "Decoders", never)
    assert "3 of 3 videos were done before" in job.run(settings(folder))
    assert content_of(folder / "tse") == before


@pytest.mark.parametrize("encoder", [MeanColours(3), MeanColours(None)])
@pytest.mark.parametrize("is_shared", [True, False])
def test_bytes_do_not_depend_on_what_else_is_extracted(
    folder, use, monkeypatch, encoder, is_shared
):
    use(encoder)
    monkeypatch.setattr(extraction, "rows_are_independent", lambda *_: is_shared)
    job.run(settings(folder))
    whole = content_of(folder / "tse")
    two = str(folder / "two")
    for shard in ("1/3", "0/3", "2/3"):
        job.run(settings(folder, out_dir=two, shard=shard))
    assert content_of(folder / "two") == whole


def test_the_last_shard_writes_the_index_and_merge_does_so_before(folder):
    assert "2 of 3 videos are left" in job.run(settings(folder, shard="2/3"))
    assert not (folder / "tse/index.csv").exists()
    assert "1 videos" in job.run(settings(folder, merge=True))
    assert [row[0] for row in rows_of(folder / "tse/index.csv")] == ["id", "v2"]
    job.run(settings(folder, shard="0/3"))
    assert "index.csv: 3 videos" in job.run(settings(folder, shard="1/3"))
    assert [row[0] for row in rows_of(folder / "tse/index.csv")] == ["id", "v0", "v1", "v2"]


def test_a_list_that_grows_is_gone_on_with(folder):
    job.run(settings(folder))
    write_video(folder / "new.mkv", frames_of(4))
    with open(folder / "videos.csv", "a") as file:
        file.write("new.mkv,c,train\n")
    assert "3 of 4 videos were done before" in job.run(settings(folder))
    assert index_folder.load(folder / "tse").class_names == ("a", "b", "c")


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


# Enough videos that a signal after the first comes before the last.
MANY = (14,) * 80


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_killed_job_goes_on_to_the_same_bytes(tmp_path, capsys):
    folder = write_folder(tmp_path, MANY)
    started = [sys.executable, "-m", "experiments.extract_tse", *flags(folder, workers=1)]
    ledger = folder / "tse/parts/0-of-1/ledger.jsonl"
    process = subprocess.Popen(started, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)
    wait_for(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") >= 2, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # also ends only when no worker holds stderr any longer
    done = ledger.read_bytes().count(b"\n")
    assert 2 <= done < len(MANY) and not (folder / "tse/index.csv").exists()

    # Ctrl-C reaches the processes that decode, too; SIGTERM this one alone.
    for number, code, word in (
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
    ):
        done = ledger.read_bytes().count(b"\n")
        process = subprocess.Popen(
            started, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_for(lambda done=done: ledger.read_bytes().count(b"\n") > done, process)
        kill = os.killpg if number == signal.SIGINT else os.kill
        kill(process.pid, number)
        _, told = process.communicate(timeout=60)
        assert told == f"{word}; what was saved is kept: go on by the same command\n"
        assert process.returncode == code and ledger.read_bytes().count(b"\n") < len(MANY)

    code, out, _ = call(capsys, lambda argv: job.main("", argv), *flags(folder))
    assert code == 0 and f"of {len(MANY)} videos were done before" in out
    job.run(settings(folder, out_dir=str(folder / "at_once")))
    at_once = content_of(folder / "at_once")
    assert len(at_once) == 2 * len(MANY) + 4
    assert content_of(folder / "tse") == at_once


def test_other_settings_are_refused(folder, capsys):
    job.run(settings(folder))
    before = content_of(folder / "tse")
    arguments = flags(folder, window="8", stride="1", crop="stretch")
    code, _, told = call(capsys, lambda argv: job.main("", argv), *arguments)
    assert code == 2
    for line in ("--window: was 4, now 8", "--stride: was 2, now 1", "--crop: was center"):
        assert line in told
    assert "size" not in told and content_of(folder / "tse") == before


def test_another_encoder_is_refused(folder, use):
    use(MeanColours())
    job.run(settings(folder))
    use(MeanColours(frames=4))
    with pytest.raises(UserError, match="encoder frames: was 3, now 4"):
        job.run(settings(folder))


def test_bad_videos_are_listed_and_harm_no_others(folder, capsys):
    (folder / "text.mp4").write_text("not a video")
    good = "Ünïcode 明/a video,  with (spaces).mkv"
    write_video(folder / good, frames_of(6))
    cut = write_mp4(folder / "cut.mp4", frames_of(20))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    rows = [(name, "a", "train") for name in ("text.mp4", f'"{good}"', "none.mp4", "v0.mkv")]
    write_list(folder, [*rows, ("cut.mp4", "b", "train"), ("v1.mkv", "a", "test")])
    code, out, _ = call(capsys, lambda argv: job.main("", argv), *flags(folder))
    assert code == 0 and "failed.csv: 3 videos that could not be used" in out
    header, *failed = rows_of(folder / "tse/failed.csv")
    assert header == ["path", "reason"]
    assert [path for path, _ in failed] == ["text.mp4", "none.mp4", "cut.mp4"]
    assert failed[1][1] == "no such video" and "truncated" in failed[2][1]
    assert [row[0] for row in rows_of(folder / "tse/index.csv")] == [
        "id",
        "Ünïcode_明/a_video,_with_(spaces)",
        "v0",
        "v1",
    ]
    # What was mended is done by the next start.
    write_mp4(folder / "cut.mp4", frames_of(20))
    assert "failed.csv: 2 videos" in job.run(settings(folder))
    dataset = index_folder.load(folder / "tse")
    assert dataset.train.ids == ("Ünïcode_明/a_video,_with_(spaces)", "v0", "cut")


def test_no_good_video_is_an_error(folder, capsys):
    for path in folder.glob("*.mkv"):
        path.write_text("not a video")
    code, _, told = call(capsys, lambda argv: job.main("", argv), *flags(folder))
    assert code == 2 and "no video could be used: 3 problems" in told and "v0.mkv: cannot" in told
    assert len(rows_of(folder / "tse/failed.csv")) == 4


class Blind(MeanColours):
    """NaN for a picture that is all white."""

    def __call__(self, frames):
        features = super().__call__(frames)
        features[(frames == 255).all(axis=(1, 2, 3, 4))] = np.nan
        return features


@pytest.mark.parametrize("frames", [None, 3])
def test_features_that_are_nan_are_the_videos_failure(folder, use, frames):
    use(MeanColours(frames))
    job.run(settings(folder))
    expected = content_of(folder / "tse")
    use(Blind(frames))
    write_video(folder / "white.mkv", np.full((9, 32, 32, 3), 255, np.uint8))
    lines = (folder / "videos.csv").read_text().splitlines()
    (folder / "videos.csv").write_text("\n".join([lines[0], "white.mkv,a,train", *lines[1:]]))
    job.run(settings(folder, out_dir=str(folder / "blind")))
    found = content_of(folder / "blind")
    assert b"white.mkv,the encoder's features of it are not finite" in found.pop("failed.csv")
    expected.pop("failed.csv")
    assert found == expected


def test_an_encoder_of_another_shape_is_an_error(folder, use):
    class Flat(MeanColours):
        def __call__(self, frames):
            return super().__call__(frames).ravel()

    use(Flat())
    with pytest.raises(UserError, match="returned shape"):
        job.run(settings(folder))


def test_features_beyond_float16_are_told(folder, use):
    class Large(MeanColours):
        def __call__(self, frames):
            return super().__call__(frames) * 1e4

    use(Large())
    with pytest.raises(UserError, match="no video could be used(.|\n)*--dtype=float32"):
        job.run(settings(folder))
    job.run(settings(folder, dtype="float32", out_dir=str(folder / "wide")))


def test_verify(folder, capsys):
    job.run(settings(folder))
    assert "3 videos are as they were written" in job.run(settings(folder, verify=True))
    path = folder / "tse/features/v1.npy"
    expected = path.read_bytes()
    path.write_bytes(expected[:-1] + b"!")
    with pytest.raises(UserError, match="2 videos are as they were written(.|\n)*v1.npy: not what"):
        job.run(settings(folder, verify=True))
    assert "2 of 3 videos were done before" in job.run(settings(folder))
    assert path.read_bytes() == expected


@pytest.mark.parametrize("what", ["merge", "verify"])
def test_there_must_be_an_extraction(folder, what):
    with pytest.raises(UserError, match="holds no extraction"):
        job.run(settings(folder, **{what: True}))
    assert not (folder / "tse").exists()


def test_the_manifest_names_what_decides_the_bytes(folder):
    job.run(settings(folder))
    manifest = json.loads((folder / "tse/manifest.json").read_text())
    assert manifest["encoder"]["encoder"] == "thumbnail"
    assert {"PyAV", "libavcodec", "libswscale"} <= set(manifest["decoder"])
    assert manifest["settings"]["--window"] == "4" and str(folder) not in str(manifest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"videos": ""}, "--videos: needed"),
        ({"window": "x"}, "--window=x"),
        ({"window": "8", "windows": ("4",)}, "--window and --windows"),
        ({"shard": "2/2"}, "--shard=2/2: must be K/N"),
        ({"shard": "1"}, "--shard=1"),
        ({"shard": "0/1", "distributed": True}, "--shard and --distributed"),
        ({"merge": True, "verify": True}, "--merge and --verify"),
        ({"dtype": "int8"}, "--dtype=int8: allowed: "),
    ],
)
def test_flags_that_do_not_go_together(options, message):
    with pytest.raises(UserError, match=message):
        Settings(**{"videos": "x.csv"} | options)


def test_help(capsys):
    code, out, _ = call(capsys, lambda argv: job.main(module.__doc__, argv), "--help")
    assert code == 0 and "--window=L/5 --stride=L/40" in out and "  --shard=\n" in out


def test_a_process_of_a_cluster_does_its_shard(folder, monkeypatch):
    import jax

    called = []
    monkeypatch.setattr(processes._Cluster, "is_joined", False)  # as it shall be afterwards
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: called.append(1))
    monkeypatch.setattr(processes, "meet", lambda: called.append(2))
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    job.run(settings(folder, distributed=True))
    assert called == [1, 2] and sorted(
        path.name for path in (folder / "tse/features").iterdir()
    ) == ["v1.npy"]
