"""The files of a store: many sequences in few files, for what is too many files for a disk.

    store.json                      what it holds: features, type, encoder, windows, classes, shards
    records/COLUMN.npy              the table, a plain array for each column
    data-00003-of-00021.array_record    sequences, each a record that is an `.npy` file in itself
    manifest.json                   of the extraction that made the features, where there was one

The columns are files of their own, plain arrays: ten million rows are read in a second and by
anything that reads `.npy`, none is taken apart that is not needed, nothing is pickled or unpacked,
and a digest in store.json guards each. JSON or CSV would take minutes and gigabytes.

    id_bytes, id_ends   the ids one behind the other in UTF-8, and where each ends
    label, split        number of the class; 0 train, 1 val, 2 test
    length, itemsize    T, and 2 (float16) or 4 (float32) bytes a number
    shard, offset       which file, and where in it the numbers begin
    digest              first 16 bytes of the SHA-256 of the record: that of the `.npy` file

Records are written one a chunk and not compressed, so that their numbers lie in the file as they
are. Only the block headers of Riegeli, on which array_record builds, come in between: 24 bytes
wherever a multiple of 64 KiB begins. So a sequence is read by one call of the system into its place
in a batch, eight times as fast as through array_record's own reader, which checks and copies what
`--verify` has checked. `places_of` finds the numbers, and whoever writes compares what lies there.

Source: https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md
"""

import functools
import hashlib
import io
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.csv_index import SPLITS
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.files import read_json, whole_file, write_json
from experiments.shared.fingerprint import digest_json
from experiments.tse.npy_file import read_array

STORE_FILE = "store.json"
VERSION = 1
WRITER_OPTIONS = "group_size:1,uncompressed"
DIGEST_BYTES = 16  # as many as `Digests` keeps of a file, so that the two can be compared

_FORMAT = "tempalign store"
_TABLE = "records"
_BLOCK, _BLOCK_HEADER, _CHUNK_HEADER = 65536, 24, 40
_MOST_PARTS = 1000  # of one call; Linux takes 1024
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.array_record")
_GAP = bytearray(_BLOCK_HEADER)  # where block headers are read to, which nobody looks at


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a store, a row for each record; see the top of this file."""

    id_bytes: np.ndarray
    id_ends: np.ndarray
    label: np.ndarray
    split: np.ndarray
    length: np.ndarray
    itemsize: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    digest: np.ndarray

    def __len__(self) -> int:
        """Number of records."""
        return len(self.label)

    def ids(self) -> tuple[str, ...]:
        """Returns the ids; raises UnicodeDecodeError where they are not UTF-8."""
        content, ends = self.id_bytes.tobytes(), self.id_ends.tolist()
        starts = [0, *ends[:-1]]
        if content.isascii():
            text = content.decode("ascii")
            return tuple([text[i:j] for i, j in zip(starts, ends, strict=True)])
        return tuple([content[i:j].decode() for i, j in zip(starts, ends, strict=True)])


COLUMNS: dict[str, type] = {
    "id_bytes": np.uint8,
    "id_ends": np.int64,
    "label": np.int32,
    "split": np.uint8,
    "length": np.int32,
    "itemsize": np.uint8,
    "shard": np.int32,
    "offset": np.int64,
    "digest": np.uint8,
}


def write_table(folder: Path, table: Table, manifest: Mapping[str, Any]) -> None:
    """Writes the columns, then store.json with their digests and its own.

    Raises:
        UserError: a file cannot be written.
    """
    (folder / _TABLE).mkdir(exist_ok=True)
    digests = {}
    for field in fields(table):
        column: np.ndarray = np.ascontiguousarray(getattr(table, field.name), COLUMNS[field.name])
        with whole_file(folder / _TABLE / f"{field.name}.npy", "wb") as file:
            np.save(file, column, allow_pickle=False)
        digests[field.name] = _digest(column).hex()
    content = {"format": _FORMAT, "version": VERSION, **manifest, "table": digests}
    write_json(folder / STORE_FILE, {**content, "digest": digest_json(content)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks store.json.

    Raises:
        MissingFileError: it is not there.
        UserError: it is not that of a store of this version, or was changed.
    """
    path = folder / STORE_FILE
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"{path}: not the manifest of a store")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path}: of version {content.get('version')!r}, but this program reads {VERSION}; "
            "make the store again"
        )
    digest = content.pop("digest", None)
    if digest != digest_json(content):
        raise UserError(f"{path}: was changed after it was written; make the store again")
    shards, names = content.get("shards"), content.get("class_names")
    is_good = (
        isinstance(shards, list)
        and all(_is_shard(shard) for shard in shards)
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and type(content.get("features")) is int
        and 0 < content["features"] < 2**31
        and isinstance(content.get("table"), dict)
        and isinstance(content.get("note", ""), str)
    )
    if not is_good:
        raise UserError(f"{path}: not the manifest of a store")
    return content | {"digest": digest}


def _is_shard(shard: Any) -> bool:
    return (
        isinstance(shard, dict)
        and isinstance(shard.get("file"), str)
        and _SHARD_NAME.fullmatch(shard["file"]) is not None
        and all(type(shard.get(name)) is int and shard[name] >= 0 for name in ("bytes", "records"))
    )


