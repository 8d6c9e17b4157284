"""Labels are names: what classes there are, in which order, and which look like a typo."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.csv_index import read_text
from experiments.shared.errors import UserError, raise_all

# 1.0 is what spreadsheets and the archives of time series make of 1.
_INTEGER = re.compile(r"([+-]?[0-9]{1,15})(?:\.0*)?")
_LISTED = 5


def number_labels(
    texts: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    places: Sequence[str] | None = None,
    what: str = "labels",
) -> tuple[tuple[str, ...], np.ndarray]:
    """Numbers the classes that labels name.

    Labels that are all integers are ordered by their values, whatever these are (0 to C - 1, 1 to
    C, with gaps, negative); other labels by their text.

    Args:
        texts: [N], the label of each sample, as it was written.
        names: [C], the classes in their order, as `read_classes` returns them. Labels are among
            them, or are the numbers 0 to C - 1 of their lines.
        places: [N], what begins a message about a sample, such as "line 3"; its number otherwise.
        what: begins the message: the file that holds the labels.

    Returns:
        (class names [C], labels int32 [N] that are 0 to C - 1).

    Raises:
        UserError: a label that `names` has not.
    """
    values = _integers(texts)
    if names is None:
        if values is not None:
            order = sorted(set(values))
            number = {value: k for k, value in enumerate(order)}
            labels = [number[value] for value in values]
            return tuple(map(str, order)), np.array(labels, np.int32)
        names = sorted(set(texts))
    number_of = {name: k for k, name in enumerate(names)}
    if values is not None and not all(text in number_of for text in texts):
        outside = [k for k, value in enumerate(values) if not 0 <= value < len(names)]
        problem = f"is outside 0..{len(names) - 1}, the numbers of the {len(names)} classes"
        found = values
    else:
        outside = [k for k, text in enumerate(texts) if text not in number_of]
        problem = "is not among the names of the classes"
        found = [number_of.get(text, -1) for text in texts]
    places = places or [f"sample {k}" for k in range(len(texts))]
    raise_all([UserError(f"{places[k]}: label '{texts[k]}' {problem}") for k in outside], what)
    return tuple(names), np.array(found, np.int32)


def read_classes(path: Path | str) -> tuple[str, ...]:
    """Reads `classes.txt`: one class name on each line, in the order of the classes.

    Raises:
        MissingFileError: it is not there.
        UserError: it is not UTF-8, a line is empty, or two lines are the same.
    """
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not lines or "" in lines or len(set(lines)) < len(lines):
        raise UserError(f"{path}: must hold a different class name on each line")
    return tuple(lines)


def lonely_classes(
    labels: np.ndarray | Sequence[int], class_names: Sequence[str], what: str = "training sample"
) -> str:
    """Tells of classes with one sample, which is what a misspelt label looks like.

    A warning is written to stderr.

    Args:
        labels: of the training split.
        class_names: by label.
        what: one of the samples is called.

    Returns:
        A sentence for the report, empty where each class has more than one.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(class_names))
    lonely = [class_names[label] for label in np.flatnonzero(counts == 1).tolist()]
    if not lonely:
        return ""
    listed = ", ".join(lonely[:_LISTED]) + (", ..." if len(lonely) > _LISTED else "")
    classes = "class has" if len(lonely) == 1 else "classes have"
    sentence = f"{len(lonely)} {classes} a single {what}: {listed}"
    print(f"warning: {sentence}; is a label misspelt?", file=sys.stderr, flush=True)
    return sentence


def label_key(text: str) -> str:
    """Returns what spellings of one label have in common: capitals, +1, 01 and 1.0 do not count."""
    match = _INTEGER.fullmatch(text)
    return str(int(match[1])) if match else text.casefold()


def _integers(texts: Sequence[str]) -> list[int] | None:
    """The values of texts that are all integers, otherwise None."""
    matches = [_INTEGER.fullmatch(text) for text in texts]
    found = [int(match[1]) for match in matches if match]
    return found if len(found) == len(texts) else None
