"""Virtual sequences: one image, changed more and more from frame to frame.

Each parameter p of the changes goes in a straight line (paper, "temporally augmented sequences"):
``p_t = p_start + (t - 1) / (tau - 1) * (p_end - p_start)``. The ranges of the ends are the paper's.
Where a sequence starts is not in the paper's text as we have it; the authors' public code begins
with the image as it is, and mirrors it at its borders. Both are the defaults here.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.seq_images import augment

# Of each parameter: the operation it belongs to, the value that changes nothing, its range.
_TABLE = {
    "rotation": ("rotation", 0, -180, 180),  # degrees
    "zoom": ("zoom", 1, 0.8, 1.2),
    "shear_x": ("shear", 0, -0.5, 0.5),
    "shear_y": ("shear", 0, -0.5, 0.5),
    "translate_x": ("translate", 0, -0.2, 0.2),  # widths
    "translate_y": ("translate", 0, -0.2, 0.2),  # heights
    "brightness": ("colour", 1, 0.7, 1.3),
    "contrast": ("colour", 1, 0.7, 1.3),
    "saturation": ("colour", 1, 0.95, 1.05),
    "hue": ("colour", 0, -0.05, 0.05),
    "blur": ("blur", 0, 0, 0.015),  # sides; the strength is ours: 3.4 pixels of 224
}
PARAMETERS = tuple(_TABLE)
"""Names of the parameters, in the order of every array of them."""

OPERATIONS = tuple(dict.fromkeys(row[0] for row in _TABLE.values()))
"""What is chosen or not, each with probability 1/2; the parameters of one go together."""

NEUTRAL, LOW, HIGH = (np.array([row[i] for row in _TABLE.values()], np.float32) for i in (1, 2, 3))
STARTS = ("image", "random")

_OPERATION_OF = np.array([OPERATIONS.index(row[0]) for row in _TABLE.values()])


def sequence_key(seed: int | jax.Array, image: int | jax.Array, draw: int | jax.Array) -> jax.Array:
    """The key of a virtual sequence: a pure function of seed, number of the image, and draw."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), image), draw)


def draw_ends(key: jax.Array, *, start: str = "image") -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws the parameters of the first and the last frame.

    Args:
        key: of this sequence.
        start: "image": the first frame is the image as it is; "random": its parameters are drawn
            as those of the last frame are.

    Returns:
        (start ``[11]``, end ``[11]``, chosen: bool, one of each of `OPERATIONS`, not all false).

    Raises:
        ValueError: another start.
    """
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)}, got {start!r}")
    # All numbers in one draw: it compiles several times faster than five.
    kinds, count = len(OPERATIONS), len(PARAMETERS)
    uniform = jax.random.uniform(key, (kinds + 1 + 2 * count,))
    choice, fallback, first, last = jnp.split(uniform, [kinds, kinds + 1, kinds + 1 + count])
    chosen = choice < 0.5
    one = jnp.floor(kinds * fallback)  # which, where none was chosen
    chosen = jnp.where(jnp.any(chosen), chosen, jnp.arange(kinds, dtype=one.dtype) == one)
    changed = chosen[_OPERATION_OF]

    def ends(share: jax.Array) -> jax.Array:
        return jnp.where(changed, LOW + share * (HIGH - LOW), NEUTRAL)

    begin = ends(first) if start == "random" else jnp.asarray(NEUTRAL)
    return begin, ends(last), chosen


def interpolate(start: jax.Array, end: jax.Array, tau: int) -> jax.Array:
    """Parameters ``[tau, 11]`` on the line from `start` to `end`; of one frame, those of the end.

    Raises:
        ValueError: tau below 1.
    """
    if tau < 1:
        raise ValueError(f"tau must be at least 1, got {tau}")
    if tau == 1:
        return end[None]
    time = (jnp.arange(tau, dtype=jnp.float32) / (tau - 1))[:, None]
    return (1 - time) * start[None] + time * end[None]


def render(image: jax.Array, parameters: jax.Array, *, border: str = "reflect") -> jax.Array:
    """Changes one image: warp, then colours, then blur.

    Args:
        image: float32 ``[H, W, 3]`` in [0, 1].
        parameters: ``[11]``, see `PARAMETERS`.
        border: see `experiments.seq_images.augment.warp`.
    """
    p = dict(zip(PARAMETERS, parameters, strict=True))
    side = max(image.shape[:2])
    matrix = augment.affine_matrix(p["rotation"], p["zoom"], p["shear_x"], p["shear_y"])
    shift = jnp.stack([p["translate_x"], p["translate_y"]])
    image = augment.warp(image, matrix, shift, border=border)
    image = augment.change_brightness(image, p["brightness"])
    image = augment.change_contrast(image, p["contrast"])
    image = augment.change_saturation(image, p["saturation"])
    image = augment.change_hue(image, p["hue"])
    largest = side * float(HIGH[PARAMETERS.index("blur")])
    return augment.blur(image, side * p["blur"], largest=largest)


def virtual_sequences(
    images: jax.Array,
    numbers: jax.Array,
    seed: int | jax.Array,
    *,
    num_draws: int = 1,
    tau: int = 7,
    start: str = "image",
    border: str = "reflect",
) -> jax.Array:
    """Makes virtual sequences of each image.

    Args:
        images: float32 ``[B, H, W, 3]`` in [0, 1].
        numbers: int ``[B]``, the numbers of the images: what a sequence looks like depends on its
            image, the image's number, the draw and the seed only.
        seed: of the draws.
        num_draws: sequences of each image.
        tau: frames of a sequence.
        start: see `draw_ends`.
        border: see `experiments.seq_images.augment.warp`.

    Returns:
        float32 ``[B, num_draws, tau, H, W, 3]``.

    Raises:
        ValueError: an unknown start or border, or tau below 1.
    """
    return _rendered(images, _drawn(numbers, seed, num_draws, tau, start), border)


@partial(jax.jit, static_argnames=("num_draws", "tau", "start"))
def _drawn(numbers: jax.Array, seed: jax.Array, num_draws: int, tau: int, start: str) -> jax.Array:
    """Parameters ``[B, num_draws, tau, 11]``."""

    def one(place: jax.Array) -> jax.Array:
        key = sequence_key(seed, numbers[place // num_draws], place % num_draws)
        begin, end, _ = draw_ends(key, start=start)
        return interpolate(begin, end, tau)

    flat = jax.vmap(one)(jnp.arange(len(numbers) * num_draws))
    return flat.reshape(len(numbers), num_draws, tau, len(PARAMETERS))


@partial(jax.jit, static_argnames="border")
def _rendered(images: jax.Array, parameters: jax.Array, border: str) -> jax.Array:
    def of_image(image: jax.Array, rows: jax.Array) -> jax.Array:
        flat = rows.reshape(-1, rows.shape[-1])
        frames = jax.vmap(lambda row: render(image, row, border=border))(flat)
        return frames.reshape(*rows.shape[:-1], *image.shape)

    return jax.vmap(of_image)(images, parameters)
