import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shared import scaling
from experiments.shared.scaling import Scaling
from experiments.tse import spoken_digits
from experiments.tse.dataset import feature_statistics


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.sampled_from([0.0, 10.0, -1e4]),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from([8, 100, 2**20]),
)
def test_mean_and_deviation_are_those_of_all_frames(lengths, shift, dtype, at_once):
    rng = np.random.default_rng(len(lengths))
    chunks = [(rng.normal(size=(n, 3)) + shift).astype(dtype) for n in lengths]
    for chunk in chunks:
        chunk[:, 2] = 0.1  # constant, and not exact in binary
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "_VALUES_AT_ONCE", at_once)
        found = Scaling.fit(iter(chunks))
    frames = np.concatenate(chunks).astype(np.float64)
    expected = frames.std(0) if len(frames) > 1 else np.ones(3)
    expected[2] = 1
    expected[expected == 0] = 1  # float16 far from 0
    assert found.mean.dtype == found.std.dtype == np.float32
    np.testing.assert_allclose(found.mean, frames.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.std, expected, rtol=1e-5)


def test_spoken_digits_have_the_float32_numbers_of_numpy():
    train = spoken_digits.load().train
    found = feature_statistics(train)
    frames = np.concatenate([train.source[i] for i in range(len(train))]).astype(np.float64)
    np.testing.assert_array_equal(found.mean, frames.mean(0).astype(np.float32))
    np.testing.assert_array_equal(found.std, frames.std(0).astype(np.float32))


@pytest.mark.parametrize(
    "column",
    [
        np.zeros(1000),
        np.full(1000, 0.1, np.float32),
        np.full(1000, -1e30),
        np.full(1000, 1e-40),
        np.where(np.arange(1000), 1, 1 + 1e-7).astype(np.float32),  # one rounding in a thousand
        np.where(np.arange(1000), 0, 1e-44),  # beyond float32 once it is squared and divided
    ],
)
def test_a_constant_feature_has_the_deviation_1(column):
    found = Scaling.fit([column[:, None]])
    assert found.std == 1 and np.abs(found.apply(column[:, None])).max() < 1e-3 * max(
        1, np.abs(column).max()
    )


def test_small_but_real_changes_are_kept():
    column = 1e-3 * np.random.default_rng(0).normal(size=(500, 1)) + 1
    found = Scaling.fit([column])
    np.testing.assert_allclose(found.std, column.std(), rtol=1e-5)


def test_chunks_of_more_axes_and_none():
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    flat = Scaling.fit([x.reshape(-1, 3)])
    for one, other in zip(Scaling.fit([x]), flat, strict=True):
        np.testing.assert_array_equal(one, other)
    for nothing in ([], [np.zeros((0, 3))]):
        with pytest.raises(ValueError, match="no frame"):
            Scaling.fit(nothing)


def test_features_are_scaled_anew_or_in_place():
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found = Scaling(np.array([1, 2, 3], np.float32), np.array([2, 4, 8], np.float32))
    expected = (x - found.mean) / found.std
    np.testing.assert_array_equal(found.apply(x), expected)
    assert found.apply(x, out=x) is x
    np.testing.assert_array_equal(x, expected)
    same = Scaling.identity(3)
    np.testing.assert_array_equal(same.apply(x), x)
    assert same.apply(x).dtype == np.float32
