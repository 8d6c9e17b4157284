"""Derivatives that are made of what was kept when a value was found.

Walks along paths, Jacobians of pairs: what a tangent is made of is found once, together with the
value. The tangent is `linear` in those of the arguments, by a `Rule` and its transposition, and the
value itself goes on as one that has that derivative (`along`), so that derivatives of derivatives
pass through it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp

from tempalign._engine.linear import Form, linear
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array


@dataclass(frozen=True)
class Rule:
    """Of what was kept and tangents (or cotangents), those of the results (or arguments).

    Attributes:
        static: of the call.
        asked: which of the arguments have a tangent.
        plain: whether it must be differentiable.
    """

    static: Any
    asked: tuple[bool, ...]
    plain: bool = False

    @property
    def moving(self) -> list[int]:
        """The numbers of the arguments that have a tangent."""
        return [k for k, wanted in enumerate(self.asked) if wanted]

    def plainly(self) -> Self:
        """The same, differentiable any number of times."""
        return replace(self, plain=True)

    def __call__(self, kept: Any, moved: Sequence[Array]) -> list[Array]:
        """What the rule says."""
        raise NotImplementedError


def tangent(push: Rule, pull: Rule, kept: Any, tangents: Sequence[Any]) -> Array:
    """That of a value, of those tangents that `push` asks for; `pull` is its transposition."""
    there, back = (Form(rule, rule.plainly()) for rule in (push, pull))
    return linear(there, back, kept, [tangents[k] for k in push.moving])[0]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def along(pushed: Callable[..., Array], static: Any, value: Array, kept: Any) -> Array:
    """A value that was found for `kept`, with the derivative that it has there.

    Args:
        pushed: ``pushed(static, kept, tangents)`` is the tangent of the value.
        static: of the call.
        value: as it was found.
        kept: the arguments, first of all, and what else the derivative is made of.
    """
    del pushed, static, kept
    return value


@in_our_modes
def _along_jvp(pushed, static, primals, tangents):
    _, kept = primals
    return along(pushed, static, *primals), pushed(static, kept, tangents[1][0])


along.defjvp(_along_jvp, symbolic_zeros=True)


def heard(cotangent: Array, values: Array) -> Array:
    """Cotangents: NaN for a value that is none, but 0 where nobody asks for it."""
    return jnp.where(jnp.isfinite(values) | (cotangent == 0), cotangent, jnp.nan)
