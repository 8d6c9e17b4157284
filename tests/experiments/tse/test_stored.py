"""Sequences in files: read into the batch, checked once, remembered while they stay the same."""

import json
import os

import numpy as np
import pytest

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests
from experiments.shared.remembered import Remembered
from experiments.tse import index_folder, npy_file, sources, stored
from experiments.tse.batches import epoch_batches
from experiments.tse.dataset import check_finite
from experiments.tse.npy_file import open_npy
from experiments.tse.sources import all_finite
from experiments.tse.stored import FileSource

OLD = 10**18  # nanoseconds: a time that is long ago


def save(path, array, time=OLD):
    np.save(path, array)
    os.utime(path, ns=(time, time))
    return path


def numbers(length=4, seed=0, dtype=np.float16):
    return np.random.default_rng(seed).normal(size=(length, 3)).astype(dtype)


@pytest.fixture
def counted(monkeypatch):
    """Counts how often headers are read and numbers are checked."""
    counts = {"headers": 0, "checks": 0}

    def counting(what, function):
        def wrapped(*arguments):
            counts[what] += 1
            return function(*arguments)

        return wrapped

    monkeypatch.setattr(npy_file, "_read_header", counting("headers", npy_file._read_header))
    monkeypatch.setattr(sources, "all_finite", counting("checks", sources.all_finite))
    return counts


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f2", "<f8"])
@pytest.mark.parametrize("fortran", [False, True])
def test_what_is_read_does_not_depend_on_how(tmp_path, dtype, fortran):
    x = numbers().astype(dtype)
    path = save(tmp_path / "a.npy", np.asfortranarray(x) if fortran else x)
    source = FileSource([open_npy(path)])
    expected = x.astype(np.float16 if dtype[1:] == "f2" else np.float32)
    for _ in range(2):  # also when it has been checked
        got = source[0]
        assert got.dtype == expected.dtype == source.dtype
        np.testing.assert_array_equal(got, expected)
    for kind in (np.float16, np.float32, np.float64):
        out = np.full((2, 6, 3), 7, kind)
        source.fill([0, 0], out)
        np.testing.assert_array_equal(out[1, :4], expected.astype(kind))
        assert (out[:, 4:] == 7).all()


def test_a_file_is_checked_once(tmp_path, counted):
    source = FileSource([open_npy(save(tmp_path / "a.npy", numbers()))])
    for _ in range(3):
        source[0]
        source.fill([0], np.empty((1, 4, 3), np.float16))
    assert counted == {"headers": 1, "checks": 1}


def test_a_file_that_changes_is_read_and_checked_again(tmp_path):
    path = save(tmp_path / "a.npy", numbers())
    source = FileSource([open_npy(path)])
    source[0]
    other = numbers(seed=1)
    save(path, other, OLD + 1)
    np.testing.assert_array_equal(source[0], other)
    save(path, numbers(5), OLD + 2)
    with pytest.raises(UserError, match=r"a.npy: has changed: shape \(5, 3\) now, \(4, 3\) when"):
        source[0]
    save(path, np.full((4, 3), np.nan, np.float16), OLD + 3)
    with pytest.raises(UserError, match="a.npy: 12 of 12 values are NaN"):
        source[0]
    path.unlink()
    with pytest.raises(MissingFileError, match="a.npy: no such file"):
        source[0]


def test_the_next_start_reads_and_checks_what_has_changed(index_dir, rows, tmp_path, counted):
    folder = index_dir(rows)
    for row in rows:
        os.utime(folder / row["path"], ns=(OLD, OLD))
    facts = tmp_path / "facts.json"

    def start():
        counted.update(headers=0, checks=0)
        known = Remembered(facts)
        data = index_folder.load(folder, known=known)
        for split in data.splits.values():
            check_finite(split)
        data.remember(known)
        known.save()
        return data, dict(counted)

    first, found = start()
    assert found == {"headers": 6, "checks": 6}
    again, found = start()
    assert found == {"headers": 0, "checks": 0}
    for ours, theirs in zip(
        epoch_batches(again.train, 2, seed=0), epoch_batches(first.train, 2, seed=0), strict=True
    ):
        np.testing.assert_array_equal(ours.x, theirs.x)
    changed = np.load(folder / "v1.npy") + 1
    save(folder / "v1.npy", changed, OLD + 1)
    data, found = start()
    assert found == {"headers": 1, "checks": 1}
    np.testing.assert_array_equal(data.train.source[1], changed)
    save(folder / "v2.npy", np.full_like(np.load(folder / "v2.npy"), np.inf), OLD + 1)
    with pytest.raises(UserError, match="v2.npy: .* NaN or infinite"):
        start()
    (folder / "v3.npy").unlink()
    with pytest.raises(MissingFileError, match="line 5, id 'v3': no file .*v3.npy"):
        start()


def test_a_fresh_file_is_not_remembered(tmp_path):
    """It may be written again within one tick of its disk's clock."""
    path, facts = tmp_path / "a.npy", Remembered(tmp_path / "facts.json")
    np.save(path, numbers())
    FileSource([open_npy(path)]).remember(facts)
    assert facts.now(str(path)) is None
    os.utime(path, ns=(OLD, OLD))
    FileSource([open_npy(path)]).remember(facts)
    assert facts.now(str(path)) is not None


@pytest.mark.parametrize("fact", ["", "4 3 float16 128", "-4 3 float16 128 1", "4 3 int8 128 1", 5])
def test_a_fact_that_says_nothing_is_forgotten(tmp_path, fact):
    path, facts = save(tmp_path / "a.npy", numbers()), tmp_path / "facts.json"
    facts.write_text(json.dumps({str(path): [path.stat().st_size, OLD, fact]}))
    np.testing.assert_array_equal(FileSource([open_npy(path, Remembered(facts))])[0], numbers())


@pytest.mark.parametrize("fact", ["400 3 float16 128 1", "4 3 float16 126 1", "4 3 float32 128 1"])
def test_a_fact_that_does_not_fit_the_file_is_forgotten(tmp_path, fact):
    path, facts = save(tmp_path / "a.npy", numbers()), tmp_path / "facts.json"
    facts.write_text(json.dumps({str(path): [path.stat().st_size, OLD, fact]}))
    np.testing.assert_array_equal(FileSource([open_npy(path, Remembered(facts))])[0], numbers())


def test_known_digests_are_found_without_opening_a_file(tmp_path, monkeypatch):
    path = save(tmp_path / "a.npy", numbers())
    digests = Digests(tmp_path / "digests.json")
    expected = digests.of_files([path])
    digests.save()
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("opened"))
    assert digests.of_files([path]) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_finite_is_told_by_the_bits(dtype):
    limits = np.finfo(dtype)
    good = np.array(
        [0, -0.0, limits.max, limits.min, limits.tiny, limits.smallest_subnormal], dtype
    )
    assert all_finite(good) and all_finite(good[::2])
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        assert not all_finite(np.append(good, dtype(bad)))


def test_a_source_of_some_files_knows_what_was_checked(tmp_path):
    files = [open_npy(save(tmp_path / f"{k}.npy", numbers(k + 1))) for k in range(4)]
    source = FileSource(files)
    source.check(2)
    some = source.take([3, 2])
    assert some.lengths.tolist() == [4, 3] and some.unchecked().tolist() == [0]
    assert source.unchecked().tolist() == [0, 1, 3]
    assert isinstance(some, stored.FileSource)
