"""How paths come to the cells of a strip: by which moves, and where they may begin.

A path begins by a move along the diagonal from outside of the matrix, where nothing else stands.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp

from tempalign._engine.model import Model
from tempalign._types import Array
from tempalign.kernels.gpu.launch import Warp

State = tuple[Array, ...]

# By what a cell was come to, two bits each; in the order in which they stand, of equally good ones
# the last counts (see `tempalign._engine.hard`).
COLUMN, ROW, SLANT = 0, 1, 2


class Algebra(Protocol):
    """What a cell holds, and how it comes from its neighbours."""

    @property
    def dtypes(self) -> tuple[Any, ...]:
        """Of what a cell holds."""

    @property
    def nowhere(self) -> tuple[float, ...]:
        """What a cell holds that no path comes to."""

    def begun(self, multiplicity: int) -> tuple[float, ...]:
        """What stands where as many paths begin."""

    def extended(self, ways: list[tuple[int, State]], cost: Array) -> tuple[State, list[Array]]:
        """A cell from the ways to it, by their codes, and a record.

        Of soft minima the record is the shares of all ways but the last.
        """


class Border(NamedTuple):
    """Where the lanes of a turn stand in their matrices.

    Attributes:
        row: number of a lane's first row.
        column: number of its first column in this turn.
    """

    row: Array
    column: Array


def refused(model: Model) -> str | None:
    """Why the kernels have no form of a model's moves and openings, or None."""
    if not model.uniform:
        return "the kernels take moves that cost the same"
    if model.column.allowed != "everywhere":
        return "the kernels take models with steps in columns"
    if model.diagonal.allowed != "everywhere" and model.begin.is_open:
        return "the kernels' paths begin anywhere only where there are moves along the diagonal"
    return None


def codes(model: Model, column: int) -> list[int]:
    """The ways to the cells of a column, counted within a turn."""
    row = model.row.allowed
    along_rows = row == "everywhere" or (row == "first_column" and column == 0)
    slant = model.diagonal.allowed == "everywhere"
    return [ROW] * along_rows + [COLUMN] + [SLANT] * slant


def kept(model: Model) -> list[int]:
    """The ways whose shares are stored: what is left is the last one's."""
    return codes(model, 0)[:-1]


def to_cell(
    model: Model,
    cells: Algebra,
    warp: Warp,
    held: Mapping[tuple[int, int], State],
    at: tuple[int, int],
    border: Border,
) -> list[tuple[int, State]]:
    """The ways to a cell of a turn, by their codes.

    Args:
        model: moves, and where paths begin.
        cells: what cells hold.
        warp: whose lanes these are.
        held: what the cells before hold; row and column -1 are those of neighbours.
        at: row and column of the cell.
        border: where the lanes stand.
    """
    row, column = at
    found = []
    for code in codes(model, column):
        if code == COLUMN:
            way = held[row, column - 1]
        elif code == ROW:
            way = held[row - 1, column]
            if model.row.allowed == "first_column":
                way = where(border.column == 0, way, of(cells.dtypes, warp, cells.nowhere))
        else:
            way = held[row - 1, column - 1]
            if model.begin.is_open:
                way = _begun(model, cells, warp, way, at, border)
        found.append((code, way))
    return found


def _begun(
    model: Model, cells: Algebra, warp: Warp, way: State, at: tuple[int, int], border: Border
) -> State:
    """The move along the diagonal, from outside where a path may begin."""
    row, column = at
    row_number, column_number = border.row + row, border.column + column
    begin = model.begin
    others = of(cells.dtypes, warp, cells.begun(begin.multiplicity))
    if column == 0 and begin.x != 0:
        way = where((column_number == 0) & _within(row_number, begin.x), others, way)
    if row == 0 and begin.y != 0:
        here = (row_number == 0) & (column_number >= 0)
        way = where(here & _within(column_number, begin.y), others, way)
    if row == column == 0:
        corner = (row_number == 0) & (column_number == 0)
        way = where(corner, of(cells.dtypes, warp, cells.begun(1)), way)
    return way


def _within(skipped: Array, limit: int | None) -> Any:
    return True if limit is None else skipped <= limit


def of(dtypes: Sequence[Any], warp: Warp, numbers: Sequence[float]) -> State:
    """The same state in all lanes."""
    return tuple(warp.full(n, dtype) for n, dtype in zip(numbers, dtypes, strict=True))


def where(condition: Array, chosen: State, other: State) -> State:
    """A choice between states."""
    return tuple(jnp.where(condition, a, b) for a, b in zip(chosen, other, strict=True))
