"""Calls of kernels: primitives of jax that are kernels on an Nvidia GPU, and XLA elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any

from jax.interpreters import mlir

from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array
from tempalign.kernels.placed import Call, for_export, lower_on_xla, on_xla, primitive

Kernels = Callable[..., list[Array]]  # of operands with batch axes in front, and `call`

_served: dict[str, Kernels] = {}


def serves(operation: str) -> Callable[[Kernels], Kernels]:
    """Says which kernels an operation is: a function of operands and of the keyword `call`."""

    def decorate(kernels: Kernels) -> Kernels:
        _served[operation] = kernels
        return kernels

    return decorate


def bind(
    operation: str,
    model: Model,
    operands: Sequence[Array],
    results: Sequence[tuple[tuple[int, ...], Any]],
    xla: Callable[..., Sequence[Array]],
    *,
    interpret: bool,
    **flags: int,
) -> list[Array]:
    """Calls the kernels of an operation.

    Args:
        operation: its name.
        model: of the problem.
        operands: arrays.
        results: shapes and dtypes.
        xla: what computes the same elsewhere; hashable.
        interpret: the kernels, interpreted, wherever this is lowered.
        **flags: further attributes.

    Returns:
        The results; they have no derivative.
    """
    flags |= {"interpret": int(interpret)}
    return kernels_p.bind(*operands, call=Call.of(operation, model, operands, results, xla, flags))


def interpreted(call: Call) -> bool:
    """Whether kernels are to be interpreted."""
    return bool(dict(call.flags)["interpret"])


def _on_kernels(*operands: Array, call: Call) -> list[Array]:
    return _served[call.operation](*operands, call=call)


def _elsewhere(*operands: Array, call: Call) -> list[Array]:
    return (_on_kernels if interpreted(call) else on_xla)(*operands, call=call)


def _lower(context: Any, *operands: Any, call: Call) -> Any:
    """A program that is exported must not need kernels: they are private to a version of jax."""
    exported = for_export(context)
    return (lower_on_xla if exported else _lower_kernels)(context, *operands, call=call)


def _lowering(function: Callable[..., Any]) -> Any:
    return mlir.lower_fun(in_our_modes(function), multiple_results=True)


_lower_kernels = _lowering(_on_kernels)
kernels_p = primitive("tempalign_kernels")
mlir.register_lowering(kernels_p, _lowering(_elsewhere))
mlir.register_lowering(kernels_p, _lower, platform="cuda")
