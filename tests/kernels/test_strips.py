"""Kernels on strips: the layout, and soft and hard minima of given costs against loops.

What the library makes of them is in the suites of the models and the distances.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import tempalign
from tempalign._engine import hard, model, soft
from tempalign.kernels.gpu import alignment, hard_strips, launch, on_triton, soft_strips, warp
from tempalign.kernels.gpu.strip_layout import Layout


def plain(diagonal=True):
    return model.Model(*model.dtw(diagonal))


OPEN = {
    "paper": model.tam("paper"),
    "edge": model.tam("edge"),
    "y": plain().replace(begin=model.Opening(y=None), end=model.Opening(y=None)),
    "both": plain().replace(begin=model.Opening(None, None), end=model.Opening(None, None)),
    "counted": plain().replace(begin=model.Opening(2, 1), end=model.Opening(1, 3)),
}
SIZES = [(3, 5, 7), (40, 8, 8), (2, 64, 80), (1, 130, 20), (2, 300, 37), (3, 1, 9), (2, 9, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_layout_and_back(size, rng):
    matrices = rng.normal(size=size).astype(np.float32)
    layout = Layout(*size)
    skewed = layout.skewed(jnp.asarray(matrices))
    assert skewed.shape == (layout.size,)
    np.testing.assert_array_equal(layout.straight(skewed), matrices)


def test_layout_fills_warps():
    assert [Layout(1, n, 8).group for n in (1, 4, 5, 8, 9, 64, 128, 129)] == [
        *(1, 1, 2, 2, 4, 16, 32, 32)
    ]
    assert Layout(1, 129, 8).strips == 2
    assert Layout(33, 8, 8).warps == 3  # sixteen pairs each


class StripsSuite:
    """A subclass says whether kernels are interpreted; nothing else differs."""

    interpret = True

    def costs(self, rng, size, kind):
        costs = rng.normal(size=size).astype(np.float32) ** 2
        if kind == "ties":
            costs = np.round(2 * costs)
        if kind == "holes":  # some path is left
            costs[rng.random(size) < 0.1] = np.inf
            costs[:, :, 0] = costs[:, -1] = 1.0
        return costs

    def ends(self, rng, size):
        return tuple(rng.integers(0, k, size[0]).astype(np.int32) for k in size[1:])

    @pytest.mark.one_in(8)
    @pytest.mark.parametrize("diagonal", [True, False])
    @pytest.mark.parametrize("lengths", [False, True])
    @pytest.mark.parametrize("kind", ["real", "ties", "holes"])
    @pytest.mark.parametrize("size", [(5, 3, 6), (3, 8, 8), (2, 33, 70), (2, 140, 21)], ids=str)
    def test_hard(self, size, kind, lengths, diagonal, rng):
        costs, ends = self.costs(rng, size, kind), self.ends(rng, size)
        if kind == "holes" and lengths:
            pytest.skip("nothing may lead to the ends")
        options = {"model": plain(diagonal), "paths": True, "interpret": self.interpret}
        found, rows = jax.jit(functools.partial(hard_strips.value, **options))(
            costs, ends if lengths else None
        )
        for k, cost in enumerate(costs):
            n, m = (end[k] + 1 for end in ends) if lengths else size[1:]
            value, path = oracles.loop_dtw(cost[:n, :m].astype(float), diagonal)
            np.testing.assert_allclose(found[k], value, rtol=1e-6)
            cells = [(row, p - row) for p, row in enumerate(np.asarray(rows[:, k])) if row >= 0]
            assert sorted(cells) == [tuple(cell) for cell in np.argwhere(path).tolist()]

    @pytest.mark.one_in(8)
    @pytest.mark.parametrize("diagonal", [True, False])
    @pytest.mark.parametrize("lengths", [False, True])
    @pytest.mark.parametrize("gamma", [1.0, 0.05])
    @pytest.mark.parametrize("size", [(5, 3, 6), (3, 8, 8), (2, 33, 70), (2, 140, 21)], ids=str)
    def test_soft(self, size, gamma, lengths, diagonal, rng):
        costs, ends = self.costs(rng, size, "real"), self.ends(rng, size)
        options = {"model": plain(diagonal), "forbids": False, "visits": True}
        run = functools.partial(soft_strips.value, interpret=self.interpret, **options)
        gammas = np.full(size[0], gamma, np.float32)
        found, visits = jax.jit(run)(costs, gammas, ends if lengths else None)
        for k, cost in enumerate(costs):
            n, m = (end[k] + 1 for end in ends) if lengths else size[1:]
            value, expected, _ = oracles.loop_soft_dtw(cost[:n, :m].astype(float), gamma, diagonal)
            # Of the largest number that is added up: values near 0 come of differences.
            scale = max(abs(value), gamma * (n + m))
            np.testing.assert_allclose(found[k], value, rtol=0, atol=5e-7 * scale)
            np.testing.assert_allclose(visits[k, :n, :m], expected, rtol=0, atol=2e-6)
            outside = np.asarray(visits[k]).copy()
            outside[:n, :m] = 0
            assert not np.any(outside)

    def test_soft_with_holes(self, rng):
        size = (3, 33, 40)
        costs = self.costs(rng, size, "holes")
        gammas = np.array([1.0, 0.1, 0.01], np.float32)
        run = functools.partial(soft_strips.value, model=plain(), forbids=True, visits=True)
        found, visits = jax.jit(functools.partial(run, interpret=self.interpret))(
            costs, gammas, None
        )
        for k, cost in enumerate(costs):
            value, expected, _ = oracles.loop_soft_dtw(cost.astype(float), float(gammas[k]), True)
            np.testing.assert_allclose(found[k], value, rtol=1e-6)
            np.testing.assert_allclose(visits[k], expected, rtol=0, atol=2e-6)
            assert not np.any(np.asarray(visits[k])[np.isinf(cost)] > 1e-15)

    @pytest.mark.usefixtures("our_modes")
    @pytest.mark.one_in(6)
    @pytest.mark.parametrize("name", ["paper", "edge", "y", "both", "counted"])
    @pytest.mark.parametrize("lengths", [False, True])
    @pytest.mark.parametrize("size", [(2, 75, 20), (4, 9, 11)], ids=str)
    def test_open_ends(self, size, lengths, name, rng):
        """Over several strips too, and pairs side by side in a warp; against XLA."""
        described = OPEN[name]
        costs = self.costs(rng, size, "ties")
        ends = tuple(rng.integers(3, k, size[0]).astype(np.int32) for k in size[1:])
        ends = ends if lengths else tuple(np.full(size[0], k - 1, np.int32) for k in size[1:])
        within = np.arange(size[1])[:, None] <= ends[0][:, None, None]
        within = within & (np.arange(size[2]) <= ends[1][:, None, None])
        lanes = jnp.asarray(np.where(within, costs, 0)).transpose(1, 2, 0)
        run = functools.partial(hard_strips.value, paths=True, interpret=self.interpret)
        value, rows = jax.jit(functools.partial(run, model=described))(
            costs, ends if lengths else None
        )
        expected = hard.path(described, lanes, hard.Ends(*ends), None)
        np.testing.assert_array_equal(value, expected.value)
        np.testing.assert_array_equal(rows, expected.rows)
        run = functools.partial(soft_strips.value, forbids=False, visits=True)
        run = functools.partial(run, model=described, interpret=self.interpret)
        gamma = np.full(size[0], 0.7, np.float32)
        value, visits = jax.jit(run)(costs, gamma, ends if lengths else None)
        softly = described.replace(soft=True)
        expected = soft.gibbs(softly, lanes, hard.Ends(*ends), None, jnp.float32(0.7))
        np.testing.assert_allclose(value, expected.value, rtol=1e-6, atol=1e-5)
        found = np.where(within, visits, 0)
        np.testing.assert_allclose(found, expected.visits.transpose(2, 0, 1), atol=2e-6)

    def test_two_runs_are_equal(self, rng):
        costs = self.costs(rng, (4, 140, 60), "real")
        gammas = np.ones(4, np.float32)
        run = functools.partial(soft_strips.value, model=plain(), forbids=False, visits=True)
        run = jax.jit(functools.partial(run, interpret=self.interpret))
        first, second = run(costs, gammas, None), run(costs, gammas, None)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)


class TestInterpreted(StripsSuite):
    pass


class SeveralWarps(warp.Warp):
    """Four warps in a vector, as on Mosaic; where strips wait, all four are of one strip."""

    warps_of_strip = 0  # of the kernel that is traced

    def _lanes(self):
        thread = jnp.arange(4 * warp.LANES, dtype=jnp.int32)
        self._number = thread // warp.LANES
        return thread % warp.LANES

    def from_above(self, vector):
        return vector[jnp.maximum(jnp.arange(4 * warp.LANES) - 1, 0)]

    def from_below(self, vector):
        return vector[jnp.minimum(jnp.arange(4 * warp.LANES) + 1, 4 * warp.LANES - 1)]

    def store_one(self, ref, index, vector, lane, when):
        self.store_where(ref, index, vector, when & (self.lane == lane))

    def program(self, count):
        return jnp.minimum(4 * super().program(count) + self._number, count - 1)

    def ticket(self, counts, count):
        blocks = -(-self.warps_of_strip // 4)
        strip, block = jnp.divmod(super().program(count), blocks)
        within = jnp.minimum(4 * block + self._number, self.warps_of_strip - 1)
        return strip * self.warps_of_strip + within

    @classmethod
    def call(cls, kernel, *operands, programs, initial=(), **options):
        layout = kernel.keywords["layout"]
        cls.warps_of_strip = layout.warps
        blocks = layout.strips * -(-layout.warps // 4) if initial else -(-programs // 4)
        return launch.call(kernel, *operands, grid=(blocks,), initial=initial, **options)


@pytest.fixture
def several_warps(monkeypatch):
    monkeypatch.setattr(launch, "warp", lambda group, interpret: SeveralWarps(group))
    monkeypatch.setattr(launch, "call_warps", SeveralWarps.call)


@pytest.mark.slow
@pytest.mark.usefixtures("several_warps")
class TestSeveralWarps(StripsSuite):
    """A number for each warp instead of one for the program, and warps that are too many."""


@pytest.mark.usefixtures("several_warps")
@pytest.mark.parametrize("size", [(5, 70, 9), (70, 3, 4)], ids=str)
def test_several_warps(size, rng):
    """The least of it that runs by default: two strips, and pairs side by side."""
    StripsSuite().test_hard(size, "ties", True, True, rng)
    StripsSuite().test_soft(size, 1.0, True, True, rng)


@pytest.mark.gpu
class TestOnCard(StripsSuite):
    interpret = False

    @pytest.mark.usefixtures("our_modes")
    @pytest.mark.parametrize(
        "size", [(3, 1000, 1100), (200, 300, 260), (5000, 8, 8), (1, 4000, 4000)], ids=str
    )
    def test_many_strips(self, size, rng):
        """Against XLA, which the loops have checked."""
        costs, ends = self.costs(rng, size, "real"), self.ends(rng, size)
        last_row, last_column = (end[None, None] for end in ends)
        described = model.Model(*model.dtw(True), soft=True)
        lanes = jnp.asarray(costs).transpose(1, 2, 0)
        run = functools.partial(soft_strips.value, model=plain(), forbids=False, visits=True)
        found, visits = run(costs, np.full(size[0], 0.3, np.float32), ends, interpret=False)
        inside = jnp.arange(size[1])[:, None, None] <= last_row
        inside &= jnp.arange(size[2])[None, :, None] <= last_column
        expected = soft.gibbs(
            described, jnp.where(inside, lanes, 0), hard.Ends(*ends), None, jnp.float32(0.3)
        )
        np.testing.assert_allclose(found, expected.value, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(visits, expected.visits.transpose(2, 0, 1), atol=1e-5)
        value, rows = hard_strips.value(costs, None, model=plain(), paths=True, interpret=False)
        path = hard.path(described.replace(soft=False), lanes, None, None)
        np.testing.assert_array_equal(value, path.value)
        np.testing.assert_array_equal(rows, path.rows)


@pytest.mark.gpu
class TestOnCardByMosaic(TestOnCard):
    @pytest.fixture(autouse=True)
    def by_mosaic(self):
        with launch.backend("mosaic"):
            if launch.no_warps() is not None:
                pytest.skip(launch.no_warps())
            yield


def test_the_environment_chooses_a_backend(monkeypatch):
    monkeypatch.delenv("TEMPALIGN_GPU_BACKEND", raising=False)
    assert launch.backend_of_warps() == "triton"
    monkeypatch.setattr(on_triton, "missing", lambda: "no Triton")
    assert launch.backend_of_warps() == "mosaic"
    monkeypatch.setenv("TEMPALIGN_GPU_BACKEND", "triton")
    assert launch.no_warps() == "no Triton"
    with launch.backend("mosaic"):
        assert launch.backend_of_warps() == "mosaic"
    monkeypatch.setenv("TEMPALIGN_GPU_BACKEND", "cuda")
    with pytest.raises(ValueError, match="TEMPALIGN_GPU_BACKEND is 'cuda'; .*triton, mosaic"):
        launch.backend_of_warps()


@pytest.mark.parametrize("pairs", [5, 7, 10, 11, 101])
def test_pairs_are_cut_into_chunks_of_one_size(pairs, monkeypatch):
    """A chunk more, filled up with copies, doubled the work of 10,000 pairs."""
    most, sizes = 5, []
    monkeypatch.setattr(alignment, "_AT_ONCE", most * Layout(1, 8, 8).size)

    def solve(problem):
        sizes.append(len(problem.costs))
        return [problem.costs[:, 0, 0]]

    costs = jnp.broadcast_to(jnp.arange(pairs, dtype=jnp.float32)[:, None, None], (pairs, 8, 8))
    (found,) = alignment._by_chunk(solve, alignment._Problem(costs, None, None, None))
    np.testing.assert_array_equal(found, np.arange(pairs))
    chunks = -(-pairs // sizes[0])
    assert sizes[0] <= 1.5 * most and chunks * sizes[0] - pairs < chunks


@pytest.mark.parametrize("lengths", [False, True])
def test_costs_that_the_exponents_do_not_hold(lengths, rng):
    """Those pairs are XLA's, bit by bit, and the others as if they were alone."""
    costs = rng.normal(size=(3, 6, 5)).astype(np.float32) ** 2
    costs[1] *= np.float32(1e9)
    costs[2, 0, 0] = np.inf
    given = {"x_lengths": np.array([6, 5, 3]), "y_lengths": np.array([4, 5, 5])} if lengths else {}

    def run(costs, implementation, **given):
        def values(costs):
            return tempalign.soft_dtw_from_cost(costs, 0.1, implementation=implementation, **given)

        found, pull = jax.vjp(values, costs)
        return found, pull(jnp.ones_like(found))[0]

    found, slopes = jax.jit(run, static_argnums=1)(costs, "pallas_interpret", **given)
    for k in (1, 2):
        value, slope = run(costs, "xla", **given)
        np.testing.assert_array_equal(found[k], value[k])
        np.testing.assert_array_equal(slopes[k], slope[k])
    alone = {name: of[:1] for name, of in given.items()}
    value, slope = run(costs[:1], "pallas_interpret", **alone)
    np.testing.assert_array_equal(found[0], value[0])
    np.testing.assert_array_equal(slopes[0], slope[0])
