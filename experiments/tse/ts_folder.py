"""`--layout=ts`: a folder of the UEA and UCR archives, NAME_TRAIN.ts and NAME_TEST.ts.

The format is that of aeon and sktime: lines that begin with @ describe the data, and after @data
each line is a series. Its dimensions are separated by colons, their values by commas, and the last
entry is the class. A dimension is a feature, a value a frame, so that a series is a TSE `[T, N_f]`.
Series may differ in length, the dimensions of one may not.

Source: https://www.timeseriesclassification.com
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.labels import label_key, lonely_classes, number_labels
from experiments.shared.progress import progress
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.sources import ArraySource, check_tse

_MISSING = ("?", "nan", "")
_MANY_ERRORS = 100  # of a file that is something else; five are shown


class _Line(NamedTuple):
    """A line of a file that is not a comment: its number and what it says."""

    number: int
    text: str


class _Series(NamedTuple):
    """What a file holds: arrays [T, N_f], the label of each, and what messages call it."""

    arrays: list[np.ndarray]
    labels: list[str]
    places: list[str]


def load(data_dir: Path | str) -> TseDataset:
    """Reads a folder with NAME_TRAIN.ts and NAME_TEST.ts into memory, as float32.

    Args:
        data_dir: the folder. Where it has several pairs of files, those that bear its own name.

    Returns:
        The data set, named NAME; ids are "train/0", "train/1", ... in the order of the files.

    Raises:
        MissingFileError: no folder, or no such files.
        UserError: a file is not in the format, has time stamps, missing values, or no classes, or
            a series does not fit the others; names the file and line, and up to five are listed.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder; data_dir must hold NAME_TRAIN.ts")
    name = _problem_name(folder)
    train, test = (_read(folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    class_names, labels = number_labels(
        train.labels + test.labels, places=train.places + test.places, what=str(folder)
    )

    def split(part: str, series: _Series, numbers: np.ndarray) -> TseSplit:
        ids = tuple(f"{part}/{row}" for row in range(len(series.arrays)))
        source = ArraySource(series.arrays, series.places)
        return TseSplit(ids, numbers, source.lengths, source)

    numbers = np.split(labels, [len(train.labels)])
    notes = [
        f"evaluated on {name}_TEST.ts, as the archive divides it",
        lonely_classes(numbers[0], class_names, "training series"),
    ]
    return TseDataset(
        name=name,
        train=split("train", train, numbers[0]),
        test=split("test", test, numbers[1]),
        class_names=class_names,
        num_features=train.arrays[0].shape[1],
        note="; ".join(filter(None, notes)),
    )


def _problem_name(folder: Path) -> str:
    """Returns NAME of the pair of files to read."""
    ending = "_TRAIN.ts"
    found = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    own = folder.resolve().name
    if own in found:
        return own
    if not found:
        raise MissingFileError(f"{folder}: holds no file NAME{ending}")
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds {len(found)} files NAME{ending} ({', '.join(found[:5])}), none of "
            f"them named as the folder; keep one, or rename it {own}{ending}"
        )
    return found[0]


def _read(path: Path) -> _Series:
    """Reads one file."""
    lines = _lines(path)
    spelled = {label_key(name): name for name in _read_header(lines, path)}
    series = _Series([], [], [])
    errors: list[Exception] = []
    for line in progress(lines, desc=f"reading {path.name}", unit="series"):
        place = f"line {line.number}"
        try:
            label, array = _parse_series(line.text)
            if spelled and label_key(label) not in spelled:
                raise UserError(f"its class '{label[:40]}' is not among those of @classLabel")
            if series.arrays and array.shape[1] != series.arrays[0].shape[1]:
                raise UserError(
                    f"{array.shape[1]} dimensions, the first series has {series.arrays[0].shape[1]}"
                )
            array = check_tse(array, place)
        except UserError as error:
            text = str(error)
            errors.append(error if text.startswith(place) else UserError(f"{place}: {text}"))
            if len(errors) == _MANY_ERRORS:
                break
            continue
        series.arrays.append(array)
        series.labels.append(spelled.get(label_key(label), label))
        series.places.append(f"{path}, {place}")
    raise_all(errors, str(path))
    if not series.arrays:
        raise UserError(f"{path}: has no series after @data")
    return series


def _lines(path: Path) -> Iterator[_Line]:
    """Yields the lines that are neither empty nor comments."""
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                data = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
                if not data or data.startswith(b"#"):  # comments of the archives are in any code
                    continue
                try:
                    yield _Line(number, data.decode("utf-8"))
                except UnicodeDecodeError:
                    raise UserError(
                        f"{path}: not UTF-8 (line {number}); save it as UTF-8"
                    ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_header(lines: Iterator[_Line], path: Path) -> list[str]:
    """Goes to the line after @data; returns the classes that the header names, if it does."""
    classes: list[str] = []
    for _, text in lines:
        tag, *values = text.split()
        tag = tag.lower()
        first = values[0].lower() if values else ""
        if tag == "@data":
            return classes
        if tag == "@timestamps" and first == "true":
            raise UserError(
                f"{path}: has time stamps, which are not read; write the values at even steps, "
                "without (time, value) pairs, and @timestamps false"
            )
        if (tag == "@targetlabel" and first == "true") or (
            tag == "@classlabel" and first == "false"
        ):
            raise UserError(f"{path}: has no classes ({tag} {first}); only classification is done")
        if tag == "@classlabel":
            classes = values[1:]
    raise UserError(f"{path}: not a .ts file (it has no line @data)")


def _parse_series(text: str) -> tuple[str, np.ndarray]:
    """Returns the class and the values float64 [T, N_f] of a line."""
    *dimensions, label = (part.strip() for part in text.split(":"))
    if any("(" in part for part in dimensions):
        raise UserError("(time, value) pairs are not read; write the values at even steps")
    if not dimensions or not label:
        raise UserError("must be dimensions and a class, separated by colons")
    columns = [_parse_dimension(part, k) for k, part in enumerate(dimensions, 1)]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        odd = next(k for k, length in enumerate(lengths) if length != lengths[0])
        raise UserError(
            f"dimension {odd + 1} has {lengths[odd]} values, dimension 1 has {lengths[0]}; bring "
            "the dimensions of a series to one length"
        )
    return label, np.array(columns).T.copy()


def _parse_dimension(text: str, number: int) -> list[float]:
    values = text.split(",")
    try:
        parsed = list(map(float, values))
    except ValueError:
        parsed = [np.nan]
    if not any(value != value for value in parsed):  # NaN is not itself
        return parsed
    for place, value in enumerate(values, 1):
        if value.strip().lower() in _MISSING:
            raise UserError(
                f"dimension {number}, value {place} is missing; fill it (interpolated, say), cut "
                "off what only fills up the end, or leave the series out"
            )
        try:
            float(value)
        except ValueError:
            raise UserError(f"dimension {number}, value {place} is not a number") from None
    return parsed
