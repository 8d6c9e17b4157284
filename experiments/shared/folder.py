"""The folder that a job writes to: it can be written, has room, and is one process's alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from experiments.shared.errors import UserError
from experiments.shared.files import FULL, unwritable

LOCK = ".lock"
"""The file in a folder by which a process holds it."""


def prepare_folder(folder: Path, num_bytes: int) -> None:
    """Makes an output folder, and checks before hours of work that it can be written.

    Raises:
        UserError: it cannot be made or written, or the disk has less room.
    """
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        way = "make room" if error.errno in FULL else "mend that"
        raise UserError(
            f"--out_dir={folder}: cannot be written ({error.strerror}); {way} or name another "
            "folder"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise UserError(
            f"--out_dir={folder}: the job takes {num_bytes / 1e6:,.0f} MB, but the disk has "
            f"{free / 1e6:,.0f} MB free; make room or name another folder"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; the system lets go of it whatever ends the process.

    Raises:
        UserError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two jobs in one folder are then up to the user
        yield
        return
    path = folder / LOCK
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "of unknown number"
            raise UserError(
                f"--out_dir={folder}: process {holder} is at work there; wait for it to end, or "
                "name another folder"
            ) from error
        except OSError:
            pass  # a network disk that knows no locks: as on Windows
        try:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        except OSError as error:
            raise unwritable(path, error) from error
        yield


def _opened(path: Path) -> IO[str]:
    try:
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
