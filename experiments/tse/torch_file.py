"""Reads tensors out of `torch.save` files without torch and without running what they name.

A file of `torch.save` (zip format, the default since torch 1.6) holds `<root>/data.pkl`, a pickle
whose tensors are calls of `torch._utils._rebuild_tensor_v2` on persistent ids, the raw storages
`<root>/data/<key>`, and `<root>/byteorder`. Shapes, strides and sizes are known from the pickle and
the zip directory, so a data set can be checked without reading its numbers.
"""

import math
import operator
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.shared.archives import check_expanded
from experiments.shared.errors import MissingFileError, UserError
from experiments.tse.plain_pickle import PlainUnpickler, RefusedError, checked_load

_STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

_LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The magic number that the format before torch 1.6 begins with."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OSError,  # a damaged offset is a seek to nowhere
    NotImplementedError,
    RuntimeError,
    MemoryError,
    ValueError,
)
"""What `zipfile` raises on damaged files."""


class _Storage(NamedTuple):
    """A raw storage of the file: its zip member, number type and number of elements."""

    member: str
    dtype: str
    num_elements: int


class StoredTensor(NamedTuple):
    """Where a tensor lies in a `torch.save` file.

    A tuple, because a pickle can rewrite the attributes of an object that has a `__dict__`.

    Attributes:
        shape: the tensor's shape.
        strides: elements to skip for one step along each axis.
        offset: first element in the storage.
        dtype: `"float32"`, `"float16"`, `"float64"`, `"bfloat16"` or an integer type.
        member: name of the zip member with the storage.
        byteorder: `"<"` or `">"`.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: str
    member: str
    byteorder: str


def tensor_headers(path: Path | str) -> StoredTensor | dict[Any, Any]:
    """Returns what a `torch.save` file holds, without reading the numbers.

    Args:
        path: a file written by `torch.save` of a tensor, a parameter, or a dict of them.

    Returns:
        A `StoredTensor`, or the dict with a `StoredTensor` in place of each tensor.

    Raises:
        MissingFileError: no such file.
        UserError: not such a file, a cut one, the format before torch 1.6, a pickle that names
            anything but tensors and plain data, or one that would take far more memory than it has
            bytes: compressed, or with tensors larger than their storages.
    """
    path = Path(path)
    with _open_zip(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        pickles = [name for name in sizes if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{path}: a zip file, but not one of torch.save (no data.pkl in it)")
        root = pickles[0].removesuffix("data.pkl")
        byteorder = "<"  # files without the member are from before 2.1 and little-endian
        if f"{root}byteorder" in sizes:
            byteorder = ">" if archive.read(f"{root}byteorder").strip() == b"big" else "<"

        def storage(pid: Any) -> _Storage:
            # ('storage', storage class, key, device, number of elements)
            kind, storage_class, key, _, count = pid
            dtype, num_elements = storage_class(), operator.index(count)
            if kind != "storage" or not isinstance(dtype, str):
                raise RefusedError("it refers to something that is not a storage")
            member = f"{root}data/{key}"
            needed = num_elements * _raw_dtype(dtype).itemsize
            if sizes.get(member, -1) < needed:
                raise RefusedError(
                    f"a storage has {sizes.get(member, 0)} bytes, {needed} are needed"
                )
            return _Storage(member, dtype, num_elements)

        def tensor(source: _Storage, offset: int, shape: Any, strides: Any, *rest: Any):
            # The rest: requires_grad, backward hooks, metadata (conjugate and negative bits).
            header = StoredTensor(
                shape=tuple(map(operator.index, shape)),
                strides=tuple(map(operator.index, strides)),
                offset=operator.index(offset),
                dtype=source.dtype,
                member=source.member,
                byteorder=byteorder,
            )
            if not _lies_within(header, source.num_elements):
                raise RefusedError(f"a tensor of shape {header.shape} leaves its storage")
            if math.prod(header.shape) > source.num_elements:
                raise RefusedError(
                    f"a tensor of shape {header.shape} has more elements than its storage "
                    f"({source.num_elements}), as torch's expand makes them; save its clone()"
                )
            if len(rest) > 2 and rest[2]:
                raise RefusedError("a tensor has metadata (conjugate, negative), which is not read")
            return header

        def parameter(data: StoredTensor, *_: Any) -> StoredTensor:
            return data

        names: dict[str, Any] = {
            f"torch.{name}": (lambda dtype=dtype: dtype) for name, dtype in _STORAGE_DTYPES.items()
        }
        names["torch._utils._rebuild_tensor_v2"] = tensor
        names["torch._utils._rebuild_parameter"] = parameter
        with archive.open(pickles[0]) as file:
            unpickler = PlainUnpickler(file, extra_globals=names, persistent_load=storage)
            value = checked_load(unpickler, str(path))
    if not isinstance(value, StoredTensor | dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not a tensor or a dict of them")
    return value


def read_tensor(path: Path | str, header: StoredTensor) -> np.ndarray:
    """Reads one tensor of a `torch.save` file.

    Args:
        path: the file.
        header: where the tensor lies, from `tensor_headers`.

    Returns:
        An array of the tensor's shape, C-contiguous and in the machine's byte order; bfloat16
        becomes float32, which is exact.

    Raises:
        MissingFileError: no such file.
        UserError: the file is damaged or no longer the one that the header was read from.
    """
    with _open_zip(Path(path)) as archive:
        raw = archive.read(header.member)
    stored = _raw_dtype(header.dtype, header.byteorder)
    flat = np.frombuffer(raw, stored, len(raw) // stored.itemsize)
    if not _lies_within(header, flat.size) or math.prod(header.shape) > flat.size:
        raise UserError(f"{path}: changed since its header was read; start again")
    view = np.lib.stride_tricks.as_strided(
        flat[header.offset :],
        header.shape,
        tuple(s * stored.itemsize for s in header.strides),
        writeable=False,
    )
    values = view.astype(stored.newbyteorder("="), order="C")
    if header.dtype == "bfloat16":  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _lies_within(header: StoredTensor, num_elements: int) -> bool:
    """Tells whether every element of a view lies in a storage of so many elements."""
    if len(header.shape) != len(header.strides):
        return False
    if min((header.offset, *header.shape, *header.strides)) < 0:
        return False
    if math.prod(header.shape) == 0:
        return header.offset <= num_elements
    last = sum((n - 1) * s for n, s in zip(header.shape, header.strides, strict=True))
    return header.offset + last < num_elements


def _raw_dtype(dtype: str, byteorder: str = "<") -> np.dtype:
    """Returns the NumPy type of a storage's bytes; bfloat16 is read as uint16."""
    code = np.dtype("uint16" if dtype == "bfloat16" else dtype).str[1:]
    return np.dtype(byteorder + code)


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a file of `torch.save`; what the zip reader objects to is a UserError naming it."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            if file.read(len(_LEGACY_START)) == _LEGACY_START:
                raise UserError(
                    f"{path}: the torch.save format from before torch 1.6; load it and save it "
                    "again with a current torch"
                )
        with zipfile.ZipFile(path) as archive:
            check_expanded(archive, path)  # torch.save does not compress
            yield archive
    except UserError:
        raise
    except _ZIP_ERRORS as error:  # the text of which may repeat names in the file
        raise UserError(
            f"{path}: not a file of torch.save, or a truncated or damaged one "
            f"({type(error).__name__})"
        ) from error
