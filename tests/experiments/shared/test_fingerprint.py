import json
import os
import sys

import numpy as np
import pytest

from experiments.shared import fingerprint
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import (
    Content,
    Digests,
    dataset_identity,
    digest_array,
    encoder_identity,
    repetition_note,
)


def aged(path, text):
    """Writes a file that is an hour old."""
    path.write_text(text)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 3600 * 10**9))
    return path


def test_digests_are_of_content(tmp_path):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    (tmp_path / "link").symlink_to("c")
    a, b, c, link, again = Digests().of_files(
        [tmp_path / name for name in ("a", "b", "c", "link", "a")]
    )
    assert a == b == again != c == link and len(a) == 32
    assert Digests().of_file(tmp_path / "c") == c
    assert Digests(num_threads=1).of_files([]) == []


def test_what_is_known_is_not_read_again(tmp_path, monkeypatch):
    path, cache = aged(tmp_path / "a", "x"), tmp_path / "later" / "digests.json"
    known = Digests(cache)
    first = known.of_file(path)
    cache.parent.mkdir()  # the job's folder comes after its data
    known.save()
    assert list(json.loads(cache.read_text())) == [os.path.realpath(path)]
    monkeypatch.setattr(fingerprint.hashlib, "file_digest", None)
    assert Digests(cache).of_files([path]) == [first]
    monkeypatch.undo()
    aged(path, "y")
    assert Digests(cache).of_file(path) != first


def test_a_file_written_twice_within_a_tick_of_the_clock_is_noticed(tmp_path):
    path, known = tmp_path / "a", Digests()
    path.write_text("x")
    first, stamp = known.of_file(path), path.stat().st_mtime_ns
    path.write_text("y")
    os.utime(path, ns=(stamp, stamp))
    assert known.of_file(path) != first


def test_names_that_are_no_text_are_not_remembered(tmp_path):
    try:
        path = aged(tmp_path / os.fsdecode(b"\xff\xfe"), "x")
    except OSError:
        pytest.skip("this file system has names of text only")
    known = Digests(tmp_path / "digests.json")
    assert known.of_file(path) == known.of_file(aged(tmp_path / "a", "x"))
    known.save()
    assert list(json.loads((tmp_path / "digests.json").read_text())) == [str(tmp_path / "a")]


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"/a": 1, "/b": [1, 2]}', '{"/a": [1, 2, 3]}'])
def test_a_damaged_memory_only_costs_time(tmp_path, text):
    path = aged(tmp_path / "a", "x")
    (tmp_path / "cache.json").write_text(text)
    assert Digests(tmp_path / "cache.json").of_file(path) == Digests().of_file(path)


