"""The list of videos: what each is called, and what its columns say."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from experiments.shared.csv_index import Inside, column_names, read_rows
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import digest_json
from experiments.shared.labels import number_labels

OWN_COLUMNS = ("id", "path", "label", "split", "frames", "video")
"""The columns of index.csv that are ours; others of the list follow them."""

# No file system minds the rest. Spaces are left out for those who type names into a shell.
_UNSAFE = re.compile(r'[\s\x00-\x1f\x7f<>:"|?*\\/]+')
_LONGEST_NAME = 150  # bytes of 255, which file systems allow


class Video(NamedTuple):
    """One row of the list.

    Attributes:
        id: its name among what is written; may hold slashes.
        text: its path as the list has it.
        path: of the file.
        values: of the other columns; a label is the name of its class.
    """

    id: str
    text: str
    path: Path
    values: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """The videos in the order of the list.

    Attributes:
        videos: every row.
        columns: of the list, without the path.
        class_names: in their order; empty where there is no column label.
        inside: finds other files that the list names.
    """

    videos: list[Video]
    columns: tuple[str, ...]
    class_names: tuple[str, ...]
    inside: Inside


def read_list(path: Path | str, *, outside_paths: bool = False) -> Listing:
    """Reads the list of videos, whose files need not be there.

    Raises:
        MissingFileError: there is no list.
        UserError: it is no table with the columns path and split, or names a file twice.
    """
    columns = tuple(name for name in column_names(path) if name != "path")
    has_labels = "label" in columns
    rows = read_rows(
        path,
        required=("path", "split", *(("label",) if has_labels else ())),
        optional=columns,
        files="path",
        must_exist=False,
        outside_paths=outside_paths,
    )
    class_names: tuple[str, ...] = ()
    labels: Sequence[int] = ()
    if has_labels:
        class_names, numbers = number_labels([row["label"] for row in rows])
        labels = numbers.tolist()
        for name in class_names:
            if len(name.splitlines()) != 1:
                raise UserError(f"{path}: the label {name!r} has more than one line")
    ids = ids_of([row["path"] for row in rows])
    videos = []
    for number, (row, name) in enumerate(zip(rows, ids, strict=True)):
        assert row.path is not None
        values = {column: row[column] for column in columns}
        if has_labels:
            values["label"] = class_names[labels[number]]
        videos.append(Video(name, row["path"], row.path, values))
    return Listing(videos, columns, class_names, Inside(Path(path).parent, outside_paths))


def ids_of(texts: Sequence[str]) -> list[str]:
    """Returns a name for each path that can be that of a file, and is no other's.

    It is the path without its suffix, and without what leads out of the folder; characters that are
    trouble become underscores. Of several paths with one such name the first has it, the others add
    a digest of their path: a list that grows at its end changes no name.
    """
    taken: set[str] = set()
    found = []
    for text in texts:
        name = _safe(text)
        if _key(name) in taken:
            name += f"-{digest_json(text)[:12]}"
        taken.add(_key(name))
        found.append(name)
    return found


def _safe(text: str) -> str:
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    # A folder with a dot could be called like the file of another video.
    folders = [part.replace(".", "_") for part in parts[:-1]]
    stem = os.path.splitext(parts[-1])[0] if parts else ""
    return "/".join(map(_safe_name, [*folders, stem]))


def _safe_name(part: str) -> str:
    name = _UNSAFE.sub("_", part).lstrip(".").rstrip(".") or "_"
    encoded = name.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_NAME:
        return name
    cut = encoded[: _LONGEST_NAME - 13].decode("utf-8", "ignore")
    return f"{cut}-{digest_json(part)[:12]}"


def _key(name: str) -> str:
    """What is the same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
