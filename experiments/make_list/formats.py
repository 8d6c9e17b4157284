"""Readers of the annotation files of data sets, in the form in which they are published.

Each yields an `Entry` for a video, so that no list stands in memory as it was written. What they
cannot read is a `UserError` that names the file and the line, or the number in a JSON list.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from experiments.make_list.disk import SUFFIXES, Entry, stem_of
from experiments.make_list.settings import Settings
from experiments.shared.csv_index import read_text, stream_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.files import read_json

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What annotation files and folders call the splits, in lower case."""

MSAD_COLUMNS = ("frames", "labels")
"""The further columns of a list of MSAD, as `experiments.seq_anomaly` reads them."""

_WHOLE = re.compile(r"([0-9]{1,12})(?:\.0*)?")  # spreadsheets write 12.0
_MSAD = ("name", "total frames", "starting frame of anomaly", "ending frame of anomaly")
_HMDB51 = {"0": None, "1": "train", "2": "test"}


def kinetics(settings: Settings) -> Iterator[Entry]:
    """Reads CSV files with the columns ``label,youtube_id,time_start,time_end,split``.

    A file of the disk is called ``<id>_<start>_<end>`` with six digits each, as the usual scripts
    for downloading name it, or ``<id>``. Kinetics-400 and 700 were checked on single rows of the
    published files, not on whole ones.

    Raises:
        UserError: a file cannot be read, lacks a column or a label, or has a split or time that is
            none.
    """
    columns = ("label", "youtube_id", "time_start", "time_end", "split")
    for path in settings.annotation_files:
        for line, (label, video, start, end, split) in stream_rows(path, required=columns):
            try:
                times = f"{_whole(start):06d}_{_whole(end):06d}"
                yield Entry((f"{video}_{times}", video), label, _split(split), label)
            except UserError as error:
                raise UserError(f"{path}, line {line}: {error}") from error


def ssv2(settings: Settings) -> Iterator[Entry]:
    """Reads JSON lists of objects with ``id`` and ``template``; the label is the template.

    The template is written without its square brackets, as in the label map, an object of labels.
    (What the lists call ``label`` is a caption, different for nearly every video.) Not checked on a
    published file, only against public programs that read them.

    Raises:
        UserError: a file cannot be read or has another shape; a name without a split; labels that
            the label map lacks.
    """
    known = _label_map(settings.label_map) if settings.label_map else None
    for path in settings.annotation_files:
        split = split_in_name(path)
        # Only what is used is kept: captions and placeholders are most of such a file.
        videos = read_json(path, object_hook=_Ssv2Video)
        if not isinstance(videos, list):
            raise UserError(f"{path}: must be a JSON list of videos")
        labels: dict[str, str] = {}
        errors: list[Exception] = []
        for number, video in enumerate(videos, 1):
            where = f"video {number}"
            if not isinstance(video, _Ssv2Video) or not video.name:
                errors.append(UserError(f"{where}: must be an object with an id"))
            elif not isinstance(video.template, str) or not video.template.strip():
                errors.append(
                    UserError(f"{where}: no template; lists without labels cannot be used")
                )
            else:
                template = video.template
                label = labels.setdefault(template, re.sub(r"[\[\]]", "", template).strip())
                if known is not None and label not in known:
                    errors.append(
                        UserError(f"{where}: {settings.label_map} has no label '{label}'")
                    )
                yield Entry((video.name,), label, split)
        raise_all(errors, str(path))


def hmdb51(settings: Settings) -> Iterator[Entry]:
    """Reads the files ``<class>_test_split<fold>.txt`` of a folder.

    Their lines are ``<file> 1`` for a training video, 2 for a test video and 0 for one that this
    split does not use. Not checked on a published file, only against the description that comes
    with them and public programs that read them.

    Raises:
        UserError: no such folder or fold; a line of another form.
    """
    (folder,) = settings.annotation_files
    ending = f"_test_split{settings.fold}.txt"
    files = sorted(_folder(folder).glob(f"*{ending}"))
    if not files:
        raise MissingFileError(
            f"--annotations={folder}: holds no file <class>{ending}; is it "
            "testTrainMulti_7030_splits, and --fold 1, 2 or 3?"
        )
    for path in files:
        label = path.name.removesuffix(ending)
        for line, text in _lines(path):
            name, *numbers = text.rsplit(maxsplit=1)
            if not numbers or numbers[0] not in _HMDB51:
                raise UserError(f"{path}, line {line}: must be a file and 0, 1 or 2")
            split = _HMDB51[numbers[0]]
            if split:
                yield Entry((stem_of(name),), label, split, label)


def ucf101(settings: Settings) -> Iterator[Entry]:
    """Reads ``classInd.txt``, ``trainlist0<fold>.txt`` and ``testlist0<fold>.txt`` of a folder.

    Lines are ``<number> <class>`` in the first, and ``<class>/<file>`` in the others, with the
    number of the class behind it in those of training. Checked on the published files of the first
    two folds.

    Raises:
        UserError: no such folder or fold; a line of another form; a class that ``classInd.txt``
            lacks or numbers otherwise.
    """
    (folder,) = settings.annotation_files
    classes = _folder(folder) / "classInd.txt"
    numbers = {}
    for line, text in _lines(classes):
        words = text.split(maxsplit=1)
        if not _WHOLE.fullmatch(words[0]) or len(words) < 2:
            raise UserError(f"{classes}, line {line}: must be a number and a class")
        numbers[words[1]] = words[0]
    for split in ("train", "test"):
        path = folder / f"{split}list{settings.fold:02d}.txt"
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; is --fold 1, 2 or 3?")
        for line, text in _lines(path):
            where = f"{path}, line {line}"
            words = text.rsplit(maxsplit=1)
            number = words[1] if len(words) > 1 and _WHOLE.fullmatch(words[1]) else ""
            label, _, name = (words[0] if number else text).partition("/")
            if not name:
                raise UserError(f"{where}: must be <class>/<file>")
            if label not in numbers:
                raise UserError(f"{where}: {classes} has no class '{label}'")
            if number and number != numbers[label]:
                raise UserError(
                    f"{where}: class '{label}' has the number {number} here and "
                    f"{numbers[label]} in {classes}"
                )
            yield Entry((stem_of(name),), label, split, label)


