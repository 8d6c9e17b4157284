"""Rows of single videos, made as those of a folder were and handed on at once: for `--predict`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.extract_tse.decoding import End
from experiments.extract_tse.extraction import Extraction
from experiments.extract_tse.listing import Video
from experiments.extract_tse.manifest import Manifest
from experiments.extract_tse.windows import Plan
from experiments.shared.errors import UserError
from experiments.vision.encoders import Encoder
from experiments.vision.video import stream_video

_LONGER_SIDE = 320  # of a still, about


class Clip(NamedTuple):
    """What was made of a video.

    Attributes:
        path: of the file.
        rows: ``[T, F]``, as they are stored.
        middles: int ``[T]``, the frame in the middle of each row's windows.
        seconds: float64 ``[T, 3]``, of the first, the middle and the last frame of each row, since
            the first frame of the video.
        note: what is unusual about the file, such as that it is truncated; or empty.
    """

    path: Path
    rows: np.ndarray
    middles: np.ndarray
    seconds: np.ndarray
    note: str


def read_clips(
    files: Sequence[Path],
    manifest: Manifest,
    encoder: Encoder,
    take: Callable[[int, Clip], None],
) -> dict[int, str]:
    """Makes the rows of videos.

    Args:
        files: the videos. One is decoded by a thread of this process, several by processes.
        manifest: says how.
        encoder: that of the manifest.
        take: is called with the number of a file and its rows, in the order in which they are
            ready; nothing of them is kept.

    Returns:
        Why files cannot be used, by their numbers.

    Raises:
        UserError: the encoder is not fit.
    """
    workers = 0 if len(files) == 1 else -1
    settings = manifest.settings("-", workers=workers, allow_truncated=True)
    sink = _Sink(take, lambda length: Plan.of(settings.layout, length, encoder.spec.frames))
    videos = [Video(str(number), str(file), file, {}) for number, file in enumerate(files)]
    Extraction(settings, encoder, sink).run(videos)
    return sink.reasons


def stills(path: Path, numbers: Sequence[int], max_pixels: int) -> dict[int, np.ndarray]:
    """Returns some frames of a video, made smaller by leaving out pixels.

    Args:
        path: of the video.
        numbers: of the frames.
        max_pixels: the largest picture that is decoded.

    Returns:
        uint8 ``[H, W, 3]`` by number.

    Raises:
        UserError: it cannot be decoded so far.
    """
    wanted, found = set(numbers), {}
    for frame in stream_video(path, wanted=wanted, max_pixels=max_pixels):
        if frame.picture is not None:
            step = -(-max(frame.picture.shape) // _LONGER_SIDE)
            found[frame.number] = frame.picture[::step, ::step].copy()
            if len(found) == len(wanted):
                return found
    raise UserError(f"{path}: was changed while it was read")


class _Sink:
    """Hands rows on, see `experiments.extract_tse.extraction.Sink`."""

    def __init__(self, take: Callable[[int, Clip], None], plan: Callable[[int], Plan]) -> None:
        self.reasons: dict[int, str] = {}
        self._take, self._plan = take, plan

    def copy_labels(self, video: Video, /) -> str:
        return ""

    def save(self, video: Video, rows: np.ndarray, times: np.ndarray, end: End, /) -> None:
        ends = self._plan(len(end.seconds)).shared_ends()
        middles = ends.sum(axis=1) // 2
        frames = np.stack([ends[:, 0], middles, ends[:, 1]], axis=1)
        seconds = end.seconds[frames] - end.seconds[0]
        self._take(int(video.id), Clip(video.path, rows, middles, seconds, end.note))

    def fail(self, video: Video, reason: str, /) -> None:
        self.reasons[int(video.id)] = reason
