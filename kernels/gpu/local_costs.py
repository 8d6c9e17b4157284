"""Matrices of local costs for the kernels: made by kernels where XLA has no good way.

Of cosines and functions XLA makes them. Sums of differences are kernels, and so are their
gradients (`frame_cost`); tangents, and derivatives of higher order, are XLA's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from tempalign._engine import costs
from tempalign._engine.model import LocalCost, Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.rule import Rule, along, tangent
from tempalign._types import Array
from tempalign.kernels.gpu import calls, frame_cost, launch
from tempalign.kernels.gpu.frame_cost import Term
from tempalign.kernels.placed import Call

_NAMES: dict[Term, str] = {"squares": "sqeuclidean", "absolute": "manhattan"}


class Static(NamedTuple):
    """What a call is compiled for."""

    term: Term
    interpret: bool


def matrix(x: Array, y: Array, cost: LocalCost, *, interpret: bool) -> Array:
    """Local costs between all frames; see `tempalign._engine.costs.matrix`.

    Args:
        x: ``[S, A, n, F]``.
        y: ``[S, C, m, F]``.
        cost: a name or a function.
        interpret: see `launch.call`.

    Returns:
        ``[S, A, C, n, m]``, differentiable any number of times.
    """
    (s, a, n, features), (_, c, m, _) = x.shape, y.shape
    fits = interpret or launch.no_tiles() is None
    fits &= not frame_cost.too_many(s, a * n, c * m, features)
    if cost in ("sqeuclidean", "euclidean") and fits:
        found = _summed(Static("squares", interpret), (x, y))
        return costs.safe_sqrt(found) if cost == "euclidean" else found
    if cost == "manhattan" and fits:
        return _summed(Static("absolute", interpret), (x, y))
    return costs.matrix(x, y, cost).transpose(2, 3, 4, 0, 1)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _summed(static: Static, frames: tuple[Array, Array]) -> Array:
    x, y = frames
    shape = *x.shape[:2], y.shape[1], x.shape[2], y.shape[2]
    return calls.bind(
        "frame_costs",
        Model(),
        [x, y],
        [(shape, x.dtype)],
        _OnXla(static.term),
        interpret=static.interpret,
        squares=int(static.term == "squares"),
    )[0]


@in_our_modes
def _summed_jvp(static, primals, tangents):
    ((frames,), (moved,)) = primals, tangents
    found = _summed(static, frames)
    kept = (frames,)
    return along(_pushed, static, found, kept), _pushed(static, kept, moved)


_summed.defjvp(_summed_jvp, symbolic_zeros=True)


def _pushed(static: Static, kept: tuple[tuple[Array, Array]], moved: tuple[Array, Array]) -> Array:
    """The tangent of the costs."""
    (frames,) = kept
    asked = tuple(one is not None and not isinstance(one, SymbolicZero) for one in moved)
    if not any(asked):
        x, y = frames
        return jnp.zeros_like(x, shape=(*x.shape[:2], y.shape[1], x.shape[2], y.shape[2]))
    # What is not finite makes its own costs so; here 0 times it would reach the other pairs.
    finite = tuple(jnp.where(jnp.isfinite(one), one, 0) for one in frames)
    return tangent(_Push(static, asked), _Pull(static, asked), finite, moved)


@dataclass(frozen=True)
class _OnXla:
    """The costs on XLA."""

    term: Term

    def __call__(self, x: Array, y: Array) -> list[Array]:
        name = cast(LocalCost, _NAMES[self.term])
        return [costs.matrix(x, y, name).transpose(2, 3, 4, 0, 1)]


@dataclass(frozen=True)
class _GradientOnXla:
    """The gradient in x on XLA."""

    term: Term

    def __call__(self, x: Array, y: Array, cotangent: Array) -> list[Array]:
        (pulled,) = jax.vjp(lambda x: _OnXla(self.term)(x, y)[0], x)[1](cotangent)
        return [pulled]


class _Push(Rule):
    """From tangents of frames to those of the costs."""

    def __call__(self, kept: tuple[Array, Array], tangents: Sequence[Array]) -> list[Array]:
        def of_moving(*moved: Array) -> Array:
            given = list(kept)
            for k, one in zip(self.moving, moved, strict=True):
                given[k] = one
            return _OnXla(self.static.term)(*given)[0]

        return [jax.jvp(of_moving, [kept[k] for k in self.moving], list(tangents))[1]]


class _Pull(Rule):
    """From cotangents of the costs to gradients."""

    def __call__(self, kept: tuple[Array, Array], cotangents: Sequence[Array]) -> list[Array]:
        (cotangent,) = cotangents
        found = []
        for k in self.moving:
            x, y = kept if k == 0 else kept[::-1]
            by_row = cotangent if k == 0 else cotangent.transpose(0, 2, 1, 4, 3)
            on_xla = _GradientOnXla(self.static.term)
            if self.plain:
                found += on_xla(x, y, by_row)
                continue
            found += calls.bind(
                "frame_cost_gradient",
                Model(),
                [x, y, by_row],
                [(x.shape, x.dtype)],
                on_xla,
                interpret=self.static.interpret,
                squares=int(self.static.term == "squares"),
            )
        return found


@calls.serves("frame_costs")
def _costs(x: Array, y: Array, *, call: Call) -> list[Array]:
    batch, x, y = _merged(call, x, y)
    found = frame_cost.costs(x, y, _term(call), interpret=calls.interpreted(call))
    found = found.transpose(0, 1, 3, 2, 4)  # [S, A, C, n, m]
    return [found.reshape(batch + call.results[0][0])]


@calls.serves("frame_cost_gradient")
def _gradient(x: Array, y: Array, cotangent: Array, *, call: Call) -> list[Array]:
    batch, x, y, cotangent = _merged(call, x, y, cotangent)
    found = frame_cost.gradient(
        x,
        y,
        cotangent.transpose(0, 1, 3, 2, 4),
        _term(call),
        interpret=calls.interpreted(call),
    )
    return [found.reshape(batch + call.results[0][0])]


def _term(call: Call) -> Term:
    return "squares" if dict(call.flags)["squares"] else "absolute"


def _merged(call: Call, *operands: Array) -> tuple:
    """The batch axes, and operands with those and S as one axis."""
    batch, merged = call.merged(operands)
    return batch, *(one.reshape(-1, *one.shape[2:]) for one in merged)
