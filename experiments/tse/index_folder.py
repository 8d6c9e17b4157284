"""`--layout=index`: a folder with `index.csv` and one `.npy` file for each video.

`index.csv` has a header line and the columns `id`, `path` (relative to the folder), `label` and
`split` (`train`, `val` or `test`). Beside `test`, rows of `val` are what the best epoch is picked
on; without `test` they are what is evaluated on. Each file is an array `[T, N_f]` of floating
point; T may vary, and what is wider than float32 is read as float32. Labels are names; where all
are integers they are ordered by value. An optional `classes.txt` holds one class name on each line:
the order of the classes, and the names of labels 0, 1, ....

A store (`store_format`), which is the same in few files, is opened in its place.
"""

from pathlib import Path

from experiments.shared.csv_index import Row, read_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.labels import number_labels, read_classes
from experiments.shared.progress import progress
from experiments.shared.remembered import Remembered
from experiments.tse import store
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.npy_file import open_npy
from experiments.tse.rows import Rows
from experiments.tse.sources import common_num_features
from experiments.tse.stored import FileSource, TseFile, conversion_note

_COLUMNS = ("id", "path", "label", "split")


def load(
    data_dir: Path | str, *, outside_paths: bool = False, known: Remembered | None = None
) -> TseDataset:
    """Opens a folder with `index.csv`, reading the headers of its files, not their numbers.

    Args:
        data_dir: the folder.
        outside_paths: paths in the index may lead out of it.
        known: headers that need not be read again, see `TseDataset.remember`.

    Returns:
        The data set, named as the folder; the splits are in the order of the index.

    Raises:
        MissingFileError: no folder, no `index.csv`, or rows whose file is not there.
        UserError: anything else that is wrong with the index, the labels, a header, or the size of
            a file; each message names the line, id or file, and up to five are listed.
    """
    rows = load_rows(data_dir, outside_paths=outside_paths, known=known)
    return rows.to_dataset(Path(data_dir).resolve().name)


def load_rows(
    data_dir: Path | str, *, outside_paths: bool = False, known: Remembered | None = None
) -> Rows:
    """Opens a folder as `load` does, without dividing it; raises the same."""
    data_dir = Path(data_dir)
    if store.is_store(data_dir):
        return store.load_rows(data_dir, known=known)
    index = data_dir / "index.csv"
    if not index.is_file():
        raise MissingFileError(f"{index}: no such file; data_dir must hold an index.csv")
    rows = read_rows(
        index,
        required=_COLUMNS,
        unique="id",
        files="path",
        must_exist=False,  # opening them tells
        outside_paths=outside_paths,
    )
    classes = data_dir / "classes.txt"
    class_names, labels = number_labels(
        [row["label"] for row in rows],
        names=read_classes(classes) if classes.is_file() else None,
        places=[row.where for row in rows],
        what=str(index),
    )
    files = _open_files(rows, index, known or Remembered())
    common_num_features([(file.name, file.num_features) for file in files])
    source = FileSource(files)
    samples = TseSplit(tuple(row["id"] for row in rows), labels, source.lengths, source)
    splits = tuple(row["split"] for row in rows)
    return Rows(samples, class_names, splits, conversion_note(files), index.name)


def _open_files(rows: list[Row], index: Path, known: Remembered) -> list[TseFile]:
    """Reads the header of each row's file, unless it is remembered."""
    files: list[TseFile] = []
    errors: list[Exception] = []
    for row in progress(rows, desc="reading headers", unit="files"):
        assert row.path is not None
        try:
            files.append(open_npy(row.path, known))
        except MissingFileError:
            errors.append(MissingFileError(f"{row.where}: no file {row.path}"))
        except UserError as error:
            errors.append(error)
    raise_all(errors, str(index))
    return files
