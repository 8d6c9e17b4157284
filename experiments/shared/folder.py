"""The folder that a job writes to: it can be written, has room, and is one process's alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.shared.errors import UserError

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
        raise UserError(
            f"--out_dir={folder}: cannot be written ({error.strerror}); mend that or name another "
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
    with open(folder / LOCK, "a+", encoding="utf-8") as file:
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
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
