"""The video files below a folder, and which of them an annotation means."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision import video

# A .ts among videos is one, too; the case of letters does not count.
SUFFIXES = frozenset((*video.SUFFIXES, ".ts"))


class Entry(NamedTuple):
    """What is known of one video.

    Attributes:
        names: what its file may be called, without suffix; the first that is there counts.
        label: its class.
        split: "train", "val" or "test".
        folder: the folder that tells files of one name apart; empty: none is known.
        more: cells of further columns of the list.
    """

    names: tuple[str, ...]
    label: str
    split: str
    folder: str = ""
    more: tuple[str, ...] = ()


class VideoFolder:
    """The video files below a folder; hidden ones are left out, and links are followed.

    Attributes:
        root: the folder.
        linked: where the links truly lead that `walk` has followed.
    """

    def __init__(self, root: Path | str) -> None:
        """Takes the folder.

        Raises:
            MissingFileError: it is not there.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise MissingFileError(f"--videos={root}: no such folder")
        self.linked: set[str] = set()
        self._begins = os.path.realpath(root).rstrip(os.sep) + os.sep
        self._real: dict[str, str] = {}  # of files that are, or are reached by, links

    def walk(self) -> Iterator[str]:
        """Goes through the files, by their paths in the folder, with slashes."""
        yield from self._walk("", self._begins.rstrip(os.sep) or os.sep, False, ())

    def identity(self, path: str) -> str:
        """Returns what two paths of one file have in common; `walk` must have come by them."""
        return self._real.get(path, path)

    def _walk(self, place: str, real: str, linked: bool, above: tuple[str, ...]) -> Iterator[str]:
        """Goes through one folder.

        Args:
            place: its path in the folder of videos, empty or with a slash behind it.
            real: where it truly is.
            linked: a link led here.
            above: where the folders truly are in which links were followed to come here.
        """
        with os.scandir(self.root / place) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_link, path = entry.is_symlink(), place + entry.name
            if entry.is_dir():
                target, passed = f"{real.rstrip(os.sep)}{os.sep}{entry.name}", above
                if is_link:
                    target, passed = os.path.realpath(entry.path), (*above, real)
                    if any(is_within(folder, target) for folder in passed):
                        continue  # a circle
                    self.linked.add(target)
                yield from self._walk(f"{path}/", target, linked or is_link, passed)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                if is_link:
                    self._real[path] = self._inner(os.path.realpath(entry.path))
                    self.linked.add(os.path.dirname(os.path.realpath(entry.path)))
                elif linked:
                    self._real[path] = self._inner(os.path.join(real, entry.name))
                yield path

    def _inner(self, real: str) -> str:
        """Of a file in the folder, its path there, which is also what it has without a link."""
        return real.removeprefix(self._begins).replace(os.sep, "/")


class NamedVideos:
    """Finds the file of an entry by its name without suffix, wherever it lies.

    Attributes:
        count: how many video files there are.
        example: the path of one; empty where there are none.
    """

    def __init__(self, paths: Iterable[str], identity: Callable[[str], str]) -> None:
        """Takes the paths, and what two paths of one file have in common."""
        self.count, self.example = 0, ""
        self._paths: dict[str, str | list[str]] = {}
        for path in paths:
            self.count, self.example = self.count + 1, path
            stem = stem_of(path)
            former = self._paths.setdefault(stem, path)
            if former is path:
                continue
            several = former if isinstance(former, list) else [former]
            if identity(path) not in map(identity, several):
                self._paths[stem] = [*several, path]

    def find(self, entry: Entry) -> str | None:
        """Returns the path of an entry's file, None where there is none.

        Raises:
            UserError: several files have its name.
        """
        for name in entry.names:
            found = self._paths.get(name)
            if isinstance(found, list):
                among = [path for path in found if entry.folder in path.split("/")[:-1]]
                if len(among) != 1:
                    raise UserError(f"{found[0]} and {found[1]} both have the name of one video")
                return among[0]
            if found is not None:
                return found
        return None


def stem_of(path: str) -> str:
    """Returns the name of a file without folders and suffix."""
    return os.path.splitext(path.rpartition("/")[2])[0]


def is_within(inner: str, outer: str) -> bool:
    """Returns whether the first folder is the second or lies in it, by their absolute paths."""
    return f"{inner.rstrip(os.sep)}{os.sep}".startswith(f"{outer.rstrip(os.sep)}{os.sep}")
