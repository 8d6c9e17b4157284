"""The recurrence of dynamic time warping: one ``lax.scan`` over anti-diagonals.

    R(i, j) = D(i, j) + min{ R(i-1, j), R(i, j-1), R(i-1, j-1) }

Cell (i, j) needs only cells of the two anti-diagonals before its own, ``p = i + j``, so a whole
anti-diagonal is computed at once (DejaVid, Alg. 2; Cuturi & Blondel 2017). Everything here has
the pairs ("lanes") on the last axis: a cell's neighbour (i-1, .) is then one contiguous block
away and a step is plain vector code for any mixture of batch sizes and lengths.

What the minimum is, hard or soft, is the caller's: `_hard.py` and `_soft.py`.
"""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import lax

from tempalign._types import Array

Values = tuple[Array, ...]


class Ends(NamedTuple):
    """The last cell of each lane, for sequences shorter than the padded matrix.

    Attributes:
        row: int32 ``[L]``, length of the row sequence minus 1.
        column: int32 ``[L]``, length of the column sequence minus 1.
    """

    row: Array
    column: Array


def swap(cost: Array, ends: Ends | None) -> tuple[Array, Ends | None]:
    swapped = None if ends is None else Ends(row=ends.column, column=ends.row)
    return cost.transpose(1, 0, 2), swapped


def skew(cost: Array) -> Array:
    """``[n, m, L] -> [P, n, L]`` with ``out[i + j, i] = cost[i, j]`` and inf elsewhere."""
    n, m, lanes = cost.shape
    # A row padded by n cells, read back one cell shorter, starts one cell later than the row
    # above: a shear without a gather.
    padded = jnp.pad(cost, ((0, 0), (0, n), (0, 0)), constant_values=jnp.inf)
    sheared = padded.reshape(n * (m + n), lanes)[: n * (m + n - 1)]
    return sheared.reshape(n, m + n - 1, lanes).transpose(1, 0, 2)


def unskew(skewed: Array, m: int) -> Array:
    """``[P, n, L] -> [n, m, L]``, the inverse of `skew`."""
    diagonals, n, lanes = skewed.shape
    flat = skewed.transpose(1, 0, 2).reshape(n * diagonals, lanes)
    return jnp.pad(flat, ((0, n), (0, 0))).reshape(n, diagonals + 1, lanes)[:, :m]


class Sweep(NamedTuple):
    """What a pass over all anti-diagonals leaves.

    Attributes:
        value: ``[L]``, R of the last cells.
        records: what the algebra recorded, stacked over p = 1 .. P-1.
    """

    value: Array
    records: Any


class Algebra(Protocol):
    """What a cell holds, and how it comes from its predecessors.

    A cell holds a tuple of numbers (one for the hard minimum, two for the soft one); `Values` are
    those of a whole anti-diagonal, arrays ``[n, L]``.
    """

    outside: tuple[float, ...]
    """What a cell past the border holds."""

    def begin(self, cost: Array) -> Values:
        """The values of the first anti-diagonal, from its local costs."""

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, Any]:
        """The next values, from those at (i-1, j), (i, j-1) and (i-1, j-1), and a record."""

    def recentre(self, values: Values, shifted: Values, offset: Any) -> tuple[Values, Values, Any]:
        """Moves a common offset of both values into `offset` (None at first)."""

    def total(self, values: Values, offset: Any) -> Array:
        """R itself."""


def sweep(cost: Array, ends: Ends | None, diagonal: bool, algebra: Algebra) -> Sweep:
    """The recurrence over all anti-diagonals.

    Args:
        cost: ``[n, m, L]``.
        ends: last cells or None.
        diagonal: whether diagonal moves are allowed.
        algebra: the minimum, hard or soft.
    """
    n, _, lanes = cost.shape
    skewed = skew(cost)
    row = jnp.arange(n)[:, None]
    walls = tuple(jnp.full((1, lanes), value, cost.dtype) for value in algebra.outside)

    def shift(values: Values) -> Values:
        """Cell (i-1, .) at the place of cell i."""
        # Fused with the cell update this shift makes XLA's CPU code scalar; kept apart it is a
        # block copy and both vectorise.
        moved = tuple(
            jnp.concatenate([wall, part[:-1]]) for wall, part in zip(walls, values, strict=True)
        )
        return lax.optimization_barrier(moved)

    def step(carry, inputs):
        current, from_row, from_diagonal, offset, value = carry
        p, costs = inputs
        updated, record = algebra.extend(costs, from_row, current, from_diagonal)
        updated, from_row, offset = algebra.recentre(updated, from_row, offset)
        if ends is not None:
            here = (row == ends.row) & (p == ends.row + ends.column)
            value = jnp.where(here, algebra.total(updated, offset), value)
        return (updated, shift(updated), from_row if diagonal else None, offset, value), record

    first = algebra.begin(skewed[0])
    first, _, offset = algebra.recentre(first, first, None)
    nowhere = tuple(jnp.broadcast_to(wall, first[0].shape) for wall in walls)
    value = None
    if ends is not None:
        here = (row == ends.row) & (ends.row + ends.column == 0)
        value = jnp.where(here, algebra.total(first, offset), 0)
    start = (first, shift(first), nowhere if diagonal else None, offset, value)
    positions = jnp.arange(1, skewed.shape[0])
    (last, _, _, offset, value), records = lax.scan(step, start, (positions, skewed[1:]))
    result = algebra.total(last, offset)[-1] if value is None else jnp.sum(value, axis=0)
    return Sweep(result, records)
