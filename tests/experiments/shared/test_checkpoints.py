import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shared import checkpoints as module
from experiments.shared.checkpoints import (
    Checkpoints,
    prepare_folder,
    refuse_differences,
    write_json,
)


class Pair(NamedTuple):
    first: np.ndarray
    second: dict


def tree(value=1.0):
    return Pair(np.full((2, 3), value, np.float32), {"n": jnp.int32(7), "m": np.arange(4.0)})


def test_round_trip_keeps_structure_dtype_and_bits(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(1, tree(np.float32(1) / 3), {"history": [1, 2.5, None], "name": "x"})
    with Checkpoints(tmp_path) as checkpoints:
        restored, record = checkpoints.restore(checkpoints.latest(), tree())
    assert isinstance(restored, Pair)
    assert restored.second["n"].dtype == np.int32 and restored.second["m"].dtype == np.float64
    np.testing.assert_array_equal(restored.first, tree(np.float32(1) / 3).first)
    assert record == {"history": [1, 2.5, None], "name": "x"}


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, tree(step), {})
        assert checkpoints.latest() == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]


def test_other_arrays_are_listed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}, {})
        like = {"a": np.zeros(4), "b": np.zeros(2, np.float32), "d": np.zeros(1)}
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / "1"))) as error:
            checkpoints.restore(1, like)
    for line in (
        "d: missing",
        "c: unknown",
        "a: float64[3], expected float64[4]",
        "b: float64[2], expected float32[2]",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize("victim", ["record", "arrays"])
def test_missing_part_is_damage(tmp_path, victim):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree(), {})
        checkpoints.save(2, tree(), {})
        shutil.rmtree(tmp_path / "2" / victim)
        with pytest.raises(ValueError, match="2 is damaged.*\n.*goes on from step 1"):
            checkpoints.restore(2, tree())
        shutil.rmtree(tmp_path / "1" / victim)
    shutil.rmtree(tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="1 is damaged.*\n.*from the beginning"):
            checkpoints.restore(1, tree())


def test_a_changed_bit_is_damage(tmp_path):
    like = {"a": np.random.default_rng(0).normal(size=400)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, like, {})
    largest = max(tmp_path.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match="1 is damaged"):
            checkpoints.restore(1, like)


FULL = """
import resource, signal, sys
import numpy as np
from experiments.shared.checkpoints import Checkpoints
with Checkpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(1, {"a": np.zeros(3)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        checkpoints.save(2, {"a": np.random.default_rng(0).normal(size=100_000)}, {})
    except OSError as error:
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
    assert "intact" in done.stdout
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        assert checkpoints.restore(1, {"a": np.zeros(3)})[0]["a"].tolist() == [0, 0, 0]


def test_folder_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(OSError, match=re.escape(f"--out_dir={folder}: cannot be written")):
            prepare_folder(folder, 0)
    prepare_folder(tmp_path / "a" / "b", 0)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_disk_without_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    prepare_folder(tmp_path, 1_000_000)
    with pytest.raises(OSError, match="take 5 MB, but the disk has 2 MB free"):
        prepare_folder(tmp_path, 5_000_000)


def test_differences_are_listed_one_by_one():
    saved = {"--epochs": 3, "--seeds": [0, 1], "--pooling": "none", "--old": ""}
    refuse_differences(saved, dict(saved), "runs/a")
    with pytest.raises(ValueError) as error:
        refuse_differences(saved, saved | {"--epochs": 4, "--seeds": [0]}, "runs/a")
    assert "runs/a was started with other settings" in str(error.value)
    assert "--epochs: was 3, now 4\n  --seeds: was 0,1, now 0\n" in str(error.value)
    assert "pooling" not in str(error.value)
    del saved["--old"]
    with pytest.raises(ValueError, match=r"--old: was \(not there\), now \(empty\)"):
        refuse_differences(saved, saved | {"--old": ""}, "runs/a")


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2]})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": [\n    1,\n    2\n  ]\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert "1,\n" in (tmp_path / "a.json").read_text()
