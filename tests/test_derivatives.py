"""Derivatives of the second order where a path decides: the hard distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

RANDOM = np.random.default_rng(0)


def test_the_value_in_the_rule_has_a_derivative():
    hessian = jax.hessian(lambda c: tempalign.dtw_from_cost(c) ** 2)(jnp.array([[3.0]]))
    np.testing.assert_allclose(hessian.squeeze(), 2)
    cost = jnp.asarray(RANDOM.uniform(size=(4, 5)))
    path = np.ravel(tempalign.dtw_alignment_from_cost(cost))
    for order in (
        jax.hessian,
        lambda f: jax.jacrev(jax.jacrev(f)),
        lambda f: jax.jacrev(jax.jacfwd(f)),
    ):
        found = jax.jit(order(lambda c: tempalign.dtw_from_cost(c) ** 2))(cost).reshape(20, 20)
        np.testing.assert_allclose(found, 2 * np.outer(path, path), atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_second_order_in_penalty_and_weights():
    cost = jnp.asarray(RANDOM.uniform(size=(4, 5)))

    def squared(price):
        return tempalign.dtw_from_cost(cost, penalty=price[0], move_weights=price[1:]) ** 2

    price = jnp.array([0.3, 1.0, 0.7, 1.6])
    slope = jax.grad(lambda p: jnp.sqrt(squared(p)))(price)
    expected = 2 * np.outer(slope, slope)  # along a fixed path the cost is linear in its prices
    for order in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f))):
        np.testing.assert_allclose(jax.jit(order(squared))(price), expected, atol=1e-10)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.usefixtures("x64")
def test_weighted_dtw(fixed):
    """Its reverse mode walks the path; its Hessian must equal that of explicit costs."""
    x, c = RANDOM.normal(size=(5, 2)), RANDOM.normal(size=(2, 4, 2))
    w = np.exp(RANDOM.normal(size=(2, 4, 2)))

    def distances(x, c, w):
        path_from = (Y0, W0) if fixed else None
        return tempalign.weighted_dtw(x, c, w, path_from=path_from)

    def plain(x, c, w):
        cost = (w[:, :, None] * jnp.abs(c[:, :, None] - x[None, None])).sum(-1)
        if not fixed:
            return tempalign.dtw_from_cost(cost, diagonal=False)
        decides = (W0[:, :, None] * jnp.abs(Y0[:, :, None] - x[None, None])).sum(-1)
        return (tempalign.dtw_alignment_from_cost(decides, diagonal=False) * cost).sum((1, 2))

    Y0, W0 = c + 0.1, w * 1.1

    def squared(f):
        return lambda *arrays: jnp.sum(f(*arrays) ** 2)

    # Jitted: one program, instead of one for each operation.
    expected = jax.jit(jax.hessian(squared(plain), (0, 1, 2)))(x, c, w)
    for order in (jax.hessian, lambda f, a: jax.jacrev(jax.jacrev(f, a), a)):
        found = jax.jit(order(squared(distances), (0, 1, 2)))(x, c, w)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-8)
    # And of a batch, one after the other.
    batched = jax.vmap(jax.hessian(squared(distances)), (0, None, None))
    batched = jax.jit(batched)(np.stack([x, x]), c, w)
    np.testing.assert_allclose(batched[1], expected[0][0], atol=1e-8)


X, C = RANDOM.normal(size=(2, 1, 5, 2)), RANDOM.normal(size=(2, 3, 2))
W = np.exp(RANDOM.normal(size=C.shape))
MOVES = tuple(RANDOM.normal(size=array.shape) for array in (X, C, W))
OPTIONS = {
    "plain": {},
    "diagonal": {"diagonal": True},
    "path_from": {"path_from": (C + 0.1, W)},
    "lengths": {"x_lengths": np.array([[2], [5]]), "centroid_lengths": np.array([3, 1])},
}
IMPLEMENTATIONS = {"xla": "float64", "native": "float64", "pallas_interpret": "float32"}


def distances(implementation, **options):
    """The distance, and arrays and tangents in a dtype that the implementation takes."""
    dtype = IMPLEMENTATIONS[implementation]
    given = tuple(jnp.asarray(a, dtype) for a in (X, C, W))
    moves = tuple(jnp.asarray(a, dtype) for a in MOVES)

    def distance(*arrays):
        return tempalign.weighted_dtw(*arrays, implementation=implementation, **options)

    return distance, given, moves


def agree(found, expected, tolerance=1e-4):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("implementation", "options"),
    [
        pytest.param(
            implementation,
            options,
            id=f"{implementation}-{name}",
            marks=() if implementation == "native" or name == "plain" else pytest.mark.slow,
        )
        for implementation in IMPLEMENTATIONS
        for name, options in OPTIONS.items()
    ],
)
@pytest.mark.usefixtures("x64")
def test_weighted_dtw_in_forward_mode(implementation, options):
    distance, given, moves = distances(implementation, **options)
    value, tangent = jax.jvp(jax.jit(distance), given, moves)
    exact, *_ = distances("xla", **options)
    ends = [
        exact(*(g + s * m for g, m in zip((X, C, W), MOVES, strict=True))) for s in (1e-7, -1e-7)
    ]
    agree((value, tangent), (exact(X, C, W), (ends[0] - ends[1]) / 2e-7))
    rows = jax.jit(jax.jacrev(distance, (0, 1, 2)))(*given)
    inner = sum(
        (np.asarray(row) * np.asarray(move)).sum(tuple(range(2, row.ndim)))
        for row, move in zip(rows, moves, strict=True)
    )
    agree(tangent, inner)
    agree(jax.jit(jax.jacfwd(distance, (0, 1, 2)))(*given), rows)
    one = jax.jit(lambda c: jax.jvp(lambda c: distance(given[0], c, given[2]), (c,), moves[1:2]))
    agree(one(given[1])[1], (np.asarray(rows[1]) * np.asarray(moves[1])).sum((2, 3, 4)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "implementation",
    [
        pytest.param(one, marks=() if one == "native" else pytest.mark.slow)
        for one in IMPLEMENTATIONS
    ],
)
@pytest.mark.usefixtures("x64")
def test_weighted_dtw_linearized_batched_scanned_and_recomputed(implementation):
    distance, given, moves = distances(implementation)
    x, c, w = given
    rows = jax.jit(jax.jacrev(distance, (0, 1, 2)))(*given)
    total = [row.sum((0, 1)) for row in rows]
    tangent = jax.jvp(jax.jit(distance), given, moves)[1]
    value, push = jax.linearize(distance, *given)
    agree(push(*moves), tangent)
    agree(jax.linear_transpose(push, *given)(jnp.ones_like(value)), total)
    # A batch of tangents along whatever axis, of samples, and of a scan's steps.
    many = jnp.stack([moves[0], 2 * moves[0]], -1)
    pushed = jax.jit(jax.vmap(lambda m: push(m, *moves[1:]), -1))(many)
    agree(pushed[0], tangent)
    slopes = jax.vmap(jax.grad(lambda *a: distance(*a).sum(), (0, 1, 2)), (0, None, None))
    agree(slopes(jnp.stack([x, x]), c, w), [jnp.stack([one, one]) for one in total])

    def scanned(x, c, w):
        return jax.lax.scan(lambda sum, one: (sum + distance(one, c, w).sum(), None), 0.0, x)[0]

    for function in (scanned, jax.checkpoint(scanned)):
        agree(jax.jit(jax.grad(function, (0, 1, 2)))(*given), total)
        agree(jax.jvp(function, given, moves)[1], tangent.sum())


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_hessians_of_weighted_dtw_on_kernels():
    def squared(implementation):
        distance, given, _ = distances(implementation)
        return jax.jit(jax.hessian(lambda c: jnp.sum(distance(given[0], c, given[2]) ** 2)))(
            given[1]
        )

    agree(squared("pallas_interpret"), squared("xla"), 1e-3)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_tangents_of_weighted_dtw_stored_in_halves_and_not_finite(implementation):
    x, c, w = (jnp.asarray(a, jnp.float16) for a in (X, C, W))
    x = x.at[1, 0, 0].set(jnp.nan)

    def distance(x):
        return tempalign.weighted_dtw(x, c, w, implementation=implementation)

    value, tangent = jax.jvp(distance, (x,), (jnp.ones_like(x),))
    assert value.dtype == tangent.dtype == jnp.float32
    np.testing.assert_array_equal(np.isnan(tangent), [[False] * 2, [True] * 2])
    wide, exact = jax.jvp(
        lambda x: tempalign.weighted_dtw(x, *(a.astype(jnp.float32) for a in (c, w))),
        (x[:1].astype(jnp.float32),),
        (jnp.ones(x[:1].shape),),
    )
    agree((value[:1], tangent[:1]), (wide, exact))