def test_files_that_cannot_be_read_are_listed(tmp_path):
    (tmp_path / "good").write_text("x")
    with pytest.raises(MissingFileError, match="fingerprint: 2 problems") as caught:
        Digests().of_files([tmp_path / "good", tmp_path / "none", tmp_path / "gone"])
    assert "none: no such file" in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        Digests().of_file(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = aged(tmp_path / "a", "x")
    file_digest = fingerprint.hashlib.file_digest

    def slow(file, name):
        found = file_digest(file, name)
        path.write_text("longer")
        return found

    monkeypatch.setattr(fingerprint.hashlib, "file_digest", slow)
    with pytest.raises(UserError, match="a: was changed while it was read"):
        Digests().of_file(path)


def test_arrays_differ_by_type_shape_and_numbers():
    x = np.arange(6, dtype=np.float32)
    others = [x.reshape(2, 3), x.reshape(3, 2), x.astype(np.int32), x + 1, x[:0], x[:5], -x]
    assert len({digest_array(one) for one in (x, *others)}) == 8
    transposed = x.reshape(2, 3).T
    assert digest_array(transposed) == digest_array(transposed.copy())
    assert digest_array(np.array([True])) and digest_array(np.float32(1))


def contents(**changes):
    splits = {
        "train": Content(("a", "b"), np.array([0, 1]), ("d1", "d2")),
        "test": Content(("c",), [1], ("d3",)),
    }
    return splits | changes


def test_the_identity_of_a_data_set_is_all_that_decides_a_result():
    one = dataset_identity(contents(), ("x", "y"))
    assert json.loads(json.dumps(one)) == one
    assert one["num_samples"] == {"train": 2, "test": 1} and one["class_names"] == ["x", "y"]
    for change, key in (
        ({"test": Content(("e",), [1], ("d3",))}, "ids_labels_splits"),
        ({"test": Content(("c",), [0], ("d3",))}, "ids_labels_splits"),
        ({"train": Content(("b", "a"), [1, 0], ("d1", "d2"))}, "ids_labels_splits"),
        ({"test": Content(("c",), [1], ("d4",))}, "content"),
    ):
        other = dataset_identity(contents(**change), ("x", "y"))
        assert [name for name in one if one[name] != other[name]] == [key]
    assert dataset_identity(contents(), ("y", "x"))["ids_labels_splits"] != one["ids_labels_splits"]


def test_samples_with_the_same_content_in_two_splits_are_told():
    assert repetition_note(dataset_identity(contents(), "xy")) == ""
    within = contents(train=Content(("a", "b"), [0, 0], ("d", "d")))
    assert repetition_note(dataset_identity(within, "xy")) == ""
    test = Content(tuple("cdefghij"), [0] * 8, ["d1"] * 7 + ["d9"])
    note = repetition_note(dataset_identity(contents(test=test), "xy"))
    assert note.startswith("7 samples have exactly the content of another in an earlier split")
    assert "'a' (train) and 'c' (test); " in note and note.endswith("'g' (test); ...")


def test_a_split_has_one_of_each():
    with pytest.raises(ValueError, match="2 ids, 1 labels, 2 digests"):
        Content(("a", "b"), [0], ("x", "y"))


def test_the_identity_of_an_encoder_is_its_source_and_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    source = tmp_path / "own_encoder_h3.py"
    source.write_text("raise ValueError('not run')\n")
    weights = tmp_path / "weights.npz"
    weights.write_text("1")
    one = encoder_identity("own_encoder_h3:f", Digests(), weights)
    assert set(one) == {"encoder", "source", "weights"}
    weights.write_text("2")
    two = encoder_identity("own_encoder_h3:f", Digests(), weights)
    assert two["source"] == one["source"] and two["weights"] != one["weights"]
    source.write_text("pass\n")
    assert encoder_identity("own_encoder_h3:f", Digests())["source"] != one["source"]
    assert encoder_identity("pixels", Digests()) == {"encoder": "pixels"}
    with pytest.raises(UserError, match="--encoder=no_such_h3:f: there is no module no_such_h3"):
        encoder_identity("no_such_h3:f", Digests())
    with pytest.raises(UserError, match="cannot be imported"):
        encoder_identity("own_encoder_h3.part:f", Digests())
    with pytest.raises(MissingFileError, match="none.npz"):
        encoder_identity("mobilenet_v2", Digests(), tmp_path / "none.npz")
    assert encoder_identity("sys:f", Digests())["source"]


def test_all_files_of_a_package_count(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    package = tmp_path / "own_package_h3"
    package.mkdir()
    (package / "__init__.py").write_text("")
    one = encoder_identity("own_package_h3:f", Digests())
    (package / "layers.py").write_text("x = 1\n")
    assert encoder_identity("own_package_h3:f", Digests()) != one


def test_a_file_that_is_read_must_still_be_the_same(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    for one in (path, other):
        one.write_bytes(b"x")
    digests = Digests()
    with digests.checked(path):  # nothing is known of it yet
        path.write_bytes(b"1")
    digests.of_files([path, other])
    with digests.checked(path), digests.checked(None):
        os.utime(path, (0, 0))  # the same bytes
    with pytest.raises(UserError, match="a: was changed since the job began; put back"):
        with digests.checked(path):
            path.write_bytes(b"2")
    path.write_bytes(b"1")
    with pytest.raises(UserError, match="a: is no longer there; put it back"):
        with digests.checked(path):
            path.unlink()
            raise UserError("what the reader says then")
    with pytest.raises(UserError, match="what the reader says of b"):
        with digests.checked(other):
            raise UserError("what the reader says of b")
