"""The recurrence of dynamic time warping: one ``lax.scan`` over anti-diagonals.

    R(i, j) = D(i, j) + min{ R(i-1, j), R(i, j-1), R(i-1, j-1) }

Cell (i, j) needs only cells of the two anti-diagonals before its own, ``p = i + j``, so a whole
anti-diagonal is computed at once (DejaVid, Alg. 2; Cuturi & Blondel 2017). Everything here has
the pairs ("lanes") on the last axis: a cell's neighbour (i-1, .) is then one contiguous block
away and a step is plain vector code for any mixture of batch sizes and lengths.

Which moves there are and where paths begin and end is the model's. What the minimum is, hard or
soft, is the algebra's: `hard.py` and `soft.py`.
"""

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import lax

from tempalign._engine.model import Model, Move, Opening
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


def within_lengths(ends: Ends, shape: tuple[int, ...], first: Array | int = 0) -> Array:
    """The cells of each lane within its lengths, bool ``[n, m, L]``.

    Args:
        ends: last cells.
        shape: ``(n, m, L)``.
        first: the number of the first row, for a block of rows.
    """
    row, column = first + jnp.arange(shape[0])[:, None, None], jnp.arange(shape[1])[:, None]
    return (row <= ends.row) & (column <= ends.column)


def skew(cost: Array, outside: float) -> Array:
    """``[n, m, L] -> [P, n, L]`` with ``out[i + j, i] = cost[i, j]`` and `outside` elsewhere."""
    n, m, lanes = cost.shape
    # A row padded by n cells, read back one cell shorter, starts one cell later than the row
    # above: a shear without a gather.
    padded = jnp.pad(cost, ((0, 0), (0, n), (0, 0)), constant_values=outside)
    sheared = padded.reshape(n * (m + n), lanes)[: n * (m + n - 1)]
    sheared = _stored(sheared)
    return sheared.reshape(n, m + n - 1, lanes).transpose(1, 0, 2)


def unskew(skewed: Array, m: int) -> Array:
    """``[P, n, L] -> [n, m, L]``, the inverse of `skew`."""
    diagonals, n, lanes = skewed.shape
    flat = _stored(skewed.transpose(1, 0, 2).reshape(n * diagonals, lanes))
    return jnp.pad(flat, ((0, n), (0, 0))).reshape(n, diagonals + 1, lanes)[:, :m]


def _stored(flat: Array) -> Array:
    """A flat array that is stored as it is, before it is read in rows of another length.

    Where both are one program, XLA's code for GPUs computes where to read in numbers that 32 bits
    do not hold from about 2000 x 2000 cells on, and reads other cells: pairs of 4000 x 4000 came
    out 2 % off (jax 0.11.2; see tests/index_arithmetic.py).
    """
    return lax.optimization_barrier(flat)


class Prices(NamedTuple):
    """What moves cost besides the cell, where they do not all cost the same.

    Attributes:
        weights: ``[3]`` for row, column and diagonal, or None.
        penalty: ``[]``, or None.
    """

    weights: Array | None
    penalty: Array | None

    def of(self, move: Move, k: int, cost: Array, forbidden: float) -> Array:
        """The cost of entering cells by move number k; a forbidden cell stays one."""
        price = cost
        if move.weighted and self.weights is not None:
            price = price * self.weights[k]
        if move.penalised and self.penalty is not None:
            price = price + self.penalty
        return jnp.where(cost == forbidden, forbidden, jnp.minimum(price, forbidden))

    def swapped(self) -> "Prices":
        """Those of the problem with rows and columns exchanged."""
        if self.weights is None:
            return self
        return self._replace(weights=self.weights[jnp.array([1, 0, 2])])


def prefers_swap(cost: Array, model: Model) -> bool:
    """Whether to exchange rows and columns: a step computes all rows, so few are better."""
    n, m = cost.shape[:2]
    known = isinstance(n, int) and isinstance(m, int)  # else symbolic, under `jax.export`
    return known and n > m and model.symmetric


def swap(
    model: Model, cost: Array, ends: Ends | None, prices: Prices | None
) -> tuple[Model, Array, Ends | None, Prices | None]:
    """The same problem with rows and columns exchanged."""
    return (
        model.swapped(),
        cost.transpose(1, 0, 2),
        None if ends is None else Ends(ends.column, ends.row),
        None if prices is None else prices.swapped(),
    )


class Arrivals(NamedTuple):
    """The ways to get to the cells of an anti-diagonal, `Values` each; None where there is none.

    Attributes:
        row: what stands at (i-1, j).
        column: what stands at (i, j-1).
        diagonal: what stands at (i-1, j-1).
        entry: 0 where a path may begin (less for its multiplicity), `outside` elsewhere.
    """

    row: Values | None
    column: Values | None
    diagonal: Values | None
    entry: Values | None


