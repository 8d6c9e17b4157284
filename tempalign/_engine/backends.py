"""Who serves a call: the only place that selects an implementation.

XLA serves everything. Another backend says of a model and the shapes of its operands why it cannot
serve them, never of a function's name. All is decided while a call is traced; inside ``jit`` a
failure of the compiler would come too late. On which platform a call will run is not known then:
where kernels for one platform can serve, the call is traced for both and decided when it is
lowered (`platforms.on_cuda`; native code for the CPU decides in its own lowering rule).
"""

import contextvars
import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax

from tempalign._engine import model as models
from tempalign._engine import platforms
from tempalign._engine.model import Model
from tempalign._engine.shards import varies
from tempalign._types import Implementation, ImplementationName
from tempalign.kernels.cpu import native

NAMES: tuple[str, ...] = get_args(ImplementationName)

#: What a function asks of a model.
Wants = Literal["values or paths", "averages", "matches"]


class Choice(NamedTuple):
    """Who serves a call.

    Attributes:
        backend: name of the implementation.
        reasons: why those asked before it cannot serve, "" if there is none.
        or_xla: whether XLA takes over where the call is lowered for another platform.
    """

    backend: ImplementationName
    reasons: str
    or_xla: bool = False


# Where `explain` wants to be told of choices; each thread and task has its own.
_listener: contextvars.ContextVar[list[Choice] | None] = contextvars.ContextVar(
    "tempalign_choices", default=None
)


def choose(
    function: str,
    model: Model,
    operands: Any = None,
    implementation: Implementation = None,
    wants: Wants = "values or paths",
) -> Choice:
    """The implementation that a call takes.

    Args:
        function: public name, for messages.
        model: what is to be computed.
        operands: the arrays it is computed from (or their shapes); None where they are not known.
        implementation: what the caller asked for; None is the best there is, a sequence is tried
            in order.
        wants: what is asked of the model.

    Raises:
        ValueError: an unknown name or an empty sequence.
        NotImplementedError: none of the named ones can serve; says why for each.
    """
    made = _choose(function, model, operands, implementation, wants)
    heard = _listener.get()
    if heard is not None:
        heard.append(made)
    return made


def _choose(
    function: str, model: Model, operands: Any, implementation: Implementation, wants: Wants
) -> Choice:
    wanted: Sequence[ImplementationName]
    if implementation is None:
        wanted = ("pallas", "native", "xla")
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
    for place, name in enumerate(wanted):
        reason = _refusal(name, model, operands, wants)
        if reason is None and name == "native" and implementation is None:
            if not platforms.likely_cpu():
                reason = "calls are likely to run on another device than the CPU"
        if reason is None:
            or_xla = name in ("pallas", "native") and "xla" in wanted[place + 1 :]
            return Choice(name, "; ".join(reasons), or_xla and len(platforms.present()) > 1)
        reasons.append(f"{name}: {reason}")
    raise NotImplementedError(
        f"{function} cannot run on {' or '.join(wanted)}: {'; '.join(reasons)} "
        "(implementation=None picks what can)"
    )


def kernels_for(model: Model) -> Any:
    """The module of kernels that serves such models, some of them at least.

    It says in `refuses(model, operands)` what it does not serve, and is imported when it is first
    asked for.
    """
    name = "weighted_dtw" if model.cost == "weighted_manhattan" else "alignment"
    return importlib.import_module(f"tempalign.kernels.gpu.{name}")


def _refusal(name: str, model: Model, operands: Any, wants: Wants) -> str | None:
    """Why an implementation cannot serve, or None."""
    if name == "xla":
        return None
    if name == "native":
        if wants == "matches":
            return "it finds values and paths, not matches"
        return native.refuses(model, operands)
    if name == "pallas":
        if "cuda" not in platforms.present():
            others = " and ".join(sorted(platforms.present()))
            maker = "" if others == "cpu" else " of Nvidia's"
            return f"it needs a GPU{maker}, and jax runs on {others}"
        launch = importlib.import_module("tempalign.kernels.gpu.launch")
        if launch.missing() is not None:
            return launch.missing()
        too_old = launch.too_old()
        if too_old is not None:
            return too_old
    if name == "pallas_interpret" and varies(operands):
        return "jax interprets kernels only under shard_map(..., check_vma=False)"
    if wants == "matches":
        return "the kernels find values and paths, not matches"
    return kernels_for(model).refuses(model, operands)


def explain(
    function: str | Callable[..., Any],
    *arguments: Any,
    implementation: Implementation = None,
    **options: Any,
) -> str:
    """Says which implementation a call of a public function takes, and why.

    Args:
        function: a public function or its name, e.g. ``"weighted_dtw"``.
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
        >>> x, y = jnp.ones((5, 3)), jnp.ones((6, 3))
        >>> tempalign.explain("subsequence_matches", x, y, implementation=("native", "xla"))
        'subsequence_matches runs on xla: native: it finds values and paths, not matches.'
    """
    while isinstance(function, functools.partial):
        arguments, options = (*function.args, *arguments), {**function.keywords, **options}
        function = function.func
    name = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
    call = _public(name)
    model = models.weighted(False) if name == "weighted_dtw" else Model()
    if arguments:
        made = _listen(call, arguments, {**options, "implementation": implementation})
    else:
        made = choose(name, model, None, implementation)
    why = made.reasons
    if not why and implementation is not None:
        why = "asked for"
    elif not why:
        why = "the fastest that can serve"
    if made.or_xla:
        why += " (on xla where it is lowered for another platform)"
    return f"{name} runs on {made.backend}: {why}."


def _public(name: str) -> Callable[..., Any]:
    """The public function of a name, if its implementation can be chosen."""
    import tempalign

    known = [
        one
        for one in tempalign.__all__
        if callable(getattr(tempalign, one))
        and one != "explain"
        and "implementation" in inspect.signature(getattr(tempalign, one)).parameters
    ]
    if name not in known:
        raise ValueError(f"function must be one of {', '.join(sorted(known))}, got {name!r}")
    return getattr(tempalign, name)


def _listen(call: Callable[..., Any], arguments: Sequence[Any], options: dict[str, Any]) -> Choice:
    """What the call itself chooses, found by tracing it; numbers stay the static ones they are."""
    heard: list[Choice] = []
    traced = {k: one for k, one in enumerate(arguments) if hasattr(one, "shape")}

    def of_arrays(given: dict[int, Any]) -> Any:
        return call(*(given.get(k, one) for k, one in enumerate(arguments)), **options)

    token = _listener.set(heard)
    try:
        jax.eval_shape(of_arrays, traced)
    finally:
        _listener.reset(token)
    return heard[0]
