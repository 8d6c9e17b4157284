"""Soft alignments: the Gibbs distribution over paths, ``exp(-path cost / gamma)``.

The entry points are jitted, so that calls outside of ``jit`` compile once for each shape.
"""

import math
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._recurrence import Ends, Sweep, Values, swap, sweep, unskew
from tempalign._types import Array


class SoftAlignment(NamedTuple):
    """The Gibbs distribution over paths, ``exp(-path cost / gamma)``, in summary.

    Attributes:
        value: ``[L]`` soft minimum of the path costs.
        expected: ``[n, m, L]`` probability that a path visits the cell; d value / d cost.
        entropy: ``[L]`` of the distribution, in nats; -d value / d gamma.
    """

    value: Array
    expected: Array
    entropy: Array


@partial(jax.jit, static_argnames="diagonal")
def value(cost: Array, gamma: Array, ends: Ends | None, diagonal: bool) -> Array:
    """Soft minimum ``-gamma log sum exp(-path cost / gamma)`` over all paths of each lane.

    Forward and reverse mode cost one pass more, and can be repeated (Hessians).

    Args:
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        gamma: temperature, positive, ``[]``.
        ends: last cells, or None for (n-1, m-1) everywhere.
        diagonal: whether the move (i-1, j-1) is allowed.

    Returns:
        ``[L]``.
    """
    return _differentiable_soft_value(cost, gamma, ends, diagonal)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _differentiable_soft_value(
    cost: Array, gamma: Array, ends: Ends | None, diagonal: bool
) -> Array:
    if cost.shape[0] > cost.shape[1]:
        cost, ends = swap(cost, ends)
    return _soft_sweep(cost, gamma, ends, diagonal).value


@_differentiable_soft_value.defjvp
def _soft_value_jvp(diagonal, primals, tangents):
    cost, gamma, ends = primals
    d_cost, d_gamma, _ = tangents
    total, expected, entropy = alignment(cost, gamma, ends, diagonal)
    tangent = jnp.zeros_like(total)
    if not isinstance(d_cost, SymbolicZero):
        tangent = tangent + jnp.sum(expected * d_cost, axis=(0, 1))
    if not isinstance(d_gamma, SymbolicZero):
        tangent = tangent - entropy * d_gamma
    return total, tangent


@partial(jax.jit, static_argnames="diagonal")
def alignment(cost: Array, gamma: Array, ends: Ends | None, diagonal: bool) -> SoftAlignment:
    """Soft minimum, expected alignment and entropy; arguments as for `value`.

    A path of the distribution is drawn backwards: from the last cell to each predecessor with the
    probability that it has in the soft minimum. Visits and entropy then follow cell by cell,
    from quantities between 0 and 1, without differences of large numbers.
    """
    if cost.shape[0] > cost.shape[1]:
        cost, ends = swap(cost, ends)
        swapped = alignment(cost, gamma, ends, diagonal)
        return swapped._replace(expected=swapped.expected.transpose(1, 0, 2))
    n, m, lanes = cost.shape
    total, moves = _soft_sweep(cost, gamma, ends, diagonal, keep_moves=True)
    row = jnp.arange(n)[:, None]
    last_row, last_column = (n - 1, m - 1) if ends is None else ends
    nothing = jnp.zeros((1, lanes), cost.dtype)

    def step(carry, inputs):
        ahead, two_ahead, entropy = carry  # visits that cells on p and p - 1 have got so far
        p, (probabilities, local) = inputs
        visits = ahead + jnp.where((row == last_row) & (p == last_row + last_column), 1, 0)
        by_row, by_column, *by_diagonal = (visits * move for move in probabilities)
        ahead = by_column + jnp.concatenate([by_row[1:], nothing])
        if by_diagonal:
            ahead = ahead + two_ahead
            two_ahead = jnp.concatenate([by_diagonal[0][1:], nothing])
        return (ahead, two_ahead, entropy + jnp.sum(visits * local, axis=0)), visits

    zeros = jnp.zeros((n, lanes), cost.dtype)
    positions = jnp.arange(1, n + m - 1)
    (ahead, _, entropy), visits = lax.scan(
        step, (zeros, zeros, zeros[0]), (positions, moves), reverse=True
    )
    first = ahead + jnp.where((row == last_row) & (last_row + last_column == 0), 1, 0)
    expected = unskew(jnp.concatenate([first[None], visits]), m)
    return SoftAlignment(total, expected, entropy)


