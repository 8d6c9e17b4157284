"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from experiments.shared.errors import UserError
from experiments.shared.job import JOB, OTHER, JobOptions
from experiments.shared.options import option
from experiments.vision.depth import DepthRange
from experiments.vision.trunks import FORMS, NAMES, PRECISIONS

LAYOUTS = ("camera", "videos")
INPUTS = ("rgb", "luminance", "depth")
BASELINES = ("single_frame", "frame_average")
SMALL_MODELS = ("resnet", "vit")
VIT_PATCHES = 8  # along each side of the picture

_OF_TRUNKS = (
    "weights",
    "trained",
    "last_stages",
    "trunk_rate",
    "pooling",
    "precision",
    "remat",
)
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
        "val or test). With --input=depth a path may be a folder of numbered PNGs.",
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
    side: int = option(
        32,
        _DATA,
        "Height and width of frames and grids, in pixels, divisible by each N of --grids. 224 is "
        "usual for mobilenet_v2, resnet50 and vit_b16, which were trained on it; it is divisible "
        "by 1, 2, 4, 7 and 8.",
        minimum=8,
    )
    input: str = option(
        "rgb",
        _DATA,
        "luminance: one channel, the brightness of ordinary videos. depth: one channel, measured "
        "distances in videos of one grey channel with up to 16 bits (such as gray16le in FFV1) or "
        "in folders of numbered PNGs; it needs --depth_range.",
        choices=INPUTS,
    )
    depth_range: tuple[float, ...] = option(
        (),
        _DATA,
        "near,far of --input=depth, in the units of the files, mostly millimetres: distances from "
        "near to far become 0 to 1, others the nearer end of the two. Where a file has 0 nothing "
        "was measured: such pixels stay 0 and are left out when pictures are scaled down.",
        minimum=0,
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
        "The spatial classifier: resnet or vit, small ones with random weights; or a trunk and a "
        "linear layer: mobilenet_v2 (its weights come with this repository), resnet50, vit_b16, or "
        "MODULE:FACTORY, code of your own (see experiments/vision/trunks/foreign.py). Trunks get "
        "pictures in [0, 1]; one channel is repeated three times.",
    )
    width: int = option(32, _MODEL, "Channels of the first stage of resnet and vit.", minimum=4)
    weights: str = option(
        "",
        _MODEL,
        "First weights of a trunk: a local file of torchvision's (.pth, .safetensors or .npz); "
        "random; empty: those that come with this repository for mobilenet_v2, random ones else.",
        changes_result=False,  # what is in the file does, and is part of the job's identity
        path=True,
    )
    trained: str = option(
        "all",
        _MODEL,
        "Which part of a trunk is trained beside the linear layer: all, its last stages, or none.",
        choices=("all", "last", "none"),
    )
    last_stages: int = option(
        1,
        _MODEL,
        "With --trained=last: how many stages (mobilenet_v2 has 9, resnet50 5, vit_b16 13).",
        minimum=1,
    )
    trunk_rate: float = option(
        0.05,
        _MODEL,
        "Learning rate of a trunk as a share of --learning_rate, which the linear layer has. "
        "Pretrained weights want a small one: with the default 1e-4 in all; five times as much "
        "made mobilenet_v2 forget what it knew.",
        above=0,
    )
    pooling: str = option(
        "mean",
        _MODEL,
        "What the linear layer takes from a trunk. mean: its features, for convolutions the mean "
        "over the picture, as the trunk is without the TIME layer. places: all places of the last "
        "map of features, so that it knows where in the grid, which is when, something was seen.",
        choices=("mean", "places"),
    )
    precision: str = option(
        "float32",
        _MODEL,
        "What a trunk computes in. Its parameters, scores and loss are float32 in both.",
        choices=PRECISIONS,
    )
    remat: bool = option(
        False,
        _MODEL,
        "Compute what is inside the stages of a trunk again in the backward pass: it takes about a "
        "third more time and much less memory.",
    )
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
            self._check_trunk()
        self._check_model()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_json` wrote; "depth" without a range was the luminance."""
        if values.get("input") == "depth" and "depth_range" not in values:
            values = {**values, "input": "luminance"}
        return super().from_json(values)

    def _check_data(self) -> None:
        if self.input == "depth":
            self._check_depth()
        elif self.depth_range:
            raise UserError(f"--depth_range: goes with --input=depth, not --input={self.input}")
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

    def _check_depth(self) -> None:
        if not self.depth_range:
            raise UserError(
                "--input=depth: are measured distances now, and needs --depth_range=near,far in "
                "the units of the files, such as 500,4500 of millimetres; what it was before, the "
                "brightness of ordinary videos, is now written --input=luminance"
            )
        if len(self.depth_range) != 2 or self.depth_range[0] >= self.depth_range[1]:
            shown = ",".join(f"{value:g}" for value in self.depth_range)
            raise UserError(f"--depth_range={shown}: must be two numbers, near before far")
        if self.layout == "camera":
            raise UserError(
                "--input=depth: nobody measured the depth of the clips of --layout=camera; give "
                "--input=luminance"
            )

    def _check_trunk(self) -> None:
        if self.has_trunk:
            if not all(self.model.partition(":")) and self.model not in NAMES:
                allowed = ", ".join((*SMALL_MODELS, *NAMES, *FORMS))
                raise UserError(f"--model={self.model}: allowed: {allowed}")
            if self.pooling == "places" and self.model == "vit_b16":
                raise UserError("--pooling=places: vit_b16 has one token for the whole picture")
            return
        fields = {field.name: field.default for field in dataclasses.fields(self)}
        for name in _OF_TRUNKS:
            if getattr(self, name) != fields[name]:
                raise UserError(
                    f"--{name}: goes with a trunk ({', '.join((*NAMES, *FORMS))}), not with "
                    f"--model={self.model}"
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

    @property
    def limits(self) -> DepthRange | None:
        """Which distances are told apart; None where they are not measured."""
        return DepthRange(*self.depth_range) if self.input == "depth" else None

    @property
    def has_trunk(self) -> bool:
        """Whether the classifier is a trunk with a linear layer."""
        return self.model not in SMALL_MODELS
