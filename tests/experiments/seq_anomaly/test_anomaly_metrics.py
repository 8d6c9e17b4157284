"""The metrics against counting by hand."""

import numpy as np
import pytest

from experiments.seq_anomaly.metrics import AucDifference, evaluate
from experiments.seq_anomaly.training import probability


def by_hand(labels, scores):
    positive, negative = scores[labels == 1], scores[labels == 0]
    above = (positive[:, None] > negative).mean()
    equal = (positive[:, None] == negative).mean()
    points = [(0.0, 1.0)]
    for threshold in np.unique(scores)[::-1]:
        found = labels[scores >= threshold]
        points.append((found.sum() / labels.sum(), found.mean()))
    steps = list(zip(points, points[1:], strict=False))
    ap = sum((r - r0) * p for (r0, _), (r, p) in steps)
    area = sum((r - r0) * (p + p0) / 2 for (r0, p0), (r, p) in steps)
    return above + equal / 2, ap, area


@pytest.mark.parametrize("levels", [3, 1000])  # with ties and without
def test_against_counting(levels):
    rng = np.random.default_rng(levels)
    labels = rng.integers(0, 2, 60)
    scores = np.round(levels * (rng.random(60) + 0.4 * labels)) / levels
    np.testing.assert_allclose(evaluate(labels, scores), by_hand(labels, scores), rtol=1e-12)


def test_perfect_and_reversed():
    labels = np.array([0, 0, 0, 1])
    assert evaluate(labels, np.array([0.1, 0.2, 0.3, 0.4])) == (1, 1, 1)
    assert evaluate(labels, -labels).roc_auc == 0


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [0.1, 0.2], "of one class only"),
        ([1, 1], [0.1, 0.2], "of one class only"),
        ([0, 1], [0.1, 0.2, 0.3], "2 labels, but 3 scores"),
        ([0, 1], [0.1, np.nan], "NaN"),
    ],
)
def test_undefined(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        evaluate(np.array(labels), np.array(scores))


def test_scores_beyond_37_are_no_ties():
    """As probabilities they all are 1, and a perfect ranking would look like guessing."""
    labels, log_odds = np.array([0, 0, 1, 1]), np.float32([38, 40, 42, 80])
    assert evaluate(labels, log_odds).roc_auc == 1
    assert evaluate(labels, probability(log_odds)).roc_auc == 0.5


def test_probabilities_are_those_of_log_odds():
    log_odds = np.linspace(-800, 800, 41).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
    np.testing.assert_allclose(probability(log_odds), expected, rtol=1e-12, atol=1e-300)


def test_the_difference_of_areas_on_drawn_units():
    rng = np.random.default_rng(1)
    labels, units = rng.integers(0, 2, 60), np.repeat(np.arange(6), 10)
    pairs = [
        tuple(np.round(5 * (rng.random(60) + shift * labels)) for shift in (0.5, 0.1))
        for _ in range(2)
    ]
    statistic = AucDifference(labels, units, pairs)
    for drawn in ([0, 1, 2, 3, 4, 5], [2, 2, 5, 0, 2, 1]):
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in drawn])
        expected = np.mean(
            [
                evaluate(labels[rows], one[rows]).roc_auc
                - evaluate(labels[rows], other[rows]).roc_auc
                for one, other in pairs
            ]
        )
        assert statistic(rows) == pytest.approx(expected, abs=1e-12)
    one_class = AucDifference(np.repeat([0, 1], 30), units, pairs)
    assert np.isnan(one_class(np.arange(10)))
