import errno
import json
import os

import pytest

from experiments.shared import files
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.files import read_json, unused, whole_file, write_json, write_text


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": [1, "é"]})
    assert path.read_text() == '{\n  "x": [\n    1,\n    "é"\n  ]\n}\n'
    with whole_file(path, "wb") as file:
        file.write(b"\xff")
        assert read_json(path) == {"x": [1, "é"]}  # the former one, until the block ends
    assert path.read_bytes() == b"\xff"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MissingFileError])
def test_an_exception_in_the_block_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error, match="ours"), whole_file(path) as file:
        file.write("new")
        raise error("ours")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(UserError, match="a.txt: cannot be written .No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_name_is_on_disk_too(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            files.os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))
        )
    write_text(tmp_path / "a", "x")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_folder_that_is_a_file_or_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "absent"):
        with pytest.raises(UserError, match=f"{folder}/a.txt: cannot be written"):
            write_text(tmp_path / folder / "a.txt", "x")


def test_names_that_are_no_unicode_are_written_and_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.npy")
    write_json(tmp_path / "a.json", [name])
    assert read_json(tmp_path / "a.json") == [name]
    write_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_text() == r"caf\udce9.npy"


def test_of_a_json_file_less_may_be_kept(tmp_path):
    write_json(tmp_path / "a.json", [{"id": 1, "x": "long"}, {"id": 2}])
    assert read_json(tmp_path / "a.json", lambda found: found["id"]) == [1, 2]


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    with pytest.raises(MissingFileError, match="a.json: no such file"):
        read_json(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="a.json: not a JSON file"):
        read_json(path)
    with pytest.raises(UserError, match="not a JSON file"):
        read_json(tmp_path)
    path.write_text(json.dumps([1]))
    assert read_json(path) == [1]


def test_an_unused_name_is_found(tmp_path):
    path = tmp_path / "scores.csv"
    for name in ("scores.csv", "scores-2.csv", "scores-3.csv"):
        found = unused(path)
        assert found.name == name
        found.write_text("")


def test_errors_are_told_together():
    raise_all([], "index.csv")
    missing = [MissingFileError(f"file {n}") for n in range(7)]
    with pytest.raises(MissingFileError) as error:
        raise_all(missing, "index.csv")
    assert str(error.value).startswith("index.csv: 7 problems\n  file 0\n")
    assert str(error.value).endswith("  file 4\n  ... and 2 more")
    with pytest.raises(UserError, match="1 problem\n") as other:
        raise_all([UserError("line 3")], "index.csv")
    assert not isinstance(other.value, FileNotFoundError)
