"""Weighted L1 costs of all centroid steps and frames: a matrix product with |c - x| for c x.

``cost[m, n] = sum_k weight[m, k] |centroid[m, k] - x[n, k]|`` with rows m = (class, step) and
columns n = (frame, sample). Tiles of it stay in registers while the features go by, one rank-1
update each: a subtraction and a multiply-add for each element, and nothing of size [m, n, k].
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels import launch

# Of the tile shapes tried, this one spends the least on loads without spilling: 81 % of the loop
# is arithmetic (64 x 128: 77 %, 128 x 64: 72 %, 128 x 128 spills).
ROWS, COLUMNS = 32, 256
_FEATURES = 2  # a turn of the loop


def forward(x: Array, centroid: Array, weight: Array, *, interpret: bool) -> Array:
    """Costs as the recurrence reads them.

    Args:
        x: ``[A, T, F]``; float32, or bf16 and f16, which are widened as they are read.
        centroid: ``[C, Tc, F]``.
        weight: ``[C, Tc, F]``.
        interpret: see `launch.call`.

    Returns:
        float32 ``[M, N]``: the cost of step i of class c and frame j of sample a at
        ``[c * Tc + i, j * A + a]``. Padded to whole tiles.
    """
    features = x.shape[-1]
    to_columns = partial(_feature_major, features=-(-features // _FEATURES) * _FEATURES)
    # Frames outermost: neighbouring lanes of the recurrence then read neighbouring numbers.
    columns = to_columns(x.transpose(1, 0, 2), tile=COLUMNS)
    rows = [to_columns(operand, tile=ROWS) for operand in (centroid, weight)]
    shape = rows[0].shape[1], columns.shape[1]
    (cost,) = launch.call(
        partial(_kernel, interpret=interpret),
        *rows,
        columns,
        grid=(shape[0] // ROWS, shape[1] // COLUMNS),
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32)],
        name="weighted_cost",
        interpret=interpret,
    )
    return cost


def _feature_major(operand: Array, *, tile: int, features: int) -> Array:
    """``[..., F]`` as ``[F, rows]``, filled with zeros, which contribute 0 in every operand."""
    flat = operand.reshape(-1, operand.shape[-1]).T
    fill = features - flat.shape[0], -flat.shape[1] % tile
    return jnp.pad(flat, ((0, fill[0]), (0, fill[1])))


def _kernel(centroid_ref, weight_ref, x_ref, cost_ref, *, interpret):
    rows = launch.block(launch.program(0) * ROWS, ROWS)
    columns = launch.block(launch.program(1) * COLUMNS, COLUMNS)

    def add(turn, cost):
        for feature in range(_FEATURES):
            k = turn * _FEATURES + feature
            centroid = centroid_ref[k, rows].astype(jnp.float32)[:, None]
            weight = weight_ref[k, rows].astype(jnp.float32)[:, None]
            x = x_ref[k, columns].astype(jnp.float32)[None]
            cost = launch.multiply_add(weight, jnp.abs(centroid - x), cost, interpret)
        return cost

    start = jnp.zeros((ROWS, COLUMNS), jnp.float32)
    turns = centroid_ref.shape[0] // _FEATURES
    cost_ref[rows, columns] = lax.fori_loop(0, turns, add, start)
