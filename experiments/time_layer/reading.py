"""One video of a folder: its frames, what it is by its content, and where videos are found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.fingerprint import Digests, digest_json
from experiments.shared.prediction import predict_inputs
from experiments.time_layer.settings import Settings
from experiments.vision.depth import has_numbered_pictures, numbered_pictures, sampled_depth
from experiments.vision.video import SUFFIXES, sampled_video

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def read_video(path: Path, settings: Settings) -> np.ndarray:
    """Decodes the frames of a video that are kept, ``[T, side, side, channels]``.

    They are chosen while it is decoded: no more of them are in memory at any time.

    Returns:
        uint8; uint16 of measured depth, see `experiments.vision.depth`.

    Raises:
        MissingFileError: it is not there.
        UserError: it does not decode, or has fewer frames than `min_frames`.
    """
    count, size, limits = settings.source_frames, settings.size, settings.limits
    if limits is not None:
        video, total = sampled_depth(path, count, size=size, limits=limits)
    elif path.is_dir():
        raise UserError(f"{path}: a folder, which is a video only with --input=depth")
    else:
        video, total = sampled_video(path, count, size=size)
    if total < settings.min_frames:
        raise UserError(
            f"{path}: has {total} frames, fewer than --min_frames={settings.min_frames}"
        )
    return in_channels(video, settings)


def in_channels(video: np.ndarray, settings: Settings) -> np.ndarray:
    """Returns a video in the channels of `settings.input`."""
    if settings.input != "luminance":
        return video
    return np.round(video @ _LUMINANCE).astype(np.uint8)[..., None]


def refuse_missing(paths: Sequence[Path], where: str) -> None:
    """Raises where videos are neither files nor folders.

    Raises:
        MissingFileError: names up to five.
    """
    raise_all([MissingFileError(f"no file {path}") for path in paths if not path.exists()], where)


def digests_of(paths: Sequence[Path], digests: Digests) -> list[str]:
    """Returns the digest of each video; of a folder that of its numbered pictures.

    Raises:
        UserError: files that cannot be read.
    """
    files = [numbered_pictures(path) if path.is_dir() else [path] for path in paths]
    each = iter(digests.of_files([file for of_video in files for file in of_video]))
    found = []
    for path, of_video in zip(paths, files, strict=True):
        parts = [next(each) for _ in of_video]
        found.append(digest_json(parts) if path.is_dir() else parts[0])
    return found


def videos_to_predict(request: Settings, settings: Settings) -> list[tuple[str, Path]]:
    """Returns what `--predict` names, (id, video) each.

    Args:
        request: see `predict_inputs`; with measured depth a folder of numbered PNGs is a video, and
            a folder may hold such folders beside files.
        settings: of the run that predicts.

    Raises:
        MissingFileError: it is not there, or holds no video.
        UserError: a CSV file that cannot be used.
    """
    path = Path(request.predict)
    if settings.limits is None or not path.is_dir():
        return predict_inputs(request, SUFFIXES, folders=settings.limits is not None)
    if has_numbered_pictures(path):
        return [(str(path), path)]
    found = sorted(
        one
        for one in path.rglob("*")
        if (one.is_dir() and has_numbered_pictures(one))
        or (one.suffix.lower() in SUFFIXES and one.is_file())
    )
    if not found:
        raise MissingFileError(
            f"--predict={path}: holds neither a folder of numbered PNGs nor a file "
            f"{' or '.join(SUFFIXES)}"
        )
    return [(one.relative_to(path).as_posix(), one) for one in found]
