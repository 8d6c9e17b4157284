"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from experiments.few_shot.video_settings import VideoOptions
from experiments.shared.errors import UserError
from experiments.shared.job import JOB, OTHER
from experiments.shared.options import option

MATCHINGS: tuple[str, ...] = ("min", "mean", "diagonal", "dtw", "tam", "tam_symmetric")
ORDER_BLIND = "order_blind"
ENCODERS = ("none", "linear", "mlp")

_DATA = "Data"
_EPISODES = "Episodes and matching"
_TRAINING = "Encoder and meta-training"


@dataclasses.dataclass(frozen=True)
class Settings(VideoOptions):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"--center=sequence": "--center=mean"}

    data_dir: str = option(
        "",
        _DATA,
        "Folder of the data set: index.csv (id,path,label,split) and one .npy [T, F] a video. Its "
        "column split is not used here: --class_splits says what is trained and tested on.",
        changes_result=False,
        path=True,
    )
    class_splits: str = option(
        "",
        _DATA,
        "CSV file with the columns class,split: which classes are for meta-training (train), "
        "meta-validation (val) and meta-testing (test). Other classes are left out.",
        changes_result=False,
        path=True,
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
        "Subtract from every sequence its own mean or median over time, before segments are "
        "taken: what remains is how it moves.",
        choices=("none", "mean", "median"),
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
        "results, in a job that is resumed too, where new ones come behind the former; with more "
        "than one there is a sweep (Fig. 5), trained at each.",
        above=0,
        grows=True,
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
        "What is trained on top of the features of frames, frame by frame: nothing, a linear "
        "projection, or one with a hidden layer. (The paper trains the trunk and nothing on top.)",
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
        grows=True,
    )
    order_blind_encoder: str = option(
        "same",
        _TRAINING,
        "The encoder trained through order_blind: that of --encoder, or another. A linear one "
        "commutes with the temporal mean; mlp makes it a stronger rival.",
        choices=("same", "linear", "mlp"),
    )
    train_shots: int = option(1, _TRAINING, "Support samples a class in training.", minimum=1)
    epochs: int = option(
        20,
        _TRAINING,
        "Epochs; after each a checkpoint. A finished job that is resumed with more goes on, at the "
        "learning rates of the new number.",
        minimum=1,
        grows=True,
    )
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
        "One training for each: first weights and training episodes. A job that is resumed with "
        "other seeds has both.",
        minimum=0,
        grows=True,
    )

    out_dir: str = option(
        "runs/few_shot", JOB, "Folder where everything is written.", changes_result=False, path=True
    )
    eval_batch: int = option(
        500,
        JOB,
        "Episodes evaluated in one call: bounds memory.",
        minimum=1,
        changes_result=False,
    )
    distance_table: str = option(
        "auto",
        JOB,
        "Compute the distances between all meta-test samples once and look the episodes up: never, "
        "always, or where that is fewer pairs than the episodes have.",
        choices=("auto", "always", "never"),
        changes_result=False,
    )
    num_threads: int = option(
        4,
        JOB,
        "Files read at the same time; of videos, those of the next step while one is computed.",
        minimum=1,
        changes_result=False,
    )

    predict: str = option(
        "",
        OTHER,
        "Classify this video or .npy [T, F], all of a folder, or those of a CSV file with a column "
        "path, by those of --predict_support, and end. The settings are read from --out_dir. "
        "Videos need a run on videos, or one on features by experiments.extract_tse.",
        changes_result=False,
        path=True,
    )
    predict_support: str = option(
        "",
        OTHER,
        "With --predict: what to compare with, one or more a class. A folder with a folder of "
        "videos or .npy files for each class, or a CSV file with the columns path,label. The "
        "classes may be any, also such as nothing was trained on.",
        changes_result=False,
        path=True,
    )
    predict_method: str = option(
        "",
        OTHER,
        "Which trained encoder --predict uses, by what it was trained through; it is matched in "
        "the same way. By default tam, or the last one trained.",
        choices=("", *MATCHINGS, ORDER_BLIND),
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if self.predict:
            if not self.predict_support:
                raise UserError(
                    "--predict_support: needed with --predict; give a folder with a folder of "
                    "videos or .npy files for each class, or a CSV file with the columns path,label"
                )
        elif self.videos:
            self._check_frames()
        elif self.layout == "index":
            for name, what in (
                ("data_dir", "the folder of your data set"),
                ("class_splits", "a CSV file with the columns class,split"),
            ):
                if not getattr(self, name):
                    raise UserError(
                        f"--{name}: needed with --layout=index; give {what} (or --videos for "
                        "frames, or --flagfile=experiments/flags/few_shot_demo.txt for the data "
                        "that comes with this)"
                    )
        elif self.data_dir or self.class_splits:
            raise UserError(
                "--data_dir and --class_splits: not for --layout=spoken_digits, whose classes are "
                "split by --split_seed; leave them out or give --layout=index"
            )
        for name in ("shots", "matchings", "gammas", "seeds"):
            if not getattr(self, name):
                raise UserError(f"--{name}: must name at least one")
        if self.trained and not self.train_through:
            raise UserError(
                "--train_through: names nothing to train through; give --encoder=none (and, with "
                "--videos, --train_trunk=none) to evaluate the features as they are"
            )

    def _check_frames(self) -> None:
        """Refuses what is about stored features alone, in a job on videos."""
        self.check_videos(self.batch_episodes)
        for name in ("data_dir", "layout", "sampling", "center", "standardize"):
            default = {field.name: field.default for field in dataclasses.fields(self)}[name]
            if getattr(self, name) != default:
                raise UserError(
                    f"--{name}: is about stored features, and --videos are given; leave one out"
                )

    @property
    def trained(self) -> bool:
        """Whether there is anything to train, an encoder or a trunk."""
        return self.encoder != "none" or self.trains_trunk

    @property
    def trains_trunk(self) -> bool:
        """Whether a trunk is trained."""
        return bool(self.videos) and self.train_trunk != "none"

    def encoder_of(self, through: str) -> str:
        """Returns the kind of the encoder that is trained through a matching."""
        if through == ORDER_BLIND and self.order_blind_encoder != "same":
            return self.order_blind_encoder
        return self.encoder

    @property
    def gamma(self) -> float:
        """The temperature of the results; a job that grows keeps it."""
        return self.gammas[0]

    @property
    def max_shots(self) -> int:
        """Support samples a class in an evaluation episode; fewer shots use the first of them."""
        return max(self.shots)
