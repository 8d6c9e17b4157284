"""The soft minimum as an algebra of the recurrence: precise at any length and temperature."""

import math
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.recurrence import Arrivals, MovePrices, Values
from tempalign._types import Array

MOVES = ("row", "column", "diagonal")


def present(model: Model) -> tuple[str, ...]:
    """The moves that there are, in order."""
    return tuple(
        name for name, move in zip(MOVES, model.moves, strict=True) if move.allowed != "never"
    )


def kept(model: Model) -> tuple[str, ...]:
    """The moves whose probabilities are kept: all but one, which takes what they leave.

    Where paths may begin at the border, the diagonal can take what is left: from there it leads
    out of the grid. Other moves cannot.
    """
    names = present(model)
    return names if model.begin.is_open and names[-1] != "diagonal" else names[:-1]


def outside(gamma: Array) -> tuple[float, float]:
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

    A record, where it is kept, is the probabilities of the moves of `kept` and the entropy of the
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
        self.outside: tuple[float, ...] = outside(gamma)

    def extend(self, cost: Array, ways: Arrivals, prices: MovePrices | None) -> tuple[Values, Any]:
        updated, shares = self.share(cost, ways, prices)
        if not self.keep_moves:
            return updated, None
        count = len(kept(self.model))
        recorded, rest = shares.probabilities[:count], shares.parts[count:]
        if recorded:
            # Where nothing is left for the others, let it be exactly nothing.
            nobody = reduce(jnp.add, rest) == 0
            recorded[-1] = jnp.where(nobody, 1 - sum(recorded[:-1]), recorded[-1])
        return updated, (tuple(recorded), shares.entropy)

    def share(
        self, cost: Array, ways: Arrivals, prices: MovePrices | None
    ) -> tuple[Values, Shares]:
        """The next values, and how the ways to them share in them."""
        values = []
        added = (None,) * 4 if prices is None else prices
        for way, price in zip(ways, added, strict=True):
            if way is not None and price is None:
                values.append(way)
            elif way is not None and price is not None:
                high, low = _two_sum(way[0], price)
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


class LeanSoftMinimum(SoftMinimum):
    """The soft minimum for autodiff to go through: a cell keeps its move probabilities only."""

    def extend(self, cost: Array, ways: Arrivals, prices: MovePrices | None) -> tuple[Values, None]:
        return _lean_cell(self.model, cost, self.gamma, ways, prices), None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _lean_cell(
    model: Model, cost: Array, gamma: Array, ways: Arrivals, prices: MovePrices | None
) -> Values:
    return SoftMinimum(model, gamma).share(cost, ways, prices)[0]


@in_our_modes
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
