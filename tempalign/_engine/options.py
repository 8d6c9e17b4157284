"""The options that say which paths there are: told, checked and documented once.

A public function takes them as ``**options: Unpack[PathOptions]`` and is decorated with
:func:`with_path_options`, which gives it the signature and the ``Args:`` entries of all of them.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine import checks
from tempalign._engine import model as models
from tempalign._engine.arrays import as_array, as_numpy, holds_traced
from tempalign._engine.model import Model, Move, Opening, Window
from tempalign._types import Array, ArrayLike

F = TypeVar("F", bound=Callable[..., Any])

#: Which sequence may be entered (or left) at any frame, or how many frames may be skipped.
Open = Literal["x", "y", "both"] | int | tuple[int | None, int | None] | None


class PathOptions(TypedDict, total=False):
    """Which paths there are; see `ARGS`, which is what users read."""

    diagonal: bool
    band: int | None
    max_slope: float | None
    mask: ArrayLike | None
    penalty: ArrayLike
    move_weights: ArrayLike | tuple[float, float, float] | None
    open_begin: Open
    open_end: Open


DEFAULTS: dict[str, Any] = {
    "diagonal": True,
    "band": None,
    "max_slope": None,
    "mask": None,
    "penalty": 0.0,
    "move_weights": None,
    "open_begin": None,
    "open_end": None,
}

ARGS = {
    "diagonal": "whether the step (1, 1) is allowed.",
    "band": """Sakoe-Chiba radius around the slope-adjusted diagonal, in frames of the longer
        sequence: cells with ``|i (m-1) - j (n-1)| <= band min(n-1, m-1)`` are allowed, n and
        m being the true lengths. For n = m that is tslearn's ``sakoe_chiba_radius`` and n times
        aeon's ``window``. None: all cells.""",
    "max_slope": """Itakura's parallelogram: the lines from both corners to an allowed cell are at
        most `max_slope` times as steep as the line between the corners, and at least
        ``1 / max_slope`` times; a number >= 1, rounded to a fraction of at most hundredths. None:
        all cells.""",
    "mask": """boolean ``[..., n, m]`` that broadcasts with the leading axes, True where a path may
        go. What band, slope and mask all allow is allowed. Where they leave no path: an error if
        they and the lengths are concrete, else ``inf``. None: all cells.""",
    "penalty": """added for every step that is not diagonal, a scalar >= 0 (that of amerced DTW,
        and dtaidistance's on squared costs). May be traced, and differentiated.""",
    "move_weights": """three numbers >= 0 for the steps (1, 0), (0, 1) and (1, 1): the cost of the
        cell that a step leads to counts so many times, that of the first cell once. (1, 1, 2) is
        Sakoe and Chiba's symmetric form. May be traced, and differentiated. None: (1, 1, 1).""",
    "open_begin": """where a path may begin besides at the first frames of both: ``"x"``: at any
        frame of `x`, for free; ``"y"``: of `y`; ``"both"``: of either (not in the midst of
        both). An integer limits how many frames may be skipped, a pair ``(skip_x, skip_y)`` says
        it of each (None: any number). None: nowhere else.""",
    "open_end": """where a path may end, likewise. ``open_begin="y", open_end="y"`` is subsequence
        DTW: `x` is matched as a whole somewhere in `y`.""",
}


