"""What is not a number, and what a concrete call refuses, comes out as NaN: value and gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 5, 4)).astype(np.float32)
Y = RANDOM.normal(size=(3, 6, 4)).astype(np.float32)
W = np.exp(RANDOM.normal(size=(3, 6, 4))).astype(np.float32)
COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine")

DISTANCES = {
    "dtw": tempalign.dtw,
    "soft_dtw": partial(tempalign.soft_dtw, gamma=0.5),
    "soft_dtw_checkpointed": partial(tempalign.soft_dtw, gamma=0.5, checkpoint=True),
    "soft_dtw_divergence": partial(tempalign.soft_dtw_divergence, gamma=0.5),
    "tam_distance": tempalign.tam_distance,
    "weighted_dtw": tempalign.weighted_dtw,
    "weighted_dtw_kernels": partial(tempalign.weighted_dtw, implementation="pallas_interpret"),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("implementation", ["xla", "native", "pallas_interpret"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e10])
def test_a_class_does_not_change_the_gradients_of_the_others(implementation, bad):
    @jax.jit
    def gradients(x, c, w):
        def two_classes(x, c, w):
            values = tempalign.weighted_dtw(x[:, None], c, w, implementation=implementation)
            return values[:, :2].sum()

        return jax.grad(two_classes, (0, 1, 2))(x, c, w)

    expected = gradients(X, Y, W)
    spoiled = Y.copy()
    spoiled[2, 1, 2] = bad
    got = gradients(X, spoiled, W)
    np.testing.assert_array_equal(got[0], expected[0])
    for one, other in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(one[:2], other[:2])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", DISTANCES)
def test_traced_lengths_out_of_range_give_nan_in_value_and_gradient(name):
    distance = DISTANCES[name]
    lengths = "query_lengths" if "tam" in name else "x_lengths"

    @jax.jit
    def value_and_gradient(x, n):
        return jax.value_and_grad(lambda x: distance(x, Y[0], **{lengths: n}))(x)

    for n in (0, 6, -3):
        value, gradient = value_and_gradient(X[0], n)
        assert np.isnan(value)
        assert np.all(np.isnan(gradient)), n
    value, gradient = value_and_gradient(X[0], 3)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    assert not np.any(gradient[3:])


def test_other_functions_of_traced_lengths_have_nan_gradients():
    def gradient(function):
        return jax.jit(jax.grad(lambda x, n: function(x, n).sum()))(X, np.array([5, 6, 0]))

    for function in (
        lambda x, n: tempalign.resample(x, 3, lengths=n),
        lambda x, n: tempalign.smoothness(x, lengths=n),
    ):
        nan = np.isnan(gradient(function))
        assert nan[1].any() and nan[2].any() and not nan[0].any()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("cost", COSTS)
def test_a_nan_frame_comes_out_as_nan(cost):
    spoiled = X.copy()
    spoiled[1, 2, 3] = np.nan
    for distance in (tempalign.dtw, partial(tempalign.soft_dtw, gamma=0.5), tempalign.tam_distance):
        values = distance(spoiled, Y[0], cost=cost)
        np.testing.assert_array_equal(np.isnan(values), [False, True, False])
    path = tempalign.dtw_alignment(spoiled, Y[0], cost=cost)
    visits = tempalign.soft_dtw_alignment(spoiled, Y[0], cost=cost)
    for alignment in (path, visits):
        np.testing.assert_array_equal(
            np.isnan(alignment).all((1, 2)), [False, True, False], err_msg=cost
        )


@pytest.mark.one_in(2)
def test_averages_of_sets_with_nan_are_nan():
    series = np.stack([X, X + 1])
    series[1, 0, 2, 1] = np.nan
    for average in (tempalign.dba, tempalign.soft_dtw_barycenter):
        found = average(series, return_objective=True, num_iters=3)
        assert np.all(np.isfinite(found.center[0])) and np.all(np.isnan(found.center[1]))
        assert not found.converged[1]
        weights = np.array([0, 1, 1], np.float32)  # the one with NaN is ignored
        assert np.all(np.isfinite(average(series, weights=weights, num_iters=3)))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("weights", [[0.0, 0, 0], [1, -1, 1], [1, np.nan, 1]])
def test_traced_weights_that_are_refused_give_nan(weights):
    for average in (tempalign.dba, tempalign.soft_dtw_barycenter):
        call = jax.jit(lambda w, average=average: average(X, weights=w, num_iters=2))
        assert np.all(np.isnan(call(np.array(weights, np.float32))))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("implementation", ["xla", "native", "pallas_interpret"])
def test_nan_in_what_decides_the_path(implementation):
    decides = Y + 0.1
    decides[1, 2, 0] = np.nan

    def total(c):
        values = tempalign.weighted_dtw(
            X[:, None], c, W, path_from=(decides, W), implementation=implementation
        )
        return values.sum(), values

    gradient, values = jax.grad(total, has_aux=True)(Y)
    np.testing.assert_array_equal(np.isnan(values), [[False, True, False]] * 3)
    np.testing.assert_array_equal(np.isnan(gradient).any((1, 2)), [False, True, False])


@pytest.mark.parametrize("gamma", [1e-46, 1e-39, 3e38])
def test_temperatures_that_float32_cannot_compute_with(gamma):
    with pytest.raises(ValueError, match="gamma must lie within .* float32"):
        tempalign.soft_dtw(X, Y, gamma)
    assert np.all(np.isnan(jax.jit(tempalign.soft_dtw)(X, Y, gamma)))


@pytest.mark.parametrize("gamma", [1e-37, 1e-20, 1e20, 1e34])
def test_temperatures_that_it_can(gamma):
    value, gradient = jax.value_and_grad(tempalign.soft_dtw)(X[0], Y[0], gamma)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_gamma_none_is_refused():
    for call in (tempalign.soft_dtw, tempalign.align, tempalign.warp):
        with pytest.raises(ValueError, match="gamma must be a number, got None"):
            call(X, Y, None)


@pytest.mark.parametrize(
    "options",
    [{"penalty": -1.0}, {"penalty": np.nan}, {"move_weights": jnp.array([1.0, -1.0, 1.0])}],
    ids=str,
)
def test_traced_prices_that_are_refused_give_nan(options):
    ((name, price),) = options.items()

    def called(function):
        return jax.jit(lambda price: function(X[0], Y[0], **{name: price}))(price)

    assert np.isnan(called(tempalign.dtw))
    assert np.isnan(called(tempalign.soft_dtw))
    assert np.all(np.isnan(called(tempalign.dtw_alignment)))
    found = called(partial(tempalign.subsequence_matches, k=2))
    assert np.all(np.isnan(found.distance)) and np.all(np.asarray(found.start) == -1)


def test_a_series_with_nan_has_no_matches():
    for frame in (0, 5):
        series = Y[0].copy()
        series[frame] = np.nan
        found = tempalign.subsequence_matches(X[0, :2], series, 2)
        assert np.all(np.isnan(found.distance)) and np.all(np.asarray(found.end) == -1)


def test_nan_wakes_for_no_cotangent_of_zero():
    from tempalign._engine.checks import nan_where

    bad = jnp.array([True, True, False, False])

    def push(t):
        return nan_where(bad, t)

    for transform in (lambda t: push(t), lambda t: jax.linear_transpose(push, t)(t)[0]):
        for run in (transform, jax.jit(transform)):
            got = run(jnp.array([0.0, 1e-20, 0.0, 3.0]))
            np.testing.assert_array_equal(got, [0, np.nan, 0, 3])
