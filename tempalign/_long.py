"""Soft-DTW of long sequences, in memory that grows less than with the product of their lengths.

The matrix is worked on by blocks of about ``sqrt(n + m)`` rows. Of each block only what its last
row holds is kept; the backward pass computes the block again. That is ``O(B (n + m) sqrt(n + m))``
numbers instead of ``O(B n m)``.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign import _band, _checks, _costs, _soft
from tempalign._problem import Block, Problem, to_lanes
from tempalign._recurrence import Above, Ends, Moves
from tempalign._shards import alike
from tempalign._types import Array, Cost

# Shorter blocks leave a vector unit idle.
_FEWEST_ROWS = 64


def soft_value(problem: Problem, cost: Cost, gamma: Array) -> Array:
    """Soft minima ``[...]`` of the path costs of a problem made from sequences and `cost`."""
    values = _soft_value(problem.block, gamma, cost, problem.moves, problem.band)
    values = problem.pairs.restore(values.reshape(problem.pairs.sizes))
    values = jnp.where(gamma > 0, values, jnp.nan)
    return _checks.nan_where_invalid(values, *problem.checked)


@partial(jax.jit, static_argnames=("cost", "moves", "band"))
def _soft_value(block: Block, gamma: Array, cost: Cost, moves: Moves, band: int | None) -> Array:
    (x, y, rows, columns), gamma = alike((block, gamma))
    (s, a, n, _), (_, c, m, _) = x.shape, y.shape
    lanes = s * a * c
    rows, columns = (
        jnp.full_like(x, size, shape=lanes, dtype=jnp.int32) if given is None else given.reshape(-1)
        for given, size in ((rows, n), (columns, m))
    )
    height = min(n, max(_FEWEST_ROWS, math.isqrt(n + m)))
    count = -(-n // height)
    x = jnp.pad(x, ((0, 0), (0, 0), (0, count * height - n), (0, 0)))
    parts = jnp.moveaxis(x.reshape(s, a, count, height, x.shape[-1]), 2, 0)

    @jax.checkpoint
    def work_on(state: tuple[Above, Array], inputs: tuple[Array, Array]):
        above, values = state
        first, part = inputs
        costs = to_lanes(_costs.matrix(part, y, cost))
        if band is not None:
            row = first + jnp.arange(height)[:, None, None]
            column = jnp.arange(m)[:, None]
            allowed = _band.inside(row, column, rows, columns, band)
            costs = jnp.where(allowed, costs, jnp.inf)
        ends = Ends(rows - 1 - first, columns - 1)
        found, above = _soft.block_value(costs, gamma, ends, moves, above)
        return (above, values + found), None

    start = _soft.nothing_above(gamma, m, lanes), jnp.zeros_like(gamma, shape=lanes)
    (_, values), _ = lax.scan(work_on, start, (height * jnp.arange(count), parts))
    return values
