"""Hard alignments: the shortest path and its cost.

Path. A hard alignment is kept as ``rows [P, L]``: the row of the path on each of the
``P = n + m - 1`` anti-diagonals, -1 where the path has no cell (a diagonal move skips one, and
nothing lies past the end). Its cells are ``(rows[p], p - rows[p])``.

Ties. Ordered so that DejaVid's rule holds: the diagonal move (where allowed) unless another is
strictly smaller; then the step in rows only if strictly smaller than the step in columns.

The entry points are jitted, so that calls outside of ``jit`` compile once for each shape.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._recurrence import Ends, Moves, Values, prefers_swap, swap, sweep
from tempalign._shards import alike
from tempalign._types import Array

# What a cell came from.
_COLUMN, _ROW, _DIAGONAL = 0, 1, 2


@partial(jax.jit, static_argnames="moves")
def value(cost: Array, ends: Ends | None, moves: Moves) -> Array:
    """Minimal path cost of each lane.

    The derivative is that of the path found: ``d value = sum(alignment * d cost)``, which makes
    forward and reverse mode both one pass over the matrix.

    Args:
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        ends: last cells, or None for (n-1, m-1) everywhere.
        moves: the steps allowed.

    Returns:
        ``[L]``.
    """
    return _differentiable_value(cost, ends, moves)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _differentiable_value(cost: Array, ends: Ends | None, moves: Moves) -> Array:
    if prefers_swap(cost, moves):
        cost, ends = swap(cost, ends)
    return sweep(cost, ends, moves, _Minimum()).value


@_differentiable_value.defjvp
def _value_jvp(
    moves: Moves, primals: tuple[Array, Ends | None], tangents: tuple[Array, Ends | None]
) -> tuple[Array, Array]:
    cost, ends = primals
    found, rows = path(cost, ends, moves)
    visited = alignment(rows, cost.shape[0], cost.shape[1])
    return found, jnp.sum(jnp.where(visited, tangents[0], 0), axis=(0, 1))


@partial(jax.jit, static_argnames="moves")
def path(cost: Array, ends: Ends | None, moves: Moves) -> tuple[Array, Array]:
    """Minimal path cost and the path, ``([L], rows int32 [P, L])``."""
    cost = lax.stop_gradient(cost)
    n, m, _ = cost.shape
    if not prefers_swap(cost, moves):
        found, choices, _ = sweep(cost, ends, moves, _Minimum("column"))
        return found, _trace_back(choices, ends, n, m)
    cost, ends = swap(cost, ends)
    found, choices, _ = sweep(cost, ends, moves, _Minimum("row"))
    columns = _trace_back(choices, ends, m, n)
    position = jnp.arange(n + m - 1)[:, None]
    return found, jnp.where(columns < 0, -1, position - columns)


def alignment(rows: Array, n: int, m: int) -> Array:
    """The path as a boolean matrix ``[n, m, L]``."""
    row = jnp.arange(n)[:, None]
    diagonal_of_cell = row + jnp.arange(m)
    return rows[diagonal_of_cell] == row[..., None]


class _Minimum:
    """The hard minimum; records the choices int8 ``[P - 1, n, L]`` where `ties` is given.

    `ties` is the step taken where steps in rows and in columns are as good, "row" or "column".
    """

    outside: tuple[float, ...] = (math.inf,)
    unroll = 4

    def __init__(self, ties: str | None = None):
        self.ties = ties

    def extend(
        self, cost: Array, row: Values, column: Values, both: Values | None
    ) -> tuple[Values, Array | None]:
        (from_row,), (from_column,), choice = row, column, None
        best = jnp.minimum(from_row, from_column)
        if self.ties:
            rows_win = from_row < from_column if self.ties == "column" else from_row <= from_column
            choice = jnp.where(rows_win, jnp.int8(_ROW), jnp.int8(_COLUMN))
        if both is not None:
            (from_both,) = both
            if choice is not None:
                choice = jnp.where(from_both <= best, jnp.int8(_DIAGONAL), choice)
            best = jnp.minimum(best, from_both)
        return (cost + best,), choice

    def total(self, values: Values) -> Array:
        return values[0]


def _trace_back(choices: Array, ends: Ends | None, n: int, m: int) -> Array:
    lanes = choices.shape[-1]
    if ends is None:
        ends = Ends(*(jnp.full(lanes, size - 1, jnp.int32) for size in (n, m)))
    choices, ends = alike((choices, ends))  # not everywhere do all of them vary over the shards
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
    return jnp.concatenate([jnp.zeros_like(rows, shape=(1, lanes)), rows])
