"""The one standardiser: features minus their mean, divided by their standard deviation."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

_VALUES_AT_ONCE = 2**20  # eight megabytes in float64


class Scaling(NamedTuple):
    """What is subtracted from features and what they are divided by.

    Attributes:
        mean: float32 [F].
        std: float32 [F], above 0.
    """

    mean: Any
    std: Any

    @classmethod
    def identity(cls, num_features: int) -> "Scaling":
        """Returns the scaling that changes nothing."""
        return cls(np.zeros(num_features, np.float32), np.ones(num_features, np.float32))

    @classmethod
    def fit(cls, chunks: Iterable[np.ndarray]) -> "Scaling":
        """Measures mean and standard deviation of each feature over all frames.

        Sums are float64. Chunks are read once and not kept.

        Args:
            chunks: arrays [..., F] of finite numbers, of the training split; small ones are
                gathered, large ones divided.

        Returns:
            The scaling. A feature that never changes, up to rounding, has the deviation 1: it
            becomes 0 instead of noise.

        Raises:
            ValueError: there is no frame.
        """
        scaler = StandardScaler()
        for frames in _gathered(chunks):
            scaler.partial_fit(frames)
        if not hasattr(scaler, "var_"):
            raise ValueError("chunks: no frame to measure mean and deviation of")
        std = np.sqrt(scaler.var_)
        # The one threshold of the experiments. float32 keeps seven digits: a smaller deviation is
        # that of rounding, in the data or in the mean.
        std = np.where(std <= 1e-7 * np.abs(scaler.mean_), 1.0, std).astype(np.float32)
        std = np.where(std < np.finfo(np.float32).tiny, np.float32(1), std)
        return cls(scaler.mean_.astype(np.float32), std)

    def apply(self, x: Any, out: np.ndarray | None = None) -> Any:
        """Returns scaled features.

        Args:
            x: [..., F], of NumPy or JAX.
            out: a NumPy array for the result, `x` itself to save memory.
        """
        if out is None:
            # Ranks are written out: jax may be asked to refuse where they are not.
            mean, std = (part.reshape((1,) * (x.ndim - 1) + (-1,)) for part in self)
            return (x - mean) / std
        np.subtract(x, self.mean, out=out)
        return np.divide(out, self.std, out=out)


def _gathered(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the same frames as float64 [n, F], about `_VALUES_AT_ONCE` numbers at a time."""
    waiting: list[np.ndarray] = []
    size = 0
    for chunk in chunks:
        frames = np.asarray(chunk).reshape(-1, np.shape(chunk)[-1])
        step = max(_VALUES_AT_ONCE // max(frames.shape[1], 1), 1)
        for start in range(0, len(frames), step):
            part = frames[start : start + step].astype(np.float64)
            if waiting and size + part.size > _VALUES_AT_ONCE:
                yield np.concatenate(waiting)
                waiting, size = [], 0
            waiting.append(part)
            size += part.size
    if waiting:
        yield np.concatenate(waiting)
