"""Recurrences over matrices of local costs: strips of rows, one warp each.

A lane owns `ROWS` rows. In a turn it works on `COLUMNS` columns of them, and hands what its last
row holds to the lane below, which works on the same columns a turn later: a group of lanes is a
wavefront, and nothing waits at a barrier. A group is as large as the rows of a pair need, from one
lane to a warp; of short pairs a warp holds several. Where there are more rows than a warp has,
strips of them are programs of their own: each waits until the one above has stored its last row so
far (`launch.Warp.wait`), `CHUNK` turns at a time.

Matrices are stored in the order in which they are read, ``[warp, strip, turn, row, column, lane]``
(`Layout.skewed`): all that lanes read together lies side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.launch import LANES, Warp

ROWS, COLUMNS = 4, 4  # of a lane in a turn
CELLS = ROWS * COLUMNS
CHUNK = 8  # turns between two looks at what the strip above has stored

# The cells of a turn, each behind what it comes from, and as far from that as can be: the cells of
# an anti-diagonal do not wait for each other.
_BY_DIAGONAL = sorted(
    ((row, column) for row in range(ROWS) for column in range(COLUMNS)),
    key=lambda at: (sum(at), at),
)

State = tuple[Array, ...]
Ends = tuple[Array, Array]  # last rows and columns of pairs


@dataclass(frozen=True)
class Layout:
    """Where the cells of matrices are stored.

    Attributes:
        pairs: number of matrices.
        rows: of each.
        columns: of each.
    """

    pairs: int
    rows: int
    columns: int

    @property
    def group(self) -> int:
        """Lanes of a pair."""
        lanes = -(-self.rows // ROWS)
        return min(LANES, 1 << (lanes - 1).bit_length())

    @property
    def strips(self) -> int:
        """Strips of a pair."""
        return -(-self.rows // (self.group * ROWS))

    @property
    def blocks(self) -> int:
        """Turns that a lane needs for its columns."""
        return -(-self.columns // COLUMNS)

    @property
    def turns(self) -> int:
        """Turns until the last lane has done its columns; whole chunks where there are strips."""
        turns = self.blocks + self.group - 1
        return turns if self.strips == 1 else -(-turns // CHUNK) * CHUNK

    @property
    def pairs_of_warp(self) -> int:
        """Pairs that a warp works on."""
        return LANES // self.group

    @property
    def warps(self) -> int:
        """Warps of a strip."""
        return -(-self.pairs // self.pairs_of_warp)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns that are worked on."""
        return self.strips * self.group * ROWS, self.blocks * COLUMNS

    @property
    def programs(self) -> int:
        """One for each strip of each warp."""
        return self.warps * self.strips

    @property
    def size(self) -> int:
        """Cells that are stored."""
        return self.programs * self.turns * CELLS * LANES

    def skewed(self, matrices: Array) -> Array:
        """``[pairs, rows, columns]`` as the kernels read them, flat; 0 where there is none."""
        rows, columns = self.padded
        more = (
            (0, self.warps * self.pairs_of_warp - self.pairs),
            (0, rows - self.rows),
            (0, columns - self.columns),
        )
        whole = jnp.pad(matrices, more).reshape(
            *(self.warps, self.pairs_of_warp, self.strips, self.group, ROWS),
            *(self.blocks, COLUMNS),
        )
        by_lane = whole.transpose(0, 1, 2, 4, 6, 3, 5)  # [..., lanes of a group, blocks]
        # A row that is padded, and read back one shorter, begins one later than the row before.
        by_lane = jnp.pad(by_lane, [(0, 0)] * 6 + [(0, self.turns + 1 - self.blocks)])
        lead = by_lane.shape[:5]
        flat = by_lane.reshape(*lead, -1)[..., : self.group * self.turns]
        sheared = flat.reshape(*lead, self.group, self.turns)
        return sheared.transpose(0, 2, 6, 3, 4, 1, 5).reshape(-1)

    def straight(self, skewed: Array) -> Array:
        """The inverse of `skewed`."""
        sheared = skewed.reshape(
            *(self.warps, self.strips, self.turns, ROWS, COLUMNS),
            *(self.pairs_of_warp, self.group),
        ).transpose(0, 5, 1, 3, 4, 6, 2)
        lead = sheared.shape[:5]
        flat = jnp.pad(sheared.reshape(*lead, -1), [(0, 0)] * 5 + [(0, self.group)])
        by_lane = flat.reshape(*lead, self.group, self.turns + 1)[..., : self.blocks]
        whole = by_lane.transpose(0, 1, 2, 5, 3, 6, 4).reshape(-1, *self.padded)
        return whole[: self.pairs, : self.rows, : self.columns]

    def of_lanes(self, numbers: Array, fill: int) -> Array:
        """One number a pair ``[pairs]`` as ``[warps * pairs_of_warp]``."""
        more = self.warps * self.pairs_of_warp - self.pairs
        return jnp.pad(numbers, (0, more), constant_values=fill)

    def at_ends(self, of_lanes: Array, ends: Ends | None) -> Array:
        """Of what each lane of each program found, that of the last cells, ``[pairs]``."""
        if ends is None:
            end = End.of(_whole(self), self)
            by_lane = of_lanes.reshape(self.strips, self.warps, self.pairs_of_warp, self.group)
            return by_lane[end.strip, :, :, end.place].reshape(-1)[: self.pairs]
        end = End.of(ends, self)
        pair = jnp.arange(self.pairs, dtype=jnp.int32)
        warp, of_warp = launch.divided(pair, self.pairs_of_warp)
        program = end.strip * self.warps + warp
        return of_lanes[program * LANES + of_warp * self.group + end.place]


