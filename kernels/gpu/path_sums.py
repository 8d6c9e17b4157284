"""Costs and gradients along given paths: only the cells of the paths are touched.

A path spends consecutive frames in each centroid step, so every sum here is a loop over a range
read from memory. Programs share no result: no atomics, and the order of additions is fixed.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.short_path import Paths

FEATURES = 256  # of a program, or of a turn of it
_WARPS = 1  # eight features for each thread: a frame is a few wide loads, and little else
_SAMPLES = 2  # of a program that sums costs: they share what it reads of the class


def path_cost(x: Array, centroid: Array, weight: Array, paths: Paths, *, interpret: bool) -> Array:
    """Sums of ``weight |centroid - x|`` over the cells of each path, ``[C * A]``.

    Args:
        x: ``[A, T, F]``.
        centroid: ``[C, Tc, F]``.
        weight: ``[C, Tc, F]``.
        paths: of all lanes.
        interpret: see `launch.call`.

    Returns:
        float32 ``[C * A]``.
    """
    x, centroid, weight = map(_padded, (x, centroid, weight))
    samples, classes = x.shape[0], centroid.shape[0]
    # Classes side by side read the same videos at the same time, from the nearest cache.
    (value,) = launch.call(
        partial(_cost_kernel, interpret=interpret),
        x,
        centroid,
        weight,
        *paths,
        grid=(classes, -(-samples // _SAMPLES)),
        out_shape=[jax.ShapeDtypeStruct((classes * samples,), jnp.float32)],
        name="path_cost",
        interpret=interpret,
        num_warps=_WARPS,
    )
    return value


def to_class(
    x: Array, centroid: Array, weight: Array, paths: Paths, cotangent: Array, *, interpret: bool
) -> tuple[Array, Array]:
    """Gradients of ``sum(cotangent * path_cost)`` to `centroid` and `weight`, ``[C, Tc, F]``."""
    features = x.shape[-1]
    x, centroid, weight = map(_padded, (x, centroid, weight))
    classes, steps, padded = centroid.shape
    shape = jax.ShapeDtypeStruct(centroid.shape, jnp.float32)
    to_centroid, to_weight = launch.call(
        partial(_class_kernel, interpret=interpret),
        x,
        centroid,
        weight,
        *paths,
        cotangent,
        grid=(classes, steps, padded // FEATURES),
        out_shape=[shape, shape],
        name="path_gradient_class",
        interpret=interpret,
        num_warps=_WARPS,
    )
    return to_centroid[..., :features], to_weight[..., :features]


def to_sample(
    x: Array, centroid: Array, weight: Array, paths: Paths, cotangent: Array, *, interpret: bool
) -> Array:
    """The gradient of ``sum(cotangent * path_cost)`` to `x`, ``[A, T, F]``."""
    features = x.shape[-1]
    x, centroid, weight = map(_padded, (x, centroid, weight))
    samples, frames, padded = x.shape
    (to_x,) = launch.call(
        partial(_sample_kernel, interpret=interpret),
        x,
        centroid,
        weight,
        *paths,
        cotangent,
        grid=(samples, frames, padded // FEATURES),
        out_shape=[jax.ShapeDtypeStruct(x.shape, jnp.float32)],
        name="path_gradient_sample",
        interpret=interpret,
        num_warps=_WARPS,
    )
    return to_x[..., :features]


def padded_features(num_features: int) -> int:
    """How many features an operand has in whole blocks of them."""
    return -(-num_features // FEATURES) * FEATURES


def _padded(operand: Array) -> Array:
    """Whole blocks of features; a zero contributes 0 to every sum."""
    fill = padded_features(operand.shape[-1]) - operand.shape[-1]
    return jnp.pad(operand, ((0, 0), (0, 0), (0, fill)))


def _wide(ref, *index):
    return ref[index].astype(jnp.float32)


def _cost_kernel(x_ref, centroid_ref, weight_ref, first_ref, last_ref, value_ref, *, interpret):
    of_class, num_samples = launch.program(0), x_ref.shape[0]
    # Behind the last sample it is done again; both write the same.
    samples = [
        jnp.minimum(launch.program(1) * _SAMPLES + s, num_samples - 1) for s in range(_SAMPLES)
    ]
    lanes = [of_class * num_samples + sample for sample in samples]

    def feature_block(index, totals):
        features = launch.block(index * FEATURES, FEATURES)

        def step(i, totals):
            centroid = _wide(centroid_ref, of_class, i, features)
            weight = _wide(weight_ref, of_class, i, features)

            def along(sample, lane, total):
                def frame(j, total):
                    distance = jnp.abs(centroid - _wide(x_ref, sample, j, features))
                    return launch.multiply_add(weight, distance, total, interpret)

                return lax.fori_loop(first_ref[i, lane], last_ref[i, lane] + 1, frame, total)

            return tuple(map(along, samples, lanes, totals))

        return lax.fori_loop(0, centroid_ref.shape[1], step, totals)

    blocks = x_ref.shape[-1] // FEATURES
    nothing = tuple(jnp.zeros(FEATURES, jnp.float32) for _ in samples)
    totals = lax.fori_loop(0, blocks, feature_block, nothing)
    for lane, total in zip(lanes, totals, strict=True):
        value_ref[lane] = jnp.sum(total)


def _class_kernel(
    x_ref,
    centroid_ref,
    weight_ref,
    first_ref,
    last_ref,
    cotangent_ref,
    to_centroid_ref,
    to_weight_ref,
    *,
    interpret,
):
    of_class, step = launch.program(0), launch.program(1)
    features = launch.block(launch.program(2) * FEATURES, FEATURES)
    num_samples = x_ref.shape[0]
    centroid = _wide(centroid_ref, of_class, step, features)
    nothing = jnp.zeros(FEATURES, jnp.float32)

    def sample(a, totals):
        lane = of_class * num_samples + a
        scale = cotangent_ref[lane]

        def frame(j, totals):
            above, to_weight, all_of_it = totals
            difference = centroid - _wide(x_ref, a, j, features)
            # sign(d) = 2 positive(d) - 1, and what is not positive is taken off in one number.
            positive = launch.is_positive(difference, interpret)
            above = launch.multiply_add(positive, 2 * scale, above, interpret)
            distance = jnp.abs(difference)
            to_weight = launch.multiply_add(distance, scale, to_weight, interpret)
            return above, to_weight, all_of_it + scale

        return lax.fori_loop(first_ref[step, lane], last_ref[step, lane] + 1, frame, totals)

    start = nothing, nothing, jnp.float32(0)
    above, to_weight, all_of_it = lax.fori_loop(0, num_samples, sample, start)
    weight = _wide(weight_ref, of_class, step, features)
    to_centroid_ref[of_class, step, features] = (above - all_of_it) * weight
    to_weight_ref[of_class, step, features] = to_weight


def _sample_kernel(
    x_ref,
    centroid_ref,
    weight_ref,
    first_ref,
    last_ref,
    cotangent_ref,
    to_x_ref,
    *,
    interpret,
):
    sample, frame = launch.program(0), launch.program(1)
    features = launch.block(launch.program(2) * FEATURES, FEATURES)
    num_samples = x_ref.shape[0]
    num_classes, num_steps, _ = centroid_ref.shape
    x = _wide(x_ref, sample, frame, features)

    def one_class(of_class, total):
        lane = of_class * num_samples + sample
        scale = cotangent_ref[lane]

        def step(i, total):
            def add(_, total):
                centroid = _wide(centroid_ref, of_class, i, features)
                weight = _wide(weight_ref, of_class, i, features)
                sign = 1 - 2 * launch.is_positive(centroid - x, interpret)
                return total + scale * weight * sign

            # One turn if the path spends this frame in this step, else none.
            first = jnp.maximum(first_ref[i, lane], frame)
            stop = jnp.minimum(last_ref[i, lane], frame) + 1
            return lax.fori_loop(first, stop, add, total)

        return lax.fori_loop(0, num_steps, step, total)

    start = jnp.zeros(FEATURES, jnp.float32)
    to_x_ref[sample, frame, features] = lax.fori_loop(0, num_classes, one_class, start)
