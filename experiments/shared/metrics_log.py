"""An append-only log of what a job measures, one JSON object a line."""

import datetime
import errno
import json
import os
from pathlib import Path
from typing import Any

from experiments.shared.errors import UserError


class MetricsLog:
    """Writes `metrics.jsonl`; every line is on disk when `write` returns.

    A kill can tear the last line only. Opening the file again drops such a line, so that every
    line of the file is a JSON object at all times that a job runs. An epoch that was lost in a
    kill and trained again has two lines with equal numbers: the later one counts.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens the log, or makes it with the first line.

        Args:
            path: the file.

        Raises:
            UserError: it cannot be read, or a line that is not the last is not JSON.
        """
        self.path = Path(path)
        self._lines: list[dict[str, Any]] = []
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(self.path, whole)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                value = json.loads(line)
                value["event"]
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path}, line {number}: not a line of this log ({error}); remove it, or "
                    "move the file away: finished runs are then read from their checkpoints"
                ) from error
            self._lines.append(value)

    def write(self, event: str, **values: Any) -> None:
        """Appends one line: the event, the time, and `values`, which JSON must know.

        Raises:
            UserError: the disk is full, or the file can no longer be written.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json.dumps({"event": event, "time": now, **values})
        content = line.encode() + b"\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(content) < len(content):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)  # the next line must not follow half of this one
                    raise
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._lines.append(json.loads(line))

    def lines(self) -> list[dict[str, Any]]:
        """Returns every line written so far, by this process and by those before it."""
        return list(self._lines)
