"""Which cells a path may visit: bands, slopes and masks, and whether they leave a path at all.

Band and slope allow one range of columns in each row. Cell (i, j) of an n x m problem lies in

- the band of radius r (Sakoe and Chiba, slope-adjusted) if
  ``|i (m-1) - j (n-1)| <= r min(n-1, m-1)``: at most r frames of the longer sequence away from the
  straight line between the corners;
- the parallelogram of slope s (Itakura) if the lines from both corners to it are at most s times
  as steep, and at least 1/s times, as the line between the corners.

All in integers, so exact; the same after reversing time, and the band after swapping the sequences;
n or m = 1 allows everything.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine.integers import multiply_divide
from tempalign._engine.model import Model, Opening, Window
from tempalign._types import Array


class Ranges(NamedTuple):
    """First and last allowed column of each row, both inclusive."""

    first: Array
    last: Array


def ranges(
    window: Window, row: Array, n: Array | int, m: Array | int, most: tuple[int, int]
) -> Ranges | None:
    """The allowed columns of rows.

    Args:
        window: band and slope.
        row: int32 rows; past ``n - 1`` the result means nothing.
        n: true numbers of rows that broadcast against `row`.
        m: true numbers of columns likewise.
        most: static bounds of n and m.

    Returns:
        `Ranges` of the common shape, or None for all columns.
    """
    if window.band is None and window.slope is None:
        return None
    n, m = jnp.asarray(n, jnp.int32), jnp.asarray(m, jnp.int32)
    row = jnp.minimum(row, n - 1)
    down, right = jnp.maximum(n - 1, 1), m - 1
    bounds = max(most[0] - 1, 0), max(most[1] - 1, 0)
    first, last = jnp.zeros_like(row * m), jnp.zeros_like(row * n) + right
    if window.band is not None:
        # A wider band than the longer sequence allows everything, and its products could wrap.
        radius = min(window.band, max(most))
        center, rest = multiply_divide(row, right, down, bounds)
        # r min(n-1, m-1) / (n-1) columns to each side of row (m-1) / (n-1).
        whole, part = multiply_divide(
            jnp.asarray(radius, jnp.int32), jnp.minimum(down, right), down, (radius, min(bounds))
        )
        first = jnp.maximum(first, center - whole + (rest > part).astype(jnp.int32))
        over = rest >= down - part
        last = jnp.minimum(last, center + whole + over.astype(jnp.int32))
    if window.slope is not None:
        steep, flat = window.slope.numerator, window.slope.denominator

        def columns(rows: Array, up: int, by: int) -> tuple[Array, Array]:
            """``rows (m-1) / (n-1) * up / by``, rounded down, and whether that cut something."""
            whole, part = multiply_divide(rows, right, down, bounds)
            # (whole + part / down) up / by, in numbers that fit.
            more, rest = multiply_divide(part, up, down, (bounds[0], up))
            whole, left = multiply_divide(whole, up, by, (bounds[1], up))
            left = left + more
            cut = (left % by > 0) | (rest > 0)
            return whole + left // by, cut.astype(jnp.int32)

        left = n - 1 - row
        flattest, cut = columns(row, flat, steep)
        from_end, _ = columns(left, steep, flat)
        first = jnp.maximum(first, jnp.maximum(flattest + cut, right - from_end))
        steepest, _ = columns(row, steep, flat)
        to_end, cut = columns(left, flat, steep)
        last = jnp.minimum(last, jnp.minimum(steepest, right - to_end - cut))
    line = (n == 1) | (m == 1)
    return Ranges(jnp.where(line, 0, first), jnp.where(line, right, last))


def forbid(
    window: Window,
    cost: Array,
    mask: Array | None,
    row: Array,
    n: Array | int,
    m: Array | int,
    most: tuple[int, int],
) -> Array:
    """Local costs, inf outside of the window.

    Args:
        window: what is allowed.
        cost: ``[rows, columns, S, A, C]``.
        mask: bool ``[S, A, C, rows, columns]`` that broadcasts, or None.
        row: int32 ``[rows]``, the number of each row in the whole matrix.
        n: true numbers of rows, ``[S*A*C]`` or one.
        m: true numbers of columns likewise.
        most: (rows, columns) of the whole matrix.

    Returns:
        ``[rows, columns, S*A*C]``.
    """
    if mask is not None:
        cost = jnp.where(mask.transpose(3, 4, 0, 1, 2), cost, jnp.inf)
    cost = cost.reshape(cost.shape[:2] + (math.prod(cost.shape[2:]),))
    allowed = ranges(window, row[:, None], n, m, most)
    if allowed is None:
        return cost
    column = jnp.arange(cost.shape[1])[:, None]
    first, last = (bound[:, None, :] for bound in allowed)
    return jnp.where((first <= column) & (column <= last), cost, jnp.inf)


def check(
    model: Model,
    n: Array | np.ndarray | int,
    m: Array | np.ndarray | int,
    mask: np.ndarray | None,
    most: tuple[int, int],
) -> None:
    """Raises if no path leads through the window; what is traced is not checked.

    Args:
        model: its moves, openings and window.
        n: true numbers of rows, int or an array that broadcasts with the leading axes.
        m: true numbers of columns likewise.
        mask: bool ``[..., most[0], most[1]]``, or None where there is none or it is traced.
        most: (rows, columns) of the matrices.

    Raises:
        ValueError: at least one pair has no path.
    """
    window = model.window
    if isinstance(n, jax.core.Tracer) or isinstance(m, jax.core.Tracer):
        return
    if window.masked and mask is None:
        window = Window(window.band, window.slope)
    if window == Window():
        return
    if mask is not None:
        lead = np.broadcast_shapes(np.shape(n), np.shape(m), mask.shape[:-2])
        flat = (np.broadcast_to(size, lead).reshape(-1) for size in (n, m))
        masks = np.broadcast_to(mask, lead + mask.shape[-2:]).reshape((-1,) + mask.shape[-2:])
        sizes = np.stack(list(flat), -1).astype(np.int64)
        bad = ~_has_path(model, window, sizes, masks, most)
        if bad.any():
            where = np.unravel_index(int(np.argmax(bad)), lead) if lead else ()
            raise ValueError(
                "mask leaves no path"
                + (f" to {int(bad.sum())} pair(s), first at leading index" if lead else "")
                + (f" {tuple(int(i) for i in where)}" if lead else "")
                + _with(window)
                + "; allow cells from where paths may begin to where they may end"
            )
        return
    sizes = np.stack(np.broadcast_arrays(np.asarray(n), np.asarray(m)), -1).reshape(-1, 2)
    sizes = np.unique(sizes.astype(np.int64), axis=0)
    for rows, columns in sizes[~_has_path(model, window, sizes, None, most)]:
        size = np.array([[rows, columns]])
        option = f"band={window.band}" if window.slope is None else f"max_slope={window.slope}"
        message = f"{option} is too narrow for sequences of {rows} and {columns} frames"
        message += "" if model.diagonal.allowed == "everywhere" else " without diagonal moves"
        message += ": no path leads through it"
        if window.slope is None and window.band is not None:
            enough = window.band + 1
            while not _has_path(model, Window(band=enough), size, None, most)[0]:
                enough += 1
            message += f"; use at least {enough}"
        else:
            message += f"{_with(window, both=True)}; a larger slope (or band) leaves more cells"
        raise ValueError(message)


def _with(window: Window, both: bool = False) -> str:
    if both:
        return "" if window.band is None else f" (with band={window.band})"
    named = [] if window.band is None else [f"band={window.band}"]
    named += [] if window.slope is None else [f"max_slope={window.slope}"]
    return f" (together with {' and '.join(named)})" if named else ""


def _has_path(
    model: Model, window: Window, sizes: np.ndarray, masks: np.ndarray | None, most: tuple[int, int]
) -> np.ndarray:
    """Which of the problems ``sizes [B, 2]`` with ``masks [B, n, m]`` have a path, bool ``[B]``."""
    n, m = sizes[:, :1], sizes[:, 1:]
    column = np.arange(int(m.max(initial=0)))
    reached = np.zeros((len(sizes), len(column)), bool)
    found = np.zeros(len(sizes), bool)
    everywhere = np.ones_like(reached)

    def within(skipped: np.ndarray, limit: int | None) -> np.ndarray:
        return skipped >= 0 if limit is None else (skipped >= 0) & (skipped <= limit)

    bounds = None
    if window.band is not None or window.slope is not None:
        with jax.ensure_compile_time_eval():
            rows = jnp.arange(int(n.max(initial=0)), dtype=jnp.int32)[:, None]
            made = ranges(window, rows, jnp.asarray(n[:, 0]), jnp.asarray(m[:, 0]), most)
            assert made is not None
            bounds = [np.asarray(bound) for bound in made]
    closed = model.begin == Opening() == model.end
    straight = model.row.allowed == "everywhere" == model.column.allowed
    if bounds is not None and masks is None and closed and straight:
        return _follows(bounds[0], bounds[1], sizes, model.diagonal.allowed != "never")
    for i in range(int(n.max(initial=0))):
        allowed = (column < m) & (i < n) & everywhere
        if bounds is not None:
            allowed &= (column >= bounds[0][i][:, None]) & (column <= bounds[1][i][:, None])
        if masks is not None:
            allowed &= masks[:, i, : len(column)]
        begun = (column == 0) & (i == 0) & everywhere
        begun |= (column == 0) & within(np.asarray(i), model.begin.x)
        if i == 0:
            begun |= within(column, model.begin.y)
        before = np.zeros_like(reached) if i == 0 else reached
        reached = begun.copy()
        if model.row.allowed != "never":
            there = before & (column == 0) if model.row.allowed == "first_column" else before
            reached |= there
        if model.diagonal.allowed != "never":
            reached[:, 1:] |= before[:, :-1]
        reached &= allowed
        if model.column.allowed != "never":
            # Along a row from what is reached, up to the next cell that is not allowed.
            seed = np.maximum.accumulate(np.where(reached, column, -1), axis=1)
            wall = np.maximum.accumulate(np.where(allowed, -1, column), axis=1)
            reached = allowed & (seed > wall)
        corner = (i == n - 1) & (column == m - 1)
        ended = corner | ((column == m - 1) & within(n - 1 - i, model.end.x))
        ended |= (i == n - 1) & within(m - 1 - column, model.end.y)
        found |= np.any(reached & ended, axis=1)
    return found


def _follows(first: np.ndarray, last: np.ndarray, sizes: np.ndarray, diagonal: bool) -> np.ndarray:
    """Whether paths find from row to row of a window, bool ``[B]``; n steps instead of n m.

    Both bounds ``[rows, B]`` grow with the row, so where steps in rows and columns are allowed a
    path can keep to the leftmost cells: it needs them to touch the row before.
    """
    n, m = sizes[:, 0], sizes[:, 1]
    row = np.arange(len(first))[:, None]
    meets = first[1:] <= last[:-1] + int(diagonal)
    through = np.all((row >= n) | (first <= last), axis=0) & np.all((row[1:] >= n) | meets, axis=0)
    ends = last[n - 1, np.arange(len(sizes))] >= m - 1
    return through & (first[0] <= 0) & ends
