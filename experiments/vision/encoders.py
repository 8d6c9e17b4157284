"""Encoders of pictures and windows behind one interface.

A stand-in with the two that need nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, encoder_identity


@dataclass(frozen=True)
class EncoderSpec:
    """What must be known of an encoder before its first call."""

    name: str
    num_features: int | None
    frames: int | None
    size: tuple[int, int]
    identity: Mapping[str, str]
    logits: bool = False


class NotFiniteError(UserError):
    """Features that are not finite; has the features."""

    def __init__(self, message: str, rows: np.ndarray, features: np.ndarray) -> None:
        """Takes the message and what was returned."""
        super().__init__(message)
        self.rows, self.features = rows, features


class Encoder(Protocol):
    """Turns the pictures of windows into features."""

    spec: EncoderSpec

    def __call__(self, frames: np.ndarray, /) -> np.ndarray:
        """Features float32 ``[B, F]`` of uint8 ``[B, frames, H, W, 3]``."""


def open_encoder(
    name: str,
    *,
    weights: str = "",
    size: int = 0,
    frames: int = 0,
    logits: bool = False,
    allow_pickle: bool = False,
) -> Encoder:
    """Opens an encoder by its name."""
    if name == "thumbnail":
        return _Thumbnail(size or 64)
    if name == "mobilenet_v2":
        return _MobileNet(weights, size or 224)
    raise UserError(f"--encoder={name}: unknown")


class _Thumbnail:
    def __init__(self, side: int) -> None:
        identity = encoder_identity("thumbnail", Digests())
        self.spec = EncoderSpec("thumbnail", 192, None, (side, side), identity)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        count, _, side, _, _ = frames.shape
        cells = frames.reshape(count, 8, side // 8, 8, side // 8, 3).astype(np.float32)
        return cells.mean(axis=(2, 4)).reshape(count, -1) / np.float32(255)


class _MobileNet:
    def __init__(self, weights: str, side: int) -> None:
        from experiments.vision.mobilenet import WEIGHTS_FILE, MobileNet

        self._net = MobileNet.load(weights or None)
        identity = encoder_identity("mobilenet_v2", Digests(), weights or WEIGHTS_FILE)
        self.spec = EncoderSpec("mobilenet_v2", 1280, None, (side, side), identity)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        import jax.numpy as jnp

        images = jnp.asarray(frames[:, 0], jnp.float32) * (1 / 255)
        return np.asarray(self._net(images))
