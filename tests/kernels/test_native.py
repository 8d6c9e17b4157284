"""Native code beside XLA: shapes, what is not finite, transformations, and where there is none."""

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
from tempalign._engine import backends, model, platforms
from tempalign.kernels.cpu import native

COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine")
needs_native = pytest.mark.skipif(
    native.missing() is not None, reason=f"native: {native.missing()}"
)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 6, 3)).astype(np.float32)
Y = RANDOM.normal(size=(4, 7, 3)).astype(np.float32)
OPTIONS = [
    {},
    {"diagonal": False},
    {"band": 3},
    {"max_slope": 3.0, "open_end": "y"},
    {"penalty": 0.5, "move_weights": (1.0, 2.0, 0.5), "open_begin": (2, 1)},
    {"open_begin": "both", "open_end": "both"},
]


@needs_native
@settings(max_examples=2 * settings.default.max_examples // 5)  # XLA compiles two programs for each
@given(st.integers(0, 2**31 - 1))
def test_values_and_paths_are_those_of_xla(seed):
    random = np.random.default_rng(seed)
    n, m = random.choice([1, 2, 5, 16, 17, 40, 70], 2)
    features, cost = random.choice([1, 2, 5]), random.choice(COSTS)
    lead = [((), ()), ((3,), (3,)), ((2, 1), (9,)), ((5, 1), (1, 7)), ((33,), ()), ((0,), ())]
    of_x, of_y = lead[random.integers(len(lead))]
    x, y = random.normal(size=(*of_x, n, features)), random.normal(size=(*of_y, m, features))
    options = dict(OPTIONS[random.integers(len(OPTIONS))])
    if random.random() < 0.3:
        options["x_lengths"] = random.integers(1, n + 1, of_x)
    if "band" in options or "max_slope" in options:
        options = {key: options[key] for key in options if key != "x_lengths"}
        options["band"], options["max_slope"] = max(n, m) // 2 + 1, None
    for array in (x, y):
        if array.size and random.random() < 0.4:
            array.flat[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf])
    with jax.enable_x64(True):
        run = partial(tempalign.dtw, jnp.asarray(x), jnp.asarray(y), cost=str(cost), **options)
        got, expected = run(implementation="native"), run(implementation="xla")
        assert got.dtype == np.float64
        assert_alike(got, expected, rtol=1e-12, atol=1e-12)
        run = partial(tempalign.dtw_path, jnp.asarray(x), jnp.asarray(y), cost=str(cost))
        paths = [run(implementation=one, **options) for one in ("native", "xla")]
        chex.assert_trees_all_equal(*paths)


@needs_native
@settings(max_examples=4)
@given(st.integers(2, 90), st.integers(0, 70), st.sampled_from(COSTS), st.integers(0, 2**31 - 1))
def test_a_narrow_band_is_what_strips_make_of_it(frames, radius, cost, seed):
    """Across the band, or, where a mask says the same, by strips of rows: the same bits."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(2, frames, 1 + seed % 3)).astype(np.float32)
    run = partial(tempalign.dtw, cost=cost, implementation="native")
    across = run(x, y, band=radius)
    rows, columns = np.indices((frames, frames))
    masked = run(x, y, mask=abs(rows - columns) <= radius)
    np.testing.assert_array_equal(across, masked)


def sum_of_fourth_powers(x, y):
    """A cost of the caller's own."""
    return jnp.sum(jnp.abs(x[..., :, None, :] - y[..., None, :, :]) ** 4, axis=-1)


@pytest.mark.one_in(2)
@needs_native
@pytest.mark.parametrize("cost", ["cosine", sum_of_fourth_powers])
@pytest.mark.parametrize("pairs", [(3, 2), (0, 2)], ids=str)
def test_costs_made_by_xla(cost, pairs):
    """Of functions, and cosines of features so many that a product of matrices is quicker."""
    x, y = (RANDOM.normal(size=(3, n, 64)).astype(np.float32) for n in (5, 4))
    x, y = x[: pairs[0], None], y[None, : pairs[1]]

    def everything(x, y, implementation):
        run = partial(tempalign.dtw, cost=cost, open_end="y", implementation=implementation)
        gradient = jax.value_and_grad(lambda x: jnp.sum(run(x, y) ** 2))(x)
        path = tempalign.dtw_path(x, y, cost=cost, implementation=implementation)
        visits = tempalign.dtw_alignment(x, y, cost=cost, implementation=implementation)
        return gradient, path, visits, run(x, y, x_lengths=np.array([[5], [2], [4]])[: len(x)])

    run = jax.jit(everything, static_argnums=2)
    chex.assert_trees_all_close(run(x, y, "native"), run(x, y, "xla"), rtol=1e-4, atol=1e-4)
    assert "runs on native" in tempalign.explain("dtw", x, y, cost=cost)
    assert "custom_call @tempalign_value" in run.lower(x, y, "native").as_text()


