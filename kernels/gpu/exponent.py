"""The soft minimum in the linear domain, with exponents that are exact.

A cell holds ``Z = sum over paths of exp(-path cost / gamma)`` as (m, e): ``Z = m 2^e`` with m in
[1, 2) and e an integer, so that nothing is rounded as sums of costs grow, and a cell takes one
exponential and one reciprocal. Unreachable is (1, FAR).

m is always a normal number: memory that nobody wrote must not be taken for one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu.launch import Warp

FAR = -(2**30)
#: Largest cost over gamma of a cell, and of a path, in powers of two, that the integers hold.
MOST_OF_CELL, MOST_OF_PATH = 2.0**21, 2.0**29

_MAGIC = 1.5 * 2.0**23  # t + _MAGIC rounds t to an integer and shows it in the low bits
_MAGIC_BITS = 0x4B400000
_ONE_BITS, _MANTISSA = 0x3F800000, 0x007FFFFF
_BIAS = 127
_FARTHEST = -64  # 2^-64 of the largest is nothing beside it
_LOG2_E = math.log2(math.e)
_LOG2_E_HIGH = 1.44269502162933349609375  # as float32
_LOG2_E_LOW = _LOG2_E - _LOG2_E_HIGH

State = tuple[Array, ...]  # m and e


class Scale(NamedTuple):
    """``-log2(e) / gamma`` as an unevaluated sum."""

    high: Array
    low: Array


def scale_of(gamma: Array, warp: Warp) -> Scale:
    """The scale of temperatures."""
    high = -_LOG2_E_HIGH / gamma
    rest = warp.multiply_add(high, gamma, jnp.full_like(gamma, _LOG2_E_HIGH))
    return Scale(high, -(rest + _LOG2_E_LOW) / gamma)


def extended(
    ways: Sequence[State], cost: Array, scale: Scale, warp: Warp, forbids: bool
) -> tuple[State, list[Array]]:
    """A cell from its neighbours.

    Args:
        ways: their states.
        cost: of the cell, finite unless `forbids`.
        scale: of the temperature.
        warp: whose lanes these are.
        forbids: whether cells of infinite cost must become unreachable.

    Returns:
        The state, and the shares of all ways but the last in it.
    """
    shown = warp.multiply_add(cost, scale.high, jnp.full_like(cost, _MAGIC))
    whole = shown - _MAGIC
    rest = warp.multiply_add(cost, scale.low, warp.multiply_add(cost, scale.high, -whole))
    power = warp.exp2(rest)  # 2^whole times it is exp(-cost / gamma)
    top = ways[0][1]
    for _, exponent in ways[1:]:
        top = jnp.maximum(top, exponent)
    parts = [_shifted(mantissa, exponent - top) for mantissa, exponent in ways]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    bits = _bits(total * power)
    mantissa = _real((bits & _MANTISSA) | _ONE_BITS)
    exponent = top + _bits(shown) + ((bits >> 23) - (_BIAS + _MAGIC_BITS))
    if forbids:
        exponent = jnp.where(cost == jnp.inf, warp.full(FAR, jnp.int32), exponent)
    inverse = warp.reciprocal(total)
    return (mantissa, exponent), [part * inverse for part in parts[:-1]]


def value_of(state: State, gamma: Array) -> Array:
    """``-gamma log Z``, inf for what is unreachable."""
    mantissa, exponent = state
    found = -gamma * (math.log(2) * (exponent.astype(jnp.float32) + jnp.log2(mantissa)))
    return jnp.where(exponent < FAR // 2, jnp.inf, found)


def _shifted(mantissa: Array, by: Array) -> Array:
    """``mantissa 2^by``, by <= 0: a normal number's exponent is added to as an integer."""
    return _real(_bits(mantissa) + (jnp.maximum(by, _FARTHEST) << 23))


def _bits(x: Array) -> Array:
    return lax.bitcast_convert_type(x, jnp.int32)


def _real(x: Any) -> Array:
    return lax.bitcast_convert_type(x, jnp.float32)
