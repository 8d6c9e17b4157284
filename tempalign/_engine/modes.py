"""What holds for all that is called of ours: jax's modes, and sizes that are not known.

The caller's strict modes end where this library begins. With ``jax_numpy_rank_promotion="raise"``
or ``jax_numpy_dtype_promotion="strict"`` people look for slips in their own code; with
``jax_debug_infs`` for numbers that ran away. Our ranks and dtypes are meant as they are written, an
infinite cost is a forbidden cell, and of the libraries below us (optax) we cannot know. So whatever
jax may call of ours, now (a public function) or later (the rule of a derivative), sets the modes
that it was written for.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

F = TypeVar("F", bound=Callable[..., Any])


@contextlib.contextmanager
def our_modes() -> Iterator[None]:
    """The modes of jax that this library is written for."""
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        jax.debug_infs(False),
    ):
        yield


def in_our_modes(function: F) -> F:
    """Runs a function under jax's default modes, whatever the caller's are.

    Where it cannot do with a symbolic size (of `jax.export`), it says so.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with our_modes():
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not _wants_a_size(error):
                    raise
                raise NotImplementedError(
                    f"{function.__name__} cannot be exported with these symbolic sizes: a symbolic "
                    "batch always works, symbolic numbers of frames not with band, max_slope, "
                    "checkpoint, resampling, averages, or in both sequences at once "
                    f"({str(error).splitlines()[0]})"
                ) from error

    return wrapped  # type: ignore[return-value]


def _wants_a_size(error: Exception) -> bool:
    """Whether jax refused to compare, or to count up to, a symbolic size."""
    return type(error).__name__ == "InconclusiveDimensionOperation" or "_DimExpr" in str(error)
