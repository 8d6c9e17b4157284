"""The settings of the arrow of time: one frozen dataclass, whose fields are also the flags."""

import dataclasses
from pathlib import Path

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option

_ROOT = Path(__file__).resolve().parents[1]
SHOTS = _ROOT / "data" / "shots"
FLAGFILE = _ROOT / "flags" / "arrow_of_time.txt"

_DATA = "Recordings and segments"
_FEATURES = "Features, as experiments.extract_tse has them"
_CLASSIFIERS = "Classifiers"
_JOB = "The job and its output folder"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    shots: str = option(
        "",
        _DATA,
        "Folder with a folder for each recording, which holds its shots: video files without cuts. "
        "Empty: those that come with this repository.",
        changes_result=False,  # their digests are a part of the job
        path=True,
    )
    segment_frames: int = option(16, _DATA, "Frames of a segment.", minimum=2)
    segment_stride: int = option(8, _DATA, "Frames from one segment to the next.", minimum=1)
    most_segments: int = option(
        24,
        _DATA,
        "Segments of a recording, evenly over all that it has, so that long ones do not decide.",
        minimum=1,
    )
    folds: int = option(
        0,
        _DATA,
        "Parts that recordings are divided into. Each is tested on once, by what was trained on "
        "the others. 0: each recording is one.",
        minimum=0,
    )
    encoder: str = option("mobilenet_v2", _FEATURES, "The encoder, by its name.")
    size: int = option(
        160, _FEATURES, "Side of the encoder's pictures; 0: as it was trained.", minimum=0
    )
    window: str = option("4", _FEATURES, "Width of the windows.")
    stride: str = option("1", _FEATURES, "From one window to the next.")
    workers: int = option(
        -1, _FEATURES, "Processes that decode; see there.", minimum=-1, changes_result=False
    )
    dejavid_flags: str = option(
        str(FLAGFILE),
        _CLASSIFIERS,
        "Flagfile of experiments.k400: which methods, seeds and baselines.",
        changes_result=False,  # experiments.k400 itself keeps its jobs apart
        path=True,
    )
    gamma: float = option(0.1, _CLASSIFIERS, "Temperature of TAM's soft minimum.", above=0)
    out_dir: str = option(
        "runs/arrow_of_time",
        _JOB,
        "Folder where everything is written.",
        changes_result=False,
        path=True,
    )
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not Path(self.dejavid_flags).is_file():
            raise UserError(f"--dejavid_flags={self.dejavid_flags}: no such file")

    @property
    def shots_folder(self) -> Path:
        """The folder of the recordings."""
        return Path(self.shots) if self.shots else SHOTS
