"""A call that one platform serves, and that XLA serves wherever else it is lowered.

Where a call will run is known when it is lowered, not when it is traced. So it is a primitive of
jax, with a lowering for the platform and another for all others; a batch (`jax.vmap`) stands in
front of its operands, and one without it gets an axis of size 1 and is not copied.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array


@dataclass(frozen=True)
class Call:
    """What a call is compiled for.

    Attributes:
        operation: its name.
        model: of the problem.
        flags: further attributes, names and numbers.
        results: shapes without batch axes, and dtypes.
        ranks: of the operands without batch axes.
        xla: what computes the same on XLA, of operands without batch axes; hashable.
    """

    operation: str
    model: Model
    flags: tuple[tuple[str, int], ...]
    results: tuple[tuple[tuple[int, ...], Any], ...]
    ranks: tuple[int, ...]
    xla: Callable[..., Sequence[Array]]

    @classmethod
    def of(
        cls,
        operation: str,
        model: Model,
        operands: Sequence[Array],
        results: Sequence[tuple[tuple[int, ...], Any]],
        xla: Callable[..., Sequence[Array]],
        flags: dict[str, int],
    ) -> "Call":
        """That of operands."""
        return cls(
            operation,
            model,
            tuple(sorted(flags.items())),
            tuple((tuple(shape), np.dtype(dtype)) for shape, dtype in results),
            tuple(operand.ndim for operand in operands),
            xla,
        )

    def batch_of(self, operands: Sequence[Any]) -> tuple[int, ...]:
        """The batch axes that stand in front of all operands."""
        leading = [
            operand.shape[: len(operand.shape) - rank]
            for operand, rank in zip(operands, self.ranks, strict=True)
        ]
        return np.broadcast_shapes(*leading)

    def merged(self, operands: Sequence[Array]) -> tuple[tuple[int, ...], list[Array]]:
        """The batch axes, and the operands with all of those as one axis in front."""
        batch, found = self.batch_of(operands), []
        for one, rank in zip(operands, self.ranks, strict=True):
            inner = one.shape[one.ndim - rank :]
            found.append(jnp.broadcast_to(one, batch + inner).reshape(math.prod(batch), *inner))
        return batch, found


def on_xla(*operands: Array, call: Call) -> list[Array]:
    """What a call computes, on XLA, mapped over the batch axes."""
    batch = call.batch_of(operands)
    if not batch:
        return list(call.xla(*operands))
    moves = [o.shape[0] == batch[0] and batch[0] != 1 for o in operands]
    if not any(moves):  # the axis has size 1
        found = on_xla(*(operand[0] for operand in operands), call=call)
        return [one[None] for one in found]
    given = [o if moving else o[0] for o, moving in zip(operands, moves, strict=True)]
    axes = tuple(0 if moving else None for moving in moves)
    return list(jax.vmap(functools.partial(on_xla, call=call), in_axes=axes)(*given))


lower_on_xla = mlir.lower_fun(in_our_modes(on_xla), multiple_results=True)


def for_export(context: Any) -> bool:
    """Whether a lowering, of this context, is of a program that is loaded elsewhere."""
    parameters = getattr(context.module_context, "lowering_parameters", None)
    return bool(getattr(parameters, "for_export", False))


def primitive(name: str) -> Primitive:
    """A primitive with the parameter `call`, lowered to XLA unless something else is registered."""
    made = Primitive(name)

    def batch(
        operands: Sequence[Array], axes: Sequence[int | None], *, call: Call
    ) -> tuple[list[Array], list[int]]:
        moved = [
            operand[None] if axis is None else jnp.moveaxis(operand, axis, 0)
            for operand, axis in zip(operands, axes, strict=True)
        ]
        # Older batch axes stand behind it: all operands have as many.
        found = made.bind(*moved, call=call)
        return found, [0] * len(found)

    made.multiple_results = True
    made.def_impl(jax.jit(made.bind, static_argnames="call"))
    made.def_abstract_eval(in_our_modes(_shapes))
    batching.primitive_batchers[made] = in_our_modes(batch)
    mlir.register_lowering(made, lower_on_xla)
    return made


def _shapes(*operands: Any, call: Call) -> list[Any]:
    return list(jax.make_jaxpr(functools.partial(_of_shapes, call=call))(*operands).out_avals)


def _of_shapes(*operands: Array, call: Call) -> list[Array]:
    """Nothing but shapes, dtypes, and mesh axes that vary, in few equations."""
    batch = call.batch_of(operands)
    one = next(o for o in operands if jnp.issubdtype(o.dtype, jnp.floating)).sum()
    return [jnp.broadcast_to(one, batch + shape).astype(dtype) for shape, dtype in call.results]
