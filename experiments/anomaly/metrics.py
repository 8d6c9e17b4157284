"""How well scores of frames tell anomalous from normal ones, all test frames pooled."""

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
