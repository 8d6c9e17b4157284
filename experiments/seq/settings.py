"""What both SEQ experiments can be told about methods, training and sweeps."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from experiments.shared.errors import UserError
from experiments.shared.job import JobOptions
from experiments.shared.options import option

METHODS = ("baseline", "trajectory", "seq", "seq_no_align", "seq_no_smooth")
SWEEPS: Mapping[str, tuple[float, ...]] = {
    "num_support": (1, 2, 3, 4, 5),
    "gamma": (0.01, 0.05, 0.1, 0.5, 1.0),
    "alpha": (0.1, 1.0, 10.0, 100.0),
}
"""What can be swept, and over which values where the command line names none."""

METHOD = "Methods"
TRAINING = "Training"


@dataclasses.dataclass(frozen=True)
class SeqOptions(JobOptions):
    """The settings of methods and training; those of an experiment are a subclass.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"--episodes": "--steps_per_epoch"}

    methods: tuple[str, ...] = option(
        METHODS,
        METHOD,
        "What to train, one run each a seed. baseline: cross-entropy of single images or frames; "
        "trajectory: of sequences of them; seq: with alignment to the exemplars and smoothness; "
        "seq_no_align, seq_no_smooth: without that term.",
        choices=METHODS,
        grows=True,
    )
    tau: int = option(7, METHOD, "Rows (images, frames or snippets) of a sequence.", minimum=2)
    num_support: int = option(
        4, METHOD, "N, support sequences of each class behind an exemplar.", minimum=1
    )
    alpha: float = option(0.1, METHOD, "Weight of the cross-entropy.", above=0)
    beta: float = option(0.1, METHOD, "Weight of the smoothness.", minimum=0)
    gamma: float = option(0.1, METHOD, "Temperature of alignment and exemplars.", above=0)
    exemplar_iterations: int = option(
        10, METHOD, "Most iterations of the minimisation behind an exemplar.", minimum=1
    )
    sweep: tuple[str, ...] = option(
        (),
        METHOD,
        "Also train seq with other values of these, one at a time (all: of each of the three). "
        "Asked of a finished job (--resume), only those are trained; earlier sweeps stay.",
        choices=(*SWEEPS, "all"),
        grows=True,
    )
    sweep_num_support: tuple[int, ...] = option(
        (), METHOD, "Values of --sweep=num_support; empty: 1,2,3,4,5.", minimum=1, grows=True
    )
    sweep_gamma: tuple[float, ...] = option(
        (), METHOD, "Values of --sweep=gamma; empty: 0.01,0.05,0.1,0.5,1.", above=0, grows=True
    )
    sweep_alpha: tuple[float, ...] = option(
        (), METHOD, "Values of --sweep=alpha; empty: 0.1,1,10,100.", above=0, grows=True
    )

    epochs: int = option(
        10,
        TRAINING,
        "How often to evaluate and save. A finished job that is resumed with more goes on, at the "
        "learning rates of the new number.",
        minimum=1,
        grows=True,
    )
    steps_per_epoch: int = option(
        30, TRAINING, "Steps of the optimiser in an epoch, each on an episode.", minimum=1
    )
    learning_rate: float = option(
        1e-3, TRAINING, "First learning rate of AdamW; cosine to 0 by epoch.", above=0
    )
    weight_decay: float = option(0.01, TRAINING, "AdamW's weight decay.", minimum=0)

    predict_method: str = option(
        "",
        "Instead of training",
        "Which method --predict uses; by default seq, or the last one trained.",
        choices=("", *METHODS),
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not self.methods or not self.seeds:
            raise UserError("--methods and --seeds must each name at least one")
        if self.sweep and "seq" not in self.methods:
            raise UserError(f"--sweep={','.join(self.sweep)}: needs seq among --methods")
        for name in self.swept:  # written down, so that a later sweep adds to them
            if not self.sweep_values(name):
                object.__setattr__(self, f"sweep_{name}", SWEEPS[name])

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the parameters that are swept."""
        return tuple(name for name in SWEEPS if name in self.sweep or "all" in self.sweep)

    def sweep_values(self, name: str) -> tuple[float, ...]:
        """Returns the values over which a parameter is swept."""
        return getattr(self, f"sweep_{name}")

    @property
    def largest_support(self) -> int:
        """The largest N of this job."""
        swept = self.sweep_num_support if "num_support" in self.swept else ()
        return max((self.num_support, *swept))


def other_default(name: str, default: Any) -> Any:
    """Declares a field of `SeqOptions` again, with a default that suits a subclass better."""
    (field,) = (field for field in dataclasses.fields(SeqOptions) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)
