"""Segments of shots as video files, once forward and once reversed.

Both are written without loss and each frame by itself (FFV1, intra only), from the same decoded
frames: the one file holds, bit for bit, the pictures of the other in the opposite order. What a
codec does to pictures in the order of time cannot tell them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from experiments.arrow_of_time.settings import Settings
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.files import whole_file
from experiments.shared.progress import progress
from experiments.vision.video import SUFFIXES, count_packets, read_header, read_video

DIRECTIONS = ("forward", "reversed")
"""The classes."""

SUFFIX = ".mkv"
_USUAL_RATE = 12  # of files that do not say theirs; it changes nothing here
_DIGITS = 5


@dataclass(frozen=True)
class Segment:
    """Some consecutive frames of a shot.

    Attributes:
        recording: of which it is.
        shot: the file.
        first: its first frame there.
        count: how many it has.
    """

    recording: str
    shot: Path
    first: int
    count: int

    @property
    def name(self) -> str:
        """Tells it from all others, whichever way it runs."""
        return f"{self.recording}/{self.shot.stem}_{self.first:0{_DIGITS}}"


def find_shots(folder: Path) -> dict[str, list[Path]]:
    """Returns the shots of each recording, both sorted by name.

    Raises:
        MissingFileError: there is no such folder, or no video in its folders.
        UserError: two shots of a recording have one name but for their suffixes.
    """
    if not folder.is_dir():
        raise MissingFileError(f"--shots={folder}: no such folder")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.parent.name, []).append(path)
    if not found:
        raise MissingFileError(
            f"--shots={folder}: holds no video in a folder; each recording must have a folder of "
            "its shots"
        )
    for paths in found.values():
        stems = [path.stem for path in paths]
        twice = next((path for path in paths if stems.count(path.stem) > 1), None)
        if twice is not None:
            raise UserError(f"{twice}: another shot is called {twice.stem}, too; rename one")
    return found


def plan(shots: dict[str, list[Path]], settings: Settings) -> list[Segment]:
    """Returns the segments, by recording, shot and first frame.

    Raises:
        UserError: a shot is no video, or a recording has no shot of a segment's length.
    """
    chosen: list[Segment] = []
    for recording, paths in shots.items():
        found = []
        for path in paths:
            length = count_packets(path)
            starts = range(0, length - settings.segment_frames + 1, settings.segment_stride)
            found += [Segment(recording, path, first, settings.segment_frames) for first in starts]
        if not found:
            raise UserError(
                f"{paths[0].parent}: no shot has {settings.segment_frames} frames; give a smaller "
                "--segment_frames, or leave the recording out"
            )
        count = min(len(found), settings.most_segments)
        chosen += [found[place] for place in np.arange(count) * len(found) // count]
    return chosen


def segment_file(folder: Path, segment: Segment, direction: str) -> Path:
    """Returns where a segment is written; the folders are as experiments.make_list wants them."""
    return folder / "train" / direction / f"{segment.name}{SUFFIX}"


def write_segments(segments: Sequence[Segment], folder: Path) -> int:
    """Writes what is not there yet; returns how many files that was.

    Raises:
        UserError: a shot cannot be decoded, or a file cannot be written.
    """
    missing: dict[Path, list[Segment]] = {}
    for segment in segments:
        if not all(segment_file(folder, segment, way).is_file() for way in DIRECTIONS):
            missing.setdefault(segment.shot, []).append(segment)
    written = 0
    for shot, of_shot in progress(list(missing.items()), desc="cutting segments", unit="shots"):
        frames = read_video(shot)
        rate = round(read_header(shot).rate or _USUAL_RATE)
        for segment in of_shot:
            part = frames[segment.first : segment.first + segment.count]
            if len(part) < segment.count:
                raise UserError(f"{shot}: has {len(frames)} frames, but more packets; is it whole?")
            for direction, pictures in zip(DIRECTIONS, (part, part[::-1]), strict=True):
                write_video(segment_file(folder, segment, direction), pictures, rate)
                written += 1
    return written


def write_video(path: Path, frames: np.ndarray, rate: int) -> None:
    """Writes a video file without loss, each frame by itself.

    Args:
        path: of the file; its folder is made.
        frames: uint8 ``[T, H, W, 3]``, RGB.
        rate: frames a second.

    Raises:
        UserError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "wb") as file, av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        stream.options = {"g": "1"}
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
