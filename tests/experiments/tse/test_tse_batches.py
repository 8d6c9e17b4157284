from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tse.batches import best_widths, epoch_batches, padded_length, plan_epoch
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
        (dict(length_buckets=-1), "length_buckets: 0, or more with a seed, got -1"),
        (dict(length_buckets=2, seed=None), "length_buckets: 0, or more with a seed, got 2"),
        (dict(process_index=1), "process_index: must be 0 to 0, got 1"),
        (dict(process_count=3), "batch_size: must be a multiple of 3, the processes, got 2"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        epoch_batches(numbered_split(3), **{"batch_size": 2, "seed": 0, **change})


def test_the_order_is_that_of_former_versions():
    """Runs of one process that were begun before there were buckets and shares go on the same."""
    order = np.random.default_rng([7, 3]).permutation(np.arange(50))
    for batch, rows in zip(
        epoch_batches(numbered_split(50), 8, seed=7, epoch=3), range(0, 50, 8), strict=True
    ):
        expected = order[rows : rows + 8]
        np.testing.assert_array_equal(batch.labels[: len(expected)], expected)


@pytest.mark.parametrize("options", [dict(seed=None), dict(seed=4), dict(seed=4, length_buckets=3)])
@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_all_processes_are_the_batches_of_one(count, options):
    split = numbered_split(45)
    whole = list(epoch_batches(split, 8, epoch=1, **options))
    shares = [
        list(epoch_batches(split, 8, epoch=1, process_index=k, process_count=count, **options))
        for k in range(count)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert all(len(part.x) == 8 // count for part in parts)
        for field, *pieces in zip(batch, *parts, strict=True):
            np.testing.assert_array_equal(field, np.concatenate(pieces))


def test_a_resumed_run_has_the_batches_of_one_that_was_not_stopped():
    """Runs are saved between epochs, so the epoch's number is all of where the iterator stands."""

    def epochs(*numbers):
        options = dict(seed=2, length_buckets=4, num_threads=2)
        return [batch for n in numbers for batch in epoch_batches(split, 8, epoch=n, **options)]

    split = numbered_split(40)
    before = epochs(1, 2, 3)
    left = epoch_batches(split, 8, seed=2, epoch=2, length_buckets=4)  # it is killed in its second
    next(left)
    left.close()
    for batch, again in zip(before[5:], epochs(2, 3), strict=True):
        for field, other in zip(batch, again, strict=True):
            np.testing.assert_array_equal(field, other)


def ssv2_like(n):
    """Videos of Something-Something are about 2 to 6 seconds long, at 12 frames a second."""
    values = np.random.default_rng(0).normal(np.log(42), 0.35, n)
    return np.clip(np.exp(values).astype(int), 8, 117)


def padding(lengths, plan):
    return 1 - sum(lengths[batch.rows].sum() for batch in plan) / sum(
        len(batch.rows) * batch.width for batch in plan
    )


@pytest.mark.parametrize("n", [2_000, 20_000])
def test_buckets_keep_padding_below_ten_percent(n):
    lengths = ssv2_like(n)
    plan = plan_epoch(lengths, 48, seed=0, length_buckets=16)
    assert padding(lengths, plan) < 0.1 < padding(lengths, plan_epoch(lengths, 48, seed=0))
    assert len({batch.width for batch in plan}) <= 16
    assert sorted(np.concatenate([batch.rows for batch in plan]).tolist()) == list(range(n))
    assert [len(batch.rows) for batch in plan[:-1]] == [48] * (n // 48)
    assert len(plan) == -(-n // 48)


def test_buckets_do_not_fix_who_shares_a_batch():
    lengths = ssv2_like(20_000)
    shared, longest = [], []
    for epoch in (0, 1):
        plan = plan_epoch(lengths, 48, seed=0, epoch=epoch, length_buckets=16)
        shared.append({frozenset(batch.rows.tolist()) for batch in plan})
        longest.append([batch.width for batch in plan])
    assert not shared[0] & shared[1]
    for widths in longest:  # not from short to long
        assert abs(np.corrcoef(np.arange(len(widths)), widths)[0, 1]) < 0.2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 4))
def test_widths_are_the_best_of_all_choices(lengths, count):
    def added(widths):
        widths = np.array(widths)
        return int((widths[np.searchsorted(widths, lengths)] - lengths).sum())

    found, all_widths = best_widths(np.array(lengths), count), sorted(set(lengths))
    choices = combinations(all_widths, min(count, len(all_widths)))
    best = min(added(choice) for choice in choices if choice[-1] == all_widths[-1])
    assert added(found) == best
    assert len(found) <= count and found[-1] == all_widths[-1]


def test_widths_of_very_many_lengths():
    lengths = np.random.default_rng(0).integers(1, 100_000, 5_000)
    found = best_widths(lengths, 8)
    assert len(found) == 8 and found[-1] == lengths.max()
    assert (np.diff(found) > 10_000).all()  # evenly, as they are
