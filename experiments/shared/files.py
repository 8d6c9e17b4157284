"""The one way to write a file: whole or not at all, also under a kill or with a full disk."""

import csv
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from experiments.shared.errors import MissingFileError, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors that say that a disk is full."""


@contextmanager
def whole_file(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file that appears under its name only when the block has ended well.

    Args:
        path: the file; one that is there is replaced.
        mode: "w" for text (UTF-8; half a surrogate pair, as names of files may hold, is written as
            its number) or "wb".

    Raises:
        UserError: it cannot be written (a full disk, no permission); what was there is unharmed.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    try:
        with open(part, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except UserError:
        raise  # of another file, which the block has read
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Writes a text file, see `whole_file`."""
    with whole_file(path) as file:
        file.write(text)


def write_json(path: Path | str, content: Any) -> None:
    """Writes a JSON file, see `whole_file`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path | str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV file whose first line names the columns, see `whole_file`."""
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def append_line(path: Path | str, line: str) -> None:
    """Appends a line to a text file; it is on disk, or not begun, when this returns or raises.

    A kill alone can tear the line, which is then the last of the file and has no end.

    Raises:
        UserError: the disk is full, or the file can no longer be written.
    """
    content = line.encode("utf-8") + b"\n"
    try:
        with open(path, "ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)  # the next line must not follow half of this one
                raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path | str, error: OSError) -> UserError:
    """Returns what to raise where a file could not be written: why, and what to do."""
    told = f"{path}: cannot be written ({error.strerror or error})"
    if error.errno in FULL:
        told += "; make room, then call it again (with --resume where the folder holds a job)"
    return UserError(told)


def drop_torn_line(path: Path | str) -> bytes:
    """Cuts what follows the last line end of a file, which need not be there; returns the rest.

    Raises:
        UserError: it cannot be read, or not be written.
    """
    path = Path(path)
    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return content[:whole]


def read_json(path: Path | str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Reads a JSON file.

    Args:
        path: the file.
        object_hook: makes of each object what is kept of it, as it is read.

    Raises:
        MissingFileError: it is not there.
        UserError: it is not JSON, or cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_hook=object_hook)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file that can be read ({error})") from error


class RealPaths:
    """Resolves paths of many files, each of their folders once: there are far fewer of those."""

    def __init__(self) -> None:
        """Knows no folder yet."""
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        """Returns what `os.path.realpath` does."""
        folder, name = os.path.split(path)
        if name in ("", ".", "..") or os.path.islink(path):
            return os.path.realpath(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


def unused(path: Path | str) -> Path:
    """Returns the path, or the first of path-2, path-3, ... that does not exist yet."""
    path = Path(path)
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _sync_folder(folder: Path) -> None:
    """Makes a rename last: on POSIX the name is on disk only when the folder is."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot
            raise
    finally:
        os.close(descriptor)
