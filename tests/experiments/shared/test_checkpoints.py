import errno
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shared import checkpoints as module
from experiments.shared.checkpoints import Checkpoints, DamagedError, fill
from experiments.shared.errors import UserError


class Pair(NamedTuple):
    first: np.ndarray
    second: dict


def tree(value=1.0):
    return Pair(np.full((2, 3), value, np.float32), {"n": jnp.int32(7), "m": np.arange(4.0)})


RECORD = {"history": [{"loss": 0.5}, {"loss": 0.25}], "identity": {"--tau": 3}}


def save(folder, *steps, keep=2):
    with Checkpoints(folder, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, tree(step), RECORD)


def newest(folder):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.newest()


def damage(folder, step):
    """Changes a bit in the middle of the numbers of a checkpoint."""
    files = [path for path in (folder / str(step) / "arrays" / "d").iterdir() if path.is_file()]
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 1
    files[0].write_bytes(bytes(content))


def test_round_trip_keeps_structure_dtype_and_bits(tmp_path):
    assert newest(tmp_path / "run") is None
    with Checkpoints(tmp_path / "run") as checkpoints:
        checkpoints.save(1, tree(np.float32(1) / 3), {"history": [1, 1 / 3, None], "name": "ß"})
    step, arrays, record = newest(tmp_path / "run")
    restored = fill(tree(), arrays, "x")
    assert step == 1 and isinstance(restored, Pair)
    assert sorted(arrays) == ["first", "second.m", "second.n"]
    assert restored.second["n"].dtype == np.int32 and restored.second["m"].dtype == np.float64
    np.testing.assert_array_equal(restored.first, tree(np.float32(1) / 3).first)
    assert record == {"history": [1, 1 / 3, None], "name": "ß"}


