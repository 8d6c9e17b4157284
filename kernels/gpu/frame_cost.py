"""Sums over features of squared or absolute differences between frames, and their gradients.

``cost[i, j] = sum_k term(x[i, k] - y[j, k])`` and ``gradient[i, k] = sum_j E[i, j] slope(x[i, k] -
y[j, k])`` are both products of matrices with something else for the multiplication: tiles of them
stay in registers while the axis that is summed goes by, an update of rank 1 each (see
`weighted_cost`). Differences are taken first, so that near frames lose nothing to frames that are
far from 0, as they would in ``|x|^2 + |y|^2 - 2 x y``.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch

Term = Literal["squares", "absolute"]


class Form(NamedTuple):
    """What a program works on.

    Attributes:
        rows: of a lane.
        columns: of a lane.
        down: lanes below each other.
        across: lanes side by side.
    """

    rows: int
    columns: int
    down: int
    across: int

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a program."""
        return self.rows * self.down, self.columns * self.across


# Of few columns (features, in gradients) a program takes few.
_COMPILED = (Form(8, 8, 16, 2), Form(8, 8, 16, 4), Form(8, 8, 16, 8))
_INTERPRETED = Form(4, 4, 4, 4)  # any is as right, and a small one is compiled sooner
_MOST = 2**31 - 1
_AT_ONCE = 2  # features whose numbers are in registers


def costs(x: Array, y: Array, term: Term, *, interpret: bool) -> Array:
    """Costs between the frames of sequences.

    Args:
        x: float32 ``[S, A, n, F]``.
        y: float32 ``[S, C, m, F]``.
        term: what is summed.
        interpret: see `launch.call`.

    Returns:
        float32 ``[S, A, n, C, m]``.
    """
    (s, a, n, features), (_, c, m, _) = x.shape, y.shape
    rows = x.reshape(s, a * n, features).transpose(0, 2, 1)
    columns = y.reshape(s, c * m, features).transpose(0, 2, 1)
    found = _updates(rows, columns, None, term, interpret)
    return found.reshape(s, a, n, c, m)


def gradient(x: Array, y: Array, cotangent: Array, term: Term, *, interpret: bool) -> Array:
    """The gradient in x, ``[S, A, n, F]``, of ``sum(cotangent * costs(x, y))``.

    Args:
        x: as for `costs`, finite.
        y: likewise.
        cotangent: float32 ``[S, A, n, C, m]``.
        term: what is summed.
        interpret: see `launch.call`.
    """
    (s, a, n, features), (_, c, m, _) = x.shape, y.shape
    rows = cotangent.reshape(s, a * n, c * m).transpose(0, 2, 1)
    columns, fixed = y.reshape(s, c * m, features), x.reshape(s, a * n, features)
    found = _updates(rows, columns, fixed, term, interpret)
    return found.reshape(x.shape)


def too_many(s: int, rows: int, columns: int, features: int) -> bool:
    """Whether one of the matrices has more numbers than an int32 counts."""
    most = max(max(form.tile) for form in _COMPILED)
    tall, wide, deep = (_padded_to(size + _AT_ONCE, most) for size in (rows, columns, features))
    return s * max(tall * wide, tall * deep, wide * deep) > _MOST


