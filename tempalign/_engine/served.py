"""Hard distances on a library, native code or kernels, with their derivative rules.

The derivative of a hard distance is that of the sum along its path: the path is found once, the
tangent is linear in the tangents of the sequences (or given costs) and of the prices, and its
transposition walks the path back. So no matrix of costs is ever made. For derivatives of higher
order the same sums are written plainly for XLA, with the frames of the paths gathered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from tempalign._engine import checks
from tempalign._engine.gathered import Cells, Given, nan_inside, path_cost, sizes
from tempalign._engine.handed import (
    Fixed,
    Library,
    Present,
    Static,
    divided,
    moved_to,
    prices_of,
    with_given_costs,
)
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.problem import Operands
from tempalign._engine.programs import compiled
from tempalign._engine.rule import Rule, along, heard, tangent
from tempalign._engine.shards import alike
from tempalign._types import Array
from tempalign.kernels.cpu import native


class Kept(NamedTuple):
    """What a derivative is made of.

    Attributes:
        given: see there.
        lengths: of both sequences, ``[S, A, C]``, or None.
        rows: of the paths, ``[S, A, C, P]``.
        values: the distances ``[S, A, C]``.
    """

    given: Given
    lengths: tuple[Array, Array] | None
    rows: Array
    values: Array


@compiled("model", "library")
def value(model: Model, operands: Operands, library: Library) -> Array:
    """Minimal path costs ``[S, A, C]``."""
    static, given, fixed, pairs = _divided(model, operands, library)
    return _value(static, given, fixed).reshape(pairs)


@compiled("model", "library")
def path(model: Model, operands: Operands, library: Library) -> tuple[Array, Array]:
    """Minimal path costs ``[S, A, C]``, differentiable, and paths as ``rows [S, A, C, P]``."""
    static, given, fixed, pairs = _divided(model, operands, library)
    found, rows = _path(static, given, fixed)
    return found.reshape(pairs), rows.reshape(*pairs, *rows.shape[3:])


@compiled("model", "library", "entropy")
def alignment(
    model: Model, operands: Operands, library: Library, entropy: bool
) -> tuple[Array, Array, Array]:
    """Minimal path costs, differentiable, paths as matrices ``[S, A, C, n, m]``, and no entropy."""
    del entropy  # it is 0
    static, given, fixed, pairs = _divided(model, operands, library)
    found, rows = _path(static, given, fixed)
    n, m = sizes(static.model, given)
    lengths = fixed.lengths
    visits = library.call(
        "cells",
        static.model,
        [*alike((rows, lax.stop_gradient(found), *(lengths or ())))],
        [((*rows.shape[:3], n, m), found.dtype)],
        Cells(n, m),
        has_lengths=lengths is not None,
    )[0]
    nothing = jnp.where(jnp.isfinite(lax.stop_gradient(found)), 0, jnp.nan).astype(found.dtype)
    return found.reshape(pairs), visits.reshape(*pairs, n, m), nothing.reshape(pairs)


@compiled("model", "library")
def aligned_sums(
    model: Model, operands: Operands, frames: Array, weights: Array, library: Library
) -> tuple[Array, Array]:
    """Minimal path costs ``[S, A, C]``, and sums of what the paths align with frames of x.

    Args:
        model: of the problem.
        operands: of the problem.
        frames: ``[S, C, m, G]``, what is added up for the frames of y.
        weights: ``[S, A, C]``; a pair of weight 0 has no part in it.
        library: who serves.

    Returns:
        Costs, and ``[S, A, n, G]``, each cell of a path as often as the distance counts its cost.
        Neither has a derivative.
    """
    x, y, prices, fixed = divided(
        model, operands
    )  # the frames that are summed stand beside x and y
    given = Given(x, y, prices)
    found, rows = _paths_of(model, operands, library)
    # Under 1 - <x, y> the gradient in x is minus just that.
    nothing = jnp.zeros_like(frames, shape=(*given.x.shape[:3], frames.shape[-1]))
    kept = Kept(Given(nothing, frames, given.prices), fixed.lengths, rows, found)
    pull = _Pull(Static(model.replace(cost="cosine"), library), (True, False, False))
    return found, pull(*lax.stop_gradient((kept, [-weights])))[0]


def _paths_of(model: Model, operands: Operands, library: Library) -> tuple[Array, Array]:
    """Values ``[S, A, C]`` and paths ``rows [S, A, C, P]``, of what has no tangents."""
    static, given, fixed, pairs = _divided(model, lax.stop_gradient(operands), library)
    found, rows = _find(static, given, fixed, rows=True)
    return found.reshape(pairs), rows.reshape(*pairs, rows.shape[-1])


def _divided(
    model: Model, operands: Operands, library: Library
) -> tuple[Static, Given, Fixed, tuple[int, ...]]:
    """What the library takes, and S, A and C of the results."""
    pairs: tuple[int, ...] = (*operands.x.shape[:2], operands.y.shape[1])
    if library.wants_costs(model, operands):
        model, operands, pairs = with_given_costs(model, operands, library.matrix)
    x, y, prices, fixed = divided(model, operands)
    return Static(model, library), Given(x, y, prices), fixed, pairs


def _find(static: Static, given: Given, fixed: Fixed, rows: bool) -> list[Array]:
    """Distances, and paths if asked for, of what has no tangents."""
    given, fixed = lax.stop_gradient((given, fixed))
    shape = *given.x.shape[:2], given.y.shape[1]
    n, m = sizes(static.model, given)
    present = Present.of(fixed, given.prices)
    results: list[tuple[tuple[int, ...], Any]] = [(shape, given.x.dtype)]
    if rows:
        results.append(((*shape, n + m - 1), jnp.int32))
    found = static.library.call(
        "path" if rows else "value",
        static.model,
        [given.x, given.y, *present.listed(fixed, given.prices)],
        results,
        _Find(static, present, rows),
        **present.flags,
    )
    if fixed.valid is not None:
        found[0] = jnp.where(fixed.valid, found[0], jnp.nan)
        if rows:
            found[1] = jnp.where(fixed.valid[..., None], found[1], -1)
    return found


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(static: Static, given: Given, fixed: Fixed) -> Array:
    return _find(static, given, fixed, rows=False)[0]


@in_our_modes
def _value_jvp(static, primals, tangents):
    found, pushed = _path_jvp(static, primals, tangents)
    return found[0], pushed[0]


_value.defjvp(_value_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _path(static: Static, given: Given, fixed: Fixed) -> tuple[Array, Array]:
    found, rows = _find(static, given, fixed, rows=True)
    return found, rows


@in_our_modes
def _path_jvp(static, primals, tangents):
    given, fixed = primals
    found, rows = _find(static, given, fixed, rows=True)
    kept = Kept(given, fixed.lengths, rows, found)
    no_tangent: Any = np.zeros(rows.shape, jax.dtypes.float0)
    value = along(_pushed, static, found, kept)
    return (value, rows), (_pushed(static, kept, tangents[0]), no_tangent)


_path.defjvp(_path_jvp, symbolic_zeros=True)


def _pushed(static: Static, kept: Kept, tangents: Given) -> Array:
    """The tangent of the distances."""
    asked = tuple(one is not None and not isinstance(one, SymbolicZero) for one in tangents)
    if static.model.cost == "given":
        asked = (asked[0], False, asked[2])
    if not any(asked):
        return jnp.zeros_like(kept.values)
    return tangent(_Push(static, asked), _Pull(static, asked), kept, tangents)


def _operands_of(kept: Kept) -> tuple[list[Array], Present]:
    """Operands that tangents and gradients share, and which there are of those that may be."""
    given, lengths, rows, values = kept
    true_n, true_m = (None, None) if lengths is None else lengths
    fixed = Fixed(true_n, true_m, None, None)
    present = Present.of(fixed, given.prices)
    return [given.x, given.y, *present.listed(fixed, given.prices), rows, values], present


class _Push(Rule):
    """From tangents of `Given` to those of the distances."""

    def __call__(self, kept: Kept, tangents: Sequence[Array]) -> list[Array]:
        kept, tangents = alike((kept, tuple(tangents)))
        model = self.static.model
        if self.plain:
            moved = tuple(kept.given[k] for k in self.moving)
            cost = partial(_moved_cost, model, kept, self.moving)
            found = jax.jvp(cost, moved, tuple(tangents))[1]
            return [checks.nan_where(~jnp.isfinite(kept.values), found)]
        operands, present = _operands_of(kept)
        return self.static.library.call(
            "push",
            model,
            [*operands, *tangents],
            [(kept.values.shape, kept.values.dtype)],
            _FromKept(self.plainly(), present),
            asked=native.bits(self.asked),
            **present.flags,
        )


class _Pull(Rule):
    """From cotangents of the distances to gradients."""

    def __call__(self, kept: Kept, cotangents: Sequence[Array]) -> list[Array]:
        kept, (cotangent,) = alike((kept, tuple(cotangents)))
        model = self.static.model
        if self.plain:
            cost = partial(_moved_cost, model, kept, self.moving)
            pull = jax.vjp(cost, *(kept.given[k] for k in self.moving))[1]
            found = list(pull(heard(cotangent, kept.values)))
            if model.cost == "given" and self.asked[0]:
                # A pair without a path has no cells that a NaN could reach.
                asked = jnp.where(cotangent == 0, 0, kept.values)
                found[0] = nan_inside(found[0][:, :, None], asked, kept.lengths)[:, :, 0]
            return found
        operands, present = _operands_of(kept)
        s, a, c = kept.values.shape
        shapes = kept.given.x.shape, kept.given.y.shape, (s, a, c, 4)
        found = self.static.library.call(
            "pull",
            model,
            [*operands, cotangent],
            [(shapes[k], cotangent.dtype) for k in self.moving],
            _FromKept(self.plainly(), present),
            asked=native.bits(self.asked),
            pairs_a=a,
            pairs_c=c,
            **present.flags,
        )
        if self.asked[2]:
            found[-1] = jnp.sum(found[-1], axis=(0, 1, 2))
        return found


def _moved_cost(model: Model, kept: Kept, moving: Sequence[int], *moved: Array) -> Array:
    """Sums along the paths, of what moves."""
    return path_cost(model, kept.rows, moved_to(kept.given, moving, moved))


@dataclass(frozen=True)
class _Find:
    """`_find` on XLA."""

    static: Static
    present: Present
    rows: bool

    def __call__(self, x: Array, y: Array, *more: Array) -> list[Array]:
        fixed, prices, _ = self.present.taken(more)
        operands = Operands(x, y, *fixed, None, prices_of(prices))
        model, xla = self.static.model, self.static.xla
        if self.rows:
            return list(xla.paths(model, operands))
        return [xla.values(model, operands)]


@dataclass(frozen=True)
class _FromKept:
    """A plain rule, of operands as the library takes them.

    Attributes:
        rule: what is computed.
        present: which operands there are.
    """

    rule: _Push | _Pull
    present: Present

    def __call__(self, x: Array, y: Array, *more: Array) -> list[Array]:
        fixed, prices, (rows, values, *moved) = self.present.taken(more)
        found = self.rule(Kept(Given(x, y, prices), fixed.lengths, rows, values), moved)
        if isinstance(self.rule, _Pull) and self.rule.asked[2]:
            # The library gives a gradient for each pair, to be summed; here it is a sum already.
            whole = jnp.zeros_like(values, shape=(*values.shape, 4))
            found[-1] = whole.at[(0,) * 3].set(found[-1])
        return found
