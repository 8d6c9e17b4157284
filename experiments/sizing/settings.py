"""The sizes of a training: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option
from tempalign.kernels.gpu import specs, weighted_cost
from tempalign.kernels.gpu.short_path import MAX_STEPS
from tempalign.kernels.gpu.timings import Step

_DATA = "The data"
_TRAINING = "The training, as the flags of experiments.k400 have it"
_MACHINES = "The machines"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the script can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    classes: int = option(specs.K400.num_classes, _DATA, "Classes.", minimum=2)
    features: int = option(
        specs.K400.num_features,
        _DATA,
        "Features of a frame: the encoder's embedding, and its logits where they are appended.",
        minimum=1,
    )
    frames: int = option(
        specs.K400.num_frames, _DATA, "Frames of a sequence, of a typical one.", minimum=1
    )
    videos: int = option(specs.K400.num_train, _DATA, "Training videos.", minimum=1)
    test_videos: int = option(
        0, _DATA, "Videos that every epoch ends with a test on; 0: leave that out.", minimum=0
    )
    dtype: str = option(
        "float16", _DATA, "What features are stored as.", choices=("float16", "float32")
    )

    steps: int = option(
        specs.K400.num_steps,
        _TRAINING,
        "Time steps of a centroid (--num_steps there).",
        minimum=1,
    )
    batch: int = option(
        specs.K400.batch,
        _TRAINING,
        "Videos a step, of all devices together (--batch_size there).",
        minimum=1,
    )
    path_precision: str = option(
        "float32",
        _TRAINING,
        "What the warping paths are looked for in.",
        choices=("float32", "float16"),
    )
    epochs: int = option(36, _TRAINING, "Passes over the training videos.", minimum=1)
    dba_samples: int = option(
        50, _TRAINING, "Samples a class that its first centroid averages.", minimum=1
    )
    keep_checkpoints: int = option(2, _TRAINING, "Checkpoints of a run that are kept.", minimum=1)
    num_threads: int = option(4, _TRAINING, "Batches read ahead, in each process.", minimum=0)

    devices: int = option(1, _MACHINES, "Cards, of all machines together.", minimum=1)
    class_shards: int = option(
        1,
        _MACHINES,
        "Parts into which classes are divided, each on a card of its own; the batch is divided "
        "among the others. Must divide --devices.",
        minimum=1,
    )
    num_processes: int = option(
        1, _MACHINES, "Processes, each of which reads its share of the videos.", minimum=1
    )
    card: str = option("h200", _MACHINES, "The kind of card.", choices=tuple(specs.CARDS))
    link_gb: float = option(
        0.0,
        _MACHINES,
        "Gigabytes a second that a card sends to others; 0: over NVLink, within one machine. "
        "Between machines it is the share that a card has of the network: 50 for 400 Gbit/s each.",
        minimum=0,
    )
    traceback: bool = option(
        False, _MACHINES, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if self.devices % self.class_shards:
            raise UserError(
                f"--class_shards={self.class_shards}: must divide --devices={self.devices}"
            )
        if self.class_shards > self.classes:
            raise UserError(
                f"--class_shards={self.class_shards}: there are {self.classes} --classes only"
            )
        if self.num_processes > self.devices:
            raise UserError(
                f"--num_processes={self.num_processes}: each needs a device of its own, there are "
                f"--devices={self.devices}"
            )
        if self.steps > MAX_STEPS:
            raise UserError(
                f"--steps={self.steps}: the kernels take at most {MAX_STEPS}, beyond that XLA "
                "computes, of which nothing is known here"
            )
        step = self.step
        if weighted_cost.too_many(step.classes * step.steps, step.videos * step.frames):
            raise UserError(
                f"{step.classes} classes x {step.steps} steps and {step.videos} videos x "
                f"{step.frames} frames on one card are more than the kernels take: give a smaller "
                "--batch or more --devices"
            )

    @property
    def batch_shards(self) -> int:
        """Parts into which a batch is divided."""
        return self.devices // self.class_shards

    @property
    def step(self) -> Step:
        """The sizes of a step on one device."""
        return Step(
            -(-self.classes // self.class_shards),
            self.steps,
            self.features,
            self.frames,
            -(-self.batch // self.batch_shards),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Training steps."""
        return -(-self.videos // self.batch)

    @property
    def record_bytes(self) -> int:
        """Of the numbers of one video, as they are stored."""
        return self.frames * self.features * np.dtype(self.dtype).itemsize
