"""Every model on XLA, and what is made of its paths: pairs, warped series and matches."""

import chex
import jax
import jax.numpy as jnp
import model_oracle
import numpy as np
import oracles
import pytest
from model_suite import ModelSuite

import tempalign
from tempalign.kernels.cpu import native


class TestXla(ModelSuite):
    implementation = "xla"
    SLOW = ("test_checkpoint_changes_nothing",)  # test_soft_dtw.py has it of the plain model


@pytest.mark.skipif(native.missing() is not None, reason=f"native: {native.missing()}")
class TestNative(ModelSuite):
    implementation = ("native", "xla")  # for what native code has no form of yet


@pytest.mark.slow
class TestPallasInterpreted(ModelSuite):
    implementation = ("pallas_interpret", "xla")  # for what kernels have no form of


@pytest.mark.gpu
class TestPallas(ModelSuite):
    implementation = ("pallas", "xla")


def sequences(n, m, features=2, seed=0, batch=()):
    random = np.random.default_rng(seed)
    return (random.normal(size=(*batch, k, features)).astype(np.float32) for k in (n, m))


PATH_OPTIONS = [
    {},
    {"open_begin": "y", "open_end": "y"},
    {"open_begin": "both", "open_end": (1, 2), "penalty": 0.5, "diagonal": False},
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("options", PATH_OPTIONS, ids=str)
def test_path_is_the_alignment_in_order(options):
    x, y = sequences(5, 7, batch=(3,))
    lengths = {"x_lengths": np.array([5, 1, 4]), "y_lengths": np.array([7, 3, 2])}
    pairs, count = tempalign.dtw_path(x, y, **lengths, **options)
    alignment = np.asarray(tempalign.dtw_alignment(x, y, **lengths, **options))
    assert pairs.dtype == count.dtype == np.int32
    assert pairs.shape == (3, 11, 2)
    model = model_oracle.model_of(options, False)
    for k, (n, m) in enumerate(zip(*lengths.values(), strict=True)):
        cost = oracles.local_cost(x[k, :n], y[k, :m], "sqeuclidean")
        numbers = model_oracle.Numbers(penalty=options.get("penalty", 0.0))
        expected = np.argwhere(model_oracle.looped(model, cost, numbers).visits)
        np.testing.assert_array_equal(pairs[k, : count[k]], expected)
        np.testing.assert_array_equal(np.argwhere(alignment[k]), expected)
        assert np.all(pairs[k, count[k] :] == -1)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_warp(gamma):
    x, y = sequences(5, 7, seed=1, batch=(2,))
    lengths = {"x_lengths": np.array([5, 3]), "y_lengths": np.array([7, 4])}
    x[1, 3:], y[1, 4:] = np.nan, np.inf
    options = {"open_begin": "y"}
    warped = np.asarray(tempalign.warp(x, y, gamma, **lengths, **options))
    model = model_oracle.model_of(options, gamma > 0)
    for k, (n, m) in enumerate(zip(*lengths.values(), strict=True)):
        cost = oracles.local_cost(x[k, :n], y[k, :m], "sqeuclidean")
        visits = model_oracle.looped(model, cost, model_oracle.Numbers(gamma or None)).visits
        with np.errstate(invalid="ignore"):
            expected = visits.T @ x[k, :n] / visits.sum(0)[:, None]
        # Where hardly anything is aligned (1e-9 of a frame) float32 does not know what.
        aligned = (visits.sum(0) > 1e-3) | (visits.sum(0) == 0)
        np.testing.assert_allclose(warped[k, :m][aligned], expected[aligned], rtol=1e-4, atol=1e-5)
        assert not np.any(warped[k, m:])
    if gamma == 0:
        # An open beginning leaves frames of y with nothing aligned to them.
        assert np.any(np.isnan(warped))


def test_warp_has_gradients():
    x, y = sequences(5, 7, seed=2)
    hard = np.asarray(tempalign.dtw_alignment(x, y))
    gradient = jax.jit(jax.grad(lambda x: tempalign.warp(x, y).sum()))(x)
    shares = (hard / hard.sum(0)).sum(1)
    np.testing.assert_allclose(gradient, np.stack([shares, shares], -1), rtol=1e-5)
    chex.assert_tree_all_finite(jax.jit(jax.grad(lambda y: tempalign.warp(x, y, 0.5).sum()))(y))


def brute_force_matches(query, series, k):
    """Greedy over the best match for each end, all starts tried."""
    distances = {}
    for end in range(len(series)):
        for start in range(end + 1):
            cost = oracles.local_cost(query, series[start : end + 1], "sqeuclidean")
            distances[start, end], _ = oracles.loop_dtw(cost, True)
    left = {}
    for end in range(len(series)):
        start = min(range(end + 1), key=lambda start, end=end: distances[start, end])
        left[start, end] = distances[start, end]
    found = []
    for _ in range(k):
        if not left:
            found.append((-1, -1, np.inf))
            continue
        start, end = min(left, key=left.get)
        found.append((start, end, left[start, end]))
        left = {one: d for one, d in left.items() if one[0] > end or one[1] < start}
    return map(np.array, zip(*found, strict=True))


@pytest.mark.parametrize(("n", "m", "k"), [(3, 14, 3), (4, 6, 5)])
def test_subsequence_matches(n, m, k):
    query, series = sequences(n, m, seed=3, batch=(4,))
    lengths = np.array([m, m, m - 2, 1])
    series[2, m - 2 :], series[3, 1:] = np.nan, np.inf
    found = tempalign.subsequence_matches(query, series, k, series_lengths=lengths)
    for one, length in enumerate(lengths):
        start, end, distance = brute_force_matches(query[one], series[one, :length], k)
        np.testing.assert_array_equal(found.start[one], start)
        np.testing.assert_array_equal(found.end[one], end)
        np.testing.assert_allclose(found.distance[one], distance, rtol=1e-5)
    assert found.start.dtype == found.end.dtype == np.int32


def test_subsequence_matches_with_other_steps():
    query, series = sequences(3, 12, seed=4)
    options = {"move_weights": (1, 1, 2), "penalty": 0.5}
    start, end, distance = tempalign.subsequence_matches(query, series, **options)
    best = tempalign.dtw(query, series, open_begin="y", open_end="y", **options)
    np.testing.assert_allclose(distance[0], best, rtol=1e-6)
    pairs, count = tempalign.dtw_path(query, series, open_begin="y", open_end="y", **options)
    assert [start[0], end[0]] == [pairs[0, 1], pairs[count - 1, 1]]


BLOCKED = np.ones((4, 6), bool)
BLOCKED[:, 3] = False
CORNER = np.ones((4, 6), bool)
CORNER[-1, -1] = False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": BLOCKED}, "mask leaves no path; allow"),
        ({"mask": BLOCKED, "band": 3}, r"mask leaves no path .*band=3"),
        ({"mask": CORNER}, "mask leaves no path"),
        ({"mask": CORNER, "open_begin": "both"}, "mask leaves no path"),
        ({"band": 0}, "band=0 is too narrow for sequences of 4 and 6 frames.* at least 1"),
        ({"band": 0, "open_begin": "both", "open_end": "x"}, "band=0 is too narrow"),
        ({"max_slope": 1.0}, "max_slope=1 is too narrow for sequences of 4 and 6 frames"),
        ({"max_slope": 1.3, "band": 5, "diagonal": False}, r"max_slope=13/10 .*band=5"),
    ],
    ids=str,
)
def test_no_path_is_an_error_that_names_the_option(options, message):
    x, y = sequences(4, 6)
    for function in (tempalign.dtw, tempalign.soft_dtw, tempalign.dtw_path, tempalign.align):
        with pytest.raises(ValueError, match=message):
            function(x, y, **options)


