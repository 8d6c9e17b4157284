"""What a trained run and a baseline leave behind: the report is written from these alone."""

from dataclasses import dataclass

import numpy as np

from experiments.dejavid.training import Snapshot
from experiments.shared.run import Entry, Trained


@dataclass(frozen=True)
class RunResult:
    """One trained run: one method with one seed, evaluated after every epoch.

    Attributes:
        method: what was learned: "frozen_weights", "weights_only", "full" or "custom".
        seed: seed of the samples behind the initial centroids, the weights and the batch order.
        num_parameters: how many numbers were trained.
        trained: the run itself. Its history has an entry an epoch: loss, train_accuracy,
            test_top1, test_top5 (None below 6 classes), val_top1 where there is a validation
            split, learning_rate (of the log-weights) and seconds; fractions in [0, 1].
    """

    method: str
    seed: int
    num_parameters: int
    trained: Trained[Snapshot]

    @property
    def history(self) -> list[Entry]:
        """One entry an epoch."""
        return self.trained.history

    @property
    def seconds(self) -> float:
        """Wall-clock seconds: training, evaluation, compilation, and the first centroids."""
        return self.trained.seconds

    @property
    def last(self) -> Entry:
        """The history entry of the last epoch."""
        return self.history[-1]

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) that is best on the validation split; the earliest on a tie.

        Without such a split it is picked on the test split that it is reported on, as the paper
        does: the report says so.
        """
        return 1 + int(np.argmax([entry[self.picked_on] for entry in self.history]))

    @property
    def picked_on(self) -> str:
        """The number that the best epoch is picked by."""
        return "val_top1" if "val_top1" in self.last else "test_top1"

    @property
    def best(self) -> Entry:
        """The history entry of the best epoch."""
        return self.history[self.best_epoch - 1]

    @property
    def test_logits(self) -> np.ndarray:
        """Of the last epoch, float32 ``[N_test, C]``, in the order of the test split."""
        return self.trained.state.test_logits

    @property
    def predictions(self) -> np.ndarray:
        """The predicted class of every test sample after the last epoch, int ``[N_test]``."""
        return np.argmax(self.test_logits, axis=-1)

    @property
    def centroids(self) -> np.ndarray:
        """Centroids, float32 ``[C, T_c, F]``, in standardised units if `--standardize` is on."""
        return np.asarray(self.trained.state.state.params["centroids"])

    @property
    def log_weights(self) -> np.ndarray:
        """Logarithms of the weights, float32 ``[C, T_c, F]``."""
        return np.asarray(self.trained.state.state.params["log_weights"])


@dataclass(frozen=True)
class BaselineResult:
    """One row of the report that was not trained by gradient descent.

    Attributes:
        name: how the report names it, e.g. "temporal mean + 1-NN".
        num_parameters: how many numbers it learned; None where it has none (nearest neighbours).
        seconds: wall-clock seconds, fit and evaluation.
        top1: fraction of the test split classified correctly.
        top5: the same for the five best classes; None where it has no ranking or C <= 5.
        predictions: the predicted class of every test sample.
    """

    name: str
    num_parameters: int | None
    seconds: float
    top1: float
    top5: float | None
    predictions: list[int]
