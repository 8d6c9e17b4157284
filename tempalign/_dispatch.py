"""The only place that selects an implementation.

XLA serves everything. Kernels serve some functions, on some devices, for some shapes: each says
itself why it cannot. All is decided from the platform, dtypes and static shapes while a call is
traced; inside ``jit`` a failure of the compiler would come too late.
"""

import importlib
from collections.abc import Sequence
from typing import Any, get_args

import jax

from tempalign._shards import varies
from tempalign._types import Implementation, ImplementationName

NAMES: tuple[str, ...] = get_args(ImplementationName)

# The module of kernels behind a public function, imported when it is first asked for. Such a
# module has `unsupported`, `forward` and `backward`.
_KERNELS: dict[str, str] = {"weighted_dtw": "tempalign.kernels.weighted_dtw"}

_FUNCTIONS = (
    "dtw",
    "dtw_from_cost",
    "dtw_alignment",
    "soft_dtw",
    "soft_dtw_alignment",
    "soft_dtw_divergence",
    "soft_dtw_from_cost",
    "tam_distance",
    "tam_distance_from_cost",
    "weighted_dtw",
)

_OLDEST_CARD = 8.0  # compute capability: Ampere

# What `explain` listens to; None when nobody does.
_heard: list[tuple[ImplementationName, str]] | None = None


def select(
    function: str, implementation: Implementation, operands: Any = None
) -> ImplementationName:
    """The implementation that a call takes.

    Args:
        function: public name, e.g. ``"weighted_dtw"``.
        implementation: what the caller asked for; None is the best for the platform, a sequence
            is tried in order.
        operands: what the kernels of the function would be given.

    Returns:
        The name of the implementation.

    Raises:
        ValueError: an unknown name or an empty sequence.
        NotImplementedError: none of the named ones can serve; says why for each.
    """
    taken, why = _choose(function, implementation, operands)
    if _heard is not None:
        _heard.append((taken, why))
    return taken


def _choose(
    function: str, implementation: Implementation, operands: Any
) -> tuple[ImplementationName, str]:
    """The implementation, and why those before it in the order cannot serve."""
    wanted: Sequence[ImplementationName]
    if implementation is None:
        wanted = ("pallas", "xla") if function in _KERNELS else ("xla",)
    elif isinstance(implementation, str):
        wanted = (implementation,)
    else:
        wanted = tuple(implementation)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown or not wanted:
        raise ValueError(
            f"implementation must be None or among {', '.join(NAMES)} (or a sequence of them), "
            f"got {implementation!r}"
        )
    reasons: list[str] = []
    for name in wanted:
        reason = _refusal(function, name, operands)
        if reason is None:
            return name, "; ".join(reasons)
        reasons.append(f"{name}: {reason}")
    raise NotImplementedError(
        f"{function} cannot run on {' or '.join(wanted)}: {'; '.join(reasons)} "
        "(implementation=None picks what can)"
    )


def kernels(function: str) -> Any:
    """The module of kernels behind a public function."""
    return importlib.import_module(_KERNELS[function])


def platform() -> str:
    """What jax runs on by default: "cpu", "gpu" or "tpu"."""
    return jax.default_backend()


def _refusal(function: str, name: str, operands: Any) -> str | None:
    """Why an implementation cannot serve, or None."""
    if name == "xla":
        return None
    if function not in _KERNELS:
        return "there is no such kernel in this version"
    if name == "pallas":
        launch = importlib.import_module("tempalign.kernels.launch")
        if platform() != "gpu":
            return f"it needs a GPU, and jax runs on {platform()}"
        if launch.missing() is not None:
            return launch.missing()
        card = launch.compute_capability()
        if card is not None and card < _OLDEST_CARD:
            return f"it needs compute capability {_OLDEST_CARD}, and the GPU has {card}"
    if name == "pallas_interpret" and varies(operands):
        return "jax interprets kernels only under shard_map(..., check_vma=False)"
    return None if operands is None else kernels(function).unsupported(operands)


def explain(
    function: str, *arguments: Any, implementation: Implementation = None, **options: Any
) -> str:
    """Says which implementation a call of a public function takes, and why.

    Args:
        function: public name, e.g. ``"weighted_dtw"``.
        *arguments: the arrays of the call (or ``jax.ShapeDtypeStruct``). Nothing is computed.
        implementation: as passed to the function.
        **options: other options of the call.

    Returns:
        One sentence.

    Raises:
        ValueError: an unknown function or implementation name, or what the call itself raises.
        NotImplementedError: as the call itself would.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> tempalign.explain("soft_dtw", jnp.ones((5, 3)), jnp.ones((6, 3)))
        'soft_dtw runs on xla: the only implementation in this version.'
    """
    if function not in _FUNCTIONS:
        raise ValueError(
            f"function must be one of {', '.join(sorted(_FUNCTIONS))}, got {function!r}"
        )
    if arguments:
        taken, why = _listen(function, arguments, {**options, "implementation": implementation})
    else:
        taken, why = _choose(function, implementation, None)
    if not why and implementation is not None:
        why = "asked for"
    elif not why:
        only = function not in _KERNELS
        why = "the only implementation in this version" if only else "the fastest that can serve"
    return f"{function} runs on {taken}: {why}."


def _listen(
    function: str, arguments: Sequence[Any], options: dict[str, Any]
) -> tuple[ImplementationName, str]:
    """What the call itself chooses, found by tracing it."""
    global _heard
    import tempalign

    call = getattr(tempalign, function)
    before, _heard = _heard, []
    try:
        jax.eval_shape(lambda *given: call(*given, **options), *arguments)
        return _heard[0]
    finally:
        _heard = before
