"""DejaVid's time-weighted DTW."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tempalign import _checks, _costs, _dispatch, _hard, _path_cost
from tempalign._path_cost import Operands
from tempalign._problem import inputs, lane_ends, stored, to_lanes
from tempalign._recurrence import Ends, Moves
from tempalign._shards import alike
from tempalign._types import Array, ArrayLike, Implementation, ImplementationName

PATH_PRECISIONS = ("float32", "float16")


def weighted_dtw(
    x: ArrayLike,
    centroid: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    diagonal: bool = False,
    path_from: tuple[ArrayLike, ArrayLike | None] | None = None,
    path_precision: str = "float32",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    r"""Time-weighted DTW distance between sequences and (class) centroids.

    .. math::
        \min_\pi \sum_{(i, j) \in \pi} \sum_k w_{ik} |c_{ik} - x_{jk}|

    Without diagonal moves (the default, as in the paper) every path has ``Tc + T - 1`` cells.
    The path itself is not differentiated: gradients are those of the sum along it, in reverse mode
    and of first order (for others, `tempalign.dtw_from_cost` of an explicit cost matrix). Where
    ``c == x`` the gradient of the absolute value is 0.

    Ties when tracing back: the step in the centroid only if strictly smaller, else in the sample;
    with `diagonal`, the centroid if strictly smaller than both others, else the sample if
    strictly smaller than the diagonal, else the diagonal.

    Memory. On ``"xla"``, value and gradient together take at most
    ``4 (3 S A C Tc (Tc + T) + 2 F S (A T + 2 C Tc))`` bytes of temporaries in float32, where A, C
    and S count the leading axes of `x` alone, of the centroids alone, and of both: 0.2 GB for 48
    videos on Kinetics-400. No array has both the pairs and the features in it. The backward pass
    visits the cells of the paths only: ``O(S A C (Tc + T) F)`` operations.

    Args:
        x: ``[..., T, F]`` sequences of embeddings. float64 stays float64; bf16 and f16 (here, and
            in any other argument) are stored as they come and computed in float32.
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
        x_lengths: true lengths of `x`, integers that broadcast against its leading axes; frames
            past them (NaN and inf included) change nothing and get gradient 0. None: T.
        y_lengths: likewise for `centroid` and `weight`. None: Tc.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` distances: float64 for float64 input, else float32. Traced lengths outside 1..T
        give NaN.

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
    _checks.choice(path_precision, "path_precision", PATH_PRECISIONS)
    live = _centroid_and_weight(centroid, weight, "centroid", "weight")
    given = inputs(x, live[0], x_lengths, y_lengths, names=("x", "centroid"), keep_half=True)
    pairs = given.pairs
    wide = _wide_dtype(given.x, given.y)

    def rows_of(operand: Array) -> Array:
        """A centroid or weight in the grouping of the live centroid."""
        operand = jnp.broadcast_to(operand, pairs.y_shape + operand.shape[-2:])
        return pairs.y_rows(stored(operand, wide), 2)

    decides = None
    if path_from is not None:
        centroid0, weight0 = jax.lax.stop_gradient(_decider(path_from, live[0].shape))
        decides = rows_of(centroid0), rows_of(weight0)
    operands = Operands(given.x, given.y, rows_of(live[1]))
    operands, decides = alike((operands, decides))
    taken = _dispatch.select("weighted_dtw", implementation, operands)
    tc, t = given.y.shape[2], given.x.shape[2]
    ends = lane_ends(given.y_lengths, given.x_lengths, tc, t, pairs)
    options = _Options(taken, diagonal, path_precision == "float16")
    values = _lane_distance(options, operands, decides, ends)
    values = pairs.restore(values.reshape(pairs.sizes))
    return _checks.nan_where_invalid(values, (given.x_lengths, t), (given.y_lengths, tc))


class _Options(NamedTuple):
    """What a call is compiled for.

    Attributes:
        taken: the implementation.
        diagonal: as given.
        half_paths: whether float16 may decide the paths.
    """

    taken: ImplementationName
    diagonal: bool
    half_paths: bool


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lane_distance(
    options: _Options,
    operands: Operands,
    decides: tuple[Array, Array] | None,
    ends: Ends | None,
) -> Array:
    """Distances ``[S*A*C]``; `decides` is the centroid and weight that choose the paths."""
    if decides is None and options.taken == "xla":
        return _hard.value(_lane_costs(_wide(operands)), ends, Moves(options.diagonal))
    value, _ = _lane_distance_forward(options, operands, decides, ends)
    return value


def _lane_distance_forward(
    options: _Options,
    operands: Operands,
    decides: tuple[Array, Array] | None,
    ends: Ends | None,
) -> tuple[Array, tuple[Operands, Any]]:
    if options.taken != "xla":
        value, paths = _dispatch.kernels("weighted_dtw").forward(
            operands,
            decides,
            ends,
            diagonal=options.diagonal,
            half_paths=options.half_paths,
            interpret=options.taken == "pallas_interpret",
        )
        return value, (operands, paths)
    live = _wide(operands)
    chooser = live if decides is None else _wide(Operands(operands.x, *decides))
    value, rows = _hard.path(_lane_costs(chooser), ends, Moves(options.diagonal))
    if decides is not None:
        value = _path_cost.path_cost(live, rows)
    return value, (operands, rows)


def _lane_distance_backward(
    options: _Options, residuals: tuple[Operands, Any], cotangent: Array
) -> tuple[Operands, None, None]:
    operands, paths = residuals
    if options.taken == "xla":
        gradients = _path_cost.path_gradients(_wide(operands), paths, cotangent)
    else:
        gradients = _dispatch.kernels("weighted_dtw").backward(
            operands, paths, cotangent, interpret=options.taken == "pallas_interpret"
        )
    return jax.tree.map(lambda g, o: g.astype(o.dtype), gradients, operands), None, None


_lane_distance.defvjp(_lane_distance_forward, _lane_distance_backward)


def _wide_dtype(*arrays: Array) -> Any:
    """What is computed in: float32, or float64 if one of the arrays is."""
    return jnp.result_type(jnp.float32, *arrays)


def _wide(operands: Operands) -> Operands:
    """The operands in the dtype that is computed in."""
    dtype = _wide_dtype(*operands)
    return Operands(*(operand.astype(dtype) for operand in operands))


def _lane_costs(operands: Operands) -> Array:
    return to_lanes(_costs.weighted_manhattan(*operands))


def _centroid_and_weight(
    centroid: ArrayLike, weight: ArrayLike | None, name: str, weight_name: str
) -> tuple[Array, Array]:
    """Centroid and weight as arrays of one shape."""
    centroid = _checks.sequence(centroid, name)
    if weight is None:
        return centroid, jnp.ones_like(centroid)
    weight = _checks.floating(weight, weight_name)
    shape = _checks.broadcast_shapes({name: centroid.shape, weight_name: weight.shape})
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
