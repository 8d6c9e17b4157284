"""The one derivative rule: values and marginals of lanes, forward and reverse, to any order.

With E the expected alignment (under the hard minimum the path), H the entropy of the paths and
V_k the expected visits by move k,

    d value = <d value / d C, d C> - H d gamma + sum_k V_k d price_k.

`value` has that as its `custom_jvp`: forward and reverse mode are one pass over the matrix, and
since the marginals of the soft minimum are differentiable code (those of the hard minimum are
constants, beside a value that has this rule itself) so are all derivatives of higher order.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from tempalign._engine import checks, hard, soft
from tempalign._engine.hard import ByMove
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.recurrence import Ends, Prices, within_lengths
from tempalign._engine.shards import alike
from tempalign._types import Array


class Lanes(NamedTuple):
    """Pairs as the recurrence sees them, side by side on the last axis.

    Attributes:
        cost: ``[n, m, L]``, inf outside of the window.
        ends: last cells, None where all lengths are full.
        valid: bool ``[L]``, False where the result is NaN; None where it is known to be valid.
        gamma: ``[]``, None under the hard minimum.
        prices: of the moves, None where the model is uniform.
    """

    cost: Array
    ends: Ends | None
    valid: Array | None
    gamma: Array | None
    prices: Prices | None


class Marginals(NamedTuple):
    """What the paths of lanes are like.

    Attributes:
        value: ``[L]``.
        visits: ``[n, m, L]``: the expected alignment, or the path as 0 and 1.
        entropy: ``[L]`` of the distribution over paths, None if not asked for.
        moves: visits by row, column and diagonal move and beginnings, None if not asked for.
    """

    value: Array
    visits: Array
    entropy: Array | None
    moves: ByMove | None


def value(model: Model, lanes: Lanes) -> Array:
    """(Soft) minima of the path costs, ``[L]``; NaN where a lane is not valid."""
    return _value(model, alike(lanes))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(model: Model, lanes: Lanes) -> Array:
    given = usable(lanes)
    if given.gamma is None:
        found = hard.value(model, given.cost, given.ends, given.prices)
    else:
        found = soft.value(model, given.cost, given.ends, given.prices, given.gamma)
    return sealed(lanes, found)


@in_our_modes
def _value_jvp(model, primals, tangents):
    ((lanes,), (d_lanes,)) = primals, tangents
    wants_entropy = not _is_zero(d_lanes.gamma)
    found = _unsealed(model, lanes, entropy=wants_entropy, moves=not model.uniform)
    return found.value, _pushed(model, lanes, d_lanes, found)


_value.defjvp(_value_jvp, symbolic_zeros=True)


def marginals(
    model: Model, lanes: Lanes, *, entropy: bool = False, moves: bool = False
) -> Marginals:
    """Value, alignment and more; see `Marginals`.

    All of it is NaN where the value is not finite: there is no path, or not a valid one.
    """
    lanes = alike(lanes)
    made = _unsealed(model, lanes, entropy, moves)
    bad = ~jnp.isfinite(made.value)
    cells = bad & _inside(lanes)
    return Marginals(
        made.value,
        jnp.where(cells, jnp.nan, made.visits),
        None if made.entropy is None else jnp.where(bad, jnp.nan, made.entropy),
        None if made.moves is None else ByMove(*(jnp.where(cells, jnp.nan, v) for v in made.moves)),
    )


def _unsealed(model: Model, lanes: Lanes, entropy: bool, moves: bool) -> Marginals:
    """The same, but anything beside a value that is not finite."""
    given = usable(lanes)
    if given.gamma is None:
        n, m, _ = given.cost.shape
        found, rows = path(model, lanes)
        nothing = jnp.zeros_like(found) if entropy else None
        by = None
        if moves:
            kinds = hard.moves_of(rows)
            by = ByMove(*(hard.on_cells(rows, n, m, kind.astype(found.dtype)) for kind in kinds))
        visits = hard.on_cells(rows, n, m).astype(found.dtype)
        return Marginals(found, visits, nothing, by)
    arguments = given.cost, given.ends, given.prices, given.gamma
    gibbs = soft.gibbs(model, *arguments, with_entropy=entropy, with_moves=moves)
    return Marginals(sealed(lanes, gibbs.value), gibbs.visits, gibbs.entropy, gibbs.moves)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def path(model: Model, lanes: Lanes) -> hard.Path:
    """The shortest path of each lane; its value has derivatives, its rows have none."""
    found, rows = hard.path(model, lanes.cost, lanes.ends, lanes.prices)
    return hard.Path(sealed(lanes, found), rows)


@in_our_modes
def _path_jvp(model, primals, tangents):
    ((lanes,), (d_lanes,)) = primals, tangents
    found = path(model, lanes)
    made = _unsealed(model, lanes, entropy=False, moves=not model.uniform)
    pushed = _pushed(model, lanes, d_lanes, made._replace(value=found.value))
    no_tangent: Any = np.zeros(found.rows.shape, jax.dtypes.float0)
    return found, hard.Path(pushed, no_tangent)


path.defjvp(_path_jvp, symbolic_zeros=True)


def _pushed(model: Model, lanes: Lanes, d_lanes: Lanes, found: Marginals) -> Array:
    """The tangent of the value."""
    bad = ~jnp.isfinite(found.value)
    inside = _inside(lanes)

    def awake(numbers: Array) -> Array:
        """Numbers ``[n, m, L]``, 1 in the lanes that are not usable."""
        return jnp.where(bad, jnp.where(inside, 1, 0), numbers)

    total = jnp.zeros_like(found.value)
    by_move = None if found.moves is None else ByMove(*map(awake, found.moves))
    if not _is_zero(d_lanes.cost):
        pulled = slope(model, lanes, found._replace(visits=awake(found.visits), moves=by_move))
        total = total + jnp.sum(pulled * d_lanes.cost, axis=(0, 1))
    if d_lanes.prices is not None and by_move is not None:
        d_penalty, d_weights = d_lanes.prices.penalty, d_lanes.prices.weights
        # A forbidden cell costs inf, and nobody visits it.
        cost = jnp.where(jnp.isfinite(lanes.cost), lanes.cost, 0)
        for k, (move, visits) in enumerate(zip(model.moves, by_move[:3], strict=True)):
            if move.penalised and d_penalty is not None and not _is_zero(d_penalty):
                total = total + jnp.sum(visits, axis=(0, 1)) * d_penalty
            if move.weighted and d_weights is not None and not _is_zero(d_weights):
                total = total + jnp.sum(visits * cost, axis=(0, 1)) * d_weights[k]
    if d_lanes.gamma is not None and found.entropy is not None and not _is_zero(d_lanes.gamma):
        total = total - jnp.where(bad, 1, found.entropy) * d_lanes.gamma
    return checks.nan_where(bad, total)


def slope(model: Model, lanes: Lanes, found: Marginals) -> Array:
    """The derivative of the value in the cost matrix, ``[n, m, L]``."""
    if lanes.prices is None or lanes.prices.weights is None or found.moves is None:
        return found.visits
    *by_move, begun = found.moves
    for k, (move, visits) in enumerate(zip(model.moves, by_move, strict=True)):
        begun = begun + (visits * lanes.prices.weights[k] if move.weighted else visits)
    return begun


def _is_zero(tangent: object) -> bool:
    return tangent is None or isinstance(tangent, SymbolicZero)


def _inside(lanes: Lanes) -> Array:
    """The cells of each lane within its lengths."""
    if lanes.ends is None:
        return jnp.ones((1, 1, 1), bool)
    return within_lengths(lanes.ends, lanes.cost.shape)


def usable(lanes: Lanes) -> Lanes:
    """Lanes with a temperature to compute with."""
    if lanes.gamma is None:
        return lanes
    return lanes._replace(gamma=jnp.where(is_temperature(lanes.gamma), lanes.gamma, 1))


def sealed(lanes: Lanes, values: Array) -> Array:
    """Values ``[L]``, NaN where a traced argument is such as a concrete call would refuse."""
    conditions = [] if lanes.valid is None else [lanes.valid]
    if lanes.gamma is not None:
        conditions.append(is_temperature(lanes.gamma))
    for price in lanes.prices or ():
        if price is not None:
            conditions.append(jnp.all((price >= 0) & (price < jnp.inf)))
    for condition in conditions:
        values = checks.refuse(~condition, values)
    return values


def is_temperature(gamma: Array) -> Array:
    """Whether a traced gamma is such as a concrete call would accept."""
    low, high = checks.gamma_range(gamma.dtype)
    return (gamma >= low) & (gamma <= high)