class End(NamedTuple):
    """Where the last cell of pairs is, of each lane's pair or, as plain integers, of all.

    Attributes:
        strip: its strip.
        place: the lane of its group.
        block: the columns that the lane works on in one turn.
        cell: its number in that turn.
    """

    strip: Any
    place: Any
    block: Any
    cell: Any

    @classmethod
    def of(cls, ends: Ends | tuple[int, int], layout: Layout) -> "End":
        """Of last rows and columns."""
        (row, column), divided = ends, launch.divided
        if isinstance(row, int):
            divided = divmod
        strip, in_strip = divided(row, layout.group * ROWS)
        place, of_place = divided(in_strip, ROWS)
        block, of_block = divided(column, COLUMNS)
        return cls(strip, place, block, of_place * COLUMNS + of_block)

    def reached(self, strip: Array, warp: Warp, block: Array) -> Callable[[int], Array | None]:
        """For the number of a cell, the lanes where it is the last one; None for none."""
        here = (strip == self.strip) & (warp.place == self.place) & (block == self.block)

        def at(cell: int) -> Array | None:
            if isinstance(self.cell, int):
                return here if self.cell == cell else None
            return here & (self.cell == cell)

        return at


class Algebra(Protocol):
    """What a cell holds, and how it comes from its neighbours."""

    dtypes: tuple[Any, ...]
    """Of what a cell holds."""
    nowhere: tuple[float, ...]
    """What a cell holds that no path comes to."""
    origin: tuple[float, ...]
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
    end = End.of(tuple(ref[pair] for ref in end_refs) or _whole(layout), layout)
    start = number_of_turn(layout, number)
    nowhere = _of(cells, warp, cells.nowhere)
    is_first = strip == 0

    def reads(k: Array) -> tuple[list[list[Array]], list[State]]:
        """Costs of a turn, and what the strip above holds there; read one turn ahead."""
        at = (start + jnp.minimum(k, layout.turns - 1)) * (CELLS * LANES) + warp.lane
        costs = [
            [cost_ref[at + (row * COLUMNS + column) * LANES] for column in range(COLUMNS)]
            for row in range(ROWS)
        ]
        if not many:
            return costs, []
        block = jnp.minimum(k, layout.blocks - 1)
        at = (jnp.maximum(above_it, 0) * layout.blocks + block) * COLUMNS
        borders = []
        for column in range(COLUMNS):
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
            for border, one in zip(borders or [nowhere] * COLUMNS, handed, strict=True)
        ]
        next_corner, block = above[-1], k - warp.place
        reached = end.reached(strip, warp, block)
        # Row -1 stands above, column -1 to the left.
        held: dict[tuple[int, int], State] = {(-1, -1): corner}
        held |= {(-1, column): one for column, one in enumerate(above)}
        held |= {(row, -1): one for row, one in enumerate(left)}
        records = []
        for row, column in _BY_DIAGONAL:
            ways = [held[row - 1, column], held[row, column - 1]]
            if diagonal:
                ways.append(held[row - 1, column - 1])
            new, recorded = cells.extended(ways, costs[row][column])
            held[row, column] = new
            records.append((row, column, recorded))
            ends_here = reached(row * COLUMNS + column)
            if ends_here is not None:
                final = _where(ends_here, new, final)
        left = tuple(held[row, COLUMNS - 1] for row in range(ROWS))
        above = [held[ROWS - 1, column] for column in range(COLUMNS)]
        record(warp, start + k, records)
        if many:
            at = (number * layout.blocks + jnp.clip(block, 0, layout.blocks - 1)) * COLUMNS
            here = (block >= 0) & (block < layout.blocks)
            for column, held in enumerate(above):
                for ref, part in zip(border_refs, held, strict=True):
                    warp.store_one(ref, at + column, part, LANES - 1, here)
        handed = tuple(tuple(map(warp.from_above, one)) for one in above)
        return left, next_corner, handed, final, ahead

    origin = _where(warp.first & is_first, _of(cells, warp, cells.origin), nowhere)
    # It stands before the first cell: along the diagonal, or where there is none to the left.
    corner, before = (origin, nowhere) if diagonal else (nowhere, origin)
    left = before, *[nowhere] * (ROWS - 1)

    def starting() -> Any:
        return left, corner, (nowhere,) * COLUMNS, nowhere, reads(jnp.int32(0))

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
    end = End.of(tuple(ref[pair] for ref in end_refs) or _whole(layout), layout)
    start = number_of_turn(layout, number)
    zero = warp.full(0, jnp.float32)
    is_last = strip == layout.strips - 1

    def reads(k: Array) -> tuple[list[list[list[Array]]], list[Array]]:
        """Shares of a turn, and what flows in from the strip below; read one turn ahead."""
        k = jnp.maximum(k, 0)
        at = (start + k) * (CELLS * LANES) + warp.lane
        shares = [
            [
                [ref[at + (row * COLUMNS + column) * LANES] for ref in share_refs]
                for column in range(COLUMNS)
            ]
            for row in range(ROWS)
        ]
        if not many:
            return shares, []
        block = k - (layout.group - 1)
        nothing = is_last | (block >= layout.blocks)
        block = jnp.clip(block, 0, layout.blocks - 1)
        below = jnp.minimum(below_it, layout.programs - 1)
        at = (below * layout.blocks + block) * COLUMNS
        return shares, [
            jnp.where(
                nothing,
                zero,
                warp.written_by_others(border_refs[0], jnp.broadcast_to(at + column, LANES)),
            )
            for column in range(COLUMNS)
        ]

    def turn(index: Array, state: Any) -> Any:
        flow, slant, handed, (shares, borders) = state
        k = layout.turns - 1 - index
        ahead = reads(k - 1)
        block = k - warp.place
        reached = end.reached(strip, warp, block)
        flow, slant = list(flow), list(slant)
        at = (start + k) * (CELLS * LANES) + warp.lane
        # What flows into a column from below it, so far.
        upward = [
            jnp.where(warp.last, borders[column] if many else zero, handed[column])
            for column in range(COLUMNS)
        ]
        for row, column in reversed(_BY_DIAGONAL):
            visits = flow[row] + upward[column]
            ends_here = reached(row * COLUMNS + column)
            if ends_here is not None:
                visits = jnp.where(ends_here, 1.0, visits)
            visits_ref[at + (row * COLUMNS + column) * LANES] = visits
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
            at = (number * layout.blocks + jnp.clip(block, 0, layout.blocks - 1)) * COLUMNS
            here = (block >= 0) & (block < layout.blocks)
            for column, flows in enumerate(upward):
                warp.store_one(border_refs[0], at + column, flows, 0, here)
        return tuple(flow), tuple(slant), tuple(map(warp.from_below, upward)), ahead

    def starting() -> Any:
        nothing = (zero,) * ROWS
        return nothing, nothing, (zero,) * COLUMNS, reads(jnp.int32(layout.turns - 1))

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


