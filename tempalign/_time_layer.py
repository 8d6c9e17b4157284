"""The TIME layer: grids of frames as input to spatial models."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine import checks
from tempalign._engine.arrays import as_array
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array, ArrayLike

Arrangement = Literal["spatial", "temporal"]

_MOST_SHOWN = 46340  # its square is an int32


@in_our_modes
def time_layer(
    frames: ArrayLike,
    n: int,
    *,
    num_frames: int,
    arrangement: Arrangement = "spatial",
    size: tuple[int, int] | None = None,
    lengths: ArrayLike | None = None,
) -> Array:
    """Rearranges a video into frames that each show a grid of n x n source frames.

    A spatial model then sees time as space, without a change to the model. ``num_frames * n**2``
    frames are taken from the source: sampled uniformly where it has more (frame
    ``k * S // (num_frames * n**2)`` for the k-th), repeated from the start where it has fewer. They
    are shrunk to a cell (linear interpolation, antialiased) and laid out row by row.

    Args:
        frames: ``[..., S, H, W, C]`` videos of S frames; any C (RGB, depth, flow). Floating point
            or integers of at most 16 bits; interpolation is in float32 at least.
        n: cells along each side of the grid, >= 1. With 1 the layer only samples frames.
        num_frames: frames of the result, >= 1.
        arrangement: ``"spatial"`` (the paper's main results): each cell plays its own consecutive
            segment of the video; cell (r, c) of frame t shows source
            ``(r n + c) * num_frames + t``. ``"temporal"``: each frame shows a consecutive segment;
            source ``t n**2 + r n + c``.
        size: height and width of the result, both divisible by n. None: H and W.
        lengths: true numbers of source frames, integers that broadcast against the leading axes;
            frames past them (NaN and inf included) are not read and get gradient 0. None: S.

    Returns:
        ``[..., num_frames, *size, C]`` in the dtype of `frames` (integers are rounded). Traced
        lengths outside 1..S give NaN, or 0 for integer frames.

    Raises:
        ValueError: a wrong shape, a size that n does not divide, counts < 1, an unknown
            arrangement, lengths outside 1..S.
        TypeError: frames of another dtype, counts that are not integers.

    Source:
        "When Spatial meets Temporal in Action Recognition", arXiv 2411.15284, the Temporal
        Integration and Motion Enhancement layer.

    Example:
        >>> import numpy as np, tempalign
        >>> numbered = np.arange(8, dtype=np.uint8)[:, None, None, None]
        >>> video = np.broadcast_to(numbered, (8, 4, 4, 1))
        >>> tempalign.time_layer(video, 2, num_frames=2)[0, ::2, ::2, 0].tolist()
        [[0, 2], [4, 6]]
        >>> tempalign.time_layer(video, 2, num_frames=2, arrangement="temporal")[
        ...     0, ::2, ::2, 0
        ... ].tolist()
        [[0, 1], [2, 3]]
    """
    video = _video(frames)
    side = checks.positive_int(n, "n")
    count = checks.positive_int(num_frames, "num_frames")
    if count * side**2 > _MOST_SHOWN:
        raise ValueError(
            f"num_frames * n**2 must be at most {_MOST_SHOWN}, got {count} * {side}**2"
        )
    checks.choice(arrangement, "arrangement", get_args(Arrangement))
    height, width = _size(size, video.shape[-3:-1], side)
    checked = checks.lengths(lengths, video.shape[-4], "lengths")
    if checked is not None:
        lead = checks.broadcast_shapes({"frames": video.shape[:-4], "lengths": checked.shape})
        video = jnp.broadcast_to(video, lead + video.shape[-4:])
        checked = jnp.broadcast_to(checked, lead)
    return _rearrange(video, checked, side, count, arrangement, (height, width))


@partial(jax.jit, static_argnames=("n", "num_frames", "arrangement", "size"))
def _rearrange(
    video: Array,
    lengths: Array | None,
    n: int,
    num_frames: int,
    arrangement: Arrangement,
    size: tuple[int, int],
) -> Array:
    order = grid_order(n, num_frames, arrangement).reshape(-1)
    available = video.shape[-4]
    # Only the frames that are shown are read.
    if lengths is None:
        shown = jnp.take(video, sampled(order, available, order.size), axis=-4)
    else:
        inside = jnp.clip(lengths, 1, available)[..., None]
        index = sampled(order, inside, order.size)
        shown = jnp.take_along_axis(video, index[..., None, None, None], axis=-4)
    *lead, _, height, width, channels = shown.shape
    cell = (size[0] // n, size[1] // n)
    if (height, width) != cell:
        pixels = shown.astype(jnp.promote_types(shown.dtype, jnp.float32))
        shape = (*lead, order.size, *cell, channels)
        shown = _as_dtype(jax.image.resize(pixels, shape, "linear", antialias=True), video.dtype)
    grid = shown.reshape(*lead, num_frames, n, n, *cell, channels)
    result = jnp.moveaxis(grid, -3, -4).reshape(*lead, num_frames, *size, channels)
    if lengths is None:
        return result
    valid = ((lengths >= 1) & (lengths <= available))[..., None, None, None, None]
    invalid = jnp.nan if jnp.issubdtype(video.dtype, jnp.floating) else 0
    return jnp.where(valid, result, jnp.asarray(invalid, video.dtype))


def grid_order(n: int, num_frames: int, arrangement: Arrangement) -> np.ndarray:
    """Which of the ``num_frames * n**2`` frames each cell shows, ``[num_frames, n, n]``."""
    positions = np.arange(num_frames * n**2)
    if arrangement == "temporal":
        return positions.reshape(num_frames, n, n)
    return np.moveaxis(positions.reshape(n, n, num_frames), -1, 0)


def sampled(position: np.ndarray, available: Array | int, needed: int) -> Array:
    """The source frame of the positions among `needed` frames: sampled, or repeated if short."""
    # position * available // needed, without its overflow.
    uniform = position * (available // needed) + position * (available % needed) // needed
    return jnp.where(available < needed, position % available, uniform)


def _as_dtype(pixels: Array, dtype: jnp.dtype) -> Array:
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        pixels = jnp.clip(jnp.round(pixels), limits.min, limits.max)
    return pixels.astype(dtype)


def _video(frames: ArrayLike) -> Array:
    video = as_array(frames, "frames")
    is_pixel = video.dtype.kind in "iu" and video.dtype.itemsize <= 2  # exact in float32
    if not jnp.issubdtype(video.dtype, jnp.floating) and not is_pixel:
        raise TypeError(
            "frames must be floating point or integers of at most 16 bits, "
            f"got dtype {video.dtype}; convert them first, e.g. frames.astype(jnp.uint8)"
        )
    if video.ndim < 4 or 0 in video.shape[-4:]:
        raise ValueError(
            "frames must have shape [..., S, H, W, C] with no empty axis among the last four, "
            f"got {video.shape}; grey frames need a channel axis: frames[..., None]"
        )
    return video


def _size(size: tuple[int, int] | None, given: tuple[int, ...], n: int) -> tuple[int, int]:
    if size is not None:
        return grid_size(size, n)
    height, width = given
    return _divisible((height, width), n, "size (that of frames, as size is None)")


def grid_size(size: tuple[int, int], n: int) -> tuple[int, int]:
    """Checks height and width of a grid of n x n cells."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"size must be (height, width) or None, got {size!r}")
    height, width = (checks.positive_int(side, "size") for side in size)
    return _divisible((height, width), n, "size")


def _divisible(size: tuple[int, int], n: int, source: str) -> tuple[int, int]:
    if size[0] % n or size[1] % n:
        raise ValueError(f"{source} must be divisible by n={n}, got {size}")
    return size