def test_keeps_the_newest(tmp_path):
    save(tmp_path, *range(1, 6), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [5, 4]


def test_other_arrays_are_listed():
    arrays = {"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}
    like = {"a": np.zeros(4), "b": np.zeros(2, np.float32), "d": np.zeros(1)}
    with pytest.raises(UserError, match="the checkpoint runs/x/1 is of another model") as error:
        fill(like, arrays, "runs/x/1")
    for line in (
        "d: missing",
        "c: unknown",
        "a: float64[3], expected float64[4]",
        "b: float64[2], expected float32[2]",
    ):
        assert line in str(error.value)


def test_every_damage_of_every_file_ends_in_the_older_checkpoint(tmp_path, capfd, caplog):
    """Or in the newest, where nothing depends on what was changed."""
    save(tmp_path, 1, 2)
    files = sorted(path for path in (tmp_path / "2").rglob("*") if path.is_file())
    assert len(files) > 8
    taken = {1: 0, 2: 0}
    for number, path in enumerate(files):
        whole = path.read_bytes()
        half = len(whole) // 2
        flips = {number % len(whole), half + number % 7, len(whole) - 1}
        for changed in (None, b"", whole[:half], *(flipped(whole, at) for at in sorted(flips))):
            path.unlink(missing_ok=True)
            if changed is not None:
                path.write_bytes(changed)
            step, arrays, record = newest(tmp_path)
            assert fill(tree(), arrays, "").first.tolist() == tree(step).first.tolist()
            assert record == RECORD
            told = capfd.readouterr().err + caplog.text
            assert ("2 is damaged" in told) == (step == 1) and "Traceback" not in told
            taken[step] += 1
        path.write_bytes(whole)
    assert taken[1] > 15 and taken[2] > 10


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_every_bit_of_the_record_counts(tmp_path):
    save(tmp_path, 1)
    path = tmp_path / "1" / "record" / "metadata"
    whole = path.read_bytes()
    with Checkpoints(tmp_path) as checkpoints:
        for at in range(0, len(whole), 3):
            path.write_bytes(flipped(whole, at))
            if path.read_bytes().split() != whole.split():  # two kinds of space are one
                with pytest.raises(DamagedError, match="1 is damaged"):
                    checkpoints.read(1)
        path.write_bytes(whole)
        assert checkpoints.read(1)[1] == RECORD


def test_a_damaged_checkpoint_is_passed_over_and_kept(tmp_path, capsys):
    folder = tmp_path / "run"
    save(folder, 1, 2, 3, keep=3)
    damage(folder, 3)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert newest(folder)[0] == 2
    assert "3 is damaged" in capsys.readouterr().err
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    for name in ("run-damaged-3", "run-damaged-3-2"):
        with Checkpoints(folder) as checkpoints:
            checkpoints.set_aside(2)
            assert checkpoints.steps()[0] == 2 and (tmp_path / name / "record").is_dir()
            checkpoints.save(3, tree(3), RECORD)
        damage(folder, 3)


def test_where_all_are_damaged_the_message_says_what_to_do(tmp_path):
    save(tmp_path / "run", 1, 2)
    damage(tmp_path / "run", 1)
    damage(tmp_path / "run", 2)
    with pytest.raises(UserError, match=r"(?s)2 is damaged.*1 is damaged.*None is intact: move "):
        newest(tmp_path / "run")
    (tmp_path / "empty" / "5").mkdir(parents=True)
    with pytest.raises(UserError, match="5 is damaged"):
        newest(tmp_path / "empty")


@pytest.mark.parametrize("place", ["orbax", "file"])
def test_an_io_error_is_not_damage(tmp_path, monkeypatch, place, capsys):
    """The library tells some as OSError, and of others only the text is left."""
    save(tmp_path, 1, 2)
    before = sorted(tmp_path.rglob("*"))
    failing = OSError(errno.EIO, "Input/output error")

    def restore(*_, **__):
        raise failing if place == "orbax" else ValueError("DATA_LOSS: [OS error 5: EIO]")

    def refuse(*_):
        raise failing

    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._manager, "restore", restore)
            patch.setattr(module, "open", refuse, raising=False)
            with pytest.raises(UserError) as error:
                checkpoints.newest()
        told = str(error.value)
        assert "2 cannot be read now (OSError: [Errno 5] Input/output error)" in told
        assert "may be intact" in told and not re.search("delete|remove|damaged", told)
        assert not isinstance(error.value, DamagedError)
        assert sorted(tmp_path.rglob("*")) == before and checkpoints.newest()[0] == 2


def test_what_is_no_checkpoint_is_no_matter(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "2.orbax-checkpoint-tmp" / "half").write_text("")
    assert newest(tmp_path)[0] == 1
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.set_aside(1)
        checkpoints.save(2, tree(2), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "notes.txt"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/run"):
        with pytest.raises(UserError, match=f"{folder}: cannot be opened"):
            Checkpoints(tmp_path / folder)


def test_a_save_that_the_library_declines_is_an_error(tmp_path):
    save(tmp_path, 3)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (2, 3):
            with pytest.raises(UserError, match=f"{step} was not written|{step}: "):
                checkpoints.save(step, tree(), {})
        assert checkpoints.newest()[0] == 3


def test_a_record_that_is_no_json_is_a_bug(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(TypeError):
            checkpoints.save(1, tree(), {"loss": np.float32(1)})
        assert checkpoints.newest() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_save_waits_for_its_end(tmp_path, monkeypatch, number):
    def handler(number, frame):
        raise KeyboardInterrupt

    former = signal.signal(number, handler)
    try:
        with Checkpoints(tmp_path) as checkpoints:
            real = checkpoints._manager.save

            def interrupted(*args, **kwargs):
                signal.raise_signal(number)
                saved = real(*args, **kwargs)
                signal.raise_signal(number)
                return saved

            monkeypatch.setattr(checkpoints._manager, "save", interrupted)
            with pytest.raises(KeyboardInterrupt):
                checkpoints.save(1, tree(), RECORD)
            assert signal.getsignal(number) is handler
        assert newest(tmp_path)[0] == 1
    finally:
        signal.signal(number, former)


FULL = """
import resource, signal, sys
import numpy as np
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.errors import UserError
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(1, {"a": np.zeros(3)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        checkpoints.save(2, {"a": np.random.default_rng(0).normal(size=100_000)}, {})
    except UserError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit to set")
def test_a_save_that_fails_leaves_the_ones_before(tmp_path):
    """A limit on the size of a file stands for a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert f"cannot write the checkpoint {tmp_path / '2'}" in done.stdout, done.stderr
    assert "intact" in done.stdout and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["1"]  # nothing that takes up the room
    assert newest(tmp_path)[0] == 1


def caused_by(cause):
    error = RuntimeError("a task failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "way"),
    [
        (caused_by(OSError(errno.ENOSPC, "full")), "make room"),
        (ValueError(f"Error writing {'x' * 300}: {os.strerror(errno.ENOSPC)} [code='28']"), "make"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "see that the folder can be written"),
    ],
)
def test_the_message_of_a_failed_save_says_why(tmp_path, monkeypatch, error, way):
    def failing(*_, **__):
        raise error

    save(tmp_path, 1)
    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", failing)
        with pytest.raises(UserError, match=f"(?s)cannot write .*/2: .*{way}.*--resume") as told:
            checkpoints.save(2, tree(), {})
        assert max(map(len, str(told.value).splitlines())) < 400
        assert checkpoints.newest()[0] == 1
