"""soft_dtw_barycenter."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.optimize
from hypothesis import strategies
from test_barycenter import warped_copies

import tempalign

N, T = 5, 10
LENGTHS = np.array([10, 6, 8, 10, 4])
WEIGHTS = np.array([1.0, 2.0, 0.5, 0.0, 3.0], np.float32)


def padded(seed=0, junk=np.nan):
    """Series with junk past the lengths, and a series of weight 0 that is all junk."""
    series = warped_copies(N, T, seed=seed)
    series[np.arange(T) >= LENGTHS[:, None]] = junk
    series[WEIGHTS == 0] = junk
    return series


def loop_objective(series, lengths, weights, gamma, center):
    """The objective and its gradient in the barycenter, one series after the other."""
    total, gradient = 0.0, np.zeros_like(center)
    for one, tau, weight in zip(series, lengths, weights, strict=True):
        if weight:
            one = one[:tau].astype(np.float64)
            cost = oracles.local_cost(one, center, "sqeuclidean")
            value, expected, _ = oracles.loop_soft_dtw(cost, gamma, True)
            total += weight / tau * value
            moved = expected.sum(0)[:, None] * center - expected.T @ one
            gradient += weight / tau * 2 * moved
    return total, gradient


@pytest.mark.one_in(3)
@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_equals_scipy_in_float64(x64, gamma):
    series = padded().astype(np.float64)
    options = dict(lengths=LENGTHS, weights=WEIGHTS.astype(np.float64), length=6)
    center, objective, _ = tempalign.soft_dtw_barycenter(
        series, gamma, **options, num_iters=200, tol=0.0, return_objective=True
    )
    assert center.dtype == objective.dtype == np.float64

    means = np.asarray(tempalign.resample(np.nan_to_num(series), 6, lengths=LENGTHS))
    start = np.average(means, axis=0, weights=WEIGHTS)
    found = scipy.optimize.minimize(
        lambda z: [
            np.ravel(part)
            for part in loop_objective(series, LENGTHS, WEIGHTS, gamma, z.reshape(start.shape))
        ],
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000},
    )
    at_start, _ = loop_objective(series, LENGTHS, WEIGHTS, gamma, start)
    at_end, gradient = loop_objective(series, LENGTHS, WEIGHTS, gamma, np.asarray(center))
    np.testing.assert_allclose(objective[jnp.array([0, -1])], [at_start, at_end], rtol=1e-10)
    np.testing.assert_allclose(at_end, found.fun, rtol=1e-8)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    np.testing.assert_allclose(center, found.x.reshape(start.shape), atol=1e-5)


def barycenter(series, gamma=0.1, **options):
    """One shape for all tests that can: it compiles once."""
    return tempalign.soft_dtw_barycenter(series, gamma, return_objective=True, **options)[:2]


soft_dtw = jax.jit(tempalign.soft_dtw)


def test_padding_and_ignored_series_change_nothing():
    expected = barycenter(padded(junk=0.0), lengths=LENGTHS, weights=WEIGHTS)
    for junk in (np.nan, np.inf, 1e30):
        got = barycenter(padded(junk=junk), lengths=LENGTHS, weights=WEIGHTS)
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


def test_the_order_of_the_series_does_not_matter():
    order = np.array([3, 1, 4, 0, 2])
    series = padded()
    _, expected = barycenter(series, lengths=LENGTHS, weights=WEIGHTS)
    _, got = barycenter(series[order], lengths=LENGTHS[order], weights=WEIGHTS[order])
    np.testing.assert_allclose(got[-1], expected[-1], rtol=1e-4)


def test_an_integer_weight_is_a_repetition():
    a, b, c, *_ = warped_copies(N, T)
    nothing = np.full_like(a, np.nan)
    weighted, objective = barycenter(
        np.stack([a, b, c, nothing, nothing]), 1.0, weights=np.float32([3, 1, 1, 0, 0])
    )
    repeated, again = barycenter(np.stack([a, a, b, a, c]), 1.0)
    np.testing.assert_allclose(again[-1], objective[-1], rtol=1e-5)
    np.testing.assert_allclose(repeated, weighted, atol=1e-2)


@hypothesis.given(
    seed=strategies.integers(0, 2**16),
    gamma=strategies.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    scale=strategies.sampled_from([1e-3, 1.0, 1e3]),
)
def test_the_objective_never_rises_and_is_that_of_the_result(seed, gamma, scale):
    series = scale * warped_copies(N, T, seed=seed)
    center, objective = barycenter(series, gamma)
    assert objective.shape == (51,)
    assert np.all(np.isfinite(center)) and np.all(np.isfinite(objective))
    assert np.all(np.diff(objective) <= 0)
    value = soft_dtw(series, center, gamma).sum() / T
    size = abs(soft_dtw(series, series[0], gamma)).sum() / T
    np.testing.assert_allclose(objective[-1], value, atol=1e-6 * size)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-10, 2.0**50])
def test_the_unit_of_the_features_does_not_matter(scale):
    """Series of size 1e15 once had no barycenter, and small ones were left where they were."""
    series = warped_copies(N, T)
    center, objective = barycenter(series)
    scaled, in_other_units = barycenter(np.float32(scale) * series, 0.1 * scale**2)
    np.testing.assert_allclose(in_other_units / scale**2, objective, rtol=1e-4)
    np.testing.assert_allclose(scaled / scale, center, atol=1e-3)


@pytest.mark.slow
@pytest.mark.one_in(3)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e-1])
@pytest.mark.usefixtures("x64")
def test_millivolts_at_a_temperature_far_above_their_costs(scale):
    """What a step gains is then below the rounding of the objective, in float32."""
    series = (scale * warped_copies(N, T)).astype(np.float32)
    center, objective, converged = tempalign.soft_dtw_barycenter(series, 1.0, return_objective=True)
    exact, fine, _ = tempalign.soft_dtw_barycenter(
        series.astype(np.float64), 1.0, tol=1e-10, num_iters=200, return_objective=True
    )
    assert converged and np.all(np.diff(objective) <= 0)
    gained = (fine[0] - fine[-1]) / scale**2
    assert gained > 0.1  # the start, the mean, is not what is looked for
    np.testing.assert_allclose(center, exact, atol=1e-3 * scale)


@pytest.mark.slow
def test_many_sets_equal_one_at_a_time():
    series = np.stack([padded(seed=0), 100 * padded(seed=1), padded(seed=2)])
    series[2] = series[2, 0]  # of one series: done early, waits for the others
    options = dict(lengths=LENGTHS, weights=WEIGHTS)
    together, objective, _ = tempalign.soft_dtw_barycenter(
        series.reshape(3, 1, N, T, 2), 0.1, return_objective=True, **options
    )
    assert together.shape == (3, 1, T, 2) and objective.shape == (3, 1, 51)
    assert np.all(np.diff(objective, axis=-1) <= 0)
    for k, one in enumerate(series):
        alone, expected = barycenter(one, **options)
        np.testing.assert_allclose(objective[k, 0, -1], expected[-1], rtol=1e-4)
        size = np.nanmax(np.abs(one))
        np.testing.assert_allclose(together[k, 0], alone, atol=0.05 * size)


def test_one_series_is_its_own_barycenter_as_gamma_goes_to_zero():
    one = np.cumsum(np.random.default_rng(0).uniform(0.5, 1, (1, T, 2)), 1).astype(np.float32)
    center = tempalign.soft_dtw_barycenter(one, 1e-3)
    np.testing.assert_allclose(center, one[0], atol=1e-4)
    start = np.zeros((T, 2), np.float32)
    np.testing.assert_allclose(
        tempalign.soft_dtw_barycenter(one, 1e-3, init=one[0]), one[0], atol=1e-4
    )
    smooth, objective, _ = tempalign.soft_dtw_barycenter(one, 10.0, return_objective=True)
    assert objective[-1] < objective[0]
    assert np.abs(smooth - one[0]).max() > 0.1
    assert np.all(np.isfinite(tempalign.soft_dtw_barycenter(one, 1.0, init=start)))


def test_a_start_at_the_end_stays_there():
    series = warped_copies(N, T)
    center, objective = barycenter(series, 1.0)
    again, more = barycenter(series, 1.0, init=center)
    np.testing.assert_allclose(more[0], objective[-1], rtol=1e-6)
    np.testing.assert_allclose(again, center, atol=2e-2)
    hard = tempalign.dba(series)
    _, from_hard = barycenter(series, 1e-3, init=hard)
    assert from_hard[-1] <= from_hard[0]


def test_the_mean_of_probabilities_is_probabilities():
    series = np.asarray(jax.nn.softmax(3 * warped_copies(N, T)))
    center, _ = barycenter(series, tol=0.0)
    np.testing.assert_allclose(center.sum(-1), 1, atol=1e-4)
    assert np.all(center > 0)


def test_options_reach_the_alignment():
    series = warped_copies(N, T)
    options = dict(cost="euclidean", diagonal=False, band=2)
    center, objective, _ = tempalign.soft_dtw_barycenter(
        jnp.asarray(series, jnp.bfloat16),
        0.1,
        length=9,
        num_iters=5,
        return_objective=True,
        **options,
    )
    assert center.shape == (9, 2) and center.dtype == np.float32
    series = jnp.asarray(series, jnp.bfloat16).astype(np.float32)
    value = tempalign.soft_dtw(series, center, 0.1, **options).sum() / T
    np.testing.assert_allclose(objective[-1], value, rtol=1e-5)
    assert objective[-1] < objective[0]


def test_no_gradient_and_nan_for_what_only_the_device_can_see():
    series = np.stack([warped_copies(N, T, seed=s) for s in range(3)])

    @jax.jit
    def mapped(series, gamma, lengths):
        return jax.vmap(
            lambda one, n: tempalign.soft_dtw_barycenter(one, gamma, lengths=n),
        )(series, lengths)

    full = np.full((3, N), T)
    centers = mapped(series, 0.1, full)
    for one, center in zip(series, centers, strict=True):
        np.testing.assert_allclose(center, barycenter(one)[0], atol=0.05)
    assert np.all(np.isnan(mapped(series, -0.1, full)))
    full[0, 2], full[2, 1] = 0, T + 1
    wrong = np.isnan(mapped(series, 0.1, full))
    np.testing.assert_array_equal(wrong.all((1, 2)), [True, False, True])
    assert not np.any(wrong[1])

    def total(series, gamma):
        return barycenter(series, gamma)[0].sum()

    by_series, by_gamma = jax.grad(total, argnums=(0, 1))(jnp.asarray(series[0]), 0.1)
    assert not np.any(by_series) and not np.any(by_gamma)


def test_a_start_without_a_finite_objective_gives_nan():
    series = warped_copies(N, T)
    series[1, 2, 0] = np.nan
    center, objective = barycenter(series, init=series[0])
    assert np.all(np.isnan(center)) and np.all(np.isnan(objective))


SERIES = np.zeros((2, 4, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"series": SERIES[0, 0]}, ValueError, r"series must have shape \[..., N, T, F\]"),
        ({"series": SERIES.astype(int)}, TypeError, r"series must be a floating-point"),
        ({"gamma": 0.0}, ValueError, r"gamma must be positive, got 0; .* tempalign.dba"),
        ({"gamma": -1.0}, ValueError, r"gamma must be positive and finite"),
        ({"gamma": np.ones(4)}, ValueError, r"gamma must be a real scalar, got shape \(4,\)"),
        ({"lengths": 7}, ValueError, r"lengths must lie within 1..6"),
        ({"lengths": np.ones(3, int)}, ValueError, r"lengths"),
        ({"weights": np.ones(3, np.float32)}, ValueError, r"weights"),
        ({"weights": -np.ones(4, np.float32)}, ValueError, r"weights must be finite and >= 0"),
        ({"weights": np.zeros(4, np.float32)}, ValueError, r"weights must not be all 0"),
        ({"length": 0}, ValueError, r"length must be >= 1, got 0"),
        ({"init": SERIES[0, 0]}, ValueError, r"init must have shape \(2, 6, 3\).* got \(6, 3\)"),
        ({"num_iters": 0}, ValueError, r"num_iters must be >= 1, got 0"),
        ({"tol": -1.0}, ValueError, r"tol must be >= 0, got -1.0"),
        ({"tol": np.nan}, ValueError, r"tol must be >= 0, got nan"),
        ({"cost": "l2"}, ValueError, r"cost must be one of sqeuclidean"),
        ({"band": -1}, ValueError, r"band must be >= 0"),
        ({"band": 0, "diagonal": False}, ValueError, r"band=0 is too narrow"),
    ],
)
def test_bad_input(arguments, error, message):
    series = arguments.pop("series", SERIES)
    with pytest.raises(error, match=message):
        tempalign.soft_dtw_barycenter(series, **arguments)
