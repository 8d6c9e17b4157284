"""Soft alignments: the Gibbs distribution over paths, ``exp(-path cost / gamma)``."""

import math
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from tempalign._engine.hard import ByMove
from tempalign._engine.model import Model
from tempalign._engine.recurrence import (
    Above,
    Ends,
    Prices,
    Sweep,
    Values,
    exits,
    prefers_swap,
    swap,
    sweep,
    unskew,
    within_lengths,
)
from tempalign._engine.shards import alike
from tempalign._engine.soft_minimum import (
    MOVES,
    LeanSoftMinimum,
    SoftMinimum,
    kept,
    outside,
    present,
)
from tempalign._types import Array


class Gibbs(NamedTuple):
    """The Gibbs distribution over paths in summary.

    Attributes:
        value: ``[L]`` soft minimum of the path costs.
        moves: of how a path comes to a cell. None if not asked for.
        visits: ``[n, m, L]`` probability that a path visits the cell: their sum.
        entropy: ``[L]`` of the distribution, in nats; -d value / d gamma. None if not asked for.
    """

    value: Array
    moves: ByMove | None
    visits: Array
    entropy: Array | None


def value(
    model: Model, cost: Array, ends: Ends | None, prices: Prices | None, gamma: Array
) -> Array:
    """Soft minimum ``-gamma log sum exp(-path cost / gamma)`` over all paths of each lane.

    Args:
        model: of the problem.
        cost: ``[n, m, L]``; ``inf`` forbids a cell.
        ends: last cells, or None for (n-1, m-1) everywhere.
        prices: of the moves, None if the model is uniform.
        gamma: temperature, positive, ``[]``.

    Returns:
        ``[L]``, inf where no path is allowed.
    """
    if prefers_swap(cost, model):
        model, cost, ends, prices = swap(model, cost, ends, prices)
    algebra = SoftMinimum(model, gamma)
    last = _swept(model, cost, ends, algebra, prices).last
    return algebra.total(algebra.softmin(last)[0] if model.end.is_open else last)


def gibbs(
    model: Model,
    cost: Array,
    ends: Ends | None,
    prices: Prices | None,
    gamma: Array,
    *,
    with_entropy: bool = False,
    with_moves: bool = False,
) -> Gibbs:
    """Soft minimum, expected alignment and entropy; arguments as for `value`.

    A path of the distribution is drawn backwards: from the last cell to each predecessor with the
    probability that it has in the soft minimum. Visits and entropy then follow cell by cell,
    from quantities between 0 and 1, without differences of large numbers.
    """
    if prefers_swap(cost, model):
        found = gibbs(
            *swap(model, cost, ends, prices),
            gamma,
            with_entropy=with_entropy,
            with_moves=with_moves,
        )
        by = found.moves
        if by is not None:
            row, column, diagonal, begun = (part.transpose(1, 0, 2) for part in by)
            by = ByMove(column, row, diagonal, begun)
        return found._replace(moves=by, visits=found.visits.transpose(1, 0, 2))
    cost, gamma, ends, prices = alike((cost, gamma, ends, prices))
    n, m, lanes = cost.shape
    algebra = SoftMinimum(model, gamma, keep_moves=True, keep_entropy=with_entropy)
    swept = _swept(model, cost, ends, algebra, prices)
    last_row, last_column = (n - 1, m - 1) if ends is None else ends
    entropy = jnp.zeros_like(cost, shape=lanes) if with_entropy else None
    leaving = None
    if model.end.is_open:
        reached, leaving, choice = algebra.softmin(swept.last)
        total = algebra.total(reached)
        if with_entropy:
            corner = jnp.broadcast_to((last_row + last_column) * exits(model.end), (1, lanes))
            elsewhere = 1 - jnp.take_along_axis(leaving, corner, axis=0)[0]
            entropy = choice + elsewhere * math.log(model.end.multiplicity)
    else:
        total = algebra.total(swept.last)
    row = jnp.arange(n)[:, None]
    nothing = jnp.zeros_like(cost, shape=(1, lanes))
    recorded_moves = kept(model)
    rest = next((name for name in present(model) if name not in recorded_moves), None)

    def arriving(p: Array | int) -> Array:
        """The paths that start on anti-diagonal p, walking backwards."""
        if leaving is None:  # 1 at the last cell
            return jnp.where((row == last_row) & (p == last_row + last_column), 1, 0)
        count = exits(model.end)
        here = lax.dynamic_slice_in_dim(leaving, p * count, count)
        arrived = jnp.zeros_like(cost, shape=(n, lanes))
        if model.end.x != 0:
            arrived = arrived + jnp.where(row == p - last_column, here[0], 0)
        if model.end.y != 0:
            arrived = arrived + jnp.where(row == last_row, here[-1], 0)
        return arrived

    everywhere = ends is not None or leaving is not None

    def step(carry, inputs):
        ahead, two_ahead, entropy = carry  # visits that cells on p and p - 1 have got so far
        p, (probabilities, local) = inputs
        visits = ahead + arriving(p) if everywhere else ahead
        if model.begin.is_open:
            visits = jnp.where(row <= p, visits, 0)  # a path that began has left the grid
        taken = {
            name: visits * share for name, share in zip(recorded_moves, probabilities, strict=True)
        }
        # The move that is not kept takes what the others leave (but for rounding). Where they
        # leave nothing, not even the rounding: it might be forbidden.
        left = jnp.maximum(reduce(jnp.subtract, taken.values(), visits), 0)
        if probabilities:
            share = 1 - reduce(jnp.add, probabilities)
            left = jnp.where(share > 0, left, 0)
        if rest is not None:
            taken[rest] = left
        recorded = by_move(taken, left, p) if with_moves else visits
        if with_entropy:
            entropy = entropy + jnp.sum(visits * local, axis=0)
        ahead = taken.get("column", 0) + (two_ahead if "diagonal" in taken else 0)
        if "row" in taken:
            ahead = ahead + jnp.concatenate([taken["row"][1:], nothing])
        if "diagonal" in taken:
            two_ahead = jnp.concatenate([taken["diagonal"][1:], nothing])
        return (ahead, two_ahead, entropy), recorded

    def by_move(taken: dict[str, Array], left: Array, p: Array):
        """Visits by move; those of paths that begin here came by none."""
        begun = jnp.zeros_like(left)
        if model.begin.is_open:
            # Nothing else that is left comes to the border.
            begun = jnp.where((row == 0) | (row == p), left, 0)
            if rest is not None:
                taken = {**taken, rest: taken[rest] - begun}
        zero = jnp.zeros_like(left)
        row_visits, column_visits, diagonal_visits = (taken.get(name, zero) for name in MOVES)
        return ByMove(row_visits, column_visits, diagonal_visits, begun)

    zeros = jnp.zeros_like(cost, shape=(n, lanes))
    start = zeros if everywhere else zeros + arriving(n + m - 2)
    positions = jnp.arange(1, n + m - 1)
    (ahead, _, entropy), recorded = lax.scan(
        step, (start, zeros, entropy), (positions, swept.records), reverse=True
    )
    first = ahead + arriving(0) if everywhere else ahead

    def matrix(first: Array, rest: Array) -> Array:
        return unskew(jnp.concatenate([first[None], rest]), m)

    if not with_moves:
        return Gibbs(total, None, matrix(first, recorded), entropy)
    nowhere = jnp.zeros_like(first)
    starts = ByMove(nowhere, nowhere, nowhere, first)
    by = ByMove(*map(matrix, starts, recorded))
    return Gibbs(total, by, reduce(jnp.add, by), entropy)


