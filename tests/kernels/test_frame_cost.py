"""Kernels that sum differences of frames, and the matrices of local costs made by them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempalign._engine import costs
from tempalign.kernels.gpu import frame_cost, local_costs

TERMS = {"squares": (np.square, lambda d: 2 * d), "absolute": (np.abs, np.sign)}


def frames(rng, s, a, c, n, m, features):
    x, y = rng.normal(size=(s, a, n, features)), rng.normal(size=(s, c, m, features))
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.usefixtures("our_modes")
class FrameCostSuite:
    interpret = True

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize("term", TERMS)
    @pytest.mark.parametrize("sizes", [(2, 3, 2, 5, 9, 7), (1, 1, 1, 1, 1, 1)], ids=str)
    def test_sums_and_gradients(self, sizes, term, rng):
        (x, y), (of, slope) = frames(rng, *sizes), TERMS[term]
        x[0, 0, 0] = y[0, 0, 0]  # |.| has slope 0 there
        difference = x[:, :, :, None, None].astype(float) - y[:, None, None]
        found = frame_cost.costs(x, y, term, interpret=self.interpret)
        np.testing.assert_allclose(found, of(difference).sum(-1), rtol=1e-6)
        cotangent = rng.normal(size=found.shape).astype(np.float32)
        pulled = frame_cost.gradient(x, y, cotangent, term, interpret=self.interpret)
        terms = slope(difference) * cotangent[..., None]
        # Of what is added up: sums near 0 come of differences.
        error = np.abs(pulled - terms.sum((3, 4)))
        assert np.all(error <= 1e-6 * np.abs(terms).sum((3, 4)))

    def test_near_frames_far_from_zero_lose_nothing(self, rng):
        x, y = frames(rng, 1, 1, 1, 20, 30, 12)
        x, y = x * np.float32(1e-2) + 1000, y * np.float32(1e-2) + 1000
        found = frame_cost.costs(x, y, "squares", interpret=self.interpret)
        difference = x[:, :, :, None, None].astype(float) - y[:, None, None]
        np.testing.assert_allclose(found, np.square(difference).sum(-1), rtol=1e-6)

    @pytest.mark.one_in(4)
    @pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "manhattan", "cosine"])
    def test_matrices_and_their_derivatives(self, cost, rng):
        """Against XLA's: values, gradients, tangents, a second derivative, and vmap."""
        x, y = map(jnp.asarray, frames(rng, 2, 2, 3, 4, 5, 6))
        make = functools.partial(local_costs.matrix, interpret=self.interpret)

        def by_xla(x, y, cost):
            return costs.matrix(x, y, cost).transpose(2, 3, 4, 0, 1)

        def all_of_it(matrix):
            def total(x, y):
                return (matrix(x, y, cost) ** 2).mean()

            def slope(x, y):
                return (jax.grad(total)(x, y) ** 2).sum()

            return (
                jax.value_and_grad(total, (0, 1))(x, y),
                jax.jvp(lambda x: matrix(x, y, cost), (x,), (y[:, :2, :4],)),
                jax.grad(slope, (0, 1))(x, y),
                jax.vmap(lambda x: matrix(x, y, cost))(jnp.stack([x, -x])),
            )

        found, expected = (jax.jit(functools.partial(all_of_it, one))() for one in (make, by_xla))
        chex.assert_trees_all_close(found, expected, rtol=2e-4, atol=2e-4)

    def test_what_is_not_finite_stays_with_its_frame(self, rng):
        x, y = frames(rng, 1, 2, 2, 4, 5, 6)
        x[0, 1, 2, 3], y[0, 0, 1, 0] = np.nan, np.inf

        make = functools.partial(local_costs.matrix, cost="sqeuclidean", interpret=self.interpret)
        made, pull = jax.vjp(make, x, y)
        expected = costs.matrix(x, y, "sqeuclidean").transpose(2, 3, 4, 0, 1)
        np.testing.assert_array_equal(np.isnan(made), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(made), np.isinf(expected))
        assert all(np.all(np.isfinite(one)) for one in pull(np.ones_like(made)))


class TestInterpreted(FrameCostSuite):
    pass


@pytest.mark.gpu
class TestOnCard(FrameCostSuite):
    interpret = False

    @pytest.mark.parametrize("term", TERMS)
    def test_many_tiles(self, term, rng):
        self.test_sums_and_gradients((2, 3, 2, 150, 90, 133), term, rng)