def read_table(folder: Path, manifest: Mapping[str, Any]) -> Table:
    """Reads and checks the columns.

    Raises:
        MissingFileError: one is not there.
        UserError: one is not what was written, or says what cannot be.
    """
    columns: dict[str, np.ndarray] = {}
    for name, kind in COLUMNS.items():
        path = folder / _TABLE / f"{name}.npy"
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; make the store again")
        column: np.ndarray = read_array(path)
        if column.dtype != kind or _digest(column).hex() != manifest["table"].get(name):
            raise UserError(f"{path}: not what was written, by its digest; make the store again")
        columns[name] = column
    table = Table(**columns)
    problem = _problem(table, manifest)
    if problem:
        raise UserError(f"{folder / _TABLE}: {problem}; make the store again")
    return table


def _problem(table: Table, manifest: Mapping[str, Any]) -> str:
    """Says what no writer of ours would write; whoever changes a digest too can do that."""
    count, shards = len(table.label), manifest["shards"]
    shapes = {name: getattr(table, name).shape for name in COLUMNS}
    shapes.pop("id_bytes")
    if shapes.pop("digest") != (count, DIGEST_BYTES) or set(shapes.values()) != {(count,)}:
        return "the columns are not of one length"
    if not count or table.id_bytes.ndim != 1:
        return "there are no records"
    ends = table.id_ends
    if ends[0] < 0 or ends[-1] != len(table.id_bytes) or (np.diff(ends) < 0).any():
        return "the ids do not end where they must"
    within = [(table.label, 0, len(manifest["class_names"])), (table.split, 0, len(SPLITS))]
    within += [(table.length, 1, 2**31), (table.shard, 0, len(shards))]
    if any(((column < low) | (column >= high)).any() for column, low, high in within):
        return "a label, split, length or shard is none"
    if not np.isin(table.itemsize, (2, 4)).all():
        return "a number has neither 2 nor 4 bytes"
    held = np.bincount(table.shard, minlength=len(shards))
    if held.tolist() != [shard["records"] for shard in shards]:
        return "the shards do not hold as many records as store.json says"
    sizes = np.array([shard["bytes"] for shard in shards])[table.shard]
    ends = table.offset + table.length.astype(np.int64) * manifest["features"] * table.itemsize
    if (table.offset < 0).any() or (table.offset % _BLOCK < _BLOCK_HEADER).any():
        return "an offset is none"
    if (ends > sizes).any() or (ends < table.offset).any():
        return "a record lies behind the end of its shard"
    return ""


def _digest(column: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(column).reshape(-1).data).digest()[:DIGEST_BYTES]


@functools.lru_cache(maxsize=4096)
def npy_start(length: int, num_features: int, itemsize: int) -> bytes:
    """Returns what an `.npy` file of such a sequence begins with: all but its numbers."""
    buffer = io.BytesIO()
    header = {"descr": f"<f{itemsize}", "fortran_order": False, "shape": (length, num_features)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def record_digest(array: np.ndarray) -> bytes:
    """Returns the digest of the `.npy` file of a contiguous sequence."""
    hasher = hashlib.sha256(npy_start(*array.shape, array.itemsize))
    hasher.update(array.reshape(-1).view(np.uint8).data)
    return hasher.digest()[:DIGEST_BYTES]


def read_parts(descriptor: int, position: int, memory: memoryview) -> bool:
    """Reads bytes of a record into memory, leaving out block headers.

    Args:
        descriptor: of the file.
        position: where the first of them lies.
        memory: of as many bytes.

    Returns:
        Whether the file had them all.
    """
    parts: list[memoryview | bytearray] = []
    start, room = 0, _BLOCK - position % _BLOCK
    while start < len(memory):
        parts += [memory[start : start + room], _GAP]
        start, room = start + room, _BLOCK - _BLOCK_HEADER
    parts.pop()
    for first in range(0, len(parts), _MOST_PARTS):
        some = parts[first : first + _MOST_PARTS]
        size = sum(map(len, some))
        if os.preadv(descriptor, some, position) != size:
            return False
        position += size
    return True


def places_of(descriptor: int, starts: list[int]) -> Iterator[int]:
    """Finds where the numbers of each record of a file begin.

    Args:
        descriptor: of a file that array_record has written with `WRITER_OPTIONS`.
        starts: bytes of each record before its numbers.

    Raises:
        ValueError: array_record writes files that are not as described here.
    """
    position = 0
    header = bytearray(_CHUNK_HEADER)
    for number, start in enumerate([-1, *starts]):
        position = _advance(position, 0)
        if not read_parts(descriptor, position, memoryview(header)):
            raise ValueError(f"no record {number}")
        _, size, _, kind, decoded = struct.unpack("<5Q", header)
        content = _advance(position, _CHUNK_HEADER)
        if start < 0:  # the signature of the file
            if (kind & 0xFF, size) != (ord("s"), 0):
                raise ValueError("no signature")
        elif kind != ord("r") | 1 << 8 or not start < decoded < size:
            raise ValueError(f"record {number} is not one of its own")
        else:
            yield _advance(content, size - decoded + start)
        position = _advance(content, size)


def _advance(position: int, count: int) -> int:
    """Returns where the byte lies that comes `count` bytes of records after one."""
    whole = _BLOCK - _BLOCK_HEADER
    block, within = divmod(position, _BLOCK)
    blocks, rest = divmod(max(0, within - _BLOCK_HEADER) + count, whole)
    return (block + blocks) * _BLOCK + _BLOCK_HEADER + rest
