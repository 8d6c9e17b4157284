"""The soft-DTW family: known values, structure, derivatives, and precision in float32."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempalign

OPTIMIZED = True  # see conftest.py

SHAPES = ((1, 1), (1, 4), (4, 1), (3, 3), (4, 6), (6, 4), (2, 15))
DRAWN = st.tuples(
    st.sampled_from(SHAPES),
    st.booleans(),
    st.sampled_from([10.0, 1.0, 0.1, 0.01]),
    st.integers(0, 2**31 - 1),
)


def costs(n, m, seed=0, batch=()):
    return np.random.default_rng(seed).normal(size=(*batch, n, m)).astype(np.float32) ** 2


jitted = jax.jit(
    jax.value_and_grad(tempalign.soft_dtw_from_cost, argnums=(0, 1)),
    static_argnames=("diagonal", "band"),
)


@pytest.mark.parametrize(
    ("gamma", "expected"), [(1, 62.965378), (10, 23.769026), (1e3, -6426.056371)]
)
@pytest.mark.usefixtures("x64")
def test_known_values(gamma, expected):
    random = np.random.RandomState(0)
    x, y = random.randn(5, 4), random.randn(6, 4)
    np.testing.assert_allclose(tempalign.soft_dtw(x, y, gamma), expected, rtol=1e-7)


def test_known_value_of_constants():
    x, y = np.zeros((10, 8), np.float32), np.ones((12, 8), np.float32)
    np.testing.assert_allclose(tempalign.soft_dtw(x, y), 91.9806137, rtol=1e-6)


@given(DRAWN)
def test_equals_the_loop_with_gradients(drawn):
    shape, diagonal, gamma, seed = drawn
    cost = costs(*shape, seed)
    value, expected, entropy = oracles.loop_soft_dtw(cost, gamma, diagonal)
    got, (d_cost, d_gamma) = jitted(cost, gamma, diagonal=diagonal)
    np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(d_cost, expected, atol=1e-5)
    np.testing.assert_allclose(d_gamma, -entropy, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (3, 5), (4, 3)])
def test_equals_every_path(shape, diagonal):
    cost, gamma = costs(*shape).astype(np.float64), 0.7
    paths = list(oracles.all_paths(*shape, diagonal))
    totals = np.array([sum(cost[i, j] for i, j in path) for path in paths])
    expected = -gamma * np.log(np.exp(-totals / gamma).sum())
    np.testing.assert_allclose(
        tempalign.soft_dtw_from_cost(cost, gamma, diagonal=diagonal), expected, rtol=1e-5
    )
    count = np.exp(-tempalign.soft_dtw_from_cost(0 * cost, 1.0, diagonal=diagonal))
    np.testing.assert_allclose(count, float(oracles.delannoy(*shape, diagonal)), rtol=1e-5)


@given(DRAWN)
def test_expected_alignment_structure(drawn):
    shape, diagonal, gamma, seed = drawn
    _, (expected, _) = jitted(costs(*shape, seed), gamma, diagonal=diagonal)
    expected = np.asarray(expected)
    assert expected.min() >= 0
    assert expected.max() <= 1 + 1e-5
    np.testing.assert_allclose(expected[[0, -1], [0, -1]], 1, atol=1e-5)
    assert expected.sum(0).min() >= 1 - 1e-5
    assert expected.sum(1).min() >= 1 - 1e-5
    if not diagonal:
        np.testing.assert_allclose(expected.sum(), sum(shape) - 1, rtol=1e-5)


@given(DRAWN)
def test_swap_and_time_reversal(drawn):
    shape, diagonal, gamma, seed = drawn
    cost = costs(*shape, seed)
    value, (gradient, _) = jitted(cost, gamma, diagonal=diagonal)
    swapped, (of_swapped, _) = jitted(cost.T, gamma, diagonal=diagonal)
    backward, (of_backward, _) = jitted(cost[::-1, ::-1], gamma, diagonal=diagonal)
    np.testing.assert_allclose([swapped, backward], [value, value], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_swapped.T, gradient, atol=1e-5)
    np.testing.assert_allclose(of_backward[::-1, ::-1], gradient, atol=1e-5)


def test_tends_to_the_hard_alignment():
    random = np.random.default_rng(1)
    x, y = (random.normal(size=(n, 3)).astype(np.float32) for n in (7, 9))
    hard, path = tempalign.dtw(x, y), tempalign.dtw_alignment(x, y)
    for gamma in (1e-3, 1e-5):
        np.testing.assert_allclose(tempalign.soft_dtw(x, y, gamma), hard, rtol=1e-5)
        np.testing.assert_allclose(tempalign.soft_dtw_alignment(x, y, gamma), path, atol=1e-4)
    np.testing.assert_array_equal(tempalign.soft_dtw(x, y, 0.0), hard)
    np.testing.assert_array_equal(tempalign.soft_dtw_alignment(x, y, 0), path)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_padding_changes_nothing(poison):
    random = np.random.default_rng(2)
    x, y = (random.normal(size=(n, 3)).astype(np.float32) for n in (7, 9))
    gradient = jax.value_and_grad(tempalign.soft_dtw, (0, 1, 2))
    value, (dx, dy, dg) = gradient(x[:4], y[:6], 0.5)
    x[4:], y[6:] = poison, poison
    got, (px, py, pg) = gradient(x, y, 0.5, x_lengths=4, y_lengths=6)
    chex.assert_trees_all_close(
        (got, px[:4], py[:6], pg), (value, dx, dy, dg), rtol=1e-5, atol=1e-5
    )
    assert not np.any(px[4:])
    assert not np.any(py[6:])
    cost = costs(5, 6, 3)
    inside = tempalign.soft_dtw_from_cost(cost[:3, :4])
    cost[3:], cost[:, 4:] = poison, poison
    got, gradient = jax.value_and_grad(tempalign.soft_dtw_from_cost)(cost, x_lengths=3, y_lengths=4)
    np.testing.assert_allclose(got, inside, rtol=1e-6)
    assert np.all(np.isfinite(gradient))
    assert not np.any(gradient[3:])


def test_all_pairs_equal_a_loop():
    random = np.random.default_rng(4)
    x = random.normal(size=(3, 6, 2)).astype(np.float32)
    y = random.normal(size=(2, 8, 2)).astype(np.float32)
    lengths = np.array([6, 1, 4])
    values = tempalign.soft_dtw(x[:, None], y[None], 0.3, x_lengths=lengths[:, None])
    expected = tempalign.soft_dtw_alignment(x[:, None], y[None], 0.3, x_lengths=lengths[:, None])
    for b, n in enumerate(lengths):
        for k in range(2):
            cost = oracles.local_cost(x[b, :n], y[k], "sqeuclidean")
            value, visits, _ = oracles.loop_soft_dtw(cost, 0.3, True)
            np.testing.assert_allclose(values[b, k], value, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(expected[b, k, :n], visits, atol=1e-5)


def test_band_with_lengths_and_unequal_sizes():
    cost = costs(7, 9, 5)
    n, m, band = 5, 8, 2
    row, column = np.indices((n, m))
    outside = abs(row * (m - 1) - column * (n - 1)) > band * (min(n, m) - 1)
    value, visits, _ = oracles.loop_soft_dtw(np.where(outside, np.inf, cost[:n, :m]), 0.5, True)
    got, gradient = jax.value_and_grad(tempalign.soft_dtw_from_cost)(
        cost, 0.5, band=band, x_lengths=n, y_lengths=m
    )
    np.testing.assert_allclose(got, value, rtol=1e-5)
    np.testing.assert_allclose(gradient[:n, :m], visits, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_forward_mode_hessian_and_third_order():
    cost = costs(4, 5, 6).astype(np.float64)

    def value(c):
        return tempalign.soft_dtw_from_cost(c, 0.8)

    np.testing.assert_allclose(jax.jacfwd(value)(cost), jax.grad(value)(cost), rtol=1e-10)
    hessian = jax.hessian(value)(cost).reshape(20, 20)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    assert np.linalg.eigvalsh(hessian).max() <= 1e-12  # a soft minimum is concave
    step = 1e-5
    for k in range(20):
        moved = np.zeros(20)
        moved[k] = step
        ends = [jax.grad(value)(cost + s * moved.reshape(4, 5)).ravel() for s in (1, -1)]
        np.testing.assert_allclose(hessian[k], (ends[0] - ends[1]) / (2 * step), atol=1e-8)
    direction = np.random.default_rng(7).normal(size=(4, 5))
    product = jax.jvp(jax.grad(value), (cost,), (direction,))[1]
    twice = jax.grad(lambda c: jnp.vdot(jax.grad(value)(c), direction))(cost)
    np.testing.assert_allclose(product.ravel(), hessian @ direction.ravel(), atol=1e-10)
    np.testing.assert_allclose(twice, product, atol=1e-10)
    third = jax.jacfwd(jax.hessian(value))(cost)
    assert np.all(np.isfinite(third))


@pytest.mark.usefixtures("x64")
def test_gradient_in_gamma_against_differences():
    random = np.random.default_rng(8)
    x, y = random.normal(size=(6, 2)), random.normal(size=(7, 2))
    gradient = jax.grad(tempalign.soft_dtw, 2)(x, y, 0.7)
    ends = [tempalign.soft_dtw(x, y, 0.7 + s) for s in (1e-6, -1e-6)]
    np.testing.assert_allclose(gradient, (ends[0] - ends[1]) / 2e-6, rtol=1e-7)


def test_divergence():
    random = np.random.default_rng(9)
    x, y = (random.normal(size=(3, n, 2)).astype(np.float32) for n in (6, 8))
    for gamma in (0.1, 1.0, 10.0):
        assert np.all(tempalign.soft_dtw_divergence(x, y, gamma) > 0)
    np.testing.assert_allclose(tempalign.soft_dtw_divergence(x, x), 0, atol=1e-5)
    gradient = jax.grad(lambda x, y: tempalign.soft_dtw_divergence(x, y).sum(), (0, 1))(x, x)
    chex.assert_trees_all_close(gradient, (np.zeros_like(x),) * 2, atol=1e-5)


def test_divergence_in_a_window(rng):
    """A mask holds for all three terms, as the band that it may be."""
    x, y = rng.normal(size=(2, 6, 2)).astype(np.float32)
    near = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) <= 1
    masked = tempalign.soft_dtw_divergence(x, y, 0.5, mask=near)
    np.testing.assert_allclose(masked, tempalign.soft_dtw_divergence(x, y, 0.5, band=1), rtol=1e-6)
    np.testing.assert_allclose(tempalign.soft_dtw_divergence(x, x, 0.5, mask=near), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"mask must be square for soft_dtw_divergence.*\(6, 4\)"):
        tempalign.soft_dtw_divergence(x, y[:4], mask=near[:, :4])


def test_traced_gamma_and_half_precision():
    random = np.random.default_rng(10)
    x, y = (random.normal(size=(n, 3)).astype(np.float32) for n in (6, 8))
    call = jax.jit(tempalign.soft_dtw)
    np.testing.assert_allclose(call(x, y, 0.1), tempalign.soft_dtw(x, y, 0.1), rtol=1e-6)
    assert np.isnan(call(x, y, 0.0))
    assert np.isnan(call(x, y, -1.0))
    half = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
    value, gradient = jax.value_and_grad(tempalign.soft_dtw)(*half)
    assert value.dtype == jnp.float32
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        value, tempalign.soft_dtw(*(a.astype(np.float32) for a in half)), rtol=1e-6
    )


# float32 against float64 on the same float32 inputs; the bounds are the library's promise.
@pytest.mark.one_in(3)
@pytest.mark.parametrize("gamma", [1.0, 1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (64, 80), (5, 400), (1000, 1000)])
@pytest.mark.usefixtures("x64")
def test_precision(shape, gamma):
    random = np.random.default_rng(11)
    x, y = (random.normal(size=(n, 4)).astype(np.float32) for n in shape)
    cost = ((x[:, None] - y[None]) ** 2).sum(-1).astype(np.float32)
    one = jax.jit(jax.value_and_grad(tempalign.soft_dtw_from_cost))
    # The same gamma for both: 0.1 is not a float32.
    value, gradient = one(cost, np.float32(gamma))
    exact, exact_gradient = one(cost.astype(np.float64), np.float64(np.float32(gamma)))
    assert value.dtype == np.float32
    assert abs(float(value) - float(exact)) <= 1e-6 * max(abs(float(exact)), 1)
    bound = 1e-5 if gamma >= 1e-2 else 1e-4
    np.testing.assert_allclose(gradient, exact_gradient, atol=bound)


@pytest.mark.parametrize("shape", [(64, 80), (1, 7), (3, 300)])
def test_huge_costs_stay_finite(shape):
    cost = 1e7 * (1 + costs(*shape, 12))
    value, gradient = jax.jit(jax.value_and_grad(tempalign.soft_dtw_from_cost))(cost, 0.1)
    hard = tempalign.dtw_from_cost(cost)
    np.testing.assert_allclose(value, hard, rtol=1e-6)
    chex.assert_tree_all_finite(gradient)


CHECKPOINT_OPTIONS = [
    {},
    {"cost": "cosine", "diagonal": False},
    {"band": 5},
    {"cost": "manhattan", "band": 8, "x_lengths": [[70], [7], [1]], "y_lengths": [90, 11]},
]


@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(one, marks=pytest.mark.slow) for one in CHECKPOINT_OPTIONS[:2]),
        *CHECKPOINT_OPTIONS[2:],
    ],
    ids=str,
)
def test_checkpoint_changes_nothing(options):
    random = np.random.default_rng(14)
    x = random.normal(size=(3, 1, 70, 5)).astype(np.float32)  # two blocks of rows, one not full
    y = random.normal(size=(2, 90, 5)).astype(np.float32)
    options = {k: np.array(v) if "lengths" in k else v for k, v in options.items()}

    def total(x, y, gamma, checkpoint):
        return tempalign.soft_dtw(x, y, gamma, checkpoint=checkpoint, **options).sum()

    gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2)), static_argnums=3)
    expected, got = (gradients(x, y, 0.3, checkpoint) for checkpoint in (False, True))
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_checkpoint_has_higher_derivatives():
    random = np.random.default_rng(15)
    x, y = random.normal(size=(66, 1)), random.normal(size=(3, 1))

    def gradient(checkpoint):
        return jax.grad(lambda x: tempalign.soft_dtw(x, y, 0.5, checkpoint=checkpoint))

    direction = random.normal(size=x.shape)
    expected, got = (jax.jvp(gradient(c), (x,), (direction,)) for c in (False, True))
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-9)


def temporary_floats(n, **options):
    """Of value and gradient of one pair of n frames, in units of n * n."""
    shape = jax.ShapeDtypeStruct((n, 8), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x, y: tempalign.soft_dtw(x, y, **options), (0, 1)))
    memory = gradient.lower(shape, shape).compile().memory_analysis()
    return memory.temp_size_in_bytes / 4 / n**2


def test_memory_of_value_and_gradient():
    # Costs and alignment (n * n each), both also skewed, and two move probabilities: no more.
    assert temporary_floats(512) < 11
    # A quarter of the length's square at least, and less with every doubling.
    short, long = (temporary_floats(n, checkpoint=True) for n in (512, 2048))
    assert short < 1.5
    assert long < short / 1.9


def test_five_thousand_frames():
    random = np.random.default_rng(13)
    x, y = (random.normal(size=(5000, 1)).astype(np.float32) for _ in range(2))
    value, gradient = jax.jit(jax.value_and_grad(tempalign.soft_dtw))(x, y, 0.1)
    assert np.isfinite(value)
    chex.assert_tree_all_finite(gradient)
    checkpointed = jax.jit(jax.value_and_grad(partial(tempalign.soft_dtw, checkpoint=True)))
    chex.assert_trees_all_close(checkpointed(x, y, 0.1), (value, gradient), rtol=1e-4, atol=1e-4)
