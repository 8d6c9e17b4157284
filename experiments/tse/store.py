"""Reads a store, see `store_format`; it stands wherever a folder with an `index.csv` may."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.csv_index import SPLITS, Inside
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.fingerprint import Digests
from experiments.shared.remembered import Remembered
from experiments.tse.dataset import TseSplit
from experiments.tse.rows import Rows
from experiments.tse.store_format import (
    COLUMN_FILES,
    STORE_FILE,
    read_manifest,
    read_parts,
    read_table,
    record_digest,
)
from experiments.tse.stored import StoredSource, as_bytes


def is_store(folder: Path | str) -> bool:
    """Returns whether a folder is a store, by its manifest."""
    return (Path(folder) / STORE_FILE).is_file()


def load_rows(
    folder: Path | str, *, known: Remembered | None = None, outside_paths: bool = False
) -> Rows:
    """Opens a store, reading its manifest and table, not its shards.

    Args:
        folder: the store.
        known: which records need not be checked again, see `TseDataset.remember`.
        outside_paths: its files may be links that lead out of it.

    Raises:
        MissingFileError: a file of it is not there.
        UserError: a file is not what was written; names it.
    """
    store = Store(folder, known=known, outside_paths=outside_paths)
    store.check_shards()
    return store.rows()


class Store:
    """An open store.

    Attributes:
        folder: where it lies.
        manifest: what store.json says.
        table: a row for each record.
        shards: the files.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        known: Remembered | None = None,
        outside_paths: bool = False,
    ) -> None:
        """Opens it; raises as `load_rows` does, but not for shards that are damaged or missing."""
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        inside = Inside(self.folder, outside_paths)
        for name in (*COLUMN_FILES, *(shard["file"] for shard in self.manifest["shards"])):
            try:
                inside.find(name)
            except UserError as error:
                raise UserError(f"{self.folder}: {error}") from None
        self.table = read_table(self.folder, self.manifest)
        try:
            self.ids = self.table.ids()
        except UnicodeDecodeError as error:
            raise UserError(f"{self.folder}: an id is not UTF-8; make the store again") from error
        self.shards = [self.folder / shard["file"] for shard in self.manifest["shards"]]
        self._open: dict[int, int] = {}
        self._stamps: dict[int, tuple[int, int]] = {}  # of open shards: size, time of the change
        self._lock = threading.Lock()
        self._sound = np.zeros(len(self.table), bool)
        for number, shard in enumerate(self.shards):
            now = None if known is None else known.now(str(shard))
            if now is not None:
                self._recall(np.flatnonzero(self.table.shard == number), now[2])

    def __del__(self) -> None:
        """Closes the shards."""
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def check_shards(self) -> None:
        """Raises where a shard is not there or of another size than was written."""
        raise_all(self.shard_problems(), str(self.folder))

    def shard_problems(self) -> list[Exception]:
        """Returns what is wrong with shards by their size."""
        errors: list[Exception] = []
        for path, shard in zip(self.shards, self.manifest["shards"], strict=True):
            size = path.stat().st_size if path.is_file() else -1
            if size < 0:
                errors.append(MissingFileError(f"{path}: no such file"))
            elif size != shard["bytes"]:
                errors.append(UserError(f"{path}: {size} bytes, but {shard['bytes']} were written"))
        return errors

    def rows(self) -> Rows:
        """Returns all records, in the order of the table."""
        names = np.array(SPLITS)[self.table.split].tolist()
        source = StoreSource(self, np.arange(len(self.table)))
        samples = TseSplit(self.ids, self.table.label, source.lengths, source)
        classes = tuple(self.manifest["class_names"])
        note = self.manifest.get("note", "")
        return Rows(samples, classes, tuple(names), note, STORE_FILE)

    def name_of(self, row: int) -> str:
        """What messages call a record."""
        return f"{self.shards[self.table.shard[row]]}, record '{self.ids[row]}'"

    def read_into(self, row: int, out: np.ndarray) -> None:
        """Reads a record into an array of its shape and type.

        Raises:
            MissingFileError: its shard is not there.
            UserError: the shard ends before it, cannot be read, or was changed since it was opened
                and has another record there now.
        """
        shard = int(self.table.shard[row])
        try:
            descriptor = self._open.get(shard)
            if descriptor is None:
                descriptor = self._opened(shard)
            is_whole = read_parts(descriptor, int(self.table.offset[row]), as_bytes(out))
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.name_of(row)}: no such file") from error
        except OSError as error:
            raise UserError(f"{self.name_of(row)}: cannot be read ({error.strerror})") from error
        if not is_whole:
            raise UserError(f"{self.name_of(row)}: the file ends before it; make the store again")
        if _stamp(descriptor) != self._stamps[shard]:  # after it was read: no change is missed
            self.check(row, out)

    def check(self, row: int, array: np.ndarray) -> None:
        """Compares what was read of a record with its digest.

        Raises:
            UserError: it is not what was written.
        """
        if record_digest(array) != self.table.digest[row].tobytes():
            raise UserError(
                f"{self.name_of(row)}: not what was written, by its digest; make the store again"
            )

    def is_sound(self, rows: np.ndarray) -> np.ndarray:
        """Returns which of the records were found to be as written, by an earlier process."""
        return self._sound[rows]

    def remember(self, rows: np.ndarray, sound: np.ndarray, known: Remembered) -> None:
        """Notes which records were found to be as written."""
        self._sound[rows] |= sound
        for number, path in enumerate(self.shards):
            try:
                status = path.stat()
            except OSError:
                continue
            bits = np.packbits(self._sound[self.table.shard == number]).tobytes().hex()
            fact = f"{self.manifest['digest']} {bits}"
            known.put(str(path), status.st_size, status.st_mtime_ns, fact)

    def _recall(self, rows: np.ndarray, fact: str) -> None:
        digest, _, bits = fact.partition(" ")
        try:
            packed = np.frombuffer(bytes.fromhex(bits), np.uint8)
        except ValueError:
            return
        if digest == self.manifest["digest"] and len(packed) == -(-len(rows) // 8):
            self._sound[rows] = np.unpackbits(packed, count=len(rows)).astype(bool)

    def _opened(self, shard: int) -> int:
        with self._lock:
            if shard not in self._open:
                descriptor = os.open(self.shards[shard], os.O_RDONLY)
                self._stamps[shard], self._open[shard] = _stamp(descriptor), descriptor
            return self._open[shard]


def _stamp(descriptor: int) -> tuple[int, int]:
    """Size and time of the last change of an open file."""
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


class StoreSource(StoredSource):
    """Records of a store."""

    def __init__(self, store: Store, rows: np.ndarray) -> None:
        """Takes the store and which of its records."""
        table = store.table
        super().__init__(store.manifest["features"], table.length[rows], table.itemsize[rows])
        self._store, self._rows = store, rows
        self.sound[:] = store.is_sound(rows)

    def take(self, rows: Sequence[int] | np.ndarray) -> "StoreSource":
        """The source of these sequences alone."""
        return StoreSource(self._store, self._rows[np.asarray(rows, np.intp)])

    def check(self, index: int) -> None:
        """Compares one record with its digest: who wrote it had checked the numbers."""
        self._store.check(self._rows[index], self[index])
        self.sound[index] = True

    def name_of(self, index: int) -> str:
        """What messages call a sequence."""
        return self._store.name_of(self._rows[index])

    def remember(self, known: Remembered) -> None:
        """Notes which records were found to be as written."""
        self._store.remember(self._rows, self.sound, known)

    def digests(self, known: Digests) -> list[str]:
        """Digests of the records: those of the files that `numpy.save` makes of them."""
        return [digest.tobytes().hex() for digest in self._store.table.digest[self._rows]]

    def _read_into(self, index: int, out: np.ndarray) -> bool:
        self._store.read_into(self._rows[index], out)
        return False