def number_of_turn(layout: Layout, program: Array) -> Array:
    """Where the turns of a program begin, counted through all programs as they are stored.

    Programs are numbered strip by strip, and stored warp by warp.
    """
    strip, warp = launch.divided(program, layout.warps)
    return (warp * layout.strips + strip) * layout.turns


def results(layout: Layout, dtypes: Sequence[Any], per_program: int) -> list[jax.ShapeDtypeStruct]:
    """Results of so many numbers a program, one of each dtype."""
    return [jax.ShapeDtypeStruct((layout.programs * per_program,), dtype) for dtype in dtypes]


def borders(layout: Layout, dtypes: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    """What strips hand on; none where there is one strip."""
    if layout.strips == 1:
        return []
    return results(layout, dtypes, layout.blocks * COLUMNS)


def of_lanes(layout: Layout, ends: Ends | None) -> list[Array]:
    """Last rows and columns as kernels read them."""
    return [] if ends is None else [layout.of_lanes(one, 0) for one in ends]


def counts(layout: Layout, like: Array) -> list[Array]:
    """How much of that is stored, and the number of programs that have begun."""
    if layout.strips == 1:
        return []
    return [jnp.zeros_like(like, shape=layout.programs + 1, dtype=jnp.int32)]


def _whole(layout: Layout) -> tuple[int, int]:
    return layout.rows - 1, layout.columns - 1


def _of(cells: Algebra, warp: Warp, numbers: Sequence[float]) -> State:
    return tuple(warp.full(n, dtype) for n, dtype in zip(numbers, cells.dtypes, strict=True))


def _where(condition: Array, chosen: State, other: State) -> State:
    return tuple(jnp.where(condition, a, b) for a, b in zip(chosen, other, strict=True))
