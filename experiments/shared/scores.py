"""What a classifier's guesses are worth beyond accuracy, and the guesses themselves as a table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata  # type: ignore[import-untyped]
from sklearn.metrics import precision_recall_fscore_support

from experiments.shared.files import write_csv
from experiments.shared.tables import Table, percent


@dataclass(frozen=True)
class ClassScore:
    """How one class fares.

    Attributes:
        name: of the class.
        count: test items of it.
        guessed: items that were taken for it.
        accuracy: share of its items that were recognised (recall); None where it has none.
        precision: share of the items taken for it that are of it; None where none was.
        f1: harmonic mean of the two, 0 where nothing is right; None where it neither occurs nor
            was guessed.
    """

    name: str
    count: int
    guessed: int
    accuracy: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Classification:
    """The scores of guesses, as fractions.

    Attributes:
        accuracy: share of the items that were recognised.
        balanced_accuracy: mean accuracy of the classes that occur in the test data, so that a rare
            one counts as much as a common one (scikit-learn's balanced_accuracy_score).
        macro_f1: mean F1 of the classes that occur or were guessed (scikit-learn's f1_score).
        by_class: in the order of the classes.
    """

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    by_class: tuple[ClassScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns all of it, of JSON's types."""
        return asdict(self) | {"by_class": [asdict(one) for one in self.by_class]}


def classification(
    labels: np.ndarray, guesses: np.ndarray, class_names: Sequence[str]
) -> Classification:
    """Scores guesses.

    Args:
        labels: int [N], the true classes.
        guesses: int [N].
        class_names: [C], of class 0, 1, ...

    Raises:
        ValueError: there are no items, or a class has no name.
    """
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    count = len(class_names)
    if not len(labels) or labels.shape != guesses.shape:
        raise ValueError(f"labels and guesses must be [N] each, got {labels.shape} {guesses.shape}")
    both = np.concatenate([labels, guesses])
    if both.min() < 0 or both.max() >= count:
        raise ValueError(f"classes must be 0..{count - 1}, got {both.min()}..{both.max()}")
    precision, recall, f1, sizes = precision_recall_fscore_support(
        labels, guesses, labels=np.arange(count), zero_division=0
    )
    guessed = np.bincount(guesses, minlength=count)
    by_class = tuple(
        ClassScore(
            str(name),
            int(sizes[k]),
            int(guessed[k]),
            float(recall[k]) if sizes[k] else None,
            float(precision[k]) if guessed[k] else None,
            float(f1[k]) if sizes[k] or guessed[k] else None,
        )
        for k, name in enumerate(class_names)
    )
    return Classification(
        float((labels == guesses).mean()),
        statistics.fmean(one.accuracy for one in by_class if one.accuracy is not None),
        statistics.fmean(one.f1 for one in by_class if one.f1 is not None),
        by_class,
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve, as scikit-learn's roc_auc_score but ten times as fast.

    A bootstrap calls it thousands of times. It is the share of pairs (one item of each class) in
    which the item of class 1 has the higher score; ties count as half.

    Args:
        labels: [N], 0 or 1, both present.
        scores: [N].
    """
    positive = np.asarray(labels) == 1
    num_positive, num = int(positive.sum()), len(positive)
    above = rankdata(scores)[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * (num - num_positive)))


def balanced_table(scores: Mapping[str, Sequence[Classification]], what: str = "method") -> Table:
    """Returns the scores in which every class counts alike, one row a method.

    Args:
        scores: by the method's name, one a seed.
        what: heading of the names.
    """
    rows = [
        (
            name,
            percent([one.accuracy for one in group]),
            percent([one.balanced_accuracy for one in group]),
            percent([one.macro_f1 for one in group]),
        )
        for name, group in scores.items()
    ]
    return Table((what, "accuracy", "balanced accuracy", "macro F1"), tuple(rows))


def by_class_table(
    scores: Mapping[str, Sequence[Classification]], *, max_rows: int = 25
) -> tuple[str, Table]:
    """Returns (heading, table) of the accuracy of each class, one column a method.

    Args:
        scores: by the method's name, one a seed; at least one, all of the same test items.
        max_rows: of more classes, those that the last method recognises least are shown, the worst
            first. report.json should have all: `Classification.to_json`.
    """
    *_, last = scores.values()
    classes = last[0].by_class
    heading, shown = "Accuracy by class", list(range(len(classes)))
    if len(classes) > max_rows:
        means = {
            k: statistics.fmean(one.by_class[k].accuracy or 0 for one in last)
            for k in shown
            if classes[k].count
        }
        shown = sorted(means, key=lambda k: means[k])[:max_rows]
        heading = f"Accuracy by class: the lowest {len(shown)} of {len(classes)}"
    rows = [
        (
            classes[k].name,
            f"{classes[k].count:,}",
            *(percent([one.by_class[k].accuracy for one in group]) for group in scores.values()),
        )
        for k in shown
    ]
    return heading, Table(("class", "test items", *scores), tuple(rows))


def write_predictions(
    path: Path | str,
    ids: Sequence[str],
    labels: np.ndarray,
    class_names: Sequence[str],
    guesses: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a CSV file with one row a test item: id, label, then a column for every run.

    Args:
        path: of the file.
        ids: [N], of the test items.
        labels: int [N], the true classes.
        class_names: [C].
        guesses: by the run's name, int [N]: a column of names under the run's name.
        scores: by the run's name, float [N], such as the probability of the guess or of an anomaly:
            a column "<run> score".

    Raises:
        ValueError: a column is not as long as ids.
        UserError: the file cannot be written; one that was there is unharmed.
    """
    columns: dict[str, Sequence[str]] = {"id": ids, "label": _names(labels, class_names)}
    columns |= {run: _names(of_run, class_names) for run, of_run in guesses.items()}
    # str gives the shortest text that is read back as the same number, float32 or float64.
    columns |= {f"{run} score": [str(v) for v in of] for run, of in (scores or {}).items()}
    for name, column in columns.items():
        if len(column) != len(ids):
            raise ValueError(
                f"{name} must have {len(ids)} values, one an id, but has {len(column)}"
            )
    write_csv(path, columns, zip(*columns.values(), strict=True))


def _names(classes: np.ndarray, class_names: Sequence[str]) -> list[str]:
    return [class_names[index] for index in np.asarray(classes).tolist()]
