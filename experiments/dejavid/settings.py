"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from experiments.shared.errors import UserError
from experiments.shared.job import JOB, OTHER, JobOptions
from experiments.shared.options import option
from experiments.vision.encoder_options import predict_allow_pickle, predict_weights

METHODS = ("frozen_weights", "weights_only", "full", "custom")
BASELINES = ("mean_1nn", "mean_logistic", "dtw_1nn", "dba_centroid", "encoder_logits")
SYNTHETIC = ("k400", "ssv2", "hmdb51")

_DATA = "Data"
_MODEL = "Model"
_TRAINING = "Training"


@dataclasses.dataclass(frozen=True)
class Settings(JobOptions):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    FORMER: ClassVar[Mapping[str, str]] = {
        "--variants": "--methods",
        "--predict_variant": "--predict_method",
    }

    data_dir: str = option(
        "",
        _DATA,
        "Folder of the data set, in the layout that --layout names.",
        changes_result=False,
        path=True,
    )
    layout: str = option(
        "index",
        _DATA,
        "index: index.csv (id,path,label,split) and one .npy [T, F] a video; dejavid: the files of "
        "the authors' code; ts: NAME_TRAIN.ts and NAME_TEST.ts of the UEA and UCR archives; "
        "spoken_digits: the real data that comes with this repository.",
        choices=("index", "dejavid", "ts", "spoken_digits"),
    )
    feats_dir: str = option(
        "",
        _DATA,
        "With --layout=dejavid: the folder of the extracted features, where it is not --data_dir.",
        changes_result=False,
        path=True,
    )
    split_seed: int = option(
        0, _DATA, "Seed of the split into training and test (spoken_digits only).", minimum=0
    )
    standardize: bool = option(
        False, _DATA, "Scale every feature to mean 0 and deviation 1 on the training split."
    )
    encoder_logits: int = option(
        0,
        _DATA,
        "How many equal blocks, each ending in one encoder logit a class, the features consist of: "
        "0 if they hold no logits, 1 for K400 and HMDB51, 4 for SSv2.",
        minimum=0,
    )
    pooling: str = option(
        "none",
        _DATA,
        "mean: replace every sequence by its temporal mean, one step long (the ablation without "
        "alignment; centroids then have one step too).",
        choices=("none", "mean"),
    )

    num_steps: int = option(8, _MODEL, "T_c, the time steps of a centroid.", minimum=1)
    methods: tuple[str, ...] = option(
        ("frozen_weights", "weights_only", "full"),
        _MODEL,
        "What to learn, one run each a seed. frozen_weights: the centroids; weights_only: the "
        "weights; full: both; custom: what --learn_centroids and --learn_weights say.",
        choices=METHODS,
        grows=True,
    )
    learn_centroids: bool = option(
        True, _MODEL, "Learn the centroids, with the method custom (no other reads this)."
    )
    learn_weights: bool = option(
        True, _MODEL, "Learn the weights, with the method custom (no other reads this)."
    )
    weight_init: str = option(
        "ones",
        _MODEL,
        "First values of learned weights: all 1, or normal log-weights. Weights that are not "
        "learned are always 1.",
        choices=("ones", "normal"),
    )
    diagonal: bool = option(False, _MODEL, "Let the warping path move diagonally too.")
    path_precision: str = option(
        "float32",
        _MODEL,
        "float16: on a GPU, look for the warping paths in float16, which takes about half as long; "
        "distances along them stay float32.",
        choices=("float32", "float16"),
    )
    fixed_epoch_paths: bool = option(
        True,
        _MODEL,
        "Let a copy of the parameters, renewed once an epoch, decide the warping paths.",
    )
    dba_samples: int = option(
        50, _MODEL, "Random training samples a class that its first centroid averages.", minimum=1
    )
    dba_iterations: int = option(
        100, _MODEL, "Most iterations of that average (DBA); it stops at a fixed point.", minimum=1
    )

    epochs: int = option(
        36,
        _TRAINING,
        "Passes over the training split. A finished job that is resumed with more goes on, at the "
        "learning rates of the new number.",
        minimum=1,
        grows=True,
    )
    batch_size: int = option(48, _TRAINING, "Samples a step, of all devices together.", minimum=1)
    length_buckets: int = option(
        0,
        _TRAINING,
        "Put videos of similar lengths into a batch, padded to one of so many lengths: 16 keep "
        "padding below 10 % where lengths vary. 0: any videos, padded to multiples of 16.",
        minimum=0,
    )
    class_shards: int = option(
        1,
        _TRAINING,
        "So many devices divide the classes among them: centroids, weights and optimiser state, "
        "for what does not fit on one. The others divide the batch.",
        minimum=1,
        changes_result=False,
    )
    learning_rate: float = option(
        1e-3, _TRAINING, "First learning rate of the log-weights; cosine to 0 by epoch.", above=0
    )
    centroid_lr_ratio: float = option(
        1 / 3, _TRAINING, "Learning rate of the centroids, as a fraction of that.", above=0
    )
    weight_decay: float = option(
        0.0,
        _TRAINING,
        "AdamW's weight decay (0 in the paper; its code runs with 0.01).",
        minimum=0,
    )
    seeds: tuple[int, ...] = option(
        (0,),
        _TRAINING,
        "One run of every method for each: samples behind the first centroids, first weights, "
        "order of the batches. A job that is resumed with other seeds has both.",
        minimum=0,
        grows=True,
    )

    out_dir: str = option(
        "runs/dejavid", JOB, "Folder where everything is written.", changes_result=False, path=True
    )
    baselines: tuple[str, ...] = option(
        ("mean_1nn", "mean_logistic", "dba_centroid"),
        JOB,
        "Which to report beside the runs (empty: none). dtw_1nn compares every test sequence with "
        "every training sequence: for small data. encoder_logits needs --encoder_logits.",
        choices=BASELINES,
        grows=True,
    )
    check_data: bool = option(
        True,
        JOB,
        "Read every sequence once before training, so that a damaged file is known by then.",
        changes_result=False,
    )
    num_threads: int = option(
        4,
        JOB,
        "Batches read ahead, each by a thread; 0 reads in the main thread, best for small data.",
        minimum=0,
        changes_result=False,
    )

    predict: str = option(
        "",
        OTHER,
        "Classify this .npy [T, F] or .pt file, this video, all of a folder, or those of a CSV "
        "file with a column path, with the newest checkpoint in --out_dir, and end. The settings "
        "of the run are read from that folder. Videos need a run on data that "
        "experiments.extract_tse made; of a folder they are taken where it holds no sequences.",
        changes_result=False,
        path=True,
    )
    encoder: str = option(
        "",
        OTHER,
        "With --predict of videos: the encoder of the training data, where that is a file or code "
        "(a run folder cannot ask for them); the names are those of experiments.extract_tse.",
        changes_result=False,
    )
    encoder_weights: str = predict_weights()
    allow_pickle: bool = predict_allow_pickle()
    predict_pictures: int = option(
        8,
        OTHER,
        "With --predict of videos: of how many, the first ones, to draw which moments each step of "
        "the centroid found, beside that of the runner-up.",
        minimum=0,
        changes_result=False,
    )
    predict_method: str = option(
        "",
        OTHER,
        "Which method classifies; by default full, or the last one trained.",
        choices=("", *METHODS),
        changes_result=False,
    )
    synthetic: str = option(
        "",
        OTHER,
        "Measure steps/s of the training step on one device, on random data of this data set's "
        "shapes, and end.",
        choices=("", *SYNTHETIC),
        changes_result=False,
    )
    synthetic_steps: int = option(
        0,
        OTHER,
        "Steps to measure; 0: as many as fit in about a minute, and at least 3.",
        minimum=0,
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        self._check_together()

    def _check_together(self) -> None:
        if self.synthetic and self.predict:
            raise UserError("--synthetic and --predict are two different jobs: give one of them")
        if not (self.synthetic or self.predict or self.layout == "spoken_digits" or self.data_dir):
            raise UserError(
                f"--data_dir: needed with --layout={self.layout}; give the folder of your data set "
                "(or --flagfile=experiments/flags/demo.txt for the data that comes with this)"
            )
        if "custom" not in self.methods:
            for name in ("learn_centroids", "learn_weights"):
                if not getattr(self, name):
                    raise UserError(
                        f"--{name}=false: only the method custom reads it, but --methods is "
                        f"{','.join(self.methods)}; add --methods=custom"
                    )
        elif not (self.learn_centroids or self.learn_weights):
            raise UserError(
                "--learn_centroids=false --learn_weights=false: the method custom would learn "
                "nothing; leave one of them true"
            )
        if not self.methods or not self.seeds:
            raise UserError("--methods and --seeds must each name at least one")
        if "encoder_logits" in self.baselines and not self.encoder_logits:
            raise UserError(
                "--baselines=encoder_logits: needs --encoder_logits, the number of blocks of the "
                "features that end in the encoder's logits"
            )

    @property
    def centroid_steps(self) -> int:
        """T_c as the head has it: `num_steps`, or 1 where pooling leaves one step."""
        return 1 if self.pooling == "mean" else self.num_steps

    def learned(self, method: str) -> tuple[str, ...]:
        """Returns the names of the head's parameters that `method` learns."""
        centroids, weights = {
            "frozen_weights": (True, False),
            "weights_only": (False, True),
            "full": (True, True),
            "custom": (self.learn_centroids, self.learn_weights),
        }[method]
        return ("centroids",) * centroids + ("log_weights",) * weights
