"""The static description of an alignment problem: which paths there are, and what they cost.

A path is a chain of cells ``(i, j)`` of an ``n x m`` matrix of local costs ``C``. With moves k that
lead to a cell from its neighbours, the recurrence of every distance here is

    R(i, j) = softmin_k { R(neighbour k) + weight_k C(i, j) + penalty_k },

a path may begin where `begin` says (the cell it begins at costs ``C(i, j)``) and end where `end`
says. Everything in here is plain and hashable: it is what a call is compiled for, and what a
backend looks at to say whether it can serve. What is traced stands in `problem.Operands`.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

from tempalign._types import Cost

#: Local costs that are no function of two sequences: a given matrix, and DejaVid's weighted sum.
LocalCost = Cost | Literal["given", "weighted_manhattan"] | Callable


@dataclasses.dataclass(frozen=True)
class Move:
    """One of the three ways to get to a cell from its neighbours.

    Attributes:
        allowed: where. "first_column" is what TAM's common code does along the query.
        array: which array of local costs it pays (all pay the first in this version; distances
            that price moves apart, the elastic ones, will need three).
        weighted: whether the cost of the cell it enters is multiplied by `Operands.weights`.
        penalised: whether `Operands.penalty` is added.
    """

    allowed: Literal["everywhere", "first_column", "never"] = "everywhere"
    array: int = 0
    weighted: bool = False
    penalised: bool = False


@dataclasses.dataclass(frozen=True)
class Opening:
    """Where paths begin, or seen from the other corner where they end.

    Attributes:
        x: how many frames of x (rows) may be skipped; None means any number.
        y: how many frames of y (columns) may be skipped. A path skips frames of one of them.
        multiplicity: as how many paths one counts that skips frames; only a soft minimum notices.
    """

    x: int | None = 0
    y: int | None = 0
    multiplicity: int = 1

    @property
    def is_open(self) -> bool:
        """Whether frames may be skipped at all."""
        return self.x != 0 or self.y != 0

    def swapped(self) -> "Opening":
        """That of the problem with x and y exchanged."""
        return dataclasses.replace(self, x=self.y, y=self.x)


@dataclasses.dataclass(frozen=True)
class Window:
    """Which cells a path may visit; all conditions must hold.

    Attributes:
        band: Sakoe-Chiba radius around the slope-adjusted diagonal, None for no limit.
        slope: Itakura's largest slope of the lines from both corners, None for no limit.
        masked: whether `Operands.mask` says more.
    """

    band: int | None = None
    slope: Fraction | None = None
    masked: bool = False


@dataclasses.dataclass(frozen=True)
class Model:
    """All that is static about a problem.

    Attributes:
        row: the move from (i-1, j).
        column: the move from (i, j-1).
        diagonal: the move from (i-1, j-1).
        begin: where paths begin.
        end: where they end.
        window: which cells they may visit.
        cost: the local cost, by name, or a function.
        soft: whether the minimum is soft, with a temperature in `Operands.gamma`.
        recompute: work on long sequences by blocks of rows, and again for the gradient.
        half_paths: float16 may decide the path where a kernel looks for it.
    """

    row: Move = Move()
    column: Move = Move()
    diagonal: Move = Move()
    begin: Opening = Opening()
    end: Opening = Opening()
    window: Window = Window()
    cost: LocalCost = "sqeuclidean"
    soft: bool = False
    recompute: bool = False
    half_paths: bool = False

    @property
    def moves(self) -> tuple[Move, Move, Move]:
        """Row, column, diagonal."""
        return self.row, self.column, self.diagonal

    @property
    def uniform(self) -> bool:
        """Whether all moves to a cell cost the same, so that the cost can be added once."""
        return not any(move.weighted or move.penalised for move in self.moves)

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns may be exchanged."""
        return all(move.allowed != "first_column" for move in self.moves)

    def replace(self, **changes: Any) -> "Model":
        """The model with some fields changed."""
        return dataclasses.replace(self, **changes)

    def swapped(self) -> "Model":
        """That of the problem with x and y exchanged; its window is that of the lanes already."""
        return self.replace(
            row=self.column,
            column=self.row,
            begin=self.begin.swapped(),
            end=self.end.swapped(),
        )


def dtw(diagonal: bool = True) -> tuple[Move, Move, Move]:
    """The moves of dynamic time warping: all three, or none along the diagonal."""
    return Move(), Move(), Move(allowed="everywhere" if diagonal else "never")


_NEVER = Move(allowed="never")
_ANYWHERE_IN_X = Opening(x=None, multiplicity=2)


def tam(boundary: Literal["paper", "edge"]) -> Model:
    """TAM's alignment score (Cao et al., CVPR 2020, Eq. 5) without its padded columns.

    The paper pads the support by a free column at each end. What a path does there is to choose
    the query frame it begins or ends at; it can step into (out of) the support from there in two
    ways, straight or diagonally, except at the corner: hence multiplicity 2. ``"edge"`` is the
    common few-shot code's, which also moves along the query in the support's first column.
    """
    row = _NEVER if boundary == "paper" else Move(allowed="first_column")
    return Model(row=row, begin=_ANYWHERE_IN_X, end=_ANYWHERE_IN_X)


def weighted(diagonal: bool, half_paths: bool = False) -> Model:
    """DejaVid's: rows are centroid steps, columns frames of the sample."""
    row, column, both = dtw(diagonal)
    return Model(row, column, both, cost="weighted_manhattan", half_paths=half_paths)
