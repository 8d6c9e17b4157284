"""Local costs: their derivatives as they are written, dtypes and sizes of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import tempalign
from tempalign._engine import costs

OPTIMIZED = True  # see conftest.py

pytestmark = pytest.mark.usefixtures("our_modes")  # looks inside

NAMES = costs.NAMES


@pytest.mark.parametrize(("scale", "difference"), [(1e4, 1e-2), (1e2, 1e-2), (30.0, 1e-3)])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "manhattan"])
@pytest.mark.usefixtures("x64")
def test_small_differences_of_large_numbers(cost, scale, difference):
    """Multiplied out, |x|^2 - 2xy + |y|^2 would lose what distinguishes the two."""
    random = np.random.default_rng(0)
    x = random.uniform(-scale, scale, size=(20, 3)).astype(np.float32)
    y = (x + difference * random.normal(size=x.shape)).astype(np.float32)
    for gamma in (0, np.float32(1e-3)):
        gradient = jax.grad(lambda x, y, g=gamma: tempalign.soft_dtw(x, y, g, cost=cost), (0, 1))
        gradient = jax.jit(gradient)
        exact = gradient(x.astype(np.float64), y.astype(np.float64))
        for one, other in zip(gradient(x, y), exact, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, atol=1e-6 * np.abs(other).max())


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "features", [20, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 40))]
)
@pytest.mark.parametrize("cost", NAMES)
@pytest.mark.usefixtures("x64")
def test_derivatives_of_all_orders(cost, features):
    """Few and many features are laid out apart, and frames come in blocks."""
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 3, 4, features)), random.normal(size=(2, 2, 9, features))
    weights = jnp.asarray(random.normal(size=(4, 9, 2, 3, 2)))

    def total(x, y):
        return jnp.vdot(weights, costs.matrix(x, y, cost))

    def plain(x, y):
        d = x[:, :, None, :, None] - y[:, None, :, None, :]
        if cost == "cosine":
            a, b = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
            found = 1 - jnp.einsum("sanf,scmf->sacnm", a, b)
        elif cost == "manhattan":
            found = jnp.abs(d).sum(-1)
        else:
            found = jnp.square(d).sum(-1)
            found = jnp.sqrt(found) if cost == "euclidean" else found
        return jnp.vdot(weights, found.transpose(3, 4, 0, 1, 2))

    np.testing.assert_allclose(total(x, y), plain(x, y), rtol=1e-10)
    tangents = random.normal(size=x.shape), random.normal(size=y.shape)
    for derivative in (
        lambda f: jax.grad(f, (0, 1))(x, y),
        lambda f: jax.jvp(f, (x, y), tangents),
        lambda f: jax.jvp(jax.grad(f, (0, 1)), (x, y), tangents)[1],
        lambda f: jax.grad(lambda x, y: jnp.vdot(jax.grad(f)(x, y), tangents[0]), (0, 1))(x, y),
    ):
        # Jitted: one program, instead of one for each operation.
        found, expected = (jax.jit(lambda f=f, d=derivative: d(f))() for f in (total, plain))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [int, jnp.bfloat16, jnp.float16, bool])
def test_a_callable_may_return_any_real_dtype(dtype):
    x = np.array([[200.0], [400.0], [600.0]], np.float32)
    y = np.array([[0.0], [1.0]], np.float32)

    def cost(x, y):
        return jnp.abs(x - y.T).astype(dtype)

    local = np.asarray(jnp.abs(x - y.T).astype(dtype).astype(jnp.float32))
    expected, path = oracles.loop_dtw(local, True)
    np.testing.assert_allclose(tempalign.dtw(x, y, cost=cost), expected, rtol=1e-6)
    np.testing.assert_array_equal(tempalign.dtw_alignment(x, y, cost=cost), path)
    soft, _, _ = oracles.loop_soft_dtw(local, 0.5, True)
    np.testing.assert_allclose(tempalign.soft_dtw(x, y, 0.5, cost=cost), soft, rtol=1e-6)
    assert tempalign.soft_dtw(x, y, 0.5, cost=cost).dtype == np.float32


def test_a_callable_may_not_return_complex_numbers():
    x = np.ones((3, 1), np.float32)
    with pytest.raises(TypeError, match="cost must return real numbers, got dtype complex64"):
        tempalign.dtw(x, x, cost=lambda x, y: (x - y.T) * 1j)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [1e-30, 1e-25, 1.0, 1e20, 1e30])
def test_cosine_of_vectors_of_any_size(size):
    x = (size * np.array([[1.0, 2.0, 3.0], [3.0, -1.0, 0.0]])).astype(np.float32)
    y = (size * np.array([[2.0, 4.0, 6.0], [-3.0, 1.0, 0.0]])).astype(np.float32)
    for cost in ("cosine", costs.DampedCosine(1e-38 if size < 1 else 1e-3)):
        matrix = jax.jit(costs.matrix, static_argnames="cost")
        found = matrix(x[None, None], y[None, None], cost=cost)[:, :, 0, 0, 0]
        expected = [[0, 1 + 1 / np.sqrt(140)], [1 - 1 / np.sqrt(140), 2]]
        np.testing.assert_allclose(found, expected, atol=2e-3 if size == 1 else 1e-6)
        gradient = jax.jit(jax.grad(lambda x, c=cost: tempalign.dtw(x, y, cost=c)))(x)
        assert np.all(np.isfinite(gradient))
