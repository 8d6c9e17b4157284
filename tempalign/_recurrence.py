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


class Above(NamedTuple):
    """What stands before a block of rows.

    Attributes:
        values: arrays ``[m, L]``, what the row before the first holds.
        start: ``[]``, 0 where paths start at the block's cell (0, 0), `outside` in later blocks.
    """

    values: Values
    start: Array


class Sweep(NamedTuple):
    """What a pass over all anti-diagonals leaves.

    Attributes:
        value: ``[L]``, R of the last cells; 0 for a lane that ends in other rows.
        records: what the algebra recorded, stacked over p = 1 .. P-1.
        below: arrays ``[m, L]``, what the last row holds; None unless `above` was given.
    """

    value: Array
    records: Any
    below: Values | None


class Algebra(Protocol):
    """What a cell holds, and how it comes from its predecessors.

    A cell holds a tuple of numbers (one for the hard minimum, two for the soft one); `Values` are
    those of a whole anti-diagonal, arrays ``[n, L]``.
    """

    outside: tuple[float, ...]
    """What a cell past the border holds."""
    unroll: int
    """How many steps to compile together."""

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, Any]:
        """The next values, from those at (i-1, j), (i, j-1) and (i-1, j-1), and a record."""

    def total(self, values: Values) -> Array:
        """R itself."""


def sweep(
    cost: Array,
    ends: Ends | None,
    moves: Moves,
    algebra: Algebra,
    above: Above | None = None,
) -> Sweep:
    """The recurrence over all anti-diagonals.

    Args:
        cost: ``[n, m, L]``.
        ends: last cells or None. A lane may end in rows that are not of this matrix.
        moves: the steps allowed.
        algebra: the minimum, hard or soft.
        above: what stands before this block, for a matrix worked on by blocks of rows. None:
            nothing, and paths start at cell (0, 0).
    """
    n, m, lanes = cost.shape
    skewed = skew(cost, algebra.outside[0])
    row = jnp.arange(n)[:, None]
    last_column = m - 1 if ends is None else ends.column

    def outside(like: Array) -> Values:
        return tuple(jnp.full_like(like, value) for value in algebra.outside)

    def standing(values: Values, walls: Values) -> Values:
        """An anti-diagonal ``[n + 1, L]``: its cells below what stands above the next one's first.

        Cell (i, j-1) is then at i + 1 and cell (i-1, j) at i.
        """
        # Two barriers, so that XLA's CPU code is vectorised: fused with the cell update, putting
        # the wall on top makes it scalar; fused with the next step, the cell is computed twice.
        # Each part has its own: jax 0.12 cannot transpose one of which only a part is linear.
        parts = map(lax.optimization_barrier, values)
        moved = (jnp.concatenate([wall, part]) for wall, part in zip(walls, parts, strict=True))
        return tuple(map(lax.optimization_barrier, moved))

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
        last = tuple(
            jnp.take_along_axis(part, ends.row[None], axis=0, mode="clip")[0] for part in values
        )
        here = (p == ends.row + ends.column) & (ends.row >= 0) & (ends.row < n)
        return jnp.where(here, algebra.total(last), so_far)

    def step(carry, inputs):
        near, far, value = carry
        p, costs, walls = inputs
        from_row = allowed(tuple(part[:-1] for part in near), p)
        from_column = tuple(part[1:] for part in near)
        from_both = tuple(part[:-1] for part in far) if moves.diagonal else None
        updated, record = algebra.extend(costs, from_row, from_column, from_both)
        if ends is not None:
            value = value_at(updated, p, value)
        below = None if above is None else tuple(part[-1] for part in updated)
        ahead = standing(updated, edge if walls is None else walls)
        return (ahead, near if moves.diagonal else None, value), (record, below)

    edge, nowhere = outside(skewed[0, :1]), outside(skewed[0])
    # The cells above (0, 0), (0, 1) and the rest, one for each anti-diagonal.
    over: list[Any] = [edge, edge, None]
    if above is not None:
        padded = tuple(
            jnp.pad(part[:, None], ((0, n), (0, 0), (0, 0)), constant_values=wall)
            for part, wall in zip(above.values, algebra.outside, strict=True)
        )
        over = [tuple(part[k] for part in padded) for k in (0, 1, slice(2, None))]
    # Cell (0, 0) is reached as if along its row.
    entry = jnp.where(row == 0, 0 if above is None else above.start, nowhere[0])
    far = standing(nowhere, over[0])
    from_row = tuple(part[:-1] for part in far)
    from_both = nowhere if moves.diagonal else None
    first, _ = algebra.extend(skewed[0], from_row, (entry, *nowhere[1:]), from_both)
    value = None if ends is None else value_at(first, 0, jnp.zeros_like(cost, shape=lanes))
    carry = (standing(first, over[1]), far if moves.diagonal else None, value)
    inputs = (jnp.arange(1, skewed.shape[0]), skewed[1:], over[2])
    (last, _, value), (records, below) = lax.scan(step, carry, inputs, unroll=algebra.unroll)
    if value is None:
        value = algebra.total(tuple(part[-1] for part in last))
    if above is not None:
        below = tuple(
            jnp.concatenate([start[-1:], rest])[n - 1 :]
            for start, rest in zip(first, below, strict=True)
        )
    return Sweep(value, records, below)
