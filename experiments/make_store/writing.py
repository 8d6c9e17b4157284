"""Writes a store, a shard at a time, in a folder beside it that takes its name when it is whole."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from experiments.shared.csv_index import SPLITS
from experiments.shared.errors import UserError
from experiments.shared.files import read_json, write_json
from experiments.shared.fingerprint import digest_json
from experiments.shared.folder import LOCK, locked, prepare_folder
from experiments.shared.progress import progress
from experiments.tse.rows import Rows
from experiments.tse.store_format import (
    DIGEST_BYTES,
    WRITER_OPTIONS,
    Table,
    npy_start,
    places_of,
    read_parts,
    record_digest,
    write_table,
)
from experiments.tse.stored import FileSource, as_bytes

_OVERHEAD = 256  # bytes of a record beside its numbers, about
_PARTS = "parts"  # what is known of finished shards


@contextmanager
def folder_in_the_making(out: Path, num_bytes: int) -> Iterator[Path]:
    """Gives a folder that takes the name `out` when the block has ended well.

    What a block that was interrupted has made is there when the next begins.

    Args:
        out: must not be there.
        num_bytes: about how much will be written.

    Raises:
        UserError: it is there, cannot be made, another process makes it, or the disk has no room.
    """
    if out.exists():
        raise UserError(f"--out_dir={out}: is there already; name another folder")
    part = out.with_name(f"{out.name}.part")
    there = sum(file.stat().st_size for file in part.glob("*")) if part.is_dir() else 0
    prepare_folder(part, max(0, num_bytes - there))
    with locked(part):
        yield part
        try:
            (part / LOCK).unlink(missing_ok=True)
            os.sync()  # once for what may be a hundred thousand files
            os.rename(part, out)
        except OSError as error:
            raise UserError(f"--out_dir={out}: cannot be made ({error.strerror})") from error


def write_store(
    rows: Rows,
    out: Path,
    *,
    shard_bytes: int,
    about: Mapping[str, Any] | None = None,
    beside: Path | None = None,
) -> int:
    """Writes all samples of a folder as a store.

    Args:
        rows: the samples.
        out: the folder, which must not be there.
        shard_bytes: of a file, about.
        about: what else store.json says.
        beside: a file that is copied into it, where it is there.

    Returns:
        How many shards were found finished, and were kept.

    Raises:
        UserError: a sequence cannot be used, or the store cannot be written.
    """
    source = rows.samples.source
    numbers = rows.samples.lengths.astype(np.int64) * source.num_features
    sizes = _OVERHEAD + numbers * source.dtype.itemsize
    shard_of = (np.cumsum(sizes) - sizes) // shard_bytes
    shard_of = np.unique(shard_of, return_inverse=True)[1]
    count = int(shard_of[-1]) + 1
    plan = _plan(rows, shard_of)
    kept, shards, columns = 0, [], []
    with folder_in_the_making(out, int(sizes.sum())) as part:
        _begin(part, plan)
        with progress(total=len(rows.samples), desc="writing records", unit="records") as bar:
            for number in range(count):
                name = f"data-{number:05d}-of-{count:05d}.array_record"
                chosen = np.flatnonzero(shard_of == number)
                known = part / _PARTS / f"{number}.json"
                if _is_finished(known, part / name):
                    kept += 1
                else:
                    write_json(known, _write_shard(rows, chosen, part / name))
                facts = read_json(known)
                shards.append({"file": name, "bytes": facts["bytes"], "records": len(chosen)})
                columns.append(facts)
                bar.update(len(chosen))
        table = _table(rows, shard_of, columns)
        kinds = {2: "float16", 4: "float32"}
        manifest = {
            "records": len(table),
            "features": source.num_features,
            "dtype": "/".join(kinds[size] for size in np.unique(table.itemsize).tolist()),
            "splits": {
                name: int((table.split == k).sum())
                for k, name in enumerate(SPLITS)
                if (table.split == k).any()
            },
            "class_names": list(rows.class_names),
            "note": rows.note,
            **(about or {}),
            "shards": shards,
        }
        if beside is not None and beside.is_file():
            shutil.copyfile(beside, part / beside.name)
        write_table(part, table, manifest)
        shutil.rmtree(part / _PARTS)
    return kept


def _plan(rows: Rows, shard_of: np.ndarray) -> str:
    """A digest of all that decides what the shards hold, of files their sizes and times."""
    samples, source = rows.samples, rows.samples.source
    stamps = (
        [[file.name, file.size, file.mtime_ns] for file in source.files]
        if isinstance(source, FileSource)
        else []
    )
    return digest_json([list(samples.ids), samples.lengths.tolist(), shard_of.tolist(), stamps])


def _begin(part: Path, plan: str) -> None:
    """Keeps what an earlier call has made of the same data, and nothing else."""
    path = part / _PARTS / "plan.json"
    try:
        is_same = read_json(path) == plan
    except UserError:
        is_same = False
    if not is_same:
        for file in part.glob("*.array_record"):
            file.unlink()
        shutil.rmtree(part / _PARTS, ignore_errors=True)
        (part / _PARTS).mkdir()
        write_json(path, plan)


def _is_finished(known: Path, shard: Path) -> bool:
    return known.is_file() and shard.is_file() and shard.stat().st_size == read_json(known)["bytes"]


def _write_shard(rows: Rows, chosen: np.ndarray, path: Path) -> dict[str, Any]:
    """Writes a shard and reads it again.

    Returns:
        Its "bytes", and of each record "itemsizes", "offsets" and "digests".

    Raises:
        UserError: a sequence cannot be used, the shard cannot be written, or does not hold what was
            written.
    """
    itemsizes, digests, starts = [], [], []
    lengths = rows.samples.lengths
    try:
        path.unlink(missing_ok=True)
        writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
        try:
            for row in chosen.tolist():
                array = np.ascontiguousarray(rows.samples.source[row])
                start = npy_start(*array.shape, array.itemsize)
                writer.write(start + array.tobytes())
                itemsizes.append(array.itemsize)
                digests.append(record_digest(array).hex())
                starts.append(len(start))
        finally:
            writer.close()
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            offsets = list(places_of(file.fileno(), starts))
            for row, itemsize, offset, digest in zip(
                chosen.tolist(), itemsizes, offsets, digests, strict=True
            ):
                back = np.empty((lengths[row], rows.samples.source.num_features), f"f{itemsize}")
                is_whole = read_parts(file.fileno(), offset, as_bytes(back))
                if not is_whole or record_digest(back).hex() != digest:
                    raise ValueError(f"record '{rows.samples.ids[row]}' came out differently")
            size = os.fstat(file.fileno()).st_size
    except UserError:
        raise  # of the source
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    except (RuntimeError, ValueError) as error:  # as array_record reports a full disk
        raise UserError(f"{path}: cannot be written as a store ({error})") from error
    return {"bytes": size, "itemsizes": itemsizes, "offsets": offsets, "digests": digests}


def _table(rows: Rows, shard_of: np.ndarray, columns: list[dict[str, Any]]) -> Table:
    def joined(name: str) -> list[Any]:
        return [value for facts in columns for value in facts[name]]

    ids = [name.encode("utf-8", "backslashreplace") for name in rows.samples.ids]
    return Table(
        id_bytes=np.frombuffer(b"".join(ids), np.uint8),
        id_ends=np.cumsum([len(name) for name in ids]),
        label=rows.samples.labels,
        split=np.array([SPLITS.index(name) for name in rows.splits]),
        length=rows.samples.lengths,
        itemsize=np.array(joined("itemsizes")),
        shard=shard_of,
        offset=np.array(joined("offsets")),
        digest=np.frombuffer(bytes.fromhex("".join(joined("digests"))), np.uint8).reshape(
            -1, DIGEST_BYTES
        ),
    )
