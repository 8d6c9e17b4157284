"""The job: walk the folder once, find the video of each annotation, write the list, say what it is.

Nothing is written before everything is known to be right.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from experiments.make_list.disk import Entry, NamedVideos, VideoFolder, is_within, stem_of
from experiments.make_list.formats import MSAD_COLUMNS, READERS, SPLITS
from experiments.make_list.settings import Settings
from experiments.shared import command
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.files import write_csv
from experiments.shared.progress import progress
from experiments.shared.tables import Table

_NAMED = 10  # missing files that are named
_TABLE_ROWS = 30  # classes that have a line each


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Makes a list and exits, see `experiments.shared.command`."""
    command.main(description, Settings, run, argv, go_on="the same command")


def run(settings: Settings) -> str:
    """Makes a list; returns what to print.

    Raises:
        UserError: something is wrong with the annotations, the videos or the place of the list.
    """
    out = settings.list_file
    if out.exists() and not settings.overwrite:
        raise UserError(f"--out={out}: is there already; name another file, or give --overwrite")
    folder = VideoFolder(settings.videos)
    if not out.parent.is_dir():
        raise MissingFileError(f"--out={out}: there is no folder {out.parent}")
    found = _Listing(folder)
    walked = progress(folder.walk(), desc="looking for videos", unit="videos")
    if settings.format == "folders":
        notes = _from_folders(walked, found)
    else:
        notes = _from_annotations(settings, NamedVideos(walked, folder.identity), found)
    raise_all(found.errors, f"--videos={folder.root}")
    if found.repeated:
        notes.append(f"Annotated again, and left out: {found.repeated:,}")
    list_folder = os.path.realpath(out.parent)
    places = (os.path.realpath(folder.root), *folder.linked)
    if not all(is_within(place, list_folder) for place in places):
        notes.append(
            "Videos lie outside the folder of the list: give --outside_paths to what reads it"
        )
    way = _way(out, folder.root)
    rows = found.rows(way)
    more = MSAD_COLUMNS if settings.format == "msad" else ()
    cells = ((way + path, label, split, *further) for split, label, path, *further in rows)
    write_csv(out, ("path", "label", "split", *more), cells)
    return _told(out, Counter(row[:2] for row in rows), notes)


class _Listing:
    """The videos of the list.

    Attributes:
        errors: what forbids to write it.
        repeated: how many entries say again what is known.
    """

    def __init__(self, folder: VideoFolder) -> None:
        """Takes the folder in which the videos lie."""
        self.errors: list[Exception] = []
        self.repeated = 0
        self._folder = folder
        self._rows: dict[str, tuple[str, ...]] = {}  # by file

    def __len__(self) -> int:
        """The number of videos."""
        return len(self._rows)

    def add(self, path: str, entry: Entry) -> None:
        """Adds a video, or what is wrong with it."""
        label = sys.intern(entry.label.strip())
        if not label or not _fits(path + label):
            problem = "it has no class"
            if label:
                problem = "its name or class is not Unicode or has a carriage return; rename it"
            self.errors.append(UserError(f"{_shown(path)}: {problem}"))
            return
        row = (entry.split, label, path, *entry.more)
        before = self._rows.setdefault(self._folder.identity(path), row)
        if before is row:
            return
        if before[0] != entry.split:
            splits = f"'{before[0]}' and '{entry.split}'"
            problem = f"is in the splits {splits}; each file may be in one only"
        elif before[1] != label:
            problem = f"is annotated twice, differently, as '{before[1]}' and '{label}'"
        else:
            self.repeated += 1
            return
        also = f" ({before[2]})" if before[2] != path else ""
        self.errors.append(UserError(f"{path}{also}: {problem}"))

    def rows(self, way: str) -> list[tuple[str, ...]]:
        """Returns (split, label, path in the folder, further cells), sorted.

        Args:
            way: from the list to the folder.

        Raises:
            UserError: a path that a table cannot hold.
        """
        paths = (way + row[2] for row in self._rows.values())
        blank = "begins with a blank, which tables cannot hold; rename it"
        raise_all(
            [UserError(f"'{path}': {blank}") for path in paths if path[0].isspace()],
            f"--videos={self._folder.root}",
        )
        return sorted(self._rows.values())


def _from_folders(walked: Iterator[str], found: _Listing) -> list[str]:
    """Lists videos in ``<split>/<class>/``, at any depth; returns notes.

    Raises:
        UserError: no video lies so.
    """
    beside, example = 0, ""
    for path in walked:
        split, _, rest = path.partition("/")
        label, _, name = rest.partition("/")
        if split.lower() in SPLITS and name:
            found.add(path, Entry((stem_of(name),), label, SPLITS[split.lower()]))
        else:
            beside, example = beside + 1, example or path
    if not len(found) and not found.errors:
        if not beside:
            raise MissingFileError("--videos: no video file lies below that folder")
        raise UserError(
            f"--videos: no video lies in a folder train/<class>/, val/<class>/ or test/<class>/, "
            f"but {beside:,} elsewhere, such as {_shown(example)}. This script does not divide the "
            "videos of a class: which of them belong together (a person, a source video) decides "
            "what a result means. Move them into such folders"
        )
    return [f"In no class folder, and left out: {beside:,}"] if beside else []


