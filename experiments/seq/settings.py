"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.seq.augment import BORDERS
from experiments.seq.virtual_sequences import STARTS
from experiments.shared.options import Options, option

METHODS = ("baseline", "trajectory", "seq", "seq_no_align", "seq_no_smooth")
SWEEPS = ("num_support", "gamma", "alpha")
ENCODERS = ("mobilenet_v2", "pixels")

_DATA = "Data"
_SEQUENCES = "Virtual sequences and features"
_METHOD = "Methods"
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
        "", _DATA, "Folder of your images, with --layout=folder.", changes_result=False
    )
    layout: str = option(
        "folder",
        _DATA,
        "folder: train/<class>/ and test/<class>/ with image files, or images.csv (path,label,"
        "split); silhouettes: 10 classes of animals, which come with this repository; digits: "
        "scikit-learn's 8 x 8 digits.",
        choices=("folder", "silhouettes", "digits"),
    )
    image_size: int = option(
        224,
        _DATA,
        "Side of the square that images are scaled to cover, and whose middle is cut out.",
        minimum=8,
    )
    skip_bad: bool = option(
        False, _DATA, "Leave out images that do not decode (named and counted) instead of ending."
    )
    split_seed: int = option(
        0, _DATA, "Which images are for testing (silhouettes and digits only).", minimum=0
    )
    train_per_class: int = option(
        0,
        _DATA,
        "Train on so many images of each class, drawn anew for each seed; 0: on all.",
        minimum=0,
    )

    encoder: str = option(
        "mobilenet_v2",
        _SEQUENCES,
        "The frozen encoder: mobilenet_v2 (comes with this repository; 1280 features), pixels "
        "(their values; for tests), or MODULE:FUNCTION of your own, which is called with float32 "
        "[N, S, S, 3] in [0, 1] and returns [N, F].",
    )
    encoder_weights: str = option(
        "",
        _SEQUENCES,
        "Other weights of mobilenet_v2: a torch.save file of torchvision's model.",
        changes_result=False,
    )
    tau: int = option(7, _SEQUENCES, "Frames of a virtual sequence.", minimum=2)
    draws: int = option(
        4, _SEQUENCES, "Virtual sequences of each training image; each test image has one.",
        minimum=1,
    )  # fmt: skip
    start: str = option(
        "image",
        _SEQUENCES,
        "image: the first frame of a sequence is the image as it is; random: drawn as the last.",
        choices=STARTS,
    )
    border: str = option(
        "reflect",
        _SEQUENCES,
        "What is outside of an image that is turned or moved: its mirror image, its border pixels "
        "or black.",
        choices=BORDERS,
    )
    augment_seed: int = option(0, _SEQUENCES, "Seed of the virtual sequences.", minimum=0)

    methods: tuple[str, ...] = option(
        METHODS,
        _METHOD,
        "What to train, one run each a seed. baseline: cross-entropy of the original images; "
        "trajectory: of the temporal mean of virtual sequences; seq: with alignment to the "
        "exemplars and smoothness; seq_no_align, seq_no_smooth: without that term.",
        choices=METHODS,
    )
    num_support: int = option(4, _METHOD, "N, support sequences behind an exemplar.", minimum=1)
    queries: int = option(2, _METHOD, "Query images of each class in an episode.", minimum=1)
    classes_per_episode: int = option(
        0,
        _METHOD,
        "So many classes, drawn anew, are in an episode; 0: all. Scores are of all classes always. "
        "Time and memory of an episode grow with this number.",
        minimum=0,
    )
    alpha: float = option(0.1, _METHOD, "Weight of the cross-entropy.", above=0)
    beta: float = option(0.1, _METHOD, "Weight of the smoothness.", minimum=0)
    gamma: float = option(0.1, _METHOD, "Temperature of alignment and exemplars.", above=0)
    sweep: str = option(
        "",
        _METHOD,
        "Also train seq with other values of this one, or of each of the three (all); asked of a "
        "finished job (--resume), only those are trained.",
        choices=("", *SWEEPS, "all"),
        changes_result=False,
    )
    sweep_num_support: tuple[int, ...] = option(
        (1, 2, 3, 4, 5), _METHOD, "Values of --sweep=num_support.", minimum=1, changes_result=False
    )
    sweep_gamma: tuple[float, ...] = option(
        (0.01, 0.05, 0.1, 0.5, 1.0),
        _METHOD,
        "Values of --sweep=gamma.",
        above=0,
        changes_result=False,
    )
    sweep_alpha: tuple[float, ...] = option(
        (0.1, 1.0, 10.0, 100.0),
        _METHOD,
        "Values of --sweep=alpha.",
        above=0,
        changes_result=False,
    )

    epochs: int = option(10, _TRAINING, "How often to evaluate and save.", minimum=1)
    episodes: int = option(30, _TRAINING, "Steps of the optimiser in an epoch.", minimum=1)
    learning_rate: float = option(
        1e-3, _TRAINING, "First learning rate of AdamW; cosine to 0 by epoch.", above=0
    )
    weight_decay: float = option(0.01, _TRAINING, "AdamW's weight decay.", minimum=0)
    exemplar_iterations: int = option(
        10, _TRAINING, "Most iterations of the minimisation behind an exemplar.", minimum=1
    )
    seeds: tuple[int, ...] = option(
        (0,),
        _TRAINING,
        "One run of every method for each: first weights, training images and episodes, the same "
        "for all methods.",
        minimum=0,
    )

    out_dir: str = option(
        "runs/seq_images",
        _JOB,
        "Where everything is written, the features too (they are computed once).",
        changes_result=False,
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
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    predict: str = option(
        "",
        _OTHER,
        "Classify this image with the newest checkpoint in --out_dir, and end. The other settings "
        "are read from that folder.",
        changes_result=False,
    )
    predict_method: str = option(
        "",
        _OTHER,
        "Which method classifies; by default seq, or the last one trained.",
        choices=("", *METHODS),
        changes_result=False,
    )
    predict_seed: int = option(
        -1,
        _OTHER,
        "Which seed classifies; -1: the first one trained.",
        minimum=-1,
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not (self.predict or self.layout != "folder" or self.data_dir):
            raise ValueError(
                "--data_dir: needed with --layout=folder; give the folder of your images (or "
                "--flagfile=experiments/flags/seq_images_demo.txt for the data that comes with "
                "this)"
            )
        module, _, function = self.encoder.partition(":")
        if self.encoder not in ENCODERS and not (module and function):
            raise ValueError(
                f"--encoder={self.encoder}: allowed: {', '.join(ENCODERS)} or MODULE:FUNCTION"
            )
        if self.encoder_weights and self.encoder != "mobilenet_v2":
            raise ValueError("--encoder_weights: only with --encoder=mobilenet_v2")
        if self.encoder == "mobilenet_v2" and self.image_size < 32:
            raise ValueError(
                f"--image_size={self.image_size}: --encoder=mobilenet_v2 needs at least 32"
            )
        if not self.methods or not self.seeds:
            raise ValueError("--methods and --seeds must each name at least one")
        if self.sweep and "seq" not in self.methods:
            raise ValueError(f"--sweep={self.sweep}: needs seq among --methods")
        if self.classes_per_episode == 1:
            raise ValueError("--classes_per_episode=1: an episode needs two classes or more")

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the parameters that are swept."""
        return SWEEPS if self.sweep == "all" else (self.sweep,) * bool(self.sweep)

    @property
    def largest_support(self) -> int:
        """The largest N of this job."""
        swept = self.sweep_num_support if "num_support" in self.swept else ()
        return max((self.num_support, *swept))
