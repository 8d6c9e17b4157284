"""jit, vmap, grad and shard_map compose with every distance."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 6, 3)).astype(np.float32)
Y = RANDOM.normal(size=(4, 7, 3)).astype(np.float32)
LENGTHS = np.array([6, 1, 4, 5])

DISTANCES = {
    "dtw": tempalign.dtw,
    "soft_dtw": partial(tempalign.soft_dtw, gamma=0.5),
    "soft_dtw_checkpointed": partial(tempalign.soft_dtw, gamma=0.5, checkpoint=True),
    "soft_dtw_divergence": partial(tempalign.soft_dtw_divergence, gamma=0.5),
    "tam_distance": partial(tempalign.tam_distance, symmetric=True),
    "weighted_dtw": tempalign.weighted_dtw,
    "weighted_dtw_kernels": partial(
        tempalign.weighted_dtw, implementation=("pallas_interpret", "xla")
    ),
}


@pytest.fixture(params=DISTANCES, ids=str)
def value_and_gradients(request):
    distance = DISTANCES[request.param]

    def compute(x, y, lengths):
        def total(x, y):
            # Lengths are named after their argument.
            name = "query_lengths" if "tam" in request.param else "x_lengths"
            values = distance(x, y, **{name: lengths})
            return values.sum(), values

        (_, values), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(x, y)
        return values, gradients

    return compute


@pytest.mark.one_in(2)
def test_jit_and_vmap(value_and_gradients):
    expected = jax.jit(value_and_gradients)(X, Y, LENGTHS)
    chex.assert_tree_all_finite(expected)
    one_by_one = jax.jit(jax.vmap(value_and_gradients))(X, Y, LENGTHS)
    chex.assert_trees_all_close(one_by_one, expected, rtol=1e-5, atol=1e-5)


MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("batch",))
SHARDED, WHOLE = jax.sharding.PartitionSpec("batch"), jax.sharding.PartitionSpec()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "y_spec",
    [
        pytest.param(SHARDED, id="paired", marks=pytest.mark.slow),
        pytest.param(WHOLE, id="against a replicated batch"),  # the harder of the two
    ],
)
def test_shard_map(value_and_gradients, y_spec):
    x = X if y_spec == SHARDED else X[:, None]
    lengths = LENGTHS if y_spec == SHARDED else LENGTHS[:, None]
    expected = jax.jit(value_and_gradients)(x, Y, lengths)
    sharded = jax.shard_map(
        value_and_gradients,
        mesh=MESH,
        in_specs=(SHARDED, y_spec, SHARDED),
        out_specs=(SHARDED, (SHARDED, y_spec)),
    )
    chex.assert_trees_all_close(jax.jit(sharded)(x, Y, lengths), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_shard_map_of_kernels():
    """Interpreted, without jax's check; compiled with it in kernels/test_deviceless.py."""
    distance = partial(tempalign.weighted_dtw, implementation="pallas_interpret")
    gradients = jax.value_and_grad(lambda x, y: distance(x[:, None], y).sum(), (0, 1))
    specs = {"mesh": MESH, "in_specs": (SHARDED, WHOLE), "out_specs": (WHOLE, (SHARDED, WHOLE))}
    sharded = jax.shard_map(gradients, **specs, check_vma=False)
    chex.assert_trees_all_close(jax.jit(sharded)(X, Y), gradients(X, Y), rtol=1e-5, atol=1e-5)
    with pytest.raises(NotImplementedError, match="check_vma=False"):
        jax.shard_map(gradients, **specs)(X, Y)


@pytest.mark.slow
def test_shard_map_of_barycenters():
    series = RANDOM.normal(size=(2, 3, 5, 1)).astype(np.float32)
    # optax's line search does not yet mark what varies over the mesh.
    soft = partial(tempalign.soft_dtw_barycenter, num_iters=3)
    for average, check in ((tempalign.dba, True), (soft, False)):
        sharded = jax.shard_map(
            average, mesh=MESH, in_specs=SHARDED, out_specs=SHARDED, check_vma=check
        )
        np.testing.assert_allclose(jax.jit(sharded)(series), average(series), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distance", [tempalign.soft_dtw, tempalign.tam_distance])
def test_vmap_over_temperatures(distance):
    gammas = jnp.array([0.1, 1.0, 10.0])
    derivative = jax.value_and_grad(lambda gamma: distance(X[0], Y[0], gamma))
    expected = [derivative(gamma) for gamma in gammas]
    values, slopes = jax.jit(jax.vmap(derivative))(gammas)
    # A score may be a small difference of large ones.
    np.testing.assert_allclose(values, [value for value, _ in expected], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes, [slope for _, slope in expected], rtol=1e-4, atol=1e-5)
    assert np.all(np.asarray(slopes) < 0)  # minus an entropy


@pytest.mark.parametrize("distance", [tempalign.dtw, tempalign.soft_dtw])
def test_a_wider_band_never_raises_the_distance(distance):
    jitted = jax.jit(distance, static_argnames="band")
    values = [jitted(X, Y, band=band) for band in (1, 2, 3, 6)] + [distance(X, Y)]
    assert np.all(np.diff(values, axis=0) <= 1e-5)
    np.testing.assert_allclose(values[-2], values[-1], rtol=1e-6)


def test_nothing_to_align():
    for name, distance in DISTANCES.items():
        assert distance(X[:0], Y[:0]).shape == (0,), name
        assert distance(X[:0, None], Y).shape == (0, 4), name
