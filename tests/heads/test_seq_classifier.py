"""SeqClassifier: a linear layer whose episodes lower the SEQ loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tempalign
from tempalign import heads


@pytest.fixture
def head():
    return heads.SeqClassifier(4, 3, rngs=nnx.Rngs(0))


def test_it_is_linear_in_each_frame(head, rng):
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    expected = x @ np.asarray(head.linear.kernel[...]) + np.asarray(head.linear.bias[...])
    np.testing.assert_allclose(head(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(head(x)[1, 2], head(x[1, 2]), rtol=1e-5, atol=1e-6)


def test_exemplars_are_constant_barycenters_of_probabilities(head, rng):
    support = rng.normal(size=(3, 2, 5, 4)).astype(np.float32)
    lengths = np.array([[5, 3], [4, 5], [5, 5]])
    found = head.exemplars(support, gamma=0.2, lengths=lengths, num_iters=5)
    expected = tempalign.soft_dtw_barycenter(
        jax.nn.softmax(head(support)), 0.2, lengths=lengths, num_iters=5
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    gradients = nnx.grad(lambda head: head.exemplars(support, num_iters=2).sum())(head)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_training_lowers_the_loss(head, rng):
    support = rng.normal(size=(3, 2, 5, 4)).astype(np.float32) + 2 * np.eye(3, 4)[:, None, None]
    labels = jnp.arange(3)

    @nnx.jit
    def step(head):
        exemplars = head.exemplars(support, num_iters=5)
        loss, gradients = nnx.value_and_grad(
            lambda head: head.loss(support[:, 0], labels, exemplars, alpha=1.0).total
        )(head)
        state = nnx.state(head, nnx.Param)
        nnx.update(head, jax.tree.map(lambda p, g: p - 0.1 * g, state, gradients))
        return loss

    losses = [float(step(head)) for _ in range(8)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda h: h(np.zeros((2, 5), np.float32)), ValueError, r"x must have shape \[\.\.\., 4\]"),
        (lambda h: h(np.zeros((2, 4), int)), TypeError, "x must be a floating-point"),
        (lambda h: heads.SeqClassifier(4, 1, rngs=nnx.Rngs(0)), ValueError, "num_classes"),
        (lambda h: heads.SeqClassifier(0, 3, rngs=nnx.Rngs(0)), ValueError, "num_features"),
    ],
)
def test_bad_input(head, call, error, message):
    with pytest.raises(error, match=message):
        call(head)
