"""float32 against float64 on the same numbers, where rounding hurts most: costs full of ties.

A tie is decided by differences of large sums divided by gamma. The bounds are the library's promise
(see test_soft_dtw.py::test_precision for costs without ties).
"""

import functools
import itertools

import jax
import numpy as np
import pytest

import tempalign
from tempalign.kernels.cpu import native

OPTIMIZED = True  # see conftest.py

MODELS = {
    "plain": tempalign.soft_dtw_from_cost,
    "open_end": functools.partial(tempalign.soft_dtw_from_cost, open_end="y"),
    "penalty": functools.partial(tempalign.soft_dtw_from_cost, penalty=0.75),
    "tam": tempalign.tam_distance_from_cost,
}


@functools.cache
def program(model, float64, implementation="xla"):
    """Value and gradient; a program of its own for each precision, as jax's switch is global."""
    del float64
    return jax.jit(
        jax.value_and_grad(functools.partial(MODELS[model], implementation=implementation))
    )


# Compiling takes most of the time: what plain DTW does on all shapes the others do on three.
SHAPES = ((1, 5), (5, 400), (300, 300))
CASES = [("plain", (1, 1)), ("plain", (64, 80)), *itertools.product(MODELS, SHAPES)]


NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(native.missing() is not None, reason=f"native: {native.missing()}"),
)


@pytest.mark.one_in(8)
@pytest.mark.parametrize("implementation", ["xla", NATIVE])
@pytest.mark.parametrize(("model", "shape"), CASES, ids=str)
@pytest.mark.usefixtures("x64")
def test_ties(model, shape, implementation):
    random = np.random.default_rng(0)
    few = random.integers(0, 4, shape).astype(np.float32)
    failed = []
    for name, cost in (("0..3", few), ("0..300", 100 * few)):
        for gamma in (1.0, 1e-1, 1e-2, 1e-3, 1e-5):
            # The same gamma for both: 0.1 is not a float32.
            gamma = np.float32(gamma)
            found = program(model, False, implementation)(cost, gamma)
            wanted = program(model, True)(cost.astype(np.float64), np.float64(gamma))
            (value, gradient), (exact, expected) = (map(np.asarray, one) for one in (found, wanted))
            assert value.dtype == np.float32
            assert exact.dtype == np.float64
            error = np.abs(gradient - expected).max()
            bound = 2e-6 if implementation == "native" else 1e-5 if gamma >= 9e-3 else 1e-4
            if not error <= bound:
                failed.append(f"gradient of costs {name} at gamma {gamma}: off by {error:.2g}")
            if not abs(value - exact) <= 1e-6 * max(abs(exact), 1):
                failed.append(f"value of costs {name} at gamma {gamma}: {value} for {exact}")
    assert not failed, "\n".join(failed)
