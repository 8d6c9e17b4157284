"""Hard alignments: the shortest path and its cost.

Path. A hard alignment is kept as ``rows [P, L]``: the row of the path on each of the
``P = n + m - 1`` anti-diagonals, -1 where the path has no cell (a diagonal move skips one, and
nothing lies before its beginning or past its end). Its cells are ``(rows[p], p - rows[p])``.

Ties. Ordered so that DejaVid's rule holds: the diagonal move (where allowed) unless another is
strictly smaller; then the step in rows only if strictly smaller than the step in columns. Of
equally good ends the one on the first anti-diagonal (of two there, that in the last column), and a
path begins where it may unless coming from somewhere is strictly smaller: of equally good paths
with the same end, one that skips more frames at the beginning.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine.model import Model
from tempalign._engine.recurrence import (
    Arrivals,
    Ends,
    MovePrices,
    Prices,
    Values,
    exit_cell,
    exits,
    prefers_swap,
    swap,
    sweep,
)
from tempalign._engine.shards import alike
from tempalign._types import Array

# What a cell came from.
_COLUMN, _ROW, _DIAGONAL, _NOWHERE = 0, 1, 2, 3


class ByMove(NamedTuple):
    """By which move paths come to cells: how many do, or whether the one path does."""

    row: Array
    column: Array
    diagonal: Array
    begun: Array


class Path(NamedTuple):
    """A shortest path.

    Attributes:
        value: ``[L]``, its cost.
        rows: int32 ``[P, L]``, see the module.
    """

    value: Array
    rows: Array


def value(model: Model, cost: Array, ends: Ends | None, prices: Prices | None) -> Array:
    """Minimal path cost of each lane, ``[L]``; ``inf`` where there is no path.

    Args:
        model: of the problem.
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        ends: last cells, or None for (n-1, m-1) everywhere.
        prices: of the moves, None if the model is uniform.
    """
    if prefers_swap(cost, model):
        model, cost, ends, prices = swap(model, cost, ends, prices)
    return jnp.min(_last(sweep(model, cost, ends, Minimum(), prices).last, model), axis=0)


@partial(jax.jit, static_argnames="model")
def path(model: Model, cost: Array, ends: Ends | None, prices: Prices | None) -> Path:
    """The shortest path of each lane; arguments as for `value`. Constants to autodiff."""
    cost, prices = lax.stop_gradient((cost, prices))
    n, m, _ = cost.shape
    if not prefers_swap(cost, model):
        return _path(model, cost, ends, prices, "column")
    found, columns = _path(*swap(model, cost, ends, prices), "row")
    position = jnp.arange(n + m - 1)[:, None]
    return Path(found, jnp.where(columns < 0, -1, position - columns))


def on_cells(rows: Array, n: int, m: int, numbers: Array | None = None) -> Array:
    """The path as a boolean matrix ``[n, m, L]``.

    Args:
        rows: of the path.
        n: number of rows.
        m: number of columns.
        numbers: ``[P, L]``; if given, the result holds these on the path, and 0 elsewhere.
    """
    row = jnp.arange(n)[:, None]
    diagonal_of_cell = row + jnp.arange(m)
    here = rows[diagonal_of_cell] == row[..., None]
    return here if numbers is None else jnp.where(here, numbers[diagonal_of_cell], 0)


def moves_of(rows: Array) -> ByMove:
    """By which move the path came to each of its cells, bool ``[P, L]``."""
    here = rows >= 0
    before = jnp.concatenate([jnp.full_like(rows[:1], -1), rows])[:-1]
    two_before = jnp.concatenate([jnp.full_like(rows[:1], -1), before])[:-1]
    straight = here & (before >= 0)
    by_diagonal = here & ~straight & (two_before >= 0)
    by_row, by_column = straight & (before < rows), straight & (before == rows)
    return ByMove(by_row, by_column, by_diagonal, here & ~straight & ~by_diagonal)


class Minimum:
    """The hard minimum; records the choices int8 ``[P - 1, n, L]`` where `ties` is given.

    `ties` is the step taken where steps in rows and in columns are as good, "row" or "column".
    """

    outside: tuple[float, ...] = (math.inf,)
    unroll = 4

    def __init__(self, ties: str | None = None):
        self.ties = ties

    def extend(
        self, cost: Array, ways: Arrivals, prices: MovePrices | None
    ) -> tuple[Values, Array | None]:
        best, choice = None, None
        codes = (_ROW, _COLUMN, _DIAGONAL, _NOWHERE)
        added = (None,) * 4 if prices is None else prices
        for code, way, price in zip(codes, ways, added, strict=True):
            if way is None:
                continue
            here = way[0] if price is None else way[0] + price
            if best is None:
                best = here
                choice = jnp.full_like(cost, code, jnp.int8) if self.ties else None
                continue
            if choice is not None:
                strictly = code == _COLUMN and self.ties == "row"
                wins = here < best if strictly else here <= best
                choice = jnp.where(wins, jnp.int8(code), choice)
            best = jnp.minimum(best, here)
        assert best is not None
        return (cost + best if prices is None else best,), choice

    def entered(self, reached: Array, column: Array) -> Values:
        del column
        return (reached,)

    def multiplied(self, multiplicity: int) -> float:
        del multiplicity
        return 0.0


class MinimumWithStart(Minimum):
    """The hard minimum of paths that remember the column they began in."""

    outside: tuple[float, ...] = (math.inf, -1.0)
    unroll = 1

    def extend(
        self, cost: Array, ways: Arrivals, prices: MovePrices | None
    ) -> tuple[Values, Array | None]:
        (best,), choice = Minimum("column").extend(
            cost, Arrivals(*(None if way is None else way[:1] for way in ways)), prices
        )
        began = jnp.full_like(best, -1)
        for code, way in zip((_ROW, _COLUMN, _DIAGONAL, _NOWHERE), ways, strict=True):
            if way is not None:
                began = jnp.where(choice == code, way[1], began)
        return (best, began), None

    def entered(self, reached: Array, column: Array) -> Values:
        return reached, column.astype(reached.dtype)


def _last(values: Values, model: Model) -> Array:
    """R of the ends, ``[P K, L]``, or ``[1, L]`` where there is one."""
    return values[0] if model.end.is_open else values[0][None]


def _first_of(last: Array, flipped: bool) -> Array:
    """The best place to end; of two as good on one anti-diagonal that in the caller's last column.

    With rows and columns exchanged (`flipped`) that is the second of the two.
    """
    if flipped:
        pairs = last.reshape(last.shape[0] // 2, 2, last.shape[-1])  # -1 fails without lanes
        last = pairs[:, ::-1].reshape(last.shape)
    best = jnp.argmin(last, axis=0).astype(jnp.int32)
    return best ^ 1 if flipped else best


def _path(model: Model, cost: Array, ends: Ends | None, prices: Prices | None, ties: str) -> Path:
    n, m, lanes = cost.shape
    swept = sweep(model, cost, ends, Minimum(ties), prices)
    last = _last(swept.last, model)
    best = _first_of(last, flipped=ties == "row" and exits(model.end) == 2)
    if ends is None:
        ends = Ends(*(jnp.full(lanes, size - 1, jnp.int32) for size in (n, m)))
    # Not everywhere do all of them vary over the shards.
    choices, ends, best = alike((swept.records, ends, best))
    start = ends.row, ends.row + ends.column
    if model.end.is_open:
        start = exit_cell(model.end, ends, best)
    lane = jnp.arange(lanes)

    def step(carry, inputs):
        row, position = carry  # the path's next cell to visit, and its anti-diagonal; -1: none
        p, choice = inputs
        here = p == position
        move = choice[row, lane]
        visited = jnp.where(here, row, -1)
        if not model.begin.is_open:
            # At the border there is one way; this also keeps the walk inside when costs are inf.
            move = jnp.where(row == 0, _COLUMN, jnp.where(p == row, _ROW, move))
        back = jnp.where(move == _DIAGONAL, 2, 1)
        before = jnp.where(move == _NOWHERE, -1, position - back)
        up = here & ((move == _ROW) | (move == _DIAGONAL))
        row = jnp.where(up, jnp.maximum(row - 1, 0), row)
        return (row, jnp.where(here, before, position)), visited

    positions = jnp.arange(1, choices.shape[0] + 1)
    (row, position), rows = lax.scan(step, start, (positions, choices), reverse=True)
    # On the first anti-diagonal there is one cell, and every path that comes there begins there.
    first = jnp.where(position == 0, row, -1)[None]
    return Path(jnp.min(last, axis=0), jnp.concatenate([first, rows]))
