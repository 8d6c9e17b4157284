"""On XLA many pairs are worked on block by block; the blocks must not show."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign
from tempalign._engine import evaluate


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("x_lead", "y_lead"),
    [
        ((7, 1), (5,)),
        ((2, 7, 1), (2, 1, 3)),
        pytest.param((7,), (7,), marks=pytest.mark.slow),
        pytest.param((3, 1), (3, 5), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("function", [tempalign.dtw, tempalign.soft_dtw])
def test_blocks_change_nothing(monkeypatch, function, x_lead, y_lead, lengths):
    function = partial(function, implementation="xla")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*x_lead, 6, 3)).astype(np.float32)
    y = rng.normal(size=(*y_lead, 8, 3)).astype(np.float32)
    options = {"x_lengths": rng.integers(1, 7, x_lead)} if lengths else {}

    def value_and_gradients(x, y):
        values = function(x, y, **options)
        return values, jax.grad(lambda *xy: function(*xy, **options).sum(), (0, 1))(x, y)

    monkeypatch.setitem(evaluate._CELLS_AT_ONCE, "cpu", 2**30)
    whole = value_and_gradients(x, y)
    monkeypatch.setitem(evaluate._CELLS_AT_ONCE, "cpu", 2 * 5 * 6 * 8)
    assert "scan" in str(jax.make_jaxpr(function)(jnp.asarray(x), jnp.asarray(y)))
    chex.assert_trees_all_close(value_and_gradients(x, y), whole, rtol=1e-5, atol=1e-5)
    # With too many cells to keep their alignments, these are computed again for the gradient.
    monkeypatch.setattr(evaluate, "_CELLS_KEPT", 0)
    chex.assert_trees_all_close(value_and_gradients(x, y), whole, rtol=1e-5, atol=1e-5)


def test_memory_does_not_grow_with_the_number_of_pairs():
    def temporary(count):
        x = jax.ShapeDtypeStruct((count, 1, 50, 3), jnp.float32)
        y = jax.ShapeDtypeStruct((count, 50, 3), jnp.float32)
        compiled = jax.jit(partial(tempalign.dtw, implementation="xla")).lower(x, y).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # All costs of 400 x 400 pairs at once would be 1.6 GB.
    assert temporary(400) < 50e6
