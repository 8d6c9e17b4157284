"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.shared.options import Options, option

VARIANTS = ("frozen_weights", "weights_only", "full", "custom")
BASELINES = ("mean_1nn", "mean_logistic", "dtw_1nn", "dba_centroid", "encoder_logits")
SYNTHETIC = ("k400", "ssv2", "hmdb51")

_DATA = "Data"
_MODEL = "Model"
_TRAINING = "Training"
_JOB = "The job and its output folder"
_OTHER = "Instead of training"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        ValueError: a value that its flag does not allow, or two that do not go together.
    """

    data_dir: str = option(
        "",
        _DATA,
        "Folder of the data set, in the layout that --layout names.",
        changes_result=False,
    )
    layout: str = option(
        "index",
        _DATA,
        "index: index.csv (id,path,label,split) and one .npy [T, F] a video; dejavid: the files of "
        "the authors' code; spoken_digits: the real data that comes with this repository.",
        choices=("index", "dejavid", "spoken_digits"),
    )
    feats_dir: str = option(
        "",
        _DATA,
        "With --layout=dejavid: the folder of the extracted features, where it is not --data_dir.",
        changes_result=False,
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
    variants: tuple[str, ...] = option(
        ("frozen_weights", "weights_only", "full"),
        _MODEL,
        "What to learn, one run each a seed. frozen_weights: the centroids; weights_only: the "
        "weights; full: both; custom: what --learn_centroids and --learn_weights say.",
        choices=VARIANTS,
    )
    learn_centroids: bool = option(
        True, _MODEL, "Learn the centroids, in the variant custom (no other reads this)."
    )
    learn_weights: bool = option(
        True, _MODEL, "Learn the weights, in the variant custom (no other reads this)."
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

    epochs: int = option(36, _TRAINING, "Passes over the training split.", minimum=1)
    batch_size: int = option(48, _TRAINING, "Samples a step.", minimum=1)
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
        "One run of every variant for each: samples behind the first centroids, first weights, "
        "order of the batches.",
        minimum=0,
    )

    out_dir: str = option(
        "runs/dejavid", _JOB, "Where everything is written.", changes_result=False
    )
    resume: bool = option(
        False,
        _JOB,
        "Go on from the checkpoints in --out_dir; finished runs are not repeated.",
        changes_result=False,
    )
    keep_checkpoints: int = option(
        2,
        _JOB,
        "How many of the newest checkpoints of a run to keep.",
        minimum=1,
        changes_result=False,
    )
    baselines: tuple[str, ...] = option(
        ("mean_1nn", "mean_logistic", "dba_centroid"),
        _JOB,
        "Which to report beside the runs (empty: none). dtw_1nn compares every test sequence with "
        "every training sequence: for small data. encoder_logits needs --encoder_logits.",
        choices=BASELINES,
    )
    check_data: bool = option(
        True,
        _JOB,
        "Read every sequence once before training, so that a damaged file is known by then.",
        changes_result=False,
    )
    num_threads: int = option(
        4,
        _JOB,
        "Batches read ahead, each by a thread; 0 reads in the main thread, best for small data.",
        minimum=0,
        changes_result=False,
    )
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    predict: str = option(
        "",
        _OTHER,
        "Classify this .npy [T, F] with the newest checkpoint in --out_dir, and end. The other "
        "settings are read from that folder.",
        changes_result=False,
    )
    predict_variant: str = option(
        "",
        _OTHER,
        "Which variant classifies; by default full, or the last one trained.",
        choices=("", *VARIANTS),
        changes_result=False,
    )
    predict_seed: int = option(
        -1,
        _OTHER,
        "Which seed classifies; -1: the first one trained.",
        minimum=-1,
        changes_result=False,
    )
    synthetic: str = option(
        "",
        _OTHER,
        "Measure steps/s of the training step on random data of this data set's shapes, and end.",
        choices=("", *SYNTHETIC),
        changes_result=False,
    )
    synthetic_steps: int = option(
        0,
        _OTHER,
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
            raise ValueError("--synthetic and --predict are two different jobs: give one of them")
        if not (self.synthetic or self.predict or self.layout == "spoken_digits" or self.data_dir):
            raise ValueError(
                f"--data_dir: needed with --layout={self.layout}; give the folder of your data set "
                "(or --flagfile=experiments/flags/demo.txt for the data that comes with this)"
            )
        if "custom" not in self.variants:
            for name in ("learn_centroids", "learn_weights"):
                if not getattr(self, name):
                    raise ValueError(
                        f"--{name}=false: only the variant custom reads it, but --variants is "
                        f"{','.join(self.variants)}; add --variants=custom"
                    )
        elif not (self.learn_centroids or self.learn_weights):
            raise ValueError(
                "--learn_centroids=false --learn_weights=false: the variant custom would learn "
                "nothing; leave one of them true"
            )
        if not self.variants or not self.seeds:
            raise ValueError("--variants and --seeds must each name at least one")
        if "encoder_logits" in self.baselines and not self.encoder_logits:
            raise ValueError(
                "--baselines=encoder_logits: needs --encoder_logits, the number of blocks of the "
                "features that end in the encoder's logits"
            )

    @property
    def centroid_steps(self) -> int:
        """T_c as the head has it: `num_steps`, or 1 where pooling leaves one step."""
        return 1 if self.pooling == "mean" else self.num_steps

    def learned(self, variant: str) -> tuple[str, ...]:
        """Returns the names of the head's parameters that `variant` learns."""
        centroids, weights = {
            "frozen_weights": (True, False),
            "weights_only": (False, True),
            "full": (True, True),
            "custom": (self.learn_centroids, self.learn_weights),
        }[variant]
        return ("centroids",) * centroids + ("log_weights",) * weights
