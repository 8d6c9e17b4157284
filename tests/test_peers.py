"""Values against other libraries, in float64, wherever one of them computes the same thing.

dtaidistance has the penalty and ends relaxed by counts, tslearn subsequences and Itakura's
parallelogram, aeon the amerced DTW, the band and another parallelogram, dtw-python step patterns
and open ends, ddtw soft alignments of subsequences and their gradients.
"""

import chex
import numpy as np
import pytest

import tempalign

pytestmark = pytest.mark.usefixtures("x64")

# Univariate and multivariate.
FEATURES = pytest.mark.parametrize("features", [1, 3])


def sequences(n, m, features, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, features)), random.normal(size=(m, features))


def agrees(got, expected):
    chex.assert_equal(got.dtype, np.dtype("float64"))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


# dtaidistance: psi is (begin x, end x, begin y, end y); the penalty is squared, and of the sum of
# squares it takes the root.
@FEATURES
@pytest.mark.parametrize(
    ("psi", "penalty"),
    [((0, 0, 0, 0), 0.8), ((2, 0, 0, 3), 0), ((1, 2, 3, 1), 0.8), ((0, 0, 9, 4), 0)],
)
def test_dtaidistance(psi, penalty, features):
    dtaidistance = pytest.importorskip("dtaidistance.dtw")
    many = pytest.importorskip("dtaidistance.dtw_ndim")
    x, y = sequences(6, 10, features)
    if features == 1:
        expected = dtaidistance.distance(x[:, 0], y[:, 0], psi=psi, penalty=penalty)
    else:
        expected = many.distance(x, y, psi=psi, penalty=penalty)
    options = {"open_begin": (psi[0], psi[2]), "open_end": (psi[1], psi[3])}
    agrees(tempalign.dtw(x, y, penalty=penalty**2, **options), expected**2)


@FEATURES
def test_tslearn_subsequence(features):
    metrics = pytest.importorskip("tslearn.metrics")
    x, y = sequences(5, 14, features, seed=1)
    path, distance = metrics.dtw_subsequence_path(x, y)
    options = {"open_begin": "y", "open_end": "y"}
    agrees(tempalign.dtw(x, y, **options), distance**2)
    found = tempalign.dtw_path(x, y, **options)
    np.testing.assert_array_equal(found.pairs[: found.num_pairs], path)
    best = tempalign.subsequence_matches(x, y)
    assert (int(best.start[0]), int(best.end[0])) == (path[0][1], path[-1][1])
    agrees(best.distance[0], distance**2)


# tslearn scales its slopes by n / m where ours are relative to the line between the corners,
# (n - 1) / (m - 1), and rounds the lines to two decimals: on squares the two agree.
@pytest.mark.one_in(4)
@pytest.mark.one_in(4)
@FEATURES
@pytest.mark.parametrize(("n", "slope"), [(5, 1.0), (8, 1.5), (11, 2.0), (12, 3.0)])
def test_tslearn_itakura(n, slope, features):
    metrics = pytest.importorskip("tslearn.metrics")
    x, y = sequences(n, n, features, seed=2)
    expected = metrics.dtw(x, y, global_constraint="itakura", itakura_max_slope=slope)
    agrees(tempalign.dtw(x, y, max_slope=slope), expected**2)


# aeon has channels first. Its band is given as a share of the length; only on squares is it the
# one of slope-adjusted radius.
@FEATURES
def test_aeon_amerced(features):
    distances = pytest.importorskip("aeon.distances")
    x, y = sequences(7, 9, features, seed=3)
    for penalty in (0.1, 1.0, 4.0):
        expected = distances.adtw_distance(x.T, y.T, warp_penalty=penalty)
        agrees(tempalign.dtw(x, y, penalty=penalty), expected)


@FEATURES
@pytest.mark.parametrize("band", [0, 2])
def test_aeon_band(band, features):
    distances = pytest.importorskip("aeon.distances")
    x, y = sequences(10, 10, features, seed=4)
    expected = distances.adtw_distance(x.T, y.T, window=(band + 0.5) / 10, warp_penalty=0.3)
    agrees(tempalign.dtw(x, y, band=band, penalty=0.3), expected)


