"""Changes of one image, each against another way to compute it."""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from experiments.seq_images import augment

warp = jax.jit(augment.warp, static_argnames="border")
SCIPY_MODES = {"reflect": "reflect", "edge": "nearest", "zeros": "grid-constant"}


@pytest.fixture
def image(rng):
    return rng.uniform(size=(9, 9, 3)).astype(np.float32)


def turned(image, degrees, zoom=1.0, shear_x=0.0, shear_y=0.0, shift=(0.0, 0.0), border="reflect"):
    matrix = augment.affine_matrix(*map(jnp.float32, (degrees, zoom, shear_x, shear_y)))
    return warp(image, matrix, jnp.asarray(shift, jnp.float32), border=border)


@pytest.mark.parametrize("quarters", [-2, -1, 0, 1, 2])
def test_rotation_by_quarter_turns(image, quarters):
    expected = np.rot90(image, quarters)
    np.testing.assert_allclose(turned(image, 90 * quarters), expected, atol=1e-5)


def test_nothing_changes_the_image_not_at_all(image):
    np.testing.assert_array_equal(turned(image, 0.0), image)


@pytest.mark.parametrize("border", augment.BORDERS)
def test_warp_against_scipy(image, border):
    degrees, zoom, shear_x, shear_y, shift = 33.0, 0.8, 0.3, -0.2, (0.15, -0.1)
    found = turned(image, degrees, zoom, shear_x, shear_y, shift, border)
    # The map by hand, in (row, column), from output to input.
    angle = math.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    forward = zoom * turn @ np.array([[1, shear_x], [shear_y, 1]])
    backward = np.linalg.inv(forward)[::-1, ::-1]
    center = np.array([4.0, 4.0])
    offset = center - backward @ (center + 9 * np.array(shift)[::-1])
    expected = np.stack(
        [
            ndimage.affine_transform(
                image[..., channel], backward, offset, order=1, mode=SCIPY_MODES[border]
            )
            for channel in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_where_a_point_goes():
    """To the right and down by shift; x grows downwards by shear_x; zoom away from the centre."""
    image = np.zeros((9, 9, 1), np.float32)
    image[2, 4] = 1  # two above the centre
    for moved, place in (
        (turned(image, 0.0, shift=(2 / 9, 1 / 9)), (3, 6)),
        (turned(image, 0.0, shear_x=0.5), (2, 3)),
        (turned(image, 0.0, zoom=2.0), (0, 4)),
        (turned(image, 90.0), (4, 2)),
    ):
        assert np.unravel_index(np.argmax(moved), (9, 9, 1))[:2] == place


def test_an_image_that_is_not_square(rng):
    image = rng.uniform(size=(6, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(turned(image, 180.0), image[::-1, ::-1], atol=1e-5)
    expected = np.concatenate([np.repeat(image[:, :1], 2, axis=1), image[:, :-2]], axis=1)
    moved = turned(image, 0.0, shift=(0.25, 0.0), border="edge")
    np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize("shift", [-0.4, -0.05, 0.0, 0.03, 0.5])
def test_hue_against_colorsys(image, shift):
    image[0, 0] = 0.5  # grey has no hue
    image[0, 1] = (1, 0, 0)
    image[0, 2] = (0.2, 0.2, 0.9)
    expected = np.array(
        [
            [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in row]
            for row in [[colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in r] for r in image]
        ]
    )
    np.testing.assert_allclose(augment.change_hue(image, jnp.float32(shift)), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_colours(image, factor):
    grey = image @ np.array([0.2989, 0.587, 0.114])
    for found, expected in (
        (augment.change_brightness(image, factor), image * factor),
        (augment.change_contrast(image, factor), factor * image + (1 - factor) * grey.mean()),
        (
            augment.change_saturation(image, factor),
            factor * image + (1 - factor) * grey[..., None],
        ),
    ):
        np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.1])
def test_blur_against_scipy(image, sigma):
    expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="reflect", radius=(4, 4, 0))
    found = augment.blur(image, jnp.float32(sigma), largest=4 / 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_unknown_border(image):
    with pytest.raises(ValueError, match="border must be one of reflect, edge, zeros, got 'wrap'"):
        augment.warp(image, jnp.eye(2), jnp.zeros(2), border="wrap")
