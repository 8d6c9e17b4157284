"""Where the sequences of a split come from: files read when asked for, or arrays in memory.

A TSE (temporal sequence of embeddings) is a `[T, N_f]` array: T frames of one video, N_f features
each. Shapes are checked when a source is made, numbers when a sequence is read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

_MAX_LISTED = 5


def raise_all(errors: Sequence[Exception], what: str) -> None:
    """Raises one error that lists up to five of `errors` and their number; nothing if none.

    Args:
        errors: what was found, each message naming the file or id.
        what: begins the message: the file or data set that was checked.

    Raises:
        FileNotFoundError: all of `errors` are of that kind.
        ValueError: otherwise.
    """
    if not errors:
        return
    lines = [f"  {error}" for error in errors[:_MAX_LISTED]]
    if len(errors) > _MAX_LISTED:
        lines.append(f"  ... and {len(errors) - _MAX_LISTED} more")
    plural = "s" if len(errors) > 1 else ""
    only_missing = all(isinstance(error, FileNotFoundError) for error in errors)
    kind = FileNotFoundError if only_missing else ValueError
    raise kind("\n".join([f"{what}: {len(errors)} problem{plural}", *lines]))


def check_tse(array: np.ndarray, name: str) -> np.ndarray:
    """Returns `array` if it is a TSE: `[T, N_f]`, T and N_f >= 1, float16 or float32, finite.

    Args:
        array: what was read.
        name: file or id for the message.

    Raises:
        ValueError: otherwise; the message begins with `name`.
    """
    check_tse_header(array.shape, array.dtype, name)
    finite = np.isfinite(array)
    if not finite.all():
        frame, feature = np.argwhere(~finite)[0]
        raise ValueError(
            f"{name}: {finite.size - finite.sum()} of {finite.size} values are NaN or infinite, "
            f"the first at frame {frame}, feature {feature}"
        )
    return array


def check_tse_header(shape: tuple[int, ...], dtype: np.dtype, name: str) -> None:
    """Raises ValueError, beginning with `name`, unless shape and dtype are those of a TSE."""
    if len(shape) != 2:
        raise ValueError(f"{name}: must be [frames, features], got shape {shape}")
    if shape[0] < 1 or shape[1] < 1:
        raise ValueError(f"{name}: needs at least one frame and one feature, got shape {shape}")
    if dtype not in (np.float16, np.float32):
        raise ValueError(f"{name}: must be float16 or float32, got {dtype}; convert the file")


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


class TseFile(NamedTuple):
    """One sequence on disk, as its header describes it.

    Attributes:
        name: file (and id, where a file holds several), for messages.
        length: number of frames T.
        num_features: N_f.
        dtype: of the array that `read` returns.
        read: reads the array.
    """

    name: str
    length: int
    num_features: int
    dtype: np.dtype
    read: Callable[[], np.ndarray]


class FileSource:
    """Sequences that are read from disk, and checked, each time they are asked for."""

    def __init__(self, files: Sequence[TseFile]):
        """Takes the files, one for each sequence.

        Raises:
            ValueError: `num_features` differs between files.
        """
        self.files = tuple(files)
        self.num_features = common_num_features([(f.name, f.num_features) for f in self.files])
        self.lengths = np.array([f.length for f in self.files], np.int32)
        self.dtype = _common_dtype({f.dtype for f in self.files})

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        """Reads one sequence; ValueError names the file if it is not finite or has changed."""
        file = self.files[index]
        array = check_tse(file.read(), file.name)
        if array.shape != (file.length, file.num_features):
            raise ValueError(
                f"{file.name}: has changed: shape {array.shape} now, "
                f"{(file.length, file.num_features)} when the data set was opened"
            )
        return array


class ArraySource:
    """Sequences in memory, all checked on construction."""

    def __init__(self, arrays: Sequence[np.ndarray], names: Sequence[str]):
        """Takes the sequences.

        Args:
            arrays: `[T_i, N_f]` each, float16 or float32.
            names: what messages call them.

        Raises:
            ValueError: an array is not a finite TSE, or N_f differs.
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


def common_num_features(widths: Sequence[tuple[str, int]]) -> int:
    """Returns the number of features that all of the (name, number of features) pairs have.

    Raises:
        ValueError: they differ; lists those that are not as most are.
    """
    if not widths:
        return 0
    usual = Counter(width for _, width in widths).most_common(1)[0][0]
    errors = [
        ValueError(f"{name}: {width} features, most files have {usual}")
        for name, width in widths
        if width != usual
    ]
    raise_all(errors, "the number of features must be the same everywhere")
    return usual


def _common_dtype(dtypes: set[np.dtype]) -> np.dtype:
    """float32 unless everything is float16."""
    return np.dtype(np.float16 if dtypes == {np.dtype(np.float16)} else np.float32)
