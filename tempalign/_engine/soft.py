"""Soft alignments: the Gibbs distribution over paths, ``exp(-path cost / gamma)``."""

import math
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._engine.model import Model
from tempalign._engine.recurrence import (
    Above,
    Arrivals,
    Ends,
    Prices,
    Sweep,
    Values,
    exits,
    prefers_swap,
    swap,
    sweep,
    unskew,
)
from tempalign._engine.shards import alike
from tempalign._types import Array


class Gibbs(NamedTuple):
    """The Gibbs distribution over paths in summary.

    Attributes:
        value: ``[L]`` soft minimum of the path costs.
        moves: probabilities ``[n, m, L]`` that a path enters a cell by the row, the column and the
            diagonal move, or begins there. None if not asked for.
        visits: ``[n, m, L]`` probability that a path visits the cell: their sum.
        entropy: ``[L]`` of the distribution, in nats; -d value / d gamma. None if not asked for.
    """

    value: Array
    moves: tuple[Array, Array, Array, Array] | None
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
    wanted = {"with_entropy": with_entropy, "with_moves": with_moves}
    if prefers_swap(cost, model):
        found = gibbs(*swap(model, cost, ends, prices), gamma, **wanted)
        by = found.moves
        if by is not None:
            row, column, diagonal, begun = (part.transpose(1, 0, 2) for part in by)
            by = column, row, diagonal, begun
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
    present, kept = _present(model), _kept(model)
    rest = next((name for name in present if name not in kept), None)

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
        taken = {name: visits * share for name, share in zip(kept, probabilities, strict=True)}
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
        return (*(taken.get(name, jnp.zeros_like(left)) for name in _MOVES), begun)

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
    starts = nowhere, nowhere, nowhere, first
    by = tuple(map(matrix, starts, recorded))
    return Gibbs(total, by, reduce(jnp.add, by), entropy)  # type: ignore[arg-type]


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
    algebra = _LeanSoftMinimum(model, gamma)
    swept = _swept(model, cost, ends, algebra, prices, above)
    assert swept.below is not None
    places = tuple(
        jnp.concatenate([before[None], here])
        for before, here in zip(so_far, swept.last, strict=True)
    )
    return algebra.softmin(places)[0], Above(swept.below, above.first + cost.shape[0])


def nothing_above(gamma: Array, num_columns: int, lanes: int) -> tuple[Above, Values]:
    """What stands before the first block of rows, and the soft minimum over no path at all."""
    outside = _outside(gamma)
    values = tuple(jnp.full_like(gamma, wall, shape=(num_columns, lanes)) for wall in outside)
    nobody = tuple(jnp.full_like(gamma, wall, shape=lanes) for wall in outside)
    return Above(values, jnp.zeros_like(gamma, dtype=jnp.int32)), nobody


_MOVES = ("row", "column", "diagonal")


def _present(model: Model) -> tuple[str, ...]:
    return tuple(
        name
        for name, move in zip(_MOVES, model.moves, strict=True)
        if move.allowed != "never"
    )


def _kept(model: Model) -> tuple[str, ...]:
    """The moves whose probabilities are kept: all but one, which takes what they leave.

    Where paths may begin at the border, the diagonal can take what is left: from there it leads
    out of the grid. Other moves cannot.
    """
    present = _present(model)
    return present if model.begin.is_open and present[-1] != "diagonal" else present[:-1]


def _swept(
    model: Model,
    cost: Array,
    ends: Ends | None,
    algebra: "SoftMinimum",
    prices: Prices | None,
    above: Above | None = None,
) -> Sweep:
    # Numbers that stay finite when added, so that differences of forbidden cells are not NaN.
    cost = jnp.minimum(cost, algebra.outside[0])
    if ends is not None:
        # What lies past the end may be NaN, which times a probability of 0 is not 0.
        head = 0 if above is None else above.first
        inside = (jnp.arange(cost.shape[0])[:, None, None] <= ends.row - head) & (
            jnp.arange(cost.shape[1])[:, None] <= ends.column
        )
        cost = jnp.where(inside, cost, 0)
    return sweep(model, cost, ends, algebra, prices, above)


def _outside(gamma: Array) -> tuple[float, float]:
    """Far above any cost; twice as much is still finite."""
    return (1e38 if gamma.dtype == jnp.float32 else 1e307), 0.0


class Shares(NamedTuple):
    """How the ways to a cell share in it.

    Attributes:
        probabilities: of the moves and the entry that there are, in order.
        parts: what they are proportional to.
        entropy: of the choice between them; None if not asked for.
    """

    probabilities: list[Array]
    parts: list[Array]
    entropy: Array | None


