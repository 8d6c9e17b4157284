"""Shortest paths through matrices of local costs: a kernel on strips, and the walk back."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine.model import Model
from tempalign._types import Array
from tempalign.kernels.gpu import launch, openings, strip_layout, strips
from tempalign.kernels.gpu.launch import LANES, Warp
from tempalign.kernels.gpu.strip_layout import Ends, Layout
from tempalign.kernels.gpu.ways import COLUMN, ROW, SLANT, State


@dataclass(frozen=True)
class _Minimum:
    """Of equally good ways the last, see `ways`."""

    recorded: bool
    dtypes = (jnp.float32,)
    nowhere = (float("inf"),)

    def begun(self, multiplicity: int) -> tuple[float, ...]:
        del multiplicity  # only a soft minimum notices
        return (0.0,)

    def extended(self, ways: list[tuple[int, State]], cost: Array) -> tuple[State, list[Array]]:
        (code, (best,)), *others = ways
        choice: Array = jnp.full_like(best, code, jnp.int32)
        for code, (way,) in others:
            if self.recorded:
                choice = jnp.where(way <= best, code, choice)
            best = jnp.minimum(best, way)
        return (cost + best,), [choice] if self.recorded else []


def value(
    matrices: Array,
    ends: Ends | None,
    *,
    model: Model,
    paths: bool,
    interpret: bool,
) -> tuple[Array, Array | None]:
    """Costs of the shortest paths, and these paths.

    Args:
        matrices: float32 ``[L, n, m]`` without NaN; inf forbids a cell.
        ends: last rows and columns, int32 ``[L]``; None: those of the matrices.
        model: moves, and where paths begin and end.
        paths: whether the paths are asked for.
        interpret: see `launch.call`.

    Returns:
        Values ``[L]``, and int32 ``rows [n + m - 1, L]`` (see `tempalign._engine.hard`) or None.
    """
    layout = Layout.of(matrices, interpret)
    costs, lasts = layout.skewed(matrices), strip_layout.of_lanes(layout, ends)
    dtypes, sides = _Minimum.dtypes, openings.sides(model.end)
    out_shape = [
        *strip_layout.found(layout, dtypes, sides),
        *strip_layout.borders(layout, dtypes),
        *strip_layout.results(layout, [jnp.int32] * paths, layout.turns * LANES),
    ]
    results = strip_layout.launched(
        _forward,
        layout,
        costs,
        *lasts,
        out_shape=out_shape,
        name="hard_strips",
        interpret=interpret,
        model=model,
        paths=paths,
        ends=len(lasts),
    )
    if model.end.is_open:
        (listed,) = openings.side_by_side(model, layout, results, len(dtypes))
        found, ends = openings.best(openings.listed(model, layout, ends), listed)
    else:
        found = layout.at_ends(results[0], ends)
    if not paths:
        return found, None
    if ends is None:
        last_row, last_column = (
            jnp.full_like(matrices, size - 1, shape=layout.pairs, dtype=jnp.int32)
            for size in matrices.shape[1:]
        )
        ends = last_row, last_column
    return found, _walk(results[len(out_shape) - 1], ends, layout, model, interpret)


def _forward(cost_ref, *refs, layout, model, paths, ends, interpret):
    end_refs, refs = refs[:ends], refs[ends:]
    found = len(strip_layout.found(layout, _Minimum.dtypes, openings.sides(model.end)))
    borders = found + len(strip_layout.borders(layout, _Minimum.dtypes))

    def record(warp: Warp, turn: Array, records: list[Any]) -> None:
        if not paths:
            return
        word = warp.full(0, jnp.int32)
        for row, column, (choice,) in records:
            word = word | (choice << (2 * (row * layout.wide + column)))
        warp.store(refs[borders], turn * LANES + warp.lane, word)

    strips.forward(
        lambda warp, pair: _Minimum(paths),
        layout,
        model,
        record=record,
        cost_ref=cost_ref,
        end_refs=end_refs,
        value_refs=refs[:found],
        border_refs=refs[found:borders],
        counts_ref=refs[-1],
        interpret=interpret,
    )


def _walk(choices: Array, ends: Ends, layout: Layout, model: Model, interpret: bool) -> Array:
    """Rows of the paths on each anti-diagonal, ``[n + m - 1, L]``; a lane walks a pair's."""
    padded = -(-layout.pairs // LANES) * LANES
    positions = layout.rows + layout.columns - 1
    (rows,) = launch.call_warps(
        partial(_walk_kernel, layout=layout, model=model, interpret=interpret),
        choices,
        *(jnp.pad(end, (0, padded - layout.pairs)) for end in ends),
        programs=padded // LANES,
        out_shape=[jax.ShapeDtypeStruct((positions * padded,), jnp.int32)],
        name="hard_strips_walk",
        interpret=interpret,
    )
    return rows.reshape(positions, padded)[:, : layout.pairs]


def _walk_kernel(choice_ref, row_ref, column_ref, rows_ref, *, layout, model, interpret):
    warp = launch.warp(1, interpret)
    stride = rows_ref.shape[0] // (layout.rows + layout.columns - 1)
    lane = warp.program(stride // LANES) * LANES + warp.lane
    pair = jnp.minimum(lane, layout.pairs - 1)  # the lanes past the last one repeat its work
    number, of_warp = launch.divided(pair, layout.pairs_of_warp)
    row = jnp.where(lane < layout.pairs, warp.load(row_ref, lane), 0)
    column = jnp.where(lane < layout.pairs, warp.load(column_ref, lane), 0)

    def step(index: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        row, column, position = state
        p = layout.rows + layout.columns - 2 - index
        here = position == p
        warp.store(rows_ref, p * stride + lane, jnp.where(here, row, -1))
        strip, in_strip = launch.divided(row, layout.group * layout.tall)
        place, of_place = launch.divided(in_strip, layout.tall)
        block, of_block = launch.divided(column, layout.wide)
        turn = (number * layout.strips + strip) * layout.turns + block + place
        word = warp.load(choice_ref, turn * LANES + of_warp * layout.group + place)
        choice = (word >> (2 * (of_place * layout.wide + of_block))) & 3
        at_border = (row == 0) | (column == 0)
        if not model.begin.is_open:
            # There is one way; this also keeps the walk inside where costs are infinite.
            choice = jnp.where(row == 0, COLUMN, jnp.where(column == 0, ROW, choice))
        slant = choice == SLANT
        back = jnp.where(slant, 2, 1)  # from the first cell to -1, where there is none
        if model.begin.is_open:  # a path begins by a move along the diagonal
            back = jnp.where(slant & at_border, position + 1, back)
        row = jnp.where(here & (slant | (choice == ROW)), jnp.maximum(row - 1, 0), row)
        left = here & (slant | (choice == COLUMN))
        column = jnp.where(left, jnp.maximum(column - 1, 0), column)
        return row, column, jnp.where(here, position - back, position)

    lax.fori_loop(0, layout.rows + layout.columns - 1, step, (row, column, row + column))
