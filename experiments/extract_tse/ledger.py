"""What is known of each video: a file of lines to which each shard appends, one line a video.

Every shard of a job has a ledger of its own and reads those of the others, which may be at work. A
line that a kill has torn, or that is damaged, is passed over: its video is then made anew.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.extract_tse.decoding import Source
from experiments.shared.errors import UserError
from experiments.shared.files import append_line, drop_torn_line

FILE = "ledger.jsonl"

_KEY_DIGITS = 20  # of nanoseconds


class Stored(NamedTuple):
    """One file that was written.

    Attributes:
        size: in bytes.
        digest: of them.
    """

    size: int
    digest: str


class Record(NamedTuple):
    """A video whose rows are written.

    Attributes:
        key: tells this line from all others; that of a later one is greater.
        path: of the video, as the list had it.
        source: the video file.
        frames: L.
        shape: (T, F) of its rows.
        note: what was unusual; or empty.
        features: the file of rows.
        times: the file of time stamps.
    """

    key: str
    path: str
    source: Source
    frames: int
    shape: tuple[int, int]
    note: str
    features: Stored
    times: Stored

    @classmethod
    def of(cls, line: dict[str, Any]) -> "Record":
        """Returns what a line says; raises TypeError and the like where that is no record."""
        if not isinstance(line["key"], str):
            raise TypeError("the key is no text")
        nested = {
            "source": Source(*line["source"]),
            "shape": (int(line["shape"][0]), int(line["shape"][1])),
            "features": Stored(*line["features"]),
            "times": Stored(*line["times"]),
        }
        return cls(**{name: line[name] for name in cls._fields} | nested)


class Failed(NamedTuple):
    """A video that could not be used.

    Attributes:
        path: of the video, as the list had it.
        reason: one line.
    """

    path: str
    reason: str


class Ledger:
    """The lines of one shard, to which this process adds, and what those of all say.

    Attributes:
        records: by id; what was declared void is not among them.
        failures: by id, of videos without a record.
    """

    def __init__(self, folder: Path, own: str) -> None:
        """Reads all ledgers.

        Args:
            folder: holds a folder for each shard.
            own: the folder of this one, which must be there.

        Raises:
            UserError: one cannot be read.
        """
        self._folder, self._path = folder, folder / own / FILE
        drop_torn_line(self._path)
        self.records: dict[str, Record] = {}
        self.failures: dict[str, Failed] = {}
        self._keys: dict[str, str] = {}  # the greatest of each video, void or not
        self.read()

    def read(self) -> None:
        """Reads all ledgers again, since other shards may have written.

        Raises:
            UserError: one cannot be read.
        """
        self.records.clear()
        self.failures.clear()
        self._keys.clear()
        void: set[str] = set()
        for line in _lines(self._folder):
            try:
                if line["event"] == "void":
                    void.update(line["keys"])
                elif line["event"] == "failed":
                    self.failures[line["id"]] = Failed(line["path"], line["reason"])
                elif line["event"] == "done":
                    record = Record.of(line)
                    former = self.records.get(line["id"], record)
                    self.records[line["id"]] = max(former, record, key=lambda one: one.key)
            except (KeyError, TypeError, ValueError, IndexError):
                continue
        self._keys = {name: record.key for name, record in self.records.items()}
        self.records = {
            name: record for name, record in self.records.items() if record.key not in void
        }
        for name in self.records:
            self.failures.pop(name, None)

    def done(self, name: str, record: Record) -> None:
        """Notes that the rows of a video are written.

        Raises:
            UserError: the ledger cannot be written; so for the others.
        """
        self._write("done", id=name, **record._asdict())
        self.records[name], self._keys[name] = record, record.key
        self.failures.pop(name, None)

    def new_key(self, name: str) -> str:
        """Returns what no other line has, and what sorts behind all of the video before.

        So it does though the clock may have been put back since.
        """
        number, former = time.time_ns(), self._keys.get(name, "")[:_KEY_DIGITS]
        if former.isdecimal():
            number = max(number, int(former) + 1)
        return f"{number:0{_KEY_DIGITS}d}-{os.urandom(4).hex()}"

    def failed(self, name: str, failure: Failed) -> None:
        """Notes that a video could not be used."""
        self._write("failed", id=name, **failure._asdict())
        self.failures[name] = failure

    def void(self, names: list[str]) -> None:
        """Declares the records of videos void."""
        self._write("void", keys=[self.records.pop(name).key for name in names])

    def _write(self, event: str, **values: Any) -> None:
        append_line(self._path, json.dumps({"event": event, **values}))


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """All whole lines of all ledgers; those of one in their order."""
    for path in sorted(folder.glob(f"*/{FILE}")):
        try:
            with open(path, "rb") as file:
                for content in file:
                    try:
                        line = json.loads(content) if content.endswith(b"\n") else None
                    except (ValueError, RecursionError):
                        continue
                    if isinstance(line, dict):
                        yield line
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
