"""Validation of arguments: one place, one wording.

Every check names the argument, says what it got and what is allowed. What can be known at trace
time raises ``ValueError`` (or ``TypeError`` for a wrong kind of dtype); what is only known on the
device (a traced length) turns the result into NaN, never into a plausible number.
"""

import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from tempalign._engine.arrays import as_array, as_numpy
from tempalign._types import Array, ArrayLike


def floating(value: ArrayLike, name: str) -> Array:
    """Returns `value` as a floating-point array; integers and complex numbers are refused."""
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be a floating-point array, got dtype {array.dtype}; convert it first, "
            f"e.g. {name}.astype(jnp.float32)"
        )
    return array


def sequence(value: ArrayLike, name: str) -> Array:
    """Returns `value` as a floating-point array ``[..., T, F]`` with at least one frame."""
    array = floating(value, name)
    if array.ndim < 2:
        raise ValueError(
            f"{name} must have shape [..., T, F] (frames, features), got {array.shape}; "
            f"a series of scalars needs a feature axis: {name}[..., None]"
        )
    if array.shape[-2] < 1 or array.shape[-1] < 1:
        raise ValueError(
            f"{name} must have at least one frame and one feature, got shape {array.shape}"
        )
    return array


def cost_matrix(value: ArrayLike) -> Array:
    """Returns local costs ``[..., n, m]``, in float32 at least."""
    array = floating(value, "cost_matrix")
    if array.ndim < 2 or array.shape[-2] < 1 or array.shape[-1] < 1:
        raise ValueError(
            f"cost_matrix must have shape [..., n, m] with n, m >= 1, got {array.shape}"
        )
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def same_features(x: Array, y: Array, x_name: str, y_name: str) -> None:
    """Checks that the last axes of two sequences agree."""
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"{x_name} and {y_name} must have the same number of features (last axis), got "
            f"{x_name} {x.shape} and {y_name} {y.shape}"
        )


def broadcast_shapes(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape of the named leading axes, broadcast like NumPy."""
    try:
        return jnp.broadcast_shapes(*shapes.values())  # NumPy has no symbolic sizes
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"leading axes do not broadcast: {listed}; align them with None, "
            "e.g. x[:, None] against y[None] for all pairs"
        ) from None


def broadcast_to(array: Array, shape: tuple[int, ...], name: str, target: str) -> Array:
    """Broadcasts an argument to `shape`, which is that of the `target` named in the message."""
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to {shape} ({target}), got {array.shape}"
        ) from None


def lengths(value: ArrayLike | None, num_frames: int, name: str) -> Array | None:
    """Checks lengths: integers, and within 1..`num_frames` where they are concrete.

    Returns:
        int32, in which a traced length that is out of range still is; None for None.
    """
    if value is None:
        return None
    array = value if isinstance(value, jax.core.Tracer) else as_numpy(value, name)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if isinstance(array, jax.core.Tracer) or not isinstance(num_frames, int):
        return clipped(jnp.asarray(array), num_frames)
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 1 or high > num_frames:
            raise ValueError(
                f"{name} must lie within 1..{num_frames} (the number of frames), "
                f"got values from {low} to {high}"
            )
    # Concrete ones stay NumPy's: jnp would trace them under jit, and the band go unchecked.
    return cast(Array, array.astype(np.int32))


def clipped(array: Array, most: int) -> Array:
    """Integers as int32: what is outside of 0..`most` as -1 or ``most + 1``, however wide."""
    info = jnp.iinfo(array.dtype)
    if not isinstance(most, int):  # symbolic, under `jax.export`
        return jnp.minimum(clipped(array, 2**31 - 2), most + 1)
    low, high = max(-1, int(info.min)), min(most + 1, int(info.max))
    return jnp.clip(array, low, high).astype(jnp.int32)


def integers(value: ArrayLike, name: str) -> Array:
    """Returns `value` as an array of integers; booleans and floating point are refused."""
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    return array


def classes(known: np.ndarray, count: int, name: str) -> None:
    """Checks concrete labels, on the host: under jit even a constant's minimum would be traced."""
    if not known.size:
        return
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= count:
        raise ValueError(
            f"{name} must lie within 0..{count - 1} (classes), got values from {low} to {high}"
        )


def in_range(lengths: Array, num_frames: int) -> Array:
    """Whether lengths are such as a concrete call would accept."""
    return (lengths >= 1) & (lengths <= num_frames)


def usable_lengths(lengths: Array, num_frames: int) -> Array:
    """Lengths to compute with: those out of range, whose result is NaN, as if they were full."""
    return jnp.where(in_range(lengths, num_frames), lengths, num_frames)


def nan_where(bad: Array, number: Array) -> Array:
    """`number`, and NaN where it is `bad` unless it is exactly 0; read from either end.

    For tangents: a pair whose value is NaN has a gradient of NaN, but it must not reach the other
    pairs through what they share when nobody asked for that pair: 0 times NaN would. So a
    cotangent of exactly 0 stays 0 in the transpose of this.
    """
    largest = jnp.finfo(number.dtype).max ** 0.99
    # Behind a barrier: the compiler might multiply it with itself first, and 0 times inf is NaN.
    big = lax.optimization_barrier(jnp.where(bad, jnp.asarray(largest, number.dtype), 1))
    # What is not 0 becomes inf, and that times 0 is NaN.
    return jnp.where(bad, (number * big * big) * jnp.zeros_like(number) * big * big, number)


def refuse(bad: Array, value: Array) -> Array:
    """A result, NaN where it is `bad`, and so is its gradient (see `nan_where`)."""
    return nan_where(bad, value) + jnp.where(bad, jnp.nan, 0).astype(value.dtype)


def nan_where_invalid(value: Array, *checked: tuple[Array | None, int]) -> Array:
    """Replaces results whose (traced) lengths lie outside 1..num_frames by NaN.

    Args:
        value: ``[...]`` results.
        *checked: pairs ``(lengths, num_frames)``; the lengths broadcast against `value`.
    """
    for array, num_frames in checked:
        if array is not None:
            value = refuse(~in_range(jnp.asarray(array), num_frames), value)
    return value


def band(value: int | None) -> int | None:
    """Checks a Sakoe-Chiba radius."""
    if value is None:
        return None
    static(value, "band")
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"band must be a Python integer or None, got {value!r}")
    if value < 0:
        raise ValueError(f"band must be >= 0 (frames of the longer sequence), got {value}")
    return int(value)


