"""Temporal sequences of embeddings: resampling in time."""

import jax.numpy as jnp

from tempalign._engine import checks
from tempalign._engine.integers import multiply_divide
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import renamed
from tempalign._engine.problem import clear_padding
from tempalign._types import Array, ArrayLike


@in_our_modes
@renamed(length="num_frames")
def resample(series: ArrayLike, num_frames: int, *, lengths: ArrayLike | None = None) -> Array:
    """Resamples sequences to a common length, linearly in time with aligned endpoints.

    Output frame ``t`` shows source time ``t (T - 1) / (num_frames - 1)``; with ``num_frames=1``
    it is the first frame.

    Args:
        series: ``[..., T, F]`` sequences; bf16 and f16 are computed in float32.
        num_frames: number of output frames, >= 1.
        lengths: true lengths, integers that broadcast against the leading axes; frames past them
            (NaN and inf included) change nothing and get gradient 0. None: T.

    Returns:
        ``[..., num_frames, F]``; NaN where a traced length lies outside 1..T.

    Raises:
        ValueError: a wrong shape, `num_frames` < 1, or lengths outside 1..T.
        TypeError: a series that is not floating point, or counts that are not integers.

    Source:
        Ho and Madden, DejaVid, CVPR 2025: class samples are resampled to the centroid's length
        before they are averaged.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> tempalign.resample(jnp.array([[0.0], [2.0]]), 3)[:, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    x = checks.sequence(series, "series")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    count = checks.positive_int(num_frames, "num_frames")
    given = x.shape[-2]
    x, checked = clear_padding(x, lengths, "series", "lengths")
    full = given if checked is None else checks.usable_lengths(jnp.asarray(checked), given)
    last = jnp.asarray(full, jnp.int32) - 1
    last = jnp.broadcast_to(last, x.shape[:-2])[..., None]
    # In integers until the division: the endpoints are then hit exactly.
    steps = max(count - 1, 1)
    moment = jnp.arange(count, dtype=jnp.int32).reshape((1,) * (x.ndim - 2) + (count,))
    before, rest = multiply_divide(moment, last, steps, (count - 1, given - 1))
    fraction = (rest / steps).astype(x.dtype)[..., None]
    after = jnp.minimum(before + 1, last)
    left = jnp.take_along_axis(x, before[..., None], axis=-2)
    right = jnp.take_along_axis(x, after[..., None], axis=-2)
    # Where nothing of the next frame is in it, not even 0 times inf.
    result = jnp.where(fraction == 0, left, left + fraction * (right - left))
    valid = None if checked is None else checked[..., None, None]
    return checks.nan_where_invalid(result, (valid, given))
