"""The distance of `along_path` with its derivative rule, on whichever backend serves it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tempalign._engine import backends, costs, derivative, platforms
from tempalign._engine.along_path import Operands, path_cost, path_gradients
from tempalign._engine.backends import Choice
from tempalign._engine.derivative import Lanes
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.recurrence import Ends
from tempalign._types import Array

Decides = tuple[Array, Array] | None


class Static(NamedTuple):
    """What a call is compiled for."""

    model: Model
    choice: Choice


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def distance(
    static: Static, operands: Operands, decides: Decides, ends: Ends | None, spoiled: Array
) -> Array:
    """Distances ``[S*A*C]``.

    Not linear in anything, and too many cells to be differentiated one by one: the gradient is
    that of the sum along the path, in reverse mode.

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
    return _forward(static, operands, decides, ends, spoiled)[0]


def _forward(
    static: Static, operands: Operands, decides: Decides, ends: Ends | None, spoiled: Array
) -> tuple[Array, Any]:
    model, choice = static
    if choice.backend == "xla":
        value, paths = _on_xla(model, operands, decides, ends)
    else:
        # Kernels walk all lanes, and 0 times what is not finite must not reach another pair.
        operands, decides = jax.tree.map(
            lambda a: jnp.where(jnp.isfinite(a), a, 0), (operands, decides)
        )
        kernels = backends.kernels_for(model)
        forward = partial(kernels.forward, model, interpret=choice.backend == "pallas_interpret")
        value, paths = _either(
            choice,
            forward,
            lambda *given: kernels.paths_as_ranges(given[0], *_on_xla(model, *given)),
            (operands, decides, ends),
        )
    return value + spoiled, (operands, paths, spoiled)


def _backward(static: Static, residuals: tuple[Operands, Any, Array], cotangent: Array):
    model, choice = static
    operands, paths, spoiled = residuals
    # The gradient of what is not a number is none either; what nobody asked for stays 0.
    cotangent = jnp.where(jnp.isfinite(spoiled) | (cotangent == 0), cotangent, jnp.nan)
    if choice.backend == "xla":
        gradients = path_gradients(wide(operands), paths, cotangent)
    else:
        kernels = backends.kernels_for(model)
        backward = partial(kernels.backward, interpret=choice.backend == "pallas_interpret")
        gradients = _either(
            choice,
            backward,
            lambda operands, ranges, cotangent: path_gradients(
                wide(operands), kernels.ranges_as_rows(operands, ranges), cotangent
            ),
            (operands, paths, cotangent),
        )
    return jax.tree.map(lambda g, o: g.astype(o.dtype), gradients, operands), None, None, None


distance.defvjp(in_our_modes(_forward), in_our_modes(_backward))


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