def test_no_path_names_the_pair():
    x, y = sequences(4, 6, batch=(2,))
    mask = np.stack([CORNER | True, CORNER])
    with pytest.raises(ValueError, match=r"to 1 pair\(s\), first at leading index \(1,\)"):
        tempalign.dtw(x, y, mask=mask)
    assert np.isfinite(tempalign.dtw(x[1], y[1], mask=mask[1], open_end="x"))
    # The corner is not there if lengths end before it.
    assert np.all(np.isfinite(tempalign.dtw(x, y, mask=mask, x_lengths=[4, 3])))


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_no_path_where_traced(gamma):
    x, y = sequences(4, 6, batch=(2,))
    masks = np.stack([CORNER | True, CORNER])

    @jax.jit
    def run(x, masks):
        found = tempalign.align(x, y, gamma, mask=masks)
        path = tempalign.dtw_path(x, y, mask=masks)
        value = tempalign.dtw if gamma == 0 else tempalign.soft_dtw
        given = () if gamma == 0 else (gamma,)
        gradient = jax.grad(lambda x: value(x, y, *given, mask=masks)[0])(x)
        return found, path, gradient

    (value, alignment, entropy), path, gradient = run(x, masks)
    assert np.isfinite(value[0])
    assert value[1] == np.inf
    chex.assert_tree_all_finite((alignment[0], entropy[0], gradient))
    assert np.all(np.isnan(alignment[1]))
    assert np.isnan(entropy[1])
    assert path.num_pairs[0] > 0
    assert path.num_pairs[1] == 0
    assert np.all(path.pairs[1] == -1)
    assert not np.any(gradient[1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"penalty": -1.0}, ValueError, "penalty must be finite and >= 0, got -1"),
        ({"penalty": np.inf}, ValueError, "penalty must be finite"),
        ({"penalty": np.nan}, ValueError, "penalty must be finite"),
        ({"penalty": np.ones(2)}, ValueError, "penalty must be a real scalar"),
        ({"move_weights": (1, 2)}, ValueError, "move_weights must be three real numbers"),
        ({"move_weights": (1, -1, 1)}, ValueError, "move_weights must be finite and >= 0"),
        ({"move_weights": (1, np.nan, 1)}, ValueError, "move_weights must be finite and >= 0"),
        ({"open_begin": "z"}, ValueError, 'open_begin must be None, "x", "y", "both"'),
        ({"open_end": (1, 2, 3)}, ValueError, "open_end must be None"),
        ({"open_end": -1}, ValueError, "open_end must not be negative"),
        ({"open_begin": (None, -2)}, ValueError, "open_begin must not be negative"),
        ({"open_begin": 1.5}, TypeError, "open_begin must be None"),
        ({"open_end": True}, TypeError, "open_end must be None"),
        ({"band": -1}, ValueError, "band must be >= 0"),
        ({"band": 1.0}, TypeError, "band must be a Python integer"),
        ({"max_slope": 0.5}, ValueError, "max_slope must be finite and >= 1"),
        ({"max_slope": "2"}, TypeError, "max_slope must be a Python number"),
        ({"mask": np.ones((4, 6))}, TypeError, "mask must be boolean"),
        ({"mask": np.ones(6, bool)}, ValueError, r"mask must have shape \[..., n, m\]"),
        ({"mask": np.ones((6, 4), bool)}, ValueError, r"mask must have shape \[..., 4, 6\]"),
        ({"mask": np.ones((3, 4, 6), bool)}, ValueError, "mask must broadcast"),
        ({"diagonal": 1}, TypeError, "diagonal must be True or False"),
        ({"opened": "x"}, TypeError, "unexpected keyword argument 'opened'"),
    ],
    ids=str,
)
def test_option_errors(options, error, message):
    x, y = sequences(4, 6)
    for function in (tempalign.dtw, tempalign.soft_dtw_alignment, tempalign.warp):
        with pytest.raises(error, match=message):
            function(x, y, **options)
    cost = np.zeros((4, 6), np.float32)
    with pytest.raises(error, match=message):
        tempalign.dtw_alignment_from_cost(cost, **options)


def test_matches_refuse_ends_and_counts():
    x, y = sequences(4, 6)
    for name in ("open_begin", "open_end"):
        with pytest.raises(ValueError, match=f'{name} is "y" in subsequence_matches'):
            tempalign.subsequence_matches(x, y, **{name: "y"})
    with pytest.raises(ValueError, match="k must be >= 1"):
        tempalign.subsequence_matches(x, y, 0)


def test_numbers_out_of_range_are_nan_where_traced():
    x, y = sequences(4, 6)

    @jax.jit
    def run(penalty, weights):
        def value(penalty):
            return tempalign.dtw(x, y, penalty=penalty, move_weights=weights)

        return jax.value_and_grad(value)(penalty)

    good = jnp.ones(3)
    assert np.all(np.isfinite(run(0.0, good)))
    for penalty, weights in ((-1.0, good), (np.inf, good), (np.nan, good), (1.0, -good)):
        assert np.all(np.isnan(run(penalty, weights)))
