"""How well scores of frames tell anomalous from normal ones, all test frames pooled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score


class Metrics(NamedTuple):
    """Fractions in [0, 1].

    Attributes:
        roc_auc: area under the ROC curve: how often an anomalous frame has a higher score than a
            normal one.
        average_precision: scikit-learn's, the sum over thresholds of precision times the gain in
            recall, not interpolated.
        pr_area: area under the precision-recall curve by the trapezoidal rule; anomaly papers
            report this one too, also as AP.
    """

    roc_auc: float
    average_precision: float
    pr_area: float


def evaluate(labels: np.ndarray, scores: np.ndarray) -> Metrics:
    """Returns the metrics of frames.

    Args:
        labels: [N], 1 for anomalous; both values occur.
        scores: [N], higher for anomalous.

    Raises:
        ValueError: one class only, scores that are not finite, or of another length.
    """
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels, but {len(scores)} scores")
    if len(np.unique(labels)) < 2:
        raise ValueError("AUC and AP are undefined: the labels are of one class only")
    precision, recall, _ = precision_recall_curve(labels, scores)
    return Metrics(
        float(roc_auc_score(labels, scores)),
        float(average_precision_score(labels, scores)),
        float(auc(recall, precision)),
    )


class AucDifference:
    """The mean difference in ROC AUC between pairs of scores, when units are drawn anew.

    The area is the share of (anomalous, normal) pairs of frames in the right order. Those pairs are
    counted once for all pairs of units, so that each of thousands of draws costs next to nothing.
    """

    def __init__(
        self,
        labels: np.ndarray,
        units: np.ndarray,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Counts the pairs of frames.

        Args:
            labels: [N], 1 for anomalous.
            units: int [N], to which unit each frame belongs; whole units are drawn.
            pairs: for each seed the scores [N] by the one and by the other method.
        """
        _, self._units = np.unique(units, return_inverse=True)
        self._sizes = np.bincount(self._units)
        count = len(self._sizes)
        self._positive = np.bincount(self._units, labels == 1, count)
        self._negative = np.bincount(self._units, labels == 0, count)
        self._gained = np.zeros((count, count))
        for one, other in pairs:
            self._gained += self._won(labels, one) - self._won(labels, other)
        self._gained /= len(pairs)

    def __call__(self, rows: np.ndarray) -> float:
        """Returns the mean difference on some frames, which may repeat; NaN for one class alone."""
        weights = np.bincount(self._units[rows], minlength=len(self._sizes)) / self._sizes
        total = (weights @ self._positive) * (weights @ self._negative)
        return float(weights @ self._gained @ weights / total) if total else float("nan")

    def _won(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """How often an anomalous frame of each unit is above a normal one of each; ties half."""
        positive, of_positive = scores[labels == 1], self._units[labels == 1]
        count = len(self._sizes)
        columns = []
        for unit in range(count):
            below = np.sort(scores[(labels == 0) & (self._units == unit)])
            sides = [np.searchsorted(below, positive, side) for side in ("left", "right")]
            columns.append(np.bincount(of_positive, (sides[0] + sides[1]) / 2, count))
        return np.stack(columns, axis=1)
