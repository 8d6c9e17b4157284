"""Settings for the whole suite: seeded, CPU unless asked otherwise, strict where it is free."""

import math
import os
import zlib
from collections import defaultdict
from pathlib import Path

# Set before jax is imported; `pytest -m gpu` runs with JAX_PLATFORMS=cuda from outside.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nearly all of the suite's time is compilation, and a third of that the optimisations of LLVM.
# Files whose subject is what an optimised program computes say `OPTIMIZED = True`.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import jax
import numpy as np
import pytest

from tempalign._engine import modes

# As users who look for slips in their own code have them: the library must run under them, the
# scripts do (but for optax, see experiments.shared.optimizers), and their tests do.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Programs are kept, so that a second run takes a third of the first one's; whatever a program
# depends on is in its key.
if not jax.config.jax_compilation_cache_dir:
    kept = Path(__file__).parents[1] / ".pytest_cache" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

hypothesis.settings.register_profile(
    "tempalign",
    max_examples=6,  # the same ones each time; --hypothesis-profile=thorough draws more
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
    """What is slow beside what is marked so.

    Of a suite that several implementations inherit, a class says what is slow for it. Of a test
    with the marker `one_in(k)` a k-th of the cases is run by default, drawn by their names, so the
    same ones each time, and the others are slow.
    """
    cases = defaultdict(list)
    for item in items:
        if getattr(item, "originalname", None) in getattr(item.cls, "SLOW", ()):
            item.add_marker(pytest.mark.slow)
        elif item.get_closest_marker("one_in") and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for some in cases.values():
        some.sort(key=lambda item: zlib.crc32(item.name.encode()))
        count = math.ceil(len(some) / some[0].get_closest_marker("one_in").args[0])
        for item in some[count:]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_file(request):
    """Compiled programs are let go after each file, and optimised for those that ask for it.

    A process may map so many pieces of memory and no more (``vm.max_map_count``), and the compiler
    crashes when the thousands of programs of the whole suite have used them up.
    """
    less = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "0"
    less &= not getattr(request.module, "OPTIMIZED", False)
    jax.config.update("jax_disable_most_optimizations", less)
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
