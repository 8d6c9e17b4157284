"""Sakoe-Chiba bands around the slope-adjusted diagonal.

Cell (i, j) of an n x m problem lies in the band of radius r if
``|i (m-1) - j (n-1)| <= r min(n-1, m-1)``: at most r frames of the longer sequence away from the
straight line between the corners. In integers, so exact; the same after swapping the sequences or
reversing time; and n or m = 1 allows everything.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._types import Array


def forbid_outside(cost: Array, n: Array | int, m: Array | int, band: int) -> Array:
    """Sets the cells outside the band to inf.

    Args:
        cost: ``[rows, columns, L]``.
        n: true number of rows, int or ``[L]``.
        m: true number of columns, int or ``[L]``.
        band: radius.

    Returns:
        Like `cost`.
    """
    row = jnp.arange(cost.shape[0])[:, None, None]
    column = jnp.arange(cost.shape[1])[:, None]
    return jnp.where(inside(row, column, n, m, band), cost, jnp.inf)


def inside(row: Array, column: Array, n: Array | int, m: Array | int, band: int) -> Array:
    """Whether cells lie in the band; all arguments broadcast."""
    n, m = jnp.asarray(n), jnp.asarray(m)
    return abs(row * (m - 1) - column * (n - 1)) <= band * jnp.minimum(n - 1, m - 1)


def check(n: Array | int, m: Array | int, band: int, diagonal: bool) -> None:
    """Raises if no path leads through the band; lengths that are traced are not checked.

    Args:
        n: true numbers of rows, int or an array.
        m: true numbers of columns, int or an array that broadcasts with `n`.
        band: radius.
        diagonal: whether diagonal moves are allowed.

    Raises:
        ValueError: the band is too narrow for at least one pair of lengths.
    """
    if isinstance(n, jax.core.Tracer) or isinstance(m, jax.core.Tracer):
        return
    sizes = np.stack(np.broadcast_arrays(np.asarray(n), np.asarray(m)), -1).reshape(-1, 2)
    for rows, columns in np.unique(sizes.astype(np.int64), axis=0):
        if min(rows, columns) <= 1 or _has_path(rows, columns, band, diagonal):
            continue
        wide_enough = band + 1
        while not _has_path(rows, columns, wide_enough, diagonal):
            wide_enough += 1
        raise ValueError(
            f"band={band} is too narrow for sequences of {rows} and {columns} frames"
            f"{'' if diagonal else ' without diagonal moves'}: no path leads through it; "
            f"use at least {wide_enough}"
        )


def _has_path(n: int, m: int, band: int, diagonal: bool) -> bool:
    row = np.arange(n)
    reach = band * min(n - 1, m - 1)
    first = np.maximum(-((reach - row * (m - 1)) // (n - 1)), 0)
    last = np.minimum((row * (m - 1) + reach) // (n - 1), m - 1)
    # The windows only move right, so a path exists if each touches the next.
    touching = first[1:] <= last[:-1] + (1 if diagonal else 0)
    return bool(np.all(first <= last) and np.all(touching))
