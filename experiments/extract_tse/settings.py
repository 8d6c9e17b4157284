"""The settings of the extraction: one frozen dataclass, whose fields are also the flags."""

import dataclasses
import re

from experiments.extract_tse.windows import Windows
from experiments.shared.errors import UserError
from experiments.shared.options import option
from experiments.shared.processes import ClusterOptions
from experiments.vision import encoder_options

_DATA = "Videos"
_ENCODER = "Encoder"
_WINDOWS = "Windows and pictures"
_JOB = "The job and its output folder"
_SHARD = re.compile(r"([0-9]{1,6})/([1-9][0-9]{0,5})")


@dataclasses.dataclass(frozen=True)
class Settings(ClusterOptions):
    """Everything the extraction can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    videos: str = option(
        "",
        _DATA,
        "CSV file with the columns path, split (train, val or test) and label, as `python -m "
        "experiments.make_list` writes it; further columns are kept. Paths are relative to its "
        "folder.",
        changes_result=False,
        path=True,
    )
    outside_paths: bool = option(
        False, _DATA, "Allow paths that lead out of the list's folder.", changes_result=False
    )
    encoder: str = option(
        "mobilenet_v2",
        _ENCODER,
        "What turns the pictures of a window into features, by its name: see "
        "experiments/vision/encoders.py.",
    )
    weights: str = option(
        "",
        _ENCODER,
        "File with the encoder's weights; empty: those it comes with.",
        changes_result=False,  # their digest is a part of the encoder's identity
        path=True,
    )
    size: int = option(
        0, _ENCODER, "Side of the encoder's pictures; 0: as it was trained.", minimum=0
    )
    frames: int = option(
        0,
        _ENCODER,
        "Frames that the encoder takes of each window; 0: as it was trained.",
        minimum=0,
    )
    logits: bool = option(
        False, _ENCODER, "Add the encoder's logits to its embedding, where it has them."
    )
    allow_pickle: bool = encoder_options.allow_pickle(_ENCODER)
    batch_size: int = option(
        32,
        _ENCODER,
        "Windows (of encoders of single pictures: frames) that are encoded at once, of several "
        "videos where one does not fill it.",
        minimum=1,
    )
    window: str = option(
        "16",
        _WINDOWS,
        "Width of the windows: a number of frames, or a part of the video's length such as L/5.",
    )
    stride: str = option("4", _WINDOWS, "From one row to the next: as --window, such as L/40.")
    windows: tuple[str, ...] = option(
        (),
        _WINDOWS,
        "Several widths, such as 16,32,64,L, around the same frame; their features stand side by "
        "side. Used in place of --window.",
    )
    crop: str = option(
        "center",
        _WINDOWS,
        "center: scale the shorter side and cut the middle; stretch: scale both sides, whatever "
        "the aspect.",
        choices=("center", "stretch"),
    )
    max_pixels: int = option(
        50_000_000,
        _WINDOWS,
        "Videos with larger pictures are not decoded.",
        minimum=1,
        changes_result=False,
    )
    allow_truncated: bool = option(
        False,
        _DATA,
        "Use what there is of files that have less than nine tenths of the frames that their "
        "header names.",
        changes_result=False,
    )
    out_dir: str = option(
        "tse", _JOB, "Folder where everything is written.", changes_result=False, path=True
    )
    dtype: str = option("float16", _JOB, "How features are stored.", choices=("float16", "float32"))
    workers: int = option(
        -1,
        _JOB,
        "Processes that decode, ahead of the encoder; -1: one for each two cores, up to eight; 0: "
        "none, a thread of this process does it.",
        minimum=-1,
        changes_result=False,
    )
    max_memory: int = option(
        2048,
        _JOB,
        "Megabytes of pictures that a worker may hold. Videos whose windows overlap so much that "
        "they need more fail.",
        minimum=1,
        changes_result=False,
    )
    shard: str = option(
        "",
        _JOB,
        "K/N: do every N-th video of the list from row K on, K from 0 to N - 1; other calls, on "
        "other machines too, do the rest in the same folder. The last to end writes the index.",
        changes_result=False,
    )
    merge: bool = option(
        False, _JOB, "Extract nothing: write the index of what is there.", changes_result=False
    )
    verify: bool = option(
        False,
        _JOB,
        "Extract nothing: compare every file with the checksum that was noted when it was written. "
        "What differs is made anew by the next start.",
        changes_result=False,
    )
    traceback: bool = option(
        False, _JOB, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not self.videos:
            raise UserError(
                "--videos: needed; give a CSV file with the columns path,label,split (python -m "
                "experiments.make_list makes it)"
            )
        self.layout  # noqa: B018, it raises
        self.shard_of()
        if self.windows and self.window != type(self).window:
            raise UserError("--window and --windows: give one of them")
        if self.merge and self.verify:
            raise UserError("--merge and --verify: give one of them")
        if self.shard and self.is_cluster:
            raise UserError("--shard and --distributed: give one of them")

    @property
    def layout(self) -> Windows:
        """How windows are laid over a video."""
        return Windows.parse(self.window, self.windows, self.stride)

    def shard_of(self) -> tuple[int, int]:
        """Returns (K, N) of `--shard`, (0, 1) without it."""
        match = _SHARD.fullmatch(self.shard or "0/1")
        number, count = map(int, match.groups()) if match else (1, 1)
        if number >= count:
            raise UserError(f"--shard={self.shard}: must be K/N, K from 0 to N - 1, such as 0/8")
        return number, count
