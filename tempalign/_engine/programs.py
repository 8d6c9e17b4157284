"""Compiled programs: kept for good, but for those of costs that a caller makes anew each time."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from tempalign._engine.model import Model

F = TypeVar("F", bound=Callable[..., Any])

# Of so many different functions as `cost` the programs of a kind are kept; those of the function
# that was not used for longest are let go. (A program takes 2 to 10 MB.)
_FUNCTIONS = 16


def compiled(*static_argnames: str) -> Callable[[F], F]:
    """`jax.jit` for a function of a model.

    A ``cost=lambda ...`` in a loop is another function each time round, and compiles each time:
    that cannot be helped, but jax would also keep all the programs.
    """

    def decorate(function: F) -> F:
        def program(_: object) -> Callable[..., Any]:
            @functools.wraps(function)
            def body(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return jax.jit(body, static_argnames=static_argnames)

        shared = program(None)
        of_function = functools.lru_cache(maxsize=_FUNCTIONS)(program)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            model = next(a for a in (*args, *kwargs.values()) if isinstance(a, Model))
            chosen = of_function(model.cost) if callable(model.cost) else shared
            return chosen(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
