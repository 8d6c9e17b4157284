"""Every wrong argument of the public functions: one clear error that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

X = np.zeros((4, 6, 3), np.float32)
Y = np.zeros((4, 5, 3), np.float32)
W = np.ones((4, 5, 3), np.float32)
SERIES = np.zeros((2, 4, 6, 3), np.float32)


def dtw(x=X, y=Y, **options):
    return tempalign.dtw(x, y, **options)


def weighted(x=X, y=Y, w=W, **options):
    return tempalign.weighted_dtw(x, y, w, **options)


def from_cost(cost=X, **options):
    return tempalign.dtw_from_cost(cost, **options)


def soft(x=X, y=Y, gamma=1.0, **options):
    return tempalign.soft_dtw(x, y, gamma, **options)


def tam(query=X, support=Y, gamma=0.1, **options):
    return tempalign.tam_distance(query, support, gamma, **options)


def tam_from_cost(cost=X, gamma=0.1, **options):
    return tempalign.tam_distance_from_cost(cost, gamma, **options)


def dba(series=SERIES, **options):
    return tempalign.dba(series, **options)


def resample(series=X, length=3, **options):
    return tempalign.resample(series, length, **options)


VIDEO = np.zeros((8, 4, 6, 3), np.float32)


def time_layer(frames=VIDEO, n=2, num_frames=2, **options):
    return tempalign.time_layer(frames, n, num_frames=num_frames, **options)


CASES = [
    # shapes
    (dtw, {"x": X[0, 0]}, ValueError, r"x must have shape \[..., T, F\].* got \(3,\)"),
    (dtw, {"y": Y[:, :0]}, ValueError, r"y must have at least one frame .* got shape \(4, 0, 3\)"),
    (dtw, {"x": X[..., :2]}, ValueError, r"same number of features .* x \(4, 6, 2\) and y"),
    (dtw, {"x": X[:3]}, ValueError, r"leading axes do not broadcast: x \(3,\), y \(4,\)"),
    (dtw, {"x_lengths": np.ones(3, int)}, ValueError, r"do not broadcast: x \(4,\), x_lengths"),
    (weighted, {"w": W[:, :2]}, ValueError, r"do not broadcast: centroid .* weight \(4, 2, 3\)"),
    (weighted, {"x": X[0, 0]}, ValueError, r"x must have shape"),
    (weighted, {"y": Y[0, 0]}, ValueError, r"centroid must have shape"),
    (weighted, {"path_from": Y}, ValueError, r"path_from must be a pair"),
    (weighted, {"path_from": (Y[:2], None)}, ValueError, r"path_from must have the shape"),
    (weighted, {"path_precision": "bf16"}, ValueError, r"path_precision must be .* got 'bf16'"),
    (from_cost, {"cost": X[0, 0]}, ValueError, r"cost_matrix must have shape \[..., n, m\]"),
    (dba, {"series": X[0]}, ValueError, r"series must have shape \[..., N, T, F\]"),
    (dba, {"init": X[0]}, ValueError, r"init must have shape \(2, 6, 3\).* got \(6, 3\)"),
    (dba, {"weights": np.ones(3, np.float32)}, ValueError, r"weights"),
    (resample, {"series": X[0, 0]}, ValueError, r"series must have shape"),
    # dtypes
    (dtw, {"x": X.astype(int)}, TypeError, r"x must be a floating-point array, got dtype int"),
    (dtw, {"y": Y.astype(complex)}, TypeError, r"y must be a floating-point .* complex"),
    (weighted, {"w": W.astype(int)}, TypeError, r"weight must be a floating-point"),
    (from_cost, {"cost": X.astype(int)}, TypeError, r"cost_matrix must be a floating-point"),
    (dba, {"series": SERIES.astype(int)}, TypeError, r"series must be a floating-point"),
    # lengths
    (dtw, {"x_lengths": np.array([0, 1, 2, 3])}, ValueError, r"x_lengths must lie within 1..6"),
    (dtw, {"y_lengths": 6}, ValueError, r"y_lengths must lie within 1..5 .* from 6 to 6"),
    (dtw, {"x_lengths": 2.0}, TypeError, r"x_lengths must be integers, got dtype float64"),
    (weighted, {"x_lengths": 7}, ValueError, r"x_lengths must lie within 1..6"),
    (weighted, {"centroid_lengths": 0}, ValueError, r"centroid_lengths must lie within 1..5"),
    (from_cost, {"y_lengths": 4}, ValueError, r"y_lengths must lie within 1..3"),
    (dba, {"lengths": 7}, ValueError, r"lengths must lie within 1..6"),
    (resample, {"lengths": 7}, ValueError, r"lengths must lie within 1..6"),
    # options
    (dtw, {"cost": "l2"}, ValueError, r"cost must be one of sqeuclidean, .* got 'l2'"),
    (dtw, {"band": -1}, ValueError, r"band must be >= 0 .* got -1"),
    (dtw, {"band": 1.5}, TypeError, r"band must be a Python integer or None, got 1.5"),
    (dtw, {"implementation": "cuda"}, ValueError, r"implementation must be None or among"),
    (dtw, {"implementation": []}, ValueError, r"implementation must be None or among"),
    (
        dtw,
        {"implementation": "pallas"},
        NotImplementedError,
        r"dtw cannot run on pallas: .*it needs a GPU",
    ),
    (
        weighted,
        {"implementation": "pallas"},
        NotImplementedError,
        r"weighted_dtw cannot run on pallas.* needs a GPU",
    ),
    # TAM
    (tam, {"query": X[0, 0]}, ValueError, r"query must have shape \[..., T, F\]"),
    (tam, {"support": Y.astype(int)}, TypeError, r"support must be a floating-point"),
    (tam, {"query": X[..., :2]}, ValueError, r"same number of features .* query .* support"),
    (tam, {"query_lengths": 7}, ValueError, r"query_lengths must lie within 1..6"),
    (tam, {"boundary": "free"}, ValueError, r"boundary must be one of paper, edge, got 'free'"),
    (tam, {"symmetric": 1}, TypeError, r"symmetric must be True or False, got 1"),
    (tam, {"cosine_damping": -0.1}, ValueError, r"cosine_damping must be a finite .* got -0.1"),
    (tam, {"cosine_damping": 0.1, "cost": "euclidean"}, ValueError, r"cosine_damping is for cost="),
    (tam, {"cost": "l2"}, ValueError, r"cost must be one of sqeuclidean, .* got 'l2'"),
    (tam, {"gamma": -1.0}, ValueError, r"gamma must be positive"),
    (tam_from_cost, {"cost": X[0, 0]}, ValueError, r"cost_matrix must have shape \[..., n, m\]"),
    (tam_from_cost, {"boundary": None}, ValueError, r"boundary must be one of .* got None"),
    (tam_from_cost, {"support_lengths": 4}, ValueError, r"support_lengths must lie within 1..3"),
    # TIME layer
    (time_layer, {"frames": VIDEO[0]}, ValueError, r"frames must have shape .* got \(4, 6, 3\)"),
    (time_layer, {"frames": VIDEO[:0]}, ValueError, r"frames must have shape .* no empty axis"),
    (time_layer, {"frames": VIDEO > 0}, TypeError, r"frames must be floating .* got dtype bool"),
    (time_layer, {"frames": VIDEO * 1j}, TypeError, r"frames must be floating .* got .* complex"),
    (
        time_layer,
        {"frames": VIDEO.astype(np.int32)},
        TypeError,
        r"at most 16 bits, got dtype int32",
    ),
    (time_layer, {"n": 0}, ValueError, r"n must be >= 1, got 0"),
    (time_layer, {"n": 2.0}, TypeError, r"n must be a Python integer, got 2.0"),
    (time_layer, {"n": 4}, ValueError, r"size \(that of frames.* divisible by n=4, got \(4, 6\)"),
    (time_layer, {"size": (5, 6)}, ValueError, r"size must be divisible by n=2, got \(5, 6\)"),
    (time_layer, {"size": 4}, ValueError, r"size must be \(height, width\) or None, got 4"),
    (time_layer, {"size": (4, 0)}, ValueError, r"size must be >= 1, got 0"),
    (time_layer, {"num_frames": 0}, ValueError, r"num_frames must be >= 1, got 0"),
    (time_layer, {"num_frames": 11586}, ValueError, r"num_frames \* n\*\*2 must be at most 46340"),
    (time_layer, {"arrangement": "rows"}, ValueError, r"arrangement must be one of spatial, temp"),
    (time_layer, {"lengths": 9}, ValueError, r"lengths must lie within 1..8"),
    # gamma
    (soft, {"gamma": -1.0}, ValueError, r"gamma must be positive and finite, .* got -1.0"),
    (soft, {"gamma": np.nan}, ValueError, r"gamma must be positive and finite, .* got nan"),
    (soft, {"gamma": np.inf}, ValueError, r"gamma must be positive and finite, .* got inf"),
    (soft, {"gamma": np.ones(4)}, ValueError, r"gamma must be a real scalar, got shape \(4,\)"),
    (soft, {"gamma": 1j}, ValueError, r"gamma must be a real scalar, .* complex"),
    (soft, {"gamma": True}, ValueError, r"gamma must be a real scalar, .* bool"),
    (soft, {"x": X.astype(int)}, TypeError, r"x must be a floating-point"),
    (soft, {"checkpoint": 1}, TypeError, r"checkpoint must be True or False, got 1"),
    (soft, {"checkpoint": True, "gamma": 0}, ValueError, r"checkpoint needs gamma > 0"),
    (soft, {"band": -1}, ValueError, r"band must be >= 0"),
    (resample, {"length": 0}, ValueError, r"num_frames must be >= 1, got 0"),
    (resample, {"length": 2.0}, TypeError, r"num_frames must be a Python integer, got 2.0"),
    (dba, {"num_iters": 0}, ValueError, r"num_iters must be >= 1, got 0"),
    (dba, {"length": 0}, ValueError, r"length must be >= 1, got 0"),
    (dba, {"weights": -np.ones((2, 4), np.float32)}, ValueError, r"weights must be finite and >="),
    (dba, {"weights": np.float32([[0] * 4, [1] * 4])}, ValueError, r"all 0 .* index \(0,\)"),
]


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    CASES,
    ids=[f"{case[0].__name__}-{next(iter(case[1]))}-{i}" for i, case in enumerate(CASES)],
)
def test_bad_input(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(**arguments)


def test_a_sequence_of_implementations_is_tried_in_order():
    assert tempalign.dtw(X, Y, implementation=("pallas", "xla")).shape == (4,)
    assert "xla" in tempalign.explain("dtw", implementation=("pallas", "xla"))
    with pytest.raises(ValueError, match="function must be one of"):
        tempalign.explain("dwt")


def test_traced_lengths_out_of_range_give_nan():
    lengths = jnp.array([0, 1, 6, 7])
    values = jax.jit(lambda n: tempalign.dtw(X, Y, x_lengths=n))(lengths)
    np.testing.assert_array_equal(np.isnan(values), [True, False, False, True])
    averaged = jax.jit(lambda n: tempalign.dba(SERIES, lengths=n))(jnp.array([[6], [7]]))
    np.testing.assert_array_equal(np.isnan(averaged).all((1, 2)), [False, True])
    resampled = jax.jit(lambda n: tempalign.resample(X, 3, lengths=n))(lengths)
    np.testing.assert_array_equal(np.isnan(resampled).any((1, 2)), [True, False, False, True])