# aeon's slope is a share of the length, and its parallelogram another one than ours: as a mask it
# is compared all the same.
@FEATURES
@pytest.mark.parametrize(("n", "m", "slope"), [(10, 10, 0.2), (12, 12, 0.5), (9, 12, 0.4)])
def test_aeon_itakura(n, m, slope, features):
    distances = pytest.importorskip("aeon.distances")
    x, y = sequences(n, m, features, seed=7)
    region = distances.create_bounding_matrix(n, m, itakura_max_slope=slope)
    assert not np.all(region)
    for penalty in (0.0, 0.3):
        expected = distances.adtw_distance(x.T, y.T, itakura_max_slope=slope, warp_penalty=penalty)
        agrees(tempalign.dtw(x, y, mask=region, penalty=penalty), expected)


# dtw-python counts reference frames along y. Its "sakoechiba" window is |i - j| <= size, ours on
# squares.
@FEATURES
@pytest.mark.parametrize(("pattern", "weights"), [("symmetric1", None), ("symmetric2", (1, 1, 2))])
@pytest.mark.parametrize("size", [None, 2])
def test_dtw_python_patterns(size, pattern, weights, features):
    peer = pytest.importorskip("dtw")
    x, y = sequences(9, 9 if size else 12, features, seed=5)
    window = {"window_type": "sakoechiba", "window_args": {"window_size": size}} if size else {}
    found = peer.dtw(x, y, step_pattern=pattern, **window)
    options = {"cost": "euclidean", "move_weights": weights, "band": size}
    agrees(tempalign.dtw(x, y, **options), found.distance)
    path = tempalign.dtw_path(x, y, **options)
    pairs = np.stack([found.index1, found.index2], axis=-1)
    np.testing.assert_array_equal(path.pairs[: path.num_pairs], pairs)


# dtw-python opens ends in y only, and only for patterns normalised by the length of x, in which
# every frame of x counts once: the step along y must cost nothing.
@FEATURES
@pytest.mark.parametrize("begin", [None, "y"])
@pytest.mark.parametrize("end", [None, "y"])
def test_dtw_python_open_ends(end, begin, features):
    peer = pytest.importorskip("dtw")
    steps = [[1, 1, 1, -1], [1, 0, 0, 1], [2, 0, 1, -1], [2, 0, 0, 0], [3, 1, 0, -1], [3, 0, 0, 1]]
    pattern = peer.StepPattern(np.array(steps, float), "N")
    x, y = sequences(6, 13, features, seed=6)
    found = peer.dtw(
        x, y, step_pattern=pattern, open_begin=begin is not None, open_end=end is not None
    )
    options = {"open_begin": begin, "open_end": end, "move_weights": (1, 0, 1)}
    agrees(tempalign.dtw(x, y, cost="euclidean", **options), found.distance)


# ddtw (PyTorch; extra peers-torch): its subsequence form leaves at least two frames of y.
@pytest.mark.parametrize("gamma", [0.1, 2.0])
@pytest.mark.parametrize("sides", [(False, True), (True, False), (True, True)])
@FEATURES
def test_ddtw_subsequence(features, sides, gamma):
    torch = pytest.importorskip("torch")
    ddtw = pytest.importorskip("ddtw")
    n, m = 6, 9
    x, y = sequences(n, m, features, seed=5)
    cost = np.square(x[:, None] - y[None]).sum(-1)
    sub_x, sub_y = sides
    matrix = torch.tensor(cost[None], requires_grad=True)
    loss = ddtw.subSDTW(
        gamma=gamma,
        normalization="none",
        backend="torch",
        dtype_float=torch.float64,
        sub_X=sub_x,
        sub_Y=sub_y,
        compensate_subseq=False,
    )(C=matrix)
    loss.backward()
    ends = (n - 2 if sub_x else 0, m - 2 if sub_y else 0)
    options = {"open_begin": ends, "open_end": ends}
    agrees(tempalign.soft_dtw(x, y, gamma, **options), loss.item())
    expected = matrix.grad[0].numpy()
    np.testing.assert_allclose(
        tempalign.soft_dtw_alignment(x, y, gamma, **options), expected, rtol=1e-6, atol=1e-9
    )
