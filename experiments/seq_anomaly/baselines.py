"""Scores that nothing was trained for: how much a frame differs from the one before."""

from dataclasses import dataclass

import numpy as np

from experiments.seq_anomaly.dataset import AnomalyDataset, feature_change, frame_scores
from experiments.seq_anomaly.metrics import Metrics, evaluate


@dataclass(frozen=True)
class PlainResult:
    """Scores of frames that nothing was trained for.

    Attributes:
        name: how the report names it.
        test_scores: float32, one a test frame.
        metrics: of these.
    """

    name: str
    test_scores: np.ndarray
    metrics: Metrics


def run_baselines(dataset: AnomalyDataset, *, num_features: int) -> list[PlainResult]:
    """Scores the test frames by how much changes: features and, where known, pixels.

    Args:
        dataset: its test split is scored.
        num_features: how many of the first features to compare (those that motion added are
            changes already).
    """
    labels, results = dataset.test_labels, []
    change = [
        frame_scores(
            feature_change(video.features[:, :num_features]),
            video.num_frames,
            dataset.frames_per_row,
        )
        for video in dataset.test
    ]
    candidates = {"change of features (not trained)": change}
    if all(video.pixel_change is not None for video in dataset.test):
        candidates["change of pixels (not trained)"] = [
            np.asarray(video.pixel_change) for video in dataset.test
        ]
    for name, scores in candidates.items():
        pooled = np.concatenate(scores).astype(np.float32)
        results.append(PlainResult(name, pooled, evaluate(labels, pooled)))
    return results
