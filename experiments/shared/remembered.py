"""What is known of files and need not be found out again while they stay as they are."""

import os
import time
from pathlib import Path

from experiments.shared.errors import UserError
from experiments.shared.files import read_json, write_json

# A file that is written twice within one tick of the clock of its disk (two seconds on FAT) has the
# same time twice: what is so fresh is not remembered.
_FRESH_NS = 2_000_000_000


class Remembered:
    """Facts of files (texts), remembered by path, size and time of the last change."""

    def __init__(self, path: Path | str | None = None) -> None:
        """Takes what is remembered.

        Args:
            path: JSON file for `save`, which need not be there, nor its folder. One that cannot be
                read is forgotten: it only saves time. None: nothing is kept.
        """
        self._path = None if path is None else Path(path)
        self._known: dict[str, list] = {}  # path -> size, time, fact
        if self._path is not None:
            try:
                known = read_json(self._path)
            except UserError:
                known = {}
            if isinstance(known, dict):
                self._known = {
                    name: entry
                    for name, entry in known.items()
                    if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[2], str)
                }

    def get(self, name: str, size: int, mtime_ns: int) -> str | None:
        """Returns the fact of a file that has this size and time now; None if it is not known."""
        entry = self._known.get(_absolute(name))
        return entry[2] if entry is not None and entry[:2] == [size, mtime_ns] else None

    def now(self, name: str) -> tuple[int, int, str] | None:
        """Returns size, time and fact of a file as it lies there; None if that is not known."""
        entry = self._known.get(_absolute(name))
        if entry is None:
            return None
        try:
            status = os.stat(name)
        except OSError:
            return None
        is_same = entry[:2] == [status.st_size, status.st_mtime_ns]
        return (entry[0], entry[1], entry[2]) if is_same else None

    def put(self, name: str, size: int, mtime_ns: int, fact: str) -> None:
        """Takes a fact of a file, unless the file is too fresh or its name cannot be written."""
        is_text = name.isascii() or name.encode("utf-8", "ignore").decode() == name
        if is_text and time.time_ns() - mtime_ns > _FRESH_NS:
            self._known[_absolute(name)] = [size, mtime_ns, fact]

    def save(self) -> None:
        """Writes what is known to the file, if there is one.

        Raises:
            UserError: it cannot be written.
        """
        if self._path is not None:
            write_json(self._path, dict(sorted(self._known.items())))


def _absolute(name: str) -> str:
    return os.path.join(os.getcwd(), name)
