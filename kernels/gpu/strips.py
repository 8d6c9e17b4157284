"""Recurrences over matrices of local costs: strips of rows, one warp each.

A lane owns a few rows. In a turn it works on a few columns of them, and hands what its last
row holds to the lane below, which works on the same columns a turn later: a group of lanes is a
wavefront, and nothing waits at a barrier. A group is as large as the rows of a pair need, from one
lane to a warp; of short pairs a warp holds several. Where there are more rows than a warp has,
strips of them are programs of their own: each waits until the one above has stored its last row so
far (`launch.Warp.wait`), `CHUNK` turns at a time.

Matrices are stored in the order in which they are read, ``[warp, strip, turn, row, column, lane]``
(`strip_layout.Layout.skewed`): all that lanes read together lies side by side.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from tempalign._engine.model import Model
from tempalign._types import Array
from tempalign.kernels.gpu import launch, openings, ways
from tempalign.kernels.gpu.launch import LANES, Warp
from tempalign.kernels.gpu.strip_layout import (
    CHUNK,
    End,
    Layout,
    number_of_turn,
    whole,
)
from tempalign.kernels.gpu.ways import COLUMN, ROW, SLANT, Algebra, Border, State


def forward(
    algebra: Callable[[Warp, Array], Algebra],
    layout: Layout,
    model: Model,
    *,
    record: Callable[..., None],
    cost_ref: Any,
    end_refs: Sequence[Any],
    value_refs: Sequence[Any],
    border_refs: Sequence[Any],
    counts_ref: Any,
    interpret: bool,
) -> None:
    """The body of a kernel: one strip, from the first column to the last.

    Args:
        algebra: of a warp, and the numbers of its lanes' pairs.
        layout: of the matrices.
        model: moves, and where paths begin and end.
        record: ``record(warp, turn, records)`` stores what the cells of a turn have recorded;
            turns are counted through all programs.
        cost_ref: ``[layout.size]``.
        end_refs: last rows and columns of the pairs, or nothing for those of the matrices.
        value_refs: ``[programs * 32]``, what the last cell of a pair holds in its lane. With ends
            that are open what the last column holds, ``[programs * tall * 32]``, and then what
            the last row holds, ``[pairs of all warps * columns]``, see `openings.sides`.
        border_refs: ``[programs * columns]``, what the last rows of strips hold.
        counts_ref: ``[programs + 1]``, how many blocks of columns of those are stored.
        interpret: see `launch.call`.
    """
    warp = launch.warp(layout.group, interpret)
    many = layout.strips > 1
    number = _number(warp, layout, counts_ref)
    # Strip by strip: all that a strip waits for has begun before it.
    strip, number_of_warp = launch.divided(number, layout.warps)
    above_it = number - layout.warps
    pair = number_of_warp * layout.pairs_of_warp + launch.divided(warp.lane, layout.group)[0]
    cells = algebra(warp, pair)
    end = _end(warp, layout, pair, end_refs)
    start = number_of_turn(layout, number)
    nowhere = ways.of(cells.dtypes, warp, cells.nowhere)
    is_first = strip == 0
    first_row = (strip * layout.group + warp.place) * layout.tall
    parts, listed = len(cells.dtypes), openings.sides(model.end)

    def reads(k: Array) -> tuple[list[list[Array]], list[State]]:
        """Costs of a turn, and what the strip above holds there; read one turn ahead."""
        at = (start + jnp.minimum(k, layout.turns - 1)) * (layout.cells * LANES) + warp.lane
        costs = [
            [warp.load(cost_ref, at, layout.offset(row, column)) for column in range(layout.wide)]
            for row in range(layout.tall)
        ]
        if not many:
            return costs, []
        block = jnp.minimum(k, layout.blocks - 1)
        at = layout.columns_of(jnp.maximum(above_it, 0), block)
        borders = []
        for column in range(layout.wide):
            held = (warp.written_by_others(ref, at + column) for ref in border_refs)
            # There is nothing above the first strip, and memory may hold anything.
            borders.append(
                tuple(jnp.where(is_first, n, h) for n, h in zip(nowhere, held, strict=True))
            )
        return costs, borders

    def turn(k: Array, state: Any) -> Any:
        left, corner, handed, final, (costs, borders) = state
        ahead = reads(k + 1)
        above = [
            ways.where(warp.first, over, one)
            for over, one in zip(borders or [nowhere] * layout.wide, handed, strict=True)
        ]
        next_corner, block = above[-1], k - warp.place
        border = Border(first_row, block * layout.wide)
        # Row -1 stands above, column -1 to the left.
        held: dict[tuple[int, int], State] = {(-1, -1): corner}
        held |= {(-1, column): one for column, one in enumerate(above)}
        held |= {(row, -1): one for row, one in enumerate(left)}
        records, final = [], list(final)
        for row, column in _by_diagonal(layout):
            reached_by = ways.to_cell(model, cells, warp, held, (row, column), border)
            new, recorded = cells.extended(reached_by, costs[row][column])
            held[row, column] = new
            records.append((row, column, recorded))
            # A cell of the last column, or the last cell alone.
            at, which = end.reached(strip, warp, block, row, column), 0
            if "column" in listed:
                at, which = end.in_column(block, column), row
            if at is not None:
                final[which] = ways.where(at, new, final[which])
        if "row" in listed:
            _list_row(warp, layout, end, strip, pair, block, value_refs[-parts:], held)
        left = tuple(held[row, layout.wide - 1] for row in range(layout.tall))
        above = [held[layout.tall - 1, column] for column in range(layout.wide)]
        record(warp, start + k, records)
        if many:
            _hand_on(warp, layout, number, block, border_refs, above, LANES - 1)
        handed = tuple(tuple(map(warp.from_above, one)) for one in above)
        return left, next_corner, handed, tuple(final), ahead

    origin = ways.where(warp.first & is_first, ways.of(cells.dtypes, warp, cells.begun(1)), nowhere)
    # It stands before the first cell: along the diagonal, or where there is none to the left.
    # Where paths begin at other cells too, `ways` puts it there.
    diagonal = model.diagonal.allowed == "everywhere"
    corner, before = (origin, nowhere) if diagonal else (nowhere, origin)
    if model.begin.is_open:
        corner = nowhere
    left = before, *[nowhere] * (layout.tall - 1)
    final = (nowhere,) * (layout.tall if "column" in listed else 1)

    def starting() -> Any:
        return left, corner, (nowhere,) * layout.wide, final, reads(jnp.int32(0))

    if not many:
        state = lax.fori_loop(0, layout.turns, turn, starting())
    else:

        def wait_for(k: Array) -> None:
            """A chunk reads one turn further than it works."""
            blocks = jnp.minimum(k + CHUNK + 1, layout.blocks)
            # The first strip waits for nothing.
            blocks = jnp.minimum(blocks, strip * layout.blocks)
            warp.wait(counts_ref, jnp.maximum(above_it, 0), blocks)

        def chunk(index: Array, state: Any) -> Any:
            k = index * CHUNK
            wait_for(k)
            state = lax.fori_loop(k, k + CHUNK, turn, state)
            done = jnp.clip(k + CHUNK - (layout.group - 1), 0, layout.blocks)
            warp.tell(counts_ref, number, done)
            return state

        wait_for(jnp.int32(0))
        state = lax.fori_loop(0, layout.turns // CHUNK, chunk, starting())
    if listed == ["row"]:
        return
    for row, one in enumerate(state[3]):
        for ref, part in zip(value_refs[:parts], one, strict=True):
            warp.store(ref, (number * len(final) + row) * LANES + warp.lane, part)


def backward(
    layout: Layout,
    model: Model,
    *,
    share_refs: Sequence[Any],
    end_refs: Sequence[Any],
    leaving_refs: Sequence[Any],
    visits_ref: Any,
    border_refs: Sequence[Any],
    counts_ref: Any,
    interpret: bool,
) -> None:
    """The body of a kernel: expected visits of one strip, from the last column to the first.

    Args:
        layout: of the matrices.
        model: moves, and where paths begin and end.
        share_refs: ``[layout.size]``, the shares of the ways `ways.kept` in each cell.
        end_refs: see `forward`.
        leaving_refs: where ends are open, with what probability paths end where, laid out as the
            `value_refs` of `forward`.
        visits_ref: ``[layout.size]``, what is stored.
        border_refs: one ``[programs * columns]``, what flows out of the first rows of strips.
        counts_ref: see `forward`.
        interpret: see `launch.call`.
    """
    warp = launch.warp(layout.group, interpret)
    many = layout.strips > 1
    number = _number(warp, layout, counts_ref)
    number = layout.programs - 1 - number  # the last strips first
    strip, number_of_warp = launch.divided(number, layout.warps)
    below_it = number + layout.warps
    pair = number_of_warp * layout.pairs_of_warp + launch.divided(warp.lane, layout.group)[0]
    end = _end(warp, layout, pair, end_refs)
    start = number_of_turn(layout, number)
    zero = warp.full(0, jnp.float32)
    is_last = strip == layout.strips - 1
    listed, kept = openings.sides(model.end), ways.kept(model)
    leaving = []  # of each row, how many paths end in the last column
    if "column" in listed:
        first = number * layout.tall
        at = [(first + i) * LANES + warp.lane for i in range(layout.tall)]
        leaving = [warp.load(leaving_refs[0], one) for one in at]

    def reads(k: Array) -> tuple[list[list[list[Array]]], list[Array], list[Array]]:
        """Shares of a turn, what leaves the last row, and what flows in from the strip below.

        Read one turn ahead.
        """
        k = jnp.maximum(k, 0)
        at = (start + k) * (layout.cells * LANES) + warp.lane
        shares = [
            [
                [warp.load(ref, at, layout.offset(row, column)) for ref in share_refs]
                for column in range(layout.wide)
            ]
            for row in range(layout.tall)
        ]
        in_row = []
        if "row" in listed:
            block = jnp.clip(k - warp.place, 0, layout.blocks - 1)
            at = layout.columns_of(pair, block)
            in_row = [warp.load(leaving_refs[-1], at, column) for column in range(layout.wide)]
        if not many:
            return shares, in_row, []
        block = k - (layout.group - 1)
        nothing = is_last | (block >= layout.blocks)
        block = jnp.clip(block, 0, layout.blocks - 1)
        below = jnp.minimum(below_it, layout.programs - 1)
        at = layout.columns_of(below, block)
        borders = [
            jnp.where(nothing, zero, warp.written_by_others(border_refs[0], at + column))
            for column in range(layout.wide)
        ]
        return shares, in_row, borders

    def turn(index: Array, state: Any) -> Any:
        flow, slant, handed, (shares, in_row, borders) = state
        k = layout.turns - 1 - index
        ahead = reads(k - 1)
        block = k - warp.place
        there = (block >= 0) & (block < layout.blocks)
        flow, slant = list(flow), list(slant)
        at = (start + k) * (layout.cells * LANES) + warp.lane
        # What flows into a column from below it, so far.
        upward = [
            jnp.where(warp.last, borders[column] if many else zero, handed[column])
            for column in range(layout.wide)
        ]
        for row, column in reversed(_by_diagonal(layout)):
            visits = flow[row] + upward[column]
            ends_here = end.reached(strip, warp, block, row, column)
            if not listed and ends_here is not None:
                visits = jnp.where(ends_here, 1.0, visits)
            in_column = end.in_column(block, column)
            if leaving and in_column is not None:
                visits = visits + jnp.where(in_column, leaving[row], 0)
            below = end.in_row(strip, warp, row)
            if in_row and below is not None:
                visits = visits + jnp.where(below & there, in_row[column], 0)
            warp.store(visits_ref, at, visits, layout.offset(row, column))
            codes, left = ways.codes(model, column), visits
            to = dict.fromkeys((ROW, COLUMN, SLANT), zero)
            for code in codes[:-1]:
                to[code] = visits * shares[row][column][kept.index(code)]
                left = left - to[code]
            # Rounding must not make probabilities of what no path does.
            to[codes[-1]] = jnp.maximum(left, 0.0)
            flow[row] = to[COLUMN]
            # The cell to the right leads here along the diagonal.
            upward[column] = to[ROW] + slant[row] if SLANT in codes else to[ROW]
            slant[row] = to[SLANT]
        if many:
            _hand_on(warp, layout, number, block, border_refs, [(one,) for one in upward], 0)
        return tuple(flow), tuple(slant), tuple(map(warp.from_below, upward)), ahead

    def starting() -> Any:
        nothing = (zero,) * layout.tall
        return nothing, nothing, (zero,) * layout.wide, reads(jnp.int32(layout.turns - 1))

    if not many:
        lax.fori_loop(0, layout.turns, turn, starting())
        return

    def wait_for(index: Array) -> None:
        """Blocks are counted from the last; a chunk reads one turn further than it works."""
        reach = layout.turns - 1 - (index + CHUNK) - (layout.group - 1)  # the least block it reads
        blocks = layout.blocks - jnp.clip(reach, 0, layout.blocks)
        blocks = jnp.minimum(blocks, (layout.strips - 1 - strip) * layout.blocks)
        warp.wait(counts_ref, jnp.minimum(below_it, layout.programs - 1), blocks)

    def chunk(index: Array, state: Any) -> Any:
        wait_for(index * CHUNK)
        state = lax.fori_loop(index * CHUNK, (index + 1) * CHUNK, turn, state)
        # The first lane works on the block that is the turn's number.
        least = jnp.maximum(layout.turns - (index + 1) * CHUNK, 0)
        warp.tell(counts_ref, number, layout.blocks - jnp.minimum(least, layout.blocks))
        return state

    wait_for(jnp.int32(0))
    lax.fori_loop(0, layout.turns // CHUNK, chunk, starting())


def _number(warp: Warp, layout: Layout, counts_ref: Any) -> Array:
    """That of the program: in the order in which they begin, if they wait for each other."""
    if layout.strips > 1:
        return warp.ticket(counts_ref, layout.programs)
    return warp.program(layout.programs)


def _end(warp: Warp, layout: Layout, pair: Array, end_refs: Sequence[Any]) -> End:
    """Where the last cells of the lanes' pairs are."""
    if not end_refs:
        return End.of(whole(layout), layout)
    rows, columns = end_refs
    return End.of((warp.load(rows, pair), warp.load(columns, pair)), layout)


