"""What else can happen to a job: its files change, others work there, numbers and clocks fail."""

import os
import shutil
import time
from itertools import count

import numpy as np
import pytest
import slow_job


@pytest.fixture
def own_data(data_dir, tmp_path):
    """A copy of the data, which may be spoiled."""
    return shutil.copytree(data_dir, tmp_path / "data")


def in_the_middle(job, out_dir):
    assert job.until(lambda: slow_job.saved_epochs(out_dir) >= 2)


def change(path):
    """The same shape and size, other numbers."""
    np.save(path, np.load(path) + 1)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "is no longer there; put it back, then go on"),
        (change, "was changed since the job began; put back what it was, then go on"),
        (cut, "was changed since the job began; put back what it was, then go on"),
    ],
    ids=["vanished", "changed", "truncated"],
)
def test_data_that_changes_under_a_job(start, whole, own_data, tmp_path, spoil, told):
    file = own_data / "7.npy"
    content = file.read_bytes()
    job = start("--pause=0.05", data=own_data)
    in_the_middle(job, tmp_path / "out")
    spoil(file)
    code, said = job.end()
    assert code == 2 and said.startswith(f"error: {file}: {told}"), said
    assert 2 <= slow_job.saved_epochs(tmp_path / "out") < slow_job.EPOCHS
    code, said = start("--resume", data=own_data).end()
    assert code == 2 and ("no file" in said or "7.npy: truncated" in said or "was made" in said)
    file.write_bytes(content)
    assert start("--resume", data=own_data).end()[0] == 0
    assert slow_job.result(tmp_path / "out") == whole


def test_a_file_that_is_only_touched_is_the_same(start, whole, own_data, tmp_path):
    job = start("--pause=0.05", data=own_data)
    in_the_middle(job, tmp_path / "out")
    os.utime(own_data / "7.npy", (0, 0))
    code, said = job.end()
    assert code == 0, said
    assert slow_job.result(tmp_path / "out") == whole


def truncate_all(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(folder):
    path = next(path for path in (folder / "arrays" / "d").iterdir() if path.is_file())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("spoil", [truncate_all, flip_a_bit])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(start, whole, tmp_path, spoil):
    assert start().end()[0] == 0
    folder = tmp_path / "out" / "checkpoints" / "sums-seed0"
    spoil(folder / "6")
    code, said = start("--resume").end()
    assert code == 0 and f"the checkpoint {folder / '6'} is damaged" in said, said
    assert "Step 5 is taken, which is intact." in said
    assert (folder.parent / "sums-seed0-damaged-6").is_dir()
    assert slow_job.result(tmp_path / "out") == whole


def test_a_second_job_in_the_folder_is_refused(start, whole, tmp_path):
    out = tmp_path / "out"
    first = start("--pause=0.1")
    assert first.until(lambda: (out / ".lock").is_file() and (out / ".lock").read_text())
    for flags in ((), ("--resume",)):
        code, said = start(*flags).end()
        assert code == 2 and f"process {first.pid} is at work there; wait for it" in said, said
    assert first.end()[0] == 0
    assert slow_job.result(out) == whole


def test_of_two_jobs_at_once_one_is_done(start, whole, tmp_path):
    ends = [job.end() for job in [start("--pause=0.02") for _ in range(3)]]
    assert sorted(code for code, _ in ends) == [0, 2, 2]
    assert slow_job.result(tmp_path / "out") == whole


def make_clocks_jump():
    """Time of day goes back a day, then on two, at every look."""
    real, turns = time.time, count()

    def jumping():
        return real() + (86400, -86400)[next(turns) % 2]

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


def test_a_clock_that_jumps_changes_nothing(start, whole, tmp_path):
    job = start("--pause=0.03", spoil=(make_clocks_jump,))
    in_the_middle(job, tmp_path / "out")
    job.send(9)
    job.end()
    code, said = start("--resume", spoil=(make_clocks_jump,)).end()
    assert code == 0, said
    assert slow_job.result(tmp_path / "out") == whole
    with slow_job.Checkpoints(tmp_path / "out" / "checkpoints" / "sums-seed0") as checkpoints:
        _, _, record = checkpoints.newest()
    seconds = [entry["seconds"] for entry in record["history"]]
    assert all(0 < one < 60 for one in seconds), seconds
