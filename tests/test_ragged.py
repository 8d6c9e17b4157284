"""pad, unpad, select_frames: series of different lengths, and with missing frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign

RNG = np.random.default_rng(0)
SERIES = [RNG.normal(size=(n, 2)).astype(np.float32) for n in (5, 1, 8, 3)]


def test_there_and_back():
    batch, lengths = tempalign.pad(SERIES)
    assert batch.shape == (4, 8, 2) and batch.dtype == np.float32
    assert lengths.tolist() == [5, 1, 8, 3] and lengths.dtype == np.int32
    assert not np.any(batch[1, 1:])
    for one, again in zip(SERIES, tempalign.unpad(batch, lengths), strict=True):
        np.testing.assert_array_equal(one, again)
    # tslearn's form, there and back.
    nan, _ = tempalign.pad(SERIES, fill=np.nan)
    assert np.isnan(nan).any(-1).sum(-1).tolist() == [3, 7, 0, 5]
    again = tempalign.pad(nan)
    np.testing.assert_array_equal(again.values, batch)
    np.testing.assert_array_equal(again.lengths, lengths)
    # Frames of NaN in the midst are no padding; nor are those of a list.
    gap = np.array([[1.0], [np.nan], [2.0], [np.nan]])
    assert tempalign.pad(gap[None]).lengths.tolist() == [3]
    ragged = np.empty(2, object)
    ragged[:] = [gap, gap[:2]]
    assert tempalign.pad([gap]).lengths.tolist() == [4]
    assert tempalign.pad(ragged).lengths.tolist() == [4, 2]
    assert [len(one) for one in tempalign.unpad(np.zeros((2, 4)), [4, 2])] == [4, 2]


def test_buckets_make_few_shapes():
    sizes = [2**k for k in range(2, 6)]
    assert tempalign.pad(SERIES[:1], length=sizes).values.shape == (1, 8, 2)
    assert tempalign.pad(SERIES[3:], length=sizes[::-1]).values.shape == (1, 4, 2)
    assert tempalign.pad(SERIES, length=9).values.shape == (4, 9, 2)
    mixed = tempalign.pad([np.ones((2, 1), np.float16), np.ones((3, 1))])
    assert mixed.values.dtype == np.float64


def test_distances_are_those_of_the_series():
    batch, lengths = tempalign.pad(SERIES, length=16, fill=np.nan)
    found = tempalign.dtw(batch, SERIES[0], x_lengths=lengths)
    expected = [float(tempalign.dtw(one, SERIES[0])) for one in SERIES]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def gappy(junk):
    x = RNG.normal(size=(3, 2, 7, 2)).astype(np.float32)
    present = RNG.random((3, 2, 7)) < 0.6
    present[..., 3] = True
    x[~present] = junk
    return x, present


@pytest.mark.one_in(3)
@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
def test_missing_frames_are_as_if_they_had_never_been(junk):
    x, present = gappy(junk)
    y = RNG.normal(size=(5, 2)).astype(np.float32)
    known = tempalign.select_frames(x, present)
    found = tempalign.soft_dtw(known.values, y, 0.1, x_lengths=known.lengths)
    center = tempalign.dba(known.values, lengths=known.lengths)
    assert np.all(np.isfinite(center))
    for index in np.ndindex(3, 2):
        kept = x[index][present[index]]
        np.testing.assert_allclose(found[index], tempalign.soft_dtw(kept, y, 0.1), rtol=1e-5)
        assert known.lengths[index] == len(kept)
        np.testing.assert_array_equal(known.values[index][: len(kept)], kept)
        positions = known.positions[index]
        np.testing.assert_array_equal(positions[: len(kept)], np.flatnonzero(present[index]))
        assert np.all(positions[len(kept) :] == 7)
    # Beside lengths, and a mask for all series alike.
    cut = tempalign.select_frames(x, present, lengths=np.full((3, 1), 4))
    np.testing.assert_array_equal(cut.lengths, present[..., :4].sum(-1))
    same = tempalign.select_frames(x, present[0, 0])
    assert np.all(np.asarray(same.lengths) == present[0, 0].sum())


def test_missing_frames_under_jit_grad_and_vmap():
    x, present = gappy(np.nan)
    y = RNG.normal(size=(5, 2)).astype(np.float32)

    def total(x, present):
        known = tempalign.select_frames(x, present)
        return jnp.sum(tempalign.soft_dtw(known.values, y, 0.1, x_lengths=known.lengths))

    gradient = jax.jit(jax.grad(total))(x, present)
    assert np.all(np.isfinite(gradient)) and np.all(gradient[~present] == 0)
    assert np.all(np.any(gradient[present] != 0, axis=-1))
    for index in ((0, 1), (2, 0)):
        kept = x[index][present[index]]
        alone = jax.grad(lambda kept: tempalign.soft_dtw(kept, y, 0.1))(kept)
        np.testing.assert_allclose(gradient[index][present[index]], alone, rtol=1e-4, atol=1e-5)
    mapped = jax.vmap(jax.vmap(tempalign.select_frames))(x, present)
    for one, other in zip(mapped, tempalign.select_frames(x, present), strict=True):
        np.testing.assert_array_equal(one, other)
    # A series without any frame: NaN where it is traced.
    nothing = present.copy()
    nothing[1, 1] = False

    @jax.jit
    def values(x, present, lengths):
        known = tempalign.select_frames(x, present, lengths=lengths)
        return tempalign.dtw(known.values, y, x_lengths=known.lengths)

    assert np.argwhere(np.isnan(values(x, nothing, 7))).tolist() == [[1, 1]]
    assert np.all(np.isnan(values(x, present, 8)))


X = np.ones((2, 3, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tempalign.pad([]), ValueError, "series must hold at least one"),
        (lambda: tempalign.pad([np.ones(3)]), ValueError, r"series\[0\].*write x\[:, None\]"),
        (lambda: tempalign.pad([np.ones((3, 1), int)]), TypeError, r"series\[0\] must be floating"),
        (lambda: tempalign.pad([X[0], np.ones((0, 1))]), ValueError, r"series\[1\].*at least one"),
        (lambda: tempalign.pad([X[0], np.ones((2, 2))]), ValueError, "1 in series.0. and 2 in"),
        (lambda: tempalign.pad([X[0], None]), TypeError, r"series\[1\] must be an array, got None"),
        (lambda: tempalign.pad(X[0]), ValueError, r"one array \[N, T, F\], got \(3, 1\)"),
        (lambda: tempalign.pad(np.nan * X), ValueError, r"series\[0\] has no frame"),
        (lambda: tempalign.pad(X, length=2), ValueError, "longest series, of 3 frames, got 2"),
        (lambda: tempalign.pad(X, length=[1, 2]), ValueError, "longest series, of 3 frames"),
        (lambda: tempalign.pad(X, length=4.0), TypeError, "length"),
        (lambda: jax.jit(lambda x: tempalign.pad([x]).values)(X[0]), TypeError, "outside of jit"),
        (lambda: tempalign.unpad(X, [1, 4]), ValueError, "lengths must lie within 1..3"),
        (lambda: tempalign.unpad(X, [1, 2, 3]), ValueError, r"lengths must have shape \(2,\)"),
        (lambda: tempalign.select_frames(X, np.ones(3)), TypeError, "present must be boolean"),
        (lambda: tempalign.select_frames(X, np.ones((4, 2, 3), bool)), ValueError, "present must"),
        (lambda: tempalign.select_frames(X, np.zeros(3, bool)), ValueError, r"at leading index"),
        (lambda: tempalign.select_frames(X, np.ones(3, bool), lengths=4), ValueError, "lengths"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