class MovePrices(NamedTuple):
    """What it costs to come to the cells of an anti-diagonal by each of the ways, ``[n, L]``."""

    row: Array
    column: Array
    diagonal: Array
    entry: Array


class Above(NamedTuple):
    """What stands before a block of rows.

    Attributes:
        values: arrays ``[m, L]``, what the row before the first holds.
        first: ``[]``, how many rows there are above the block.
    """

    values: Values
    first: Array


class Sweep(NamedTuple):
    """What a pass over all anti-diagonals leaves.

    Attributes:
        last: R of the last cells, ``[L]``; where ends are open or the matrix is a block of rows,
            of all places where a path may end, ``[P K, L]``, with `outside` elsewhere.
        records: what the algebra recorded, stacked over p = 1 .. P-1.
        below: arrays ``[m, L]``, what the last row holds; None unless `above` was given.
    """

    last: Values
    records: Any
    below: Values | None


class Algebra(Protocol):
    """What a cell holds, and how it comes from its predecessors.

    A cell holds a tuple of numbers (one for the hard minimum, two for the soft one); `Values` are
    those of a whole anti-diagonal, arrays ``[n, L]``.
    """

    outside: tuple[float, ...]
    """What a cell past the border holds; its first number is the cost of a forbidden cell."""
    unroll: int
    """How many steps to compile together."""

    def extend(self, cost: Array, ways: Arrivals, prices: MovePrices | None) -> tuple[Values, Any]:
        """The next values and a record.

        `prices` are what the ways cost, None if they all cost `cost`.
        """

    def entered(self, reached: Array, column: Array) -> Values:
        """The values of paths that begin, from what they have cost so far and their column."""

    def multiplied(self, multiplicity: int) -> float | Array:
        """What is added to R where as many paths as one count."""


def exits(opening: Opening) -> int:
    """How many places on an anti-diagonal a path may end at."""
    return max((opening.x != 0) + (opening.y != 0), 1)


def exit_cell(opening: Opening, ends: Ends, index: Array) -> tuple[Array, Array]:
    """Row and anti-diagonal of place number `index` of `Sweep.last`, with open ends.

    Args:
        opening: the model's end.
        ends: last cells.
        index: int32 ``[L]``.
    """
    count = exits(opening)
    p = index // count
    leaves_x = (index % count == 0) & (opening.x != 0)
    return jnp.where(leaves_x, p - ends.column, ends.row), p


