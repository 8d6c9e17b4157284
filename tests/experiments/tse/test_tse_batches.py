from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tse.batches import epoch_batches, padded_length
from experiments.tse.dataset import TseSplit
from experiments.tse.sources import ArraySource
from experiments.tse.stored import FileSource, TseFile


def numbered_split(n, dtype=np.float32, max_length=40):
    """Sequence i holds the number i + 1 everywhere and has label i."""
    lengths = np.random.default_rng(n).integers(1, max_length + 1, n)
    values = [np.full((length, 2), i + 1, dtype) for i, length in enumerate(lengths)]
    ids = tuple(f"s{i}" for i in range(n))
    source = ArraySource(values, ids)
    return TseSplit(ids, np.arange(n), source.lengths, source)


def order(split, batch_size, **kwargs):
    batches = epoch_batches(split, batch_size, **kwargs)
    return np.concatenate([batch.labels[batch.valid > 0] for batch in batches]).tolist()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 30),
    batch_size=st.integers(1, 35),
    seed=st.none() | st.integers(0, 2**40),
    epoch=st.integers(0, 2**33),
    num_threads=st.sampled_from([0, 2]),
)
def test_an_epoch_holds_each_sequence_once(n, batch_size, seed, epoch, num_threads):
    split = numbered_split(n)
    batches = list(
        epoch_batches(split, batch_size, seed=seed, epoch=epoch, num_threads=num_threads)
    )
    assert len(batches) == -(-n // batch_size)
    seen = []
    for batch in batches:
        width = min(padded_length(int(batch.lengths.max())), int(split.lengths.max()))
        assert batch.x.shape == (batch_size, width, 2) and batch.x.dtype == np.float32
        assert batch.lengths.dtype == batch.labels.dtype == np.int32
        assert batch.valid.dtype == np.float32 and set(batch.valid) <= {0, 1}
        for x, length, label, valid in zip(*batch, strict=True):
            if valid:
                seen.append(label)
                assert length == split.lengths[label]
                assert (x[:length] == label + 1).all() and not x[length:].any()
            else:  # a filler row
                assert (length, label) == (1, 0) and not x.any()
    assert sorted(seen) == list(range(n))
    if seed is None:
        assert seen == list(range(n))


def test_filler_rows_complete_the_last_batch_only():
    batches = list(epoch_batches(numbered_split(10), 4, seed=3))
    assert [batch.valid.tolist() for batch in batches] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]


def test_the_order_is_fixed_by_seed_and_epoch():
    split = numbered_split(50)
    orders = {
        (seed, epoch): tuple(order(split, 7, seed=seed, epoch=epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9  # also (0, 1) against (1, 0)
    assert tuple(order(split, 7, seed=1, epoch=2)) == orders[1, 2]
    assert order(split, 7, seed=None, epoch=2) == list(range(50))


def test_each_place_of_the_order_is_taken_by_many_sequences():
    split = numbered_split(8, max_length=2)
    first = {order(split, 8, seed=0, epoch=epoch)[0] for epoch in range(100)}
    assert first == set(range(8))


def test_batches_do_not_depend_on_the_threads():
    split = numbered_split(40)
    expected = list(epoch_batches(split, 6, seed=5, epoch=1, num_threads=0))
    for num_threads in (1, 4):
        got = list(epoch_batches(split, 6, seed=5, epoch=1, num_threads=num_threads))
        assert len(got) == len(expected)
        for batch, other in zip(got, expected, strict=True):
            for field, field_expected in zip(batch, other, strict=True):
                np.testing.assert_array_equal(field, field_expected)


def test_the_stored_dtype_is_kept():
    batch = next(epoch_batches(numbered_split(3, np.float16), 2, seed=None))
    assert batch.x.dtype == np.float16


def test_lengths_are_rounded_up_to_16():
    assert [padded_length(n) for n in (1, 16, 17, 92)] == [16, 16, 32, 96]
    # Where all videos have 33 frames, 48 would cost half as much again.
    assert [padded_length(n, 33) for n in (1, 16, 17, 33)] == [16, 16, 32, 33]


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_bad_file_is_named_when_its_batch_is_read(num_threads):
    good, bad = np.ones((2, 2), np.float32), np.full((2, 2), np.nan, np.float32)
    files = [TseFile(f"{i}.npy", 2, 2, good.dtype, lambda: good) for i in range(8)]
    files[5] = files[5]._replace(read=lambda: bad)
    source = FileSource(files)
    split = TseSplit(tuple("abcdefgh"), np.zeros(8, int), source.lengths, source)
    with pytest.raises(ValueError, match=r"^5\.npy: 4 of 4 values are NaN"):
        list(epoch_batches(split, 2, seed=None, num_threads=num_threads))


def test_an_epoch_can_be_left_early_and_taken_again():
    split = numbered_split(40)
    batches = epoch_batches(split, 4, seed=0, num_threads=2)
    assert len(list(islice(batches, 2))) == 2
    batches.close()
    assert len(order(split, 4, seed=0, num_threads=2)) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=0), "batch_size: must be at least 1, got 0"),
        (dict(num_threads=-1), "num_threads: must be at least 0, got -1"),
        (dict(epoch=-1), "seed and epoch: must not be negative"),
        (dict(seed=-1), "seed and epoch: must not be negative"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        epoch_batches(numbered_split(3), **{"batch_size": 2, "seed": 0, **change})
