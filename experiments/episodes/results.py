"""What trainings and evaluations leave behind: the report is written from these alone."""

from dataclasses import dataclass
from typing import Any

from tempalign.heads import FewShotHead


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        through: the matching whose loss is minimised.
        gamma: temperature (read by the two TAM matchings only).
        seed: of first weights and training episodes.
    """

    through: str
    gamma: float
    seed: int

    @property
    def name(self) -> str:
        """For messages, and the folder of its checkpoints."""
        return f"{self.through}-gamma{self.gamma:g}-seed{self.seed}"


@dataclass(frozen=True)
class RunResult:
    """A finished training.

    Attributes:
        run: which.
        num_parameters: how many numbers were trained.
        seconds: wall-clock seconds, with compilation and validation.
        history: one dict an epoch: epoch (from 1), loss, seconds and, where there are
            meta-validation classes, val_accuracy.
        best_epoch: the epoch whose parameters `model` has: the best on the meta-validation
            classes, the earliest on a tie; without such classes the last.
        model: the trained head.
    """

    run: Run
    num_parameters: int
    seconds: float
    history: list[dict[str, Any]]
    best_epoch: int
    model: FewShotHead


@dataclass(frozen=True)
class Score:
    """The accuracy of one way of matching on one kind of features.

    Attributes:
        through: what the encoder was trained through; "" for the features as they are.
        trained_gamma: at which temperature; 0 for the features as they are.
        seed: of that training; -1 for the features as they are.
        matching: how queries and supports are compared.
        gamma: at which temperature.
        shots: support samples a class.
        accuracy: mean over the episodes, in [0, 1].
        interval: half the width of its 95 % interval.
    """

    through: str
    trained_gamma: float
    seed: int
    matching: str
    gamma: float
    shots: int
    accuracy: float
    interval: float


@dataclass(frozen=True)
class Scores:
    """All scores of a job, by what they are of.

    Attributes:
        scores: in the order of evaluation.
    """

    scores: tuple[Score, ...]

    def sources(self) -> list[str]:
        """Returns what encoders were trained through, "" (no encoder) first."""
        return list(dict.fromkeys(score.through for score in self.scores))

    def find(
        self, through: str, matching: str, gamma: float, shots: int, trained_gamma: float
    ) -> list[Score]:
        """Returns the scores of all seeds; one of features as they are."""
        return [
            score
            for score in self.scores
            if (score.through, score.matching, score.gamma, score.shots)
            == (through, matching, gamma, shots)
            and (not through or score.trained_gamma == trained_gamma)
        ]


def source_name(through: str) -> str:
    """Returns what tables and pictures call features by what they were trained through."""
    return f"trained through {through}" if through else "untrained features"
