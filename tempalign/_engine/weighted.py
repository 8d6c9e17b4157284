"""The distance of `along_path` with its derivative rule, on whichever backend serves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from tempalign._engine import backends, costs, derivative, platforms
from tempalign._engine.along_path import (
    Operands,
    Tangents,
    path_cost,
    path_gradients,
    path_tangents,
    plain_gradients,
    plain_tangents,
)
from tempalign._engine.backends import Choice
from tempalign._engine.derivative import Lanes
from tempalign._engine.linear import Form, linear, whole
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.recurrence import Ends
from tempalign._types import Array

Decides = tuple[Array, Array] | None
T = TypeVar("T")


class Static(NamedTuple):
    """What a call is compiled for."""

    model: Model
    choice: Choice


class Kept(NamedTuple):
    """What the derivative of a distance is made of.

    Attributes:
        operands: in their stored dtypes.
        paths: ``rows [P, S*A*C]``, or as the kernels have them.
        spoiled: see `distance`.
    """

    operands: Operands
    paths: Any
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
    if decides is None and static.choice.backend == "xla":
        lanes = Lanes(_costs(wide(operands)), ends, None, None, None)
        return derivative.value(static.model, lanes) + spoiled
    operands, decides = _finite(static.choice, (operands, decides))
    return _paths(static, operands, decides, ends)[0] + spoiled


@in_our_modes
def _distance_jvp(static: Static, primals: tuple[Any, ...], tangents: tuple[Any, ...]):
    operands, decides, ends, spoiled = primals
    operands, decides = _finite(static.choice, (operands, decides))
    held = jax.lax.stop_gradient((operands, decides, ends))
    value, *found = whole(_Find(static), held)
    paths: Any = found[0]
    if static.choice.backend != "xla":
        paths = backends.kernels_for(static.model).Paths(*found)
    kept = Kept(operands, paths, jax.lax.stop_gradient(spoiled))
    return _along(static, value + kept.spoiled, kept), _pushed(static, kept, tangents[0])


distance.defjvp(_distance_jvp, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _along(static: Static, value: Array, kept: Kept) -> Array:
    """A value that was found for `kept`, with the derivative that it has there."""
    del static, kept
    return value


@in_our_modes
def _along_jvp(static: Static, primals: tuple[Array, Kept], tangents: tuple[Any, Kept]):
    return _along(static, *primals), _pushed(static, primals[1], tangents[1].operands)


_along.defjvp(_along_jvp, symbolic_zeros=True)


def _pushed(static: Static, kept: Kept, tangents: Operands) -> Array:
    """The tangent of the distances, for which reverse mode has a transposition of its own."""
    asked = tuple(not isinstance(tangent, SymbolicZero) for tangent in tangents)
    if not any(asked):
        return jnp.zeros_like(kept.spoiled)
    there = Form(_Push(static, asked, plain=False), _Push(static, asked, plain=True))
    back = Form(_Pull(static, asked, plain=False), _Pull(static, asked, plain=True))
    arguments = [one for one, wanted in zip(tangents, asked, strict=True) if wanted]
    return linear(there, back, kept, arguments)[0]


@dataclass(frozen=True)
class _Push:
    """From tangents of the operands to that of the distances.

    Attributes:
        static: of the call.
        asked: which of the operands have a tangent.
        plain: whether it must be differentiable.
    """

    static: Static
    asked: tuple[bool, ...]
    plain: bool

    def __call__(self, kept: Kept, tangents: Sequence[Array]) -> list[Array]:
        operands, paths, spoiled = kept
        choice = self.static.choice
        given = iter(tangents)
        moved = Tangents(
            *(next(given).astype(spoiled.dtype) if wanted else None for wanted in self.asked)
        )
        arguments = wide(operands), _rows(self.static, operands, paths), moved
        if self.plain:
            found = plain_tangents(*arguments)
        elif choice.backend == "xla":
            found = path_tangents(*arguments)
        else:
            # There is no kernel for it, and one lane after the other is no way for a GPU.
            found = _either(choice, plain_tangents, path_tangents, arguments)
        return [jnp.where(jnp.isfinite(spoiled), found, jnp.nan)]


@dataclass(frozen=True)
class _Pull:
    """From cotangents of the distances to gradients of the operands; attributes as of `_Push`."""

    static: Static
    asked: tuple[bool, ...]
    plain: bool

    def __call__(self, kept: Kept, cotangents: Sequence[Array]) -> list[Array]:
        operands, paths, spoiled = kept
        choice = self.static.choice
        (cotangent,) = cotangents
        # The gradient of what is not a number is none either; what nobody asked for stays 0.
        cotangent = jnp.where(jnp.isfinite(spoiled) | (cotangent == 0), cotangent, jnp.nan)

        def on_xla(operands: Operands, paths: Any, cotangent: Array) -> Operands:
            gradients = plain_gradients if self.plain else path_gradients
            return gradients(wide(operands), _rows(self.static, operands, paths), cotangent)

        if self.plain or choice.backend == "xla":
            found = on_xla(operands, paths, cotangent)
        else:
            kernels = backends.kernels_for(self.static.model)
            backward = partial(kernels.backward, interpret=choice.backend == "pallas_interpret")
            found = _either(choice, backward, on_xla, (operands, paths, cotangent))
        return [
            gradient.astype(operand.dtype)
            for gradient, operand, wanted in zip(found, operands, self.asked, strict=True)
            if wanted
        ]


@dataclass(frozen=True)
class _Find:
    """`_paths` as `whole` takes it."""

    static: Static

    def __call__(self, given: tuple[Operands, Decides, Ends | None], _: Any) -> list[Array]:
        return jax.tree.leaves(_paths(self.static, *given))


def _paths(
    static: Static, operands: Operands, decides: Decides, ends: Ends | None
) -> tuple[Array, Any]:
    """Distances of what is finite, and the paths; no derivative is to go through here."""
    model, choice = static
    if choice.backend == "xla":
        return _on_xla(model, operands, decides, ends)
    kernels = backends.kernels_for(model)
    return _either(
        choice,
        partial(kernels.forward, model, interpret=choice.backend == "pallas_interpret"),
        lambda *given: kernels.paths_as_ranges(given[0], *_on_xla(model, *given)),
        (operands, decides, ends),
    )


def _finite(choice: Choice, arrays: T) -> T:
    """Arrays that kernels may walk: all lanes, and 0 times what is not finite must not spread."""
    if choice.backend == "xla":
        return arrays
    return jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0), arrays)


def _rows(static: Static, operands: Operands, paths: Any) -> Array:
    """Paths as ``rows [P, S*A*C]``."""
    if static.choice.backend == "xla":
        return paths
    return backends.kernels_for(static.model).ranges_as_rows(operands, paths)


def _either(choice: Choice, kernels: Any, xla: Any, arguments: tuple[Any, ...]) -> Any:
    """The kernels, or where XLA may take over what the platform of the lowering says."""
    if choice.or_xla:
        return platforms.on_cuda(kernels, xla, *arguments)
    return kernels(*arguments)


def _on_xla(
    model: Model, operands: Operands, decides: Decides, ends: Ends | None
) -> tuple[Array, Array]:
    """Distances and paths as ``rows [P, S*A*C]``."""
    live = wide(operands)
    chooser = live if decides is None else wide(Operands(operands.x, *decides))
    value, rows = derivative.path(model, Lanes(_costs(chooser), ends, None, None, None))
    return (value if decides is None else path_cost(live, rows)), rows


def wide_dtype(*arrays: Array) -> Any:
    """What is computed in: float32, or float64 if one of the arrays is."""
    return jnp.result_type(jnp.float32, *arrays)


def wide(operands: Operands) -> Operands:
    """The operands in the dtype that is computed in."""
    dtype = wide_dtype(*operands)
    return Operands(*(operand.astype(dtype) for operand in operands))


def _costs(operands: Operands) -> Array:
    cost = costs.weighted_manhattan(*operands)
    return cost.reshape(cost.shape[:2] + (-1,))
