"""dba and resample."""

import jax
import numpy as np
import oracles
import pytest

import tempalign


def warped_copies(n=6, t=12, features=2, seed=0):
    """Noisy copies of one curve at varying speed, [N, T, F]."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 1, t) ** rng.uniform(0.5, 2, (n, 1))
    curve = np.stack([np.sin(2 * np.pi * time), np.cos(3 * time)], -1)[..., :features]
    return (curve + 0.05 * rng.normal(size=curve.shape)).astype(np.float32)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("cost", "diagonal"), [("sqeuclidean", True), ("sqeuclidean", False), ("manhattan", False)]
)
def test_equals_the_loop_from_a_given_start(cost, diagonal):
    series = warped_copies()
    start = tempalign.resample(series[0], 7)
    for iterations in (1, 2, 50):
        got = tempalign.dba(series, init=start, num_iters=iterations, cost=cost, diagonal=diagonal)
        expected = oracles.dba(series, start, iterations, diagonal, cost)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_starts_from_the_medoid():
    series = warped_copies(seed=1)
    distances = np.array(
        [
            [oracles.loop_dtw(oracles.local_cost(a, b, "sqeuclidean"), True)[0] for b in series]
            for a in series
        ]
    )
    medoid = series[distances.sum(1).argmin()]
    np.testing.assert_array_equal(tempalign.dba(series), tempalign.dba(series, init=medoid))
    weights = np.array([9, 1, 1, 1, 1, 1], np.float32)
    medoid = series[(distances @ weights).argmin()]
    np.testing.assert_array_equal(
        tempalign.dba(series, weights=weights), tempalign.dba(series, init=medoid, weights=weights)
    )


def test_starts_from_the_mean():
    series = warped_copies(4, 9, seed=3)
    weights = np.array([1, 3, 0, 2], np.float32)
    lengths = np.array([9, 5, 9, 7])
    options = dict(weights=weights, lengths=lengths, length=6, num_iters=3)
    resampled = np.asarray(tempalign.resample(series, 6, lengths=lengths))
    mean = np.average(resampled, axis=0, weights=weights)
    expected = tempalign.dba(series, init=mean, **options)
    np.testing.assert_allclose(tempalign.dba(series, init="mean", **options), expected, rtol=1e-5)
    medoid = tempalign.dba(series, **options)
    np.testing.assert_array_equal(tempalign.dba(series, init="medoid", **options), medoid)
    assert np.abs(medoid - expected).max() > 1e-3
    for bad, error in (("median", ValueError), (None, TypeError)):
        with pytest.raises(error, match="init must be"):
            tempalign.dba(series, init=bad)


def test_barycenter_of_one_series_is_itself():
    one = warped_copies(1)
    np.testing.assert_allclose(tempalign.dba(one), one[0], atol=1e-6)


@pytest.mark.parametrize("diagonal", [True, False])
def test_objective_never_rises_and_the_end_is_a_fixed_point(diagonal):
    series = np.stack([warped_copies(seed=s) for s in range(4)])
    center, objective, converged = tempalign.dba(series, diagonal=diagonal, return_objective=True)
    assert objective.shape == (4, 101)
    assert np.all(converged)
    assert np.all(np.diff(objective, axis=-1) <= 0)
    assert np.all(objective[:, -1] < objective[:, 0])
    again = tempalign.dba(series, diagonal=diagonal, init=center)
    np.testing.assert_allclose(again, center, atol=1e-6)
    total = tempalign.dtw(center[:, None], series, diagonal=diagonal).sum(-1)
    np.testing.assert_allclose(objective[:, -1], total, rtol=1e-6)


def test_many_classes_equal_one_at_a_time():
    series = np.stack([warped_copies(seed=s) for s in range(3)])
    together = tempalign.dba(series, length=9)
    alone = np.stack([tempalign.dba(one, length=9) for one in series])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_lengths_and_weights():
    series = warped_copies(5, 10, seed=2)
    lengths = np.array([10, 6, 8, 10, 3])
    padded = series.copy()
    for n, length in enumerate(lengths):
        padded[n, length:] = np.nan
    padded[3] = np.inf  # weight 0: ignored, whatever it holds
    weights = np.array([1, 2, 1, 0, 1], np.float32)
    start = np.asarray(tempalign.resample(series[0], 6))
    got = tempalign.dba(padded, lengths=lengths, weights=weights, init=start, num_iters=3)
    repeated = [series[0], series[1, :6], series[1, :6], series[2, :8], series[4, :3]]
    np.testing.assert_allclose(got, oracles.dba(repeated, start, 3), atol=1e-5)
    from_medoid = tempalign.dba(padded, lengths=lengths, weights=weights)
    assert np.all(np.isfinite(from_medoid))
    assert from_medoid.shape == (10, 2)


def test_dejavids_recipe_is_not_aligning_the_originals():
    series = warped_copies(8, 30, seed=3)
    theirs = tempalign.dba(
        tempalign.resample(series, 5), cost="manhattan", diagonal=False, num_iters=100
    )
    assert theirs.shape == (5, 2)
    originals = tempalign.dba(series, length=5, cost="manhattan", diagonal=False)
    assert np.abs(theirs - originals).max() > 0.05


def test_no_gradient_and_works_under_jit_and_vmap():
    series = np.stack([warped_copies(seed=s) for s in range(2)])
    assert not np.any(jax.grad(lambda s: tempalign.dba(s).sum())(series))
    np.testing.assert_allclose(
        jax.jit(jax.vmap(tempalign.dba))(series), tempalign.dba(series), atol=1e-6
    )


def test_resample_endpoints_lengths_and_identity():
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(tempalign.resample(x, 9), x)
    lengths = np.array([9, 4])
    padded = x.copy()
    padded[1, 4:] = np.nan
    got = np.asarray(tempalign.resample(padded, 7, lengths=lengths))
    for b, n in enumerate(lengths):
        positions = np.linspace(0, n - 1, 7)
        for f in range(3):
            expected = np.interp(positions, np.arange(n), x[b, :n, f])
            np.testing.assert_allclose(got[b, :, f], expected, atol=1e-5)
    np.testing.assert_array_equal(got[:, -1], [x[0, 8], x[1, 3]])
    np.testing.assert_array_equal(tempalign.resample(x, 1), x[:, :1])
    np.testing.assert_array_equal(tempalign.resample(x[:, :1], 4), np.repeat(x[:, :1], 4, axis=1))


def test_resample_gradient_stays_inside_the_length():
    x = np.full((6, 2), np.nan, np.float32)
    x[:3] = 1
    gradient = jax.grad(lambda x: tempalign.resample(x, 5, lengths=3).sum())(x)
    assert not np.any(gradient[3:])
    np.testing.assert_allclose(gradient.sum(), 10, rtol=1e-6)
