"""Padded batches of a split, read ahead by threads, in an order fixed by (seed, epoch)."""

from collections.abc import Generator
from functools import partial
from typing import NamedTuple

import grain
import numpy as np

from experiments.tse.dataset import TseSplit

PAD_MULTIPLE = 16
"""Batch lengths are multiples of this, so that few shapes are compiled."""

_POOL = 64  # batches whose sequences are sorted by length together
_CANDIDATES = 512  # lengths that may become the width of a bucket


class Batch(NamedTuple):
    """A batch of B sequences.

    Attributes:
        x: `[B, Tpad, N_f]` in the stored dtype, zeros behind each sequence. Tpad is the longest
            sequence of the batch rounded up to a multiple of 16, but not beyond the split's; with
            buckets to the next of their lengths.
        lengths: int32 [B].
        labels: int32 [B].
        valid: float32 [B]; 0 for the filler rows that complete the last batch (length 1, label 0,
            zeros), otherwise 1.
    """

    x: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def padded_length(length: int, most: int | None = None) -> int:
    """Returns `length` rounded up to a multiple of 16, but at most `most`."""
    padded = -(-length // PAD_MULTIPLE) * PAD_MULTIPLE
    return padded if most is None else min(padded, most)


class Planned(NamedTuple):
    """What a batch will hold.

    Attributes:
        rows: [at most B], the sequences, in their order.
        width: frames that each is padded to.
    """

    rows: np.ndarray
    width: int


def epoch_batches(
    split: TseSplit,
    batch_size: int,
    *,
    seed: int | None,
    epoch: int = 0,
    num_threads: int = 0,
    length_buckets: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    filled: int = 0,
) -> Generator[Batch, None, None]:
    """Goes through a split once, in batches of one size.

    Where the generator stands is (seed, epoch) and the number of batches taken: a run that is saved
    between epochs need save nothing else to go on with the same batches in the same order.

    Args:
        split: what to read.
        batch_size: rows of each batch; the last one is completed with filler rows.
        seed: of the order; None for the order of the files.
        epoch: the order is another one for each (seed, epoch), and the same for the same pair.
        num_threads: batches read at the same time, and as many held ready: the memory is that of
            about `2 * num_threads` batches. 0 reads in the caller's thread, right for data that
            is in memory. The batches do not depend on it.
        length_buckets: see `plan_epoch`.
        process_index: of the processes that share the epoch, the one that asks.
        process_count: how many share it. Each gets its part of the rows of every batch, the first
            process the first ones, in arrays of one shape: put together, the parts of all are the
            batch of one process, whatever their number.
        filled: rows that filler makes of each batch, so that devices can divide it, at least
            `batch_size`; 0: none are added.

    Returns:
        A generator of `ceil(len(split) / batch_size)` batches of `batch_size / process_count` rows
        (`filled / process_count`);
        `close` it (or drop it) to stop early. A sequence that cannot be read raises from there,
        naming the file.

    Raises:
        ValueError: an argument is out of range.
    """
    if num_threads < 0:
        raise ValueError(f"num_threads: must be at least 0, got {num_threads}")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index: must be 0 to {process_count - 1}, got {process_index}")
    size = filled or batch_size
    if size % process_count or size < batch_size:
        raise ValueError(
            f"batch_size: must be a multiple of {process_count}, the processes, got {size}"
        )
    plan = plan_epoch(
        split.lengths, batch_size, seed=seed, epoch=epoch, length_buckets=length_buckets
    )
    share = size // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    # Grain is given whole batches: of single rows, its accounts take longer than reading them.
    batches = grain.MapDataset.source(plan).map(partial(_read_batch, split, mine))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    return _closing(batches.to_iter_dataset(options))


def plan_epoch(
    lengths: np.ndarray,
    batch_size: int,
    *,
    seed: int | None,
    epoch: int = 0,
    length_buckets: int = 0,
) -> list[Planned]:
    """Returns what the batches of an epoch hold, of all processes together.

    Args:
        lengths: [N], of the sequences.
        batch_size: rows of a batch.
        seed: of the order; None for the order of the files.
        epoch: see `epoch_batches`.
        length_buckets: 0: the rows of a batch are any, and lengths are padded to multiples of 16.
            Otherwise sequences of similar lengths share a batch (of some thousands that follow each
            other in the shuffled order, so that who shares one still changes with the epoch), and
            are padded to one of so many lengths, those that fit `lengths` best. Which batch comes
            when is random too.

    Raises:
        ValueError: an argument is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
    if epoch < 0 or (seed is not None and seed < 0):
        raise ValueError(f"seed and epoch: must not be negative, got {seed} and {epoch}")
    if length_buckets < 0 or (length_buckets and seed is None):
        raise ValueError(f"length_buckets: 0, or more with a seed, got {length_buckets}")
    order = np.arange(len(lengths))
    if seed is not None:
        # Not grain's own shuffle: that takes milliseconds an index on small data sets.
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(order)
    if not length_buckets:
        most = int(lengths.max(initial=0))  # where all are 33 frames long, 33
        cut = _cut(order, batch_size)
        return [Planned(rows, padded_length(int(lengths[rows].max()), most)) for rows in cut]
    whole = len(order) // batch_size * batch_size
    pools = [_by_length(rows, lengths) for rows in _cut(order[:whole], _POOL * batch_size)]
    cut = [rows for pool in pools for rows in _cut(pool, batch_size)]
    cut = [cut[number] for number in rng.permutation(len(cut))] + _cut(order[whole:], batch_size)
    widths = best_widths(lengths, length_buckets)
    return [
        Planned(rows, int(widths[np.searchsorted(widths, lengths[rows].max())])) for rows in cut
    ]


def best_widths(lengths: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` lengths, rising, such that rounding up to one of them adds least.

    Args:
        lengths: int [N], N >= 1, at least 1 each.
        count: how many, at least 1.
    """
    widths, repeats = np.unique(lengths, return_counts=True)
    if len(widths) > _CANDIDATES:
        steps = np.linspace(0, 1, _CANDIDATES)
        widths = np.unique(np.quantile(lengths, steps, method="higher"))
        repeats = np.bincount(np.searchsorted(widths, lengths), minlength=len(widths))
    below = np.concatenate([[0], np.cumsum(repeats)])
    # Rounding up what lies from candidate i to j takes `added[i, j]` frames (and what is the same
    # for every choice, the lengths themselves).
    added = (below[None, 1:] - below[:-1, None]) * widths.astype(np.float64)
    added[np.tril_indices(len(widths), -1)] = np.inf
    best, came_from = added[0], []
    for _ in range(1, min(count, len(widths))):
        total = best[:-1, None] + added[1:]  # the last width but one, the last
        came_from.append(np.concatenate([[0], total[:, 1:].argmin(axis=0)]))
        best = np.concatenate([[np.inf], total[:, 1:].min(axis=0)])
    chosen = [len(widths) - 1]
    for step in reversed(came_from):
        chosen.append(int(step[chosen[-1]]))
    return widths[chosen[::-1]]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _by_length(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return rows[np.argsort(lengths[rows], kind="stable")]


def _read_batch(split: TseSplit, share: slice, planned: Planned) -> Batch:
    """Reads this process's share of a batch."""
    rows = planned.rows[share]
    count, size = len(rows), share.stop - share.start
    lengths, labels = np.ones(size, np.int32), np.zeros(size, np.int32)
    lengths[:count], labels[:count] = split.lengths[rows], split.labels[rows]
    valid = (np.arange(size) < count).astype(np.float32)
    x = np.empty((size, planned.width, split.source.num_features), split.source.dtype)
    split.source.fill(rows.tolist(), x)
    for i, length in enumerate(lengths[:count].tolist()):
        x[i, length:] = 0
    x[count:] = 0
    return Batch(x, lengths, labels, valid)


def _closing(batches: grain.IterDataset) -> Generator[Batch, None, None]:
    """Iterates, and ends the reading threads also where the caller stops early."""
    iterator = iter(batches)
    try:
        yield from iterator
    finally:
        iterator.close()
