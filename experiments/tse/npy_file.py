"""Reads `.npy` files of numbers; whatever is wrong with one is a message that names it.

NumPy reads the header of such a file as Python source, and a damaged one makes Python's tokenizer
and compiler raise nearly anything. The few forms that headers of plain numbers have are matched
here instead, and the size that the header asks for is compared with that of the file before any
memory is taken.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.remembered import Remembered
from experiments.tse.sources import check_tse, check_tse_header
from experiments.tse.stored import TseFile, remembered_file

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # as NumPy's own limit; those of plain numbers have about a hundred bytes

# {'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }, in any order; Python 2 wrote 5L.
_ENTRY = re.compile(
    r"""\s*(?:
        (['"])descr\1\s*:\s*(['"])(?P<descr>[<>=|]?[A-Za-z?][0-9]{0,8})\2
      | (['"])fortran_order\4\s*:\s*(?P<fortran>True|False)
      | (['"])shape\6\s*:\s*\((?P<shape>[0-9L,\ ]*)\)
    )\s*(?:,|$)""",
    re.VERBOSE,
)
_NUMBER = re.compile(r" *([0-9]{1,18})L? *")


class _Header(NamedTuple):
    """What a header says, and where the numbers begin."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    start: int


def read_npy(path: Path | str) -> np.ndarray:
    """Reads one TSE.

    Args:
        path: the file.

    Returns:
        `[T, N_f]`, float16 or float32, all finite; wider floating point becomes float32.

    Raises:
        MissingFileError: no such file.
        UserError: not a `.npy` file, a truncated one, or not a finite TSE; names the file.
    """
    with _opened(path) as file:
        header = _read_header(file, str(path))
        check_tse_header(header.shape, header.dtype, str(path))
        return check_tse(_read_numbers(file, header), str(path))


def read_array(path: Path | str) -> np.ndarray:
    """Reads an array of any shape of numbers or booleans.

    Raises:
        MissingFileError: no such file.
        UserError: not a `.npy` file of numbers, or a truncated one; names the file.
    """
    with _opened(path) as file:
        header = _read_header(file, str(path))
        if header.dtype.kind not in "biuf":
            raise UserError(f"{path}: must hold numbers, got {header.dtype}")
        return _read_numbers(file, header)


def open_npy(path: Path, known: Remembered | None = None) -> TseFile:
    """Describes the TSE in a `.npy` file by its header, without reading the numbers.

    Args:
        path: the file.
        known: what need not be read again, see `FileSource.remember`.

    Raises:
        MissingFileError: no such file.
        UserError: not a `.npy` file, its size is not what its header says, or the header is not
            that of a TSE; names the file.
    """
    name = str(path)
    read = partial(read_array, name)
    found = remembered_file(known, path, read) if known is not None else None
    if found is not None:
        return found
    with _opened(name) as file:
        header = _read_header(file, name)
        status = os.fstat(file.fileno())
    dtype = check_tse_header(header.shape, header.dtype, name)
    is_plain = header.dtype == dtype and not header.fortran_order and hasattr(os, "preadv")
    length, num_features = header.shape
    return TseFile(
        name,
        length,
        num_features,
        dtype,
        read,
        str(header.dtype.newbyteorder("=")),
        path,
        start=header.start if is_plain else -1,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


@contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """Opens a file; what the system objects to, then or later, is a UserError naming it."""
    if not os.path.isfile(path):
        raise MissingFileError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory") from error


def _read_header(file: BinaryIO, name: str) -> _Header:
    """Reads and checks the header, and the size of the file against it."""
    fixed = file.read(8)
    if fixed[:6] != _MAGIC or len(fixed) < 8:
        raise UserError(f"{name}: not a .npy file")
    if fixed[6] not in (1, 2, 3):
        raise UserError(f"{name}: a .npy file of the unknown version {fixed[6]}")
    width = 2 if fixed[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    start = 8 + width + length
    size = os.fstat(file.fileno()).st_size
    if length > _LONGEST_HEADER or start > size:
        raise UserError(f"{name}: truncated, or its header is damaged")
    parsed = _parse(file.read(length))
    if parsed is None:
        raise UserError(f"{name}: its header is damaged, or not that of an array of numbers")
    shape, fortran_order, dtype = parsed
    if dtype.hasobject:
        raise UserError(f"{name}: must hold numbers, got objects")
    expected = start + math.prod(shape) * dtype.itemsize
    if size != expected:
        kind = "truncated" if size < expected else "longer than its header says"
        raise UserError(f"{name}: {kind}: {size} bytes, expected {expected} for shape {shape}")
    return _Header(shape, fortran_order, dtype, start)


def _parse(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype] | None:
    """Returns what a header says, None where it is not one of plain numbers."""
    text = header.decode("latin1").strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    entries, place = text[1:-1].rstrip(), 0
    found: dict[str, str] = {}
    while place < len(entries):
        match = _ENTRY.match(entries, place)
        if match is None:
            return None
        (key, value), *_ = [item for item in match.groupdict().items() if item[1] is not None]
        if key in found:
            return None
        found[key], place = value, match.end()
    if len(found) < 3:
        return None
    sides = found["shape"].split(",")
    is_tuple = len(sides) > 1 or not sides[0].strip()  # (5) is none, (5,) and () are
    if not sides[-1].strip():
        sides.pop()
    numbers = [_NUMBER.fullmatch(side) for side in sides]
    try:
        dtype = np.dtype(found["descr"])
    except (TypeError, ValueError):
        return None
    shape = [int(number[1]) for number in numbers if number]
    if not is_tuple or len(shape) < len(numbers):
        return None
    return tuple(shape), found["fortran"] == "True", dtype


def _read_numbers(file: BinaryIO, header: _Header) -> np.ndarray:
    """Reads the numbers in the machine's byte order; the size of the file is known to fit."""
    file.seek(header.start)
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    try:
        array = np.fromfile(file, header.dtype).reshape(header.shape, order=order)
    except ValueError as error:  # more axes than NumPy has, or another size by now
        raise UserError(f"{file.name}: cannot be read as an array of {header.shape}") from error
    return array.astype(header.dtype.newbyteorder("="), copy=False)
