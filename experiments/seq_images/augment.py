"""Changes of one image, in JAX: an affine warp, colours, blur.

Images are float32 ``[H, W, 3]`` in [0, 1]; every parameter may be traced, and has a value that
leaves the image as it is. Colours follow the usual conventions (those of torchvision's functional
transforms, which the paper's code calls).
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

_MODES = {"reflect": "reflect", "edge": "nearest", "zeros": "constant"}  # as SciPy calls them
BORDERS = tuple(_MODES)

_GREY = (0.2989, 0.587, 0.114)


def affine_matrix(
    rotation: jax.Array,
    zoom: jax.Array,
    shear_x: jax.Array,
    shear_y: jax.Array,
) -> jax.Array:
    """The matrix ``[2, 2]`` that moves what is at (x, y) of the image, from its centre, y down.

    Shear first, then rotation, then zoom.

    Args:
        rotation: degrees, counterclockwise as one sees it.
        zoom: 2 shows everything twice as large.
        shear_x: by how much x grows for each step down.
        shear_y: by how much y grows for each step to the right.
    """
    angle = jnp.deg2rad(rotation)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    sheared = jnp.stack([jnp.stack([1.0, shear_x]), jnp.stack([shear_y, 1.0])])
    return zoom * jnp.matmul(turned, sheared, precision=jax.lax.Precision.HIGHEST)


def warp(
    image: jax.Array, matrix: jax.Array, shift: jax.Array, *, border: str = "reflect"
) -> jax.Array:
    """Moves an image by an affine map about its centre; bilinear, of the same size.

    Args:
        image: ``[H, W, C]``.
        matrix: ``[2, 2]``, see `affine_matrix`; not singular.
        shift: ``[2]``, to the right and down, in widths and heights.
        border: what is outside of the image: "reflect" mirrors it at its edges (each border pixel
            twice: ``b a | a b``), "edge" repeats the border pixels, "zeros" is black.

    Returns:
        ``[H, W, C]``.

    Raises:
        ValueError: another border.
    """
    if border not in BORDERS:
        raise ValueError(f"border must be one of {', '.join(BORDERS)}, got {border!r}")
    height, width, _ = image.shape
    (a, b), (c, d) = matrix
    # From where each pixel comes: the inverse map.
    x = jnp.arange(width, dtype=jnp.float32)[None] - (width - 1) / 2 - shift[0] * width
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2 - shift[1] * height
    determinant = a * d - b * c
    column = (d * x - b * y) / determinant + (width - 1) / 2
    row = (a * y - c * x) / determinant + (height - 1) / 2
    return jax.vmap(
        lambda channel: map_coordinates(channel, [row, column], order=1, mode=_MODES[border]),
        in_axes=-1,
        out_axes=-1,
    )(image)


def change_brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Multiplies every value; 1 changes nothing."""
    return jnp.clip(factor * image, 0, 1)


def change_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Moves every value away from the mean grey of the image; 1 changes nothing."""
    mean = jnp.mean(_grey(image))
    return jnp.clip(mean + factor * (image - mean), 0, 1)


def change_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Moves every pixel away from its own grey; 1 changes nothing."""
    grey = _grey(image)[..., None]
    return jnp.clip(grey + factor * (image - grey), 0, 1)


def change_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue (of HSV, 0 to 1) of every pixel; 0 changes nothing."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value, low = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    chroma = value - low
    safe = jnp.where(chroma > 0, chroma, 1)
    # By order, not by `value == red`: the compiler may round the two differently. The branches meet
    # where channels tie, so that it does not matter which of them is taken there.
    sextant = jnp.where(
        red >= jnp.maximum(green, blue),
        (green - blue) / safe,
        jnp.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = jnp.where(chroma > 0, sextant, 0) + 6 * shift

    def channel(offset: int) -> jax.Array:
        k = jnp.mod(offset + turned, 6)
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def blur(image: jax.Array, sigma: jax.Array, *, largest: float) -> jax.Array:
    """Smooths by a Gaussian, cut at three times the largest deviation; borders are mirrored.

    Args:
        image: ``[H, W, C]``.
        sigma: deviation in pixels; 0 changes nothing.
        largest: the largest sigma there can be: the size of the window depends on it.
    """
    radius = min(max(1, math.ceil(3 * largest)), image.shape[0] - 1, image.shape[1] - 1)
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    weights = jax.nn.softmax(-0.5 * jnp.square(offsets / jnp.maximum(sigma, 1e-3)))
    for axis in (0, 1):
        size = image.shape[axis]
        pad = [(0, 0)] * 3
        pad[axis] = (radius, radius)
        padded = jnp.pad(image, pad, mode="symmetric")
        image = sum(
            weight * jax.lax.slice_in_dim(padded, start, start + size, axis=axis)
            for start, weight in enumerate(weights)
        )
    return image


def _grey(image: jax.Array) -> jax.Array:
    return jnp.sum(image * jnp.asarray(_GREY)[None, None], axis=-1)
