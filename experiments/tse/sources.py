"""Where the sequences of a split come from: what every source can do, and arrays in memory.

A TSE (temporal sequence of embeddings) is a `[T, N_f]` array: T frames of one video, N_f features
each. Shapes are checked when a source is made.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Digests, digest_array
from experiments.shared.remembered import Remembered


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
    if not all_finite(converted):
        finite = np.isfinite(converted)
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


def all_finite(array: np.ndarray) -> bool:
    """Returns whether float16 or float32 numbers are all finite.

    By their bits: NumPy's own float16 goes number by number, and takes ten times as long.
    """
    if array.itemsize == 2:
        return bool((array.view(np.int16) & np.int16(0x7FFF)).max() < 0x7C00)
    return bool((array.view(np.int32) & np.int32(0x7FFFFFFF)).max() < 0x7F800000)


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

    def fill(self, rows: Sequence[int], x: np.ndarray) -> None:
        """Writes sequence `rows[i]` to the first frames of `x[i]`; what is behind them stays."""

    def take(self, rows: Sequence[int] | np.ndarray) -> "TseSource":
        """The source of these sequences alone."""

    def unchecked(self) -> np.ndarray:
        """Which sequences may still prove to be damaged when they are read: indices."""

    def check(self, index: int) -> None:
        """Reads one sequence as thoroughly as the source can, so that it is not checked again."""

    def remember(self, known: Remembered) -> None:
        """Notes what need not be read or checked again while the files stay as they are."""

    def digests(self, known: Digests) -> list[str]:
        """What tells the content of each sequence from others, see `Digests`."""


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

    def fill(self, rows: Sequence[int], x: np.ndarray) -> None:
        """Writes sequence `rows[i]` to the first frames of `x[i]`."""
        for i, row in enumerate(rows):
            x[i, : self.lengths[row]] = self.arrays[row]

    def take(self, rows: Sequence[int] | np.ndarray) -> "ArraySource":
        """The source of these sequences alone."""
        return ArraySource([self.arrays[row] for row in rows], [str(row) for row in rows])

    def unchecked(self) -> np.ndarray:
        """None: all were checked on construction."""
        return np.arange(0)

    def check(self, index: int) -> None:
        """Nothing is left to check."""

    def remember(self, known: Remembered) -> None:
        """There are no files."""

    def digests(self, known: Digests) -> list[str]:
        """Digests of type, shape and numbers of each array."""
        return [digest_array(array) for array in self.arrays]


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
