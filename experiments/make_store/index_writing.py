"""Writes sequences as a folder with `index.csv`, as `experiments.tse.index_folder` reads it."""

import re
import shutil
from pathlib import Path

import numpy as np

from experiments.make_store.writing import folder_in_the_making
from experiments.shared.errors import UserError
from experiments.shared.files import write_csv, write_text
from experiments.shared.progress import progress
from experiments.tse.rows import Rows

_FEATURES = "features"
# What every file system takes, whatever its case: a name of ours tells two ids apart otherwise.
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


def write_index(rows: Rows, out: Path, manifest: Path) -> None:
    """Writes all samples, each as a file.

    Args:
        rows: the samples.
        out: the folder, which must not be there.
        manifest: is copied, where it is there.

    Raises:
        UserError: a sequence cannot be used, or the folder cannot be written.
    """
    samples = rows.samples
    frames = samples.lengths.astype(np.int64).sum()
    size = int(frames) * samples.source.num_features * samples.source.dtype.itemsize
    names = _file_names(samples.ids)
    with folder_in_the_making(out, size) as part:
        (part / _FEATURES).mkdir(exist_ok=True)
        for row in progress(range(len(samples)), desc="writing files", unit="files"):
            path = part / _FEATURES / names[row]
            try:
                np.save(path, samples.source[row], allow_pickle=False)
            except OSError as error:
                if isinstance(error, UserError):
                    raise  # of the source
                raise UserError(f"{path}: cannot be written ({error.strerror})") from error
        write_text(part / "classes.txt", "\n".join(rows.class_names) + "\n")
        labels = (rows.class_names[label] for label in samples.labels)
        cells = zip(samples.ids, names, labels, rows.splits, strict=True)
        write_csv(
            part / "index.csv",
            ("id", "path", "label", "split"),
            ((name, f"{_FEATURES}/{file}", *rest) for name, file, *rest in cells),
        )
        if manifest.is_file():
            shutil.copyfile(manifest, part / manifest.name)


def _file_names(ids: tuple[str, ...]) -> list[str]:
    """Names files by their ids where all of these can be names, otherwise by numbers."""
    are_names = all(map(_PLAIN.fullmatch, ids))
    if are_names and len({name.casefold() for name in ids}) == len(ids):
        return [f"{name}.npy" for name in ids]
    return [f"{row:08d}.npy" for row in range(len(ids))]
