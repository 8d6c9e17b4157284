"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from experiments.seq.encoding import EncoderOptions, check_name
from experiments.seq.settings import METHOD, TRAINING, other_default
from experiments.shared.errors import UserError
from experiments.shared.job import JOB
from experiments.shared.options import option

_DATA = "Data"


@dataclasses.dataclass(frozen=True)
class Settings(EncoderOptions):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    FORMER: ClassVar[Mapping[str, str]] = {
        **EncoderOptions.FORMER,
        "--window": "--tau",
        "--support": "--num_support",
        "--center": "--center=median",
        "--nocenter": "--center=none",
        "--encoder=mobilenet": "--encoder=mobilenet_v2",
    }

    data_dir: str = option(
        "", _DATA, "Folder of your data, with --layout=index.", changes_result=False, path=True
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
    center: str = option(
        "none",
        _DATA,
        "median: subtract from every feature its median over the video (the whole of it, so scores "
        "come after its end): what is always there in a scene does not count.",
        choices=("none", "median"),
    )
    motion: bool = option(
        False,
        _DATA,
        "Add the absolute change of every feature since the row before, so that a classifier of "
        "single frames can see motion; doubles the features.",
    )
    encoder: str = option(
        "mobilenet_v2",
        _DATA,
        "Features of the planted layout: mobilenet_v2 (1280, frozen; of the frames as they are), "
        "pixels (mean colours of a 12 x 16 grid), or an encoder of pictures by its name, to whose "
        "size frames are scaled (thumbnail, onnx:FILE, torchscript:FILE, torch:FILE, "
        "transformers:FOLDER, MODULE:FUNCTION; see experiments/vision/encoders.py).",
    )
    plant_seed: int = option(
        0, _DATA, "Seed of the planted events (planted layout only).", minimum=0
    )
    train_clips: int = option(
        32, _DATA, "Clips cut from the first part of the planted video, to train on.", minimum=2
    )
    test_clips: int = option(16, _DATA, "Clips cut from its second part, to test on.", minimum=2)

    tau: int = other_default("tau", 16)
    num_support: int = other_default("num_support", 2)
    alpha: float = other_default("alpha", 1.0)
    max_speed: float = option(
        2.0,
        METHOD,
        "A training window is played at a speed from 1/this to this, features interpolated "
        "between rows; 1: as recorded.",
        minimum=1,
    )

    epochs: int = other_default("epochs", 20)
    steps_per_epoch: int = other_default("steps_per_epoch", 25)
    batch_size: int = option(16, TRAINING, "Query windows a step, half of each class.", minimum=2)

    out_dir: str = option(
        "runs/seq_anomaly",
        JOB,
        "Folder where everything is written.",
        changes_result=False,
        path=True,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not (self.predict or self.layout == "planted" or self.data_dir):
            raise UserError(
                "--data_dir: needed with --layout=index; give the folder of your features (or "
                "--flagfile=experiments/flags/seq_anomaly_demo.txt for the data that comes with "
                "this)"
            )
        check_name(self.encoder, self.encoder_weights)
        if self.layout == "planted" and self.protocol == "snippet":
            raise UserError("--protocol=snippet: the planted layout has one row a frame only")
        if self.batch_size % 2:
            raise UserError(f"--batch_size={self.batch_size}: must be even, half of each class")

    @property
    def frames_per_row(self) -> int:
        """Frames of the video that one row of features stands for."""
        return self.snippet_frames if self.protocol == "snippet" else 1
