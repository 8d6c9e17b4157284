"""What is written: whole files, a ledger that survives kills, and what a second start skips."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from tiny_extraction import write_folder, write_list

from experiments.extract_tse import ledger
from experiments.extract_tse.decoding import End, source_of
from experiments.extract_tse.ledger import FILE
from experiments.extract_tse.listing import read_list
from experiments.extract_tse.store import Store
from experiments.seq_anomaly import index_folder as anomaly_folder
from experiments.shared import files
from experiments.shared.errors import UserError

ROWS = np.arange(6, dtype=np.float16).reshape(2, 3)
TIMES = np.array([[0.0, 0.6], [0.4, 1.0]])


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


def opened(folder, part="0-of-1"):
    (folder / "tse").mkdir(exist_ok=True)
    return Store(folder / "tse", part, read_list(folder / "videos.csv"))


def videos_of(folder):
    return read_list(folder / "videos.csv").videos


def save(store, video, rows=ROWS):
    store.save(video, rows, TIMES, End(np.arange(6) / 5, "", source_of(video.path), 0.1))


def remaining(folder):
    return [video.id for video in opened(folder).remaining(videos_of(folder))]


@pytest.fixture
def saved(folder):
    """A folder whose videos are all done."""
    store = opened(folder)
    for video in videos_of(folder):
        save(store, video)
    return folder


def test_what_is_done_is_skipped(saved):
    assert remaining(saved) == []
    np.testing.assert_array_equal(np.load(saved / "tse/features/v0.npy"), ROWS)
    np.testing.assert_array_equal(np.load(saved / "tse/times/v0.npy"), TIMES)


@pytest.mark.parametrize("kind", ["features", "times"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_is_not_whole_is_not(saved, kind, damage):
    path = saved / "tse" / kind / "v1.npy"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert opened(saved).summary().pending == 1
    assert remaining(saved) == ["v1"]


def test_a_source_that_changed_is_not_done_but_one_that_was_copied_or_removed_is(saved):
    os.utime(saved / "v0.mkv", ns=(5, 5))
    (saved / "v2.mkv").unlink()
    assert remaining(saved) == []
    shutil.copy(saved / "v1.mkv", saved / "v2.mkv")
    assert remaining(saved) == ["v2"]
    assert opened(saved).summary().pending == 1  # what was declared void stays so
    content = bytearray((saved / "v0.mkv").read_bytes())
    content[-1] ^= 1
    (saved / "v0.mkv").write_bytes(content)
    assert remaining(saved) == ["v0", "v2"]


def test_an_id_that_another_video_has_now_is_not_done(saved):
    (saved / "v0.mkv").rename(saved / "v0.avi")
    write_list(saved, [("v0.avi", "a", "train"), ("v1.mkv", "b", "train")])
    assert remaining(saved) == ["v0"]


@pytest.mark.parametrize(
    "line", [b'{"event": "done", "id": "v0", "path": "v', b"\xff\n", b"[1]\n", b'{"event": 3}\n']
)
def test_lines_that_are_torn_or_damaged_do_no_harm(saved, line):
    path = saved / "tse/parts/0-of-1" / FILE
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([content[0], line]))
    assert remaining(saved) == ["v1", "v2"]
    save(opened(saved), videos_of(saved)[1])
    assert remaining(saved) == ["v2"]


def test_a_ledger_of_a_shard_at_work_is_read_and_not_touched(saved):
    path = saved / "tse/parts/0-of-1" / FILE
    torn = path.read_bytes() + b'{"event": "do'
    path.write_bytes(torn)
    assert opened(saved, "0-of-2").summary().pending == 0
    assert path.read_bytes() == torn


def test_the_newest_record_counts_whatever_its_ledger(folder):
    first, *_ = videos_of(folder)
    save(opened(folder, "9-of-10"), first)
    save(opened(folder, "0-of-2"), first, ROWS[:1])
    assert opened(folder).summary().done["v0"].shape == (1, 3)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_half(folder, monkeypatch):
    store, (first, second, _) = opened(folder), videos_of(folder)
    save(store, first)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(UserError, match=r"v1.npy: cannot be written .No space left"):
            save(store, second)
    names = [path.name for path in (folder / "tse").rglob("*") if path.is_file()]
    assert sorted(names) == [FILE, "v0.npy", "v0.npy"]
    assert remaining(folder) == ["v1", "v2"]


def test_verify_finds_a_bit_and_the_next_start_mends_it(saved):
    assert opened(saved).verify() == (3, [])
    path = saved / "tse/features/v1.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (saved / "tse/times/v2.npy").unlink()
    assert remaining(saved) == ["v2"]  # by its size, v1 is whole
    save(opened(saved), videos_of(saved)[2])
    right, wrong = opened(saved, "tools").verify()
    assert right == 2 and len(wrong) == 1 and "v1.npy: not what was written" in str(wrong[0])
    assert remaining(saved) == ["v1"]
    save(opened(saved), videos_of(saved)[1])
    assert opened(saved).verify() == (3, []) and remaining(saved) == []


def test_verify_names_what_was_never_extracted(folder):
    opened(folder).fail(videos_of(folder)[0], "bad")
    right, wrong = opened(folder).verify()
    assert right == 0 and [str(error)[:6] for error in wrong] == ["v1.mkv", "v2.mkv"]


def test_another_manifest_is_refused_and_the_difference_named(folder):
    manifest = {"settings": {"--window": "16"}, "decoder": {"PyAV": "1"}, "format": 1}
    opened(folder).claim(manifest)
    opened(folder).claim(json.loads(json.dumps(manifest)))
    for name, inner, value in (("settings", "--window", "8"), ("decoder", "PyAV", "2")):
        other = json.loads(json.dumps(manifest))
        other[name][inner] = value
        key = inner if name == "settings" else "decoder PyAV"
        with pytest.raises(UserError, match=rf"--out_dir: .*\n  {key}: was .*, now {value}\n"):
            opened(folder).claim(other)
    (folder / "tse/manifest.json").write_text("[]")
    with pytest.raises(UserError, match="not the manifest"):
        opened(folder).claim(manifest)


def test_a_failure_is_forgotten_when_the_video_is_done(folder):
    store, (first, second, third) = opened(folder), videos_of(folder)
    store.fail(first, "cannot, be read")
    store.fail(second, "neither")
    save(store, first)
    save(store, third)
    summary = store.summary()
    assert list(summary.done) == ["v0", "v2"] and list(summary.failed) == ["v1"]
    store.write_index(summary)
    assert (folder / "tse/failed.csv").read_text() == "path,reason\nv1.mkv,neither\n"
    assert (folder / "tse/classes.txt").read_text() == "a\nb\n"
    assert (folder / "tse/index.csv").read_text() == (
        "id,path,label,split,frames,video\n"
        "v0,features/v0.npy,a,train,6,v0.mkv\n"
        "v2,features/v2.npy,a,test,6,v2.mkv\n"
    )


def test_labels_of_frames_reach_the_anomaly_detection(folder):
    columns = ("path", "split", "labels", "camera")
    np.save(folder / "l0.npy", np.array([0, 1, 1, 0, 0, 0], np.uint8))
    rows = [
        ("v0.mkv", "train", "l0.npy", "3"),
        ("v1.mkv", "test", "2-4", ""),
        ("v2.mkv", "test", "", ""),
    ]
    write_list(folder, rows, columns)
    store = opened(folder)
    for video in videos_of(folder):
        assert store.copy_labels(video) == ""
        save(store, video, np.ones((6, 3), np.float16))
    store.write_index(store.summary())
    dataset = anomaly_folder.load(folder / "tse", frames_per_row=1)
    assert [video.labels.tolist() for video in (*dataset.train, *dataset.test)] == [
        [0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0] * 6,
    ]
    assert (
        (folder / "tse/index.csv")
        .read_text()
        .startswith("id,path,split,frames,video,labels,camera\n")
    )


@pytest.mark.parametrize("text", ["none.npy", "../x.npy"])
def test_labels_that_are_not_there_are_the_videos_failure(folder, text):
    write_list(folder, [("v0.mkv", "train", text)], ("path", "split", "labels"))
    assert f"labels {text}: cannot be read" in opened(folder).copy_labels(videos_of(folder)[0])


def test_what_is_made_anew_counts_though_the_clock_was_put_back(saved, monkeypatch):
    """Else it would be behind the record that it replaces, and be made at every start."""
    now = ledger.time.time_ns()
    monkeypatch.setattr(ledger.time, "time_ns", lambda: now - 10**15)
    (saved / "tse/features/v1.npy").unlink()
    assert remaining(saved) == ["v1"]  # the former record is void from now on
    save(opened(saved), videos_of(saved)[1])
    assert remaining(saved) == [] and opened(saved).summary().pending == 0


@pytest.mark.parametrize("key", [5, None, ["a"], {}])
def test_a_line_whose_key_is_no_text_is_passed_over(saved, key):
    path = saved / "tse/parts/0-of-1" / FILE
    line = json.loads(path.read_text().splitlines()[0])
    with open(path, "a") as file:
        file.write(json.dumps(line | {"key": key, "frames": -1}) + "\n" + "[" * 100_000 + "\n")
    assert remaining(saved) == []
