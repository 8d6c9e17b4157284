"""Settings for the tests of the scripts."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def modes_of_optax():
    """The scripts train with optax, whose optimizers are not written for strict dtypes."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield
