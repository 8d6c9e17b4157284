"""The property suite of weighted DTW, run for every implementation.

A subclass names the implementation; nothing else differs (see test_weighted_dtw.py).
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tempalign
from tempalign.kernels.gpu import specs

# A fixed set of shapes, so that hypothesis varies data and flags without compiling anew.
SHAPES = ((2, 1, 5, 3), (2, 4, 1, 17), (3, 5, 9, 33))
SIZES = st.tuples(st.sampled_from(SHAPES), st.booleans(), st.integers(0, 2**31 - 1)).map(
    lambda drawn: (*drawn[0], *drawn[1:])
)  # pairs, Tc, T, F, diagonal, seed

PRECISIONS = ("float32", "float16")


@functools.partial(jax.jit, static_argnames=("diagonal", "path_precision", "implementation"))
def jitted_value_and_grads(x, centroid, weight, **options):
    """(values, gradients with respect to x, centroid and weight)."""

    def total(x, centroid, weight):
        values = tempalign.weighted_dtw(x, centroid, weight, **options)
        return values.sum(), values

    gradient = jax.value_and_grad(total, (0, 1, 2), has_aux=True)
    (_, values), gradients = gradient(x, centroid, weight)
    return (values, *gradients)


def problem(batch, tc, t, f, seed):
    """x [B, T, F], centroid and positive weight [B, Tc, F], float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, t, f)).astype(np.float32)
    centroid = rng.normal(size=(batch, tc, f)).astype(np.float32)
    weight = np.exp(rng.normal(size=(batch, tc, f))).astype(np.float32)
    return x, centroid, weight


def per_pair(x, centroid, weight, diagonal, **options):
    """Oracle values and gradients of pairs (x[b], centroid[b])."""
    each = [
        oracles.weighted_dtw(*arrays, diagonal, **options)
        for arrays in zip(x, centroid, weight, strict=True)
    ]
    return tuple(np.stack(parts) for parts in zip(*each, strict=True))


def all_pairs(x, centroid, weight, lengths, path_from=None):
    """Oracle values [B, C] of every x with every centroid, and gradients of their sum.

    That with respect to x is [B, 1, T, F], as of ``x[:, None]``.
    """
    values = np.zeros((len(x), len(centroid)))
    to_x, to_centroid, to_weight = (np.zeros_like(array) for array in (x, centroid, weight))
    for b, n in enumerate(lengths):
        for k in range(len(centroid)):
            decides = None if path_from is None else (path_from[0][k], path_from[1][k])
            values[b, k], dx, dc, dw = oracles.weighted_dtw(
                x[b, :n], centroid[k], weight[k], False, path_from=decides
            )
            to_x[b, :n] += dx
            to_centroid[k] += dc
            to_weight[k] += dw
    return values, to_x[:, None], to_centroid, to_weight


class WeightedDtwSuite:
    implementation = None

    def distance(self, *args, **options):
        return tempalign.weighted_dtw(*args, implementation=self.implementation, **options)

    def value_and_grads(self, x, centroid, weight, **options):
        return jitted_value_and_grads(
            x, centroid, weight, implementation=self.implementation, **options
        )

    @given(SIZES)
    def test_equals_the_loop_with_gradients(self, sizes):
        *shape, diagonal, seed = sizes
        arrays = problem(*shape, seed)
        got = self.value_and_grads(*arrays, diagonal=diagonal)
        chex.assert_trees_all_close(got, per_pair(*arrays, diagonal), rtol=2e-5, atol=2e-5)

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize("diagonal", [False, True])
    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (3, 4), (4, 3)])
    def test_equals_every_path(self, shape, diagonal):
        (x,), (c,), (w,) = problem(1, *shape, 3, seed=1)
        cost = (w[:, None].astype(float) * np.abs(c[:, None] - x[None])).sum(-1)
        expected = oracles.enumerated_dtw(cost, diagonal)
        got = self.distance(x, c, w, diagonal=diagonal)
        np.testing.assert_allclose(got, expected, rtol=1e-6)

    @given(SIZES)
    def test_fixed_paths_equal_the_loop_with_gradients(self, sizes):
        *shape, diagonal, seed = sizes
        x, c, w = problem(*shape, seed)
        _, c0, w0 = problem(*shape, seed + 1)
        got = self.value_and_grads(x, c, w, diagonal=diagonal, path_from=(c0, w0))
        each = [
            per_pair(x[[b]], c[[b]], w[[b]], diagonal, path_from=(c0[b], w0[b]))
            for b in range(len(x))
        ]
        expected = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)

    @given(SIZES)
    def test_paths_from_the_live_pair_change_nothing(self, sizes):
        *shape, diagonal, seed = sizes
        x, c, w = problem(*shape, seed)
        live = self.value_and_grads(x, c, w, diagonal=diagonal)
        fixed = self.value_and_grads(x, c, w, diagonal=diagonal, path_from=(c, w))
        chex.assert_trees_all_close(fixed, live, rtol=1e-5, atol=1e-5)

    def test_no_gradient_reaches_the_deciding_pair(self):
        x, c, w = problem(3, 4, 6, 5, seed=2)
        gradients = jax.grad(
            lambda c0, w0: self.distance(x, c, w, path_from=(c0, w0)).sum(), (0, 1)
        )(c + 1, w)
        chex.assert_trees_all_equal(gradients, (jnp.zeros_like(c), jnp.zeros_like(w)))

    @given(SIZES, st.sampled_from([np.nan, np.inf, -np.inf]))
    def test_padding_changes_nothing(self, sizes, poison):
        batch, tc, t, f, diagonal, seed = sizes
        x, c, w = problem(batch, tc, t, f, seed)
        rng = np.random.default_rng(seed)
        x_lengths, c_lengths = rng.integers(1, t + 1, batch), rng.integers(1, tc + 1, batch)
        for b in range(batch):
            x[b, x_lengths[b] :] = poison
            c[b, c_lengths[b] :] = poison
            w[b, c_lengths[b] :] = poison
        got = self.value_and_grads(
            x, c, w, diagonal=diagonal, x_lengths=x_lengths, centroid_lengths=c_lengths
        )
        for b in range(batch):
            n, m = c_lengths[b], x_lengths[b]
            expected = oracles.weighted_dtw(x[b, :m], c[b, :n], w[b, :n], diagonal)
            trimmed = (got[0][b], got[1][b, :m], got[2][b, :n], got[3][b, :n])
            for one, other in zip(trimmed, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
            assert not np.any(got[1][b, m:])
            assert not np.any(got[2][b, n:])
            assert not np.any(got[3][b, n:])

    def test_padding_with_fixed_paths(self):
        x, c, w = problem(3, 4, 7, 5, seed=3)
        lengths = np.array([7, 2, 4])
        short = [
            self.value_and_grads(x[[b], :n], c[[b]], w[[b]], path_from=(c[[b]] + 0.3, w[[b]]))
            for b, n in enumerate(lengths)
        ]
        for b, n in enumerate(lengths):
            x[b, n:] = np.nan
        got = self.value_and_grads(x, c, w, path_from=(c + 0.3, w), x_lengths=lengths)
        for b, n in enumerate(lengths):
            np.testing.assert_allclose(got[0][b], short[b][0][0], rtol=1e-6)
            np.testing.assert_allclose(got[1][b, :n], short[b][1][0], rtol=1e-6)
            assert not np.any(got[1][b, n:])

    def test_broadcasting_equals_a_loop(self):
        x, _, _ = problem(3, 1, 6, 4, seed=4)
        _, c, w = problem(2, 3, 1, 4, seed=5)
        lengths = np.array([6, 2, 5])
        values, *gradients = self.value_and_grads(x[:, None], c, w, x_lengths=lengths[:, None])
        assert values.shape == (3, 2)
        expected, *totals = all_pairs(x, c, w, lengths)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        chex.assert_trees_all_close(gradients, totals, rtol=1e-4, atol=1e-5)

    @pytest.mark.one_in(3)
    @pytest.mark.parametrize(
        ("x_lead", "c_lead"),
        [
            ((), ()),
            ((2, 1), (3,)),
            ((2, 1, 4), (1, 3, 1)),
            ((2, 3), (2, 3)),
            ((5, 2), (2,)),
            ((2, 1), (2, 3)),
            ((0,), (1,)),
            ((0, 1), (3,)),
        ],
    )
    def test_any_leading_axes(self, x_lead, c_lead):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(*x_lead, 5, 3)).astype(np.float32)
        c = rng.normal(size=(*c_lead, 2, 3)).astype(np.float32)
        w = np.exp(rng.normal(size=(2, 3))).astype(np.float32)
        values, dx, dc, dw = self.value_and_grads(x, c, w)
        lead = np.broadcast_shapes(x_lead, c_lead)
        assert values.shape == lead
        assert (dx.shape, dc.shape, dw.shape) == (x.shape, c.shape, w.shape)
        xs, cs = np.broadcast_to(x, (*lead, 5, 3)), np.broadcast_to(c, (*lead, 2, 3))
        total_w = np.zeros((2, 3))
        for index in np.ndindex(*lead):
            value, _, _, one_w = oracles.weighted_dtw(xs[index], cs[index], w, False)
            np.testing.assert_allclose(values[index], value, rtol=1e-5)
            total_w += one_w
        np.testing.assert_allclose(dw, total_w, rtol=1e-4, atol=1e-5)

    def test_jit_vmap_and_grad_agree(self):
        x, c, w = problem(4, 3, 6, 5, seed=6)
        plain = self.value_and_grads(x, c, w)
        np.testing.assert_allclose(self.distance(x, c, w), plain[0], rtol=1e-6)
        chex.assert_trees_all_close(
            jax.vmap(self.value_and_grads)(x, c, w), plain, rtol=1e-6, atol=1e-6
        )
        shared = jax.jit(jax.vmap(lambda one: self.distance(one, c[0], w[0])))(x)
        np.testing.assert_allclose(shared, self.distance(x, c[0], w[0]), rtol=1e-6)
        fixed = jax.vmap(lambda x, c, w: self.distance(x, c, w, path_from=(c, w)))(x, c, w)
        np.testing.assert_allclose(fixed, plain[0], rtol=1e-6)

    @given(SIZES)
    def test_time_reversal_leaves_the_distance(self, sizes):
        *shape, diagonal, seed = sizes
        x, c, w = problem(*shape, seed)
        forward, *_ = self.value_and_grads(x, c, w, diagonal=diagonal)
        reversed_time = (a[:, ::-1] for a in (x, c, w))
        backward, *_ = self.value_and_grads(*reversed_time, diagonal=diagonal)
        np.testing.assert_allclose(forward, backward, rtol=1e-5)

    @pytest.mark.usefixtures("x64")
    def test_float64_against_finite_differences(self):
        arrays = [a.astype(np.float64) for a in problem(2, 3, 5, 4, seed=7)]
        values, *gradients = self.value_and_grads(*arrays)
        assert values.dtype == np.float64
        for which, gradient in enumerate(gradients):
            assert gradient.dtype == np.float64
            for index in np.ndindex(*arrays[which].shape):
                ends = []
                for step in (1e-6, -1e-6):
                    moved = [a.copy() for a in arrays]
                    moved[which][index] += step
                    ends.append(self.value_and_grads(*moved)[0].sum())
                np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / 2e-6, rtol=1e-6)

    def test_autodiff_of_the_plain_form(self):
        x, c, w = problem(3, 4, 6, 5, seed=8)

        def plain(x, c, w):
            cost = (w[:, :, None] * jnp.abs(c[:, :, None] - x[:, None])).sum(-1)
            return tempalign.dtw_from_cost(cost, diagonal=False).sum()

        expected = jax.grad(plain, (0, 1, 2))(x, c, w)
        chex.assert_trees_all_close(
            self.value_and_grads(x, c, w)[1:], expected, rtol=1e-5, atol=1e-5
        )

    @pytest.mark.parametrize("spec", specs.DEJAVID.values(), ids=lambda spec: spec.name)
    def test_the_papers_shapes_in_small(self, spec):
        """Their steps and frames; few classes and videos, and features that fill no block."""
        features = spec.num_features // 16
        x, _, _ = problem(3, 1, spec.num_frames, features, seed=10)
        _, c, w = problem(5, spec.num_steps, 1, features, seed=11)
        lengths = np.array([spec.num_frames, 1, spec.num_frames // 2])
        for b, length in enumerate(lengths):
            x[b, length:] = np.nan
        for path_from in (None, (c + 0.1, w)):
            options = {"x_lengths": lengths[:, None], "path_from": path_from}
            values, *gradients = self.value_and_grads(x[:, None], c, w, **options)
            expected, *totals = all_pairs(x, c, w, lengths, path_from)
            np.testing.assert_allclose(values, expected, rtol=1e-5)
            chex.assert_trees_all_close(gradients, totals, rtol=1e-4, atol=1e-4)

    def test_two_runs_are_bit_equal(self):
        arrays = problem(3, 4, 6, 5, seed=12)
        runs = [self.value_and_grads(*arrays) for _ in range(2)]
        chex.assert_trees_all_equal(*runs)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_stored_halves_are_taken_as_they_are(self, dtype):
        """Each argument in a dtype of its own: gradients in that, values as if in float32."""
        x, c, w = problem(3, 4, 6, 40, seed=13)
        x = jnp.asarray(x).astype(dtype)
        values, *gradients = self.value_and_grads(x, c, w, path_from=(c + 0.2, w))
        assert [g.dtype for g in gradients] == [dtype, jnp.float32, jnp.float32]
        wide = self.value_and_grads(x.astype(jnp.float32), c, w, path_from=(c + 0.2, w))
        # On a GPU the lanes add the features of another dtype up in another order.
        np.testing.assert_allclose(values, wide[0], rtol=2e-7)
        chex.assert_trees_all_equal(gradients, [wide[1].astype(dtype), *wide[2:]])

    def test_float16_paths_are_about_as_short(self):
        x, c, w = problem(6, 5, 17, 300, seed=14)
        exact = self.distance(x, c, w)
        for path_from in (None, (c, w)):
            options = {"path_precision": "float16", "path_from": path_from}
            values, *gradients = self.value_and_grads(x, c, w, **options)
            # Along any path the distance is exact, so it can only be longer.
            assert np.all(values >= exact * (1 - 1e-6)) and np.all(values <= exact * (1 + 1e-4))
            assert values.dtype == jnp.float32
            # The gradient with respect to the weights is that of a sum along one path.
            np.testing.assert_allclose((gradients[2] * w).sum((1, 2)), values, rtol=1e-5)

    @pytest.mark.parametrize("size", [1e-30, 1e-3, 1e4, 1e30])
    def test_float16_paths_of_any_scale(self, size):
        """Weights have a scale of their own for every step; features that do not fit are cut."""

        def both(*arrays):
            return (self.value_and_grads(*arrays, path_precision=p)[0] for p in PRECISIONS)

        x, c, w = problem(4, 3, 7, 33, seed=15)
        w = w * np.exp(4 * np.random.default_rng(0).normal(size=(4, 3, 1))).astype(np.float32)
        exact, values = both(x, c, w * np.float32(size))
        np.testing.assert_allclose(values, exact, rtol=1e-3)
        w[0], x[1, 2:4, :5], c[2] = 0, 1e6, -1e9
        exact, values = both(x, c, w)
        assert np.all(np.isfinite(values)) and np.all(values >= exact * (1 - 1e-6))

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    def test_half_precision_is_computed_in_float32(self, dtype):
        x, c, w = (jnp.asarray(a).astype(dtype) for a in problem(3, 4, 6, 40, seed=9))
        values, *gradients = self.value_and_grads(x, c, w)
        assert values.dtype == jnp.float32
        assert all(g.dtype == dtype for g in gradients)
        exact, *_ = per_pair(*(np.asarray(a.astype(jnp.float32)) for a in (x, c, w)), False)
        np.testing.assert_allclose(values, exact, rtol=1e-5)

    def test_ties(self):
        # All costs 0: without diagonal moves the sample is stepped back first, so the path runs
        # along the centroid's last step; with them the diagonal is taken.
        x, c, w = np.zeros((3, 1)), np.zeros((3, 1)), np.ones((3, 1))
        x, c, w = (a.astype(np.float32) for a in (x, c, w))
        live = c + 1  # makes visible which cells the path has
        sample_first = self.value_and_grads(x, live, w, path_from=(c, w))
        np.testing.assert_array_equal(sample_first[3][:, 0], [1, 1, 3])
        np.testing.assert_array_equal(sample_first[1][:, 0], [-1, -1, -3][::-1])
        diagonal = self.value_and_grads(x, live, w, path_from=(c, w), diagonal=True)
        np.testing.assert_array_equal(diagonal[3][:, 0], [1, 1, 1])

    def test_gradient_is_zero_where_centroid_equals_sample(self):
        x = np.zeros((2, 3), np.float32)
        _, dx, dc, dw = self.value_and_grads(x, x, np.ones_like(x))
        chex.assert_trees_all_equal((dx, dc, dw), (np.zeros_like(x),) * 3)

    def test_missing_weight_means_ones(self):
        x, c, w = problem(3, 4, 6, 5, seed=10)
        np.testing.assert_array_equal(self.distance(x, c), self.distance(x, c, np.ones_like(w)))

    def test_traced_lengths_out_of_range_give_nan(self):
        x, c, w = problem(3, 4, 6, 5, seed=11)
        lengths = np.array([0, 6, 7])
        values = jax.jit(lambda n: self.distance(x, c, w, x_lengths=n))(lengths)
        np.testing.assert_array_equal(np.isnan(values), [True, False, True])
