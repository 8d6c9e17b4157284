"""Path options reach the alignments of both barycenters, the barycenter being their x."""

import jax
import numpy as np
import pytest

import tempalign

RANDOM = np.random.default_rng(0)
SERIES = np.cumsum(RANDOM.normal(size=(2, 4, 9, 2)), axis=2).astype(np.float32)
LENGTHS = np.array([[9, 7, 9, 5], [9, 9, 8, 6]])
MASK = abs(np.arange(7)[:, None] - np.arange(9) * 6 / 8) < 3.1

OPTIONS = [
    {"penalty": 0.3},
    {"move_weights": (1, 1, 2)},
    {"band": 3, "max_slope": 2.5},
    {"mask": MASK},
    {"open_begin": "y", "open_end": (2, 1)},
    {"mask": MASK, "penalty": 0.1, "move_weights": (2.0, 0.5, 1.5), "open_end": "x"},
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_dba(options):
    found = tempalign.dba(SERIES, length=7, num_iters=8, return_objective=True, **options)
    assert np.all(np.diff(found.objective, axis=-1) <= 1e-5)
    assert np.all(np.isfinite(found.center))
    values = tempalign.dtw(found.center[:, None], SERIES, **options)
    np.testing.assert_allclose(found.objective[:, -1], values.sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(found.converged, found.objective[:, -1] == found.objective[:, -2])


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(one, marks=pytest.mark.slow) for one in OPTIONS[1:-1]),
        OPTIONS[0],
        OPTIONS[-1],
    ],
    ids=lambda options: "-".join(options),
)
def test_soft_barycenter(options):
    options = {**options, "lengths": LENGTHS} if "mask" not in options else options
    found = tempalign.soft_dtw_barycenter(
        SERIES, 0.5, length=7, num_iters=6, return_objective=True, **options
    )
    lengths = options.pop("lengths", None)
    values = tempalign.soft_dtw(found.center[:, None], SERIES, 0.5, y_lengths=lengths, **options)
    expected = (np.asarray(values) / (9 if lengths is None else lengths)).sum(-1)
    np.testing.assert_allclose(found.objective[:, -1], expected, rtol=1e-5)
    assert np.all(found.objective[:, -1] < found.objective[:, 0])


def test_what_no_frame_is_aligned_with_stays_where_it_is():
    start = np.linspace(-50, 50, 5, dtype=np.float32)[:, None]
    series = np.zeros((3, 1, 1), np.float32)  # one frame, at 0: only the step there is wanted
    found = tempalign.dba(series, init=start, open_begin="x", open_end="x")
    np.testing.assert_array_equal(found, start)
    found = tempalign.dba(series + 1, init=start, open_begin="x", open_end="x")
    np.testing.assert_array_equal(found[:, 0], [-50, -25, 1, 25, 50])


def test_options_may_be_traced():
    penalty = jax.jit(lambda p: tempalign.dba(SERIES, num_iters=3, penalty=p))
    np.testing.assert_allclose(
        penalty(0.3), tempalign.dba(SERIES, num_iters=3, penalty=0.3), rtol=1e-5
    )
    assert np.all(np.isnan(penalty(-1.0)))


def test_options_are_checked():
    for average in (tempalign.dba, tempalign.soft_dtw_barycenter):
        with pytest.raises(ValueError, match=r"mask must have shape \[..., 7, 9\]"):
            average(SERIES, length=7, mask=MASK.T)
        with pytest.raises(ValueError, match="mask leaves no path"):
            average(SERIES, length=7, mask=MASK & (np.arange(9) != 4))
        with pytest.raises(ValueError, match="band=0 is too narrow"):
            average(SERIES, length=3, band=0)
