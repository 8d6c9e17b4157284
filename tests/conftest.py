"""Settings for the whole suite: seeded, CPU unless asked otherwise, strict where it is free."""

import os
from pathlib import Path

# Set before jax is imported; `pytest -m gpu` runs with JAX_PLATFORMS=cuda from outside.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import numpy as np
import pytest

from tempalign._engine import modes

# As users who look for slips in their own code have them: the library must run under them, the
# scripts do (but for optax, see experiments.shared.optimizers), and their tests do.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Nearly all of the suite's time is compilation. Programs are kept, so that a second run takes a
# third of the first one's; whatever a program depends on is in its key.
if not jax.config.jax_compilation_cache_dir:
    kept = Path(__file__).parents[1] / ".pytest_cache" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

hypothesis.settings.register_profile(
    "tempalign",
    max_examples=10,  # the same ones each time; --hypothesis-profile=thorough draws more
    deadline=None,  # the first example of a shape compiles
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        # The suite of weighted DTW is inherited by a class for each implementation.
        hypothesis.HealthCheck.differing_executors,
    ],
)
hypothesis.settings.register_profile(
    "thorough", parent=hypothesis.settings.get_profile("tempalign"), max_examples=100
)
hypothesis.settings.load_profile("tempalign")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a suite that several implementations inherit, a class says what is slow for it."""
    for item in items:
        if getattr(item, "originalname", None) in getattr(item.cls, "SLOW", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_file():
    """Compiled programs are let go after each file.

    A process may map so many pieces of memory and no more (``vm.max_map_count``), and the compiler
    crashes when the thousands of programs of the whole suite have used them up.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def our_modes():
    """The modes of jax that the library runs in, for tests of its inside."""
    with modes.our_modes():
        yield


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
