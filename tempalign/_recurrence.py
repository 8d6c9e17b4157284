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


class Moves(NamedTuple):
    """The steps that may lead to a cell; a step (i, j-1) always may (static, hashable).

    Attributes:
        diagonal: whether the step from (i-1, j-1) is allowed.
        row_columns: the columns in which the step from (i-1, j) is allowed besides the last one;
            None: all. (TAM moves along the query in its padding columns only.)
    """

    diagonal: bool = True
    row_columns: tuple[int, ...] | None = None


class Ends(NamedTuple):
    """The last cell of each lane, for sequences shorter than the padded matrix.

    Attributes:
        row: int32 ``[L]``, length of the row sequence minus 1.
        column: int32 ``[L]``, length of the column sequence minus 1.
    """

    row: Array
    column: Array


def swap(cost: Array, ends: Ends | None) -> tuple[Array, Ends | None]:
    """The same problem with rows and columns exchanged."""
    swapped = None if ends is None else Ends(row=ends.column, column=ends.row)
    return cost.transpose(1, 0, 2), swapped


def prefers_swap(cost: Array, moves: Moves) -> bool:
    """Whether to exchange rows and columns: a step computes all rows, so few are better."""
    return cost.shape[0] > cost.shape[1] and moves.row_columns is None


def skew(cost: Array, outside: float) -> Array:
    """``[n, m, L] -> [P, n, L]`` with ``out[i + j, i] = cost[i, j]`` and `outside` elsewhere."""
    n, m, lanes = cost.shape
    # A row padded by n cells, read back one cell shorter, starts one cell later than the row
    # above: a shear without a gather.
    padded = jnp.pad(cost, ((0, 0), (0, n), (0, 0)), constant_values=outside)
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

    def total(self, values: Values) -> Array:
        """R itself."""


def sweep(cost: Array, ends: Ends | None, moves: Moves, algebra: Algebra) -> Sweep:
    """The recurrence over all anti-diagonals.

    Args:
        cost: ``[n, m, L]``.
        ends: last cells or None.
        moves: the steps allowed.
        algebra: the minimum, hard or soft.
    """
    n, m, lanes = cost.shape
    skewed = skew(cost, algebra.outside[0])
    row = jnp.arange(n)[:, None]
    last_column = m - 1 if ends is None else ends.column

    def outside(like: Array) -> Values:
        return tuple(jnp.full_like(like, value) for value in algebra.outside)

    def shift(values: Values) -> Values:
        """Cell (i-1, .) at the place of cell i."""
        walls = outside(values[0][:1])
        # Fused with the cell update this shift makes XLA's CPU code scalar; kept apart it is a
        # block copy and both vectorise.
        moved = tuple(
            jnp.concatenate([wall, part[:-1]]) for wall, part in zip(walls, values, strict=True)
        )
        return lax.optimization_barrier(moved)

    def allowed(from_row: Values, p: Array) -> Values:
        """The values at (i-1, .) where a step from there is allowed."""
        if moves.row_columns is None:
            return from_row
        column = p - row
        here = column == last_column
        for free in moves.row_columns:
            here |= column == free
        return tuple(
            jnp.where(here, part, wall)
            for part, wall in zip(from_row, outside(from_row[0]), strict=True)
        )

    def value_at(values: Values, p: Array | int, so_far: Array) -> Array:
        """R of the lanes that end on anti-diagonal p."""
        assert ends is not None
        last = tuple(jnp.take_along_axis(part, ends.row[None], axis=0)[0] for part in values)
        return jnp.where(p == ends.row + ends.column, algebra.total(last), so_far)

    def step(carry, inputs):
        current, from_row, from_diagonal, value = carry
        p, costs = inputs
        updated, record = algebra.extend(costs, allowed(from_row, p), current, from_diagonal)
        if ends is not None:
            value = value_at(updated, p, value)
        return (updated, shift(updated), from_row if moves.diagonal else None, value), record

    first = algebra.begin(skewed[0])
    value = None if ends is None else value_at(first, 0, jnp.zeros(lanes, cost.dtype))
    start = (first, shift(first), outside(first[0]) if moves.diagonal else None, value)
    positions = jnp.arange(1, skewed.shape[0])
    (last, _, _, value), records = lax.scan(step, start, (positions, skewed[1:]))
    if value is None:
        value = algebra.total(tuple(part[-1] for part in last))
    return Sweep(value, records)
