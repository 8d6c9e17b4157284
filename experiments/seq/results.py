"""What is trained, and what a trained run leaves behind: reports are written from this alone."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.seq.settings import SWEEPS, SeqOptions
from experiments.seq.steps import Snapshot, Tested
from experiments.shared.options import to_text
from experiments.shared.run import Entry, Trained
from experiments.shared.scaling import Scaling


@dataclasses.dataclass(frozen=True)
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

    @classmethod
    def of(cls, options: SeqOptions, method: str, **changes: Any) -> "Variant":
        """Returns a method with the job's own values, but for `changes`."""
        values = {name: getattr(options, name) for name in SWEEPS}
        return cls(method, **(values | changes))

    @property
    def name(self) -> str:
        """Names the variant in folders and logs; to the last digit of a swept value."""
        if not self.swept:
            return self.method
        return f"{self.method}-{self.swept}{to_text(getattr(self, self.swept))}"

    def run_name(self, seed: int) -> str:
        """Names the run of this variant with a seed."""
        return f"{self.name}-seed{seed}"

    def about(self) -> dict[str, Any]:
        """Returns all of it, for logs and reports."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One trained run: one variant with one seed.

    Attributes:
        variant: what was trained.
        seed: of the first weights and the episodes.
        trained: the run itself. Its history has an entry an epoch: the loss and its terms (align,
            cross_entropy, smooth; None where a method does not compute it), the metrics of the room
            (fractions in [0, 1]) and learning_rate.
    """

    variant: Variant
    seed: int
    trained: Trained[Snapshot]

    @property
    def history(self) -> list[Entry]:
        """One entry an epoch."""
        return self.trained.history

    @property
    def last(self) -> Entry:
        """The history entry of the last epoch."""
        return self.trained.last

    @property
    def tested(self) -> Tested:
        """What the last parameters say of the test split."""
        return self.trained.state.tested

    @property
    def params(self) -> dict[str, Any]:
        """The last parameters of the head, by name."""
        return self.trained.state.state.params

    @property
    def scaling(self) -> Scaling:
        """What features are standardised with before the head."""
        return self.trained.state.scaling


def by_method(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Returns the runs of each method without those of a sweep, in the order of their seeds."""
    groups: dict[str, list[RunResult]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        if not run.variant.swept:
            groups.setdefault(run.variant.method, []).append(run)
    return groups


def by_value(runs: Sequence[RunResult], name: str) -> dict[float, list[RunResult]]:
    """Returns the runs of SEQ by the values of a swept parameter, in rising order."""
    groups: dict[float, list[RunResult]] = {}
    for run in runs:
        if run.variant.method == "seq" and run.variant.swept in ("", name):
            groups.setdefault(getattr(run.variant, name), []).append(run)
    return dict(sorted(groups.items()))
