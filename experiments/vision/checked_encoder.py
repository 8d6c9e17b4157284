"""What an encoder of windows is, and the check of everything that one returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from experiments.shared.errors import UserError

Function = Callable[[np.ndarray], Any]
"""uint8 ``[B, frames, H, W, 3]`` to numbers ``[B, F]``, of NumPy, JAX or torch."""

_NUMBERS = "fiub"  # kinds of NumPy; bfloat16 is of another, and is made float32 by its name


@dataclass(frozen=True)
class EncoderSpec:
    """What must be known of an encoder before its first call.

    Attributes:
        name: as `--encoder` said it.
        num_features: F; None where only a call tells. `open_encoder` returns none without it.
        frames: frames of a window, which the caller samples uniformly; None where it encodes single
            pictures. Those of a window may be any number, and its features are their mean.
        size: height and width of the pictures.
        identity: what tells it from every other: its name, digests of weights and code, versions.
        logits: whether class scores stand behind the embedding.
    """

    name: str
    num_features: int | None = None
    frames: int | None = None
    size: tuple[int, int] = (224, 224)
    identity: Mapping[str, str] = field(default_factory=dict)
    logits: bool = False


class Encoder(Protocol):
    """Pictures of windows to features; normalisation is the encoder's."""

    spec: EncoderSpec

    def __call__(self, frames: np.ndarray, /) -> np.ndarray:
        """Returns float32 ``[B, F]`` of RGB uint8 ``[B, frames, H, W, 3]``.

        Raises:
            NotFiniteError: features that are not finite.
            UserError: the encoder fails, or returns another shape.
        """
        ...


class NotFiniteError(UserError):
    """Features that are not finite: the fault of some pictures, perhaps, and not of the encoder.

    Attributes:
        rows: int ``[N]``, the windows of the batch whose features are not finite.
        features: float32 ``[B, F]``, as they were returned; the other rows are good.
    """

    def __init__(self, message: str, rows: np.ndarray, features: np.ndarray) -> None:
        """Takes the message and what was returned."""
        super().__init__(message)
        self.rows, self.features = rows, features


class CheckedEncoder:
    """An encoder made of a function, which may be anybody's: all that it returns is checked."""

    def __init__(self, spec: EncoderSpec, function: Function) -> None:
        """Takes what is known of it, and the function; one of single pictures gets frames of 1."""
        self.spec, self._function = spec, function

    def __call__(self, frames: np.ndarray, /) -> np.ndarray:
        """Returns features of windows, see `Encoder`; averaged over single pictures.

        Raises:
            NotFiniteError: features that are not finite.
            UserError: the function fails, or returns another shape.
            ValueError: pictures of another shape or type than `spec` says, or none.
        """
        spec = self.spec
        count = frames.shape[1] if frames.ndim == 5 else 0
        expected = (spec.frames or count, *spec.size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != expected or not frames.size:
            raise ValueError(
                f"pictures must be uint8 {('B', spec.frames or 'N', *spec.size, 3)}, got "
                f"{frames.dtype} {frames.shape}"
            )
        if spec.frames is not None:
            features = self._features(frames)
        else:
            single = self._features(frames.reshape(-1, 1, *spec.size, 3))
            features = single.reshape(len(frames), count, -1).mean(axis=1)
        rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(rows):
            raise NotFiniteError(
                f"--encoder={spec.name}: features that are not finite, of {len(rows)} of "
                f"{len(frames)} windows",
                rows,
                features,
            )
        return features

    def _features(self, frames: np.ndarray) -> np.ndarray:
        """What the function returns as float32 ``[B, F]``, whether finite or not."""
        name, wanted = self.spec.name, self.spec.num_features
        found = np.asarray(self._function(frames))
        if found.dtype.kind not in _NUMBERS and found.dtype.name != "bfloat16":
            raise UserError(f"--encoder={name}: must return numbers, got {found.dtype}")
        if found.ndim != 2 or len(found) != len(frames) or not found.shape[1]:
            raise UserError(
                f"--encoder={name}: must return [B, F] of B windows, got {found.shape} of "
                f"{len(frames)} windows"
            )
        if wanted is not None and found.shape[1] != wanted:
            raise UserError(
                f"--encoder={name}: returned {found.shape[1]} features, it has {wanted}"
            )
        with np.errstate(over="ignore"):  # found by the caller
            return found.astype(np.float32)
