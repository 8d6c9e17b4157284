"""Frozen features of images and of their virtual sequences, computed once and kept in files."""

import dataclasses
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.seq import cache, encoding
from experiments.seq_images.dataset import ImageDataset, Split
from experiments.seq_images.settings import Settings
from experiments.seq_images.virtual_sequences import virtual_sequences
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, digest_array, encoder_identity
from experiments.shared.progress import progress
from experiments.vision.checked_encoder import Encoder as VisionEncoder
from experiments.vision.foreign_encoders import is_encoder, makes_encoder, weights_identity
from experiments.vision.mobilenet import WEIGHTS_FILE, MobileNet

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


class Encoder:
    """The frozen encoder of a job: images to features. It is loaded when it is first needed."""

    def __init__(
        self, name: str, weights: str = "", *, size: int = 0, allow_pickle: bool = False
    ) -> None:
        """Takes what the command line says; code of the user's is not imported yet.

        Args:
            name: `--encoder`.
            weights: `--encoder_weights`.
            size: side of the images; 0: as an encoder of `experiments.vision.encoders` has it.
            allow_pickle: `--allow_pickle`.
        """
        self._name, self._weights = name, weights
        self._size, self._allow_pickle = size, allow_pickle
        self._function: Callable[[jax.Array], Any] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Encoder":
        """Returns the encoder that settings name."""
        return cls(
            settings.encoder,
            settings.encoder_weights,
            size=settings.image_size,
            allow_pickle=settings.allow_pickle,
        )

    def identity(self, digests: Digests) -> dict[str, str]:
        """Returns what tells it from every other: its name, its source, its weights.

        Raises:
            UserError: it, or its weights, are not there.
        """
        if self._name == "mobilenet_v2":
            return encoder_identity(self._name, digests, self._weights or WEIGHTS_FILE)
        if self._name == "pixels":
            return encoder_identity(self._name, digests)
        if not encoding.is_code(self._name):
            return dict(self._opened().spec.identity)
        found = encoder_identity(self._name, digests)
        return found | ({"weights": weights_identity(self._weights)} if self._weights else {})

    @property
    def num_features(self) -> int:
        """F; of code of the user's, which is not called for this, that of mobilenet_v2."""
        if self._name == "pixels":
            return 3 * self._size**2
        if self._name == "mobilenet_v2" or encoding.is_code(self._name):
            return MobileNet.num_features
        found = self._opened().spec.num_features
        assert found is not None
        return found

    def __call__(self, frames: jax.Array) -> np.ndarray:
        """Returns float16 features ``[N, F]`` of float32 images ``[N, S, S, 3]`` in [0, 1].

        Raises:
            UserError: it cannot be loaded, or does not return finite ``[N, F]``; names the flag.
        """
        if self._function is None:
            self._function = self._load()
        filled = jnp.pad(frames, ((0, -len(frames) % _ENCODED), (0, 0), (0, 0), (0, 0)))
        parts = [
            np.asarray(self._function(filled[start : start + _ENCODED]))
            for start in range(0, len(filled), _ENCODED)
        ]
        encoded = np.concatenate(parts)[: len(frames)]
        if encoded.ndim != 2 or len(encoded) != len(frames):
            raise UserError(
                f"--encoder={self._name}: must return [N, F] for N images, got {encoded.shape}"
            )
        with np.errstate(over="ignore"):  # found below
            stored = encoded.astype(np.float16)
        if not np.isfinite(stored).all():
            raise UserError(
                f"--encoder={self._name}: features that are not finite, or beyond float16 (65504)"
            )
        return stored

    def _opened(self) -> VisionEncoder:
        return encoding.opened(
            self._name,
            weights=self._weights,
            size=self._size,
            allow_pickle=self._allow_pickle,
        )

    def _load(self) -> Callable[[jax.Array], Any]:
        if self._name == "pixels":
            return lambda images: images.reshape(len(images), -1)
        if self._name == "mobilenet_v2":
            return MobileNet.load(self._weights or None)
        if encoding.is_code(self._name):
            module, _, name = self._name.partition(":")
            try:
                function = getattr(importlib.import_module(module), name)
            except Exception as error:  # whatever the module does when it is imported
                raise UserError(f"--encoder={self._name}: cannot be imported ({error})") from error
            if not callable(function):
                raise UserError(f"--encoder={self._name}: is not a function")
            if not (is_encoder(function) or makes_encoder(function)):
                if self._weights:
                    raise UserError(f"--encoder={self._name}: takes no weights")
                return function
        encoder = self._opened()

        def of_bytes(images: jax.Array) -> np.ndarray:
            shown = np.rint(np.clip(np.asarray(images), 0, 1) * 255).astype(np.uint8)
            return encoder(shown[:, None])

        return of_bytes


def compute_features(
    dataset: ImageDataset, settings: Settings, folder: Path
) -> tuple[Features, Features]:
    """Computes the features of both splits, or reads those that were computed before.

    Args:
        dataset: the images.
        settings: of encoder and virtual sequences.
        folder: where the files are; each holds a few images, so that a kill costs little.

    Returns:
        (of the training split, of the test split).

    Raises:
        UserError: an encoder that cannot be loaded, or whose features are not usable; the folder
            cannot be written.
    """
    extractor = _Extractor(settings, folder)
    train = extractor.split("train", dataset.train, settings.draws, settings.augment_seed)
    test = extractor.split("test", dataset.test, 1, settings.augment_seed + _TEST_SEED)
    encoding.forget()  # no picture is left
    return train, test


def num_bytes(dataset: ImageDataset, settings: Settings) -> int:
    """Returns about how many bytes the files of features take."""
    frames = len(dataset.train) * (1 + settings.draws * settings.tau)
    frames += len(dataset.test) * (1 + settings.tau)
    return 2 * frames * Encoder.of(settings).num_features


class _Extractor:
    """Renders, encodes and stores."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._encoder = Encoder.of(settings)
        names = ("image_size", "tau", "start", "border")
        self._key: dict[str, Any] = {name: getattr(settings, name) for name in names}
        self._key |= self._encoder.identity(Digests())

    def split(self, name: str, split: Split, draws: int, seed: int) -> Features:
        starts = range(0, len(split), _PART)
        parts = []
        for start in progress(starts, desc=f"{name} features", unit="files"):
            rows = np.arange(start, min(start + _PART, len(split)))
            pixels = digest_array(split.images[rows])
            key = {**self._key, "draws": draws, "seed": seed, "first": start, "pixels": pixels}
            path = self._folder / f"{name}-{start:06d}.npz"
            compute = partial(self._compute, split.images[rows], rows, draws, seed)
            parts.append(cache.kept(path, key, compute))
        images, sequences = (
            np.concatenate([part[kind] for part in parts]) for kind in ("images", "sequences")
        )
        return Features(images, sequences, split.labels)

    def _compute(
        self, images: np.ndarray, rows: np.ndarray, draws: int, seed: int
    ) -> dict[str, np.ndarray]:
        settings, count = self._settings, len(images)
        filled = -count % _RENDERED  # one shape, one compilation
        images = np.pad(images, ((0, filled), (0, 0), (0, 0), (0, 0)), mode="edge")
        rows = np.pad(rows, (0, filled), mode="edge")
        plain = self._encoder(jnp.asarray(images, jnp.float32) / 255)
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
            encoded = self._encoder(frames.reshape(-1, *frames.shape[3:]))
            sequences.append(encoded.reshape(_RENDERED, draws, settings.tau, -1))
        return {"images": plain[:count], "sequences": np.concatenate(sequences)[:count]}
