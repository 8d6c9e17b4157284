"""Series of different lengths: to one array and back, and without the frames that are missing."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine import checks
from tempalign._engine.arrays import as_numpy, holds_traced
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array, ArrayLike


class Padded(NamedTuple):
    """Series side by side.

    Attributes:
        values: ``[N, T, F]``.
        lengths: int32 ``[N]``, true numbers of frames.
    """

    values: np.ndarray
    lengths: np.ndarray


class Selected(NamedTuple):
    """Frames that are there, moved together.

    Attributes:
        values: ``[..., T, F]``, 0 past the lengths.
        lengths: int32 ``[...]``, how many there are.
        positions: int32 ``[..., T]``, which frame each of them was; T past the lengths.
    """

    values: Array
    lengths: Array
    positions: Array


def pad(
    series: Sequence[ArrayLike] | np.ndarray,
    *,
    length: int | Sequence[int] | None = None,
    fill: float = 0.0,
) -> Padded:
    """Makes one array of series of different lengths.

    On the host, with NumPy: under ``jit`` the result's shape would be unknown. Each new T is
    compiled anew where functions are called with it; give several to `length` to have few.

    Args:
        series: N arrays ``[T_i, F]`` of at least one frame; or one array ``[N, T, F]`` whose series
            end in frames of NaN (tslearn's form), which are taken for padding.
        length: T of the result. Several: the least of them that suffices, for instance
            ``[2**k for k in range(4, 13)]``. None: the longest series.
        fill: what stands past the lengths. NaN makes tslearn's form.

    Returns:
        ``values [N, T, F]`` and ``lengths [N]``, arrays of NumPy; of the widest dtype among the
        series.

    Raises:
        ValueError: no series, one without frames, different numbers of features, or a `length`
            that is too short.
        TypeError: a series that is traced or not floating point; a `length` of another kind.

    Example:
        >>> import numpy as np, tempalign
        >>> batch, lengths = tempalign.pad([np.ones((3, 2)), np.ones((1, 2))], length=[4, 8])
        >>> batch.shape, lengths.tolist()
        ((2, 4, 2), [3, 1])
    """
    if holds_traced(series):
        raise TypeError("pad works on the host, outside of jit: series must not be traced")
    one_array = False
    if isinstance(series, (np.ndarray, jax.Array)) and series.dtype != object:
        one_array = True
        if series.ndim != 3:
            raise ValueError(
                "series must be a list of arrays [T_i, F] or one array [N, T, F], got "
                f"{series.shape}"
            )
    read = [_series(one, f"series[{k}]") for k, one in enumerate(series)]
    if not read:
        raise ValueError("series must hold at least one series, got none")
    if one_array:
        read = [_without_nan_at_the_end(one, f"series[{k}]") for k, one in enumerate(read)]
    features = read[0].shape[1]
    for k, one in enumerate(read):
        if one.shape[1] != features:
            raise ValueError(
                f"series must have the same number of features, got {features} in series[0] and "
                f"{one.shape[1]} in series[{k}]"
            )
    lengths = np.array([len(one) for one in read], np.int32)
    shape = (len(read), _padded_length(length, int(lengths.max())), features)
    values = np.full(shape, fill, np.result_type(*read))
    for row, one in zip(values, read, strict=True):
        row[: len(one)] = one
    return Padded(values, lengths)


def unpad(values: ArrayLike, lengths: ArrayLike) -> list[np.ndarray]:
    """The series of a padded array, each of its own length; the inverse of `pad`.

    Args:
        values: ``[N, T, ...]``: series, or per-frame results.
        lengths: integers ``[N]``.

    Returns:
        N arrays ``[lengths[i], ...]``.

    Raises:
        ValueError: shapes that do not fit, lengths outside 1..T.
        TypeError: traced arrays, lengths that are not integers.

    Example:
        >>> import numpy as np, tempalign
        >>> [one.shape for one in tempalign.unpad(np.zeros((2, 4, 3)), [4, 1])]
        [(4, 3), (1, 3)]
    """
    if holds_traced(values) or holds_traced(lengths):
        raise TypeError("unpad works on the host, outside of jit: its arguments must not be traced")
    array = as_numpy(values, "values")
    if array.ndim < 2:
        raise ValueError(f"values must have shape [N, T, ...], got {array.shape}")
    true = np.asarray(checks.lengths(lengths, array.shape[1], "lengths"))
    if true.shape != array.shape[:1]:
        raise ValueError(f"lengths must have shape {array.shape[:1]} (series), got {true.shape}")
    return [row[:count] for row, count in zip(array, true, strict=True)]


@in_our_modes
def select_frames(
    x: ArrayLike, present: ArrayLike, *, lengths: ArrayLike | None = None
) -> Selected:
    """Leaves out the frames that are missing, wherever they are.

    What is left moves together at the front and goes with its lengths to every function that takes
    lengths: what it gives is that of the series without those frames. May be jitted, mapped and
    differentiated; gradients come to the frames that are there.

    Args:
        x: ``[..., T, F]``; what stands in missing frames (NaN and inf included) changes nothing.
        present: boolean ``[..., T]`` that broadcasts to x's axes, True for a frame that is there.
        lengths: true lengths of x, integers that broadcast to its leading axes; frames past them
            are missing. None: T.

    Returns:
        Values, lengths and positions, see `Selected`. A series without any frame has length 0:
        traced, what is made of it is NaN.

    Raises:
        ValueError: shapes that do not fit, lengths outside 1..T, a series with no frame at all
            (where concrete).
        TypeError: `present` that is not boolean, x that is not floating point.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x = jnp.array([[0.0], [jnp.nan], [2.0]])
        >>> known = tempalign.select_frames(x, ~jnp.isnan(x).any(-1))
        >>> known.positions.tolist()
        [0, 2, 3]
        >>> float(tempalign.dtw(known.values, x[::2], x_lengths=known.lengths))
        0.0
    """
    sequences = checks.sequence(x, "x")
    frames = sequences.shape[-2]
    there = present if isinstance(present, jax.Array) else as_numpy(present, "present")
    if there.dtype != bool:
        raise TypeError(f"present must be boolean, got dtype {there.dtype}")
    kept = checks.broadcast_to(
        jnp.asarray(there), sequences.shape[:-1], "present", "leading axes and frames of x"
    )
    true = checks.lengths(lengths, frames, "lengths")
    if true is not None:
        last = checks.broadcast_to(
            jnp.asarray(true), sequences.shape[:-2], "lengths", "leading axes of x"
        )
        # A traced length that is out of range leaves nothing.
        last = jnp.where(checks.in_range(last, frames), last, 0)
        kept &= jnp.arange(frames) < last[..., None]
    count = jnp.sum(kept, axis=-1, dtype=jnp.int32)
    if not isinstance(count, jax.core.Tracer) and count.size and int(jnp.min(count)) == 0:
        where = tuple(int(k) for k in np.argwhere(np.asarray(count) == 0)[0])
        raise ValueError(
            "present must leave at least one frame of each series"
            + (f", but leaves none at leading index {where}" if where else "")
        )
    order = jnp.argsort(~kept, axis=-1, stable=True).astype(jnp.int32)
    inside = jnp.arange(frames) < count[..., None]
    values = jnp.take_along_axis(sequences, order[..., None], axis=-2)
    return Selected(
        jnp.where(inside[..., None], values, 0), count, jnp.where(inside, order, frames)
    )


def _series(value: ArrayLike, name: str) -> np.ndarray:
    array = as_numpy(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be floating point, got dtype {array.dtype}; convert it first, e.g. "
            ".astype(np.float32)"
        )
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must have shape [T, F] (frames, features) with at least one of each, got "
            f"{array.shape}" + ("; write x[:, None] for one feature" if array.ndim == 1 else "")
        )
    return array


def _without_nan_at_the_end(series: np.ndarray, name: str) -> np.ndarray:
    known = np.flatnonzero(~np.all(np.isnan(series), axis=-1))
    if not known.size:
        raise ValueError(f"{name} has no frame: all are NaN")
    return series[: known[-1] + 1]


def _padded_length(length: int | Sequence[int] | None, longest: int) -> int:
    if length is None:
        return longest
    allowed = length if isinstance(length, Iterable) else [length]
    sizes = sorted(checks.positive_int(size, "length") for size in allowed)
    enough = next((size for size in sizes if size >= longest), None)
    if enough is None:
        raise ValueError(f"length must hold the longest series, of {longest} frames, got {length}")
    return enough
