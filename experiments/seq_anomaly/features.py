"""The features of a data set as the classifier takes them."""

import dataclasses
from pathlib import Path

import numpy as np

from experiments.seq import cache, encoding
from experiments.seq_anomaly.dataset import AnomalyDataset, Video, prepare
from experiments.seq_anomaly.settings import Settings
from experiments.shared.fingerprint import Digests, digest_array, encoder_identity
from experiments.vision.checked_encoder import Encoder
from experiments.vision.mobilenet import WEIGHTS_FILE, MobileNet

_GRID = (12, 16)


def encoder_of(settings: Settings, digests: Digests) -> dict[str, str]:
    """Returns what identifies the encoder of the planted layout.

    Raises:
        MissingFileError: its weights are not there.
        UserError: it cannot be opened.
    """
    if settings.encoder not in encoding.OWN:
        return dict(_opened(settings).spec.identity)
    own = settings.encoder == "mobilenet_v2"
    weights = settings.encoder_weights or WEIGHTS_FILE
    return encoder_identity(settings.encoder, digests, weights if own else None)


def _opened(settings: Settings) -> Encoder:
    return encoding.opened(
        settings.encoder,
        weights=settings.encoder_weights,
        allow_pickle=settings.allow_pickle,
    )


def num_features(dataset: AnomalyDataset, settings: Settings) -> int:
    """Returns F as the classifier has it."""
    own = _planted_features(settings) if settings.layout == "planted" else dataset.num_features
    return own * (2 if settings.motion else 1)


def _planted_features(settings: Settings) -> int:
    if settings.encoder == "pixels":
        return 3 * _GRID[0] * _GRID[1]
    if settings.encoder == "mobilenet_v2":
        return MobileNet.num_features
    found = _opened(settings).spec.num_features
    assert found is not None
    return found


def compute_features(dataset: AnomalyDataset, settings: Settings, folder: Path) -> AnomalyDataset:
    """Encodes pictures where that is not done yet, then centers and adds motion.

    Args:
        dataset: as it was loaded.
        settings: encoder, center, motion.
        folder: where the encoded pictures are kept.

    Returns:
        The data set with features [R, F] of every video.

    Raises:
        UserError: the file cannot be written, or the encoder cannot be read.
    """
    videos = (*dataset.train, *dataset.test)
    rows = [video.features for video in videos]
    if settings.layout == "planted":
        encoded = _encoded(np.concatenate(rows), settings, folder / "features.npz")
        rows = np.split(encoded, np.cumsum([len(part) for part in rows])[:-1])

    def prepared(video: Video, features: np.ndarray) -> Video:
        features = prepare(features, center=settings.center, motion=settings.motion)
        return dataclasses.replace(video, features=features)

    done = tuple(map(prepared, videos, rows))
    count = len(dataset.train)
    return dataclasses.replace(dataset, train=done[:count], test=done[count:])


def _encoded(images: np.ndarray, settings: Settings, path: Path) -> np.ndarray:
    """Features float32 [N, F] of pictures uint8 [N, H, W, 3], each different one encoded once."""
    digests = np.array([digest_array(image) for image in images])
    names, first, rows = np.unique(digests, return_index=True, return_inverse=True)
    key = {"pictures": digest_array(names), **encoder_of(settings, Digests())}

    def compute() -> cache.Arrays:
        if settings.encoder == "mobilenet_v2":
            net = MobileNet.load(settings.encoder_weights or None)
            return {"features": net.encode(images[first], desc="features")}
        if settings.encoder == "pixels":
            return {"features": grid_colours(images[first])}
        return {"features": encoding.encoded(_opened(settings), images[first])}

    found = cache.kept(path, key, compute)["features"][rows]
    encoding.forget()  # no picture is left
    return found


def grid_colours(images: np.ndarray) -> np.ndarray:
    """Returns mean colours of a grid of cells, float32 [N, F] of uint8 [N, H, W, 3]."""
    count, height, width, _ = images.shape
    rows, columns = _GRID
    cells = images.reshape(count, rows, height // rows, columns, width // columns, 3)
    return (cells.mean(axis=(2, 4)) / 255).reshape(count, -1).astype(np.float32)
