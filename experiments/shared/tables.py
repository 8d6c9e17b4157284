"""Tables for the terminal, Markdown and JSON, and the numbers in their cells."""

import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Cell(str):
    """Text of a cell that remembers the numbers it was made from.

    A table shows two digits; report.json gets the numbers as they are.

    Attributes:
        values: the numbers, None where there is none.
    """

    values: tuple[float | None, ...]

    def __new__(cls, text: str, values: Sequence[float | None]) -> "Cell":
        """Makes the text.

        Args:
            text: what tables show.
            values: what it was made from.
        """
        cell = super().__new__(cls, text)
        cell.values = tuple(values)
        return cell


@dataclass(frozen=True)
class Table:
    """Cells of text. The first column is aligned to the left, the others to the right.

    Attributes:
        columns: the headings.
        rows: one tuple of cells a row, as long as `columns`.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        """Checks that every row has one cell a column.

        Raises:
            ValueError: a row has more or fewer cells than there are columns.
        """
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows[{index}] must have {len(self.columns)} cells, one a column, "
                    f"but has {len(row)}: {row}"
                )

    def to_text(self) -> str:
        """Returns the table in plain text: columns two blanks apart, a rule under the headings."""
        head, *body = ([_one_line(cell) for cell in row] for row in (self.columns, *self.rows))
        widths = _widths([head, *body])
        rule = ["-" * width for width in widths]
        return "\n".join("  ".join(_aligned(row, widths)).rstrip() for row in (head, rule, *body))

    def to_markdown(self) -> str:
        """Returns the table in Markdown, padded so that its source reads well too."""
        lines = [[_escaped(_one_line(cell)) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(width, 3) for width in _widths(lines)]  # room for the marks of alignment
        head, *body = (f"| {' | '.join(_aligned(row, widths))} |" for row in lines)
        marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join([head, f"| {' | '.join(marks)} |", *body])

    def to_json(self) -> dict[str, Any]:
        """Returns columns and rows; a cell with numbers has them beside its text."""
        rows = [
            [
                {"text": str(cell), "values": list(cell.values)}
                if isinstance(cell, Cell)
                else str(cell)
                for cell in row
            ]
            for row in self.rows
        ]
        return {"columns": list(self.columns), "rows": rows}


def percent(values: Sequence[float | None]) -> Cell:
    """Returns mean and, of several values, sample standard deviation, in percent; "-" for none."""
    known = [value for value in values if value is not None]
    if not known:
        return Cell("-", values)
    text = f"{100 * statistics.fmean(known):.2f}"
    if len(known) > 1:
        text += f" ± {100 * statistics.stdev(known):.2f}"
    return Cell(text, values)


def points(values: Sequence[float]) -> Cell:
    """Returns signed mean and, of several, sample standard deviation, in percentage points."""
    text = f"{100 * statistics.fmean(values):+.2f}"
    if len(values) > 1:
        text += f" ± {100 * statistics.stdev(values):.2f}"
    return Cell(text, values)


def seconds(value: float) -> Cell:
    """Returns a duration as tables show it."""
    return Cell(f"{value:.1f}" if value < 100 else f"{value:,.0f}", [value])


def display_width(text: str) -> int:
    """Returns how many columns of a terminal a text takes: Chinese or Japanese characters two."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(display_width, column)) for column in zip(*rows, strict=True)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = (
        (cell, " " * (width - display_width(cell))) for cell, width in zip(row, widths, strict=True)
    )
    return [first[0] + first[1], *(blanks + cell for cell, blanks in others)]


def _one_line(cell: str) -> str:
    """Names come from files: a line break in one must not end the row."""
    return " ".join(cell.splitlines()) if cell else ""


def _escaped(cell: str) -> str:
    for mark in "|<$":  # would end the cell, begin a tag, begin a formula
        cell = cell.replace(mark, "\\" + mark)
    return cell