def slope(value: float | None) -> Fraction | None:
    """Checks an Itakura slope; as a fraction, so that windows are exact."""
    if value is None:
        return None
    static(value, "max_slope")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"max_slope must be a Python number or None, got {value!r}")
    if not 1 <= value < float("inf"):
        raise ValueError(
            f"max_slope must be finite and >= 1 (1 allows the diagonal alone), got {value}"
        )
    return Fraction(value).limit_denominator(100)


def gamma_range(dtype: jnp.dtype) -> tuple[float, float]:
    """The temperatures with which `dtype` can compute: neither they nor their inverse vanish."""
    finfo = jnp.finfo(dtype)
    return float(finfo.tiny) * 4, float(finfo.max) * 1e-4


def gamma(value: ArrayLike, dtype: jnp.dtype) -> Array | None:
    """Checks a temperature; None for a static 0, which selects the hard minimum."""
    if value is None:
        raise ValueError("gamma must be a number, got None; 0 selects the hard minimum")
    if not isinstance(value, jax.core.Tracer):
        given = as_numpy(value, "gamma")
        if given.ndim == 0 and given.dtype.kind in "iuf":
            if given == 0:
                return None
            if not (given > 0 and np.isfinite(given)):
                raise ValueError(
                    f"gamma must be positive and finite, or 0 for the hard minimum; got {given}"
                )
            low, high = gamma_range(dtype)
            if not low <= float(given) <= high:
                raise ValueError(
                    f"gamma must lie within {low:.1e}..{high:.1e} to be computed with in {dtype}, "
                    f"got {given}; scale the costs, or use 0 for the hard minimum"
                )
    return real_scalar(value, "gamma", dtype)


def real_scalar(value: ArrayLike, name: str, dtype: jnp.dtype) -> Array:
    """Returns a number as an array ``[]`` of `dtype`."""
    array = as_array(value, name)
    if array.shape != () or array.dtype.kind not in "iuf" and array.dtype != jnp.bfloat16:
        raise ValueError(
            f"{name} must be a real scalar, got shape {array.shape} and dtype {array.dtype}"
        )
    return array.astype(dtype)


def positive_int(value: int, name: str) -> int:
    """Checks a static count."""
    static(value, name)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a Python integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value}")
    return int(value)


def static(value: object, name: str) -> None:
    """Checks that an option that decides what is compiled is not traced."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name} must be a Python value, got a traced one: it is static, name it in "
            f'jax.jit(..., static_argnames="{name}") or bind it with functools.partial'
        )
    size: Any = value
    if export.is_symbolic_dim(size):
        raise NotImplementedError(
            f"cannot be exported with these symbolic sizes: {name} must be known, got {value}"
        )


def flag(value: bool, name: str) -> None:
    """Checks a switch."""
    static(value, name)
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def choice(value: object, name: str, allowed: Sequence[str]) -> None:
    """Checks a named option."""
    static(value, name)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
