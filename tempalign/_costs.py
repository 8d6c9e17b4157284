"""Local costs between the frames of two sequences.

Sums of differences are accumulated over the features by rank-1 updates,
``cost += f(x[:, k], y[:, k])``, in unrolled blocks of `_BLOCK` features inside one ``lax.scan``.
No ``[..., n, m, F]`` array exists at any time, the update vectorises (measured on a CPU: 0.04 ns
per element, against 3.7 ns for broadcast-and-sum), and differences are taken before they are
squared, so that nearby frames lose no precision to ``|x|^2 + |y|^2 - 2xy``. The pairs stand on
the last axes, as the recurrence wants them: no matrix is ever transposed.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign import _checks
from tempalign._types import Array, Cost

NAMES = ("sqeuclidean", "euclidean", "manhattan", "cosine")

_BLOCK = 16


@partial(jax.jit, static_argnames="cost")
def matrix(x: Array, y: Array, cost: Cost) -> Array:
    """Local costs between all frames.

    Args:
        x: ``[S, A, n, F]``.
        y: ``[S, C, m, F]``.
        cost: a name of `NAMES`, or a function ``(x [n, F], y [m, F]) -> [n, m]``.

    Returns:
        ``[n, m, S, A, C]``.

    Raises:
        ValueError: unknown name, or a callable that returns another shape.
    """
    if callable(cost):
        return _from_callable(x, y, cost)
    _checks.choice(cost, "cost", NAMES)
    if cost == "sqeuclidean":
        return _squared_euclidean(x, y)
    if cost == "euclidean":
        return _safe_sqrt(_squared_euclidean(x, y))
    if cost == "manhattan":
        return _accumulate(lambda a, b: absolute(a - b), _as_rows(x, "A"), _as_columns(y, "C"))
    return 1 - _inner(_unit(x), _unit(y))


@jax.custom_jvp
def _squared_euclidean(x: Array, y: Array) -> Array:
    return _accumulate(lambda a, b: jnp.square(a - b), _as_rows(x, "A"), _as_columns(y, "C"))


@_squared_euclidean.defjvp
def _squared_euclidean_jvp(primals, tangents):
    # 2 <x - y, dx - dy>, multiplied out: matrix products, and so are its transposes (measured on
    # a CPU: twenty times faster than the derivative of the sum over features). What multiplying
    # out loses where frames are far from 0, subtracting a common frame gives back.
    (x, y), (dx, dy) = primals, tangents
    origin = lax.stop_gradient(jnp.mean(y, axis=(1, 2), keepdims=True))
    a, b = x - origin, y - origin
    own_x = jnp.sum(a * dx, -1).transpose(2, 0, 1)[:, None, :, :, None]
    own = own_x + jnp.sum(b * dy, -1).transpose(2, 0, 1)[:, :, None, :]
    return _squared_euclidean(x, y), 2 * (own - _inner(a, dy) - _inner(dx, b))


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


def absolute(difference: Array) -> Array:
    """``|difference|`` with derivative 0 at 0 (the paper's `sign`), in two instructions."""
    return jnp.where(difference > 0, difference, -difference)


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
    got = jax.eval_shape(cost, x[0, 0], y[0, 0]) if x.size and y.size else None
    if got is not None and getattr(got, "shape", None) != expected:
        raise ValueError(
            f"cost must map x {x.shape[2:]} and y {y.shape[2:]} to a matrix {expected}, "
            f"got {getattr(got, 'shape', got)}"
        )
    over_y = jax.vmap(cost, in_axes=(None, 0), out_axes=-1)
    over_x = jax.vmap(over_y, in_axes=(0, None), out_axes=-2)
    return jax.vmap(over_x, out_axes=-3)(x, y)


def _safe_sqrt(value: Array) -> Array:
    # sqrt has an infinite slope at 0, and inf * 0 is NaN: the gradient there is 0 instead.
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)


def _unit(x: Array) -> Array:
    norm = _safe_sqrt(jnp.sum(jnp.square(x), -1, keepdims=True))
    # A zero vector has no direction: its cosine to anything is 0, its gradient finite.
    return x / jnp.where(norm > 0, norm, 1)


@dataclasses.dataclass(frozen=True)
class DampedCosine:
    """``1 - <a, b> / (|a| |b| + damping)``, as the common few-shot code computes it.

    Attributes:
        damping: what is added to the denominator, > 0.
    """

    damping: float

    def __call__(self, x: Array, y: Array) -> Array:
        norms = [_safe_sqrt(jnp.sum(jnp.square(a), -1)) for a in (x, y)]
        inner = jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)
        return 1 - inner / (norms[0][:, None] * norms[1] + self.damping)
