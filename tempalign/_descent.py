"""Minimisation by L-BFGS, with steps and stops that do not depend on the unit of the data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array


class Descent(NamedTuple):
    """What a minimisation found.

    Attributes:
        point: like the start; NaN if the start has no finite objective.
        history: ``[num_iters + 1]`` objectives, the start's first, constant after the stop.
        converged: ``[]``, whether it stopped by itself.
    """

    point: Array
    history: Array
    converged: Array


class Units(NamedTuple):
    """Powers of two in which points and objectives are of the order of 1, so exact.

    Attributes:
        point: ``[]``, of the coordinates.
        objective: ``[]``.
    """

    point: Array
    objective: Array

    @classmethod
    def near(cls, point: Array, objective: Array) -> "Units":
        """The powers of two next to two sizes; 1 for a size that is 0 or not finite."""
        return cls(_power_of_two(point), _power_of_two(objective))


def _power_of_two(size: Array) -> Array:
    usable = (size > 0) & (size < jnp.inf)
    _, exponent = jnp.frexp(jnp.where(usable, size, 1))
    # Neither it, nor its inverse, nor a product with numbers of the order of 1 may vanish.
    most = jnp.finfo(size.dtype).maxexp - 20
    return jnp.ldexp(jnp.ones_like(size), jnp.clip(exponent - 1, -most, most))


class _State(NamedTuple):
    """In the midst of it, in units of the order of 1."""

    iteration: Array
    point: Array
    objective: Array  # [], of `point`
    gradient: Array  # of the objective at `point`
    memory: Any  # optax's
    done: Array
    history: Array  # [num_iters + 1]


def descend(
    objective_of: Callable[[Array], Array], start: Array, units: Units, tol: float, num_iters: int
) -> Descent:
    """L-BFGS with a zoom line search (optax); no step raises the objective.

    Where the objective is a small difference of large numbers (a temperature that is large beside
    the costs adds a large constant), its decrease is below its rounding long before the minimum
    is reached. The slopes at both ends of a step then say what it gains: they have no such
    constant in them.

    Args:
        objective_of: a point to its objective ``[]``.
        start: where to start.
        units: what is of the order of 1 at the start.
        tol: done when an iteration gains no more than this part of the objective's magnitude, or
            of its unit if that is less.
        num_iters: most iterations.
    """
    import optax  # takes longer to import than this library, and only this needs it

    solver = optax.lbfgs(
        linesearch=optax.scale_by_zoom_linesearch(
            max_linesearch_steps=20, initial_guess_strategy="one"
        )
    )
    rounds = jnp.arange(num_iters + 1)
    blur = 16 * jnp.finfo(start.dtype).eps

    def scaled(point: Array) -> Array:
        return objective_of(point * units.point) / units.objective

    def gain(state: _State) -> Callable[[Array], Array]:
        """How far a point is above the state's, as a function that optax may differentiate."""

        @jax.custom_jvp
        def above(point: Array) -> Array:
            return valued(point)[0]

        def valued(point: Array) -> tuple[Array, Array]:
            objective, gradient = jax.value_and_grad(scaled)(point)
            difference = objective - state.objective
            by_slope = jnp.vdot((state.gradient + gradient) / 2, point - state.point)
            blurred = jnp.abs(difference) <= blur * jnp.abs(state.objective)
            return jnp.where(blurred, by_slope, difference), gradient

        @above.defjvp
        def above_jvp(primals, tangents):
            value, gradient = valued(*primals)
            return value, jnp.vdot(gradient, *tangents)

        return above

    def again(state: _State) -> Array:
        return (state.iteration < num_iters) & ~state.done

    def iterate(state: _State) -> _State:
        # One that is done waits for others: without a slope its line search is short.
        gradient = jnp.where(state.done, 0, state.gradient)
        update, memory = solver.update(
            gradient,
            state.memory,
            state.point,
            value=jnp.zeros_like(state.objective),
            grad=gradient,
            value_fn=gain(state),
        )
        change, ahead = memory[-1].value, memory[-1].grad
        lower = change < 0  # False for NaN
        enough = -change > tol * jnp.minimum(jnp.abs(state.objective), 1)
        objective = jnp.where(lower, state.objective + change, state.objective)
        # The tail repeats the current value, which then stands if this is the last iteration.
        history = jnp.where(rounds > state.iteration, objective, state.history)
        return _State(
            state.iteration + 1,
            jnp.where(lower, state.point + update, state.point),
            objective,
            jnp.where(lower, ahead, state.gradient),
            memory,
            ~(lower & enough),
            history,
        )

    first = start / units.point
    objective, gradient = jax.value_and_grad(scaled)(first)
    end = lax.while_loop(
        again,
        iterate,
        _State(
            iteration=jnp.zeros((), jnp.int32),
            point=first,
            objective=objective,
            gradient=gradient,
            memory=solver.init(first),
            done=~jnp.isfinite(objective),
            history=jnp.full(num_iters + 1, objective),
        ),
    )
    possible = jnp.isfinite(objective)
    return Descent(
        jnp.where(possible, end.point * units.point, jnp.nan),
        jnp.where(possible, end.history * units.objective, jnp.nan),
        end.done & possible,
    )
