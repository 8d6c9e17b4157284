"""`--layout=index`: a folder with `index.csv` and one `.npy` file for each video.

`index.csv` has a header line and the columns `id`, `path` (relative to the folder), `label` and
`split` (`train` or `test`; `val` and `validation` mean `test`). Each file is a float16 or float32
array `[T, N_f]`; T may vary. Labels are integers 0..C-1, or class names. An optional `classes.txt`
holds one class name on each line: the order of the classes, and the names of integer labels.
"""

import csv
import os
import re
import threading
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from experiments.shared.progress import progress
from experiments.tse.dataset import TseDataset, TseSplit, duplicates
from experiments.tse.sources import (
    FileSource,
    TseFile,
    check_tse,
    check_tse_header,
    common_num_features,
    raise_all,
)

_COLUMNS = ("id", "path", "label", "split")
_TEST_NAMES = ("test", "val", "validation")
# NumPy parses the header as Python source, and CPython 3.11's parser counts its depth for all
# threads together: two headers at once can end in a SystemError.
_HEADER_LOCK = threading.Lock()
_INTEGER = re.compile(r"[+-]?[0-9]+")


class _Row(NamedTuple):
    """One line of `index.csv`."""

    id: str
    path: str
    label: str
    split: str


def load(data_dir: Path | str) -> TseDataset:
    """Opens a folder with `index.csv`, reading the headers of its files, not their numbers.

    Args:
        data_dir: the folder.

    Returns:
        The data set, named as the folder; the splits are in the order of the index.

    Raises:
        FileNotFoundError: no folder, no `index.csv`, or rows whose file is not there.
        ValueError: anything else that is wrong with the index, the labels, a header, or the size
            of a file; each message names the line, id or file, and up to five are listed.
    """
    rows = load_rows(data_dir)
    is_train = np.array([split == "train" for split in rows.splits])
    samples = rows.samples

    def split(chosen: np.ndarray) -> TseSplit:
        source = FileSource([rows.files[i] for i in chosen])
        ids = tuple(samples.ids[i] for i in chosen)
        return TseSplit(ids, samples.labels[chosen], source.lengths, source)

    test_names = sorted(set(rows.splits) - {"train"})
    return TseDataset(
        name=Path(data_dir).resolve().name,
        train=split(np.flatnonzero(is_train)),
        test=split(np.flatnonzero(~is_train)),
        class_names=rows.class_names,
        num_features=samples.source.num_features,
        note=f"evaluated on the rows of index.csv with split '{', '.join(test_names)}'",
    )


class Rows(NamedTuple):
    """Every row of an `index.csv`, whatever its split.

    Attributes:
        samples: in the order of the index.
        class_names: by label.
        splits: of each sample.
        files: of each sample.
    """

    samples: TseSplit
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    files: list[TseFile]


def load_rows(data_dir: Path | str) -> Rows:
    """Opens a folder with `index.csv` as `load` does, without dividing it; raises the same."""
    data_dir = Path(data_dir)
    index = data_dir / "index.csv"
    if not index.is_file():
        raise FileNotFoundError(f"{index}: no such file; data_dir must hold an index.csv")
    rows = _read_index(index)
    classes = data_dir / "classes.txt"
    class_names, labels = _labels(rows, index, classes if classes.is_file() else None)
    files = _open_files(rows, data_dir, index)
    common_num_features([(file.name, file.num_features) for file in files])
    source = FileSource(files)
    samples = TseSplit(tuple(row.id for row in rows), labels, source.lengths, source)
    return Rows(samples, class_names, tuple(row.split for row in rows), files)


def read_npy(path: Path | str) -> np.ndarray:
    """Reads one TSE from a `.npy` file.

    Args:
        path: the file.

    Returns:
        `[T, N_f]`, float16 or float32 as stored, all finite.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a `.npy` file, a truncated one, or not a finite TSE; names the file.
    """
    with _open_npy(path) as file:
        shape, fortran_order, dtype = _read_header(file, str(path))
        array = np.fromfile(file, dtype).reshape(shape, order="F" if fortran_order else "C")
    return check_tse(array.astype(dtype.newbyteorder("="), copy=False), str(path))


def npy_header(path: Path | str) -> tuple[tuple[int, int], np.dtype]:
    """Returns shape and dtype of a TSE in a `.npy` file, without reading the numbers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a `.npy` file, its size is not what its header says, or the header is not
            that of a TSE; names the file.
    """
    with _open_npy(path) as file:
        shape, _, dtype = _read_header(file, str(path))
    return shape, dtype.newbyteorder("=")


