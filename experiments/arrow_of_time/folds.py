"""Who is trained on and who is tested on.

A recording is divided from the others with all of its segments, which overlap, and with both of
their directions: no frame of a recording that is tested on was trained on.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.arrow_of_time.segments import DIRECTIONS, SUFFIX, Segment
from experiments.shared.csv_index import read_rows
from experiments.shared.errors import UserError
from experiments.shared.files import write_csv

FOLDERS = "folds"


@dataclass(frozen=True)
class Item:
    """One file of features.

    Attributes:
        id: in the index of the extraction.
        path: of the file.
        segment: the segment.
        direction: one of `DIRECTIONS`.
    """

    id: str
    path: Path
    segment: Segment
    direction: str


def folds_of(segments: Sequence[Segment], count: int) -> list[tuple[str, ...]]:
    """Returns the recordings that each fold tests on.

    They go, the largest first, to the fold that has the fewest segments so far.

    Args:
        segments: of all recordings.
        count: how many folds; 0: one for each recording.

    Raises:
        UserError: there are fewer recordings than folds, or fewer than two.
    """
    sizes = Counter(segment.recording for segment in segments)
    if len(sizes) < max(count, 2):
        raise UserError(
            f"--shots and --folds={count}: {len(sizes)} recordings; there must be two at least, "
            "and one for each fold"
        )
    parts: list[list[str]] = [[] for _ in range(count or len(sizes))]
    for recording in sorted(sizes, key=lambda name: (-sizes[name], name)):
        min(parts, key=lambda part: sum(sizes[name] for name in part)).append(recording)
    return [tuple(part) for part in parts]


def read_items(tse: Path, segments: Iterable[Segment]) -> list[Item]:
    """Reads the index that experiments.extract_tse wrote: both directions of each segment.

    Raises:
        UserError: a segment is not in it, since its video could not be used.
    """
    rows = read_rows(tse / "index.csv", required=("id", "path", "label", "video"), files="path")
    by_video = {row["video"]: row for row in rows}
    items = []
    for segment in segments:
        for direction in DIRECTIONS:
            row = by_video.get(f"train/{direction}/{segment.name}{SUFFIX}")
            if row is None or row.path is None:
                raise UserError(f"{tse}: has no features of {segment.name}; see failed.csv there")
            items.append(Item(row["id"], row.path, segment, direction))
    return items


def write_index(tested: Sequence[str], items: Sequence[Item], folder: Path) -> None:
    """Writes the index.csv of a fold, which names the features where they are.

    Args:
        tested: the recordings that it tests on.
        items: of all recordings.
        folder: is made; features are named relative to it.

    Raises:
        UserError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits: Mapping[bool, str] = {False: "train", True: "test"}
    rows = [
        (
            item.id,
            Path(os.path.relpath(item.path, folder)).as_posix(),
            item.direction,
            splits[item.segment.recording in tested],
        )
        for item in items
    ]
    write_csv(folder / "index.csv", ("id", "path", "label", "split"), rows)
