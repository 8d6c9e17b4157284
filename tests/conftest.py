"""Settings for the whole suite: seeded, CPU unless asked otherwise, strict where it is free."""

import os

# Set before jax is imported; `pytest -m gpu` runs with JAX_PLATFORMS=cuda from outside.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import numpy as np
import pytest

hypothesis.settings.register_profile(
    "tempalign",
    max_examples=25,
    deadline=None,  # the first example of a shape compiles
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        # The suite of weighted DTW is inherited by a class for each implementation.
        hypothesis.HealthCheck.differing_executors,
    ],
)
hypothesis.settings.load_profile("tempalign")


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_file():
    """Compiled programs are let go after each file.

    A process may map so many pieces of memory and no more (``vm.max_map_count``), and the compiler
    crashes when the thousands of programs of the whole suite have used them up.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def rng():
    """A seeded generator."""
    return np.random.default_rng(0)


@pytest.fixture
def x64():
    """float64 in jax for one test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
