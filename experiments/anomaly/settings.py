"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.shared.options import Options, option

METHODS = ("baseline", "trajectory", "seq", "seq_no_align", "seq_no_smooth")

_DATA = "Data"
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
        "", _DATA, "Folder of your data, with --layout=index.", changes_result=False
    )
    layout: str = option(
        "index",
        _DATA,
        "index: index.csv (id,path,split,labels) and one .npy [T, F] of features a video; planted: "
        "the real surveillance video that comes with this repository, with events planted in it.",
        choices=("index", "planted"),
    )
    protocol: str = option(
        "frame",
        _DATA,
        "frame: one row of features a frame; snippet: one row for every --snippet_frames frames, "
        "whose score counts for each of them. Labels and metrics are by frame in both.",
        choices=("frame", "snippet"),
    )
    snippet_frames: int = option(
        16, _DATA, "Frames of a snippet (the last one of a video may be shorter).", minimum=1
    )
    center: bool = option(
        False,
        _DATA,
        "Subtract from every feature its median over the video (the whole of it, so scores come "
        "after its end): what is always there in a scene does not count.",
    )
    motion: bool = option(
        False,
        _DATA,
        "Add the absolute change of every feature since the row before, so that a classifier of "
        "single frames can see motion; doubles the features.",
    )
    encoder: str = option(
        "mobilenet",
        _DATA,
        "Features of the planted layout: mobilenet (1280, frozen MobileNetV2) or pixels (mean "
        "colours of a 12 x 16 grid).",
        choices=("mobilenet", "pixels"),
    )
    plant_seed: int = option(
        0, _DATA, "Seed of the planted events (planted layout only).", minimum=0
    )
    train_clips: int = option(
        32, _DATA, "Clips cut from the first part of the planted video, to train on.", minimum=2
    )
    test_clips: int = option(16, _DATA, "Clips cut from its second part, to test on.", minimum=2)

    methods: tuple[str, ...] = option(
        METHODS,
        _METHOD,
        "What to train, one run each a seed. baseline: cross-entropy of frames drawn one by one; "
        "trajectory: of frames along windows, played at varied speed; seq: with alignment to the "
        "exemplars and smoothness; seq_no_align, seq_no_smooth: without that term.",
        choices=METHODS,
    )
    window: int = option(
        16, _METHOD, "tau, rows (frames or snippets) of a training window.", minimum=2
    )
    support: int = option(2, _METHOD, "N, windows of each class behind an exemplar.", minimum=1)
    alpha: float = option(1.0, _METHOD, "Weight of the cross-entropy.", above=0)
    beta: float = option(0.1, _METHOD, "Weight of the smoothness.", minimum=0)
    gamma: float = option(0.1, _METHOD, "Temperature of alignment and exemplars.", above=0)
    max_speed: float = option(
        2.0,
        _METHOD,
        "A training window is played at a speed from 1/this to this, features interpolated "
        "between rows; 1: as recorded.",
        minimum=1,
    )

    epochs: int = option(20, _TRAINING, "How often to evaluate and save.", minimum=1)
    episodes: int = option(25, _TRAINING, "Steps of the optimiser in an epoch.", minimum=1)
    batch_size: int = option(16, _TRAINING, "Query windows a step, half of each class.", minimum=2)
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
        "One run of every method for each: first weights and windows, the same for all methods.",
        minimum=0,
    )

    out_dir: str = option(
        "runs/seq_anomaly", _JOB, "Where everything is written.", changes_result=False
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
        "Score the frames of this .npy [T, F] with the newest checkpoint in --out_dir, write "
        "scores-NAME.csv there, and end. The other settings are read from that folder.",
        changes_result=False,
    )
    predict_method: str = option(
        "",
        _OTHER,
        "Which method scores; by default seq, or the last one trained.",
        choices=("", *METHODS),
        changes_result=False,
    )
    predict_seed: int = option(
        -1,
        _OTHER,
        "Which seed scores; -1: the first one trained.",
        minimum=-1,
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not (self.predict or self.layout == "planted" or self.data_dir):
            raise ValueError(
                "--data_dir: needed with --layout=index; give the folder of your features (or "
                "--flagfile=experiments/flags/seq_anomaly_demo.txt for the data that comes with "
                "this)"
            )
        if self.layout == "planted" and self.protocol == "snippet":
            raise ValueError("--protocol=snippet: the planted layout has one row a frame only")
        if self.batch_size % 2:
            raise ValueError(f"--batch_size={self.batch_size}: must be even, half of each class")
        if not self.methods or not self.seeds:
            raise ValueError("--methods and --seeds must each name at least one")

    @property
    def frames_per_row(self) -> int:
        """Frames of the video that one row of features stands for."""
        return self.snippet_frames if self.protocol == "snippet" else 1