def block_value(
    model: Model,
    cost: Array,
    ends: Ends,
    prices: Prices | None,
    gamma: Array,
    above: Above,
    so_far: Values,
) -> tuple[Values, Above]:
    """The soft minimum of a block of rows, for autodiff to go through.

    Args:
        model: as for `value`.
        cost: ``[n, m, L]``, the block's.
        ends: last cells, counted from the first row of the first block.
        prices: as for `value`.
        gamma: as for `value`.
        above: what stands before the block.
        so_far: of the blocks before, the soft minimum over the paths that end there.

    Returns:
        `so_far` with the paths that end in this block, and what stands before the next.
    """
    algebra = LeanSoftMinimum(model, gamma)
    swept = _swept(model, cost, ends, algebra, prices, above)
    assert swept.below is not None
    places = tuple(
        jnp.concatenate([before[None], here])
        for before, here in zip(so_far, swept.last, strict=True)
    )
    return algebra.softmin(places)[0], Above(swept.below, above.first + cost.shape[0])


def nothing_above(gamma: Array, num_columns: int, lanes: int) -> tuple[Above, Values]:
    """What stands before the first block of rows, and the soft minimum over no path at all."""
    walls = outside(gamma)
    values = tuple(jnp.full_like(gamma, wall, shape=(num_columns, lanes)) for wall in walls)
    nobody = tuple(jnp.full_like(gamma, wall, shape=lanes) for wall in walls)
    return Above(values, jnp.zeros_like(gamma, dtype=jnp.int32)), nobody


def _swept(
    model: Model,
    cost: Array,
    ends: Ends | None,
    algebra: SoftMinimum,
    prices: Prices | None,
    above: Above | None = None,
) -> Sweep:
    # Numbers that stay finite when added, so that differences of forbidden cells are not NaN.
    cost = jnp.minimum(cost, algebra.outside[0])
    if ends is not None:
        # What lies past the end may be NaN, which times a probability of 0 is not 0.
        first = 0 if above is None else above.first
        cost = jnp.where(within_lengths(ends, cost.shape, first), cost, 0)
    return sweep(model, cost, ends, algebra, prices, above)
