"""What users pass as arrays: read, or refused by name; float64 that float32 cannot hold."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign
from tempalign import heads

X = np.array([[1.0], [2.0], [4.0]], np.float32)
Y = np.array([[1.0], [3.0]], np.float32)

OBJECTS = np.array([[1.0, 2.0], ["3", 4.0]], object)
RAGGED = np.empty(2, object)
RAGGED[:] = [X, X[:2]]


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f8", np.longdouble, jnp.bfloat16])
def test_every_real_dtype_and_byte_order(dtype):
    x, y = X.astype(dtype), Y.astype(dtype)
    assert float(tempalign.dtw(x, y)) == float(tempalign.dtw(X, Y))
    assert float(tempalign.dtw(x[None], y[None], x_lengths=np.array([3], ">i4"))[0]) == 2.0


def test_lists_traced_or_not():
    nested = X.tolist()
    assert float(tempalign.dtw(nested, Y)) == float(tempalign.dtw(X, Y))
    found = jax.jit(lambda a, b: tempalign.dtw([[a], [b]], Y))(1.0, 3.0)
    assert float(found) == 0.0


CALLS = {
    "dtw": lambda value: tempalign.dtw(value, Y),
    "soft_dtw": lambda value: tempalign.soft_dtw(value, Y),
    "soft_dtw_divergence": lambda value: tempalign.soft_dtw_divergence(value, Y),
    "align": lambda value: tempalign.align(value, Y),
    "warp": lambda value: tempalign.warp(value, Y),
    "dtw_from_cost": lambda value: tempalign.dtw_from_cost(value),
    "tam_distance": lambda value: tempalign.tam_distance(value, Y),
    "weighted_dtw": lambda value: tempalign.weighted_dtw(value, Y, Y),
    "subsequence_matches": lambda value: tempalign.subsequence_matches(value, X, 1),
    "dba": lambda value: tempalign.dba(value),
    "soft_dtw_barycenter": lambda value: tempalign.soft_dtw_barycenter(value),
    "resample": lambda value: tempalign.resample(value, 3),
    "smoothness": lambda value: tempalign.smoothness(value),
    "time_layer": lambda value: tempalign.time_layer(value, 2, num_frames=1),
}


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, r"must be an array, got None"),
        ([X, X[:2]], ValueError, r"is a list of arrays of different lengths; .*tempalign.pad"),
        (RAGGED, ValueError, r"is a list of arrays of different lengths; .*tempalign.pad"),
        (OBJECTS, TypeError, r"must consist of numbers, got dtype object with an entry '3'"),
        (np.array([["a"]]), TypeError, r"must consist of numbers, got dtype <U1"),
        (np.zeros((3, 1), "datetime64[s]"), TypeError, r"must consist of numbers, got dtype dat"),
        (np.ma.masked_less(X, 2), TypeError, r"has masked entries"),
    ],
)
def test_what_is_not_an_array_of_numbers(function, value, error, message):
    with pytest.raises(error, match=r"^\w+ " + message):
        CALLS[function](value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tempalign.dtw(X, Y, penalty=None), "penalty must be an array, got None"),
        (lambda: tempalign.dtw(X, Y, mask=OBJECTS), "mask must consist of numbers"),
        (lambda: tempalign.dtw(X, Y, x_lengths=[None]), "x_lengths must consist of numbers"),
        (lambda: tempalign.dtw(X, Y, move_weights=[1, 1, "2"]), "move_weights must consist"),
        (lambda: tempalign.soft_dtw(X, Y, "0.1"), "gamma must consist of numbers"),
        (lambda: tempalign.dba(X[None], weights=["1"]), "weights must consist of numbers"),
        (lambda: tempalign.time_layer(np.ones((4, 8, 8, 3)), 2, num_frames=1, size=8), "size must"),
        (lambda: heads.TimeClassifier(len, 2, num_frames=2, size=8), "size must be .height, width"),
        (lambda: heads.TimeClassifier(len, 2, num_frames=2, size=(8, 7)), "size must be divisible"),
    ],
)
def test_other_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def caught(call):
    """The values and the warnings of a call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        value = call()
    return value, [str(one.message) for one in found]


def test_float64_that_float32_cannot_tell_apart():
    """Seconds since 1970: in float32 two series ten seconds apart were at distance 0."""
    seconds = 1.6e9 + np.arange(5.0)[:, None]
    _, said = caught(lambda: tempalign.dtw(seconds, seconds + 10))
    assert len(said) == 2 and all("is float64 and computed in float32" in one for one in said)
    assert said[0].startswith("x ") and said[1].startswith("y ")
    jax.config.update("jax_enable_x64", True)
    try:
        exact, said = caught(lambda: tempalign.dtw(seconds, seconds + 10))
    finally:
        jax.config.update("jax_enable_x64", False)
    assert float(exact) == 500.0 and not said
    # One feature of many, padding, and what is beyond float32.
    many = np.concatenate([np.random.default_rng(0).normal(size=(5, 3)), seconds], axis=-1)
    assert len(caught(lambda: tempalign.dtw(many, np.zeros((5, 4))))[1]) == 1
    padded = np.where(np.arange(5)[:, None] < 3, seconds, np.nan)
    assert len(caught(lambda: tempalign.resample(padded, 2, lengths=3))[1]) == 1
    assert len(caught(lambda: tempalign.resample(1e39 * np.arange(3.0)[:, None], 2))[1]) == 1


def test_what_is_lost_is_said_once():
    """By Python's own filter, which a look at the array must not reset."""
    seconds = 1.6e9 + np.arange(5.0)[:, None]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for _ in range(3):
            tempalign.resample(seconds, 3)
    assert len(found) == 1 and found[0].filename == __file__


@pytest.mark.parametrize(
    "series",
    [
        np.random.default_rng(0).normal(size=(8, 3)),
        20 + np.random.default_rng(0).normal(size=(8, 3)),
        1e6 + np.arange(8.0)[:, None],  # exact in float32
        np.full((8, 1), 0.1),  # constant: nothing to tell apart
        np.full((8, 1), np.nan),
    ],
    ids=["normal", "offset", "integers", "constant", "nan"],
)
def test_float64_that_loses_nothing_that_matters_is_silent(series):
    assert caught(lambda: tempalign.dtw(series, series))[1] == []
    assert caught(lambda: tempalign.dtw(jnp.asarray(series), series))[1] == []
