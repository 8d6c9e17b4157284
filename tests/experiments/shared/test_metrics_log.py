import errno
import json
import os

import pytest

from experiments.shared import files
from experiments.shared.errors import UserError
from experiments.shared.metrics_log import MetricsLog


def test_lines_survive_and_a_torn_one_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write("epoch", epoch=1, loss=0.5)
    log.write("epoch", epoch=2, loss=0.25)
    assert path.read_text().count("\n") == 2  # on disk at once
    with open(path, "a") as file:
        file.write('{"event": "epoch", "epo')
    log = MetricsLog(path)
    assert [line["epoch"] for line in log.lines()] == [1, 2]
    log.write("epoch", epoch=3)
    assert [line.get("loss") for line in log.lines()] == [0.5, 0.25, None]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["time"].endswith("+00:00") for line in lines)


@pytest.mark.parametrize("torn", [b'{"eve', b'{"event": "\xc3', b"\0\0\0"])
def test_only_a_torn_line(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(torn)
    assert MetricsLog(path).lines() == [] and path.read_bytes() == b""


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"3", b'"event"', b'{"x": 1}', b"\xff"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    content = b'{"event": "a"}\n' + line + b'\n{"event": "b"}\n'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: .*remove it"):
        MetricsLog(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch, call):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write("a", x=1)
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(files.os, "fsync", full)
        else:
            patch.setattr(files, "open", Short, raising=False)
        with pytest.raises(UserError, match=r"metrics.jsonl: cannot be written .No space left"):
            log.write("b", x=2)
    log.write("c", x=3)
    assert [line["event"] for line in log.lines()] == ["a", "c"]
    assert [line["event"] for line in MetricsLog(path).lines()] == ["a", "c"]


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Short:
    """A file that takes the first bytes of what is written, as one on a full disk does."""

    def __init__(self, path, mode, buffering):
        self._file = open(path, mode, buffering)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        return self._file.write(content[:7])


def test_a_log_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be read"):
        MetricsLog(tmp_path)
    with pytest.raises(UserError, match="absent/metrics.jsonl: cannot be written"):
        MetricsLog(tmp_path / "absent" / "metrics.jsonl").write("a")


def test_a_line_that_is_too_deep_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "a"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: not a line of this log"):
        MetricsLog(path)
