"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses
import os
from pathlib import Path

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option

FORMATS = ("folders", "kinetics", "ssv2", "hmdb51", "ucf101", "msad")
INDEX = "videos.csv"

_DATA = "Videos and annotations"
_LIST = "The list"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    format: str = option(
        "folders",
        _DATA,
        "Where classes and splits are written: folders: in the names of the folders, "
        "train/<class>/, val/<class>/ and test/<class>/; otherwise in the annotation files of that "
        "data set.",
        choices=FORMATS,
    )
    videos: str = option("", _DATA, "Folder of the videos.", path=True)
    annotations: tuple[str, ...] = option(
        (),
        _DATA,
        "The annotation files. kinetics: CSV files with the columns "
        "label,youtube_id,time_start,time_end,split; ssv2: JSON lists, each with train, validation "
        "or test in its name; hmdb51: the folder testTrainMulti_7030_splits; ucf101: the folder "
        "ucfTrainTestlist; msad: anomaly_annotation.csv and the lists of the training and test "
        "videos. Files of a test split whose labels are not published cannot be used.",
    )
    label_map: str = option(
        "",
        _DATA,
        "labels.json of ssv2, the names of its classes by which all labels are checked; empty: no "
        "check.",
        path=True,
    )
    fold: int = option(
        1, _DATA, "Which of the published splits, of hmdb51 and ucf101 (1 to 3).", minimum=1
    )
    out: str = option(
        "", _LIST, f"File that is written; empty: {INDEX} in the folder of the videos.", path=True
    )
    overwrite: bool = option(False, _LIST, "Replace that file where it is there already.")
    strict: bool = option(
        False, _LIST, "End with an error where a video of the annotations is not on the disk."
    )
    traceback: bool = option(
        False, _LIST, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not self.videos:
            raise UserError("--videos: needed; give the folder of the videos")
        if self.format == "folders" and self.annotations:
            raise UserError(
                "--annotations: not used with --format=folders; name the data set by --format"
            )
        if self.format != "folders" and not self.annotations:
            raise UserError(f"--annotations: needed with --format={self.format}; see --help")
        if self.format in ("hmdb51", "ucf101") and len(self.annotations) > 1:
            raise UserError(f"--annotations: one folder with --format={self.format}; see --help")
        if self.label_map and self.format != "ssv2":
            raise UserError("--label_map: used with --format=ssv2 only")

    @property
    def annotation_files(self) -> list[Path]:
        """The annotation files or folders."""
        return [Path(os.path.expanduser(name)) for name in self.annotations]

    @property
    def list_file(self) -> Path:
        """The file that is written."""
        return Path(self.out) if self.out else Path(self.videos) / INDEX
