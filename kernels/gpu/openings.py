"""Paths that may end anywhere in the last column or row: all ends side by side, outside of kernels.

Kernels list what the last column holds ``[L, n]`` and what the last row holds ``[L, m]``, as far
as paths may end there. The last cell is counted in the column, if that is listed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from tempalign._engine.model import Model, Opening
from tempalign._types import Array
from tempalign.kernels.gpu import exponent
from tempalign.kernels.gpu.strip_layout import Ends, Layout


class Listed(NamedTuple):
    """The cells where paths may end, ``[L, n]``, ``[L, m]`` or both beside each other.

    Attributes:
        row: of the cell.
        column: of the cell.
        allowed: whether a path may end there.
        corner: whether it is the last cell.
        below: whether it is listed for standing in the last row.
    """

    row: Array
    column: Array
    allowed: Array
    corner: Array
    below: Array


def sides(end: Opening) -> list[str]:
    """What is listed: "column", "row"."""
    return ["column"] * (end.x != 0) + ["row"] * (end.y != 0)


def listed(model: Model, layout: Layout, ends: Ends | None) -> Listed:
    """The cells where paths may end.

    Args:
        model: whose end is open.
        layout: of the matrices.
        ends: last rows and columns ``[L]``; None: those of the matrices.
    """
    end, parts, shape = model.end, [], (layout.rows, layout.columns)
    if ends is None:
        last_row, last_column = (jnp.full((layout.pairs, 1), k - 1, jnp.int32) for k in shape)
    else:
        last_row, last_column = (one[:, None] for one in ends)
    for side in sides(end):
        size = shape[0] if side == "column" else shape[1]
        at = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (len(last_row), size))
        if side == "column":
            left, row, column = last_row - at, at, jnp.broadcast_to(last_column, at.shape)
            limit, counted = end.x, left >= 0
        else:
            left, row, column = last_column - at, jnp.broadcast_to(last_row, at.shape), at
            limit, counted = end.y, left >= 0
            if end.x != 0:
                counted &= left > 0
        allowed = counted if limit is None else counted & (left <= limit)
        parts.append(Listed(row, column, allowed, left == 0, jnp.full(at.shape, side == "row")))
    return Listed(*(jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True)))


def side_by_side(model: Model, layout: Layout, found: Sequence[Array], parts: int) -> list[Array]:
    """What kernels have listed: each of the `parts` of what a cell holds, ``[L, K]``."""
    by_side = {"column": layout.by_row, "row": layout.by_column}
    lists = [
        [by_side[side](one) for one in found[k * parts : (k + 1) * parts]]
        for k, side in enumerate(sides(model.end))
    ]
    return [jnp.concatenate(part, axis=1) for part in zip(*lists, strict=True)]


def apart(model: Model, layout: Layout, numbers: Array) -> list[Array]:
    """One number ``[L, K]`` for each listed cell, as kernels read it."""
    found = []
    for side in sides(model.end):
        column = side == "column"
        size = layout.rows if column else layout.columns
        part, numbers = numbers[:, :size], numbers[:, size:]
        found.append((layout.rows_of_lanes if column else layout.columns_of_pairs)(part))
    return found


def best(cells: Listed, values: Array) -> tuple[Array, Ends]:
    """The least of the listed values, and where it stands: of equals as `_engine.hard` says."""
    values = jnp.where(cells.allowed, values, jnp.inf)
    least = jnp.min(values, axis=1)
    # The first anti-diagonal, and of two cells of one that in the last column.
    order = 2 * (cells.row + cells.column) + cells.below.astype(jnp.int32)
    order = jnp.where(values == least[:, None], order, jnp.iinfo(jnp.int32).max)
    which = jnp.argmin(order, axis=1)[:, None]
    row, column = (
        jnp.take_along_axis(one, which, axis=1)[:, 0] for one in (cells.row, cells.column)
    )
    return least, (row, column)


def total(
    model: Model, cells: Listed, states: Sequence[Array], gamma: Array
) -> tuple[Array, Array]:
    """The soft minimum over all ends ``[L]``, and with what probability a path ends at each.

    Args:
        model: how many paths count as one that ends before the last frames.
        cells: where paths may end.
        states: what these cells hold, mantissas and exponents.
        gamma: temperatures ``[L]``.
    """
    mantissa, power = states
    power = jnp.where(cells.allowed, power, exponent.FAR)
    top = jnp.max(power, axis=1)
    counted = jnp.where(cells.corner, 1.0, float(model.end.multiplicity))
    # Less than 2^-100 of the largest is nothing beside it.
    shift = jnp.maximum(power - top[:, None], -100).astype(jnp.float32)
    shares = jnp.where(cells.allowed, mantissa * counted * jnp.exp2(shift), 0)
    whole = jnp.sum(shares, axis=1)
    return exponent.value_of((whole, top), gamma), shares / whole[:, None]
