"""Where the cells of matrices of local costs are stored, and what strips of them hand on.

See `strips`: a lane has a few rows, a turn a few of their columns, a warp one group of lanes
for each of its pairs, and a pair of many rows several strips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.launch import LANES, Warp

# Rows of a lane, and their columns in a turn. Interpreted, any numbers are as right, and small ones
# are compiled sooner.
_BLOCK, _INTERPRETED = (4, 4), (2, 2)
ROWS = _BLOCK[0]
CHUNK = 8  # turns between two looks at what the strip above has stored

Ends = tuple[Array, Array]  # last rows and columns of pairs


@dataclass(frozen=True)
class Layout:
    """Where the cells of matrices are stored.

    Attributes:
        pairs: number of matrices.
        rows: of each.
        columns: of each.
        tall: rows of a lane.
        wide: columns of a turn.
    """

    pairs: int
    rows: int
    columns: int
    tall: int = _BLOCK[0]
    wide: int = _BLOCK[1]

    @classmethod
    def of(cls, matrices: Array, interpret: bool) -> "Layout":
        """That of matrices ``[pairs, rows, columns]``."""
        pairs, rows, columns = matrices.shape
        tall, wide = _INTERPRETED if interpret else _BLOCK
        return cls(pairs, rows, columns, tall, wide)

    @property
    def cells(self) -> int:
        """Cells of a lane in a turn."""
        return self.tall * self.wide

    def offset(self, row: int, column: int) -> int:
        """Where a cell of a turn stands, counted from the first one that its lane has there."""
        return (row * self.wide + column) * LANES

    def columns_of(self, owner: Array, block: Array) -> Array:
        """Where a block of columns begins, of numbers that a program or pair has by column."""
        return (owner * self.blocks + block) * self.wide

    @property
    def group(self) -> int:
        """Lanes of a pair."""
        lanes = -(-self.rows // self.tall)
        return min(LANES, 1 << (lanes - 1).bit_length())

    @property
    def strips(self) -> int:
        """Strips of a pair."""
        return -(-self.rows // (self.group * self.tall))

    @property
    def blocks(self) -> int:
        """Turns that a lane needs for its columns."""
        return -(-self.columns // self.wide)

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
        return self.strips * self.group * self.tall, self.blocks * self.wide

    @property
    def programs(self) -> int:
        """One for each strip of each warp."""
        return self.warps * self.strips

    @property
    def size(self) -> int:
        """Cells that are stored."""
        return self.programs * self.turns * self.cells * LANES

    def skewed(self, matrices: Array) -> Array:
        """``[pairs, rows, columns]`` as the kernels read them, flat; 0 where there is none."""
        rows, columns = self.padded
        more = (
            (0, self.warps * self.pairs_of_warp - self.pairs),
            (0, rows - self.rows),
            (0, columns - self.columns),
        )
        whole = jnp.pad(matrices, more).reshape(
            *(self.warps, self.pairs_of_warp, self.strips, self.group, self.tall),
            *(self.blocks, self.wide),
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
            *(self.warps, self.strips, self.turns, self.tall, self.wide),
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
            end = End.of(whole(self), self)
            by_lane = of_lanes.reshape(self.strips, self.warps, self.pairs_of_warp, self.group)
            return by_lane[end.strip, :, :, end.place].reshape(-1)[: self.pairs]
        end = End.of(ends, self)
        pair = jnp.arange(self.pairs, dtype=jnp.int32)
        warp, of_warp = launch.divided(pair, self.pairs_of_warp)
        program = end.strip * self.warps + warp
        return of_lanes[program * LANES + of_warp * self.group + end.place]

    def by_row(self, of_lanes: Array) -> Array:
        """What each lane has of each of its rows, ``[programs * tall * 32]``; ``[pairs, rows]``."""
        whole = of_lanes.reshape(self._rows_of_programs).transpose(1, 3, 0, 4, 2)
        return whole.reshape(-1, self.padded[0])[: self.pairs, : self.rows]

    def rows_of_lanes(self, by_row: Array) -> Array:
        """The inverse of `by_row`, 0 where there is none."""
        more = self.warps * self.pairs_of_warp - self.pairs, self.padded[0] - self.rows
        whole = jnp.pad(by_row, [(0, one) for one in more])
        strips, warps, tall, pairs, group = self._rows_of_programs
        return whole.reshape(warps, pairs, strips, group, tall).transpose(2, 0, 4, 1, 3).reshape(-1)

    @property
    def _rows_of_programs(self) -> tuple[int, ...]:
        return self.strips, self.warps, self.tall, self.pairs_of_warp, self.group

    def by_column(self, of_pairs: Array) -> Array:
        """One number a pair and padded column, flat, as ``[pairs, columns]``."""
        return of_pairs.reshape(-1, self.padded[1])[: self.pairs, : self.columns]

    def columns_of_pairs(self, by_column: Array) -> Array:
        """The inverse of `by_column`, 0 where there is none."""
        more = self.warps * self.pairs_of_warp - self.pairs, self.padded[1] - self.columns
        return jnp.pad(by_column, [(0, one) for one in more]).reshape(-1)


class End(NamedTuple):
    """Where the last cell of pairs is, of each lane's pair or, as plain integers, of all.

    Attributes:
        strip: its strip.
        place: the lane of its group.
        block: the columns that the lane works on in one turn.
        row: which of the lane's rows it is in.
        column: which of the turn's columns.
    """

    strip: Any
    place: Any
    block: Any
    row: Any
    column: Any

    @classmethod
    def of(cls, ends: Ends | tuple[int, int], layout: Layout) -> "End":
        """Of last rows and columns."""
        row, column = ends
        divided: Callable[[Any, int], tuple[Any, Any]] = launch.divided
        if isinstance(row, int):
            divided = divmod
        strip, in_strip = divided(row, layout.group * layout.tall)
        place, of_place = divided(in_strip, layout.tall)
        block, of_block = divided(column, layout.wide)
        return cls(strip, place, block, of_place, of_block)

    def in_column(self, block: Array, column: int) -> Array | None:
        """The lanes one of whose cells is in the last column, if that is this one; None: none."""
        return _at(block == self.block, self.column, column)

    def in_row(self, strip: Array, warp: Warp, row: int) -> Array | None:
        """The lanes that have the last row, if that is this one of theirs; None: none."""
        return _at((strip == self.strip) & (warp.place == self.place), self.row, row)

    def reached(
        self, strip: Array, warp: Warp, block: Array, row: int, column: int
    ) -> Array | None:
        """The lanes of which a cell is the last one; None for none."""
        here, below = self.in_column(block, column), self.in_row(strip, warp, row)
        return None if here is None or below is None else here & below


def _at(here: Array, which: Any, one: int) -> Array | None:
    if isinstance(which, int):
        return here if which == one else None
    return here & (which == one)


def whole(layout: Layout) -> tuple[int, int]:
    """The last row and column of the matrices."""
    return layout.rows - 1, layout.columns - 1


def number_of_turn(layout: Layout, program: Array) -> Array:
    """Where the turns of a program begin, counted through all programs as they are stored.

    Programs are numbered strip by strip, and stored warp by warp.
    """
    strip, warp = launch.divided(program, layout.warps)
    return (warp * layout.strips + strip) * layout.turns


def launched(
    kernel: Callable[..., None],
    layout: Layout,
    *operands: Array,
    out_shape: Sequence[jax.ShapeDtypeStruct],
    name: str,
    interpret: bool,
    **options: Any,
) -> Sequence[Array]:
    """Runs a kernel with a program for each strip of each warp.

    Args:
        kernel: takes refs of the operands, the results, and of the counts where there are strips.
        layout: of the matrices; the kernel is told, and whether it is interpreted.
        *operands: arrays.
        out_shape: of the results.
        name: see `launch.call`.
        interpret: see `launch.call`.
        **options: further ones of the kernel.
    """
    return launch.call_warps(
        partial(kernel, layout=layout, interpret=interpret, **options),
        *operands,
        programs=layout.programs,
        out_shape=out_shape,
        name=name,
        interpret=interpret,
        initial=_counts(layout),
    )


def results(layout: Layout, dtypes: Sequence[Any], per_program: int) -> list[jax.ShapeDtypeStruct]:
    """Results of so many numbers a program, one of each dtype."""
    return [jax.ShapeDtypeStruct((layout.programs * per_program,), dtype) for dtype in dtypes]


def found(
    layout: Layout, dtypes: Sequence[Any], sides: Sequence[str]
) -> list[jax.ShapeDtypeStruct]:
    """What the last cells hold or, where ends are open, all of the last column and row.

    Args:
        layout: of the matrices.
        dtypes: of what a cell holds.
        sides: see `openings.sides`.
    """
    if not sides:
        return results(layout, dtypes, LANES)
    in_column = results(layout, dtypes, layout.tall * LANES) if "column" in sides else []
    size = layout.warps * layout.pairs_of_warp * layout.padded[1]
    in_row = [jax.ShapeDtypeStruct((size,), dtype) for dtype in dtypes if "row" in sides]
    return in_column + in_row


def borders(layout: Layout, dtypes: Sequence[Any]) -> list[jax.ShapeDtypeStruct]:
    """What strips hand on; none where there is one strip."""
    if layout.strips == 1:
        return []
    return results(layout, dtypes, layout.blocks * layout.wide)


def of_lanes(layout: Layout, ends: Ends | None) -> list[Array]:
    """Last rows and columns as kernels read them."""
    return [] if ends is None else [layout.of_lanes(one, 0) for one in ends]


def _counts(layout: Layout) -> list[Array]:
    """How much strips have handed on, and the number of programs that have begun."""
    if layout.strips == 1:
        return []
    return [jnp.zeros(layout.programs + 1, jnp.int32)]
