"""The one reader of tables that list data: index.csv, images.csv, videos.csv and class splits.

Everything that can be wrong with such a file is a `UserError` that names the file and the line, up
to five of them at once. No text of a file is repeated before its header shows that it is a table of
ours: a message must not tell what is in somebody else's file.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.files import RealPaths

SPLITS = ("train", "val", "test")
"""What a split is called; "validation" is read as "val"."""

_SYNONYMS = {name: name for name in SPLITS} | {"validation": "val"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: its first line in the file, counted from 1.
        values: of each column that was asked for, without spaces around them; "" where the table
            lacks an optional column or the cell is empty. A split is one of `SPLITS`.
        where: begins a message about the row: its line, and its id where rows have one.
        path: of the row's file, as it was written; None where rows name no file.
    """

    line: int
    values: Mapping[str, str]
    where: str
    path: Path | None = None

    def __getitem__(self, column: str) -> str:
        """The value of a column."""
        return self.values[column]


def read_rows(
    index: Path | str,
    *,
    required: Sequence[str],
    may_be_empty: Sequence[str] = (),
    optional: Sequence[str] = (),
    splits: bool = True,
    unique: str | None = None,
    files: str | None = None,
    must_exist: bool = True,
    outside_paths: bool = False,
) -> list[Row]:
    """Reads and checks a table: UTF-8, comma-separated, the first line names the columns.

    Blank lines, a byte order mark, spaces around values, further columns, and column names and
    splits in capitals do no harm.

    Args:
        index: the file.
        required: columns that must be there, with a value in every row.
        may_be_empty: columns that must be there; a cell may be empty.
        optional: columns that need not be there.
        splits: the column "split" is one of the required, and holds `SPLITS`.
        unique: the column whose values must differ.
        files: the column that holds paths, relative to the folder of `index`. Each file may be
            listed once: in two splits a method would be tested on what it has learned, and twice in
            one split it would count twice.
        must_exist: those files must be there.
        outside_paths: such a path may be absolute, climb out of the folder, or be a link that does.

    Returns:
        The rows, at least one, in the order of the file.

    Raises:
        MissingFileError: the table is not there, or nothing is wrong but files that are not there.
        UserError: anything else.
    """
    index = Path(index)
    if splits and "split" not in required:
        required = (*required, "split")
    header, records = _records(index)
    places = _columns(header, (*required, *may_be_empty), optional, index)
    if not records:
        raise UserError(f"{index}: has no rows")
    reader = _RowReader(places, len(header), required, unique)
    rows, errors = reader.read(records)
    if splits:
        rows = [_with_split(row, errors) for row in rows]
    if unique:
        errors += _repeated(unique, [(row[unique], row) for row in rows if row[unique]])
    if files:
        rows = _with_files(rows, files, Inside(index.parent, outside_paths), must_exist, errors)
    raise_all(errors, str(index))
    return rows


