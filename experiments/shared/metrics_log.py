"""An append-only log of what a job measures, one JSON object a line."""

import datetime
import json
from pathlib import Path
from typing import Any

from experiments.shared.errors import UserError
from experiments.shared.files import append_line, drop_torn_line


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
        content = drop_torn_line(self.path)
        for number, line in enumerate(content.splitlines(), 1):
            try:
                value = json.loads(line)
                value["event"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
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
        append_line(self.path, line)
        self._lines.append(json.loads(line))

    def lines(self) -> list[dict[str, Any]]:
        """Returns every line written so far, by this process and by those before it."""
        return list(self._lines)
