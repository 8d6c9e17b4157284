"""The only place that selects an implementation."""

from collections.abc import Sequence
from typing import get_args

from tempalign._types import Implementation, ImplementationName

NAMES: tuple[str, ...] = get_args(ImplementationName)

# What each public function can run on. GPU kernels register here when they exist; until then the
# XLA form serves every platform.
_AVAILABLE: dict[str, tuple[ImplementationName, ...]] = {
    "dtw": ("xla",),
    "dtw_from_cost": ("xla",),
    "dtw_alignment": ("xla",),
    "soft_dtw": ("xla",),
    "soft_dtw_alignment": ("xla",),
    "soft_dtw_divergence": ("xla",),
    "soft_dtw_from_cost": ("xla",),
    "tam_distance": ("xla",),
    "tam_distance_from_cost": ("xla",),
    "weighted_dtw": ("xla",),
}


def select(function: str, implementation: Implementation) -> ImplementationName:
    """The implementation that a call takes.

    Args:
        function: public name, e.g. ``"weighted_dtw"``.
        implementation: what the caller asked for; None is the best for the platform, a sequence
            is tried in order.

    Returns:
        The name of the implementation.

    Raises:
        ValueError: an unknown name or an empty sequence.
        NotImplementedError: none of the named ones can serve; says why for each.
    """
    available = _AVAILABLE[function]
    if implementation is None:
        return available[0]
    wanted: Sequence[str] = (
        [implementation] if isinstance(implementation, str) else list(implementation)
    )
    unknown = [name for name in wanted if name not in NAMES]
    if unknown or not wanted:
        raise ValueError(
            f"implementation must be None or among {', '.join(NAMES)} (or a sequence of them), "
            f"got {implementation!r}"
        )
    for name in available:
        if name in wanted:
            return name
    raise NotImplementedError(
        f"{function} has no {' or '.join(wanted)} implementation in this version; "
        f"it runs on {', '.join(available)} (implementation=None picks it)"
    )


def explain(function: str, *, implementation: Implementation = None) -> str:
    """Says which implementation a public function takes, and why.

    Args:
        function: public name, e.g. ``"weighted_dtw"``.
        implementation: as passed to the function.

    Returns:
        One sentence.

    Raises:
        ValueError: an unknown function or implementation name.
        NotImplementedError: as the call itself would.

    Example:
        >>> import tempalign
        >>> tempalign.explain("weighted_dtw")
        'weighted_dtw runs on xla: the only implementation in this version.'
    """
    if function not in _AVAILABLE:
        raise ValueError(
            f"function must be one of {', '.join(sorted(_AVAILABLE))}, got {function!r}"
        )
    taken = select(function, implementation)
    why = "the only implementation in this version" if implementation is None else "asked for"
    return f"{function} runs on {taken}: {why}."
