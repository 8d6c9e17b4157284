"""What a trained run leaves behind: the report is written from these alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.seq.settings import Settings

NAMES = {
    "baseline": "baseline (original images)",
    "trajectory": "+ feature trajectory",
    "seq": "+ feature trajectory + SEQ",
    "seq_no_align": "SEQ without align",
    "seq_no_smooth": "SEQ without smooth",
}


@dataclass(frozen=True)
class Variant:
    """What is trained: a method, with the values that a sweep may change.

    Attributes:
        method: one of `experiments.seq.settings.METHODS`.
        num_support: N.
        gamma: the temperature.
        alpha: the weight of the cross-entropy.
        swept: the name of the parameter that differs from the job's; empty for none.
    """

    method: str
    num_support: int
    gamma: float
    alpha: float
    swept: str = ""

    @property
    def name(self) -> str:
        """Names the variant in folders and logs."""
        if not self.swept:
            return self.method
        return f"{self.method}-{self.swept}{getattr(self, self.swept):g}"


def main_variant(settings: Settings, method: str) -> Variant:
    """Returns a method with the job's own values."""
    return Variant(method, settings.num_support, settings.gamma, settings.alpha)


@dataclass(frozen=True)
class RunResult:
    """One trained run: one variant with one seed. Arrays are those of the last epoch.

    Attributes:
        variant: what was trained.
        seed: of the first weights, the training images and the episodes.
        seconds: wall-clock seconds with compilation and evaluation, without the features.
        history: one dict an epoch, with the keys epoch (from 1), the loss and its terms (align,
            cross_entropy, smooth; None where a method does not compute it), image_accuracy and
            sequence_accuracy (fractions of the test split), learning_rate and seconds.
        image_predictions: int ``[N_test]``, the classes of the plain test images.
        sequence_predictions: int ``[N_test]``, of the probabilities averaged over a sequence.
        params: of the head, by name.
        mean: float32 ``[F]``, subtracted from the features.
        std: float32 ``[F]``, dividing them.
    """

    variant: Variant
    seed: int
    seconds: float
    history: list[dict]
    image_predictions: np.ndarray
    sequence_predictions: np.ndarray
    params: dict
    mean: np.ndarray
    std: np.ndarray

    @property
    def last(self) -> dict:
        """The history entry of the last epoch."""
        return self.history[-1]


def run_folder(out_dir: Path | str, variant: Variant, seed: int) -> Path:
    """Returns the folder of a run's checkpoints in an output folder."""
    return Path(out_dir) / "checkpoints" / f"{variant.name}-seed{seed}"
