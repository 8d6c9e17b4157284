"""Soft minima on a library, native code or kernels, with their derivative rules.

The derivative is asked for together with the value: one call gives for each pair what its value
changes by with each number it was computed from (its Jacobian: of the size of its two sequences),
and tangents and gradients are sums of products with that. So no matrix of costs is ever made, and
backward passes are not passes over it. For derivatives of higher order, and for the derivative of
an alignment, the same is computed plainly by XLA.

Where the Jacobians would be larger than the matrices (all pairs of sequences of many features), and
where the cost is a function, the matrices are made by XLA and the library is given those.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._engine import checks, derivative
from tempalign._engine.gathered import nan_inside, sizes
from tempalign._engine.handed import (
    Fixed,
    Library,
    Present,
    Static,
    divided,
    matrices_are_small,
    moved_to,
    with_given_costs,
)
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.problem import Operands
from tempalign._engine.programs import compiled
from tempalign._engine.rule import Rule, along, heard, tangent
from tempalign._engine.shards import alike
from tempalign._engine.soft_plain import CELLS, Find, Given, for_xla
from tempalign._types import Array


class Kept(NamedTuple):
    """What a derivative is made of.

    Attributes:
        given: see there.
        fixed: see there.
        values: ``[S, A, C]``.
        jacobians: in each of `given` that was asked for ``[S, A, C, ...]``, else None.
    """

    given: Given
    fixed: Fixed
    values: Array
    jacobians: tuple[Array | None, ...]


Asked = tuple[bool, ...]  # for each of `Given`


@compiled("model", "library")
def value(model: Model, operands: Operands, library: Library) -> Array:
    """Soft minima of the path costs ``[S, A, C]``."""
    static, given, fixed, pairs = _divided(model, operands, library)
    return _value(static, given, fixed).reshape(pairs)


@compiled("model", "library", "entropy")
def alignment(
    model: Model, operands: Operands, library: Library, entropy: bool
) -> tuple[Array, Array, Array]:
    """Soft minima, expected alignments ``[S, A, C, n, m]`` and entropies, all differentiable.

    Entropies are NaN unless asked for.
    """
    static, given, fixed, pairs = _divided(model, operands, library)
    found, visits, entropies = _alignment((static, entropy), given, fixed)
    return (
        found.reshape(pairs),
        visits.reshape(*pairs, *visits.shape[3:]),
        entropies.reshape(pairs),
    )


def _divided(
    model: Model, operands: Operands, library: Library
) -> tuple[Static, Given, Fixed, tuple[int, ...]]:
    """What the library takes, and S, A and C of the results."""
    gamma = operands.gamma
    assert gamma is not None
    pairs: tuple[int, ...] = (*operands.x.shape[:2], operands.y.shape[1])
    if library.wants_costs(model, operands):
        model, operands, pairs = with_given_costs(model, operands, library.matrix)
    x, y, prices, fixed = divided(model, operands)
    good = derivative.is_temperature(gamma)
    fixed = fixed._replace(valid=good if fixed.valid is None else fixed.valid & good)
    given, fixed = alike((Given(x, y, gamma, prices), fixed))
    return Static(model, library), given, fixed, pairs


def _find(static: Static, given: Given, fixed: Fixed, asked: int) -> list[Array]:
    """Values, and what is asked for (bits of `Given`, and `CELLS`), of what has no tangents."""
    given, fixed = lax.stop_gradient((given, fixed))
    x, y, gamma, prices = given
    # Numbers to compute with, where the result is NaN anyhow.
    gamma = jnp.where(derivative.is_temperature(gamma), gamma, 1)
    if prices is not None:
        prices = jnp.where((prices >= 0) & (prices < jnp.inf), prices, 1)
    pairs = *x.shape[:2], y.shape[1]
    n, m = sizes(static.model, given)
    inner = [x.shape[2:], y.shape[2:], (), (4,), (n, m)]
    wanted = [shape for k, shape in enumerate(inner) if asked >> k & 1]
    present = Present.of(fixed, prices)
    found = static.library.call(
        "soft_jacobian" if asked else "soft_value",
        static.model,
        alike([x, y, *present.listed(fixed, prices), gamma]),
        [(pairs, x.dtype), *(((*pairs, *shape), x.dtype) for shape in wanted)],
        Find(static, present, asked),
        **({"asked": asked} if asked else {}),
        **present.flags,
    )
    assert fixed.valid is not None
    found[0] = jnp.where(fixed.valid, found[0], jnp.nan)
    return found


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(static: Static, given: Given, fixed: Fixed) -> Array:
    return _find(static, given, fixed, 0)[0]


@in_our_modes
def _value_jvp(static, primals, tangents):
    given, fixed = primals
    asked = _asked(static.model, tangents[0])
    if asked[:2] != (False, False) and matrices_are_small(static.model, given.x, given.y):
        # Differentiated by jax up to the matrix, and by this rule from there on.
        moving = [k for k, wanted in enumerate(asked) if wanted]
        of_costs = partial(_from_costs, static, given, fixed, moving)
        return jax.jvp(of_costs, [given[k] for k in moving], [tangents[0][k] for k in moving])
    if not any(asked):
        found = _find(static, given, fixed, 0)[0]
        return found, jnp.zeros_like(found)
    kept = _keep(static, given, fixed, asked)
    value = along(_pushed, static, kept.values, kept)
    return value, _pushed(static, kept, tangents[0])


_value.defjvp(_value_jvp, symbolic_zeros=True)


def _keep(static: Static, given: Given, fixed: Fixed, asked: Asked) -> Kept:
    """Values and Jacobians."""
    found, *rest = _find(static, given, fixed, sum(one << k for k, one in enumerate(asked)))
    return Kept(given, fixed, found, tuple(rest.pop(0) if wanted else None for wanted in asked))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _alignment(
    asked: tuple[Static, bool], given: Given, fixed: Fixed
) -> tuple[Array, Array, Array]:
    static, entropy = asked
    found, *entropies, visits = _find(static, given, fixed, CELLS | 4 * entropy)
    visits = nan_inside(visits, found, fixed.lengths)
    nothing = jnp.full_like(found, jnp.nan)
    return (
        found,
        visits,
        jnp.where(jnp.isfinite(found), entropies[0] if entropy else nothing, nothing),
    )


@in_our_modes
def _alignment_jvp(asked, primals, tangents):
    static, _ = asked
    found = _alignment(asked, *primals)
    _, pushed = jax.jvp(*_live(partial(_value, static), primals, tangents))
    _, others = jax.jvp(*_live(partial(_plain_alignment, static), primals, tangents))
    return found, (pushed, *others)


_alignment.defjvp(_alignment_jvp, symbolic_zeros=True)


def _live(function, primals, tangents):
    """A function of what has tangents in `Given`, with those and their tangents, for `jax.jvp`."""
    given, fixed = primals
    moving = [k for k, tangent in enumerate(tangents[0]) if not _is_zero(tangent)]

    def of_moving(*moved):
        return function(moved_to(given, moving, moved), fixed)

    return of_moving, [given[k] for k in moving], [tangents[0][k] for k in moving]


def _plain_alignment(static: Static, given: Given, fixed: Fixed) -> tuple[Array, ...]:
    return static.xla.marginals(*for_xla(static.model, given, fixed))[1:]


def _is_zero(tangent: Any) -> bool:
    return tangent is None or isinstance(tangent, SymbolicZero)


def _asked(model: Model, tangents: Given) -> Asked:
    of_x, of_y, *others = (not _is_zero(one) for one in tangents)
    return (of_x, of_y and model.cost != "given", *others)


def _from_costs(
    static: Static, given: Given, fixed: Fixed, moving: Sequence[int], *moved: Array
) -> Array:
    """The values by way of matrices of costs."""
    given = moved_to(given, moving, moved)
    model, operands = for_xla(static.model, given, fixed)
    made, operands, pairs = with_given_costs(model, operands)
    fixed = Fixed(operands.rows, operands.columns, operands.valid, operands.mask)
    of_costs = given._replace(x=operands.x, y=operands.y)
    return _value(Static(made, static.library), *alike((of_costs, fixed))).reshape(pairs)


def _pushed(static: Static, kept: Kept, tangents: Given) -> Array:
    """The tangent of the values."""
    asked = _asked(static.model, tangents)
    if not any(asked):
        return jnp.zeros_like(kept.values)
    if any(wanted and one is None for wanted, one in zip(asked, kept.jacobians, strict=True)):
        kept = _keep(static, kept.given, kept.fixed, asked)
    wanted = (one if asked[k] else None for k, one in enumerate(kept.jacobians))
    kept = kept._replace(jacobians=tuple(wanted))
    return tangent(_Push(static, asked), _Pull(static, asked), kept, tangents)


def _awake(kept: Kept) -> list[Array]:
    """The Jacobians, 1 where the value is not finite: what moves there must not vanish."""
    bad = ~jnp.isfinite(kept.values)
    asked = (one for one in kept.jacobians if one is not None)
    return [jnp.where(bad.reshape(bad.shape + (1,) * (one.ndim - 3)), 1, one) for one in asked]


class _Push(Rule):
    """From tangents of `Given` to those of the values."""

    def __call__(self, kept: Kept, tangents: Sequence[Array]) -> list[Array]:
        kept, tangents = alike((kept, tuple(tangents)))
        if self.plain:
            values = partial(_plain_values, self.static, kept, self.moving)
            return [jax.jvp(values, tuple(kept.given[k] for k in self.moving), tuple(tangents))[1]]
        total = jnp.zeros_like(kept.values)
        for k, jacobian, moved in zip(self.moving, _awake(kept), tangents, strict=True):
            if k == 0:  # [S, A, C, n, F] and [S, A, n, F]
                total = total + jnp.sum(jacobian * moved[:, :, None], axis=(-2, -1))
            elif k == 1:
                total = total + jnp.sum(jacobian * moved[:, None], axis=(-2, -1))
            elif k == 2:  # entropy
                total = total - jacobian * moved
            else:
                total = total + jnp.sum(jacobian * moved, axis=-1)
        return [checks.nan_where(~jnp.isfinite(kept.values), total)]


class _Pull(Rule):
    """From cotangents of the values to gradients."""

    def __call__(self, kept: Kept, cotangents: Sequence[Array]) -> list[Array]:
        kept, (cotangent,) = alike((kept, tuple(cotangents)))
        if self.plain:
            values = partial(_plain_values, self.static, kept, self.moving)
            return list(jax.vjp(values, *(kept.given[k] for k in self.moving))[1](cotangent))
        cotangent = heard(cotangent, kept.values)
        found = []
        for k, jacobian in zip(self.moving, _awake(kept), strict=True):
            if k < 2:
                found.append(_summed(jacobian, cotangent, 2 - k))
            elif k == 2:
                found.append(-jnp.sum(jacobian * cotangent))
            else:
                found.append(jnp.sum(jacobian * cotangent[..., None], axis=(0, 1, 2)))
        return found


def _summed(jacobian: Array, cotangent: Array, axis: int) -> Array:
    """The sum of ``jacobian * cotangent`` over an axis of pairs, ``[S, A or C, frames, F]``.

    Added up one after the other: of a plain sum XLA would first transpose all of the Jacobians.
    """

    def add(k: Array | int, total: Array) -> Array:
        one, by = (
            lax.dynamic_index_in_dim(a, k, axis, keepdims=False) for a in (jacobian, cotangent)
        )
        return total + one * by[..., None, None]

    count = jacobian.shape[axis]
    nothing = jnp.zeros_like(jacobian, shape=jacobian.shape[:axis] + jacobian.shape[axis + 1 :])
    if count <= 1:
        return add(0, nothing) if count else nothing
    return lax.fori_loop(0, count, add, alike((nothing, jacobian))[0])


def _plain_values(static: Static, kept: Kept, moving: Sequence[int], *moved: Array) -> Array:
    """The values on XLA, of what moves."""
    given = moved_to(kept.given, moving, moved)
    return static.xla.values(*for_xla(static.model, given, kept.fixed))