def _hand_on(
    warp: Warp,
    layout: Layout,
    number: Array,
    block: Array,
    border_refs: Sequence[Any],
    states: Sequence[State],
    lane: int,
) -> None:
    """Stores what a lane has for the next strip, of the columns of a block."""
    at = layout.columns_of(number, jnp.clip(block, 0, layout.blocks - 1))
    here = (block >= 0) & (block < layout.blocks)
    for column, state in enumerate(states):
        for ref, part in zip(border_refs, state, strict=True):
            warp.store_one(ref, at + column, part, lane, here)


def _list_row(
    warp: Warp,
    layout: Layout,
    end: End,
    strip: Array,
    pair: Array,
    block: Array,
    refs: Sequence[Any],
    held: Mapping[tuple[int, int], State],
) -> None:
    """Stores what the last row of a pair holds, of the columns of a block."""
    there = (block >= 0) & (block < layout.blocks)
    at = layout.columns_of(pair, jnp.clip(block, 0, layout.blocks - 1))
    for row in range(layout.tall):
        here = end.in_row(strip, warp, row)
        if here is None:
            continue
        for column in range(layout.wide):
            for ref, part in zip(refs, held[row, column], strict=True):
                warp.store_where(ref, at + column, part, here & there)


def _by_diagonal(layout: Layout) -> list[tuple[int, int]]:
    """The cells of a turn, each behind what it comes from, and as far from that as can be.

    The cells of an anti-diagonal do not wait for each other.
    """
    cells = [(row, column) for row in range(layout.tall) for column in range(layout.wide)]
    return sorted(cells, key=lambda at: (sum(at), at))
