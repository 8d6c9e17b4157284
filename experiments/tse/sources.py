"""Where the sequences of a split come from: files read when asked for, or arrays in memory.

A TSE (temporal sequence of embeddings) is a `[T, N_f]` array: T frames of one video, N_f features
each. Shapes are checked when a source is made, numbers when a sequence is read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Digests, digest_array


def check_tse(array: np.ndarray, name: str) -> np.ndarray:
    """Returns `array` as a TSE: `[T, N_f]`, T and N_f >= 1, float16 or float32, finite.

    Args:
        array: what was read; wider floating point becomes float32.
        name: file or id for the message.

    Raises:
        UserError: it cannot be one; the message begins with `name`.
    """
    dtype = check_tse_header(array.shape, array.dtype, name)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is refused
        converted = array.astype(dtype, copy=False)
    finite = np.isfinite(converted)
    if not finite.all():
        frame, feature = np.argwhere(~finite)[0]
        what = "NaN or infinite"
        if np.isfinite(array).all():
            what = f"beyond {np.finfo(dtype).max:.3g}, the largest {dtype}"
        raise UserError(
            f"{name}: {finite.size - finite.sum()} of {finite.size} values are {what}, "
            f"the first at frame {frame}, feature {feature}"
        )
    return converted


def check_tse_header(shape: tuple[int, ...], dtype: np.dtype, name: str) -> np.dtype:
    """Returns the type that a TSE of this shape and stored type is read as.

    Returns:
        float16 and float32 as they are, float32 for wider floating point.

    Raises:
        UserError: they are not those of a TSE; the message begins with `name`.
    """
    if dtype.kind != "f":
        raise UserError(
            f"{name}: must be floating point (float16, float32 or float64), got {dtype}; convert "
            "the file"
        )
    if len(shape) != 2:
        raise UserError(f"{name}: must be [frames, features], got shape {shape}")
    if shape[0] < 1 or shape[1] < 1:
        raise UserError(f"{name}: needs at least one frame and one feature, got shape {shape}")
    return np.dtype(np.float16 if dtype.itemsize == 2 else np.float32)


class TseSource(Protocol):
    """The sequences of a split: a sequence of `[T_i, N_f]` arrays that knows more without reading.

    Attributes:
        dtype: the type that holds every sequence without loss, float16 or float32.
        num_features: N_f, the same for all.
        lengths: int32 [N], number of frames T_i.
    """

    dtype: np.dtype
    num_features: int
    lengths: np.ndarray

    def __len__(self) -> int:
        """Number of sequences."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The sequence `[T, N_f]`."""

    def digests(self, known: Digests) -> list[str]:
        """What tells the content of each sequence from others, see `Digests`."""


class TseFile(NamedTuple):
    """One sequence on disk, as its header describes it.

    Attributes:
        name: file (and id, where a file holds several), for messages.
        length: number of frames T.
        num_features: N_f.
        dtype: of the array that `read` returns, float16 or float32.
        read: reads the array.
        stored: the type on disk.
        path: the file; None for one that only `read` knows.
        part: which of several sequences in the file.
    """

    name: str
    length: int
    num_features: int
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    stored: str = ""
    path: Path | None = None
    part: str = ""


class FileSource:
    """Sequences that are read from disk, and checked, each time they are asked for."""

    def __init__(self, files: Sequence[TseFile]):
        """Takes the files, one for each sequence.

        Raises:
            UserError: `num_features` differs between files.
        """
        self.files = tuple(files)
        self.num_features = common_num_features([(f.name, f.num_features) for f in self.files])
        self.lengths = np.array([f.length for f in self.files], np.int32)
        self.dtype = _common_dtype({f.dtype for f in self.files})
        self._known = Digests()

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        """Reads one sequence; a UserError names the file if it is not finite or has changed."""
        file = self.files[index]
        with self._known.checked(file.path):
            array = check_tse(file.read(), file.name)
        if array.shape != (file.length, file.num_features):
            raise UserError(
                f"{file.name}: has changed: shape {array.shape} now, "
                f"{(file.length, file.num_features)} when the data set was opened"
            )
        return array

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


class ArraySource:
    """Sequences in memory, all checked on construction."""

    def __init__(self, arrays: Sequence[np.ndarray], names: Sequence[str]):
        """Takes the sequences.

        Args:
            arrays: `[T_i, N_f]` each, float16 or float32; float64 is converted.
            names: what messages call them.

        Raises:
            UserError: an array is not a finite TSE, or N_f differs.
        """
        checked = zip(arrays, names, strict=True)
        self.arrays = tuple(check_tse(np.asarray(array), name) for array, name in checked)
        widths = [a.shape[1] for a in self.arrays]
        self.num_features = common_num_features(list(zip(names, widths, strict=True)))
        self.lengths = np.array([len(a) for a in self.arrays], np.int32)
        self.dtype = _common_dtype({a.dtype for a in self.arrays})

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.arrays)

    def __getitem__(self, index: int) -> np.ndarray:
        """The sequence itself, not a copy."""
        return self.arrays[index]

    def digests(self, known: Digests) -> list[str]:
        """Digests of type, shape and numbers of each array."""
        return [digest_array(array) for array in self.arrays]


def conversion_note(files: Sequence[TseFile]) -> str:
    """Returns what a report must say on files that are not read as they are stored; or empty."""
    counts = Counter(file.stored for file in files if file.stored not in ("", str(file.dtype)))
    parts = [f"{count} of {len(files)} sequences are stored as {t}" for t, count in counts.items()]
    return " and ".join(parts) + ", read as float32" if parts else ""


def common_num_features(widths: Sequence[tuple[str, int]]) -> int:
    """Returns the number of features that all of the (name, number of features) pairs have.

    Raises:
        UserError: they differ; lists those that are not as most are.
    """
    if not widths:
        return 0
    usual = Counter(width for _, width in widths).most_common(1)[0][0]
    errors: list[Exception] = [
        UserError(f"{name}: {width} features, most files have {usual}")
        for name, width in widths
        if width != usual
    ]
    raise_all(errors, "the number of features must be the same everywhere")
    return usual


def _common_dtype(dtypes: set[np.dtype]) -> np.dtype:
    """float32 unless everything is float16."""
    return np.dtype(np.float16 if dtypes == {np.dtype(np.float16)} else np.float32)
