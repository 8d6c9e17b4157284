"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from experiments.shared.errors import UserError
from experiments.shared.job import JOB, OTHER, JobOptions
from experiments.shared.options import option

LAYOUTS = ("camera", "videos")
BASELINES = ("single_frame", "frame_average")
VIT_PATCHES = 8  # along each side of the picture

_DATA = "Data"
_MODEL = "Model"
_TRAINING = "Training"
_MOST_FRAMES = 46340  # of a video in grids, see `tempalign.time_layer`


@dataclasses.dataclass(frozen=True)
class Settings(JobOptions):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    FORMER: ClassVar[Mapping[str, str]] = {"--task": "--layout"}

    layout: str = option(
        "videos",
        _DATA,
        "videos: the videos and labels of --data_dir; camera: tell the direction of a synthetic "
        "camera move over real frames of the clips that come with this repository.",
        choices=LAYOUTS,
    )
    data_dir: str = option(
        "",
        _DATA,
        "With --layout=videos: a folder with videos.csv (columns path,label,split; split is train, "
        "val or test).",
        changes_result=False,
        path=True,
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
        "With --layout=camera: the clip that is only tested on; the others are only trained on.",
        choices=("bikes", "bigbuckbunny", "carphone", "surveillance"),
    )
    num_train: int = option(
        6000, _DATA, "With --layout=camera: moves to train on, all different.", minimum=1
    )
    num_test: int = option(1000, _DATA, "With --layout=camera: moves to test on.", minimum=1)
    data_seed: int = option(0, _DATA, "With --layout=camera: seed of the moves.", minimum=0)

    grids: tuple[int, ...] = option(
        (1, 2, 4),
        _MODEL,
        "N: cells along each side of a grid, one run each a seed.",
        minimum=1,
        grows=True,
    )
    arrangements: tuple[str, ...] = option(
        ("spatial", "temporal"),
        _MODEL,
        "spatial: each cell plays its own segment of the video (the paper's main results); "
        "temporal: each grid shows one segment. The same for N = 1.",
        choices=("spatial", "temporal"),
        grows=True,
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
        grows=True,
    )
    average_frames: int = option(
        8, _MODEL, "Frames of the baseline frame_average, sampled uniformly.", minimum=1
    )

    epochs: int = option(
        3,
        _TRAINING,
        "Passes over the training videos. A finished job that is resumed with more goes on, at the "
        "learning rates of the new number.",
        minimum=1,
        grows=True,
    )
    batch_size: int = option(32, _TRAINING, "Videos a step.", minimum=1)
    learning_rate: float = option(2e-3, _TRAINING, "Highest rate; a cosine to 0 by step.", above=0)
    warmup: float = option(
        0.1, _TRAINING, "Share of the steps in which the rate rises from 0 to it.", minimum=0
    )
    weight_decay: float = option(1e-2, _TRAINING, "AdamW's weight decay.", minimum=0)
    chosen_on: str = option(
        "",
        _TRAINING,
        "A sentence for the report: on which data settings such as these were chosen.",
        changes_result=False,
    )
    seeds: tuple[int, ...] = option(
        (0,),
        _TRAINING,
        "One run of everything for each: first weights and order of the videos. A job that is "
        "resumed with other seeds has both.",
        minimum=0,
        grows=True,
    )

    out_dir: str = option(
        "runs/time_layer",
        JOB,
        "Folder where everything is written.",
        changes_result=False,
        path=True,
    )
    check_data: bool = option(
        True,
        JOB,
        "Decode every video once before training, so that a damaged file is known by then.",
        changes_result=False,
    )
    num_threads: int = option(
        4,
        JOB,
        "Threads that decode videos, up to a batch ahead of the training; 0 reads in the main "
        "thread, best for data in memory.",
        minimum=0,
        changes_result=False,
    )

    predict: str = option(
        "",
        OTHER,
        "Classify this video, all videos of a folder, or those of a CSV file with a column path, "
        "with the newest checkpoint in --out_dir, and end. The settings of the run are read from "
        "that folder.",
        changes_result=False,
        path=True,
    )
    predict_method: str = option(
        "",
        OTHER,
        "Which run classifies: the name of its folder without the seed, such as single_frame or "
        "TIME_N2_spatial; empty: the last one trained.",
        changes_result=False,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not self.predict:
            self._check_data()
        self._check_model()

    def _check_data(self) -> None:
        if self.layout == "videos" and not self.data_dir:
            raise UserError(
                "--data_dir: needed with --layout=videos; give the folder of your videos (or "
                "--flagfile=experiments/flags/time_layer_demo.txt for those that come with this)"
            )
        if self.layout == "camera" and self.source_frames % 2 == 0:
            raise UserError(
                f"--source_frames={self.source_frames}: must be odd with --layout=camera, because "
                "the middle frame is where all moves look the same"
            )

    def _check_model(self) -> None:
        if self.warmup >= 1:
            raise UserError(f"--warmup={self.warmup}: must be less than 1, a share of the steps")
        if not self.grids or not self.arrangements or not self.seeds:
            raise UserError("--grids, --arrangements and --seeds must each name at least one")
        for n in self.grids:
            if self.side % n:
                raise UserError(
                    f"--side={self.side}: must be divisible by each of --grids, got {n}"
                )
        if self.num_frames * max(self.grids) ** 2 > _MOST_FRAMES:
            raise UserError(
                f"--num_frames={self.num_frames}: times N^2 must be at most {_MOST_FRAMES}, but "
                f"--grids has N={max(self.grids)}"
            )
        if self.model == "vit" and self.side % VIT_PATCHES:
            raise UserError(
                f"--side={self.side}: must be divisible by {VIT_PATCHES} with --model=vit"
            )
        if self.model == "vit" and self.width % 2:
            raise UserError(f"--width={self.width}: must be even with --model=vit")

    @property
    def channels(self) -> int:
        """Channels of a frame."""
        return 3 if self.input == "rgb" else 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of frames and grids."""
        return self.side, self.side
