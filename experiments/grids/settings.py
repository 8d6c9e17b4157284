"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.shared.options import Options, option

TASKS = ("camera", "videos")
BASELINES = ("single_frame", "frame_average")

_DATA = "Data"
_MODEL = "Model"
_TRAINING = "Training"
_JOB = "The job and its output folder"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        ValueError: a value that its flag does not allow, or two that do not go together.
    """

    task: str = option(
        "videos",
        _DATA,
        "videos: the videos and labels of --data_dir; camera: tell the direction of a synthetic "
        "camera move over real frames of the clips that come with this repository.",
        choices=TASKS,
    )
    data_dir: str = option(
        "",
        _DATA,
        "With --task=videos: a folder with videos.csv (columns path,label,split; split is train "
        "or test).",
        changes_result=False,
    )
    min_frames: int = option(
        1,
        _DATA,
        "Videos with fewer frames are an error. The layer repeats a video that is shorter than "
        "its grids.",
        minimum=1,
    )
    source_frames: int = option(
        33,
        _DATA,
        "Frames kept of each video, sampled uniformly (camera: frames of the move; odd, so that "
        "there is a middle one).",
        minimum=1,
    )
    side: int = option(32, _DATA, "Height and width of frames and grids, in pixels.", minimum=8)
    input: str = option(
        "rgb",
        _DATA,
        "depth: one channel, the luminance, which stands in for the depth map of an RGB-D camera.",
        choices=("rgb", "depth"),
    )
    test_clip: str = option(
        "carphone",
        _DATA,
        "With --task=camera: the clip that is only tested on; the others are only trained on.",
        choices=("bikes", "bigbuckbunny", "carphone", "surveillance"),
    )
    num_train: int = option(
        6000, _DATA, "With --task=camera: moves to train on, all different.", minimum=1
    )
    num_test: int = option(1000, _DATA, "With --task=camera: moves to test on.", minimum=1)
    data_seed: int = option(0, _DATA, "With --task=camera: seed of the moves.", minimum=0)

    grids: tuple[int, ...] = option(
        (1, 2, 4), _MODEL, "N: cells along each side of a grid, one run each a seed.", minimum=1
    )
    arrangements: tuple[str, ...] = option(
        ("spatial", "temporal"),
        _MODEL,
        "spatial: each cell plays its own segment of the video (the paper's main results); "
        "temporal: each grid shows one segment. The same for N = 1.",
        choices=("spatial", "temporal"),
    )
    num_frames: int = option(2, _MODEL, "Grids of a video; their scores are averaged.", minimum=1)
    model: str = option(
        "resnet",
        _MODEL,
        "The spatial classifier: a small residual network, or a small vision transformer.",
        choices=("resnet", "vit"),
    )
    width: int = option(32, _MODEL, "Channels of its first stage.", minimum=4)
    baselines: tuple[str, ...] = option(
        BASELINES,
        _MODEL,
        "What to train beside, with the same classifier: on the middle frame alone, and on the "
        "average over --average_frames single frames, which does not see their order.",
        choices=BASELINES,
    )
    average_frames: int = option(
        8, _MODEL, "Frames of the baseline frame_average, sampled uniformly.", minimum=1
    )

    epochs: int = option(3, _TRAINING, "Passes over the training videos.", minimum=1)
    batch_size: int = option(32, _TRAINING, "Videos a step.", minimum=1)
    learning_rate: float = option(2e-3, _TRAINING, "Highest rate; a cosine to 0 by step.", above=0)
    warmup: float = option(
        0.1, _TRAINING, "Share of the steps in which the rate rises from 0 to it.", minimum=0
    )
    weight_decay: float = option(1e-2, _TRAINING, "AdamW's weight decay.", minimum=0)
    seeds: tuple[int, ...] = option(
        (0,), _TRAINING, "One run each: first weights and order of the videos.", minimum=0
    )

    out_dir: str = option(
        "runs/time_layer", _JOB, "Where everything is written.", changes_result=False
    )
    resume: bool = option(
        False,
        _JOB,
        "Go on from the checkpoints in --out_dir; finished runs are not repeated.",
        changes_result=False,
    )
    num_threads: int = option(
        4,
        _JOB,
        "Videos decoded at the same time, ahead of the training; 0 for data in memory.",
        minimum=0,
        changes_result=False,
    )
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if self.task == "videos" and not self.data_dir:
            raise ValueError(
                "--data_dir: needed with --task=videos; give the folder of your videos (or "
                "--flagfile=experiments/flags/time_layer_demo.txt for those that come with this)"
            )
        if self.task == "camera" and self.source_frames % 2 == 0:
            raise ValueError(
                f"--source_frames={self.source_frames}: must be odd with --task=camera, because "
                "the middle frame is where all moves look the same"
            )
        if self.warmup >= 1:
            raise ValueError(f"--warmup={self.warmup}: must be less than 1, a share of the steps")
        for n in self.grids:
            if self.side % n:
                raise ValueError(
                    f"--side={self.side}: must be divisible by each of --grids, got {n}"
                )
        if not self.grids or not self.arrangements or not self.seeds:
            raise ValueError("--grids, --arrangements and --seeds must each name at least one")

    @property
    def channels(self) -> int:
        """Channels of a frame."""
        return 3 if self.input == "rgb" else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of frames and grids."""
        return self.side, self.side