def with_path_options(function: F) -> F:
    """Spells the path options out in signature and docstring of a function that takes them.

    The docstring has the line ``**options: ...`` where their entries belong.
    """
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=DEFAULTS[name],
            annotation=PathOptions.__annotations__[name],
        )
        for name in ARGS
    ]
    explicit = signature.replace(parameters=own + added)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs.keys() - explicit.parameters.keys():
            raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}")
        return function(*args, **kwargs)

    entries = "".join(
        textwrap.fill(
            f"{name}: {' '.join(text.split())}",
            width=100,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
        for name, text in ARGS.items()
    )
    lines = (function.__doc__ or "").splitlines(keepends=True)
    checked.__doc__ = "".join(
        entries if line.strip().startswith("**options:") else line for line in lines
    )
    checked.__signature__ = explicit  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def renamed(**names: str) -> Callable[[F], F]:
    """Refuses the names that arguments of a function once had, and says what to write now."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for old in kwargs.keys() & names.keys():
                raise TypeError(
                    f"{function.__name__} has no argument {old!r} any more: write {names[old]}="
                )
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate


class Paths(NamedTuple):
    """Path options, checked.

    Attributes:
        model: with moves, openings and window; cost and kind of minimum are the caller's.
        penalty: scalar, or None where nothing is added.
        weights: ``[3]``, or None where all are 1.
        mask: bool ``[..., n, m]``, or None.
    """

    model: Model
    penalty: Array | None
    weights: Array | None
    mask: Array | np.ndarray | None


def resolve(options: PathOptions, dtype: jnp.dtype) -> Paths:
    """Checks path options.

    Args:
        options: as a public function got them.
        dtype: what is computed in.

    Raises:
        ValueError: an option out of range.
        TypeError: an option of the wrong kind.
    """
    given: dict[str, Any] = {**DEFAULTS, **options}
    checks.flag(given["diagonal"], "diagonal")
    penalty = _penalty(given["penalty"], dtype)
    weights = _move_weights(given["move_weights"], dtype)
    mask = _mask(given["mask"])
    row, column, diagonal = models.dtw(bool(given["diagonal"]))
    off = Move(weighted=weights is not None, penalised=penalty is not None)
    model = Model(
        row=off,
        column=off,
        diagonal=Move(diagonal.allowed, weighted=weights is not None),
        begin=_opening(given["open_begin"], "open_begin"),
        end=_opening(given["open_end"], "open_end"),
        window=Window(
            checks.band(given["band"]), checks.slope(given["max_slope"]), mask is not None
        ),
    )
    return Paths(model, penalty, weights, mask)


def _opening(value: Open, name: str) -> Opening:
    allowed = 'None, "x", "y", "both", a count of frames, or a pair (skip_x, skip_y)'
    checks.static(value, name)
    named = {None: (0, 0), "x": (None, 0), "y": (0, None), "both": (None, None)}
    if value is None or isinstance(value, str):
        if value not in named:
            raise ValueError(f"{name} must be {allowed}; got {value!r}")
        return Opening(*named[value])
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    for count in pair:
        if isinstance(count, bool) or not isinstance(count, (int, np.integer, type(None))):
            raise TypeError(f"{name} must be {allowed}; got {value!r}")
        if count is not None and count < 0:
            raise ValueError(f"{name} must not be negative, got {value!r}")
    skip_x, skip_y = (None if count is None else int(count) for count in pair)
    return Opening(skip_x, skip_y)


def _penalty(value: ArrayLike, dtype: jnp.dtype) -> Array | None:
    if not isinstance(value, jax.core.Tracer):
        number = as_numpy(value, "penalty")
        if number.shape == () and number.dtype.kind in "iuf":
            if number == 0:
                return None
            if not 0 < number < np.inf:
                raise ValueError(f"penalty must be finite and >= 0, got {value}")
    return checks.real_scalar(value, "penalty", dtype)


def _move_weights(
    value: ArrayLike | tuple[float, float, float] | None, dtype: jnp.dtype
) -> Array | None:
    if value is None:
        return None
    # What is concrete stays NumPy's, also under jit, to be looked at below.
    read: Callable[..., Any] = as_array if holds_traced(value) else as_numpy
    array = read(value, "move_weights")
    if array.shape != (3,) or array.dtype.kind not in "iuf":
        raise ValueError(
            "move_weights must be three real numbers, for the steps (1, 0), (0, 1) and (1, 1); "
            f"got {value!r}"
        )
    if isinstance(array, np.ndarray):
        if not np.all((array >= 0) & np.isfinite(array)):
            raise ValueError(f"move_weights must be finite and >= 0, got {value!r}")
        if np.all(array == 1):
            return None
    return jnp.asarray(array, dtype)


def _mask(value: ArrayLike | None) -> Array | np.ndarray | None:
    if value is None:
        return None
    array = value if isinstance(value, jax.core.Tracer) else as_numpy(value, "mask")
    if array.dtype != bool:
        raise TypeError(f"mask must be boolean, True where a path may go; got dtype {array.dtype}")
    if array.ndim < 2:
        raise ValueError(f"mask must have shape [..., n, m], got {array.shape}")
    return array