def _open_npy(path: Path | str) -> BinaryIO:
    """Opens a file, or says that it is not there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return open(path, "rb")


def _parse_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    # Versions above 2.0 are for structured types, which are refused either way.
    return np.lib.format.read_array_header_2_0(file)


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, int], bool, np.dtype]:
    """Reads shape, Fortran order and dtype, checks them and the size; leaves `file` behind them."""
    try:
        with _HEADER_LOCK:
            shape, fortran_order, dtype = _parse_header(file)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: not a .npy file, or its header is cut: {error}") from error
    check_tse_header(shape, dtype.newbyteorder("="), name)
    expected = file.tell() + shape[0] * shape[1] * dtype.itemsize
    size = os.fstat(file.fileno()).st_size
    if size != expected:
        kind = "truncated" if size < expected else "longer than its header says"
        raise ValueError(f"{name}: {kind}: {size} bytes, expected {expected} for shape {shape}")
    return (shape[0], shape[1]), fortran_order, dtype


def _read_index(index: Path) -> list[_Row]:
    """Reads and checks the rows of `index.csv`."""
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            missing = [name for name in _COLUMNS if name not in columns]
            if missing:
                raise ValueError(
                    f"{index}: no column {', '.join(missing)}; the first line must name "
                    f"{','.join(_COLUMNS)}, got {','.join(columns) or 'nothing'}"
                )
            lines = [(reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{index}: not a UTF-8 CSV file: {error}") from error
    if not lines:
        raise ValueError(f"{index}: has no rows")
    rows: list[_Row] = []
    errors: list[Exception] = []
    for number, line in lines:
        if None in line:
            errors.append(ValueError(f"line {number}: more values than columns; quote the commas"))
            continue
        row = _Row(*((line[name] or "").strip() for name in _COLUMNS))
        empty = [name for name, value in zip(_COLUMNS, row, strict=True) if not value]
        if empty:
            errors.append(ValueError(f"line {number} (id '{row.id}'): no {', '.join(empty)}"))
        elif row.split not in ("train", *_TEST_NAMES):
            errors.append(
                ValueError(
                    f"line {number} (id '{row.id}'): unknown split '{row.split}'; use train or test"
                )
            )
        rows.append(row)
    raise_all(errors + duplicates([row.id for row in rows if row.id]), str(index))
    splits = {row.split for row in rows}
    if "test" in splits and len(splits) > 1 + ("train" in splits):
        raise ValueError(
            f"{index}: has rows of split 'test' and of '{max(splits - {'train', 'test'})}', which "
            "both mean the evaluation split; keep one of them"
        )
    return rows


def _labels(
    rows: Sequence[_Row], index: Path, classes: Path | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the class names and the label int32 [N] of each row."""
    texts = [row.label for row in rows]
    names = None if classes is None else _read_classes(classes)
    if all(_INTEGER.fullmatch(text) for text in texts):
        numbers = [int(text) for text in texts]
        count = len(names) if names else max(numbers) + 1
        outside = [
            ValueError(f"id '{row.id}': label {number} is outside 0..{max(count - 1, 0)}")
            for row, number in zip(rows, numbers, strict=True)
            if not 0 <= number < count
        ]
        raise_all(outside, str(index))
        if names is None:
            used = set(numbers)
            absent = islice((str(k) for k in range(count) if k not in used), 5)
            if len(used) < count:
                raise ValueError(
                    f"{index}: integer labels must be 0..C-1; the largest is {count - 1}, but no "
                    f"row has label {', '.join(absent)} ({count - len(used)} missing in all); "
                    "renumber them, or name the classes in classes.txt"
                )
            names = tuple(str(k) for k in range(count))
        return names, np.array(numbers, np.int32)
    if names is None:
        names = tuple(sorted(set(texts)))
    number_of = {name: k for k, name in enumerate(names)}
    unknown = [
        ValueError(f"id '{row.id}': label '{row.label}' is not a line of {classes}")
        for row in rows
        if row.label not in number_of
    ]
    raise_all(unknown, str(index))
    return names, np.array([number_of[text] for text in texts], np.int32)


def _read_classes(path: Path) -> tuple[str, ...]:
    """Reads `classes.txt`: one class name on each line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file: {error}") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"{path}: must hold a different class name on each line")
    return names


def _open_files(rows: Sequence[_Row], data_dir: Path, index: Path) -> list[TseFile]:
    """Reads the header of each row's file."""
    files: list[TseFile] = []
    errors: list[Exception] = []
    for row in progress(rows, desc="reading headers"):
        path = data_dir / row.path
        try:
            (length, num_features), dtype = npy_header(path)
        except FileNotFoundError:
            errors.append(FileNotFoundError(f"id '{row.id}': no file {path}"))
        except (ValueError, OSError) as error:
            errors.append(error)
        else:
            files.append(TseFile(str(path), length, num_features, dtype, partial(read_npy, path)))
    raise_all(errors, str(index))
    return files
