"""The soft minimum on native code beside XLA: shapes, kinds of exponents, transformations."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import export
from native_checks import assert_alike, in_a_process, on_two_devices

import tempalign
from tempalign._engine import handed
from tempalign.kernels.cpu import native

COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 6, 3)).astype(np.float32)
Y = RANDOM.normal(size=(4, 7, 3)).astype(np.float32)
OPTIONS = [
    {},
    {"diagonal": False, "band": 30},
    {"max_slope": 3.0, "open_end": "y"},
    {"penalty": 0.5, "move_weights": (1.0, 2.0, 0.5), "open_begin": (2, 1)},
    {"open_begin": "both", "open_end": "both"},
]
pytestmark = pytest.mark.skipif(native.missing() is not None, reason=f"native: {native.missing()}")
ON_BOTH = ("native", "xla")


@settings(max_examples=3)
@given(st.integers(0, 2**31 - 1))
def test_values_and_gradients_are_those_of_xla(seed):
    """Shapes that go by lanes and by strips, lengths, windows, and frames that are not finite."""
    random = np.random.default_rng(seed)
    n, m = (int(k) for k in random.choice([1, 2, 5, 17, 40, 70], 2))
    features, cost = int(random.choice([1, 2, 5])), str(random.choice(COSTS))
    lead = [((), ()), ((3,), (3,)), ((2, 1), (9,)), ((33,), ()), ((0,), ())]
    of_x, of_y = lead[random.integers(len(lead))]
    x, y = random.normal(size=(*of_x, n, features)), random.normal(size=(*of_y, m, features))
    options = dict(OPTIONS[random.integers(len(OPTIONS))])
    if "band" in options or "max_slope" in options:
        options["band"], options["max_slope"] = max(n, m) // 2 + 1, None
    elif random.random() < 0.3:
        options["x_lengths"] = random.integers(1, n + 1, of_x)
    for array in (x, y):
        if array.size and random.random() < 0.4:
            array.flat[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf])
    gamma = float(random.choice([1.0, 0.1, 1e-3]))

    def total(x, y, gamma, implementation):
        found = tempalign.soft_dtw(x, y, gamma, cost=cost, implementation=implementation, **options)
        return jnp.where(jnp.isfinite(found), found, 0).sum(), found

    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True), static_argnums=3)
        got, expected = (run(x, y, gamma, one) for one in ON_BOTH)
        assert_alike(got, expected, rtol=1e-9, atol=1e-9)
        aligned = [
            tempalign.align(x, y, gamma, cost=cost, implementation=one, **options)
            for one in ON_BOTH
        ]
        assert_alike(*aligned, rtol=1e-9, atol=1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("options", "cost"),
    [
        pytest.param(*both, marks=pytest.mark.slow if "max_slope" in both[0] else ())
        for both in zip(OPTIONS[:4], COSTS, strict=True)
    ],
    ids=str,
)
@pytest.mark.usefixtures("x64")
def test_derivatives_are_those_of_xla(cost, options):
    x, y, dx, dy = (jnp.asarray(one, jnp.float64) for one in (X, Y, X[::-1], Y[::-1]))
    lengths = np.array([6, 5])

    def value(x, y, gamma, implementation):
        given = (
            {} if "band" in options or "max_slope" in options else {"x_lengths": lengths[:, None]}
        )
        return tempalign.soft_dtw(
            x[:2, None], y[None, :2], gamma, cost=cost, implementation=implementation,
            **given, **options,
        )  # fmt: skip

    def derivatives(implementation):
        function = partial(value, implementation=implementation)
        total = lambda *z: jnp.sum(jnp.square(function(*z)))  # noqa: E731
        at, along = (x, y, 0.5), (dx, dy, 0.3)
        pushed = jax.jvp(function, at, along)
        gradient = jax.grad(total, (0, 1, 2))(*at)
        curved = jax.jvp(jax.grad(total, (0, 1, 2)), at, along)[1]
        return pushed, gradient, curved

    got, expected = (jax.jit(derivatives, static_argnums=0)(one) for one in ON_BOTH)
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-9)


def test_hessian_in_costs_and_numbers():
    cost = RANDOM.random((2, 3, 4)).astype(np.float32)

    def total(cost, gamma, penalty, implementation):
        return tempalign.soft_dtw_from_cost(
            cost, gamma, penalty=penalty, implementation=implementation
        ).sum()

    given = cost, np.float32(0.5), np.float32(0.2)
    got, expected = (
        jax.jit(jax.hessian(partial(total, implementation=one), (0, 1, 2)))(*given)
        for one in ON_BOTH
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-4)


def test_alignments_are_differentiable():
    def total(x, implementation):
        found = tempalign.align(x, Y[0], 0.5, implementation=implementation)
        return jnp.sum(found.alignment**2) + found.entropy + found.value

    got, expected = (jax.jit(jax.grad(total), static_argnums=1)(X[0], one) for one in ON_BOTH)
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-5)


def test_each_entry_of_a_batch_has_its_own_numbers():
    """Pairs of other temperatures and prices stand side by side in one vector."""
    gammas = np.float32([1.0, 0.5, 1e-3, 0.1, 1e-5])
    penalties = np.float32([0.0, 2.0, 0.5, 1.0, 0.25])

    def function(gamma, penalty, implementation):
        def total(x, gamma, penalty):
            values = tempalign.soft_dtw(x, Y, gamma, penalty=penalty, implementation=implementation)
            return values.sum(), values

        return jax.value_and_grad(total, (0, 1, 2), has_aux=True)(X, gamma, penalty)

    one = partial(function, implementation="native")
    got = jax.jit(jax.vmap(one))(gammas, penalties)
    for k, numbers in enumerate(zip(gammas, penalties, strict=True)):
        chex.assert_trees_all_close(
            jax.tree.map(lambda a, k=k: a[k], got), one(*numbers), rtol=1e-5
        )
    expected = jax.jit(jax.vmap(partial(function, implementation="xla")))(gammas, penalties)
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-4)

    def hard(penalty, implementation):
        return tempalign.dtw(X, Y, penalty=penalty, implementation=implementation)

    got, expected = (jax.vmap(partial(hard, implementation=one))(penalties) for one in ON_BOTH)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
def test_transformations():
    lengths = np.array([6, 1, 4, 5])

    def one(x, y, n, implementation):
        def total(x, y):
            values = tempalign.soft_dtw(x, y, 0.3, x_lengths=n, implementation=implementation)
            return values.sum(), values

        return jax.value_and_grad(total, (0, 1), has_aux=True)(x, y)

    def run(implementation):
        of_pair = partial(one, implementation=implementation)
        both = jax.vmap(jax.vmap(of_pair, (0, None, 0)), (None, 0, None))(X, Y, lengths)
        fixed = partial(of_pair, n=3)
        of_vmap = jax.grad(lambda x: jax.vmap(lambda x: fixed(x, Y[0])[0][0])(x).sum())(X)
        pushed = jax.vmap(lambda dx: jax.jvp(lambda x: fixed(x, Y)[0][0], (X,), (dx,))[1])(X[None])
        return both, of_vmap, pushed, jax.checkpoint(fixed)(X, Y)

    got, expected = (jax.jit(run, static_argnums=0)(one) for one in ON_BOTH)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)


def inner(x, y):
    """A cost of the caller's."""
    return 2 - jnp.tanh(x @ y.T)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "cost", [inner, "cosine", pytest.param("manhattan", marks=pytest.mark.slow)]
)
def test_costs_made_by_xla(cost):
    """Of functions, and of many features, whose Jacobians would be larger than matrices."""
    x, y = (RANDOM.normal(size=(3, n, 40)).astype(np.float32) for n in (5, 4))

    def total(x, y, implementation):
        values = tempalign.soft_dtw(
            x[:, None], y[None], 0.5, cost=cost, implementation=implementation
        )
        return jnp.sum(values**2), values

    run = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True), static_argnums=2)
    got, expected = (run(x, y, one) for one in ON_BOTH)
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-4)
    assert "runs on native" in tempalign.explain("soft_dtw", x, y, cost=cost)
    # In little memory no matrix is made, and nothing else is different.
    run = jax.grad(lambda x: tempalign.soft_dtw(x, y, 0.5, cost=cost, checkpoint=True).sum())
    plain = jax.grad(lambda x: tempalign.soft_dtw(x, y, 0.5, cost=cost, implementation="xla").sum())
    np.testing.assert_allclose(run(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("most", "gamma", "size"),
    [(4.0, 1e-5, 300), (1e7, 0.1, 300), (300.0, 1e-5, 120), (1e12, 1e-9, 60), (4.0, 1e-30, 20)],
    ids=str,
)
@pytest.mark.usefixtures("x64")
def test_precision_of_every_kind_of_exponents(most, gamma, size):
    """Of 32 bits, of 64, and beyond both; by strips and side by side."""
    cost = (RANDOM.random((1, size, size)) * most).astype(np.float32)
    gamma = np.float32(gamma)
    run = jax.jit(
        jax.value_and_grad(
            lambda c, g, one: tempalign.soft_dtw_from_cost(c, g, implementation=one).sum()
        ),
        static_argnums=2,
    )
    value, gradient = jax.device_get(run(cost, gamma, "native"))
    exact, expected = jax.device_get(run(cost.astype(np.float64), np.float64(gamma), "native"))
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert np.abs(gradient - expected).max() <= 2e-6
    if gamma > 1e-7:
        # XLA in float64 knows these to 1e-16 cost / gamma.
        reference = run(cost.astype(np.float64), np.float64(gamma), "xla")
        np.testing.assert_allclose(exact, reference[0], rtol=1e-12)
        np.testing.assert_allclose(
            expected, reference[1], atol=1e-4 if most / gamma > 1e7 else 1e-6
        )
    many = jax.device_get(run(np.repeat(cost, 40, 0), gamma, "native")[1])
    for one in many[[0, 17, 39]]:
        np.testing.assert_array_equal(one, gradient[0])


def test_a_pair_beside_larger_ones_is_what_it_is_alone():
    x, y = X.repeat(5, 0), Y.repeat(5, 0)
    run = jax.jit(jax.value_and_grad(lambda x: tempalign.soft_dtw(x, y, 1e-4)[::2].sum()))
    spoiled = x.copy()
    spoiled[1::2] *= 1e6
    chex.assert_trees_all_equal(run(x)[0], run(spoiled)[0])
    np.testing.assert_array_equal(run(x)[1], run(spoiled)[1])


THREADS = """
import os, sys
if {cores} == 1: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import hashlib, jax, numpy as np, tempalign
random = np.random.default_rng(0)
for lead, T in ((40,), 50), ((2,), 300), ((), 900):
    x, y = (random.normal(size=(*lead, T, 2)).astype(np.float32) for _ in range(2))
    run = jax.jit(jax.value_and_grad(lambda x, y, g, p: tempalign.soft_dtw(x, y, g, penalty=p).sum(), (0, 1, 2, 3)))
    found = jax.tree.leaves(run(x, y, 0.5, 0.1))
    print(hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in found)).hexdigest())
"""  # noqa: E501


def test_one_core_gives_the_same_bits():
    found = [in_a_process(THREADS.format(cores=cores)) for cores in (1, 2)]
    assert found[0] == found[1]


def test_shard_map_on_two_devices():
    call = """tempalign.soft_dtw(
            x, y, 0.5, x_lengths=x_lengths, penalty=0.1, implementation="native"
        )"""
    assert "2 devices agree" in on_two_devices(call)


def test_what_xla_does_for_other_platforms():
    """The same numbers from the form that takes over, batched and differentiated."""

    def run(x, y, n, gamma, penalty):
        def total(x, y, gamma, penalty):
            values = tempalign.soft_dtw(
                x, y, gamma, x_lengths=n, penalty=penalty, cost="cosine", implementation="native"
            )
            return values.sum(), values

        found = jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True)(x, y, gamma, penalty)
        return found, tempalign.align(x, y, gamma, x_lengths=n, implementation="native")

    batched = jax.vmap(run, (0, None, 0, None, None))
    given = X[:, :5], Y[0], np.array([5, 3, 1, 4]), jnp.float32(0.4), jnp.float32(0.3)
    expected = jax.jit(batched)(*given)
    exported = export.export(jax.jit(batched))(*given)
    assert "custom_call @tempalign" not in exported.mlir_module()
    chex.assert_trees_all_close(
        jax.tree.leaves(exported.call(*given)), jax.tree.leaves(expected), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [pytest.param({}, marks=pytest.mark.slow), {"move_weights": (1, 2, 1), "open_begin": 1}],
    ids=str,
)
def test_averages(options):
    lengths = np.array([6, 5, 6, 4])
    for function in (tempalign.dba, partial(tempalign.soft_dtw_barycenter, gamma=0.1)):
        got, expected = (
            function(X, lengths=lengths, num_iters=5, implementation=one, **options)
            for one in ON_BOTH
        )
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_when_jacobians_are_too_large():
    def larger(a, c, n, features):
        x, y = jnp.zeros((1, a, n, features)), jnp.zeros((1, c, n, features))
        return handed.matrices_are_small(tempalign._engine.model.Model(), x, y)

    assert larger(3, 3, 8, 64)
    assert not larger(3, 1, 8, 64)  # no larger than the sequences
    assert not larger(3, 3, 64, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("most", "gamma"), [(1e7, 0.1), (4.0, 1e-5), (4.0, 1.0)])
@pytest.mark.usefixtures("x64")
def test_precision_of_five_thousand_frames(most, gamma):
    cost = (RANDOM.random((5000, 5000)) * most).astype(np.float32)
    run = jax.jit(jax.value_and_grad(tempalign.soft_dtw_from_cost))
    value, gradient = jax.device_get(run(cost, np.float32(gamma)))
    exact, expected = jax.device_get(run(cost.astype(np.float64), np.float64(np.float32(gamma))))
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    assert np.abs(gradient - expected).max() <= 1e-5
