"""Zip archives of other people: a small file must not ask for all the memory that there is."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from experiments.shared.errors import UserError

_MOST_EXPANDED = 64 * 2**20  # bytes that members may take beyond what the file's own size allows
_OF_NUMBERS = 20  # numbers compress to no less than a few per cent of their size, unless all alike


def check_expanded(archive: zipfile.ZipFile, path: Path | str, times: int = 1) -> None:
    """Raises for an archive whose members would take far more memory than it has bytes.

    Args:
        archive: as it was opened; nothing is expanded.
        path: of the archive.
        times: how many times its size the members may take; 64 MiB are allowed in any case.

    Raises:
        UserError: names the file and both sizes.
    """
    size = os.stat(path).st_size
    expanded = sum(info.file_size for info in archive.infolist())
    if expanded > times * size + _MOST_EXPANDED:
        most = f"{times} times that and " if times > 1 else ""
        raise UserError(
            f"{path}: compressed: its {size:,} bytes would take {expanded:,}; no more than "
            f"{most}{_MOST_EXPANDED:,} beyond the size of the file are expanded"
        )


@contextmanager
def opened_npz(path: Path | str) -> Iterator[np.lib.npyio.NpzFile]:
    """Opens a .npz of numbers, which may be anyone's.

    Raises:
        UserError: it would take far more memory than it has bytes. Besides it and the block raise
            whatever NumPy and zipfile do for a damaged file.
    """
    with np.load(path, allow_pickle=False) as stored:
        if not isinstance(stored, np.lib.npyio.NpzFile) or stored.zip is None:
            raise ValueError("not an archive of arrays")
        check_expanded(stored.zip, path, _OF_NUMBERS)
        yield stored
