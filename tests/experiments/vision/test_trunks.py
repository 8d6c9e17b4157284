"""Trunks: what they compute, which of their parameters are trained, precision and memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.mobilenet import MobileNet
from experiments.vision.trunks import open_trunk, trained_filter


@nnx.jit
def features(trunk, images):
    return trunk(images)


def pictures(side=32, count=2):
    return np.random.default_rng(0).random((count, side, side, 3), np.float32)


@functools.cache
def embedded(**options):
    return open_trunk("mobilenet_v2", seed=0, **options)


def test_mobilenet_agrees_with_the_frozen_encoder():
    images = pictures(48)
    expected = MobileNet.load()(jnp.asarray(images))
    assert embedded().num_features == 1280
    np.testing.assert_allclose(features(embedded(), images), expected, atol=1e-5)


def test_remat_changes_no_number():
    images = pictures()

    def gradient(trunk):
        graphdef, params = nnx.split(trunk, nnx.Param)
        loss = jax.jit(jax.value_and_grad(lambda p: (nnx.merge(graphdef, p)(images) ** 2).mean()))
        return loss(params)

    for here, there in zip(
        *(jax.tree.leaves(gradient(embedded(remat=remat))) for remat in (False, True)), strict=True
    ):
        np.testing.assert_allclose(here, there, rtol=2e-3, atol=1e-5 * np.abs(here).max())


def test_remat_of_a_trunk_that_is_trained_in_part():
    """In a gradient that knows some of its parameters only as constants."""

    def gradient(remat):
        trunk = embedded(remat=remat)
        graphdef, params, frozen = nnx.split(trunk, trained_filter(trunk, "last", 1), ...)

        @jax.jit
        def step(params, frozen):
            return jax.grad(lambda p: nnx.merge(graphdef, p, frozen)(pictures()).mean())(params)

        return jax.tree.leaves(step(params, frozen))

    for here, there in zip(gradient(False), gradient(True), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-6)


def test_remat_keeps_less_for_the_backward_pass():
    """Counted in what jax keeps: on a CPU the compiler merges the two computations again."""

    def kept(remat):
        graphdef, params = nnx.split(embedded(remat=remat), nnx.Param)
        backward = jax.eval_shape(
            lambda p, x: jax.vjp(lambda p: nnx.merge(graphdef, p)(x), p)[1],
            params,
            jnp.zeros((8, 64, 64, 3)),
        )
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    weights = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(embedded())))
    assert kept(True) - weights < 0.2 * (kept(False) - weights)


def test_bfloat16_computes_in_it_and_keeps_float32():
    half = embedded(precision="bfloat16")
    found, expected = features(half, pictures()), features(embedded(), pictures())
    assert found.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(half))} == {jnp.dtype("float32")}
    assert 0 < np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    with pytest.raises(ValueError, match="precision must be one of"):
        open_trunk("mobilenet_v2", seed=0, precision="float16")


@pytest.mark.slow
def test_random_weights_are_a_function_of_the_seed():
    one, same, other = (
        np.asarray(features(open_trunk("mobilenet_v2", weights="random", seed=seed), pictures()))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01 and 0.01 < one.std() < 10


def names(trunk, *given, **options):
    """The stages of the trained parameters, "" for those in none."""
    state = nnx.state(trunk, trained_filter(trunk, *given, **options))
    return {path[1] if path[0] == "stages" else "" for path, _ in nnx.to_flat_state(state)}


def test_which_parameters_are_trained():
    trunk = embedded()
    assert names(trunk, "none") == set()
    assert names(trunk, "all") == set(range(9))
    assert names(trunk, "last", 1) == {8} and names(trunk, "last", 3) == {6, 7, 8}
    for number in (0, 10):
        with pytest.raises(UserError, match=f"the last {number} stages .* has 9"):
            trained_filter(trunk, "last", number)


def test_a_trunk_in_a_model_and_what_is_beside_it():
    class Model(nnx.Module):
        def __init__(self):
            self.trunk = embedded()
            self.scores = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    model = Model()
    state = nnx.state(model, trained_filter(model.trunk, "last", 1, at=("trunk",)))
    assert {path[:3] for path, _ in nnx.to_flat_state(state)} == {
        ("scores", "bias"),
        ("scores", "kernel"),
        ("trunk", "stages", 8),
    }


def test_wrong_pictures_and_names():
    for shape in ((1, 31, 64, 3), (1, 64, 64, 1), (64, 64, 3)):
        with pytest.raises(ValueError, match="sides of at least 32"):
            embedded()(jnp.zeros(shape))
    with pytest.raises(UserError, match="alexnet: no such model; allowed: mobilenet_v2"):
        open_trunk("alexnet", seed=0)
    with pytest.raises(MissingFileError, match="no such file with weights"):
        open_trunk("mobilenet_v2", weights="nowhere.pth", seed=0)
