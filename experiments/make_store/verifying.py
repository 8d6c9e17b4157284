"""Compares every record of a store with its digest, read as in training and by array_record."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.progress import progress
from experiments.tse.store import Store
from experiments.tse.store_format import STORE_FILE, npy_start

_AT_ONCE = 64  # records that array_record reads in one call


def verify(folder: Path) -> str:
    """Verifies a store; returns what to print.

    Raises:
        MissingFileError: there is no store, or all that is wrong is files that are not there.
        UserError: its manifest or table is damaged, or shards or records are; names up to five of
            these, and says how many.
    """
    if not (folder / STORE_FILE).is_file():
        raise MissingFileError(f"{folder / STORE_FILE}: no such file; --data_dir must be a store")
    store = Store(folder)
    errors = store.shard_problems()
    found = progress(_problems(store), total=len(store.table), desc="verifying", unit="records")
    records = [error for error in found if error is not None]
    what = f"{folder} ({len(records):,} of {len(store.table):,} records)"
    raise_all([*records, *errors], what)
    return f"{folder}: all {len(store.table):,} records in {len(store.shards):,} files are right"


def _problems(store: Store) -> Iterator[Exception | None]:
    """Goes through the records, shard by shard: what is wrong with each, or None."""
    table = store.table
    for number, path in enumerate(store.shards):
        rows = np.flatnonzero(table.shard == number)
        others = _as_array_record_reads(path, len(rows))
        for row, content in zip(rows.tolist(), others, strict=True):
            yield _problem(store, row, content)


def _problem(store: Store, row: int, content: bytes | None) -> Exception | None:
    table = store.table
    itemsize = int(table.itemsize[row])
    array = np.empty((table.length[row], store.manifest["features"]), f"f{itemsize}")
    try:
        store.read_into(row, array)
        store.check(row, array)
    except UserError as error:
        return error
    if content != npy_start(*array.shape, itemsize) + array.tobytes():
        return UserError(
            f"{store.name_of(row)}: array_record does not read what lies there; make the store "
            "again"
        )
    return None


def _as_array_record_reads(path: Path, count: int) -> Iterator[bytes | None]:
    """The records of a file; None for those that array_record cannot read."""
    try:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
        held = reader.num_records()
    except Exception:  # it raises whatever its library does, and names no record
        held = 0
    for start in range(0, count, _AT_ONCE):
        some = list(range(start, min(count, start + _AT_ONCE)))
        try:
            yield from reader.read(some) if held == count else [None] * len(some)
        except Exception:
            for number in some:
                try:
                    yield reader.read([number])[0]
                except Exception:
                    yield None
