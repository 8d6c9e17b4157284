"""The metrics against counting by hand."""

import numpy as np
import pytest

from experiments.anomaly.metrics import evaluate


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
