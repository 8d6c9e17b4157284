import csv
import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from experiments.shared.errors import UserError
from experiments.shared.scores import by_class_table, classification, roc_auc, write_predictions

LABELS = np.array([0, 0, 0, 0, 1, 1])
GUESSES = np.array([0, 0, 0, 1, 1, 3])
NAMES = ["walk", "run", "never", "only guessed"]


def test_scores_by_hand():
    found = classification(LABELS, GUESSES, NAMES)
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found.macro_f1 == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)
    walk, run, never, guessed = found.by_class
    assert (walk.name, walk.count, walk.guessed, walk.accuracy) == ("walk", 4, 3, 0.75)
    assert (run.precision, run.f1) == (0.5, 0.5)
    assert (never.count, never.accuracy, never.precision, never.f1) == (0, None, None, None)
    assert (guessed.accuracy, guessed.precision, guessed.f1) == (None, 0.0, 0.0)
    assert json.loads(json.dumps(found.to_json()))["by_class"][0]["count"] == 4


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, 60, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05, 0])
    guesses = np.where(rng.random(60) < 0.6, labels, rng.choice(6, 60))
    found = classification(labels, guesses, [str(k) for k in range(7)])
    assert found.accuracy == pytest.approx(accuracy_score(labels, guesses))
    occurring = np.isin(guesses, labels)
    if occurring.all():  # scikit-learn warns of classes that are guessed and do not occur
        expected = balanced_accuracy_score(labels, guesses)
        assert found.balanced_accuracy == pytest.approx(expected)
    expected = f1_score(labels, guesses, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "guesses"), [([], []), ([0], [0, 1]), ([0, 4], [0, 0]), ([0, 1], [0, -1])]
)
def test_what_does_not_fit_is_refused(labels, guesses):
    with pytest.raises(ValueError, match="must be"):
        classification(np.array(labels, int), np.array(guesses, int), NAMES)


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_roc_auc_is_that_of_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    labels = np.r_[0, 1, rng.integers(0, 2, 300)]
    scores = np.round(rng.random(302) * levels + labels * 0.3 * levels)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_table_by_class():
    one = classification(LABELS, GUESSES, NAMES)
    other = classification(LABELS, np.zeros(6, int), NAMES)
    heading, table = by_class_table({"A": [one, other], "B": [one]})
    assert heading == "Accuracy by class"
    assert table.columns == ("class", "test items", "A", "B")
    assert table.rows[:3] == (
        ("walk", "4", "87.50 ± 17.68", "75.00"),
        ("run", "2", "25.00 ± 35.36", "50.00"),
        ("never", "0", "-", "-"),
    )


def test_of_many_classes_the_lowest_are_shown():
    labels = np.arange(40).repeat(4)
    guesses = np.where(np.arange(160) % 4 < (labels % 5), labels, 0)
    found = classification(labels, guesses, [f"class {k}" for k in range(40)])
    heading, table = by_class_table({"A": [found]}, max_rows=10)
    assert heading == "Accuracy by class: the lowest 10 of 40"
    shares = [float(row[2]) for row in table.rows]
    assert len(shares) == 10 and shares == sorted(shares) and shares[0] == 0


def test_predictions_are_read_back(tmp_path):
    path = tmp_path / "predictions.csv"
    ids = ["a/1.npy", 'with "quotes", and commas', "走路"]
    names = ["$\\foo$", "走路"]
    scores = np.array([0.1, 1 / 3, 1.0], np.float32)
    write_predictions(
        path,
        ids,
        np.array([0, 1, 1]),
        names,
        {"full-seed0": np.array([0, 0, 1]), "full-seed1": np.array([1, 1, 1])},
        {"full-seed0": scores},
    )
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ids
    assert [row["label"] for row in rows] == ["$\\foo$", "走路", "走路"]
    assert [row["full-seed1"] for row in rows] == ["走路"] * 3
    read = np.array([row["full-seed0 score"] for row in rows], np.float32)
    np.testing.assert_array_equal(read, scores)
    assert [path] == list(tmp_path.iterdir())


def test_predictions_of_another_length_and_where_nothing_can_be_written(tmp_path):
    labels = np.zeros(2, int)
    with pytest.raises(ValueError, match="run must have 2 values"):
        write_predictions(tmp_path / "x.csv", ["a", "b"], labels, NAMES, {"run": labels[:1]})
    assert not list(tmp_path.iterdir())
    missing = tmp_path / "no" / "x.csv"
    with pytest.raises(UserError, match="x.csv"):
        write_predictions(missing, ["a", "b"], labels, NAMES, {})
