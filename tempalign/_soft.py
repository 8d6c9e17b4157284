"""Soft alignments: the Gibbs distribution over paths, ``exp(-path cost / gamma)``.

The entry points are jitted, so that calls outside of ``jit`` compile once for each shape.
"""

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._recurrence import (
    Above,
    Ends,
    Moves,
    Sweep,
    Values,
    prefers_swap,
    swap,
    sweep,
    unskew,
)
from tempalign._shards import alike
from tempalign._types import Array


class SoftAlignment(NamedTuple):
    """The Gibbs distribution over paths, ``exp(-path cost / gamma)``, in summary.

    Attributes:
        value: ``[L]`` soft minimum of the path costs.
        expected: ``[n, m, L]`` probability that a path visits the cell; d value / d cost.
        entropy: ``[L]`` of the distribution, in nats; -d value / d gamma. None if not asked for.
    """

    value: Array
    expected: Array
    entropy: Array | None


@partial(jax.jit, static_argnames="moves")
def value(cost: Array, gamma: Array, ends: Ends | None, moves: Moves) -> Array:
    """Soft minimum ``-gamma log sum exp(-path cost / gamma)`` over all paths of each lane.

    Forward and reverse mode cost one pass more, and can be repeated (Hessians).

    Args:
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        gamma: temperature, positive, ``[]``.
        ends: last cells, or None for (n-1, m-1) everywhere.
        moves: the steps allowed.

    Returns:
        ``[L]``, inf where no path is allowed.
    """
    return _differentiable_soft_value(*alike((cost, gamma, ends)), moves)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _differentiable_soft_value(cost: Array, gamma: Array, ends: Ends | None, moves: Moves) -> Array:
    if prefers_swap(cost, moves):
        cost, ends = swap(cost, ends)
    return _soft_sweep(cost, ends, moves, SoftMinimum(gamma)).value


def _soft_value_jvp(moves, primals, tangents):
    cost, gamma, ends = primals
    d_cost, d_gamma, _ = tangents
    wants_entropy = not isinstance(d_gamma, SymbolicZero)
    total, expected, entropy = alignment(cost, gamma, ends, moves, wants_entropy)
    tangent = jnp.zeros_like(total)
    if not isinstance(d_cost, SymbolicZero):
        tangent = tangent + jnp.sum(expected * d_cost, axis=(0, 1))
    if wants_entropy:
        tangent = tangent - entropy * d_gamma
    return total, tangent


_differentiable_soft_value.defjvp(_soft_value_jvp, symbolic_zeros=True)


@partial(jax.jit, static_argnames=("moves", "with_entropy"))
def alignment(
    cost: Array, gamma: Array, ends: Ends | None, moves: Moves, with_entropy: bool = False
) -> SoftAlignment:
    """Soft minimum, expected alignment and entropy; arguments as for `value`.

    A path of the distribution is drawn backwards: from the last cell to each predecessor with the
    probability that it has in the soft minimum. Visits and entropy then follow cell by cell,
    from quantities between 0 and 1, without differences of large numbers.
    """
    if prefers_swap(cost, moves):
        cost, ends = swap(cost, ends)
        swapped = alignment(cost, gamma, ends, moves, with_entropy)
        return swapped._replace(expected=swapped.expected.transpose(1, 0, 2))
    cost, gamma, ends = alike((cost, gamma, ends))
    n, m, lanes = cost.shape
    algebra = SoftMinimum(gamma, keep_moves=True, keep_entropy=with_entropy)
    total, records, _ = _soft_sweep(cost, ends, moves, algebra)
    row = jnp.arange(n)[:, None]
    nothing = jnp.zeros_like(cost, shape=(1, lanes))

    def arriving(p: Array | int) -> Array:
        """The paths that start on anti-diagonal p, walking backwards: 1 at the last cell."""
        last_row, last_column = (n - 1, m - 1) if ends is None else ends
        return jnp.where((row == last_row) & (p == last_row + last_column), 1, 0)

    def step(carry, inputs):
        ahead, two_ahead, entropy = carry  # visits that cells on p and p - 1 have got so far
        p, (probabilities, local) = inputs
        visits = ahead if ends is None else ahead + arriving(p)
        by_row, *by_column = (visits * move for move in probabilities)
        # The last move takes what the others leave (but for rounding), so it need not be stored.
        rest = jnp.maximum(reduce(jnp.subtract, [by_row, *by_column], visits), 0)
        if moves.diagonal:
            ahead = by_column[0] + two_ahead
            two_ahead = jnp.concatenate([rest[1:], nothing])
        else:
            ahead = rest
        ahead = ahead + jnp.concatenate([by_row[1:], nothing])
        if with_entropy:
            entropy = entropy + jnp.sum(visits * local, axis=0)
        return (ahead, two_ahead, entropy), visits

    zeros = jnp.zeros_like(cost, shape=(n, lanes))
    start = zeros + arriving(n + m - 2) if ends is None else zeros
    entropy = zeros[0] if with_entropy else None
    positions = jnp.arange(1, n + m - 1)
    (ahead, _, entropy), visits = lax.scan(
        step, (start, zeros, entropy), (positions, records), reverse=True
    )
    first = ahead if ends is None else ahead + arriving(0)
    expected = unskew(jnp.concatenate([first[None], visits]), m)
    return SoftAlignment(total, expected, entropy)