def _soft_sweep(
    cost: Array, gamma: Array, ends: Ends | None, diagonal: bool, *, keep_moves: bool = False
) -> Sweep:
    """Records (probabilities of the moves, their entropies) if asked."""
    if ends is not None:
        # What lies past the end must not be the least of its anti-diagonal (it may be NaN).
        inside = (jnp.arange(cost.shape[0])[:, None, None] <= ends.row) & (
            jnp.arange(cost.shape[1])[:, None] <= ends.column
        )
        cost = jnp.where(inside, cost, jnp.inf)
    return sweep(cost, ends, diagonal, _SoftMinimum(gamma, keep_moves))


class _SoftMinimum:
    """The soft minimum, of numbers held as unevaluated sums (high, low) of two floats.

    R grows with length and its rounding with it, while the probabilities of the moves hang on
    differences of R divided by gamma. Two measures keep them precise at any length: the least
    value of each anti-diagonal is moved into an offset of its own, and what rounding cuts off a
    sum is kept in its low part. (Plain float32 loses 1e-3 at 1000 x 1000 and gamma 0.01.)
    """

    outside: tuple[float, ...] = (math.inf, 0.0)

    def __init__(self, gamma: Array, keep_moves: bool):
        self.gamma = gamma
        self.keep_moves = keep_moves

    def begin(self, cost: Array) -> Values:
        return cost, jnp.zeros_like(cost)

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, Any]:
        values = [row, column] if both is None else [row, column, both]
        least = _least([high for high, _ in values])
        finite = [jnp.isfinite(high) for high, _ in values]
        above = [
            jnp.where(here, (high - least) + low, jnp.inf)
            for here, (high, low) in zip(finite, values, strict=True)
        ]
        # Where costs are huge, so are the low parts, compared with gamma: a second minimum.
        tail = _least(above)
        # The minimum is subtracted before dividing by gamma: the quotients then cannot overflow.
        gaps, parts = [], []
        for here, height in zip(finite, above, strict=True):
            gaps.append(jnp.where(here, height - tail, 0) / self.gamma)
            parts.append(jnp.where(here, jnp.exp(-gaps[-1]), 0))
        total = reduce(jnp.add, parts)
        reached = total > 0
        total = jnp.where(reached, total, 1)
        log_total = jnp.log(total)
        record = None
        if self.keep_moves:
            moves = tuple(part / total for part in parts)
            entropy = log_total
            for move, gap in zip(moves, gaps, strict=True):
                entropy = entropy + move * gap
            record = (moves, entropy)
        high, low = _two_sum(cost, least)
        high, low = _two_sum(high, low + (tail - self.gamma * log_total))
        reached = reached & jnp.isfinite(cost)
        return (jnp.where(reached, high, jnp.inf), jnp.where(reached, low, 0)), record

    def recentre(self, values: Values, shifted: Values, offset: Any) -> tuple[Values, Values, Any]:
        least = jnp.min(lax.stop_gradient(values[0]), axis=0)
        least = jnp.where(jnp.isfinite(least), least, 0)
        if offset is None:
            offset = least, jnp.zeros_like(least)
        else:
            total, error = _two_sum(offset[0], least)
            offset = total, offset[1] + error
        return _subtract(values, least), _subtract(shifted, least), offset

    def total(self, values: Values, offset: Any) -> Array:
        return offset[0] + (offset[1] + (values[0] + values[1]))


def _least(values: list[Array]) -> Array:
    """The least of the arrays, 0 where none is finite; a constant to autodiff."""
    least = lax.stop_gradient(reduce(jnp.minimum, values))
    return jnp.where(jnp.isfinite(least), least, 0)


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """(a + b, what rounding cut off it) (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _subtract(values: Values, constant: Array) -> Values:
    high, error = _two_sum(values[0], -constant)
    finite = jnp.isfinite(values[0])
    return jnp.where(finite, high, jnp.inf), jnp.where(finite, values[1] + error, 0)