def msad(settings: Settings) -> Iterator[Entry]:
    """Reads ``anomaly_annotation.csv`` and the two lists of the weakly supervised protocol.

    The annotation has a line for each anomalous video, with its number of frames and its first and
    last anomalous frame, counted from 1; several lines of one video are several intervals. The
    lists, with train or test in their names, hold paths of features such as
    ``.../Assault_2_i3d.npy``; videos that the annotation lacks are normal, and are called so.

    The data are given on request only. The lists were checked on those of the authors' code, the
    annotation only against public programs that read it. That frames are counted from 1 is taken
    from an interval there that ends with the number of frames; those programs do not agree on it.

    Raises:
        UserError: one of the files is not named or has another form; an interval that does not lie
            in its video; a video of the lists that is neither annotated nor called normal.
    """
    tables = [path for path in settings.annotation_files if path.suffix.lower() == ".csv"]
    lists = [path for path in settings.annotation_files if path not in tables]
    if len(tables) != 1 or sorted(map(split_in_name, lists)) != ["test", "train"]:
        raise UserError(
            "--annotations: with --format=msad one CSV file, anomaly_annotation.csv, and two lists "
            "with train and test in their names"
        )
    frames, intervals = _msad_anomalies(tables[0])
    for path in lists:
        split = split_in_name(path)
        for line, text in _lines(path):
            name = re.sub("_(i3d|swin)$", "", stem_of(text.replace("\\", "/")))
            if name in frames:
                more = (str(frames[name]), ";".join(intervals[name]))
                yield Entry((name,), name.rpartition("_")[0] or name, split, more=more)
            elif "normal" in name.lower():
                names = (name, name.removeprefix("MSAD_normal_"), name.removeprefix("MSAD_"))
                yield Entry(names, "normal", split, more=("", "normal"))
            else:
                raise UserError(
                    f"{path}, line {line}: {tables[0]} has no line of '{name}', and normal videos "
                    "have the word normal in their names"
                )


READERS: dict[str, Callable[[Settings], Iterator[Entry]]] = {
    "kinetics": kinetics,
    "ssv2": ssv2,
    "hmdb51": hmdb51,
    "ucf101": ucf101,
    "msad": msad,
}
"""By the name of the format."""


def split_in_name(path: Path) -> str:
    """Returns the split that the name of a file says.

    Raises:
        UserError: it says none, or several.
    """
    words = re.split("[^a-z]+", path.stem.lower())
    found = {SPLITS[word] for word in words if word in SPLITS}
    if len(found) != 1:
        raise UserError(
            f"--annotations: the name of the file {path} must say which split it is; rename it "
            "with the word train, validation or test"
        )
    return found.pop()


class _Ssv2Video:
    """What is kept of an object of a JSON list; `read_json` makes them."""

    __slots__ = ("name", "template")

    def __init__(self, content: dict[str, Any]) -> None:
        name = content.get("id")
        self.name = str(name) if isinstance(name, str | int) else ""
        self.template = content.get("template")


def _label_map(path: str) -> Collection[str]:
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"--label_map={path}: must be a JSON object whose names are the labels")
    return {label.strip() for label in content}


def _msad_anomalies(path: Path) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Returns frames and anomalous intervals, from 0 and with the end not counted, by video."""
    frames: dict[str, int] = {}
    intervals: dict[str, list[str]] = {}
    for line, (name, *numbers) in stream_rows(path, required=_MSAD):
        if Path(name).suffix.lower() in SUFFIXES:
            name = stem_of(name)
        where = f"{path}, line {line}"
        try:
            total, start, end = map(_whole, numbers)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        if not max(start, 1) <= end <= total:
            raise UserError(f"{where}: {start} to {end} is no interval of {total} frames")
        if frames.setdefault(name, total) != total:
            raise UserError(f"{where}: '{name}' has {frames[name]} frames on a line before")
        intervals.setdefault(name, []).append(f"{max(start, 1) - 1}-{end}")
    return frames, intervals


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise MissingFileError(f"--annotations={path}: no such folder")
    return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Goes through the lines of a text file that are not blank, with their numbers."""
    for number, line in enumerate(re.split("\r\n|\r|\n", read_text(path)), 1):
        if line.strip():
            yield number, line.strip()


def _split(text: str) -> str:
    found = SPLITS.get(text.lower())
    if found is None:
        raise UserError(f"unknown split '{text}'; use train, validate or test")
    return found


@functools.lru_cache(maxsize=1024)  # the times of a million clips are few numbers
def _whole(text: str) -> int:
    match = _WHOLE.fullmatch(text)
    if not match:
        raise UserError(f"'{text}' is no whole number")
    return int(match[1])
