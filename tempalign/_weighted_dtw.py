"""DejaVid's time-weighted DTW."""

import jax
import jax.numpy as jnp

from tempalign._engine import checks, model
from tempalign._engine.along_path import Operands
from tempalign._engine.backends import choose
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import renamed
from tempalign._engine.problem import Inputs, clear_padding, inputs, pair_lengths, stored
from tempalign._engine.recurrence import Ends
from tempalign._engine.shards import alike
from tempalign._engine.weighted import distance
from tempalign._engine.weighted_backends import Static, wide_dtype
from tempalign._types import Array, ArrayLike, Implementation

PATH_PRECISIONS = ("float32", "float16")


@in_our_modes
@renamed(y_lengths="centroid_lengths")
def weighted_dtw(
    x: ArrayLike,
    centroid: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    diagonal: bool = False,
    path_from: tuple[ArrayLike, ArrayLike | None] | None = None,
    path_precision: str = "float32",
    x_lengths: ArrayLike | None = None,
    centroid_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    r"""Time-weighted DTW distance between sequences and (class) centroids.

    .. math::
        \min_\pi \sum_{(i, j) \in \pi} \sum_k w_{ik} |c_{ik} - x_{jk}|

    Without diagonal moves (the default, as in the paper) every path has ``Tc + T - 1`` cells.
    The path itself is not differentiated: derivatives are those of the sum along it, in forward and
    reverse mode to any order. Those of the first order visit the cells of the paths only; those of
    higher orders gather all that the paths visit, and are for small problems.
    Where ``c == x`` the gradient of the absolute value is 0.

    Ties when tracing back: the step in the centroid only if strictly smaller, else in the sample;
    with `diagonal`, the centroid if strictly smaller than both others, else the sample if
    strictly smaller than the diagonal, else the diagonal.

    Memory. On ``"xla"``, value and gradient together take at most
    ``4 (3 S A C Tc (Tc + T) + 2 F S (A T + 2 C Tc))`` bytes of temporaries in float32, where A, C
    and S count the leading axes of `x` alone, of the centroids alone, and of both: 0.2 GB for 48
    videos on Kinetics-400. No array has both the pairs and the features in it. The backward pass
    visits the cells of the paths only: ``O(S A C (Tc + T) F)`` operations.

    Args:
        x: ``[..., T, F]`` sequences of embeddings. float64 (under ``jax_enable_x64``) stays
            float64; bf16 and f16 (here, and in any other argument) are stored as they come and
            computed in float32.
        centroid: ``[..., Tc, F]``. Leading axes of `x` and `centroid` broadcast like NumPy:
            ``weighted_dtw(x[:, None], centroids)`` with ``x [B, T, F]`` and
            ``centroids [C, Tc, F]`` gives ``[B, C]``.
        weight: ``[..., Tc, F]``, broadcasts against `centroid`; None means ones. Positive in the
            paper (``exp`` of what is learned); not checked.
        diagonal: whether the step (1, 1) is allowed.
        path_from: ``(centroid0, weight0)`` that decide the path while the distance is evaluated
            along it with the live `centroid` and `weight`; no gradient reaches them. This is the
            paper's "fixed epoch centroids & weights" (Sec. 3.4). Shapes as the live ones.
        path_precision: ``"float16"`` allows kernels to compare frames in float16 when they look for
            the path; the distance along it and the gradients stay float32. Costs are then about
            2e-4 off, and fewer than one path in a hundred another one of about the same length.
            XLA looks for it in float32 all the same. Or ``"float32"``.
        x_lengths: true lengths of `x`, integers that broadcast to its leading axes; frames
            past them (NaN and inf included) change nothing and get gradient 0. None: T.
        centroid_lengths: likewise for `centroid` and `weight`. None: Tc.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` distances: float64 for float64 input, else float32. NaN, with its gradient,
        where a sequence or what decides its path has NaN inside, and for traced lengths outside
        1..T.

    Raises:
        ValueError: shapes that do not fit, a length outside 1..T, an unknown implementation or
            precision.
        TypeError: arrays that are not floating point, lengths that are not integers.

    Source:
        Ho and Madden, "DejaVid: Encoder-Agnostic Learned Temporal Matching for Video
        Classification", CVPR 2025, Algorithms 1 and 2.

    Example:
        >>> import jax, jax.numpy as jnp, tempalign
        >>> videos = jnp.ones((2, 5, 3))           # 2 videos, 5 frames, 3 features
        >>> centroids = jnp.zeros((4, 2, 3))       # 4 classes, 2 steps
        >>> jax.jit(tempalign.weighted_dtw)(videos[:, None], centroids).shape
        (2, 4)
    """
    checks.choice(path_precision, "path_precision", PATH_PRECISIONS)
    checks.flag(diagonal, "diagonal")
    live = _centroid_and_weight(centroid, weight, "centroid", "weight")
    given = inputs(x, live[0], x_lengths, centroid_lengths, names=("x", "centroid"), keep_half=True)
    pairs = given.pairs
    wide = wide_dtype(given.x, given.y)

    def rows_of(operand: Array) -> Array:
        """A centroid or weight in the grouping of the live centroid."""
        operand, _ = clear_padding(operand, centroid_lengths, "centroid", "centroid_lengths")
        operand = jnp.broadcast_to(operand, pairs.y_shape + operand.shape[-2:])
        return pairs.y_rows(stored(operand, wide), 2)

    decides = None
    if path_from is not None:
        decider = jax.lax.stop_gradient(_decider(path_from, live[0].shape))
        decides = rows_of(decider[0]), rows_of(decider[1])
    operands = Operands(given.x, given.y, rows_of(live[1]))
    operands, decides = alike((operands, decides))
    tc, t = given.y.shape[2], given.x.shape[2]
    ends = None
    if given.x_lengths is not None or given.y_lengths is not None:
        rows = pair_lengths(tc if given.y_lengths is None else given.y_lengths, tc, pairs)
        columns = pair_lengths(t if given.x_lengths is None else given.x_lengths, t, pairs)
        ends = Ends(rows.reshape(-1) - 1, columns.reshape(-1) - 1)
    spoiled = _spoiled(operands, decides, given, wide)
    described = model.weighted(bool(diagonal), path_precision == "float16")
    choice = choose("weighted_dtw", described, operands, implementation)
    spoiled, ends, operands, decides = alike((spoiled, ends, operands, decides))
    values = distance(Static(described, choice), operands, decides, ends, spoiled)
    return pairs.restore(values.reshape(pairs.sizes))


def _spoiled(
    operands: Operands, decides: tuple[Array, Array] | None, given: Inputs, dtype: jnp.dtype
) -> Array:
    """What makes a distance something else than a number, ``[S*A*C]``.

    0 where all is finite and in range, NaN where something is not a number or a traced length out
    of range, inf where something is infinite.
    """

    def seen(*arrays: Array) -> tuple[Array, Array]:
        """Whether NaN and whether inf is in each ``[S, R]`` of ``[S, R, frames, F]``."""
        peak = sum(jnp.max(jnp.abs(a), axis=(2, 3)).astype(dtype) for a in arrays)
        return jnp.isnan(peak), jnp.isinf(peak)

    x_nan, x_inf = seen(operands.x)
    class_nan, class_inf = seen(operands.centroid, operands.weight, *(decides or ()))
    nan = x_nan[:, :, None] | class_nan[:, None] | (x_inf[:, :, None] & class_inf[:, None])
    infinite = x_inf[:, :, None] | class_inf[:, None]
    for lengths, size in ((given.x_lengths, given.x), (given.y_lengths, given.y)):
        if lengths is not None:
            nan |= ~given.pairs.pair_rows(checks.in_range(jnp.asarray(lengths), size.shape[2]))
    zero = jnp.zeros(nan.shape, dtype)
    return jnp.where(nan, jnp.nan, jnp.where(infinite, jnp.inf, zero)).reshape(-1)


def _centroid_and_weight(
    centroid: ArrayLike, weight: ArrayLike | None, name: str, weight_name: str
) -> tuple[Array, Array]:
    """Centroid and weight as arrays of one shape."""
    centroid = checks.sequence(centroid, name)
    if weight is None:
        return centroid, jnp.ones_like(centroid)
    weight = checks.floating(weight, weight_name)
    shape = checks.broadcast_shapes({name: centroid.shape, weight_name: weight.shape})
    if shape[-2:] != centroid.shape[-2:]:
        raise ValueError(
            f"{weight_name} must broadcast against {name} {centroid.shape}, got {weight.shape}"
        )
    return jnp.broadcast_to(centroid, shape), jnp.broadcast_to(weight, shape)


def _decider(
    path_from: tuple[ArrayLike, ArrayLike | None], shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """The checked pair of `path_from`; its shape must be that of the live pair."""
    if not isinstance(path_from, (tuple, list)) or len(path_from) != 2:
        raise ValueError(
            "path_from must be a pair (centroid, weight), the weight may be None; "
            f"got {type(path_from).__name__}"
        )
    centroid, weight = _centroid_and_weight(*path_from, "path_from[0]", "path_from[1]")
    if centroid.shape != shape:
        raise ValueError(
            "path_from must have the shape of the live centroid and weight, "
            f"{shape}, got {centroid.shape}"
        )
    return centroid, weight
