"""Sequences on a disk: read when they are asked for, straight into the batch.

Shapes are checked when a source is made, numbers when a sequence is first read. A source remembers
which of them were, and `remember` lets the next process know.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, digest_array
from experiments.shared.remembered import Remembered
from experiments.tse.sources import check_tse, common_num_features

_FLOAT16, _FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)
_FACT = re.compile(r"([1-9][0-9]{0,9}) ([1-9][0-9]{0,9}) (float[0-9]{2,3}) (-1|[0-9]{1,6}) ([01])")


class TseFile(NamedTuple):
    """One sequence on disk, as its header describes it.

    Attributes:
        name: file (and id, where a file holds several), for messages.
        length: number of frames T.
        num_features: N_f.
        dtype: of the array that a source returns, float16 or float32.
        read: reads the array, which need not be checked.
        stored: the type on disk.
        path: the file; None for one that only `read` knows.
        part: which of several sequences in the file.
        start: where its numbers begin, of a file that holds nothing but them from there on, in the
            order and type of the array; -1 for any other.
        size: of the file, in bytes.
        mtime_ns: when it was changed last. As long as it is that, and of that size, the header is
            not read again.
        finite: whether all its numbers are known to be.
    """

    name: str
    length: int
    num_features: int
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    stored: str = ""
    path: Path | None = None
    part: str = ""
    start: int = -1
    size: int = -1
    mtime_ns: int = -1
    finite: bool = False


class StoredSource:
    """What sources on a disk have in common; a subclass says how a sequence is read.

    Attributes:
        num_features: N_f.
        lengths: int32 [N].
        dtypes: [N], of each sequence.
        dtype: that holds them all.
        sound: bool [N], what is known to be finite and need not be checked when it is read.
    """

    def __init__(self, num_features: int, lengths: np.ndarray, itemsizes: np.ndarray):
        """Takes the shapes, and how many bytes each number of a sequence has, 2 or 4."""
        self.num_features = num_features
        self.lengths = np.asarray(lengths, np.int32)
        self.itemsizes = np.asarray(itemsizes)
        self.dtype = np.dtype(np.float32 if not len(lengths) or (itemsizes == 4).any() else "f2")
        self.sound = np.zeros(len(lengths), bool)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Reads one sequence; a UserError names it if it is not finite or has changed."""
        x = np.empty((self.lengths[index], self.num_features), f"f{self.itemsizes[index]}")
        self._read_checked(index, x)
        return x

    def fill(self, rows: Sequence[int], x: np.ndarray) -> None:
        """Reads sequences into `x [B, T, N_f]`, each in its place; raises as reading one does."""
        in_place = x.flags.c_contiguous
        for i, row in enumerate(rows):
            part = x[i, : self.lengths[row]]
            if in_place and self.itemsizes[row] == x.itemsize:
                self._read_checked(row, part)
            else:
                part[...] = self[row]

    def unchecked(self) -> np.ndarray:
        """Which sequences may still prove to be damaged when they are read: indices."""
        return np.flatnonzero(~self.sound)

    def check(self, index: int) -> None:
        """Reads one sequence, so that it is not checked again."""
        self[index]

    def name_of(self, index: int) -> str:
        """What messages call a sequence."""
        raise NotImplementedError

    def _read_checked(self, index: int, out: np.ndarray) -> None:
        checked = self._read_into(index, out)
        if not (checked or self.sound[index]):
            check_tse(out, self.name_of(index))
            self.sound[index] = True

    def _read_into(self, index: int, out: np.ndarray) -> bool:
        """Reads a sequence into an array of its shape and type; returns whether it is checked."""
        raise NotImplementedError


