"""What a trained run and a baseline leave behind: the report is written from these alone."""

from dataclasses import dataclass

import numpy as np

NAMES = {
    "baseline": "FC baseline",
    "trajectory": "+ feature trajectory",
    "seq": "+ feature trajectory + SEQ",
    "seq_no_align": "SEQ without align",
    "seq_no_smooth": "SEQ without smooth",
}


@dataclass(frozen=True)
class RunResult:
    """One trained run: one method with one seed. Arrays are those of the last epoch.

    Attributes:
        method: one of `experiments.anomaly.settings.METHODS`.
        seed: of the first weights and the windows.
        seconds: wall-clock seconds with compilation and evaluation.
        history: one dict an epoch, with the keys epoch (from 1), the loss and its terms (align,
            cross_entropy, smooth; None where a method does not compute it), the test metrics
            (roc_auc, average_precision, pr_area), learning_rate and seconds.
        test_scores: float64, probability of anomaly of every test frame, video after video.
    """

    method: str
    seed: int
    seconds: float
    history: list[dict]
    test_scores: np.ndarray

    @property
    def last(self) -> dict:
        """The history entry of the last epoch."""
        return self.history[-1]


@dataclass(frozen=True)
class PlainResult:
    """Scores of frames that nothing was trained for.

    Attributes:
        name: how the report names it.
        test_scores: float32, one a test frame.
        roc_auc: see `experiments.anomaly.metrics.Metrics`.
        average_precision: likewise.
        pr_area: likewise.
    """

    name: str
    test_scores: np.ndarray
    roc_auc: float
    average_precision: float
    pr_area: float
