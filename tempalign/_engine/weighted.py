"""The distance of `along_path` with its derivative rule, on whichever backend serves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from tempalign._engine.along_path import Operands, Tangents, plain_gradients, plain_tangents
from tempalign._engine.linear import whole
from tempalign._engine.modes import in_our_modes
from tempalign._engine.recurrence import Ends
from tempalign._engine.rule import Rule, along, heard, tangent
from tempalign._engine.weighted_backends import (
    Decides,
    Paths,
    Static,
    backend_of,
    wide,
)
from tempalign._types import Array


class Kept(NamedTuple):
    """What the derivative of a distance is made of.

    Attributes:
        operands: in their stored dtypes.
        paths: as the backend has them.
        spoiled: see `distance`.
    """

    operands: Operands
    paths: Paths
    spoiled: Array


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def distance(
    static: Static, operands: Operands, decides: Decides, ends: Ends | None, spoiled: Array
) -> Array:
    """Distances ``[S*A*C]``.

    Not linear in anything, and too many cells to be differentiated one by one: the derivative is
    that of the sum along the path, in forward and in reverse mode.

    Args:
        static: the model and who serves it.
        operands: in their stored dtypes.
        decides: centroid and weight that choose the paths, None for those of `operands`.
        ends: last cells, None for (Tc-1, T-1) everywhere.
        spoiled: ``[S*A*C]``, 0 where all that was given is finite, else what the distance is.
    """
    backend = backend_of(static)
    operands, decides = backend.finite((operands, decides))
    return _sealed(backend.distances(operands, decides, ends), spoiled)


def _sealed(value: Array, spoiled: Array) -> Array:
    return jnp.where(spoiled == 0, value, spoiled)


@in_our_modes
def _distance_jvp(static: Static, primals: tuple[Any, ...], tangents: tuple[Any, ...]):
    operands, decides, ends, spoiled = primals
    operands, decides = backend_of(static).finite((operands, decides))
    held = jax.lax.stop_gradient((operands, decides, ends))
    value, *paths = whole(_Find(static), held)
    kept = Kept(operands, tuple(paths), jax.lax.stop_gradient(spoiled))
    value = along(_pushed, static, _sealed(value, kept.spoiled), kept)
    return value, _pushed(static, kept, tangents[0])


distance.defjvp(_distance_jvp, symbolic_zeros=True)


def _pushed(static: Static, kept: Kept, tangents: Operands) -> Array:
    """The tangent of the distances, for which reverse mode has a transposition of its own."""
    asked = tuple(not isinstance(one, SymbolicZero) for one in tangents)
    if not any(asked):
        return jnp.zeros_like(kept.spoiled)
    return tangent(_Push(static, asked), _Pull(static, asked), kept, tangents)


class _Push(Rule):
    """From tangents of the operands to that of the distances."""

    def __call__(self, kept: Kept, tangents: Sequence[Array]) -> list[Array]:
        operands, paths, spoiled = kept
        backend = backend_of(self.static)
        given = iter(tangents)
        moved = Tangents(
            *(next(given).astype(spoiled.dtype) if wanted else None for wanted in self.asked)
        )
        if self.plain:
            found = plain_tangents(wide(operands), backend.rows(operands, paths), moved)
        else:
            found = backend.tangents(operands, paths, moved)
        return [jnp.where(jnp.isfinite(spoiled), found, jnp.nan)]


class _Pull(Rule):
    """From cotangents of the distances to gradients of the operands."""

    def __call__(self, kept: Kept, cotangents: Sequence[Array]) -> list[Array]:
        operands, paths, spoiled = kept
        backend = backend_of(self.static)
        (cotangent,) = cotangents
        cotangent = heard(cotangent, spoiled)
        found: Sequence[Array | None]
        if self.plain:
            found = plain_gradients(wide(operands), backend.rows(operands, paths), cotangent)
        else:
            found = backend.gradients(operands, paths, cotangent, self.asked)
        return [
            gradient.astype(operand.dtype)
            for gradient, operand, wanted in zip(found, operands, self.asked, strict=True)
            if wanted and gradient is not None
        ]


@dataclass(frozen=True)
class _Find:
    """Distances and paths, as `whole` takes it."""

    static: Static

    def __call__(self, given: tuple[Operands, Decides, Ends | None], _: Any) -> list[Array]:
        value, paths = backend_of(self.static).paths(*given)
        return [value, *paths]
