"""Frozen features of images and of their virtual sequences, computed once and kept in files."""

import dataclasses
import hashlib
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.seq.dataset import ImageDataset, Split
from experiments.seq.settings import Settings
from experiments.seq.virtual_sequences import virtual_sequences
from experiments.shared.progress import progress
from experiments.vision.mobilenet import WEIGHTS_FILE, MobileNet

Encoder = Callable[[jax.Array], jax.Array]

_PART = 64  # images in a file: what a kill can cost
_RENDERED = 4  # images whose sequences are rendered at once
_ENCODED = 32  # frames that are encoded at once
_TEST_SEED = 1_000_003  # added to the seed: test sequences share no draw with training


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of a split, float16 as they are stored.

    Attributes:
        images: ``[N, F]``, of the images as they are.
        sequences: ``[N, draws, tau, F]``, of their virtual sequences.
        labels: int32 ``[N]``.
    """

    images: np.ndarray
    sequences: np.ndarray
    labels: np.ndarray


def load_encoder(settings: Settings) -> Encoder:
    """Returns the function from images ``[N, S, S, 3]`` to features ``[N, F]``.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: weights or a function that cannot be loaded; names the flag.
    """
    if settings.encoder == "pixels":
        return _pixels
    if settings.encoder == "mobilenet_v2":
        return MobileNet.load(settings.encoder_weights or None)
    module, _, name = settings.encoder.partition(":")
    try:
        encoder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--encoder={settings.encoder}: cannot be imported ({error})") from error
    if not callable(encoder):
        raise ValueError(f"--encoder={settings.encoder}: is not a function")
    return encoder


def weights_digest(settings: Settings) -> str:
    """Returns what identifies the weights of the encoder; empty where this cannot be known.

    Raises:
        FileNotFoundError: there are no such weights.
    """
    if settings.encoder != "mobilenet_v2":
        return ""
    weights = Path(settings.encoder_weights or WEIGHTS_FILE)
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file with weights of MobileNetV2")
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def compute_features(
    dataset: ImageDataset, settings: Settings, folder: Path
) -> tuple[Features, Features]:
    """Computes the features of both splits, or reads those that were computed before.

    Args:
        dataset: the images.
        settings: of encoder and virtual sequences.
        folder: where the files are; each holds a few images and a checksum (that of the zip
            format), so that a kill costs little and a damaged file is computed again.

    Returns:
        (of the training split, of the test split).

    Raises:
        ValueError: an encoder that cannot be loaded, or whose features are not usable.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    extractor = _Extractor(settings, folder)
    train = extractor.split("train", dataset.train, settings.draws, settings.augment_seed)
    test = extractor.split("test", dataset.test, 1, settings.augment_seed + _TEST_SEED)
    return train, test


def num_bytes(dataset: ImageDataset, settings: Settings) -> int:
    """Returns about how many bytes the files of features take."""
    frames = len(dataset.train) * (1 + settings.draws * settings.tau)
    frames += len(dataset.test) * (1 + settings.tau)
    pixels = settings.encoder == "pixels"
    return 2 * frames * (3 * settings.image_size**2 if pixels else MobileNet.num_features)


def encode_image(image: np.ndarray, settings: Settings) -> np.ndarray:
    """Features ``[1, F]``, as they are stored, of one image uint8 ``[S, S, 3]``."""
    frames = jnp.asarray(image[None].astype(np.float32) / 255)
    return np.asarray(load_encoder(settings)(frames)).astype(np.float16)


class _Extractor:
    """Renders, encodes and stores."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._encoder: Encoder | None = None  # loaded when the first file has to be computed
        names = ("encoder", "image_size", "tau", "start", "border")
        self._key = {name: getattr(settings, name) for name in names}
        self._key["weights"] = weights_digest(settings)

    def split(self, name: str, split: Split, draws: int, seed: int) -> Features:
        starts = range(0, len(split), _PART)
        parts = []
        for start in progress(starts, desc=f"{name} features", unit=" files"):
            rows = np.arange(start, min(start + _PART, len(split)))
            pixels = hashlib.sha256(split.images[rows].tobytes()).hexdigest()
            key = {**self._key, "draws": draws, "seed": seed, "first": start, "pixels": pixels}
            path = self._folder / f"{name}-{start:06d}.npz"
            part = _read(path, key)
            if part is None:
                part = self._compute(split.images[rows], rows, draws, seed)
                _write(path, key, part)
            parts.append(part)
        images, sequences = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Features(images, sequences, split.labels)

    def _compute(
        self, images: np.ndarray, rows: np.ndarray, draws: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        settings, count = self._settings, len(images)
        filled = -count % _RENDERED  # one shape, one compilation
        images = np.pad(images, ((0, filled), (0, 0), (0, 0), (0, 0)), mode="edge")
        rows = np.pad(rows, (0, filled), mode="edge")
        plain = self._encode(jnp.asarray(images, jnp.float32) / 255)
        sequences = []
        for start in range(0, len(images), _RENDERED):
            some = slice(start, start + _RENDERED)
            frames = virtual_sequences(
                jnp.asarray(images[some], jnp.float32) / 255,
                jnp.asarray(rows[some]),
                seed,
                num_draws=draws,
                tau=settings.tau,
                start=settings.start,
                border=settings.border,
            )
            encoded = self._encode(frames.reshape(-1, *frames.shape[3:]))
            sequences.append(encoded.reshape(_RENDERED, draws, settings.tau, -1))
        return plain[:count], np.concatenate(sequences)[:count]

    def _encode(self, frames: jax.Array) -> np.ndarray:
        if self._encoder is None:
            self._encoder = load_encoder(self._settings)
        filled = jnp.pad(frames, ((0, -len(frames) % _ENCODED), (0, 0), (0, 0), (0, 0)))
        parts = [
            np.asarray(self._encoder(filled[start : start + _ENCODED]))
            for start in range(0, len(filled), _ENCODED)
        ]
        encoded = np.concatenate(parts)[: len(frames)]
        flag = f"--encoder={self._settings.encoder}"
        if encoded.ndim != 2 or len(encoded) != len(frames):
            raise ValueError(f"{flag}: must return [N, F] for N images, got {encoded.shape}")
        stored = encoded.astype(np.float16)
        if not np.isfinite(stored).all():
            raise ValueError(f"{flag}: features that are not finite, or beyond float16 (65504)")
        return stored


def _read(path: Path, key: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The arrays of a file, None if it is not there, damaged, or of something else."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if json.loads(str(stored["key"])) != key:
                return None
            return stored["images"], stored["sequences"]
    except Exception:  # whatever NumPy and zipfile raise for a damaged file
        print(f"{path}: damaged, computed again", flush=True)
        return None


def _write(path: Path, key: dict[str, Any], part: tuple[np.ndarray, np.ndarray]) -> None:
    """Writes a file whole or not at all, also under a kill."""
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "wb") as file:
        np.savez(file, images=part[0], sequences=part[1], key=np.array(json.dumps(key)))
    os.replace(unfinished, path)


def _pixels(images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1)
