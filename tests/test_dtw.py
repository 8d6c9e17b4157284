"""dtw, dtw_from_cost and dtw_alignment against the oracles."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempalign
from tempalign._engine import modes, windows
from tempalign._engine.model import Model, Move, Window

COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine")
# Both orientations of the recurrence (it puts the shorter side in rows), and all degenerate ones.
SHAPES = ((1, 1), (1, 4), (4, 1), (3, 3), (4, 7), (7, 4), (2, 15))
DRAWN = st.tuples(st.sampled_from(SHAPES), st.booleans(), st.integers(0, 2**31 - 1))


def sequences(n, m, features=3, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*batch, n, features)).astype(np.float32)
    y = rng.normal(size=(*batch, m, features)).astype(np.float32)
    return x, y


jitted_dtw = jax.jit(tempalign.dtw, static_argnames=("cost", "diagonal", "band"))
jitted_alignment = jax.jit(tempalign.dtw_alignment, static_argnames=("cost", "diagonal", "band"))
jitted_from_cost = jax.jit(
    jax.value_and_grad(tempalign.dtw_from_cost), static_argnames=("diagonal", "band")
)


def test_known_value():
    x = np.random.RandomState(1).randn(2, 10).T
    y = np.random.RandomState(2).randn(2, 14).T
    np.testing.assert_allclose(tempalign.dtw(x, y), 26.1785022, rtol=2e-7)


@given(DRAWN)
def test_value_and_path_equal_the_loop(drawn):
    shape, diagonal, seed = drawn
    x, y = sequences(*shape, seed=seed)
    value, path = oracles.loop_dtw(oracles.local_cost(x, y, "sqeuclidean"), diagonal)
    np.testing.assert_allclose(jitted_dtw(x, y, diagonal=diagonal), value, rtol=1e-5)
    np.testing.assert_array_equal(jitted_alignment(x, y, diagonal=diagonal), path)


@given(DRAWN)
def test_ties_as_documented(drawn):
    # Few distinct integer costs: many ties, and exact arithmetic.
    shape, diagonal, seed = drawn
    cost = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    value, path = oracles.loop_dtw(cost, diagonal)
    got, gradient = jitted_from_cost(cost, diagonal=diagonal)
    assert got == value
    np.testing.assert_array_equal(gradient, path)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (3, 5), (4, 3)])
def test_equals_every_path(shape, diagonal):
    cost = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = oracles.enumerated_dtw(cost.astype(np.float64), diagonal)
    got = tempalign.dtw_from_cost(cost, diagonal=diagonal)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    paths = sum(1 for _ in oracles.all_paths(*shape, diagonal))
    assert paths == oracles.delannoy(*shape, diagonal)


@pytest.mark.parametrize("cost", COSTS)
def test_costs_and_their_gradients(cost):
    x, y = sequences(6, 9, features=19, seed=3)  # more features than one block of the sum
    expected_cost = oracles.local_cost(x, y, cost)
    value, path = oracles.loop_dtw(expected_cost, True)
    np.testing.assert_allclose(tempalign.dtw(x, y, cost=cost), value, rtol=1e-5)

    def along_path(x, y):
        differences = x[:, None] - y[None]
        if cost == "cosine":
            unit = [a / jnp.linalg.norm(a, axis=-1, keepdims=True) for a in (x, y)]
            local = 1 - unit[0] @ unit[1].T
        elif cost == "manhattan":
            local = jnp.abs(differences).sum(-1)
        else:
            local = jnp.square(differences).sum(-1)
            local = jnp.sqrt(local) if cost == "euclidean" else local
        return jnp.sum(local * path)

    expected = jax.grad(along_path, (0, 1))(x, y)
    got = jax.grad(lambda x, y: tempalign.dtw(x, y, cost=cost), (0, 1))(x, y)
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_at_zero_distance_and_zero_vectors():
    x = np.zeros((4, 3), np.float32)
    for cost in COSTS:
        gradients = jax.grad(lambda x, y, c=cost: tempalign.dtw(x, y, cost=c), (0, 1))(x, x)
        chex.assert_tree_all_finite(gradients)


def test_forward_mode_agrees_with_reverse_mode():
    x, y = sequences(5, 7, seed=4)
    reverse = jax.jacrev(tempalign.dtw)(x, y)
    forward = jax.jacfwd(tempalign.dtw)(x, y)
    np.testing.assert_allclose(forward, reverse, rtol=1e-5, atol=1e-6)
    hessian = jax.hessian(tempalign.dtw)(x, y)
    # Along a fixed path the squared distance has the Hessian 2 * (frames aligned) * identity.
    aligned = tempalign.dtw_alignment(x, y).sum(-1)
    expected = 2 * np.einsum("i,ij,fg->ifjg", aligned, np.eye(5), np.eye(3))
    np.testing.assert_allclose(hessian, expected, atol=1e-5)


def test_a_callable_cost():
    x, y = sequences(5, 7, seed=5)

    def cost(x, y):
        return jnp.max(jnp.abs(x[:, None] - y[None]), -1)

    expected, _ = oracles.loop_dtw(np.abs(x[:, None] - y[None]).max(-1), True)
    np.testing.assert_allclose(tempalign.dtw(x, y, cost=cost), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"cost must map .* to a matrix \(5, 7\)"):
        tempalign.dtw(x, y, cost=lambda x, y: jnp.sum(x) + jnp.sum(y))


def test_all_pairs_equal_a_loop():
    x, _ = sequences(6, 1, seed=6, batch=(3,))
    _, y = sequences(1, 8, seed=7, batch=(2,))
    x_lengths, y_lengths = np.array([6, 1, 4]), np.array([8, 3])
    options = {"x_lengths": x_lengths[:, None], "y_lengths": y_lengths[None]}
    values = tempalign.dtw(x[:, None], y[None], **options)
    paths = tempalign.dtw_alignment(x[:, None], y[None], **options)
    assert values.shape == (3, 2)
    assert paths.shape == (3, 2, 6, 8)
    for b in range(3):
        for k in range(2):
            n, m = x_lengths[b], y_lengths[k]
            cost = oracles.local_cost(x[b, :n], y[k, :m], "sqeuclidean")
            value, path = oracles.loop_dtw(cost, True)
            np.testing.assert_allclose(values[b, k], value, rtol=1e-5)
            np.testing.assert_array_equal(paths[b, k, :n, :m], path)
            assert paths[b, k].sum() == path.sum()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("cost", COSTS)
def test_padding_changes_nothing(cost, poison):
    x, y = sequences(6, 8, seed=8)
    expected = jax.value_and_grad(lambda x, y: tempalign.dtw(x, y, cost=cost), (0, 1))(x[:4], y[:5])
    x[4:], y[5:] = poison, poison
    value, (dx, dy) = jax.value_and_grad(
        lambda x, y: tempalign.dtw(x, y, cost=cost, x_lengths=4, y_lengths=5), (0, 1)
    )(x, y)
    chex.assert_trees_all_close((value, (dx[:4], dy[:5])), expected, rtol=1e-5, atol=1e-6)
    assert not np.any(dx[4:])
    assert not np.any(dy[5:])


def test_padded_cells_of_a_cost_matrix_change_nothing():
    cost = np.random.default_rng(9).normal(size=(2, 5, 6)).astype(np.float32)
    cost[0, 3:], cost[0, :, 4:] = np.nan, np.inf
    options = {"x_lengths": np.array([3, 5]), "y_lengths": np.array([4, 6])}
    values, gradient = jax.vmap(
        lambda c, n, m: jax.value_and_grad(tempalign.dtw_from_cost)(c, x_lengths=n, y_lengths=m)
    )(cost, *options.values())
    np.testing.assert_array_equal(tempalign.dtw_from_cost(cost, **options), values)
    expected, path = oracles.loop_dtw(cost[0, :3, :4], True)
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(gradient[0, :3, :4], path)
    assert gradient[0].sum() == path.sum()


@given(DRAWN)
def test_swap_and_time_reversal(drawn):
    shape, diagonal, seed = drawn
    x, y = sequences(*shape, seed=seed)
    value = jitted_dtw(x, y, diagonal=diagonal)
    np.testing.assert_allclose(jitted_dtw(y, x, diagonal=diagonal), value, rtol=1e-5)
    backward = jitted_dtw(x[::-1], y[::-1], diagonal=diagonal)
    np.testing.assert_allclose(backward, value, rtol=1e-5)


@given(DRAWN)
def test_alignment_structure(drawn):
    shape, diagonal, seed = drawn
    x, y = sequences(*shape, seed=seed)
    path = np.asarray(jitted_alignment(x, y, diagonal=diagonal))
    assert set(np.unique(path)) <= {0, 1}
    assert path[0, 0] == path[-1, -1] == 1
    assert path.sum(0).min() >= 1
    assert path.sum(1).min() >= 1
    if not diagonal:
        assert path.sum() == sum(shape) - 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shape", [(6, 6), (5, 9), (9, 5)])
def test_band(shape):
    x, y = sequences(*shape, seed=10)
    n, m = shape
    cost = oracles.local_cost(x, y, "sqeuclidean")
    row, column = np.indices(shape)
    previous = np.inf
    for band in range(2, 10):
        outside = abs(row * (m - 1) - column * (n - 1)) > band * (min(shape) - 1)
        value, path = oracles.loop_dtw(np.where(outside, np.inf, cost), True)
        np.testing.assert_allclose(tempalign.dtw(x, y, band=band), value, rtol=1e-5)
        np.testing.assert_array_equal(tempalign.dtw_alignment(x, y, band=band), path)
        assert value <= previous
        previous = value
    np.testing.assert_allclose(tempalign.dtw(x, y, band=9), tempalign.dtw(x, y), rtol=1e-6)


def test_band_follows_the_true_lengths():
    x, y = sequences(8, 9, seed=11)
    trimmed = tempalign.dtw(x[:5], y[:7], band=1)
    padded = tempalign.dtw(x, y, band=1, x_lengths=5, y_lengths=7)
    np.testing.assert_allclose(padded, trimmed, rtol=1e-6)


def test_band_too_narrow_names_one_that_works():
    x, y = sequences(3, 21, seed=12)
    with pytest.raises(ValueError, match=r"band=1 is too narrow .* 3 and 21 .* at least (\d+)"):
        tempalign.dtw(x, y, band=1)
    assert np.isfinite(tempalign.dtw(x, y, band=5))


@pytest.mark.usefixtures("x64")
def test_float64_all_the_way():
    x, y = (a.astype(np.float64) for a in sequences(6, 8, features=40, seed=13))
    value, gradient = jax.value_and_grad(tempalign.dtw)(x, y)
    assert value.dtype == gradient.dtype == np.float64
    expected, _ = oracles.loop_dtw(oracles.local_cost(x, y, "sqeuclidean"), True)
    np.testing.assert_allclose(value, expected, rtol=1e-14)


def test_long_sequences():
    x, y = sequences(5, 3000, features=2, seed=14)
    expected, _ = oracles.loop_dtw(oracles.local_cost(x, y, "sqeuclidean"), True)
    for a, b in ((x, y), (y, x)):
        np.testing.assert_allclose(tempalign.dtw(a, b), expected, rtol=1e-5)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=6),
    band=st.none() | st.integers(0, 5),
    slope=st.none() | st.fractions(1, 4, max_denominator=3),
    diagonal=st.booleans(),
)
def test_the_quick_look_for_a_path_says_what_the_sweep_says(sizes, band, slope, diagonal):
    # Masks that forbid nothing make the sweep look at every cell.
    window = Window(band=band, slope=slope)
    model = Model(diagonal=Move() if diagonal else Move("never"), window=window)
    sizes = np.array(sizes)
    most = tuple(int(size) for size in sizes.max(axis=0))
    nothing = np.ones((len(sizes), *most), bool)
    with modes.our_modes():
        swept = windows._has_path(model, window, sizes, nothing, most)
        np.testing.assert_array_equal(windows._has_path(model, window, sizes, None, most), swept)
