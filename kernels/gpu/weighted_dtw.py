"""DejaVid's distance on kernels: costs, shortest paths, then sums along the paths.

Called through `tempalign.weighted_dtw` only. A pair is a sample a and a class c; shared leading
axes S are a `vmap`. Lanes of the caller run over (S, A, C), those of the kernels over (C, A).
"""

import jax
import jax.numpy as jnp

from tempalign._engine.along_path import Operands
from tempalign._engine.model import Model, weighted
from tempalign._engine.recurrence import Ends
from tempalign._types import Array
from tempalign.kernels.gpu import launch, path_sums, short_path, weighted_cost
from tempalign.kernels.gpu.short_path import MAX_STEPS, Paths

_STORED = (jnp.float32, jnp.bfloat16, jnp.float16)


def refuses(model: Model, operands: Operands | None) -> str | None:
    """Why the kernels cannot serve a call, or None.

    Args:
        model: what is to be computed.
        operands: ``x [S, A, T, F]``, ``centroid`` and ``weight [S, C, Tc, F]``; None: not known.
    """
    if model != weighted(model.diagonal.allowed == "everywhere", model.half_paths):
        return "the kernels take plain steps from the first to the last cell only"
    if operands is None or launch.no_tiles() is not None:
        return launch.no_tiles()
    (_, samples, frames, _), (_, classes, steps, _) = operands.x.shape, operands.centroid.shape
    for operand in operands:
        if operand.dtype not in _STORED:
            return f"the kernels compute in float32, not {operand.dtype}"
    if 0 in operands.x.shape or 0 in operands.centroid.shape:
        return "there is nothing to compute"
    if steps > MAX_STEPS:
        return f"the kernels take at most {MAX_STEPS} centroid steps, not {steps}"
    if weighted_cost.too_many(classes * steps, samples * frames):
        return f"{classes} x {steps} centroid steps and {samples} x {frames} frames are too many"
    return None


def forward(
    model: Model,
    operands: Operands,
    decides: tuple[Array, Array] | None,
    ends: Ends | None,
    *,
    interpret: bool,
) -> tuple[Array, Paths]:
    """Distances ``[S * A * C]`` and the paths ``[S, Tc, C * A]``, which `backward` needs.

    Args:
        model: whether paths may step diagonally, and be chosen by costs in float16.
        operands: see `refuses`.
        decides: centroid and weight that choose the paths, or None for those of `operands`.
        ends: last cells of the lanes, or None for (Tc-1, T-1) everywhere.
        interpret: run the kernels as plain jax.
    """
    (shared, samples, frames, _), (_, classes, steps, _) = (
        operands.x.shape,
        operands.centroid.shape,
    )
    diagonal, half_paths = model.diagonal.allowed == "everywhere", model.half_paths

    def by_class(lanes: Array) -> Array:
        lanes = lanes.reshape(shared, samples, classes)
        return lanes.transpose(0, 2, 1).reshape(shared, classes * samples)

    if ends is None:
        last = [
            jnp.full_like(operands.x, size - 1, shape=(), dtype=jnp.int32)
            for size in (steps, frames)
        ]
        ends = Ends(*(jnp.broadcast_to(end, shared * samples * classes) for end in last))

    def one(operands: Operands, decides, row: Array, column: Array) -> tuple[Array, Paths]:
        chooser = operands if decides is None else Operands(operands.x, *decides)
        cost = weighted_cost.forward(*chooser, half=half_paths, interpret=interpret)
        value, paths = short_path.forward(
            cost,
            (row, column),
            num_samples=samples,
            num_steps=steps,
            num_frames=frames,
            diagonal=diagonal,
            interpret=interpret,
        )
        if decides is not None or half_paths:
            value = path_sums.path_cost(*operands, paths, interpret=interpret)
        return value, paths

    value, paths = _over_shared(one)(operands, decides, by_class(ends.row), by_class(ends.column))
    value = value.reshape(shared, classes, samples).transpose(0, 2, 1).reshape(-1)
    return value, paths


def backward(operands: Operands, paths: Paths, cotangent: Array, *, interpret: bool) -> Operands:
    """Gradients of ``sum(cotangent * distance)``; what nobody uses is not computed under jit."""
    (shared, samples, _, _), (_, classes, _, _) = operands.x.shape, operands.centroid.shape
    cotangent = cotangent.reshape(shared, samples, classes)
    cotangent = cotangent.transpose(0, 2, 1).reshape(shared, classes * samples)
    arguments = operands, paths, cotangent

    def to_class(operands: Operands, paths: Paths, cotangent: Array) -> tuple[Array, Array]:
        return path_sums.to_class(*operands, paths, cotangent, interpret=interpret)

    def to_sample(operands: Operands, paths: Paths, cotangent: Array) -> Array:
        return path_sums.to_sample(*operands, paths, cotangent, interpret=interpret)

    to_centroid, to_weight = _over_shared(to_class)(*arguments)
    return Operands(_over_shared(to_sample)(*arguments), to_centroid, to_weight)


def paths_as_ranges(operands: Operands, value: Array, rows: Array) -> tuple[Array, Paths]:
    """What `forward` returns, from distances and paths as XLA has them, ``rows [P, S * A * C]``."""
    (shared, samples, _, _), (_, classes, steps, _) = operands.x.shape, operands.centroid.shape
    here = rows == jnp.arange(steps, dtype=rows.dtype)[:, None, None]  # [Tc, P, L]
    frame = jnp.arange(rows.shape[0], dtype=rows.dtype)[:, None] - rows
    first = jnp.min(jnp.where(here, frame, rows.shape[0]), axis=1)
    last = jnp.max(jnp.where(here, frame, -1), axis=1)

    def by_class(lanes: Array) -> Array:
        lanes = lanes.reshape(steps, shared, samples, classes).transpose(1, 0, 3, 2)
        return lanes.reshape(shared, steps, classes * samples)

    return value, Paths(by_class(first), by_class(last))


def ranges_as_rows(operands: Operands, paths: Paths) -> Array:
    """The inverse: ``rows [P, S * A * C]``."""
    (shared, samples, frames, _), (_, classes, steps, _) = (
        operands.x.shape,
        operands.centroid.shape,
    )

    def by_sample(lanes: Array) -> Array:
        lanes = lanes.reshape(shared, steps, classes, samples).transpose(1, 0, 3, 2)
        return lanes.reshape(steps, -1)

    first, last = by_sample(paths.first), by_sample(paths.last)
    step = jnp.arange(steps, dtype=first.dtype)[:, None, None]
    frame = jnp.arange(steps + frames - 1, dtype=first.dtype)[:, None] - step  # [Tc, P, 1]
    here = (first[:, None] <= frame) & (frame <= last[:, None])
    return jnp.max(jnp.where(here, step, -1), axis=0)


def _over_shared(function):
    """`function` over the shared axis S of all its arguments; without `vmap` where S is 1."""

    def mapped(*arguments):
        if jax.tree.leaves(arguments)[0].shape[0] != 1:
            return jax.vmap(function)(*arguments)
        single = jax.tree.map(lambda leaf: leaf[0], arguments)
        return jax.tree.map(lambda leaf: leaf[None], function(*single))

    return mapped
