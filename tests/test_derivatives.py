"""Derivatives of the second order where a path decides: the hard distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

RANDOM = np.random.default_rng(0)


def test_the_value_in_the_rule_has_a_derivative():
    hessian = jax.hessian(lambda c: tempalign.dtw_from_cost(c) ** 2)(jnp.array([[3.0]]))
    np.testing.assert_allclose(hessian.squeeze(), 2)
    cost = jnp.asarray(RANDOM.uniform(size=(4, 5)))
    path = np.ravel(tempalign.dtw_alignment_from_cost(cost))
    for order in (
        jax.hessian,
        lambda f: jax.jacrev(jax.jacrev(f)),
        lambda f: jax.jacrev(jax.jacfwd(f)),
    ):
        found = jax.jit(order(lambda c: tempalign.dtw_from_cost(c) ** 2))(cost).reshape(20, 20)
        np.testing.assert_allclose(found, 2 * np.outer(path, path), atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_second_order_in_penalty_and_weights():
    cost = jnp.asarray(RANDOM.uniform(size=(4, 5)))

    def squared(price):
        return tempalign.dtw_from_cost(cost, penalty=price[0], move_weights=price[1:]) ** 2

    price = jnp.array([0.3, 1.0, 0.7, 1.6])
    slope = jax.grad(lambda p: jnp.sqrt(squared(p)))(price)
    expected = 2 * np.outer(slope, slope)  # along a fixed path the cost is linear in its prices
    for order in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f))):
        np.testing.assert_allclose(jax.jit(order(squared))(price), expected, atol=1e-10)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.usefixtures("x64")
def test_weighted_dtw(fixed):
    """Its reverse mode walks the path; its Hessian must equal that of explicit costs."""
    x, c = RANDOM.normal(size=(5, 2)), RANDOM.normal(size=(2, 4, 2))
    w = np.exp(RANDOM.normal(size=(2, 4, 2)))

    def distances(x, c, w):
        path_from = (Y0, W0) if fixed else None
        return tempalign.weighted_dtw(x, c, w, path_from=path_from)

    def plain(x, c, w):
        cost = (w[:, :, None] * jnp.abs(c[:, :, None] - x[None, None])).sum(-1)
        if not fixed:
            return tempalign.dtw_from_cost(cost, diagonal=False)
        decides = (W0[:, :, None] * jnp.abs(Y0[:, :, None] - x[None, None])).sum(-1)
        return (tempalign.dtw_alignment_from_cost(decides, diagonal=False) * cost).sum((1, 2))

    Y0, W0 = c + 0.1, w * 1.1

    def squared(f):
        return lambda *arrays: jnp.sum(f(*arrays) ** 2)

    # Jitted: one program, instead of one for each operation.
    expected = jax.jit(jax.hessian(squared(plain), (0, 1, 2)))(x, c, w)
    for order in (jax.hessian, lambda f, a: jax.jacrev(jax.jacrev(f, a), a)):
        found = jax.jit(order(squared(distances), (0, 1, 2)))(x, c, w)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-8)
    # And of a batch, one after the other.
    batched = jax.vmap(jax.hessian(squared(distances)), (0, None, None))
    batched = jax.jit(batched)(np.stack([x, x]), c, w)
    np.testing.assert_allclose(batched[1], expected[0][0], atol=1e-8)


def test_weighted_dtw_says_that_it_has_no_forward_mode():
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for call in (
        lambda: jax.jvp(lambda x: tempalign.weighted_dtw(x, x[:3] + 1), (x,), (x,)),
        lambda: jax.jit(jax.jacfwd(lambda x: tempalign.weighted_dtw(x, x[:3] + 1)))(x),
    ):
        with pytest.raises(NotImplementedError, match="reverse mode only.*dtw_from_cost"):
            call()