def block_value(
    cost: Array, gamma: Array, ends: Ends, moves: Moves, above: Above
) -> tuple[Array, Above]:
    """The soft minimum of a block of rows, for autodiff to go through.

    Args:
        cost: ``[n, m, L]``, the block's.
        gamma: as for `value`.
        ends: last cells, counted from the block's first row.
        moves: as for `value`.
        above: what stands before the block.

    Returns:
        ``[L]`` values, 0 for lanes that end in other blocks, and what stands before the next.
    """
    swept = _soft_sweep(cost, ends, moves, _LeanSoftMinimum(gamma), above)
    assert swept.below is not None
    start = jnp.full_like(above.start, SoftMinimum(gamma).outside[0])
    return swept.value, Above(swept.below, start)


def nothing_above(gamma: Array, num_columns: int, lanes: int) -> Above:
    """What stands before the first block of rows."""
    outside = SoftMinimum(gamma).outside
    shape = (num_columns, lanes)
    values = tuple(jnp.full_like(gamma, wall, shape=shape) for wall in outside)
    return Above(values, jnp.zeros_like(gamma))


def _soft_sweep(
    cost: Array,
    ends: Ends | None,
    moves: Moves,
    algebra: "SoftMinimum",
    above: Above | None = None,
) -> Sweep:
    # Numbers that stay finite when added, so that differences of forbidden cells are not NaN.
    forbidden = algebra.outside[0]
    cost = jnp.minimum(cost, forbidden)
    if ends is not None:
        # What lies past the end may be NaN, which times a probability of 0 is not 0.
        inside = (jnp.arange(cost.shape[0])[:, None, None] <= ends.row) & (
            jnp.arange(cost.shape[1])[:, None] <= ends.column
        )
        cost = jnp.where(inside, cost, 0)
    swept = sweep(cost, ends, moves, algebra, above)
    return swept._replace(value=jnp.where(swept.value >= forbidden, jnp.inf, swept.value))


class SoftMinimum:
    """The soft minimum, of numbers held as unevaluated sums (high, low) of two floats.

    R grows with length and its rounding with it, while the probabilities of the moves hang on
    differences of R divided by gamma. What rounding cuts off a sum is therefore kept in a low
    part, and precision does not decay with length. (Plain float32 loses 1e-3 at 1000 x 1000 and
    gamma 0.01.)

    A record, where it is kept, is the probabilities of the moves (all but the last one allowed)
    and the entropy of the choice between them.
    """

    unroll = 1

    def __init__(self, gamma: Array, *, keep_moves: bool = False, keep_entropy: bool = False):
        self.gamma = gamma
        self.scale = 1 / gamma
        self.farthest = 1000 * gamma  # exp(-1000) is 0 in any precision
        self.keep_moves = keep_moves
        self.keep_entropy = keep_entropy
        # Far above any cost, and far enough below the largest float to be summed along a path.
        self.outside: tuple[float, ...] = (1e30 if gamma.dtype == jnp.float32 else 1e300, 0.0)

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, Any]:
        values = [row, column] if both is None else [row, column, both]
        least = _least([high for high, _ in values])
        above = [(high - least) + low for high, low in values]
        # Where costs are huge, so are the low parts, compared with gamma: a second minimum.
        tail = _least(above)
        # The minimum is subtracted before dividing by gamma, so the quotients cannot overflow.
        gaps = [jnp.minimum(height - tail, self.farthest) * self.scale for height in above]
        parts = [jnp.exp(-gap) for gap in gaps]
        total = reduce(jnp.add, parts)
        log_total = jnp.log(total)
        high, low = _two_sum(cost, least)
        updated = _two_sum(high, low + (tail - self.gamma * log_total))
        if not self.keep_moves:
            return updated, None
        share = 1 / total
        probabilities = [part * share for part in parts]
        entropy = None
        if self.keep_entropy:
            entropy = log_total + sum(p * gap for p, gap in zip(probabilities, gaps, strict=True))
        return updated, (tuple(probabilities[:-1]), entropy)

    def total(self, values: Values) -> Array:
        return values[0] + values[1]


class _LeanSoftMinimum(SoftMinimum):
    """The soft minimum for autodiff to go through: a cell keeps its move probabilities only."""

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, None]:
        return _lean_cell(cost, self.gamma, row, column, both), None


@jax.custom_jvp
def _lean_cell(
    cost: Array, gamma: Array, row: Values, column: Values, both: Values | None
) -> Values:
    return SoftMinimum(gamma).extend(cost, row, column, both)[0]


def _lean_cell_jvp(primals, tangents):
    cost, gamma, *before = primals
    d_cost, d_gamma, *d_before = tangents
    wants_entropy = not isinstance(d_gamma, SymbolicZero)
    algebra = SoftMinimum(gamma, keep_moves=True, keep_entropy=wants_entropy)
    updated, (probabilities, entropy) = algebra.extend(cost, *before)
    rest = reduce(jnp.subtract, probabilities, jnp.ones_like(cost))
    tangent = jnp.zeros_like(cost) if isinstance(d_cost, SymbolicZero) else d_cost
    # The low part is the rounding of the high one: the tangent is all in the high part.
    d_highs = [d_values[0] for d_values in d_before if d_values is not None]
    for probability, d_high in zip([*probabilities, rest], d_highs, strict=True):
        if not isinstance(d_high, SymbolicZero):
            tangent = tangent + probability * d_high
    if wants_entropy:
        tangent = tangent - entropy * d_gamma
    return updated, (tangent, jnp.zeros_like(cost))


_lean_cell.defjvp(_lean_cell_jvp, symbolic_zeros=True)


def _least(values: list[Array]) -> Array:
    """The least of the arrays; a constant to autodiff."""
    return lax.stop_gradient(reduce(jnp.minimum, values))


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """(a + b, what rounding cut off it) (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)
