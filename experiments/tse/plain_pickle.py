"""Unpickles plain data only: a pickle that wants to call anything else is refused by name.

`pickle.load` runs whatever the file asks for. The files read here come from other people, so the
unpickler below resolves a short list of names, none of them to the real thing: each name stands for
a harmless function of ours that builds the same plain value.
"""

import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from experiments.shared.errors import MissingFileError, UserError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}")


class RefusedError(pickle.UnpicklingError):
    """A pickle asks for something that is not plain data; the message is ours, not of the file."""


class _Allowed:
    """What an allowed name resolves to: it can be called, and nothing else."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        # The BUILD opcode sets attributes on any object of the stream, also on this one.
        raise RefusedError("it sets a state on a function")


class _ScalarType:
    """Stands for `numpy.dtype`, for number and text types only."""

    def __init__(self, spec: str, *_: Any):
        self.dtype = np.dtype(str(spec))
        if self.dtype.kind not in "biufU":
            raise RefusedError(f"it holds a NumPy scalar of type {self.dtype}")

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subtype, names, fields, size in bytes, alignment, flags)
        self.dtype = self.dtype.newbyteorder(state[1])
        if self.dtype.kind == "U":
            self.dtype = np.dtype(f"{state[1]}U{int(state[5]) // 4}")


def _scalar(kind: _ScalarType, data: bytes) -> Any:
    """Stands for `numpy.core.multiarray.scalar`: returns the Python value."""
    return np.frombuffer(data, kind.dtype, count=1)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`: protocol 2 writes bytes as latin1 text."""
    if encoding != "latin1":
        raise RefusedError(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """Stands for `bytes`, which protocol 2 calls for empty bytes only."""
    return b""


class _OrderedDict(dict):
    """Stands for `OrderedDict`; attributes are left out (torch sets `_metadata` on state dicts)."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


PLAIN_GLOBALS: Mapping[str, Callable[..., Any]] = {
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.frozenset": frozenset,
    "__builtin__.frozenset": frozenset,
    "builtins.bytes": _empty_bytes,
    "__builtin__.bytes": _empty_bytes,
    "collections.OrderedDict": _OrderedDict,
    "numpy.dtype": _ScalarType,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
"""Names that plain containers and NumPy scalars need, and what builds their values here."""


class PlainUnpickler(pickle.Unpickler):
    """An unpickler of plain data: containers, text, bytes, numbers, booleans and None."""

    def __init__(
        self,
        file: IO[bytes],
        *,
        extra_globals: Mapping[str, Callable[..., Any]] | None = None,
        persistent_load: Callable[[Any], Any] | None = None,
    ):
        """Takes an open pickle.

        Args:
            file: the pickle.
            extra_globals: further `"module.name"` -> function that builds the value.
            persistent_load: resolves the persistent ids of the stream; none are allowed without.
        """
        super().__init__(file)
        self._file = file
        self._globals = {**PLAIN_GLOBALS, **(extra_globals or {})}
        self._persistent_load = persistent_load

    def load(self) -> Any:
        """Returns what the stream holds; it must be one that can be gone back in.

        The stream is gone through once before: a place in the unpickler's memory is an array
        element, and ten bytes can ask for one that takes gigabytes to reach.
        """
        start = self._file.tell()
        for count, (opcode, place, _) in enumerate(pickletools.genops(self._file)):
            if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(place, int) and place > count:
                raise RefusedError("it asks for more memory than plain data needs")
        self._file.seek(start)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for `module.name`, or refuses it."""
        full_name = f"{module}.{name}"
        if full_name not in self._globals:
            shown = f"'{full_name}'" if _NAME.fullmatch(full_name) else "something"
            raise RefusedError(f"it wants to call {shown}, which is not plain data and was not run")
        return _Allowed(self._globals[full_name])

    def persistent_load(self, pid: Any) -> Any:
        """Resolves a reference to data outside the pickle."""
        if self._persistent_load is None:
            raise RefusedError("it refers to data outside itself")
        return self._persistent_load(pid)


def load_plain_pickle(path: Path | str) -> Any:
    """Reads a pickle of plain data without running anything that it names.

    Args:
        path: the pickle; any protocol. NumPy numbers become Python numbers.

    Raises:
        MissingFileError: no such file.
        UserError: not a pickle, a cut one, or one that names anything but plain data; the message
            gives the file and the name.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            return checked_load(PlainUnpickler(file), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def checked_load(unpickler: pickle.Unpickler, what: str) -> Any:
    """Returns `unpickler.load()`; whatever goes wrong is a UserError that begins with `what`.

    What `pickle` itself says is left out: it repeats bytes of the file, which may be any.
    """
    try:
        return unpickler.load()
    except OSError:
        raise
    except RefusedError as error:
        raise UserError(f"{what}: not a readable pickle of plain data: {error}") from error
    except Exception as error:  # a damaged pickle may raise nearly anything, MemoryError included
        raise UserError(
            f"{what}: not a readable pickle of plain data, or damaged ({type(error).__name__})"
        ) from error