def sweep(
    model: Model,
    cost: Array,
    ends: Ends | None,
    algebra: Algebra,
    prices: Prices | None = None,
    above: Above | None = None,
) -> Sweep:
    """The recurrence over all anti-diagonals.

    Args:
        model: moves, and where paths begin and end.
        cost: ``[n, m, L]``; cells outside of the window hold the algebra's first `outside`.
        ends: last cells or None. A lane may end in rows that are not of this matrix.
        algebra: the minimum, hard or soft.
        prices: of the moves, None if the model is uniform.
        above: what stands before this block, for a matrix worked on by blocks of rows. None:
            nothing.
    """
    n, m, lanes = cost.shape
    forbidden = algebra.outside[0]
    skewed = skew(cost, forbidden)
    row = jnp.arange(n)[:, None]
    head = jnp.zeros((), jnp.int32) if above is None else above.first
    last_row, last_column = (n - 1, m - 1) if ends is None else ends
    listed = model.end.is_open or above is not None

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

    def where_allowed(move: Move, values: Values | None, p: Array | int) -> Values | None:
        if values is None or move.allowed == "never":
            return None
        if move.allowed == "everywhere":
            return values
        walls = outside(values[0])
        here = p == row
        return tuple(jnp.where(here, v, wall) for v, wall in zip(values, walls, strict=True))

    def entry(p: Array | int) -> Values:
        """Where a path may begin on anti-diagonal p."""
        column = p - row
        corner = (row + head == 0) & (column == 0)
        here = corner
        if model.begin.x != 0:
            here |= (column == 0) & _within(row + head, model.begin.x)
        if model.begin.y != 0:
            here |= (row + head == 0) & (column >= 0) & _within(column, model.begin.y)
        start = algebra.multiplied(model.begin.multiplicity)
        begun = jnp.where(corner, 0, start)
        return algebra.entered(jnp.where(here, begun, forbidden).astype(cost.dtype), column)

    def listed_ends(values: Values, p: Array | int) -> Values:
        """The places of anti-diagonal p where a path may end, ``[K, L]`` each."""
        found = []
        if model.end.x != 0 or not model.end.is_open:  # in the last column
            at = p - last_column
            corner = at + head == last_row
            here = corner if model.end.x == 0 else _within(last_row - at - head, model.end.x)
            found.append((at, here & (at >= 0) & (at < n), corner))
        if model.end.y != 0:  # in the last row
            at = last_row - head
            left = last_column - (p - at)
            corner = left == 0
            here = _within(left, model.end.y) & (p - at >= 0) & (at >= 0) & (at < n)
            # The corner is in the last column as well, and must count once.
            found.append((at, here & ~corner if model.end.x != 0 else here, corner))
        more = algebra.multiplied(model.end.multiplicity)
        places: list[Values] = []
        for at, here, corner in found:
            parts = list(_take(part, at) for part in values)
            parts[0] = jnp.where(here, parts[0], forbidden)
            parts[-1] = parts[-1] + jnp.where(here & ~corner, more, 0).astype(cost.dtype)
            places.append(tuple(parts))
        return tuple(map(jnp.stack, zip(*places, strict=True)))

    def value_at(values: Values, p: Array | int, so_far: Values) -> Values:
        """R of the lanes that end on anti-diagonal p."""
        assert ends is not None
        here = p == ends.row + ends.column
        return tuple(
            jnp.where(here, _take(part, ends.row), before)
            for part, before in zip(values, so_far, strict=True)
        )

    def extended(costs: Array, near: Values, far: Values | None, p: Array | int, begins: bool):
        ways = Arrivals(
            where_allowed(model.row, tuple(part[:-1] for part in near), p),
            where_allowed(model.column, tuple(part[1:] for part in near), p),
            where_allowed(
                model.diagonal, None if far is None else tuple(part[:-1] for part in far), p
            ),
            entry(p) if begins else None,
        )
        priced = None
        if prices is not None:
            row_price, column_price, diagonal_price = (
                prices.of(move, k, costs, forbidden) for k, move in enumerate(model.moves)
            )
            priced = MovePrices(row_price, column_price, diagonal_price, costs)
        return algebra.extend(costs, ways, priced)

    def left_by(near: Values, p: Array | int, found: Values | None):
        """What to carry and what to list of the ends on anti-diagonal p, which stands in `near`.

        Looked at a step late: read where it is made, the cells would be computed twice.
        """
        values = tuple(part[1:] for part in near)
        if listed:
            return None, listed_ends(values, p)
        return (None if found is None else value_at(values, p, found)), None

    diagonal = model.diagonal.allowed != "never"

    def step(carry, inputs):
        near, far, found = carry
        p, costs, walls = inputs
        found, leaving = left_by(near, p - 1, found)
        updated, record = extended(costs, near, far, p, model.begin.is_open)
        below = None if above is None else tuple(part[-1] for part in updated)
        ahead = standing(updated, edge if walls is None else walls)
        return (ahead, near if diagonal else None, found), (record, leaving, below)

    edge, nowhere = outside(skewed[0, :1]), outside(skewed[0])
    # The cells above (0, 0), (0, 1) and the rest, one for each anti-diagonal.
    over: list[Any] = [edge, edge, None]
    if above is not None:
        padded = tuple(
            jnp.pad(part[:, None], ((0, n), (0, 0), (0, 0)), constant_values=wall)
            for part, wall in zip(above.values, algebra.outside, strict=True)
        )
        over = [tuple(part[k] for part in padded) for k in (0, 1, slice(2, None))]
    near, far = standing(nowhere, over[0]), standing(nowhere, edge)
    start, _ = extended(skewed[0], near, far if diagonal else None, 0, True)
    found = None
    if ends is not None and not listed:
        found = tuple(jnp.zeros_like(cost, shape=lanes) for _ in algebra.outside)
    carry = (standing(start, over[1]), near if diagonal else None, found)
    inputs = (jnp.arange(1, skewed.shape[0]), skewed[1:], over[2])
    unroll = algebra.unroll if isinstance(skewed.shape[0], int) else 1
    (last, _, found), (records, leaving, below) = lax.scan(step, carry, inputs, unroll=unroll)
    found, last_leaving = left_by(last, n + m - 2, found)
    if listed:
        assert last_leaving is not None
        found = tuple(
            jnp.concatenate([rest, one[None]]).reshape((n + m - 1) * one.shape[0], lanes)
            for one, rest in zip(last_leaving, leaving, strict=True)
        )
    elif found is None:
        found = tuple(part[-1] for part in last)
    if above is not None:
        below = tuple(
            jnp.concatenate([one[-1:], rest])[n - 1 :]
            for one, rest in zip(start, below, strict=True)
        )
    return Sweep(found, records, below)


def _within(skipped: Array | int, limit: int | None) -> Array:
    """Whether as many frames may be skipped."""
    skipped = jnp.asarray(skipped)
    return skipped >= 0 if limit is None else (skipped >= 0) & (skipped <= limit)


def _take(values: Array, row: Array | int) -> Array:
    """Row number `row` (one for all lanes, or one for each) of ``[n, L]``; clipped."""
    row = jnp.asarray(row)
    if row.ndim == 0:
        return jnp.take(values, row, axis=0, mode="clip")
    return jnp.take_along_axis(values, row[None], axis=0, mode="clip")[0]
