"""The recurrence of dynamic time warping: one ``lax.scan`` over anti-diagonals.

    R(i, j) = D(i, j) + min{ R(i-1, j), R(i, j-1), R(i-1, j-1) }

Cell (i, j) needs only cells of the two anti-diagonals before its own, ``p = i + j``, so a whole
anti-diagonal is computed at once (DejaVid, Alg. 2; Cuturi & Blondel 2017). Everything here has
the pairs ("lanes") on the last axis: a cell's neighbour (i-1, .) is then one contiguous block
away and a step is plain vector code for any mixture of batch sizes and lengths.

Path. A hard alignment is kept as ``rows [P, L]``: the row of the path on each of the
``P = n + m - 1`` anti-diagonals, -1 where the path has no cell (a diagonal move skips one, and
nothing lies past the end). Its cells are ``(rows[p], p - rows[p])``.

Ties. Ordered so that DejaVid's rule holds: the diagonal move (where allowed) unless another is
strictly smaller; then the step in rows only if strictly smaller than the step in columns.

The entry points are jitted, so that calls outside of ``jit`` compile once for each shape.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array

# What a cell came from.
_COLUMN, _ROW, _DIAGONAL = 0, 1, 2


class Ends(NamedTuple):
    """The last cell of each lane, for sequences shorter than the padded matrix.

    Attributes:
        row: int32 ``[L]``, length of the row sequence minus 1.
        column: int32 ``[L]``, length of the column sequence minus 1.
    """

    row: Array
    column: Array


@partial(jax.jit, static_argnames="diagonal")
def hard_value(cost: Array, ends: Ends | None, diagonal: bool) -> Array:
    """Minimal path cost of each lane.

    The derivative is that of the path found: ``d value = sum(alignment * d cost)``, which makes
    forward and reverse mode both one pass over the matrix.

    Args:
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        ends: last cells, or None for (n-1, m-1) everywhere.
        diagonal: whether the move (i-1, j-1) is allowed.

    Returns:
        ``[L]``.
    """
    return _differentiable_value(cost, ends, diagonal)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _differentiable_value(cost: Array, ends: Ends | None, diagonal: bool) -> Array:
    if cost.shape[0] > cost.shape[1]:  # a scan step computes all rows: take the shorter side
        cost, ends = _swap(cost, ends)
    value, _ = _hard_scan(cost, ends, diagonal, ties="column", keep_choices=False)
    return value


@_differentiable_value.defjvp
def _value_jvp(
    diagonal: bool, primals: tuple[Array, Ends | None], tangents: tuple[Array, Ends | None]
) -> tuple[Array, Array]:
    cost, ends = primals
    value, rows = hard_path(cost, ends, diagonal)
    path = alignment(rows, cost.shape[0], cost.shape[1])
    return value, jnp.sum(jnp.where(path, tangents[0], 0), axis=(0, 1))


@partial(jax.jit, static_argnames="diagonal")
def hard_path(cost: Array, ends: Ends | None, diagonal: bool) -> tuple[Array, Array]:
    """Minimal path cost and the path, ``([L], rows int32 [P, L])``."""
    cost = lax.stop_gradient(cost)
    n, m, _ = cost.shape
    if n <= m:
        value, choices = _hard_scan(cost, ends, diagonal, ties="column", keep_choices=True)
        return value, _trace_back(choices, ends, n, m)
    cost, ends = _swap(cost, ends)
    value, choices = _hard_scan(cost, ends, diagonal, ties="row", keep_choices=True)
    columns = _trace_back(choices, ends, m, n)
    position = jnp.arange(n + m - 1)[:, None]
    return value, jnp.where(columns < 0, -1, position - columns)


def alignment(rows: Array, n: int, m: int) -> Array:
    """The path as a boolean matrix ``[n, m, L]``."""
    row = jnp.arange(n)[:, None]
    diagonal_of_cell = row + jnp.arange(m)
    return rows[diagonal_of_cell] == row[..., None]


def _swap(cost: Array, ends: Ends | None) -> tuple[Array, Ends | None]:
    swapped = None if ends is None else Ends(row=ends.column, column=ends.row)
    return cost.transpose(1, 0, 2), swapped


def _skew(cost: Array) -> Array:
    """``[n, m, L] -> [P, n, L]`` with ``out[i + j, i] = cost[i, j]`` and inf elsewhere."""
    n, m, lanes = cost.shape
    # A row padded by n cells, read back one cell shorter, starts one cell later than the row
    # above: a shear without a gather.
    padded = jnp.pad(cost, ((0, 0), (0, n), (0, 0)), constant_values=jnp.inf)
    sheared = padded.reshape(n * (m + n), lanes)[: n * (m + n - 1)]
    return sheared.reshape(n, m + n - 1, lanes).transpose(1, 0, 2)


def _hard_scan(
    cost: Array, ends: Ends | None, diagonal: bool, *, ties: str, keep_choices: bool
) -> tuple[Array, Array]:
    """Values and, if asked for, choices ``[P - 1, n, L]``; `ties` is the step taken in a tie."""
    n, _, lanes = cost.shape
    skewed = _skew(cost)
    row = jnp.arange(n)[:, None]
    wall = jnp.full((1, lanes), jnp.inf, cost.dtype)

    def shift(values: Array) -> Array:
        """Cell (i-1, .) at the place of cell i."""
        # Fused with the cell update this shift makes XLA's CPU code scalar; kept apart it is a
        # block copy and both vectorise.
        return lax.optimization_barrier(jnp.concatenate([wall, values[:-1]]))

    def step(carry, inputs):
        current, from_row, from_diagonal, value = carry
        p, costs = inputs
        best = jnp.minimum(from_row, current)
        choice = jnp.zeros((), jnp.int8)
        if keep_choices:
            take_row = from_row < current if ties == "column" else from_row <= current
            choice = jnp.where(take_row, jnp.int8(_ROW), jnp.int8(_COLUMN))
        if diagonal:
            if keep_choices:
                choice = jnp.where(from_diagonal <= best, jnp.int8(_DIAGONAL), choice)
            best = jnp.minimum(best, from_diagonal)
        updated = costs + best
        if ends is not None:
            value = jnp.where((row == ends.row) & (p == ends.row + ends.column), updated, value)
        return (updated, shift(updated), from_row if diagonal else None, value), choice

    first = skewed[0]
    start = (
        first,
        shift(first),
        jnp.full_like(first, jnp.inf) if diagonal else None,
        None
        if ends is None
        else jnp.where((row == ends.row) & (ends.row + ends.column == 0), first, 0),
    )
    positions = jnp.arange(1, skewed.shape[0])
    (last, _, _, value), choices = lax.scan(step, start, (positions, skewed[1:]))
    return (last[-1] if value is None else jnp.sum(value, axis=0)), choices


def _trace_back(choices: Array, ends: Ends | None, n: int, m: int) -> Array:
    lanes = choices.shape[-1]
    if ends is None:
        ends = Ends(jnp.full(lanes, n - 1, jnp.int32), jnp.full(lanes, m - 1, jnp.int32))
    lane = jnp.arange(lanes)

    def step(carry, inputs):
        row, position = carry  # the path's next cell to visit, and its anti-diagonal
        p, choice = inputs
        here = p == position
        column = p - row
        move = choice[row, lane]
        # At the border there is one way; this also keeps the walk inside when costs are inf.
        move = jnp.where(row == 0, _COLUMN, jnp.where(column == 0, _ROW, move))
        back = jnp.where(move == _DIAGONAL, 2, 1)
        visited = jnp.where(here, row, -1)
        row = jnp.where(here & (move != _COLUMN), row - 1, row)
        position = jnp.where(here, position - back, position)
        return (row, position), visited

    positions = jnp.arange(1, choices.shape[0] + 1)
    start = (ends.row, ends.row + ends.column)
    _, rows = lax.scan(step, start, (positions, choices), reverse=True)
    # Every path starts at cell (0, 0).
    return jnp.concatenate([jnp.zeros((1, lanes), jnp.int32), rows])
