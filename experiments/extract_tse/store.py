"""The folder that is written: the layout that `experiments.k400 --data_dir` reads, and its ledger.

    manifest.json          what made it: encoder, windows, decoder; another one is refused
    features/ID.npy        [T, F], a row for each place of the windows
    times/ID.npy           float64 [T, 2], seconds of the first and last frame of each row: of the
                           frames that all windows of the row share
    labels/ID.npy          where the list names a file of labels: a copy
    index.csv, classes.txt
    failed.csv             path and reason of the videos that could not be used
    parts/K-of-N/          the ledger of a shard

Every file is written whole or not at all. A video counts as done when the ledger says so, its files
have the sizes that the ledger names, and its source is still the same.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.extract_tse.decoding import End, source_of
from experiments.extract_tse.ledger import Failed, Ledger, Record, Stored
from experiments.extract_tse.listing import OWN_COLUMNS, Listing, Video
from experiments.extract_tse.manifest import MANIFEST
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.files import read_json, whole_file, write_csv, write_json, write_text
from experiments.shared.identity import refuse_differences
from experiments.shared.progress import progress

PARTS = "parts"
_LABELS = ".npy"  # of a cell of the column labels that is a path
_DIGEST_LENGTH = 32


@dataclass(frozen=True)
class Summary:
    """How far all shards together have come.

    Attributes:
        done: records by id, of the videos in the list.
        failed: of the others in the list.
        pending: how many are neither.
    """

    done: dict[str, Record]
    failed: dict[str, Failed]
    pending: int


class Store:
    """The folder, as one shard works in it."""

    def __init__(self, folder: Path, part: str, listing: Listing) -> None:
        """Opens it.

        Args:
            folder: the folder, which is there.
            part: of this shard, a name below `PARTS`.
            listing: the videos.

        Raises:
            UserError: a ledger cannot be read, or no folder be made.
        """
        self.folder, self._listing = folder, listing
        _make(folder / PARTS / part)
        self._ledger = Ledger(folder / PARTS, part)

    def claim(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest, or compares it with the one that is there.

        Raises:
            UserError: the folder was made by other settings, or with another encoder or decoder.
        """
        path = self.folder / MANIFEST
        if path.is_file():
            saved = read_json(path)
            if not isinstance(saved, dict):
                raise UserError(f"{path}: not the manifest of an extraction")
            where = str(self.folder)
            refuse_differences(_flat(saved), _flat(manifest), where, "--out_dir")
        else:
            write_json(path, manifest)

    def remaining(self, videos: list[Video]) -> list[Video]:
        """Returns the videos that are not done; what has changed since is not."""
        remaining, changed = [], []
        for video in progress(videos, desc="looking what is done", unit="video"):
            record = self._ledger.records.get(video.id)
            if record is not None and not self._is_whole(video, record):
                changed.append(video.id)
                record = None
            if record is None:
                remaining.append(video)
        if changed:
            self._ledger.void(changed)
        return remaining

    def save(self, video: Video, rows: np.ndarray, times: np.ndarray, end: End) -> None:
        """Writes what was made of a video.

        Args:
            video: the video.
            rows: ``[T, F]``, as they are stored.
            times: float64 ``[T, 2]``.
            end: what the decoder said of it.

        Raises:
            UserError: a file cannot be written.
        """
        stored = [
            self._write(self._path(kind, video.id), array)
            for kind, array in (("features", rows), ("times", times))
        ]
        record = Record(
            self._ledger.new_key(video.id),
            video.text,
            end.source,
            len(end.seconds),
            (rows.shape[0], rows.shape[1]),
            end.note,
            *stored,
        )
        self._ledger.done(video.id, record)

    def copy_labels(self, video: Video) -> str:
        """Copies the file of labels that the list names for a video, if it does.

        Returns:
            Why it cannot be read; or nothing.

        Raises:
            UserError: the copy cannot be written.
        """
        text = video.values.get("labels", "")
        if not text.endswith(_LABELS):
            return ""
        try:
            content = self._listing.inside.find(text)[0].read_bytes()
        except (UserError, OSError) as error:
            return f"labels {text}: cannot be read ({getattr(error, 'strerror', None) or error})"
        self._write_bytes(self._path("labels", video.id), content)
        return ""

    def fail(self, video: Video, reason: str) -> None:
        """Notes why a video cannot be used."""
        self._ledger.failed(video.id, Failed(video.text, reason))

    def summary(self) -> Summary:
        """Reads how far all shards have come."""
        ledger = self._ledger
        ledger.read()
        done: dict[str, Record] = {}
        failed: dict[str, Failed] = {}
        for video in self._listing.videos:
            record, failure = ledger.records.get(video.id), ledger.failures.get(video.id)
            if record is not None and record.path == video.text and self._sizes_fit(video, record):
                done[video.id] = record
            elif failure is not None and failure.path == video.text:
                failed[video.id] = failure
        return Summary(done, failed, len(self._listing.videos) - len(done) - len(failed))

    def write_index(self, summary: Summary) -> None:
        """Writes index.csv of what is done, classes.txt and failed.csv.

        Raises:
            UserError: one cannot be written.
        """
        listing = self._listing
        if listing.class_names:
            write_text(self.folder / "classes.txt", "\n".join(listing.class_names) + "\n")
        further = [name for name in listing.columns if name not in OWN_COLUMNS]
        columns = [name for name in OWN_COLUMNS if name != "label" or "label" in listing.columns]
        videos = [video for video in listing.videos if video.id in summary.done]
        rows = (self._row(video, summary.done[video.id], columns + further) for video in videos)
        write_csv(self.folder / "index.csv", columns + further, rows)
        failed = summary.failed.values()
        write_csv(self.folder / "failed.csv", ("path", "reason"), failed)

    def verify(self) -> tuple[int, list[Exception]]:
        """Compares every file with its checksum; what differs is void from now on.

        Returns:
            (how many videos are right, what is wrong with others).

        Raises:
            UserError: the ledger cannot be written.
        """
        right, void = 0, []
        wrong: list[Exception] = []
        for video in progress(self._listing.videos, desc="verifying", unit="video"):
            record = self._ledger.records.get(video.id)
            if record is None:
                if video.id not in self._ledger.failures:
                    wrong.append(UserError(f"{video.text}: was not extracted"))
                continue
            errors: list[Exception] = [
                error
                for kind, stored in (("features", record.features), ("times", record.times))
                if (error := _difference(self._path(kind, video.id), stored)) is not None
            ]
            wrong += errors
            right += not errors
            if errors:
                void.append(video.id)
        if void:
            self._ledger.void(void)
        return right, wrong

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.npy"

    def _row(self, video: Video, record: Record, columns: list[str]) -> list[str | int]:
        own: dict[str, str | int] = {
            "id": video.id,
            "path": f"features/{video.id}.npy",
            "frames": record.frames,
            "video": video.text,
        }
        if video.values.get("labels", "").endswith(_LABELS):
            own["labels"] = f"labels/{video.id}.npy"
        return [own.get(name, video.values.get(name, "")) for name in columns]

    def _is_whole(self, video: Video, record: Record) -> bool:
        if record.path != video.text or not self._sizes_fit(video, record):
            return False
        try:
            status = os.stat(video.path)
        except OSError:
            return True  # videos may be removed when their rows are there
        if status.st_size != record.source.size:
            return False
        if status.st_mtime_ns == record.source.mtime_ns:
            return True
        try:
            return source_of(video.path).digest == record.source.digest
        except UserError:
            return True

    def _sizes_fit(self, video: Video, record: Record) -> bool:
        return all(
            _size(f"{self.folder}/{kind}/{video.id}.npy") == stored.size  # a Path takes longer
            for kind, stored in (("features", record.features), ("times", record.times))
        )

    def _write(self, path: Path, array: np.ndarray) -> Stored:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self._write_bytes(path, buffer.getbuffer())

    @staticmethod
    def _write_bytes(path: Path, content: bytes | memoryview) -> Stored:
        _make(path.parent)
        with whole_file(path, "wb") as file:
            file.write(content)
        return Stored(len(content), hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH])


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror})") from error


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _difference(path: Path, stored: Stored) -> UserError | None:
    if not path.is_file():
        return MissingFileError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:_DIGEST_LENGTH]
    except OSError as error:
        return UserError(f"{path}: cannot be read ({error.strerror})")
    if digest != stored.digest:
        return UserError(f"{path}: not what was written, by its checksum")
    return None


def _flat(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a manifest by names such as "encoder weights"; flags by themselves."""
    found: dict[str, Any] = {}
    for name, value in manifest.items():
        if isinstance(value, Mapping):
            found |= {
                key if key.startswith("--") else f"{name} {key}": inner
                for key, inner in value.items()
            }
        else:
            found[name] = value
    return found