def column_names(index: Path | str) -> tuple[str, ...]:
    """Returns the names of a table's columns in their order, as `read_rows` has them.

    They are in small letters; columns without a name are left out.

    Raises:
        MissingFileError: the table is not there.
        UserError: it is no table, or names a column twice.
    """
    _, header = next(_stream_records(index), (1, []))
    names = tuple(name.casefold() for name in header if name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{index}: the first line names {', '.join(twice)} more than once")
    return names


def stream_rows(
    table: Path | str, *, required: Sequence[str]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Reads a long table row by row; what it forgives is what `read_rows` does.

    Args:
        table: the file.
        required: columns that must be there, with a value in every row.

    Returns:
        An iterator over (line, values of the required columns in their order).

    Raises:
        MissingFileError: the table is not there.
        UserError: the first thing that is wrong, with its line.
    """
    records = _stream_records(table)
    _, header = next(records, (1, []))
    places = list(_columns(header, required, (), Path(table)).values())
    for line, cells in records:
        if len(cells) != len(header):
            if any(cells[len(header) :]):
                raise UserError(f"{table}, line {line}: more values than columns; quote the commas")
            cells += [""] * (len(header) - len(cells))
        values = tuple([cells[place] for place in places])
        if "" in values:
            empty = [name for name, value in zip(required, values, strict=True) if not value]
            raise UserError(f"{table}, line {line}: no {', '.join(empty)}")
        yield line, values


class Inside:
    """Finds files by their paths in a folder, and keeps to that folder.

    A table comes with data from elsewhere. A path in it that leads out of the data's folder would
    have us read any file of this machine, so that takes a word of the user.
    """

    def __init__(self, root: Path | str, outside_paths: bool = False) -> None:
        """Takes the folder, and whether paths may lead out of it."""
        self.root = Path(root)
        self._outside_paths = outside_paths
        self._places = RealPaths()
        self._begins = os.path.realpath(self.root).rstrip(os.sep) + os.sep

    def find(self, text: str) -> tuple[Path, str]:
        """Returns a path as it was written, in the folder, and where that truly is.

        Raises:
            UserError: it leads out of the folder, or can be no path; begins with the path.
        """
        if "\0" in text:
            raise UserError("the path holds a zero byte, it cannot be one")
        path = self.root / text
        # As text: a Path is taken apart when it is first used, which in a million rows takes time.
        real = self._places.of(os.path.join(self.root, text))
        if not (self._outside_paths or real.startswith(self._begins)):
            how = "is or follows a link that leads" if self._looks_inside(text) else "leads"
            raise UserError(
                f"path '{text}' {how} out of the folder {self.root}; move the data into it, or "
                "give --outside_paths if this is meant"
            )
        return path, real

    def found(self, suffixes: Sequence[str]) -> list[Path]:
        """Returns the files of the folder and those below it, sorted, by their suffixes.

        Raises:
            UserError: links among them that lead out of the folder; lists up to five.
        """
        files = sorted(
            path
            for path in self.root.rglob("*")
            if path.suffix.lower() in suffixes and path.is_file()
        )
        errors: list[Exception] = []
        for path in files:
            try:
                self.find(path.relative_to(self.root).as_posix())
            except UserError as error:
                errors.append(error)
        raise_all(errors, str(self.root))
        return files

    @staticmethod
    def _looks_inside(text: str) -> bool:
        return not os.path.isabs(text) and not os.path.normpath(text).startswith("..")


def evaluated_split(splits: Iterable[str]) -> str:
    """Returns the split that is evaluated on: "test", or "val" where there is no test."""
    found = set(splits)
    return "val" if "val" in found and "test" not in found else "test"


def read_text(path: Path | str) -> str:
    """Reads a UTF-8 text file, with or without a byte order mark.

    Raises:
        MissingFileError: it is not there.
        UserError: it is not UTF-8, naming the line, or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", data[: error.start]))
        raise UserError(f"{path}: not UTF-8 (line {line}); save it as UTF-8") from None


def _records(index: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header, and the other records that are not blank with their first lines."""
    records = list(_stream_records(index))
    return (records[0][1], records[1:]) if records else ([], [])


def _stream_records(table: Path | str) -> Iterator[tuple[int, list[str]]]:
    """Goes through the records that are not blank, with their first lines."""
    line = 1
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            # Strict: a quote that is never closed would otherwise swallow the rest of the table.
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            for record in reader:
                cells = [cell.strip() for cell in record]
                if any(cells):  # spreadsheets write empty rows as commas
                    yield line, cells
                line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{table}, line {line}: not a CSV file ({error})") from error
    except (UnicodeDecodeError, OSError):
        read_text(table)  # says what is wrong with the file
        raise


def _columns(
    header: list[str], needed: Sequence[str], optional: Sequence[str], index: Path
) -> dict[str, int]:
    """Returns where each column stands, None of the optional ones that are not there."""
    names = [name.casefold() for name in header]
    wanted = (*needed, *optional)
    missing = [name for name in needed if name not in names]
    if missing:
        found = [name for name in wanted if name in names]
        others = len(names) - len(found)
        hint = f"; it names {', '.join(found)} and {others} others" if found else ""
        if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
            hint += "; commas must be between the columns, not semicolons or tabs"
        raise UserError(
            f"{index}: no column {', '.join(missing)}; the first line must name "
            f"{','.join(needed)}{hint}"
        )
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise UserError(f"{index}: the first line names {', '.join(twice)} more than once")
    return {name: names.index(name) for name in wanted if name in names}


@dataclass(frozen=True)
class _RowReader:
    """Turns records into rows."""

    places: Mapping[str, int]
    num_columns: int
    required: Sequence[str]
    unique: str | None

    def read(self, records: list[tuple[int, list[str]]]) -> tuple[list[Row], list[Exception]]:
        """Returns the rows and what is wrong with some."""
        rows: list[Row] = []
        errors: list[Exception] = []
        for line, cells in records:
            if any(cells[self.num_columns :]):
                errors.append(UserError(f"line {line}: more values than columns; quote the commas"))
                continue
            cells += [""] * (self.num_columns - len(cells))
            values = {name: cells[place] for name, place in self.places.items()}
            where = f"line {line}"
            if self.unique and values.get(self.unique):
                where += f", {self.unique} '{values[self.unique]}'"
            empty = [name for name in self.required if not values[name]]
            if empty:
                errors.append(UserError(f"{where}: no {', '.join(empty)}"))
            rows.append(Row(line, _Values(values), where))
        return rows, errors


class _Values(dict[str, str]):
    """Cells by column; those of an optional column that is not there are empty."""

    def __missing__(self, column: str) -> str:
        return ""


def _with_split(row: Row, errors: list[Exception]) -> Row:
    text = row["split"]
    split = _SYNONYMS.get(text.casefold())
    if split is None:
        if text:  # an empty one is known to be missing
            errors.append(UserError(f"{row.where}: unknown split '{text}'; use train, val or test"))
        return row
    return Row(row.line, _Values({**row.values, "split": split}), row.where, row.path)


def _with_files(
    rows: list[Row], column: str, inside: Inside, must_exist: bool, errors: list[Exception]
) -> list[Row]:
    found: list[Row] = []
    listed: list[tuple[str, Row]] = []
    for row in rows:
        if not row[column]:
            continue
        try:
            path, real = inside.find(row[column])
        except UserError as error:
            errors.append(UserError(f"{row.where}: {error}"))
            continue
        if must_exist and not os.path.isfile(path):
            errors.append(MissingFileError(f"{row.where}: no file {path}"))
        found.append(Row(row.line, row.values, row.where, path))
        listed.append((real, found[-1]))
    errors += _repeated("file", listed)
    return found


def _repeated(what: str, found: list[tuple[str, Row]]) -> list[Exception]:
    """Returns an error for each row whose value came before."""
    first: dict[str, Row] = {}
    errors: list[Exception] = []
    for value, row in found:
        before = first.setdefault(value, row)
        if before is row:
            continue
        if what != "file":
            errors.append(UserError(f"{row.where}: comes on line {before.line} already"))
            continue
        splits = before.values.get("split"), row.values.get("split")
        rule = "each file may be in one split only" if splits[0] != splits[1] else "list it once"
        now, then = (f" ('{split}')" if split else "" for split in reversed(splits))
        lines = f"{row.where}{now} and line {before.line}{then}"
        errors.append(UserError(f"{lines} name the same file, {row.path}; {rule}"))
    return errors
