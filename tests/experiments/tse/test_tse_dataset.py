import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Digests
from experiments.tse.dataset import (
    TseDataset,
    TseSplit,
    check_finite,
    feature_statistics,
    to_padded,
)
from experiments.tse.sources import ArraySource, check_tse
from experiments.tse.stored import FileSource, TseFile, conversion_note


def arrays(lengths, num_features=3, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, num_features)).astype(dtype) for n in lengths]


def split(lengths, labels, prefix, **kwargs):
    ids = tuple(f"{prefix}{i}" for i in range(len(lengths)))
    return TseSplit(ids, np.array(labels, int), np.array(lengths, int), arrays(lengths, **kwargs))


def dataset(train=None, test=None, names=("a", "b"), num_features=3, val=None):
    train = split([4, 2, 5], [0, 1, 1], "train") if train is None else train
    test = split([3, 7], [1, 0], "test") if test is None else test
    return TseDataset("toy", train, test, names, num_features, "a note", val)


def tse_file(array, name="f.npy", length=None, num_features=None):
    length, num_features = length or array.shape[0], num_features or array.shape[1]
    return TseFile(name, length, num_features, array.dtype, lambda: array)


def test_a_good_dataset_knows_its_sizes():
    data = dataset()
    assert (data.num_classes, data.max_length, data.num_features) == (2, 7, 3)
    assert len(data.train) == 3 and data.train.labels.dtype == data.train.lengths.dtype == np.int32
    assert data.train.source.dtype == np.float32
    np.testing.assert_array_equal(data.test.lengths, [3, 7])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(train=split([], [], "t")), "train split is empty"),
        (dict(test=split([], [], "t")), "test split is empty"),
        (dict(names=("a",)), "at least 2 classes"),
        (dict(names=("a", "b", "c")), r"class 2 \('c'\) has no training sample"),
        (dict(train=split([4, 2], [0, 0], "t")), r"class 1 \('b'\) has no training sample"),
        (
            dict(train=split([1, 1, 1], [0, 1, 2], "t")),
            r"id 't2' \(train\): label 2 is outside 0..1",
        ),
        (dict(test=split([1], [-1], "t")), r"id 't0' \(test\): label -1 is outside"),
        (dict(test=split([1], [0], "t", num_features=4)), "test split has 4 features, expected 3"),
        (dict(test=split([1], [0], "train")), "id 'train0' comes 2 times"),
        (dict(val=split([], [], "v")), "val split is empty"),
        (dict(val=split([1], [2], "v")), r"id 'v0' \(val\): label 2 is outside"),
        (dict(val=split([1], [0], "test")), "id 'test0' comes 2 times"),
    ],
)
def test_a_bad_dataset_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataset(**change)


def test_a_split_to_choose_by_is_one_of_three():
    data = dataset(val=split([9], [0], "val"))
    assert list(data.splits) == ["train", "val", "test"] and data.max_length == 9
    assert list(dataset().splits) == ["train", "test"]
    contents = data.contents(Digests())
    assert contents["val"].ids == ("val0",) and contents["train"].labels == [0, 1, 1]
    assert len(set(contents["train"].digests)) == 3


def test_wide_floats_become_float32():
    for dtype in (np.float64, np.longdouble):
        wide = np.array([[0.1, 2], [3, 1e-60]], dtype)
        got = check_tse(wide, "x")
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wide.astype(np.float32))
        assert ArraySource([wide], "x").dtype == np.float32
    files = [tse_file(arrays([2])[0])._replace(stored=t) for t in ("float64", "float64", "float32")]
    assert conversion_note(files) == "2 of 3 sequences are stored as float64, read as float32"
    assert conversion_note(files[2:]) == ""


def test_digests_of_sequences_tell_them_apart(tmp_path):
    x = arrays([4])[0]
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", x + (name == "c"))
    files = [
        tse_file(x)._replace(path=tmp_path / f"{name}.npy", part=part)
        for name, part in (("a", ""), ("b", ""), ("c", "1"), ("c", "2"))
    ]
    found = FileSource(files).digests(Digests())
    assert found[0] == found[1] and len(set(found)) == 3
    assert ArraySource([x], "x").digests(Digests()) == FileSource([tse_file(x)]).digests(Digests())


