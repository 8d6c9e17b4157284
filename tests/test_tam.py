"""TAM: against every path, the common code's variant, structure, and precision."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempalign

SHAPES = ((1, 1), (1, 4), (4, 1), (3, 3), (4, 6), (6, 4))
BOUNDARIES = ("paper", "edge")
DRAWN = st.tuples(
    st.sampled_from(SHAPES),
    st.sampled_from(BOUNDARIES),
    st.sampled_from([1.0, 0.1, 0.01]),
    st.integers(0, 2**31 - 1),
)

jitted = jax.jit(
    jax.value_and_grad(tempalign.tam_distance_from_cost, argnums=(0, 1)),
    static_argnames=("boundary", "symmetric"),
)


def costs(n, m, seed=0):
    return np.random.default_rng(seed).uniform(0, 2, size=(n, m)).astype(np.float32)


def sequences(n, m, features=4, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(k, features)).astype(np.float32) for k in (n, m))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (3, 3), (4, 5), (5, 3)])
@pytest.mark.usefixtures("x64")
def test_equals_every_path(shape, boundary):
    cost, gamma = costs(*shape).astype(np.float64), 0.4
    padded = np.pad(cost, ((0, 0), (1, 1)))
    paths = list(oracles.all_tam_paths(*shape, boundary))
    totals = np.array([sum(padded[cell] for cell in path) for path in paths])
    hard = tempalign.tam_distance_from_cost(cost, 0.0, boundary=boundary)
    np.testing.assert_allclose(hard, totals.min(), rtol=1e-12)
    soft = tempalign.tam_distance_from_cost(cost, gamma, boundary=boundary)
    np.testing.assert_allclose(soft, -gamma * np.log(np.exp(-totals / gamma).sum()), rtol=1e-12)
    weights = np.exp(-(totals - totals.min()) / gamma)
    visits = np.zeros_like(padded)
    for path, weight in zip(paths, weights / weights.sum(), strict=True):
        for cell in path:
            visits[cell] += weight
    gradient = jax.grad(tempalign.tam_distance_from_cost)(cost, gamma, boundary=boundary)
    np.testing.assert_allclose(gradient, visits[:, 1:-1], atol=1e-12)


@given(DRAWN)
def test_equals_the_loop(drawn):
    shape, boundary, gamma, seed = drawn
    cost = costs(*shape, seed)
    value, (alignment, d_gamma) = jitted(cost, gamma, boundary=boundary)
    expected = oracles.loop_tam(cost, gamma, boundary)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    higher, lower = (oracles.loop_tam(cost, gamma + s, boundary) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(d_gamma, (higher - lower) / 2e-6, rtol=1e-3, atol=1e-4)
    alignment = np.asarray(alignment)
    assert alignment.min() >= 0
    if boundary == "paper":  # every support frame is visited exactly once
        np.testing.assert_allclose(alignment.sum(0), 1, atol=1e-5)
    else:
        np.testing.assert_allclose(alignment[:, 1:].sum(0), 1, atol=1e-5)
    both, _ = jitted(cost, gamma, boundary=boundary, symmetric=True)
    swapped = oracles.loop_tam(cost.T, gamma, boundary)
    np.testing.assert_allclose(both, expected + swapped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_hard_score_is_the_limit_and_its_gradient_a_path(boundary):
    cost = costs(6, 5, 1)
    hard, path = jax.value_and_grad(tempalign.tam_distance_from_cost)(cost, 0.0, boundary=boundary)
    np.testing.assert_allclose(hard, oracles.loop_tam(cost, 0, boundary), rtol=1e-6)
    assert set(np.unique(path)) == {0, 1}
    np.testing.assert_allclose((path * cost).sum(), hard, rtol=1e-6)
    soft, alignment = jax.value_and_grad(tempalign.tam_distance_from_cost)(
        cost, 1e-5, boundary=boundary
    )
    np.testing.assert_allclose(soft, hard, rtol=1e-4)
    np.testing.assert_allclose(alignment, path, atol=1e-3)


def test_boundaries_agree_when_hard_and_differ_when_soft():
    cost = costs(8, 8, 2)
    hard = [tempalign.tam_distance_from_cost(cost, 0.0, boundary=b) for b in BOUNDARIES]
    np.testing.assert_allclose(*hard, rtol=1e-6)
    paper, edge = (tempalign.tam_distance_from_cost(cost, 1.0, boundary=b) for b in BOUNDARIES)
    assert 0.01 < paper - edge < 0.75  # more paths, a lower soft minimum


def test_a_clip_is_found_in_a_longer_query():
    (query, _) = sequences(9, 1)
    np.testing.assert_allclose(tempalign.tam_distance(query, query[3:7], 0.0), 0, atol=1e-6)
    assert tempalign.dtw(query, query[3:7], cost="cosine") > 0.5
    # Order matters: the same frames backwards do not fit.
    assert tempalign.tam_distance(query, query[3:7][::-1], 0.0) > 0.5


def test_cosine_damping():
    x, y = sequences(5, 6)
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    for damping in (0.0, 0.01, 3.0):
        expected = oracles.loop_tam(1 - x @ y.T / (norms + damping), 0.1, "edge")
        got = tempalign.tam_distance(x, y, boundary="edge", cosine_damping=damping)
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    zero = np.zeros_like(x)
    for damping in (0.0, 0.01):
        gradient = jax.grad(tempalign.tam_distance)(zero, y, cosine_damping=damping)
        chex.assert_tree_all_finite(gradient)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_all_pairs_lengths_and_padding(poison, gamma):
    random = np.random.default_rng(3)
    query = random.normal(size=(3, 7, 4)).astype(np.float32)
    support = random.normal(size=(2, 6, 4)).astype(np.float32)
    n, m = np.array([[7], [1], [4]]), np.array([6, 2])

    def score(q, s, **options):
        return tempalign.tam_distance(q, s, gamma, symmetric=True, **options)

    for i in range(3):
        query[i, n[i, 0] :] = poison
    for k in range(2):
        support[k, m[k] :] = poison

    def total(q, s):
        return score(q[:, None], s, query_lengths=n, support_lengths=m).sum()

    values = score(query[:, None], support, query_lengths=n, support_lengths=m)
    dq, ds = jax.grad(total, (0, 1))(query, support)
    chex.assert_tree_all_finite((dq, ds))
    for i in range(3):
        assert not np.any(dq[i, n[i, 0] :])
        for k in range(2):
            alone = score(query[i, : n[i, 0]], support[k, : m[k]])
            np.testing.assert_allclose(values[i, k], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_512_frames_with_cosine_distances_near_one():
    x, y = sequences(512, 512, 256)

    def value(x, y):
        return jax.jit(jax.value_and_grad(tempalign.tam_distance, (0, 1)))(x, y, np.float32(0.01))

    got, gradients = value(x, y)
    assert got.dtype == np.float32
    chex.assert_tree_all_finite(gradients)
    exact, exact_gradients = value(x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(got, exact, rtol=1e-5)
    chex.assert_trees_all_close(gradients, exact_gradients, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_forward_mode_and_hessian():
    cost = costs(4, 5, 4).astype(np.float64)

    def value(c):
        return tempalign.tam_distance_from_cost(c, 0.3, symmetric=True)

    np.testing.assert_allclose(jax.jacfwd(value)(cost), jax.grad(value)(cost), rtol=1e-10)
    hessian = jax.hessian(value)(cost).reshape(20, 20)
    step = 1e-5
    for k in range(20):
        moved = (step * np.eye(20)[k]).reshape(4, 5)
        ends = [jax.grad(value)(cost + s * moved).ravel() for s in (1, -1)]
        np.testing.assert_allclose(hessian[k], (ends[0] - ends[1]) / (2 * step), atol=1e-7)


def test_traced_gamma_and_half_precision():
    x, y = sequences(6, 8)
    call = jax.jit(tempalign.tam_distance)
    np.testing.assert_allclose(call(x, y, 0.1), tempalign.tam_distance(x, y), rtol=1e-6)
    assert np.isnan(call(x, y, -1.0))
    value = tempalign.tam_distance(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    assert value.dtype == jnp.float32