class FileSource(StoredSource):
    """Sequences in files of their own, or of which only a function knows how they are read."""

    def __init__(self, files: Sequence[TseFile]):
        """Takes the files, one for each sequence.

        Raises:
            UserError: `num_features` differs between files.
        """
        self.files = tuple(files)
        super().__init__(
            common_num_features([(f.name, f.num_features) for f in self.files]),
            np.array([f.length for f in self.files], np.int32),
            np.array([f.dtype.itemsize for f in self.files]),
        )
        self.sound[:] = [f.finite for f in self.files]
        self._known = Digests()

    def take(self, rows: Sequence[int] | np.ndarray) -> "FileSource":
        """The source of these sequences alone."""
        return FileSource([self.files[row]._replace(finite=self.sound[row]) for row in rows])

    def name_of(self, index: int) -> str:
        """What messages call a sequence."""
        return self.files[index].name

    def remember(self, known: Remembered) -> None:
        """Notes the header of each `.npy` file, and whether its numbers are finite."""
        for file, finite in zip(self.files, self.sound.tolist(), strict=True):
            if file.mtime_ns >= 0:
                fact = f"{file.length} {file.num_features} {file.stored} {file.start} {finite:d}"
                known.put(file.name, file.size, file.mtime_ns, fact)

    def _read_into(self, index: int, out: np.ndarray) -> bool:
        file = self.files[index]
        if file.start >= 0 and _read_unchanged(file, out):
            return False
        # A file that is not as its header said may be another one by now, or was only touched.
        with self._known.checked(file.path):
            array = check_tse(file.read(), file.name)
        if array.shape != out.shape:
            raise UserError(
                f"{file.name}: has changed: shape {array.shape} now, {out.shape} when the data set "
                "was opened"
            )
        out[...] = array
        return True

    def digests(self, known: Digests) -> list[str]:
        """Digests of the files; sequences of one file are told apart by their names in it.

        From then on, reading a file that is no longer the same is an error.
        """
        self._known = known
        paths = [file.path for file in self.files if file.path is not None]
        of_file = dict(zip(paths, known.of_files(paths), strict=True))
        return [
            digest_array(file.read())
            if file.path is None
            else of_file[file.path] + (f"/{file.part}" if file.part else "")
            for file in self.files
        ]


def remembered_file(
    known: Remembered, path: Path, read: Callable[[], np.ndarray]
) -> TseFile | None:
    """Describes a `.npy` file that has not changed since `FileSource.remember` noted it."""
    name = str(path)
    now = known.now(name)
    match = None if now is None else _FACT.fullmatch(now[2])
    if now is None or match is None:
        return None
    stored, finite = match[3], match[5]
    length, num_features, start = int(match[1]), int(match[2]), int(match[4])
    dtype = _FLOAT16 if stored == "float16" else _FLOAT32
    if start >= 0 and start + length * num_features * dtype.itemsize != now[0]:
        return None  # whoever wrote that does not know the file
    return TseFile(
        name,
        length,
        num_features,
        dtype,
        read,
        sys.intern(stored),
        path,
        start=start,
        size=now[0],
        mtime_ns=now[1],
        finite=finite == "1",
    )


def _read_unchanged(file: TseFile, out: np.ndarray) -> bool:
    """Reads the numbers of a file that is as its header said; False where it is not, or gone."""
    try:
        descriptor = os.open(str(file.path), os.O_RDONLY)
    except OSError:
        return False  # what reads it whole says what is wrong
    try:
        status = os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            return False
        return os.preadv(descriptor, [as_bytes(out)], file.start) == out.nbytes
    except OSError:
        return False
    finally:
        os.close(descriptor)


def as_bytes(array: np.ndarray) -> memoryview:
    """The memory of a contiguous array, to be read into."""
    return array.reshape(-1).view(np.uint8).data


def conversion_note(files: Sequence[TseFile]) -> str:
    """Returns what a report must say on files that are not read as they are stored; or empty."""
    counts = Counter(file.stored for file in files if file.stored not in ("", str(file.dtype)))
    parts = [f"{count} of {len(files)} sequences are stored as {t}" for t, count in counts.items()]
    return " and ".join(parts) + ", read as float32" if parts else ""
