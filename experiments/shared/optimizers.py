"""The optimiser of all trainings."""

from typing import Any

import jax
import optax


def adamw(learning_rate: optax.ScalarOrSchedule, **options: Any) -> optax.GradientTransformation:
    """Returns `optax.adamw`, which works under every mode of jax.

    It counts in integers and multiplies by numbers, which ``jax_numpy_dtype_promotion="strict"``
    refuses; our own code is written for that mode, too.

    Args:
        learning_rate: a number, or a schedule of the step.
        **options: see `optax.adamw`.
    """
    made = optax.adamw(learning_rate, **options)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return made.update(updates, state, params)

    return optax.GradientTransformation(made.init, update)
