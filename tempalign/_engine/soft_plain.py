"""Soft minima on XLA, as native code is asked for them.

What can be differentiated any number of times, and what takes over where a call is lowered for
another platform, or exported; see `soft_served`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine.handed import Fixed, Present, Static, moved_to, prices_of
from tempalign._engine.model import Model
from tempalign._engine.problem import Operands
from tempalign._types import Array

CELLS = 16  # the bit by which expected alignments are asked for, behind those of `Given`


class Given(NamedTuple):
    """What has derivatives.

    Attributes:
        x: as in `Operands`, for cosines of length 1.
        y: likewise.
        gamma: ``[]``.
        prices: ``[4]``, weights of the moves and penalty; None where the model is uniform.
    """

    x: Array
    y: Array
    gamma: Array
    prices: Array | None


def inner_cost(x: Array, y: Array) -> Array:
    """The cosine cost of vectors of length 1.

    Not "cosine", which would make them that long once more: the library does not, and the two have
    other derivatives off the sphere.
    """
    return 1 - jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)


def for_xla(model: Model, given: Given, fixed: Fixed) -> tuple[Model, Operands]:
    """What the library takes as the engine takes it."""
    if model.cost == "cosine":
        model = model.replace(cost=inner_cost)
    valid = fixed.valid
    if valid is not None and not valid.ndim:
        valid = jnp.broadcast_to(valid, (*given.x.shape[:2], given.y.shape[1]))
    prices = prices_of(given.prices)
    return model, Operands(
        given.x, given.y, fixed.rows, fixed.columns, valid, fixed.mask, given.gamma, prices
    )


@dataclass(frozen=True)
class Find:
    """What the library does, on XLA, of operands as the library takes them.

    Attributes:
        static: of the call.
        present: which operands there are.
        asked: bits of `Given`, and `CELLS`.
    """

    static: Static
    present: Present
    asked: int

    def __call__(self, x: Array, y: Array, *more: Array) -> list[Array]:
        fixed, prices, (gamma,) = self.present.taken(more)
        given = Given(x, y, gamma, prices)
        xla = self.static.xla
        if not self.asked:
            return [xla.values(*for_xla(self.static.model, given, fixed))]
        if self.asked & CELLS:
            found, visits, entropy = xla.marginals(*for_xla(self.static.model, given, fixed))
            return [found, entropy, visits] if self.asked & 4 else [found, visits]
        return self._by_pair(given, fixed)

    def _by_pair(self, given: Given, fixed: Fixed) -> list[Array]:
        """The value of each pair and its Jacobians."""
        moving = [k for k in range(4) if self.asked >> k & 1]

        def one(given: Given, fixed: Fixed) -> list[Array]:
            def of_moving(*moved: Array) -> Array:
                x, y, gamma, prices = moved_to(given, moving, moved)
                alone = Given(x[None, None], y[None, None], gamma, prices)
                parts = [None if part is None else part[None, None, None] for part in fixed]
                made = for_xla(self.static.model, alone, Fixed(*parts))
                return self.static.xla.values(*made).reshape(())

            arguments = [given[k] for k in moving]
            found, gradients = jax.value_and_grad(of_moving, tuple(range(len(moving))))(*arguments)
            signed = zip(moving, gradients, strict=True)
            return [found, *(-gradient if k == 2 else gradient for k, gradient in signed)]

        whole = fixed.mask is not None and fixed.mask.shape[:3] == (1, 1, 1)
        if whole:
            assert fixed.mask is not None
            fixed = fixed._replace(mask=fixed.mask[0, 0, 0])
        axes: list[Any] = [None if part is None else 0 for part in fixed]
        each: Any = Fixed(axes[0], axes[1], axes[2], None if whole else axes[3])

        def over(function: Any, of_x: Any, of_y: Any) -> Any:
            nothing: Any = None
            return jax.vmap(function, (Given(of_x, of_y, nothing, nothing), each))

        return list(over(over(over(one, None, 0), 0, None), 0, 0)(given, fixed))
