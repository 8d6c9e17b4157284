"""Local costs between the frames of two sequences, and their derivatives.

Sums of differences are accumulated over the features by rank-1 updates,
``cost += f(x[:, k] - y[:, k])``, in unrolled blocks of `_BLOCK` features inside one ``lax.scan``.
No ``[..., n, m, F]`` array exists at any time, the update vectorises (measured on a CPU: 0.04 ns
per element, against 3.7 ns for broadcast-and-sum), and differences are taken before they are
squared, so that nearby frames lose no precision to ``|x|^2 + |y|^2 - 2xy``. The pairs stand on
the last axes, as the recurrence wants them: no matrix is ever transposed.

Derivatives are summed as they are written, ``sum_j E_ij f'(x_i - y_j)``: difference by difference,
a frame of y after the other. Multiplied out it would be a matrix product and lose, to frames that
are far from 0, what `E` cancels; and what a pair gives must not depend on the other pairs, so no
origin may be shared. As fast as the product on a CPU, which needs E transposed (measured).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import checks
from tempalign._engine.model import LocalCost
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array

NAMES = ("sqeuclidean", "euclidean", "manhattan", "cosine")

_BLOCK = 16


def matrix(x: Array, y: Array, cost: LocalCost) -> Array:
    """Local costs between all frames.

    A frame with NaN in it costs NaN against every frame, whatever the cost.

    Args:
        x: ``[S, A, n, F]``; with ``cost="given"`` local costs ``[S, 1, n, m]``.
        y: ``[S, C, m, F]``; not looked at beside given costs.
        cost: a name of `NAMES`, a function ``(x [n, F], y [m, F]) -> [n, m]``, or "given".

    Returns:
        ``[n, m, S, A, C]``, of the dtype of `x`.

    Raises:
        ValueError: unknown name, or a callable that returns another shape.
        TypeError: a callable that returns something that is not a real array.
    """
    if callable(cost):
        bad_x, bad_y = (jnp.any(jnp.isnan(a), axis=-1) for a in (x, y))
        x, y = (jnp.where(bad[..., None], 0, a) for bad, a in ((bad_x, x), (bad_y, y)))
        return jnp.where(_either(bad_x, bad_y), jnp.nan, _from_callable(x, y, cost))
    if cost == "given":
        return x.transpose(2, 3, 0, 1)[..., None]
    checks.choice(cost, "cost", NAMES)
    if cost == "sqeuclidean":
        return _summed(jnp.square, _twice, x, y)
    if cost == "euclidean":
        return safe_sqrt(_summed(jnp.square, _twice, x, y))
    if cost == "manhattan":
        return _summed(absolute, jnp.sign, x, y)
    return 1 - _similarity(x, y)


def absolute(difference: Array) -> Array:
    """``|difference|`` with derivative 0 at 0 (the paper's `sign`), in two instructions."""
    return jnp.where(difference > 0, difference, -difference)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _summed(term: Callable[[Array], Array], slope: Callable[[Array], Array], x: Array, y: Array):
    """``sum_k term(x_k - y_k)``, where `slope` is the derivative of `term`."""
    return _accumulate(lambda a, b: term(a - b), _as_rows(x, "A"), _as_columns(y, "C"))


@_summed.defjvp
@in_our_modes
def _summed_jvp(term, slope, primals, tangents):
    x, y = primals
    dx, dy = tangents
    # What is not finite makes its own costs so; here 0 times it would reach the other pairs.
    a, b = _finite(x), _finite(y)
    by_x = _along(slope, a, b, dx)  # [C, m, n, S, A]
    by_y = _along(slope, b, a, dy)  # [A, n, m, S, C]; the slope is odd
    pushed = by_x.transpose(2, 1, 3, 4, 0) + by_y.transpose(1, 2, 3, 0, 4)
    return _summed(term, slope, x, y), pushed


def _along(slope: Callable[[Array], Array], x: Array, y: Array, dx: Array) -> Array:
    """``sum_k slope(x_k - y_k) dx_k``, ``[C, m, n, S, A]``, y's frames one after the other.

    Written so that its transpose, the gradient with respect to x, adds the frames of y up in
    unrolled blocks of elementwise code.
    """
    shared, own_y, m, features = y.shape
    # Features stand where they fill a vector register: last if there are enough of them.
    last = features >= 8
    order = (2, 0, 1, 3) if last else (3, 2, 0, 1)
    axis = -1 if last else 0
    x, dx = x.transpose(order), dx.transpose(order)  # [n, S, A, F] or [F, n, S, A]
    y = y.transpose(1, 2, 0, 3).reshape(own_y * m, shared, features)
    y = y[:, None, :, None, :] if last else y.transpose(0, 2, 1)[:, :, None, :, None]
    count = own_y * m
    block = max(min(_BLOCK, count), 1) if isinstance(count, int) else _BLOCK  # or symbolic
    blocks = -(-count // block)
    y = jnp.pad(y, ((0, blocks * block - count),) + ((0, 0),) * 4)

    # Recomputed in the backward pass: otherwise the differences of all frames would be kept.
    @jax.checkpoint
    def add_block(x: Array, dx: Array, frames: Array) -> tuple[Array, ...]:
        return tuple(jnp.sum(slope(x - frames[k]) * dx, axis) for k in range(block))

    if blocks == 1:
        pushed = jnp.stack(add_block(x, dx, y))
    else:
        split = y.reshape((blocks, block) + y.shape[1:])
        _, parts = lax.scan(lambda _, frames: (None, add_block(x, dx, frames)), None, split)
        pushed = jnp.stack(parts, 1).reshape((blocks * block,) + parts[0].shape[1:])
    return pushed[:count].reshape((own_y, m) + pushed.shape[1:])


def _twice(difference: Array) -> Array:
    return 2 * difference


def _finite(x: Array) -> Array:
    return jnp.where(jnp.isfinite(x), x, 0)


def _either(bad_x: Array, bad_y: Array) -> Array:
    """Where one frame of a pair is bad, ``[n, m, S, A, C]`` of ``[S, A, n]`` and ``[S, C, m]``.

    NaN is put there, and taken out of what is computed: so a derivative never meets it, and a pair
    that nobody asks about (whose cotangent is 0) cannot reach the gradient of another.
    """
    return bad_x.transpose(2, 0, 1)[:, None, :, :, None] | bad_y.transpose(2, 0, 1)[:, :, None, :]


@jax.custom_jvp
def _similarity(x: Array, y: Array) -> Array:
    """Cosines between all frames, ``[n, m, S, A, C]``; NaN beside a frame that is not finite."""
    (x, bad_x), (y, bad_y) = unit(x), unit(y)
    return jnp.where(_either(bad_x, bad_y), jnp.nan, _inner(x, y))


@_similarity.defjvp
@in_our_modes
def _similarity_jvp(primals, tangents):
    # With u = x / |x| and v = y / |y|: d <u, v> = <dx / |x|, v> - <u, v> <u, dx / |x|> + ..., whose
    # transpose needs one pass over the features. (Autodiff takes four, and a third more time.)
    (u, inverse_x), (v, inverse_y) = map(_direction, primals)
    dx, dy = (
        jnp.where(jnp.isfinite(inverse), inverse, 0) * tangent
        for inverse, tangent in zip((inverse_x, inverse_y), tangents, strict=True)
    )
    found = _inner(u, v)
    along_x = jnp.sum(u * dx, axis=-1).transpose(2, 0, 1)[:, None, :, :, None]
    along_y = jnp.sum(v * dy, axis=-1).transpose(2, 0, 1)[None, :, :, None, :]
    pushed = _inner(dx, v) + _inner(u, dy) - found * (along_x + along_y)
    bad = _either(~jnp.isfinite(inverse_x[..., 0]), ~jnp.isfinite(inverse_y[..., 0]))
    return jnp.where(bad, jnp.nan, found), jnp.where(bad, 0, pushed)


def _inner(x: Array, y: Array) -> Array:
    """Inner products of all frames, ``[n, m, S, A, C]``."""
    return jnp.einsum("sanf,scmf->nmsac", x, y, precision=lax.Precision.HIGHEST)


@jax.jit
def weighted_manhattan(x: Array, centroid: Array, weight: Array) -> Array:
    """DejaVid's cost, ``sum_k weight[i, k] * |centroid[i, k] - x[j, k]|`` (paper, Sec. 3.1).

    Args:
        x: ``[S, A, T, F]``.
        centroid: ``[S, C, Tc, F]``.
        weight: like `centroid`.

    Returns:
        ``[Tc, T, S, A, C]``.
    """
    rows = [_as_rows(operand, "C") for operand in (centroid, weight)]
    return _accumulate(lambda c, w, b: w * absolute(c - b), *rows, _as_columns(x, "A"))


def _as_rows(x: Array, lanes: str) -> Array:
    """``[S, R, n, F]`` as ``[F, n, 1, S, A, 1]`` or, for `lanes` "C", ``[F, n, 1, S, 1, C]``."""
    return jnp.expand_dims(x.transpose(3, 2, 0, 1), (2, 5) if lanes == "A" else (2, 4))


def _as_columns(y: Array, lanes: str) -> Array:
    """``[S, R, m, F]`` as ``[F, 1, m, S, A, 1]`` or, for `lanes` "C", ``[F, 1, m, S, 1, C]``."""
    return jnp.expand_dims(y.transpose(3, 2, 0, 1), (1, 5) if lanes == "A" else (1, 4))


def _accumulate(update: Callable[..., Array], *operands: Array) -> Array:
    """``sum_k update(*operands[k])``, ``[n, m, S, A, C]``.

    Args:
        update: elementwise function of one feature of each operand.
        *operands: arrays ``[F, ...]`` that broadcast to ``[F, n, m, S, A, C]``.
    """
    features = operands[0].shape[0]
    block = min(_BLOCK, features)
    blocks = -(-features // block)

    def blocked(operand: Array) -> Array:
        fill = ((0, blocks * block - features),) + ((0, 0),) * (operand.ndim - 1)
        return jnp.pad(operand, fill).reshape((blocks, block) + operand.shape[1:])

    # Recomputed in the backward pass: otherwise autodiff would keep what this file avoids.
    @jax.checkpoint
    def add_block(total: Array, slices: list[Array]) -> tuple[Array, None]:
        for k in range(block):
            total = total + update(*(operand[k] for operand in slices))
        return total, None

    shape = jnp.broadcast_shapes(*(operand.shape[1:] for operand in operands))
    start = jnp.zeros_like(operands[0], shape=shape)
    # A padded feature is 0 in every operand and contributes update(0, ..., 0) = 0.
    split = [blocked(operand) for operand in operands]
    if blocks == 1:
        return add_block(start, [operand[0] for operand in split])[0]
    return lax.scan(add_block, start, split)[0]


def _from_callable(x: Array, y: Array, cost: Callable[[Array, Array], Array]) -> Array:
    expected = (x.shape[2], y.shape[2])
    got: Any = jax.eval_shape(cost, x[0, 0], y[0, 0]) if x.size and y.size else None
    if got is not None:
        if getattr(got, "shape", None) != expected:
            raise ValueError(
                f"cost must map x {x.shape[2:]} and y {y.shape[2:]} to a matrix {expected}, "
                f"got {getattr(got, 'shape', got)}"
            )
        if jnp.issubdtype(got.dtype, jnp.complexfloating):
            raise TypeError(f"cost must return real numbers, got dtype {got.dtype}")
    over_y = jax.vmap(cost, in_axes=(None, 0), out_axes=-1)
    over_x = jax.vmap(over_y, in_axes=(0, None), out_axes=-2)
    # Whatever it computes in, what is summed along paths are numbers of our precision.
    return jax.vmap(over_x, out_axes=-3)(x, y).astype(x.dtype)


def safe_sqrt(value: Array) -> Array:
    """Square roots whose slope at 0 and at infinity is 0; NaN stays what it is.

    That of `sqrt` at 0 is infinite, and inf * 0 is NaN.
    """
    smooth = (value > 0) & (value < jnp.inf)
    root = jnp.sqrt(jnp.where(smooth, value, 1))
    return jnp.where(smooth, root, lax.stop_gradient(value))


def scaled(x: Array) -> tuple[Array, Array]:
    """Vectors ``[..., F]`` by their largest entry, and that entry ``[..., 1]``, 1 for zero vectors.

    Their squares then neither overflow nor vanish. The scale is a constant to autodiff: what is
    made of the two must not depend on how a vector is split.
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    # Behind a barrier: the compiler would multiply scales with each other, and they overflow.
    return lax.optimization_barrier(x / scale), scale


def unit(x: Array) -> tuple[Array, Array]:
    """Vectors ``[..., F]`` of length 1, and which ``[...]`` have a number that is not finite.

    A zero vector, which has no direction, stays one, with gradient 0; so does what is not finite.
    """
    direction, inverse = _direction(x)
    return direction, ~jnp.isfinite(inverse[..., 0])


@jax.custom_jvp
def _direction(x: Array) -> tuple[Array, Array]:
    """``x / |x|`` and ``1 / |x|``, both 0 for a zero vector; 0 and NaN for one with inf or NaN."""
    info = jnp.finfo(x.dtype)
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    # From here on what vanished of the squares is below the rounding of their sum.
    smallest = x.shape[-1] * float(info.tiny) / float(info.eps)

    def of_any_size(x: Array, squares: Array) -> tuple[Array, Array, Array]:
        largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
        finite = largest < jnp.inf
        inverse = 1 / jnp.where((largest > 0) & finite, largest, 1)
        scaled = lax.optimization_barrier(jnp.where(finite, x * inverse, 0))
        rest = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
        # To the bit what the others would be without this one.
        return jnp.where(usual, 1, inverse), jnp.where(usual, squares, rest), finite

    def of_usual_size(_: Array, squares: Array) -> tuple[Array, Array, Array]:
        return jnp.ones_like(squares), squares, squares >= 0

    usual = (squares >= smallest) & (squares < jnp.inf)
    scale, squares, finite = lax.cond(jnp.all(usual), of_usual_size, of_any_size, x, squares)
    inverse = jnp.where(squares > 0, lax.rsqrt(squares), 0)
    # Behind a barrier: the compiler would multiply the scales with each other, and they overflow.
    scale, inverse = lax.optimization_barrier((scale, inverse))
    direction = jnp.where(finite, (x * scale) * inverse, 0)
    return direction, jnp.where(finite, scale * inverse, jnp.nan)


@_direction.defjvp
@in_our_modes
def _direction_jvp(primals, tangents):
    ((x,), (dx,)) = primals, tangents
    direction, inverse = _direction(x)
    turned = jnp.where(jnp.isfinite(inverse), inverse, 0) * dx
    along = jnp.sum(direction * turned, axis=-1, keepdims=True)
    return (direction, inverse), (turned - direction * along, -inverse * along)


@dataclasses.dataclass(frozen=True)
class DampedCosine:
    """``1 - <a, b> / (|a| |b| + damping)``, as the common few-shot code computes it.

    Attributes:
        damping: what is added to the denominator, > 0.
    """

    damping: float

    def __call__(self, x: Array, y: Array) -> Array:
        (x, x_scale), (y, y_scale) = scaled(x), scaled(y)
        norms = [safe_sqrt(jnp.sum(jnp.square(a), -1)) for a in (x, y)]
        inner = jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)
        damping = (self.damping / x_scale) / y_scale.T
        return 1 - inner / (norms[0][:, None] * norms[1] + damping)
