"""The demo data: which way did the camera move?

A window moves over one real frame: it pans left, right, up or down, or zooms in or out. The picture
is real, the move is not. In the middle of the move all six look the same, so the middle frame says
nothing; and opposite moves show the same frames in opposite order, so what does not see the order
cannot tell them apart.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.progress import progress
from experiments.vision.video import read_video

_DATA = Path(__file__).resolve().parents[1] / "data"
CLIPS = {
    "bikes": _DATA / "clips" / "bikes.mp4",
    "bigbuckbunny": _DATA / "clips" / "bigbuckbunny.mp4",
    "carphone": _DATA / "clips" / "carphone.mp4",
    "surveillance": _DATA / "surveillance.mp4",
}
CLASS_NAMES = ("pan left", "pan right", "pan up", "pan down", "zoom in", "zoom out")

_MOVES = np.array(  # of the window: down, right, growth
    [[0, -1, 0], [0, 1, 0], [-1, 0, 0], [1, 0, 0], [0, 0, -1], [0, 0, 1]], np.float32
)
FRAME = (72, 96)  # what source frames are scaled to
_WINDOW = (24.0, 32.0)  # its side in the middle, in pixels of the source
_PAN = 24.0  # the fastest move, start to end, in pixels
_ZOOM = 1.2  # likewise, in powers of two
# The window never leaves the frame.
_MARGIN = max(max(_WINDOW) / 2 + _PAN / 2, max(_WINDOW) / 2 * 2 ** (_ZOOM / 2))
_AT_ONCE = 50


class Moves(NamedTuple):
    """Rendered camera moves.

    Attributes:
        videos: uint8 ``[count, num_frames, side, side, channels]``.
        labels: int32 ``[count]``, places in `CLASS_NAMES`.
        sources: int32 ``[count]``, over which of the given frames the camera moved.
    """

    videos: np.ndarray
    labels: np.ndarray
    sources: np.ndarray


def clip_frames(name: str) -> np.ndarray:
    """Returns real frames of one of `CLIPS`, uint8 ``[K, *FRAME, 3]``."""
    # Every other frame: neighbours are nearly the same picture.
    return read_video(CLIPS[name], size=FRAME)[::2]


def make_moves(
    frames: np.ndarray, count: int, *, num_frames: int, side: int, seed: int, desc: str
) -> Moves:
    """Renders camera moves.

    Args:
        frames: uint8 ``[K, *FRAME, channels]`` real frames.
        count: how many moves.
        num_frames: frames of a move, odd.
        side: of the rendered frames.
        seed: the moves are a function of it and `frames`.
        desc: what the display of the progress says.
    """
    pictures = jnp.asarray(frames)
    videos = np.empty((count, num_frames, side, side, frames.shape[-1]), np.uint8)
    labels, sources = np.empty(count, np.int32), np.empty(count, np.int32)
    display = progress(total=count, desc=desc, unit="moves")
    for start in range(0, count, _AT_ONCE):
        keys = jax.random.split(jax.random.key(seed), count)[start : start + _AT_ONCE]
        keys = keys[jnp.arange(_AT_ONCE) % len(keys)]  # one shape, one compilation
        here = slice(start, min(start + _AT_ONCE, count))
        rendered = _render(pictures, keys, num_frames, side)
        parts = [np.asarray(part)[: here.stop - start] for part in rendered]
        videos[here], labels[here], sources[here] = parts
        display.update(here.stop - start)
    display.close()
    return Moves(videos, labels, sources)


@partial(jax.jit, static_argnames=("num_frames", "side"))
def _render(
    frames: jax.Array, keys: jax.Array, num_frames: int, side: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def one(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        which, move, speed, window, at, flips = jax.random.split(key, 6)
        source = jax.random.randint(which, (), 0, frames.shape[0])
        picture = frames[source].astype(jnp.float32)
        # More pictures out of few clips; before the move, so that its direction stays.
        flip_x, flip_y, invert = jax.random.bernoulli(flips, shape=(3,))
        picture = jnp.where(flip_x, picture[:, ::-1], picture)
        picture = jnp.where(flip_y, picture[::-1], picture)
        picture = jnp.where(invert, 255 - picture, picture)
        label = jax.random.randint(move, (), 0, len(_MOVES))
        down, right, growth = jnp.asarray(_MOVES, jnp.float32)[label]
        pace = jax.random.uniform(speed, minval=0.5, maxval=1.0)
        when = pace * jnp.linspace(-0.5, 0.5, num_frames)
        middle = jax.random.uniform(window, minval=_WINDOW[0], maxval=_WINDOW[1])
        sides = middle * 2 ** (_ZOOM * growth * when)
        low, high = jnp.full(2, _MARGIN), jnp.asarray(FRAME, jnp.float32) - _MARGIN
        y, x = jax.random.uniform(at, (2,), minval=low, maxval=high)
        centers = jnp.stack([y + _PAN * down * when, x + _PAN * right * when], axis=1)

        def view(center: jax.Array, window_side: jax.Array) -> jax.Array:
            scale = jnp.full(2, side / window_side)
            return jax.image.scale_and_translate(
                picture,
                (side, side, picture.shape[-1]),
                (0, 1),
                scale,
                side / 2 - center * scale,
                "linear",
                antialias=True,
            )

        video = jax.vmap(view)(centers, sides)
        return jnp.clip(jnp.round(video), 0, 255).astype(jnp.uint8), label, source

    return jax.vmap(one)(keys)
