"""SIGKILL at any moment, SIGTERM and Ctrl-C: what was saved is kept, and the rest is the same."""

import os
import random
import signal
import time

import pytest
import slow_job


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_job_ends_as_one_that_was_not(start, whole, tmp_path, kills):
    moments = random.Random(kills)
    killed = 0
    for _ in range(kills):
        job = start("--resume", "--pause=0.01")
        job.until(lambda: False, seconds=moments.uniform(0.2, 0.8))
        job.send(signal.SIGKILL)
        killed += job.end()[0] == -signal.SIGKILL
    assert killed
    code, said = start("--resume").end()
    assert code == 0, said
    assert slow_job.result(tmp_path / "out") == whole


def kill_at(place, folder):
    """Kills this process when it is about to do something to a file in a folder for the n-th time.

    Python tells of opened files, renames, new and removed folders before they happen: among them
    are all of a checkpoint's but the numbers themselves, which the storage library writes.
    """
    count = 0

    def hook(event, args):
        nonlocal count
        if event.partition(".")[0] not in ("open", "os", "shutil") or not args:
            return
        if isinstance(args[0], (str, bytes, os.PathLike)):
            count += os.fsdecode(args[0]).startswith(str(folder))
            if count == place:
                os.kill(os.getpid(), signal.SIGKILL)

    import sys

    sys.addaudithook(hook)


def _killed_in(start, out_dir, places, whole):
    killed = 0
    for place in places:
        code, said = start("--resume", spoil=(kill_at, place, out_dir)).end()
        killed += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL), said
    code, said = start("--resume").end()
    assert code == 0, said
    assert slow_job.result(out_dir) == whole
    return killed


def test_killed_in_the_middle_of_writing_a_job_ends_as_one_that_was_not(start, whole, tmp_path):
    assert _killed_in(start, tmp_path / "out", (9, 40, 61, 83, 104), whole) >= 3


@pytest.mark.slow
def test_killed_at_every_access_to_a_file(start, whole, tmp_path):
    assert _killed_in(start, tmp_path / "out", range(1, 160), whole) > 100


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_says_how_far_the_job_is_saved(start, whole, tmp_path, number, code, word):
    job = start("--pause=0.05")
    assert job.until(lambda: slow_job.saved_epochs(tmp_path / "out") >= 2)
    job.send(number)
    ended, said = job.end()
    saved = slow_job.saved_epochs(tmp_path / "out")
    assert ended == code
    assert said == (
        f"{word}; sums-seed0 is saved up to epoch {saved} of {slow_job.EPOCHS}; what was saved is "
        "kept: go on by the same command and --resume\n"
    )
    assert start("--resume").end()[0] == 0
    assert slow_job.result(tmp_path / "out") == whole


def test_a_signal_in_the_first_epoch_leaves_the_folder_free(start, whole, tmp_path):
    job = start("--pause=0.5")
    assert job.until(lambda: (tmp_path / "out" / "metrics.jsonl").is_file())
    time.sleep(0.1)
    job.send(signal.SIGTERM)
    code, said = job.end()
    assert code == 143 and f"has no epoch of {slow_job.EPOCHS} that is saved yet" in said
    assert start().end()[0] == 0  # without --resume
    assert slow_job.result(tmp_path / "out") == whole
