"""What a caller passes as an array: read once, with a message that names the argument."""

import sys
import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._types import Array, ArrayLike

# A float64 input is worth a warning where its rounding to float32 is more than this part of the
# range of a feature.
_WORTH_SAYING = 1e-4


def as_array(value: ArrayLike | Sequence, name: str) -> Array:
    """Returns `value` as an array of jax.

    Raises:
        TypeError: None, or what does not consist of numbers.
        ValueError: sequences of different lengths in a list.
    """
    if isinstance(value, jax.Array):
        return value
    if holds_traced(value):
        return jnp.asarray(value)
    array = as_numpy(value, name)
    if array.dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        _warn_of_rounding(array, name)
        array = _to_float32(array)
    return jnp.asarray(array)


def as_numpy(value: ArrayLike | Sequence, name: str) -> np.ndarray:
    """Returns a concrete `value` as an array of numbers of NumPy; raises like `as_array`."""
    if value is None:
        raise TypeError(f"{name} must be an array, got None")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(
            f"{name} has masked entries, which would count as values; fill them, e.g. "
            f"{name}.filled(np.nan)"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise _ragged(name) from None
        raise ValueError(f"{name} cannot be read as an array: {error}") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error
    if array.dtype == object:
        first = next(iter(array.flat), None)
        if isinstance(first, (np.ndarray, list, tuple)):
            raise _ragged(name)
        odd = next((x for x in array.flat if not isinstance(x, (int, float, np.number))), first)
        raise TypeError(
            f"{name} must consist of numbers, got dtype object with an entry {odd!r:.40}; convert "
            f"it first, e.g. {name}.astype(np.float32)"
        )
    if array.dtype != bool and not jnp.issubdtype(array.dtype, np.number):
        raise TypeError(
            f"{name} must consist of numbers, got dtype {array.dtype}; convert it first"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # no such thing in jax
        array = array.astype(np.float64)
    if array.dtype.kind == "c" and array.dtype.itemsize > 16:
        array = array.astype(np.complex128)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _ragged(name: str) -> ValueError:
    return ValueError(
        f"{name} is a list of arrays of different lengths; make one array of them first: "
        "array, lengths = tempalign.pad(list)"
    )


def holds_traced(value: object) -> bool:
    """Whether it is a traced array, or a list with one in it."""
    if isinstance(value, (list, tuple)):
        return any(map(holds_traced, value))
    return isinstance(value, jax.core.Tracer)


def _to_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return array.astype(np.float32)


def _warn_of_rounding(array: np.ndarray, name: str) -> None:
    """Says so where float32 loses what tells the entries of a feature apart."""
    if array.size < 2:
        return
    columns = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)
    # Not `warnings.catch_warnings`, which makes Python forget what it has said once already.
    with np.errstate(all="ignore"):
        low, high = np.fmin.reduce(columns), np.fmax.reduce(columns)  # beside NaN
        if np.any(np.isinf(low) | np.isinf(high)):  # padding: look at the rest
            finite = np.where(np.isfinite(columns), columns, np.nan)
            low, high = np.fmin.reduce(finite), np.fmax.reduce(finite)
        spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
        # The largest rounding there can be, before the one that there is.
        suspect = (size * 2.0**-24 > _WORTH_SAYING * spread) | (size > np.finfo(np.float32).max)
        suspect &= spread > 0
        if not np.any(suspect):
            return
        columns, spread = columns[:, suspect], spread[suspect]
        lost = np.abs(_to_float32(columns).astype(np.float64) - columns)
        lost = np.where(np.isfinite(columns), lost, 0).max(axis=0)
    if np.any(lost > _WORTH_SAYING * spread):
        worst = int(np.argmax(lost / spread))
        warnings.warn(
            f"{name} is float64 and computed in float32, which rounds it by up to "
            f"{lost[worst]:.2g} where its values span {spread[worst]:.2g}. Subtract an offset "
            f"first, or enable float64: jax.config.update('jax_enable_x64', True)",
            UserWarning,
            stacklevel=_depth_of_the_caller(),
        )


def _depth_of_the_caller() -> int:
    """How many frames up the code is that called this library."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tempalign"):
        frame, depth = frame.f_back, depth + 1
    return depth
