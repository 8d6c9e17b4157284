"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.shared.options import Options, option

MATCHINGS: tuple[str, ...] = ("min", "mean", "diagonal", "dtw", "tam", "tam_symmetric")
ORDER_BLIND = "order_blind"
ENCODERS = ("none", "linear", "mlp")

_DATA = "Data"
_EPISODES = "Episodes and matching"
_TRAINING = "Encoder and meta-training"
_JOB = "The job and its output folder"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        ValueError: a value that its flag does not allow, or two that do not go together.
    """

    data_dir: str = option(
        "",
        _DATA,
        "Folder of the data set: index.csv (id,path,label,split) and one .npy [T, F] a video. Its "
        "column split is not used here: --class_splits says what is trained and tested on.",
        changes_result=False,
    )
    class_splits: str = option(
        "",
        _DATA,
        "CSV file with the columns class,split: which classes are for meta-training (train), "
        "meta-validation (val) and meta-testing (test). Other classes of the folder are left out.",
        changes_result=False,
    )
    layout: str = option(
        "index",
        _DATA,
        "index: a folder of your own; spoken_digits: the real data that comes with this "
        "repository, 5 digits for meta-training and 5 for meta-testing.",
        choices=("index", "spoken_digits"),
    )
    split_seed: int = option(
        0, _DATA, "Which digits are trained and tested on (spoken_digits only).", minimum=0
    )
    samples_per_class: int = option(
        0,
        _DATA,
        "Use this many random samples of a class (100 in CMN's protocol); 0: all.",
        minimum=0,
    )
    sample_seed: int = option(0, _DATA, "Seed of that choice.", minimum=0)
    num_segments: int = option(
        8, _DATA, "Frames that every sequence is brought to (8 in the paper).", minimum=1
    )
    sampling: str = option(
        "middle",
        _DATA,
        "middle: the middle frame of each of that many equal segments (TSN's way, which the paper "
        "follows); linear: linear resampling in time from the first frame to the last.",
        choices=("middle", "linear"),
    )
    center: str = option(
        "none",
        _DATA,
        "sequence: subtract from every sequence its own mean over time, before segments are "
        "taken: what remains is how it moves.",
        choices=("none", "sequence"),
    )
    standardize: bool = option(
        False, _DATA, "Scale every feature to mean 0 and deviation 1 on the meta-training classes."
    )

    way: int = option(5, _EPISODES, "Classes an episode (n-way).", minimum=2)
    shots: tuple[int, ...] = option(
        (1, 5), _EPISODES, "Support samples a class (k-shot): one result for each.", minimum=1
    )
    queries: int = option(1, _EPISODES, "Query samples a class (1 in the paper).", minimum=1)
    episodes: int = option(
        10_000, _EPISODES, "Episodes that an accuracy is the mean of.", minimum=1
    )
    episode_seed: int = option(
        0, _EPISODES, "Seed of these episodes; every row of the report has the same.", minimum=0
    )
    matchings: tuple[str, ...] = option(
        MATCHINGS,
        _EPISODES,
        "How a query is compared with a support (Table 2 of the paper), one row each.",
        choices=MATCHINGS,
    )
    gammas: tuple[float, ...] = option(
        (0.1,),
        _EPISODES,
        "Temperatures of TAM's soft minimum (the paper's lambda). The first is that of the "
        "results; with more of them there is a sweep (Fig. 5), trained at each.",
        above=0,
    )
    boundary: str = option(
        "paper",
        _EPISODES,
        "TAM's recurrence as in Eq. 5, or as in the common few-shot code (edge).",
        choices=("paper", "edge"),
    )

    encoder: str = option(
        "linear",
        _TRAINING,
        "What is trained on top of the frozen features, frame by frame: nothing, a linear "
        "projection, or one with a hidden layer.",
        choices=ENCODERS,
    )
    embedding: int = option(128, _TRAINING, "Features that the encoder gives.", minimum=1)
    hidden: int = option(256, _TRAINING, "Width of the hidden layer (mlp only).", minimum=1)
    train_through: tuple[str, ...] = option(
        ("tam", ORDER_BLIND),
        _TRAINING,
        "Matchings that the encoder is trained through by Eq. 8, one training each a seed; "
        "order_blind: the cosine of temporal means (the paper's baseline TSN++).",
        choices=(*MATCHINGS, ORDER_BLIND),
    )
    order_blind_encoder: str = option(
        "same",
        _TRAINING,
        "The encoder trained through order_blind: that of --encoder, or another. A linear one "
        "commutes with the temporal mean; mlp makes it a stronger rival.",
        choices=("same", "linear", "mlp"),
    )
    train_shots: int = option(1, _TRAINING, "Support samples a class in training.", minimum=1)
    epochs: int = option(20, _TRAINING, "Epochs; after each a checkpoint.", minimum=1)
    steps_per_epoch: int = option(100, _TRAINING, "Steps of AdamW an epoch.", minimum=1)
    batch_episodes: int = option(16, _TRAINING, "Episodes a step.", minimum=1)
    learning_rate: float = option(
        1e-3, _TRAINING, "First learning rate of AdamW; cosine to 0 by step.", above=0
    )
    weight_decay: float = option(1e-4, _TRAINING, "AdamW's weight decay.", minimum=0)
    val_episodes: int = option(
        1000,
        _TRAINING,
        "Episodes of the meta-validation classes after each epoch, where there are such classes; "
        "the encoder of the best epoch is then the one tested, else that of the last.",
        minimum=1,
    )
    seeds: tuple[int, ...] = option(
        (0,),
        _TRAINING,
        "One training for each: first weights and training episodes.",
        minimum=0,
    )

    out_dir: str = option(
        "runs/few_shot", _JOB, "Where everything is written.", changes_result=False
    )
    resume: bool = option(
        False,
        _JOB,
        "Go on from the checkpoints in --out_dir; finished parts are not repeated.",
        changes_result=False,
    )
    keep_checkpoints: int = option(
        2,
        _JOB,
        "How many of the newest checkpoints of a run to keep.",
        minimum=1,
        changes_result=False,
    )
    eval_batch: int = option(
        500,
        _JOB,
        "Episodes evaluated in one call: bounds memory.",
        minimum=1,
        changes_result=False,
    )
    distance_table: str = option(
        "auto",
        _JOB,
        "Compute the distances between all meta-test samples once and look the episodes up: never, "
        "always, or where that is fewer pairs than the episodes have.",
        choices=("auto", "always", "never"),
        changes_result=False,
    )
    num_threads: int = option(
        4, _JOB, "Files read at the same time.", minimum=1, changes_result=False
    )
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if self.layout == "index":
            for name, what in (
                ("data_dir", "the folder of your data set"),
                ("class_splits", "a CSV file with the columns class,split"),
            ):
                if not getattr(self, name):
                    raise ValueError(
                        f"--{name}: needed with --layout=index; give {what} (or "
                        "--flagfile=experiments/flags/few_shot_demo.txt for the data that comes "
                        "with this)"
                    )
        elif self.data_dir or self.class_splits:
            raise ValueError(
                "--data_dir and --class_splits: not for --layout=spoken_digits, whose classes are "
                "split by --split_seed; leave them out or give --layout=index"
            )
        for name in ("shots", "matchings", "gammas", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"--{name}: must name at least one")
        if self.trained and not self.train_through:
            raise ValueError(
                "--train_through: names nothing to train the encoder through; give --encoder=none "
                "to evaluate the features as they are"
            )

    @property
    def trained(self) -> bool:
        """Whether there is an encoder to train."""
        return self.encoder != "none"

    def encoder_of(self, through: str) -> str:
        """Returns the kind of the encoder that is trained through a matching."""
        if through == ORDER_BLIND and self.order_blind_encoder != "same":
            return self.order_blind_encoder
        return self.encoder

    @property
    def gamma(self) -> float:
        """The temperature of the results."""
        return self.gammas[0]

    @property
    def max_shots(self) -> int:
        """Support samples a class in an evaluation episode; fewer shots use the first of them."""
        return max(self.shots)
