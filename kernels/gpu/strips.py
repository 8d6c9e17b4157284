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

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.launch import LANES, Warp
from tempalign.kernels.gpu.strip_layout import (
    CHUNK,
    End,
    Layout,
    number_of_turn,
    whole,
)

State = tuple[Array, ...]


class Algebra(Protocol):
    """What a cell holds, and how it comes from its neighbours."""

    @property
    def dtypes(self) -> tuple[Any, ...]:
        """Of what a cell holds."""

    @property
    def nowhere(self) -> tuple[float, ...]:
        """What a cell holds that no path comes to."""

    @property
    def origin(self) -> tuple[float, ...]:
        """What stands before the first cell."""

    def extended(self, ways: list[State], cost: Array) -> tuple[State, list[Array]]:
        """A cell from its neighbours above, to the left and along the diagonal, and a record."""


def forward(
    algebra: Callable[[Warp, Array], Algebra],
    layout: Layout,
    *,
    diagonal: bool,
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
        diagonal: whether there are moves along the diagonal.
        record: ``record(warp, turn, records)`` stores what the cells of a turn have recorded;
            turns are counted through all programs.
        cost_ref: ``[layout.size]``.
        end_refs: last rows and columns of the pairs, or nothing for those of the matrices.
        value_refs: ``[programs * 32]``, what the last cell of a pair holds in its lane.
        border_refs: ``[programs * columns]``, what the last rows of strips hold.
        counts_ref: ``[programs + 1]``, how many blocks of columns of those are stored.
        interpret: see `launch.call`.
    """
    warp = Warp(layout.group, interpret)
    many = layout.strips > 1
    number = warp.ticket(counts_ref, layout.programs) if many else launch.program(0)
    # Strip by strip: all that a strip waits for has begun before it.
    strip, number_of_warp = launch.divided(number, layout.warps)
    above_it = number - layout.warps
    pair = number_of_warp * layout.pairs_of_warp + launch.divided(warp.lane, layout.group)[0]
    cells = algebra(warp, pair)
    end = End.of(tuple(ref[pair] for ref in end_refs) or whole(layout), layout)
    start = number_of_turn(layout, number)
    nowhere = _of(cells, warp, cells.nowhere)
    is_first = strip == 0

    def reads(k: Array) -> tuple[list[list[Array]], list[State]]:
        """Costs of a turn, and what the strip above holds there; read one turn ahead."""
        at = (start + jnp.minimum(k, layout.turns - 1)) * (layout.cells * LANES) + warp.lane
        costs = [
            [cost_ref[at + (row * layout.wide + column) * LANES] for column in range(layout.wide)]
            for row in range(layout.tall)
        ]
        if not many:
            return costs, []
        block = jnp.minimum(k, layout.blocks - 1)
        at = (jnp.maximum(above_it, 0) * layout.blocks + block) * layout.wide
        borders = []
        for column in range(layout.wide):
            index = jnp.broadcast_to(at + column, LANES)
            held = (warp.written_by_others(ref, index) for ref in border_refs)
            # There is nothing above the first strip, and memory may hold anything.
            borders.append(
                tuple(jnp.where(is_first, n, h) for n, h in zip(nowhere, held, strict=True))
            )
        return costs, borders

    def turn(k: Array, state: Any) -> Any:
        left, corner, handed, final, (costs, borders) = state
        ahead = reads(k + 1)
        above = [
            _where(warp.first, border, one)
            for border, one in zip(borders or [nowhere] * layout.wide, handed, strict=True)
        ]
        next_corner, block = above[-1], k - warp.place
        reached = end.reached(strip, warp, block)
        # Row -1 stands above, column -1 to the left.
        held: dict[tuple[int, int], State] = {(-1, -1): corner}
        held |= {(-1, column): one for column, one in enumerate(above)}
        held |= {(row, -1): one for row, one in enumerate(left)}
        records = []
        for row, column in _by_diagonal(layout):
            ways = [held[row - 1, column], held[row, column - 1]]
            if diagonal:
                ways.append(held[row - 1, column - 1])
            new, recorded = cells.extended(ways, costs[row][column])
            held[row, column] = new
            records.append((row, column, recorded))
            ends_here = reached(row * layout.wide + column)
            if ends_here is not None:
                final = _where(ends_here, new, final)
        left = tuple(held[row, layout.wide - 1] for row in range(layout.tall))
        above = [held[layout.tall - 1, column] for column in range(layout.wide)]
        record(warp, start + k, records)
        if many:
            _hand_on(warp, layout, number, block, border_refs, above, LANES - 1)
        handed = tuple(tuple(map(warp.from_above, one)) for one in above)
        return left, next_corner, handed, final, ahead

    origin = _where(warp.first & is_first, _of(cells, warp, cells.origin), nowhere)
    # It stands before the first cell: along the diagonal, or where there is none to the left.
    corner, before = (origin, nowhere) if diagonal else (nowhere, origin)
    left = before, *[nowhere] * (layout.tall - 1)

    def starting() -> Any:
        return left, corner, (nowhere,) * layout.wide, nowhere, reads(jnp.int32(0))

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
    final = state[3]
    for ref, part in zip(value_refs, final, strict=True):
        ref[number * LANES + warp.lane] = part


def backward(
    layout: Layout,
    *,
    diagonal: bool,
    share_refs: Sequence[Any],
    end_refs: Sequence[Any],
    visits_ref: Any,
    border_refs: Sequence[Any],
    counts_ref: Any,
    interpret: bool,
) -> None:
    """The body of a kernel: expected visits of one strip, from the last column to the first.

    Args:
        layout: of the matrices.
        diagonal: whether there are moves along the diagonal.
        share_refs: ``[layout.size]``, the shares of the ways to each cell, but the last's.
        end_refs: see `forward`.
        visits_ref: ``[layout.size]``, what is stored.
        border_refs: one ``[programs * columns]``, what flows out of the first rows of strips.
        counts_ref: see `forward`.
        interpret: see `launch.call`.
    """
    warp = Warp(layout.group, interpret)
    many = layout.strips > 1
    number = warp.ticket(counts_ref, layout.programs) if many else launch.program(0)
    number = layout.programs - 1 - number  # the last strips first
    strip, number_of_warp = launch.divided(number, layout.warps)
    below_it = number + layout.warps
    pair = number_of_warp * layout.pairs_of_warp + launch.divided(warp.lane, layout.group)[0]
    end = End.of(tuple(ref[pair] for ref in end_refs) or whole(layout), layout)
    start = number_of_turn(layout, number)
    zero = warp.full(0, jnp.float32)
    is_last = strip == layout.strips - 1

    def reads(k: Array) -> tuple[list[list[list[Array]]], list[Array]]:
        """Shares of a turn, and what flows in from the strip below; read one turn ahead."""
        k = jnp.maximum(k, 0)
        at = (start + k) * (layout.cells * LANES) + warp.lane
        shares = [
            [
                [ref[at + (row * layout.wide + column) * LANES] for ref in share_refs]
                for column in range(layout.wide)
            ]
            for row in range(layout.tall)
        ]
        if not many:
            return shares, []
        block = k - (layout.group - 1)
        nothing = is_last | (block >= layout.blocks)
        block = jnp.clip(block, 0, layout.blocks - 1)
        below = jnp.minimum(below_it, layout.programs - 1)
        at = (below * layout.blocks + block) * layout.wide
        return shares, [
            jnp.where(
                nothing,
                zero,
                warp.written_by_others(border_refs[0], jnp.broadcast_to(at + column, LANES)),
            )
            for column in range(layout.wide)
        ]

    def turn(index: Array, state: Any) -> Any:
        flow, slant, handed, (shares, borders) = state
        k = layout.turns - 1 - index
        ahead = reads(k - 1)
        block = k - warp.place
        reached = end.reached(strip, warp, block)
        flow, slant = list(flow), list(slant)
        at = (start + k) * (layout.cells * LANES) + warp.lane
        # What flows into a column from below it, so far.
        upward = [
            jnp.where(warp.last, borders[column] if many else zero, handed[column])
            for column in range(layout.wide)
        ]
        for row, column in reversed(_by_diagonal(layout)):
            visits = flow[row] + upward[column]
            ends_here = reached(row * layout.wide + column)
            if ends_here is not None:
                visits = jnp.where(ends_here, 1.0, visits)
            visits_ref[at + (row * layout.wide + column) * LANES] = visits
            up = visits * shares[row][column][0]
            if diagonal:
                flow[row] = visits * shares[row][column][1]
                upward[column] = up + slant[row]  # the cell to the right leads here too
                # Rounding must not make probabilities of what no path does.
                slant[row] = jnp.maximum(visits - up - flow[row], 0.0)
            else:
                flow[row] = visits - up
                upward[column] = up
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
    at = (number * layout.blocks + jnp.clip(block, 0, layout.blocks - 1)) * layout.wide
    here = (block >= 0) & (block < layout.blocks)
    for column, state in enumerate(states):
        for ref, part in zip(border_refs, state, strict=True):
            warp.store_one(ref, at + column, part, lane, here)


def _by_diagonal(layout: Layout) -> list[tuple[int, int]]:
    """The cells of a turn, each behind what it comes from, and as far from that as can be.

    The cells of an anti-diagonal do not wait for each other.
    """
    cells = [(row, column) for row in range(layout.tall) for column in range(layout.wide)]
    return sorted(cells, key=lambda at: (sum(at), at))


def _of(cells: Algebra, warp: Warp, numbers: Sequence[float]) -> State:
    return tuple(warp.full(n, dtype) for n, dtype in zip(numbers, cells.dtypes, strict=True))


def _where(condition: Array, chosen: State, other: State) -> State:
    return tuple(jnp.where(condition, a, b) for a, b in zip(chosen, other, strict=True))
