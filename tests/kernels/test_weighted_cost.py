"""The costs on kernels: which program computes what, and what comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempalign.kernels.gpu import launch, specs, weighted_cost
from tempalign.kernels.gpu.cost_plan import plan

CORES = 132


def of_dejavid(spec, form):
    sizes = spec.num_classes * spec.num_steps, spec.batch * spec.num_frames
    tiles = tuple(-(-size // tile) for size, tile in zip(sizes, form.tile, strict=True))
    return plan(form, tiles, -(-spec.num_features // 16), CORES)


@pytest.mark.parametrize("spec", specs.DEJAVID.values(), ids=specs.DEJAVID)
def test_waves_are_full(spec):
    form = weighted_cost._SINGLE
    how = of_dejavid(spec, form)
    slots = CORES * form.programs
    waves = -(-how.whole // slots), -(-how.divided * how.parts // slots)
    length = waves[0] * how.stretches + waves[1] * how.part_stretches
    share = how.bands * how.across * how.stretches / slots
    assert share / length >= 0.93
    assert how.cycles(form, CORES) <= how._replace(
        whole_bands=how.bands, parts=1, part_stretches=how.stretches
    ).cycles(form, CORES)


@pytest.mark.parametrize(
    ("tiles", "stretches", "cores"),
    [
        ((1, 1), 1, CORES),
        ((2, 1), 2, CORES),
        ((3, 5), 29, CORES),
        ((25, 13), 113, CORES),
        ((25, 13), 113, 108),
        ((40, 1), 29, 7),
        ((3, 5), 113, 1),
    ],
)
def test_every_sum_is_computed_and_written_once(monkeypatch, tiles, stretches, cores):
    how = plan(weighted_cost._SINGLE, tiles, stretches, cores)
    monkeypatch.setattr(launch, "program", lambda axis: jnp.arange(how.programs))
    row, column, part, (first, end) = weighted_cost._task(how)
    end = jnp.broadcast_to(end, row.shape)
    done = np.zeros((*tiles, stretches), int)
    written = np.zeros((how.written_bands, how.across), int)
    for r, c, p, start, stop in np.stack([row, column, part, first, end], 1):
        assert start < stop
        done[r, c, start:stop] += 1
        written[r + p * (how.bands - how.whole_bands), c] += 1
    assert (done == 1).all() and (written == 1).all()


def reference(x, centroid, weight):
    columns = x.transpose(1, 0, 2).reshape(-1, x.shape[-1]).astype(float)
    rows, weights = (a.reshape(-1, a.shape[-1]).astype(float) for a in (centroid, weight))
    return np.stack([np.abs(row - columns) @ w for row, w in zip(rows, weights, strict=True)])


def check(shape, half, rng):
    classes, steps, samples, frames, features = shape
    x = rng.normal(size=(samples, frames, features)).astype(np.float32)
    centroid = rng.normal(size=(classes, steps, features)).astype(np.float32)
    weight = rng.random((classes, steps, features), np.float32)
    expected = reference(x, centroid, weight)
    with launch.poison():
        found = jax.jit(weighted_cost.forward, static_argnames=("interpret", "half"))(
            *(x, centroid, weight), interpret=True, half=half
        )
    found = np.asarray(found)[: expected.shape[0], : expected.shape[1]]
    np.testing.assert_allclose(found, expected, rtol=5e-3 if half else 1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_tiles_that_are_divided_and_tiles_that_are_not(monkeypatch, half):
    form = weighted_cost._INTERPRETED
    monkeypatch.setattr(launch, "cores", lambda: 1)
    how = plan(form, (3, 1), -(-301 // (32 if half else 16)), 1)
    assert how.whole == 2 and how.divided == 1 and how.parts > 1
    check((5, 8, 3, 5, 301), half, np.random.default_rng(0))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("half", [False, True])
def test_the_block_that_a_card_computes(monkeypatch, half):
    form = weighted_cost._HALF if half else weighted_cost._SINGLE
    monkeypatch.setattr(weighted_cost, "_INTERPRETED", form)
    check((3, 5, 7, 4, 75), half, np.random.default_rng(1))


def test_too_many():
    assert not weighted_cost.too_many(3200, 1584)
    assert weighted_cost.too_many(2**16, 2**15)
    assert weighted_cost.too_many(2**27, 1)
