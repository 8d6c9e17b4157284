"""Soft minima of long sequences, in memory that grows less than with the product of their lengths.

The matrix is worked on by blocks of about ``sqrt(n + m)`` rows. Of each block only what its last
row holds is kept; the backward pass computes the block again. That is ``O(B (n + m) sqrt(n + m))``
numbers instead of ``O(B n m)``.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import costs, derivative, soft, windows
from tempalign._engine.derivative import Lanes
from tempalign._engine.model import Model
from tempalign._engine.problem import Operands
from tempalign._engine.programs import compiled
from tempalign._engine.recurrence import Ends
from tempalign._engine.shards import alike
from tempalign._types import Array

# Shorter blocks leave a vector unit idle.
_FEWEST_ROWS = 64


@compiled("model")
def value(model: Model, operands: Operands) -> Array:
    """Soft minima of the path costs, ``[S, A, C]``."""
    operands = alike(operands)
    x, y = operands.x, operands.y
    s, a, n, width = x.shape
    c, m = y.shape[1], width if model.cost == "given" else y.shape[2]
    lanes = s * a * c
    rows, columns = (
        jnp.full_like(x, size, shape=lanes, dtype=jnp.int32) if given is None else given.reshape(-1)
        for given, size in ((operands.rows, n), (operands.columns, m))
    )
    ends = Ends(rows - 1, columns - 1)
    height = min(n, max(_FEWEST_ROWS, math.isqrt(n + m)))
    count = -(-n // height)

    def by_block(array: Array, axis: int) -> Array:
        """``[..., n, ...]`` as ``[count, ..., height, ...]``."""
        fill = [(0, count * height - n if k == axis else 0) for k in range(array.ndim)]
        array = jnp.pad(array, fill)
        shape = array.shape[:axis] + (count, height) + array.shape[axis + 1 :]
        return jnp.moveaxis(array.reshape(shape), axis, 0)

    head = Lanes(x, ends, None, operands.gamma, operands.prices)
    temperature = derivative.usable(head).gamma
    assert temperature is not None

    @jax.checkpoint
    def work_on(state, inputs):
        above, reached = state
        part, mask = inputs
        cost = costs.matrix(part, y, model.cost)
        row = above.first + jnp.arange(height, dtype=jnp.int32)
        cost = windows.forbid(model.window, cost, mask, row, rows, columns, (n, m))
        reached, above = soft.block_value(
            model, cost, ends, operands.prices, temperature, above, reached
        )
        return (above, reached), None

    masks = None if operands.mask is None else by_block(operands.mask, 3)
    start = alike((soft.nothing_above(temperature, m, lanes), x))[0]
    (_, reached), _ = lax.scan(work_on, start, (by_block(x, 2), masks))
    found = soft.SoftMinimum(model, temperature).total(reached)
    valid = None if operands.valid is None else operands.valid.reshape(-1)
    return derivative.sealed(head._replace(valid=valid), found).reshape(s, a, c)