def _updates(
    rows: Array, columns: Array, fixed: Array | None, term: Term, interpret: bool
) -> Array:
    """The sum over k of updates made of ``rows[:, k, i]``, ``columns[:, k, j]`` (and ``fixed``).

    Args:
        rows: ``[S, K, I]``.
        columns: ``[S, K, J]``.
        fixed: ``[S, I, J]``, or None where differences are between rows and columns.
        term: see `costs`.
        interpret: see `launch.call`.

    Returns:
        ``[S, I, J]``.
    """
    shared, depth, height = rows.shape
    width = columns.shape[2]
    used = _padded_to(depth, _AT_ONCE)
    more = used + 1 - depth  # the last one is read ahead, and added as 0 to some
    form = _form(width, interpret)
    tall, wide = _padded_to(height, form.tile[0]), _padded_to(width, form.tile[1])
    rows = jnp.pad(rows, ((0, 0), (0, more), (0, tall - height))).reshape(-1, tall)
    columns = jnp.pad(columns, ((0, 0), (0, more), (0, wide - width)))
    columns = launch.as_lanes_read(columns, form.across, axis=2).reshape(-1, wide)
    operands = [rows, columns]
    if fixed is not None:
        operands.append(
            jnp.pad(fixed, ((0, 0), (0, tall - height), (0, wide - width))).reshape(-1, wide)
        )
    (found,) = launch.call(
        partial(_kernel, form=form, depth=used, tall=tall, term=term, interpret=interpret),
        *operands,
        grid=(tall // form.tile[0], wide // form.tile[1], shared),
        out_shape=[jax.ShapeDtypeStruct((shared * tall, wide), jnp.float32)],
        name="frame_cost" if fixed is None else "frame_cost_gradient",
        interpret=interpret,
        num_warps=max(1, form.down * form.across // 32),
    )
    return found.reshape(shared, tall, wide)[:, :height, :width]


def _kernel(rows_ref, columns_ref, *refs, form, depth, tall, term, interpret):
    *fixed_refs, result_ref = refs
    lane = jnp.arange(form.down * form.across, dtype=jnp.int32)
    down, across = launch.divided(lane, form.across)
    row = launch.program(0) * form.tile[0] + down * form.rows
    column = launch.program(1) * form.tile[1] + across
    first_column = launch.program(1) * form.tile[1] + across * launch.WIDE
    shared = launch.program(2)
    below, beside = range(form.rows), range(form.columns)
    at = shared * tall + row
    fixed = [
        [ref[at + i, column + j * form.across] for j in beside] for ref in fixed_refs for i in below
    ]

    def reads(k: Array) -> tuple[list[Array], list[Array]]:
        word = shared * (depth + 1) + k
        return (
            launch.neighbours(rows_ref, word, row, form.rows),
            launch.neighbours(
                columns_ref, word, first_column, form.columns, launch.WIDE * form.across
            ),
        )

    def update(i: int, j: int, by_row: Array, by_column: Array, total: Array) -> Array:
        if not fixed:
            difference = by_row - by_column
            if term == "squares":
                return launch.multiply_add(difference, difference, total, interpret)
            return total + jnp.abs(difference)
        difference = fixed[i][j] - by_column
        if term == "absolute":  # half of sign + 1, of which the half is taken off at the end
            difference = launch.is_positive(difference, interpret)
        return launch.multiply_add(by_row, difference, total, interpret)

    def add(operands: tuple[list[Array], list[Array]], totals, which):
        by_rows, by_columns = operands
        totals = [list(row) for row in totals]
        for i, j in which:
            totals[i][j] = update(i, j, by_rows[i], by_columns[j], totals[i][j])
        return totals

    early = launch.needed_first(form.rows, form.columns)
    late = [(i, j) for i in below for j in beside if (i, j) not in early]

    def turn(index: Array, state):
        """As many features as are held at once, so that none changes its registers."""
        totals, sums, held = state
        for k in range(_AT_ONCE):
            ahead = reads(index * _AT_ONCE + k + 1)
            totals = add(held, totals, late)
            if sums:
                sums = [total + one for total, one in zip(sums, held[0], strict=True)]
            totals, held = add(ahead, totals, early), ahead
        return totals, sums, held

    zero = jnp.zeros(form.down * form.across, jnp.float32)
    signs = bool(fixed) and term == "absolute"
    sums = [zero] * form.rows if signs else []
    held = reads(jnp.int32(0))
    totals = add(held, [[zero] * form.columns for _ in below], early)
    totals, sums, _ = lax.fori_loop(0, depth // _AT_ONCE, turn, (totals, sums, held))
    for i in below:
        for j in beside:
            total = totals[i][j]
            if fixed:
                total = 2 * total - sums[i] if signs else 2 * total
            result_ref[at + i, column + j * form.across] = total


def _form(width: int, interpret: bool) -> Form:
    """That which wastes least on so many columns."""
    if interpret:
        return _INTERPRETED
    return next((form for form in _COMPILED if width <= form.tile[1]), _COMPILED[-1])


def _padded_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
