"""The TIME layer: which frame stands where, and what becomes of its pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign
from tempalign._time_layer import sampled

ARRANGEMENTS = ("spatial", "temporal")


def numbered(count, height=4, width=6, channels=2, dtype=np.float32):
    """Frames of one colour each, their number."""
    return np.broadcast_to(
        np.arange(count, dtype=dtype)[:, None, None, None], (count, height, width, channels)
    ).copy()


def source(t, r, c, n, num_frames, arrangement):
    """Spec: the source frame of a cell, counted among the needed ones."""
    if arrangement == "spatial":
        return (r * n + c) * num_frames + t
    return t * n**2 + r * n + c


@pytest.mark.one_in(3)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize(("n", "num_frames"), [(1, 3), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("available", ["fewer", "as many", "more"])
def test_every_cell_shows_its_frame(n, num_frames, arrangement, available):
    needed = num_frames * n**2
    count = {"fewer": max(needed // 2, 1), "as many": needed, "more": 2 * needed + 1}[available]
    height, width = 4 * n, 6 * n
    shown = tempalign.time_layer(
        numbered(count, height, width), n, num_frames=num_frames, arrangement=arrangement
    )
    assert shown.shape == (num_frames, height, width, 2)
    for t in range(num_frames):
        for r in range(n):
            for c in range(n):
                k = source(t, r, c, n, num_frames, arrangement)
                expected = k % count if count < needed else k * count // needed
                cell = shown[t, 4 * r : 4 * (r + 1), 6 * c : 6 * (c + 1)]
                np.testing.assert_allclose(cell, expected, rtol=1e-6)


def test_one_cell_is_the_identity_bit_for_bit():
    video = np.random.default_rng(0).normal(size=(5, 3, 7, 1)).astype(np.float32)
    np.testing.assert_array_equal(tempalign.time_layer(video, 1, num_frames=5), video)
    np.testing.assert_array_equal(tempalign.time_layer(video, 1, num_frames=2), video[[0, 2]])
    np.testing.assert_array_equal(
        tempalign.time_layer(video, 1, num_frames=7), video[[0, 1, 2, 3, 4, 0, 1]]
    )


def test_shrinking_is_antialiased():
    checkers = np.indices((8, 8)).sum(0) % 2
    video = np.broadcast_to(checkers[None, :, :, None], (4, 8, 8, 1)).astype(np.float32)
    shown = tempalign.time_layer(video, 2, num_frames=1)
    np.testing.assert_allclose(shown[0, 1:3, 1:3], 0.5, atol=1e-6)
    smooth = np.broadcast_to(np.arange(8.0)[None, :, None, None], (4, 8, 8, 1)).astype(np.float32)
    shown = np.asarray(tempalign.time_layer(smooth, 2, num_frames=1))[0, :4, 0, 0]
    np.testing.assert_allclose(shown[1:3], [2.5, 4.5], atol=1e-6)  # centres of pixel pairs


def test_another_size():
    video = numbered(4, 5, 7, 3)
    shown = tempalign.time_layer(video, 2, num_frames=1, size=(10, 4))
    assert shown.shape == (1, 10, 4, 3)
    expected = np.kron(np.arange(4).reshape(2, 2), np.ones((5, 2)))
    np.testing.assert_allclose(shown[0, ..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_lengths_and_leading_axes(arrangement):
    random = np.random.default_rng(1)
    video = random.normal(size=(2, 3, 9, 4, 4, 1)).astype(np.float32)
    lengths = np.array([9, 2, 5])
    options = {"num_frames": 2, "arrangement": arrangement}

    def layer(v):
        return tempalign.time_layer(v, 2, lengths=lengths, **options)

    expected = [
        [tempalign.time_layer(video[b, k, : lengths[k]], 2, **options) for k in range(3)]
        for b in range(2)
    ]
    for k in range(3):
        video[:, k, lengths[k] :] = np.nan
    np.testing.assert_allclose(layer(video), np.array(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(layer)(video), np.array(expected), rtol=1e-5, atol=1e-6)
    gradient = np.asarray(jax.grad(lambda v: layer(v).sum())(video))
    assert np.all(np.isfinite(gradient))
    for k in range(3):
        assert not gradient[:, k, lengths[k] :].any()
    # Linear: every shown pixel's weight comes from the source, and sums to the number of pixels.
    np.testing.assert_allclose(gradient.sum((2, 3, 4, 5)), 2 * 4 * 4, rtol=1e-5)


def test_frames_that_are_not_shown_have_no_gradient():
    gradient = jax.grad(lambda v: tempalign.time_layer(v, 2, num_frames=1).sum())(numbered(9, 4, 4))
    shown = np.asarray(gradient).any((1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(shown), [0, 2, 4, 6])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, jnp.float16, jnp.bfloat16, np.float32])
def test_dtypes_stay(dtype):
    video = jnp.asarray(numbered(4) * 51).astype(dtype)
    shown = tempalign.time_layer(video, 2, num_frames=1)
    assert shown.dtype == video.dtype
    corners = shown[0, ::2, ::3, 0].astype(np.float32)
    np.testing.assert_allclose(corners, [[0, 51], [102, 153]], rtol=1e-6)


def test_integer_pixels_are_rounded():
    stripes = np.tile(np.uint8([0, 255, 255, 0]), (4, 4, 1))[..., None]
    shown = np.asarray(tempalign.time_layer(stripes, 2, num_frames=1)).astype(int)
    exact = np.asarray(tempalign.time_layer(stripes.astype(np.float32), 2, num_frames=1))
    np.testing.assert_array_equal(shown, np.round(exact).astype(int))


def test_long_videos_are_sampled_exactly():
    for available in (10**6 + 3, 2**31 - 1):
        position = np.arange(4000)
        exact = position.astype(object) * available // 4000
        np.testing.assert_array_equal(sampled(position, available, 4000), exact.astype(int))
        traced = jax.jit(lambda s, k=position: sampled(k, s, 4000))(np.int32(available))
        np.testing.assert_array_equal(traced, exact.astype(int))


@pytest.mark.usefixtures("x64")
def test_float64_stays():
    video = numbered(4, dtype=np.float64)
    assert tempalign.time_layer(video, 2, num_frames=1).dtype == np.float64


def test_traced_lengths_out_of_range():
    call = jax.jit(lambda v, n: tempalign.time_layer(v, 2, num_frames=1, lengths=n))
    lengths = jnp.array([0, 4, 5])
    video = np.stack([numbered(4)] * 3)
    np.testing.assert_array_equal(
        np.isnan(call(video, lengths)).all((1, 2, 3, 4)), [True, False, True]
    )
    assert not np.asarray(call(video.astype(np.uint8), lengths))[[0, 2]].any()