class SoftMinimum:
    """The soft minimum, of numbers held as unevaluated sums (high, low) of two floats.

    R grows with length and its rounding with it, while the probabilities of the moves hang on
    differences of R divided by gamma. What rounding cuts off a sum is therefore kept in a low
    part, and precision does not decay with length. (Plain float32 loses 1e-3 at 1000 x 1000 and
    gamma 0.01.)

    A record, where it is kept, is the probabilities of the moves of `_kept` and the entropy of the
    choice between all ways.
    """

    unroll = 1

    def __init__(
        self, model: Model, gamma: Array, *, keep_moves: bool = False, keep_entropy: bool = False
    ):
        self.model = model
        self.gamma = gamma
        self.scale = 1 / gamma
        self.farthest = 1000 * gamma  # exp(-1000) is 0 in any precision
        self.keep_moves = keep_moves
        self.keep_entropy = keep_entropy
        self.outside: tuple[float, ...] = _outside(gamma)

    def extend(self, cost: Array, ways: Arrivals, prices: Arrivals | None) -> tuple[Values, Any]:
        updated, shares = self.share(cost, ways, prices)
        if not self.keep_moves:
            return updated, None
        count = len(_kept(self.model))
        kept, rest = shares.probabilities[:count], shares.parts[count:]
        if kept:
            # Where nothing is left for the others, let it be exactly nothing.
            nobody = reduce(jnp.add, rest) == 0
            kept[-1] = jnp.where(nobody, 1 - sum(kept[:-1]), kept[-1])
        return updated, (tuple(kept), shares.entropy)

    def share(self, cost: Array, ways: Arrivals, prices: Arrivals | None) -> tuple[Values, Shares]:
        """The next values, and how the ways to them share in them."""
        values = []
        for k, way in enumerate(ways):
            if way is not None and prices is None:
                values.append(way)
            elif way is not None and prices is not None:
                high, low = _two_sum(way[0], prices[k])
                values.append((high, low + way[1]))
        least = _least([high for high, _ in values])
        above = [(high - least) + low for high, low in values]
        # Where costs are huge, so are the low parts, compared with gamma: a second minimum.
        tail = _least(above)
        # The minimum is subtracted before dividing by gamma, so the quotients cannot overflow.
        gaps = [jnp.minimum(height - tail, self.farthest) * self.scale for height in above]
        parts = [jnp.exp(-gap) for gap in gaps]
        total = reduce(jnp.add, parts)
        log_total = jnp.log(total)
        high, low = _two_sum(cost, least) if prices is None else (least, jnp.zeros_like(least))
        high, low = _two_sum(high, low + (tail - self.gamma * log_total))
        updated = jnp.minimum(high, self.outside[0]), low
        if not self.keep_moves:
            return updated, Shares([], parts, None)
        share = 1 / total
        probabilities = [part * share for part in parts]
        entropy = None
        if self.keep_entropy:
            entropy = log_total + sum(p * gap for p, gap in zip(probabilities, gaps, strict=True))
            if ways.entry is not None and self.model.begin.multiplicity > 1:
                # Beginning here counts for as many paths: -gamma times the log of their number.
                number = jnp.where(ways.entry[0] < 0, -ways.entry[0] * self.scale, 0)
                entropy = entropy + probabilities[-1] * number
        return updated, Shares(probabilities, parts, entropy)

    def softmin(self, values: Values) -> tuple[Values, Array, Array]:
        """Of ``[N, L]`` along the first axis; also the probabilities and their entropy."""
        high, low = values
        least = lax.stop_gradient(jnp.min(high, axis=0))
        above = (high - least) + low
        tail = lax.stop_gradient(jnp.min(above, axis=0))
        gaps = jnp.minimum(above - tail, self.farthest) * self.scale
        parts = jnp.exp(-gaps)
        total = jnp.sum(parts, axis=0)
        log_total = jnp.log(total)
        probabilities = parts / total
        entropy = log_total + jnp.sum(probabilities * gaps, axis=0)
        return _two_sum(least, tail - self.gamma * log_total), probabilities, entropy

    def entered(self, reached: Array, column: Array) -> Values:
        del column
        return reached, jnp.zeros_like(reached)

    def multiplied(self, multiplicity: int) -> float | Array:
        return 0.0 if multiplicity == 1 else -self.gamma * math.log(multiplicity)

    def total(self, values: Values) -> Array:
        """R itself, inf where there is no path."""
        nowhere = values[0] >= self.outside[0] / 2
        return jnp.where(nowhere, jnp.inf, values[0] + values[1])


class _LeanSoftMinimum(SoftMinimum):
    """The soft minimum for autodiff to go through: a cell keeps its move probabilities only."""

    def extend(self, cost: Array, ways: Arrivals, prices: Arrivals | None) -> tuple[Values, None]:
        return _lean_cell(self.model, cost, self.gamma, ways, prices), None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _lean_cell(
    model: Model, cost: Array, gamma: Array, ways: Arrivals, prices: Arrivals | None
) -> Values:
    return SoftMinimum(model, gamma).share(cost, ways, prices)[0]


def _lean_cell_jvp(model, primals, tangents):
    cost, gamma, ways, prices = primals
    d_cost, d_gamma, d_ways, d_prices = tangents
    wants_entropy = not isinstance(d_gamma, SymbolicZero)
    algebra = SoftMinimum(model, gamma, keep_moves=True, keep_entropy=wants_entropy)
    updated, shares = algebra.share(cost, ways, prices)
    tangent = jnp.zeros_like(cost)
    if prices is None and not isinstance(d_cost, SymbolicZero):
        tangent = tangent + d_cost
    present = [k for k, way in enumerate(ways) if way is not None]
    for k, probability in zip(present, shares.probabilities, strict=True):
        # The low part is the rounding of the high one: the tangent is all in the high part. How
        # an entry depends on gamma is in the entropy.
        pushed = [] if ways[k] is ways.entry else [d_ways[k][0]]
        if d_prices is not None:
            pushed.append(d_prices[k])
        for one in pushed:
            if not isinstance(one, SymbolicZero):
                tangent = tangent + probability * one
    if wants_entropy:
        tangent = tangent - shares.entropy * d_gamma
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
