"""What trainings and evaluations leave behind: the report is written from these alone."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.few_shot.training import Snapshot, Source
from experiments.shared.comparison import Comparison, MeanOf, compare
from experiments.shared.run import Entry, Trained
from experiments.shared.scores import Classification, classification
from tempalign.heads import FewShotHead


@dataclass(frozen=True)
class RunResult:
    """A finished training.

    Attributes:
        source: which.
        num_parameters: how many numbers were trained.
        trained: the run itself. Its history has an entry an epoch: loss, seconds and, where there
            are meta-validation classes, val_accuracy.
        model: with the parameters of `best_epoch`.
        features: makes what that model is given of the meta-test samples, float32 [N, T, F]: of
            stored features these, of videos the trunk's at that epoch.
    """

    source: Source
    num_parameters: int
    trained: Trained[Snapshot]
    model: FewShotHead
    features: Callable[[], np.ndarray]

    @property
    def history(self) -> list[Entry]:
        """One entry an epoch."""
        return self.trained.history

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) that is best on the meta-validation classes, the earliest on a tie.

        Without such classes it is the last.
        """
        return int(self.trained.state.best_epoch)

    @property
    def val_accuracy(self) -> float | None:
        """The accuracy of that epoch on the meta-validation classes; None without such classes."""
        return self.history[self.best_epoch - 1].get("val_accuracy")


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
        right: [N], how often each meta-test sample was classified rightly as a query.
        confusion: [C][C], how often a query of the first class was taken for the second.
    """

    through: str
    trained_gamma: float
    seed: int
    matching: str
    gamma: float
    shots: int
    accuracy: float
    interval: float
    right: list[int]
    confusion: list[list[int]]

    @property
    def name(self) -> str:
        """Tells it from all others of a job."""
        source = Source(self.through, self.trained_gamma, self.seed).name
        gamma = f" gamma {self.gamma:g}" if self.matching.startswith("tam") else ""
        return f"{source} {self.matching}{gamma} {self.shots}-shot"

    def guesses(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns (true classes, those that were taken for them), int [number of queries] each."""
        counts = np.asarray(self.confusion)
        truth, guess = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
        return truth, guess

    def classification(self, class_names: Sequence[str]) -> Classification:
        """Returns what the guesses are worth beyond accuracy."""
        return classification(*self.guesses(), class_names)


@dataclass(frozen=True, eq=False)
class Scores:
    """All scores of a job, by what they are of.

    Attributes:
        scores: in the order of evaluation.
        asked: int [N], how often each meta-test sample was a query; the same for all.
    """

    scores: tuple[Score, ...]
    asked: np.ndarray

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

    def compare(self, one: Sequence[Score], other: Sequence[Score]) -> Comparison:
        """Compares two results, seed by seed.

        The episodes share their samples: what is independent is these, not the episodes. An
        accuracy is that of all questions asked about some samples, so other samples may be drawn
        from them.

        Args:
            one: its scores, one a seed.
            other: likewise; features as they are have one score, which is paired with every seed.
        """
        if len(other) < len(one):
            other = [*other] * len(one)
        pairs = list(zip(one, other, strict=True))
        gained = np.mean([np.subtract(a.right, b.right) for a, b in pairs], axis=0)
        samples = np.flatnonzero(self.asked)
        count = self.asked[samples]
        return compare(
            [a.accuracy - b.accuracy for a, b in pairs],
            unit="query samples",
            units=np.repeat(samples, count),
            statistic=MeanOf(np.repeat(gained[samples] / count, count)),
        )


def mean(found: Sequence[Score]) -> float:
    """Returns the mean accuracy over seeds."""
    return statistics.fmean(score.accuracy for score in found)


def source_name(through: str) -> str:
    """Returns what tables and pictures call features by what they were trained through."""
    return f"trained through {through}" if through else "untrained features"
