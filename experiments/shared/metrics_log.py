"""An append-only log of what a job measures, one JSON object a line."""

import datetime
import json
from pathlib import Path
from typing import Any


class MetricsLog:
    """Writes `metrics.jsonl`; every line is complete on disk before `write` returns.

    A kill can tear the last line only. Opening the file again drops such a line, so that every
    line of the file is a JSON object at all times that a job runs. An epoch that was lost in a
    kill and trained again has two lines with equal numbers: the later one counts.
    """

    def __init__(self, path: Path | str) -> None:
        """Opens the log for appending.

        Args:
            path: the file; made if it is not there.

        Raises:
            OSError: it cannot be written.
        """
        self.path = Path(path)
        self._file = open(self.path, "a+b")  # noqa: SIM115 - open as long as the log is
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    def write(self, event: str, **values: Any) -> None:
        """Appends one line: the event, the time, and `values`, which JSON must know."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._file.write(json.dumps({"event": event, "time": now, **values}).encode() + b"\n")
        self._file.flush()

    def lines(self) -> list[dict[str, Any]]:
        """Returns every line written so far, by this job and by those before it."""
        self._file.seek(0)
        return [json.loads(line) for line in self._file.read().splitlines()]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "MetricsLog":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()
