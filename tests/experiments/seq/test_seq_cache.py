"""Arrays that are computed once."""

import numpy as np
import pytest

from experiments.seq.cache import kept


def test_kept(tmp_path, capsys):
    path, calls = tmp_path / "folder" / "f.npz", []

    def compute():
        calls.append(1)
        return {"a": np.arange(1000.0), "b": np.ones((2, 2), np.float16)}

    for _ in range(2):
        found = kept(path, {"of": "this"}, compute)
        np.testing.assert_array_equal(found["a"], np.arange(1000.0))
        assert found["b"].dtype == np.float16 and found.keys() == {"a", "b"}
    assert len(calls) == 1
    kept(path, {"of": "that"}, compute)
    assert len(calls) == 2

    # One byte of it changed: noticed, said, and mended.
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    np.testing.assert_array_equal(kept(path, {"of": "that"}, compute)["a"], np.arange(1000.0))
    assert len(calls) == 3 and "f.npz: damaged, computed again" in capsys.readouterr().out
    assert [p.name for p in path.parent.iterdir()] == ["f.npz"]


def test_a_kill_leaves_what_was_there(tmp_path):
    path = tmp_path / "f.npz"
    kept(path, {}, lambda: {"a": np.zeros(3)})
    before = path.read_bytes()

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(path, {"other": 1}, killed)
    assert path.read_bytes() == before
