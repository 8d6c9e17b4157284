"""DejaVidHead: logits, initialisation, path copies, training through it."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flax import nnx

import tempalign
from tempalign import heads


@pytest.fixture
def head(rng):
    made = heads.DejaVidHead(3, 4, 5, weight_init="normal", rngs=nnx.Rngs(0))
    made.init_from_dba(rng.normal(size=(3, 6, 9, 5)).astype(np.float32))
    return made


def test_logits_are_standardised_negative_distances(head, rng):
    x = rng.normal(size=(2, 7, 5)).astype(np.float32)
    lengths = np.array([7, 3])
    weights = np.exp(head.log_weights[...])
    distances = np.array(
        [
            [
                oracles.weighted_dtw(x[b, :n], head.centroids[c], weights[c], False)[0]
                for c in range(3)
            ]
            for b, n in enumerate(lengths)
        ]
    )
    np.testing.assert_allclose(head.distances(x, lengths=lengths), distances, rtol=1e-5)
    scores = -distances
    mean, std = scores.mean(-1, keepdims=True), scores.std(-1, ddof=1, keepdims=True)
    np.testing.assert_allclose(head(x, lengths=lengths), (scores - mean) / std, rtol=1e-4)


def test_init_is_dba_of_resampled_samples_under_the_manhattan_cost(rng):
    series = rng.normal(size=(2, 5, 9, 3)).astype(np.float32)
    lengths = rng.integers(3, 10, (2, 5))
    head = heads.DejaVidHead(2, 4, 3)
    head.init_from_dba(series, lengths=lengths)
    expected = tempalign.dba(
        tempalign.resample(series, 4, lengths=lengths), cost="manhattan", diagonal=False
    )
    np.testing.assert_array_equal(head.centroids[...], expected)
    np.testing.assert_array_equal(head.path_centroids[...], expected)


def test_paths_stay_until_refreshed(head, rng):
    x = rng.normal(size=(4, 9, 5)).astype(np.float32)
    old = np.asarray(head.centroids[...])
    head.centroids[...] = head.centroids[...] + rng.normal(size=old.shape).astype(np.float32)
    weights = jnp.exp(head.log_weights[...])
    fixed = tempalign.weighted_dtw(
        x[:, None], head.centroids[...], weights, path_from=(old, weights)
    )
    live = tempalign.weighted_dtw(x[:, None], head.centroids[...], weights)
    np.testing.assert_allclose(head.distances(x), fixed, rtol=1e-6)
    assert np.abs(fixed - live).max() > 1e-3
    head.refresh_paths()
    np.testing.assert_allclose(head.distances(x), live, rtol=1e-5)


def test_copies_are_state_not_parameters(head):
    parameters = nnx.state(head, nnx.Param)
    assert set(parameters) == {"centroids", "log_weights"}
    assert set(nnx.state(head, heads.PathCopy)) == {"path_centroids", "path_log_weights"}
    assert head.path_centroids[...] is not head.centroids[...]
    live = heads.DejaVidHead(3, 4, 5, fixed_paths=False)
    assert not nnx.state(live, heads.PathCopy)


def test_gradients_reach_both_parameters_and_descend(head, rng):
    x = rng.normal(size=(12, 9, 5)).astype(np.float32)
    labels = np.arange(12) % 3
    graph, parameters, rest = nnx.split(head, nnx.Param, ...)

    @jax.jit
    @jax.value_and_grad
    def loss(parameters):
        logits = nnx.merge(graph, parameters, rest)(x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(12), labels])

    start, gradient = loss(parameters)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))
    for _ in range(30):
        _, gradient = loss(parameters)
        parameters = jax.tree.map(lambda p, g: p - 0.05 * g, parameters, gradient)
    assert loss(parameters)[0] < start - 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be >= 2, got 1"),
        ({"num_steps": 0}, "num_steps must be >= 1, got 0"),
        ({"num_features": 2.0}, "num_features must be a Python integer, got 2.0"),
        ({"weight_init": "zeros"}, "weight_init must be one of ones, normal, got 'zeros'"),
        ({"weight_init": "normal"}, "needs rngs"),
        ({"path_precision": "half"}, "path_precision must be one of float32, float16, got 'half'"),
    ],
)
def test_bad_arguments(arguments, message):
    options = {"num_classes": 3, "num_steps": 4, "num_features": 5} | arguments
    with pytest.raises((ValueError, TypeError), match=message):
        heads.DejaVidHead(**options)


def test_bad_series(head, rng):
    with pytest.raises(ValueError, match=r"series must have shape \[3, N, T, 5\]"):
        head.init_from_dba(rng.normal(size=(2, 6, 9, 5)).astype(np.float32))


def loss_of(head, x, labels):
    logits = jax.nn.log_softmax(head(x))
    return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], axis=-1))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("start", ["fresh", "equal centroids", "equal videos"])
def test_gradients_at_flat_places_are_finite(start, classes, rng):
    """The standard deviation of equal scores has no slope; jnp.std made all gradients NaN."""
    head = heads.DejaVidHead(classes, 4, 5)
    x = rng.normal(size=(6, 12, 5)).astype(np.float32)
    if start == "equal centroids":
        head.init_from_dba(np.stack([x[:2]] * classes))
    if start == "equal videos":
        x[:] = 0
    loss, gradients = nnx.jit(nnx.value_and_grad(loss_of))(head, x, np.arange(6) % classes)
    np.testing.assert_allclose(loss, np.log(classes), atol=0.3)  # rounding is not taken for logits
    assert all(np.all(np.isfinite(one)) for one in jax.tree.leaves(gradients))


def test_two_classes_are_learned(rng):
    """Standardised, their logits are +-0.707 at any parameters."""
    labels = np.arange(40) % 2
    x = (rng.normal(size=(40, 12, 5)) + labels[:, None, None]).astype(np.float32)
    head = heads.DejaVidHead(2, 4, 5)
    assert not head.standardize
    # Whichever is nearer: the centroid of the other class.
    head.init_from_dba(np.stack([x[labels == 1][:2], x[labels == 0][:2]]))

    @nnx.jit
    def step(head):
        loss, gradients = nnx.value_and_grad(loss_of)(head, x, labels)
        state = nnx.state(head, nnx.Param)
        nnx.update(head, jax.tree.map(lambda p, g: p - 0.02 * g, state, gradients))
        return loss

    losses = [float(step(head)) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    with pytest.raises(ValueError, match="standardize must be False or None for num_classes=2"):
        heads.DejaVidHead(2, 4, 5, standardize=True)
    plain = heads.DejaVidHead(3, 4, 5, standardize=False)
    np.testing.assert_array_equal(plain(x), -plain.distances(x))