def test_several_problems_are_listed_together():
    with pytest.raises(ValueError) as caught:
        dataset(train=split([1] * 9, [5] * 9, "t"), test=split([], [], "e"))
    text = str(caught.value)
    assert "toy: 12 problems" in text and "... and 7 more" in text and text.count("\n") == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((("a", "a"), [0, 1], [2, 2], arrays([2, 2])), "id 'a' comes 2 times"),
        ((("a", "b"), [0], [2, 2], arrays([2, 2])), "labels: shape"),
        ((("a", "b"), [0.0, 1.0], [2, 2], arrays([2, 2])), "labels: must be integers"),
        ((("a", "b"), [0, 1], [2, 3], arrays([2, 2])), "lengths: not those"),
    ],
)
def test_a_bad_split_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TseSplit(*fields)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"x.npy: must be \[frames, features\], got shape \(3,\)"),
        (np.zeros((2, 2, 2), np.float32), "got shape"),
        (np.zeros((0, 3), np.float32), "at least one frame"),
        (np.zeros((3, 0), np.float32), "one feature"),
        (np.zeros((2, 3), int), "floating point .*, got int64"),
        (np.full((2, 3), 1e39), "6 of 6 values are beyond 3.4e.38, the largest float32"),
        (np.array([[0, 1], [np.nan, np.inf]], np.float16), "2 of 4 .* frame 1, feature 0"),
    ],
)
def test_what_is_not_a_tse_is_refused_by_name(array, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_tse(array, "x.npy")
    assert str(caught.value).startswith("x.npy: ")


def test_arrays_in_memory_are_checked_at_once():
    bad = arrays([2, 2])
    bad[1][0, 0] = np.inf
    with pytest.raises(ValueError, match="second: 1 of 6 values"):
        ArraySource(bad, ["first", "second"])
    with pytest.raises(ValueError, match="c: 4 features, most files have 3"):
        ArraySource(arrays([2, 2]) + arrays([2], 4), ["a", "b", "c"])


def test_the_dtype_of_a_source_holds_every_sequence():
    half = arrays([2, 3], dtype=np.float16)
    assert ArraySource(half, "ab").dtype == np.float16
    assert ArraySource(half + arrays([1]), "abc").dtype == np.float32


def test_a_file_that_changed_is_noticed():
    source = FileSource([tse_file(arrays([4])[0], length=5)])
    with pytest.raises(ValueError, match=r"f.npy: has changed: shape \(4, 3\) now, \(5, 3\)"):
        source[0]


def test_check_finite_lists_every_bad_file():
    good, bad = arrays([2, 3])
    bad[1, 1] = np.nan

    def broken():
        raise OSError("gone.npy: input/output error")

    files = [tse_file(good, "good.npy"), tse_file(bad, "bad.npy"), tse_file(good, "gone.npy")]
    files[2] = files[2]._replace(read=broken)
    source = FileSource(files)
    whole = TseSplit(("a", "b", "c"), np.zeros(3, int), source.lengths, source)
    with pytest.raises(ValueError, match="bad sequences: 2 problems") as caught:
        check_finite(whole)
    assert "bad.npy: 1 of 9" in str(caught.value) and "gone.npy: input" in str(caught.value)
    check_finite(dataset().train)


def test_raise_all_keeps_the_kind_of_missing_files():
    raise_all([], "nothing")
    with pytest.raises(FileNotFoundError, match="x: 1 problem\n  a"):
        raise_all([FileNotFoundError("a")], "x")
    with pytest.raises(ValueError):
        raise_all([FileNotFoundError("a"), ValueError("b")], "x")


def test_to_padded_keeps_order_and_fills_with_zeros():
    part = split([4, 2, 5], [0, 1, 1], "t")
    x, lengths = to_padded(part, [2, 1])
    assert x.shape == (2, 5, 3) and x.dtype == np.float32 and lengths.tolist() == [5, 2]
    np.testing.assert_array_equal(x[0], part.source[2])
    np.testing.assert_array_equal(x[1, :2], part.source[1])
    assert not x[1, 2:].any()
    assert to_padded(part, dtype=np.float64)[0].shape == (3, 5, 3)
    assert to_padded(part, [])[0].shape == (0, 0, 3)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.integers(0, 1000),
    st.sampled_from([0.0, 10.0]),
)
def test_feature_statistics_are_those_of_all_frames(lengths, seed, shift):
    sequences = [a + np.float32(shift) for a in arrays(lengths, seed=seed)]
    for a in sequences:
        a[:, 2] = 0.1  # constant, and not exact in binary
    ids = tuple(map(str, range(len(lengths))))
    source = ArraySource(sequences, ids)
    part = TseSplit(ids, np.zeros(len(ids), int), source.lengths, source)
    mean, std = feature_statistics(part)
    frames = np.concatenate(sequences).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5, atol=1e-6)
    expected = frames.std(0)
    expected[2] = 1
    if len(frames) == 1:
        expected[:] = 1
    np.testing.assert_allclose(std, expected, rtol=1e-4)
