"""How many frames videos have, remembered: a resumed job need not decode all of them again."""

import os
from pathlib import Path
from typing import Any

from experiments.shared.errors import UserError
from experiments.shared.files import read_json, write_json

FILE = "frames.json"


class FrameCounts:
    """Numbers of frames by path, size and time of the last change."""

    def __init__(self, path: Path | str | None = None) -> None:
        """Takes what is remembered in a file, which need not be there; it only saves time."""
        self._known: dict[str, Any] = {}
        if path is not None:
            try:
                known = read_json(path)
            except UserError:
                known = {}
            if isinstance(known, dict):
                self._known = known

    def get(self, file: Path) -> int | None:
        """Returns the number of frames that was noted of a file as it is now."""
        name, stamp = self._of(file)
        entry = self._known.get(name)
        if isinstance(entry, list) and len(entry) == 3 and entry[:2] == stamp:
            return entry[2] if type(entry[2]) is int and entry[2] > 0 else None
        return None

    def note(self, file: Path, frames: int) -> None:
        """Notes that a file, as it is now, was decoded to its end and has so many frames."""
        name, stamp = self._of(file)
        if stamp is not None:
            self._known[name] = [*stamp, frames]

    def save(self, path: Path | str) -> None:
        """Writes what is known.

        Raises:
            UserError: it cannot be written.
        """
        write_json(path, dict(sorted(self._known.items())))

    @staticmethod
    def _of(file: Path) -> tuple[str, list[int] | None]:
        name = os.path.realpath(file)
        try:
            status = os.stat(name)
        except OSError:
            return name, None
        return name, [status.st_size, status.st_mtime_ns]