@needs_native
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1100, 1000), {}),
        ((1100, 1000), {"band": 700}),
        ((40, 2000), {"open_end": "both"}),
        ((1500, 9), {}),
        pytest.param((1100, 1000), {"open_end": "both"}, marks=pytest.mark.slow),
        pytest.param((40, 2000), {"band": 700}, marks=pytest.mark.slow),
        pytest.param((1500, 9), {"open_end": "both"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_long_pairs(shape, options):
    x, y = (RANDOM.normal(size=(size, 1)).cumsum(0).astype(np.float32) for size in shape)
    if "band" in options:
        options = {"band": max(shape) // 8}
    got, expected = (
        tempalign.dtw(x, y, implementation=one, **options) for one in ("native", "xla")
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    again = tempalign.dtw(x, y, implementation="native", **options)
    np.testing.assert_array_equal(again, got)


@pytest.mark.one_in(6)
@needs_native
@pytest.mark.parametrize(
    ("cost", "options"),
    [
        pytest.param(
            cost,
            options,
            id=f"{cost}-{options}",
            marks=() if cost == "sqeuclidean" or not options else pytest.mark.slow,
        )
        for cost in COSTS
        for options in OPTIONS
    ],
)
@pytest.mark.usefixtures("x64")
def test_derivatives_are_those_of_xla(cost, options):
    x, y, dx, dy = (jnp.asarray(one, jnp.float64) for one in (X, Y, X[::-1], Y[::-1]))
    lengths = np.array([6, 5, 6, 4])

    def value(x, y, implementation):
        return tempalign.dtw(
            x[:2, None],
            y[None, :2],
            cost=cost,
            x_lengths=lengths[:2, None],
            implementation=implementation,
            **options,
        )

    def derivatives(implementation):
        function = partial(value, implementation=implementation)
        total = lambda x, y: jnp.sum(jnp.square(function(x, y)))  # noqa: E731
        pushed = jax.jvp(function, (x, y), (dx, dy))
        gradient = jax.grad(total, (0, 1))(x, y)
        curved = jax.jvp(jax.grad(total, (0, 1)), (x, y), (dx, dy))[1]
        back = jax.grad(lambda x: jax.jvp(total, (x, y), (dx, dy))[1])(x)
        return pushed, gradient, curved, back

    got, expected = (jax.jit(derivatives, static_argnums=0)(one) for one in ("native", "xla"))
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-10)


@needs_native
def test_derivatives_in_prices_and_given_costs():
    cost = RANDOM.random((3, 5, 6)).astype(np.float32)

    def total(cost, penalty, weights, implementation):
        return jnp.sum(
            tempalign.dtw_from_cost(
                cost, penalty=penalty, move_weights=weights, implementation=implementation
            )
            ** 2
        )

    def both(function):
        arguments = cost, jnp.float32(0.2), jnp.array([1.0, 0.5, 1.5])
        return [
            jax.jit(function(partial(total, implementation=one)))(*arguments)
            for one in ("native", "xla")
        ]

    chex.assert_trees_all_close(*both(lambda f: jax.grad(f, (0, 1, 2))), rtol=1e-5)
    chex.assert_trees_all_close(*both(lambda f: jax.hessian(f, (1, 2))), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@needs_native
@pytest.mark.parametrize("traced", [False, True], ids=["lengths known", "lengths traced"])
def test_transformations(traced):
    lengths = np.array([6, 1, 4, 5])

    def function(x, y, n, implementation):
        def total(x, y):
            values = tempalign.dtw(x, y, x_lengths=n, implementation=implementation)
            return values.sum(), values

        return jax.value_and_grad(total, (0, 1), has_aux=True)(x, y)

    def run(implementation):
        one = partial(function, implementation=implementation)
        if traced:
            over_x = jax.vmap(jax.vmap(one, (0, None, 0)), (None, 0, None))(X, Y, lengths)
            return over_x, jax.jit(one)(X, Y, lengths)
        fixed = partial(one, n=3)
        nested = jax.vmap(jax.vmap(fixed, (None, 0)), (0, None))(X, Y)
        of_vmap = jax.grad(lambda x: jax.vmap(lambda x: fixed(x, Y[0])[0][0])(x).sum())(X)
        return nested, of_vmap, jax.checkpoint(fixed)(X, Y)

    got, expected = (jax.jit(run, static_argnums=0)(one) for one in ("native", "xla"))
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)


@needs_native
def test_shard_map_on_two_devices():
    call = 'tempalign.dtw(x, y, x_lengths=x_lengths, implementation="native")'
    assert "2 devices agree" in on_two_devices(call)


WITHOUT = """
import jax, numpy as np, tempalign
x = np.ones((5, 2), np.float32)
print(tempalign.explain("dtw", x, x), float(tempalign.dtw(x, x)))
try:
    tempalign.dtw(x, x, implementation="native")
except NotImplementedError as error:
    print(error)
"""


def test_where_there_is_none():
    said = in_a_process(WITHOUT, TEMPALIGN_NATIVE="0")
    assert "native: TEMPALIGN_NATIVE=0 switches it off. 0.0" in said
    assert "dtw runs on xla: pallas: it needs a GPU" in said
    assert "dtw cannot run on native: native: TEMPALIGN_NATIVE=0" in said


@needs_native
def test_levels_agree():
    program = """
import numpy as np, tempalign
random = np.random.default_rng(0)
x, y = random.normal(size=(20, 33, 3)), random.normal(size=(20, 40, 3))
x, y = np.float32(x), np.float32(y)
values = tempalign.dtw(x[:, None], y, implementation="native")
print(float(values.sum()), float(tempalign.dtw(x[0], y[0], implementation="native")))
"""
    found = [in_a_process(program, TEMPALIGN_CPU_LEVEL=level).split() for level in ("v2", "v3", "")]
    for one in found[1:]:
        np.testing.assert_allclose(np.float64(one), np.float64(found[0]), rtol=1e-6)


@needs_native
def test_an_exported_program_holds_the_form_of_xla():
    program = export.export(jax.jit(lambda x: tempalign.dtw(x, Y)))(X)
    np.testing.assert_allclose(program.call(X), tempalign.dtw(X, Y), rtol=1e-6)
    assert "custom_call @tempalign" not in program.mlir_module()


@needs_native
def test_it_refuses_by_description():
    plain = model.Model()
    assert native.refuses(plain) is None
    for other, reason in (
        (plain.replace(cost="weighted_euclidean"), "not weighted_euclidean"),
        (plain.replace(column=model.Move(allowed="first_column")), "does not know these moves"),
        (plain.replace(row=model.Move(array=1)), "one array of local costs"),
    ):
        assert reason in native.refuses(other)
        chosen = backends.choose("dtw", other)
        assert chosen.backend == "xla" and "native: it " in chosen.reasons


@needs_native
def test_who_is_asked_beside_a_gpu(monkeypatch):
    """Where calls are likely to run elsewhere it must be asked for; lowered there, XLA serves."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))
    priced = {"penalty": 0.5}  # no kernel for GPUs serves that
    assert "on xla where it is lowered for another" in tempalign.explain("dtw", X, Y, **priced)
    monkeypatch.setattr(platforms, "likely_cpu", lambda: False)
    said = tempalign.explain("dtw", X, Y, **priced)
    assert "native: calls are likely to run on another device" in said
    assert "dtw runs on xla: pallas: the kernels take moves that cost the same" in said
    assert "dtw runs on pallas" in tempalign.explain("dtw", X, Y)
    assert "runs on native" in tempalign.explain("dtw", X, Y, implementation="native")
    lowered = (
        jax.jit(partial(tempalign.dtw, implementation="native"))
        .trace(X, Y)
        .lower(lowering_platforms=("cuda",))
    )
    assert "@tempalign" not in lowered.as_text()


@needs_native
def test_what_xla_does_for_other_platforms(monkeypatch):
    """The same numbers from the form that takes over, batched and differentiated."""

    def run(x, y, n, penalty):
        def total(x, y, penalty):
            values = tempalign.dtw(
                x, y, x_lengths=n, penalty=penalty, cost="cosine", implementation="native"
            )
            return values.sum(), values

        found = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(x, y, penalty)
        align = tempalign.align(x, y, 0.0, x_lengths=n, implementation="native")
        return found, align, tempalign.dtw_path(x, y, implementation="native")

    batched = jax.vmap(run, (0, None, 0, None))
    arguments = X[:, :5], Y[0], np.array([5, 3, 1, 4]), jnp.float32(0.3)
    expected = jax.jit(batched)(*arguments)
    exported = export.export(jax.jit(batched))(*arguments)
    assert "custom_call @tempalign" not in exported.mlir_module()
    chex.assert_trees_all_close(
        jax.tree.leaves(exported.call(*arguments)), jax.tree.leaves(expected), rtol=1e-5, atol=1e-5
    )
