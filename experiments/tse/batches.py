"""Padded batches of a split, read ahead by threads, in an order fixed by (seed, epoch)."""

from collections.abc import Generator
from functools import partial
from typing import NamedTuple

import grain
import numpy as np

from experiments.tse.dataset import TseSplit

PAD_MULTIPLE = 16
"""Batch lengths are multiples of this, so that few shapes are compiled."""


class Batch(NamedTuple):
    """A batch of B sequences.

    Attributes:
        x: `[B, Tpad, N_f]` in the stored dtype, zeros behind each sequence. Tpad is the longest
            sequence of the batch rounded up to a multiple of 16, but not beyond the split's.
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


def epoch_batches(
    split: TseSplit,
    batch_size: int,
    *,
    seed: int | None,
    epoch: int = 0,
    num_threads: int = 0,
) -> Generator[Batch, None, None]:
    """Goes through a split once, in batches of one size.

    Args:
        split: what to read.
        batch_size: rows of each batch; the last one is completed with filler rows.
        seed: of the order; None for the order of the files.
        epoch: the order is another one for each (seed, epoch), and the same for the same pair.
        num_threads: batches read at the same time, and as many held ready: the memory is that of
            about `2 * num_threads` batches. 0 reads in the caller's thread, right for data that
            is in memory. The batches do not depend on it.

    Returns:
        A generator of `ceil(len(split) / batch_size)` batches; `close` it (or drop it) to stop
        early. A sequence that cannot be read raises from there, naming the file.

    Raises:
        ValueError: an argument is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
    if num_threads < 0:
        raise ValueError(f"num_threads: must be at least 0, got {num_threads}")
    if epoch < 0 or (seed is not None and seed < 0):
        raise ValueError(f"seed and epoch: must not be negative, got {seed} and {epoch}")
    order = np.arange(len(split))
    if seed is not None:
        # Not grain's own shuffle: that takes milliseconds an index on small data sets.
        order = np.random.default_rng([seed, epoch]).permutation(order)
    rows = grain.MapDataset.source(order)
    batches = rows.batch(batch_size, batch_fn=list).map(partial(_read_batch, split, batch_size))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    return _closing(batches.to_iter_dataset(options))


def _read_batch(split: TseSplit, batch_size: int, rows: list[int]) -> Batch:
    """Reads the sequences with these indices into a batch."""
    filler = batch_size - len(rows)
    lengths = np.pad(split.lengths[rows], (0, filler), constant_values=1)
    labels = np.pad(split.labels[rows], (0, filler))
    valid = np.pad(np.ones(len(rows), np.float32), (0, filler))
    most = int(split.lengths.max())  # where all are 33 frames long, 33
    shape = (batch_size, padded_length(max(lengths), most), split.source.num_features)
    x = np.empty(shape, split.source.dtype)
    split.source.fill(rows, x)
    for i, length in enumerate(lengths):
        x[i, length * (i < len(rows)) :] = 0
    return Batch(x, lengths, labels, valid)


def _closing(batches: grain.IterDataset) -> Generator[Batch, None, None]:
    """Iterates, and ends the reading threads also where the caller stops early."""
    iterator = iter(batches)
    try:
        yield from iterator
    finally:
        iterator.close()
