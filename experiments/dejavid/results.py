"""What a trained run and a baseline leave behind: the report is written from these alone."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RunResult:
    """One trained run: one variant with one seed, evaluated on the test split after every epoch.

    Arrays are those of the last epoch. `best_epoch` is chosen by test accuracy, so it is selected
    on the split that it is evaluated on (the paper reports it that way): the report says so.

    Attributes:
        variant: what was learned: "frozen_weights", "weights_only", "full" or "custom".
        seed: seed of the samples behind the initial centroids, the weights and the batch order.
        num_parameters: how many numbers were trained.
        seconds: wall-clock seconds of the run: training, evaluation, compilation, and the first
            centroids where no run or baseline before had made them.
        history: one dict per epoch, in order, with the keys epoch (from 1), loss, train_accuracy,
            test_top1, test_top5 (None below 6 classes), learning_rate (of the log-weights) and
            seconds. Accuracies are fractions in [0, 1].
        best_epoch: the epoch (from 1) with the highest test_top1; the earliest one on a tie.
        test_logits: [N_test, C] float32, in the order of the test split.
        centroids: [C, T_c, F] float32, in standardised units where `--standardize` is on.
        log_weights: [C, T_c, F] float32; the weight is exp(log_weights).
        feature_mean: [F] float32, subtracted from the features before the head (0 if not
            standardised).
        feature_std: [F] float32, dividing the features before the head (1 if not standardised).
    """

    variant: str
    seed: int
    num_parameters: int
    seconds: float
    history: list[dict]
    best_epoch: int
    test_logits: np.ndarray
    centroids: np.ndarray
    log_weights: np.ndarray
    feature_mean: np.ndarray
    feature_std: np.ndarray

    @property
    def test_predictions_top1(self) -> np.ndarray:
        """[N_test] int: the predicted class of every test sample after the last epoch."""
        return np.argmax(self.test_logits, axis=-1)

    @property
    def last(self) -> dict:
        """The history entry of the last epoch."""
        return self.history[-1]

    @property
    def best(self) -> dict:
        """The history entry of the best epoch."""
        return self.history[self.best_epoch - 1]


@dataclass(frozen=True)
class BaselineResult:
    """One row of the report that was not trained by gradient descent.

    Attributes:
        name: how the report names it, e.g. "temporal mean + 1-NN".
        num_parameters: how many numbers it learned; None where it has none (nearest neighbours).
        seconds: wall-clock seconds, fit and evaluation.
        top1: fraction of the test split classified correctly.
        top5: the same for the five best classes; None where it has no ranking or C <= 5.
    """

    name: str
    num_parameters: int | None
    seconds: float
    top1: float
    top5: float | None = None