def _from_annotations(settings: Settings, videos: NamedVideos, found: _Listing) -> list[str]:
    """Lists the videos of annotation files; returns notes.

    Raises:
        UserError: the annotations cannot be read, or none of their videos is there.
        MissingFileError: with --strict, one of them is not there.
    """
    missing = 0
    names: list[str] = []
    read = READERS[settings.format](settings)
    for entry in progress(read, desc="reading annotations", unit="videos"):
        try:
            path = videos.find(entry)
        except UserError as error:
            found.errors.append(error)
            continue
        if path is not None:
            found.add(path, entry)
            continue
        missing += 1
        if len(names) < _NAMED:
            names.append(f"  {_shown(entry.names[0])} ({entry.split}, {_shown(entry.label)})")
    if missing > len(names):
        names.append(f"  ... and {missing - len(names):,} more")
    listed = "\n".join([f"{missing:,}", *names])
    if missing and settings.strict:
        raise MissingFileError(
            f"--videos={settings.videos}: annotated, but not on the disk: {listed}"
        )
    if not len(found) and not found.errors:
        if not missing:
            raise UserError("--annotations: they name no video")
        there = f"{videos.count:,} video files lie there"
        there += f", such as {_shown(videos.example)}" if videos.example else ""
        raise MissingFileError(
            f"--videos={settings.videos}: {there}, but none that is annotated: {listed}"
        )
    notes = [f"Annotated, but not on the disk, and left out: {listed}"] if missing else []
    unnamed = videos.count - len(found)
    if unnamed:
        notes.append(f"On the disk, but not annotated, and left out: {unnamed:,}")
    return notes


def _way(out: Path, root: Path) -> str:
    """Returns what leads from the list's folder to that of the videos, with a slash behind it."""
    start, end = os.path.abspath(out.parent), os.path.abspath(root)
    if not is_within(end, start):  # a step up from a link goes elsewhere
        start, end = os.path.realpath(start), os.path.realpath(end)
    try:
        way = os.path.relpath(end, start).replace(os.sep, "/")
    except ValueError:  # another drive
        way = end.replace(os.sep, "/")
    return "" if way == "." else f"{way.rstrip('/')}/"


def _told(out: Path, counts: Counter[tuple[str, ...]], notes: list[str]) -> str:
    """Returns what there is to say of a list, by (split, label)."""
    labels = sorted({label for _, label in counts})
    splits = [split for split in ("train", "val", "test") if any(s == split for s, _ in counts)]
    if len(labels) <= _TABLE_ROWS:
        columns = ("class", *splits)
        rows = [(label, *(f"{counts[s, label]:,}" for s in splits)) for label in labels]
        rows.append(("all", *(f"{_total(counts, split):,}" for split in splits)))
    else:
        columns = ("split", "videos", "classes", "smallest class", "largest class")
        rows = [
            (split, f"{_total(counts, split):,}", *_extremes(counts, split)) for split in splits
        ]
    lines = [
        f"{out}: {sum(counts.values()):,} videos of {len(labels):,} classes",
        Table(columns, tuple(rows)).to_text(),
    ]
    untrained = [label for label in labels if "train" in splits and not counts["train", label]]
    if untrained:
        listed = ", ".join(untrained[:5]) + (", ..." if len(untrained) > 5 else "")
        notes = [*notes, f"Classes without a training video: {len(untrained):,}, {listed}"]
    return "\n".join(lines + notes)


def _total(counts: Counter[tuple[str, ...]], split: str) -> int:
    return sum(count for (name, _), count in counts.items() if name == split)


def _extremes(counts: Counter[tuple[str, ...]], split: str) -> tuple[str, str, str]:
    """Returns the number of classes, the smallest and the largest, of one split."""
    sizes = sorted((count, label) for (name, label), count in counts.items() if name == split)
    smallest, largest = (f"{label} ({count:,})" for count, label in (sizes[0], sizes[-1]))
    return f"{len(sizes):,}", smallest, largest


def _fits(text: str) -> bool:
    """Whether a name can be written as UTF-8; bytes of a name that cannot are half surrogates.

    A carriage return would be written without quotes around it, and end the row.
    """
    if "\r" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    return path.encode(errors="backslashreplace").decode().replace("\r", "\\r")
