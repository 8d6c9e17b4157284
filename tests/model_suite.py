"""The property suite of every model: all that holds for any choice of path options.

A subclass names the implementation; nothing else differs (see test_models.py). A program is
compiled once for each model and kind of minimum; hypothesis varies data, lengths and numbers.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import model_oracle
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_oracle import draw_costs, draw_numbers, oracle_numbers
from tested_models import HARD, MODELS, OPTIONS, from_cost, given_numbers

import tempalign

ALL = pytest.mark.parametrize("name", MODELS)
SEEDS = st.integers(0, 2**31 - 1)
# Some lanes small enough for every path to be written out; hard models wide, soft ones tall, so
# that both orientations of the recurrence run.
LANES, SMALL = 5, 2
COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine")


@functools.cache
def program(name, soft, implementation):
    """Values ``[L]`` and their Jacobians in cost, gamma, penalty and weights."""

    def values(cost, gamma, penalty, weights, mask, n, m):
        options = given_numbers(name, penalty, weights, mask)
        options |= {"implementation": implementation}
        found = from_cost(name, soft, "value", cost, gamma, n, m, **options)
        return found, found

    return jax.jit(jax.jacrev(values, (0, 1, 2, 3), has_aux=True))


@functools.cache
def alone(name, soft, what, implementation):
    """A public function where all lengths are full; "gradient" is that in the costs as well."""

    def function(cost, gamma, penalty, weights, mask):
        options = given_numbers(name, penalty, weights, mask)
        options |= {"implementation": implementation}
        if what != "gradient":
            return from_cost(name, soft, what, cost, gamma, **options)
        values = functools.partial(from_cost, name, soft, "value", gamma=gamma, **options)
        found, pull = jax.vjp(lambda cost: values(cost=cost), cost)
        return found, pull(jnp.ones_like(found))[0]

    return jax.jit(function)


def assert_equals(got, expected, exact):
    """A lane's value and derivatives in cost, gamma, penalty and weights against an oracle's."""
    value, d_cost, d_gamma, d_penalty, d_weights = got
    tolerance = {"rtol": 1e-5, "atol": 0 if exact else 2e-5}
    np.testing.assert_allclose(value, expected.value, **tolerance)
    np.testing.assert_allclose(d_cost, expected.slope, **tolerance)
    np.testing.assert_allclose(d_penalty, expected.penalty, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d_weights, expected.weights, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(d_gamma, -expected.entropy, rtol=1e-4, atol=1e-4)


class ModelSuite:
    implementation = None

    def alignment(self, name, soft, cost, options):
        return from_cost(
            name, soft, "alignment", cost, 0.4, implementation=self.implementation, **options
        )

    @pytest.mark.one_in(4)
    @pytest.mark.parametrize(
        ("name", "soft"),
        [*((name, True) for name in MODELS), *((name, False) for name in HARD)],
    )
    @settings(max_examples=4)
    @given(SEEDS, st.sampled_from(["real", "ties", "holes"]))
    def test_equals_the_oracles(self, name, soft, seed, kind):
        random = np.random.default_rng(seed)
        model = model_oracle.model_of(MODELS[name], soft)
        shape = (9, 7) if soft else (7, 9)
        most = (5, 4) if soft else (4, 5)
        cost = draw_costs(random, kind, (LANES, *shape))
        mask = random.random(cost.shape) < 0.9
        gamma, penalty, weights = draw_numbers(random)
        lengths = np.array(
            [random.integers(1, np.array(most if k < SMALL else shape) + 1) for k in range(LANES)]
        )
        lengths[-1] = shape
        for k, (n, m) in enumerate(lengths):  # what lies past the lengths changes nothing
            cost[k, n:], cost[k, :, m:] = np.nan, np.nan
        given = (cost, gamma, penalty, weights, mask, *lengths.T)
        run = program(name, soft, self.implementation)
        jacobians, values = jax.device_get(run(*given))
        chex.assert_trees_all_equal(jax.device_get(run(*given)), (jacobians, values))
        by_cost, by_gamma, by_penalty, by_weights = jacobians
        for k, (n, m) in enumerate(lengths):
            inside = cost[k, :n, :m]
            numbers = oracle_numbers(soft, gamma, penalty, weights, mask[k, :n, :m])
            oracle = model_oracle.enumerated if k < SMALL else model_oracle.looped
            expected = oracle(model, inside, numbers)
            # Neither padding nor another lane has any part in it, and forbidden cells have none.
            theirs = np.zeros(cost.shape, bool)
            theirs[k, :n, :m] = model_oracle.allowed_cells(model, np.zeros((n, m)), numbers.mask)
            if not np.isfinite(expected.value):
                assert values[k] == np.inf
                assert np.all(np.isnan(by_cost[k][theirs]))
                theirs[k] = True  # see test_padding_of_a_pair_without_a_path
            else:
                got = values[k], by_cost[k, k, :n, :m], by_gamma[k], by_penalty[k], by_weights[k]
                assert_equals(got, expected, exact=kind == "ties" and not soft)
                theirs &= np.isfinite(cost)
            assert not np.any(by_cost[k][~theirs])

    @pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
    def test_padding_of_a_pair_without_a_path(self, soft):
        cost = np.ones((2, 5, 4), np.float32)
        cost[0, 0, 0] = np.inf

        def values(cost):
            options = {"implementation": self.implementation}
            lengths = np.array([3, 4]), np.array([2, 4])
            return from_cost("plain", soft, "value", cost, 0.5, *lengths, **options)

        found, pull = jax.vjp(values, cost)
        (gradient,) = pull(jnp.ones(2))
        assert found[0] == np.inf
        assert np.all(np.isnan(gradient[0, :3, :2]))
        chex.assert_tree_all_finite(gradient[1])
        # As documented: cells past the lengths get gradient 0.
        assert not np.any(gradient[0, 3:])
        assert not np.any(gradient[0, :, 2:])

    @pytest.mark.one_in(3)
    @ALL
    @settings(max_examples=6)
    @given(SEEDS)
    def test_ties_as_documented(self, name, seed):
        random = np.random.default_rng(seed)
        cost = draw_costs(random, "ties", (4, 7, 4))  # tall: rows and columns are exchanged
        mask = random.random((7, 4)) < 0.9
        numbers = oracle_numbers(False, 0, 0.75, (0.5, 2, 1.5), mask)
        run = alone(name, False, "gradient", self.implementation)
        values, slopes = run(cost, 0.0, np.float32(0.75), np.float32([0.5, 2, 1.5]), mask)
        model = model_oracle.model_of(MODELS[name], False)
        for one, value, slope in zip(cost, values, slopes, strict=True):
            expected = model_oracle.looped(model, one, numbers)
            np.testing.assert_equal(np.asarray(value), expected.value)
            if np.isfinite(expected.value):
                np.testing.assert_array_equal(slope, expected.slope)

    def test_equally_good_ends_on_one_anti_diagonal(self):
        cost = np.array([[0, 9], [0, 0], [0, 9]], np.float32)
        for one, end in ((cost, (1, 1)), (cost.T, (0, 2))):  # that in the last column
            path = np.asarray(self.alignment("counted", False, one, {"open_end": 1}))
            assert path[end] == 1
            assert path[-1, sum(end) - len(one) + 1] == 0

    @pytest.mark.one_in(3)
    @pytest.mark.parametrize(
        "name",
        ["plain", "odd_weights", "begin_both", "end_both", "windows", "everything", "tam_edge"],
    )
    def test_alignment_and_entropy(self, name):
        random = np.random.default_rng(1)
        x, y = (random.normal(size=(2, n, 2)).astype(np.float32) for n in (4, 5))
        options = given_numbers(name, 0.5, (2.0, 1.0, 0.5), random.random((4, 5)) < 0.9)
        options["implementation"] = self.implementation
        model = model_oracle.model_of(MODELS[name], True)
        if "boundary" in options:
            visits = tempalign.tam_alignment(x, y, 0.5, cost="sqeuclidean", **options)
            value = tempalign.tam_distance(x, y, 0.5, cost="sqeuclidean", **options)
            entropy = None
        else:
            value, visits, entropy = tempalign.align(x, y, 0.5, **options)
        numbers = oracle_numbers(True, 0.5, 0.5, (2.0, 1.0, 0.5), options.get("mask"))
        for k in range(2):
            cost = oracles.local_cost(x[k], y[k], "sqeuclidean")
            expected = model_oracle.enumerated(model, cost, numbers)
            np.testing.assert_allclose(value[k], expected.value, rtol=1e-5)
            np.testing.assert_allclose(visits[k], expected.visits, atol=1e-5)
            assert not np.any(np.asarray(visits[k])[expected.visits == 0])
            if entropy is not None:
                np.testing.assert_allclose(entropy[k], expected.entropy, atol=1e-4)

    def test_batch_equals_one_by_one(self):
        random = np.random.default_rng(2)
        cost = draw_costs(random, "real", (3, 5, 6))
        run = alone("everything", True, "gradient", self.implementation)
        rest = np.float32(0.3), np.float32(0.5), np.float32([1.0, 2.0, 0.5]), None
        single = [run(one, *rest) for one in cost]
        expected = tuple(map(np.stack, zip(*single, strict=True)))
        chex.assert_trees_all_close(run(cost, *rest), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.one_in(4)
    @pytest.mark.parametrize("name", ["everything", "tam_edge"])
    def test_checkpoint_changes_nothing(self, name):
        random = np.random.default_rng(3)
        # Two blocks of rows, of which the second is not full.
        x, y = (random.normal(size=(3, n, 2)).astype(np.float32) for n in (70, 6))
        lengths = [np.array([70, 66, 9]), np.array([6, 4, 5])]
        mask = np.ones((70, 6), bool)
        mask[30:40, 2] = False

        def total(x, y, gamma, penalty, weights, checkpoint):
            options = given_numbers(name, penalty, weights, mask)
            options |= {"implementation": self.implementation, "checkpoint": checkpoint}
            options |= {"cost": "sqeuclidean"}
            if "boundary" in options:
                names = ("query_lengths", "support_lengths")
                function = tempalign.tam_distance
            else:
                names = ("x_lengths", "y_lengths")
                function = tempalign.soft_dtw
            options |= dict(zip(names, lengths, strict=True))
            return function(x, y, gamma, **options).sum()

        run = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3, 4)), static_argnums=5)
        given = x, y, np.float32(0.3), np.float32(0.5), np.array([1.0, 2.0, 0.5], np.float32)
        expected, got = (run(*given, checkpoint) for checkpoint in (False, True))
        assert np.isfinite(expected[0])
        chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-4)

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize(
        ("name", "cost", "soft"),
        [
            *(("plain", cost, True) for cost in COSTS),
            ("everything", "cosine", False),
        ],
    )
    def test_lanes_are_independent(self, name, cost, soft):
        random = np.random.default_rng(4)
        x, y = (random.normal(size=(3, n, 2)).astype(np.float32) for n in (5, 6))
        options = given_numbers(name, *OPTIONS.values(), mask=None)
        options |= {"cost": cost, "implementation": self.implementation}
        distance = functools.partial(tempalign.soft_dtw, gamma=0.5) if soft else tempalign.dtw

        @jax.jit
        def run(x, y, wanted):
            def total(x, y):
                values = distance(x[:, None], y[None], **options)
                return jnp.where(wanted, values, 0).sum(), values

            return jax.grad(total, (0, 1), has_aux=True)(x, y)

        every = np.ones((3, 3), bool)
        every[:, 2] = False
        every[1] = False
        single = np.zeros((3, 3), bool)
        single[0, 1] = True
        for wanted in (every, single):
            (dx, dy), values = jax.device_get(run(x, y, wanted))
            assert np.all(np.isfinite(dx))
            assert not np.any(dy[2])
            assert not np.any(dx[1])
            for poison in (np.nan, np.inf, -np.inf, 1e10):
                for whole in (True, False):
                    spoiled_x, spoiled_y = x.copy(), y.copy()
                    spoiled_x[1, slice(None) if whole else 2] = poison
                    spoiled_y[2, slice(None) if whole else 3] = poison
                    got = jax.device_get(run(spoiled_x, spoiled_y, wanted))
                    kept = np.ix_([0, 2], [0, 1])
                    chex.assert_trees_all_equal(
                        (*got[0], got[1][kept]), (dx, dy, values[kept]), strict=True
                    )

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize("name", ["everything", "tam_edge"])
    @pytest.mark.usefixtures("x64")
    def test_derivatives_agree(self, name):
        random = np.random.default_rng(5)
        cost, direction = random.normal(size=(2, 2, 3, 3))
        step = 1e-5

        def value(cost, gamma, penalty):
            options = given_numbers(name, penalty, jnp.array([1.0, 2.0, 0.5]), None)
            options |= {"implementation": self.implementation}
            return from_cost(name, True, "value", cost, gamma, **options)

        def flat(z):
            return value(z[:9].reshape(3, 3), z[9], z[10])

        @jax.jit
        def derivatives(cost, gamma, penalty):
            def total(*given):
                return value(*given).sum()

            numbers = (gamma, penalty)
            gradient = jax.grad(total, (0, 1, 2))(cost, *numbers)
            pushed = jax.jvp(total, (cost, *numbers), (direction, 0.3, 0.7))[1]
            points = [jnp.stack([*one.ravel(), *numbers]) for one in cost]
            points += [
                points[0] + sign * step * np.eye(11)[k] for sign in (1, -1) for k in range(11)
            ]
            return (
                gradient,
                pushed,
                jax.vmap(jax.grad(flat))(jnp.stack(points)),
                jax.hessian(flat)(points[0]),
            )

        (d_cost, *rest), pushed, by_lane, hessian = derivatives(cost, 0.7, 0.4)
        np.testing.assert_allclose(by_lane[:2, :9].reshape(2, 3, 3), d_cost, atol=1e-13)
        np.testing.assert_allclose(by_lane[:2, 9:].sum(0), rest, rtol=1e-12)
        expected = np.vdot(d_cost, direction) + 0.3 * rest[0] + 0.7 * rest[1]
        np.testing.assert_allclose(pushed, expected, rtol=1e-12)
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
        differences = (by_lane[2:13] - by_lane[13:]) / (2 * step)
        np.testing.assert_allclose(hessian, differences, atol=1e-7)

    # Square, as of a tall problem the library exchanges rows and columns itself.
    @pytest.mark.one_in(3)
    @pytest.mark.parametrize(
        ("name", "soft"), [("everything", True), ("counted", False), ("windows", True)]
    )
    def test_swap(self, name, soft):
        random = np.random.default_rng(6)
        options = given_numbers(name, 0.5, (0.5, 2.0, 1.5), np.triu(np.ones((6, 6), bool), -2))
        swapped = dict(options)
        if "move_weights" in options:
            swapped["move_weights"] = (2.0, 0.5, 1.5)
        if "mask" in options:
            swapped["mask"] = options["mask"].T
        for key in ("open_begin", "open_end"):
            if isinstance(options.get(key), tuple):
                swapped[key] = options[key][::-1]
        cost = draw_costs(random, "real", (3, 6, 6))
        straight = self.alignment(name, soft, cost, options)
        np.testing.assert_allclose(
            self.alignment(name, soft, cost.mT, swapped).mT, straight, atol=1e-5
        )

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize(
        ("name", "soft"),
        [("no_diagonal_open", True), ("counted", False), ("windows", True), ("tam_paper", True)],
    )
    def test_time_reversal(self, name, soft):
        random = np.random.default_rng(7)
        options = given_numbers(name, 0.5, None, np.triu(np.ones((6, 6), bool), -2))
        reverse = dict(options)
        if "mask" in options:
            reverse["mask"] = options["mask"][::-1, ::-1]
        for key, other in (("open_begin", "open_end"), ("open_end", "open_begin")):
            reverse.pop(key, None)
            if other in options:
                reverse[key] = options[other]
        cost = draw_costs(random, "real", (3, 6, 6))
        straight = self.alignment(name, soft, cost, options)
        back = self.alignment(name, soft, cost[:, ::-1, ::-1], reverse)
        np.testing.assert_allclose(back[:, ::-1, ::-1], straight, atol=1e-5)
