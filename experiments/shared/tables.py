"""One table, rendered for the terminal and for Markdown."""

from dataclasses import dataclass


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
        widths = _widths((self.columns, *self.rows))
        rule = tuple("-" * width for width in widths)
        return "\n".join(
            "  ".join(_aligned(row, widths)).rstrip() for row in (self.columns, rule, *self.rows)
        )

    def to_markdown(self) -> str:
        """Returns the table in Markdown, padded so that its source reads well too."""
        lines = [tuple(_escaped(cell) for cell in row) for row in (self.columns, *self.rows)]
        widths = [max(width, 3) for width in _widths(lines)]  # room for the marks of alignment
        head, *body = (f"| {' | '.join(_aligned(row, widths))} |" for row in lines)
        marks = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join([head, f"| {' | '.join(marks)} |", *body])


def _widths(rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    first, *others = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return [first, *others]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
