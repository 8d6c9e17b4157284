"""ResNet-50 as a trunk: torchvision's `resnet50`, strides in the 3 x 3 layers ("v1.5")."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from experiments.vision.trunks.trunk import Trunk
from experiments.vision.trunks.weights import Weights

NUM_FEATURES = 2048
_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels inside, blocks, stride
_WIDER = 4  # times as many channels come out of a block


class _Place(NamedTuple):
    """A convolution: its names in torchvision's files, its shape, and the gain of random weights.

    Attributes:
        gain: the variance of an output is so many times that of the input; 0 begins as nothing.
    """

    conv: str
    norm: str
    shape: tuple[int, int, int, int]
    gain: float


class ResNet50(Trunk):
    """He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

    Its five stages are the stem and the four of the paper. Batch normalisation is folded, see
    `Trunk`.
    """

    num_features = NUM_FEATURES

    def __init__(
        self,
        layers: Sequence[tuple[jax.Array, jax.Array]],
        *,
        precision: str = "float32",
        remat: bool = False,
    ) -> None:
        """Makes a trunk from kernels and biases, in the order of `_places`."""
        made = iter([_Conv(kernel, bias) for kernel, bias in layers])
        stages: list[nnx.Module] = [_Stem(next(made))]
        for _, blocks, stride in _STAGES:
            stages.append(
                _Stage(
                    [
                        _Bottleneck(made, 1 if block else stride, not block)
                        for block in range(blocks)
                    ]
                )
            )
        super().__init__(stages, precision=precision, remat=remat)


class _Conv(nnx.Module):
    def __init__(self, kernel: jax.Array, bias: jax.Array) -> None:
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)

    def __call__(self, x: jax.Array, stride: int = 1) -> jax.Array:
        kernel, bias = (part[...].astype(x.dtype) for part in (self.kernel, self.bias))
        pad = kernel.shape[0] // 2
        y = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((pad, pad),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + bias[None, None, None]


class _Stem(nnx.Module):
    def __init__(self, conv: _Conv) -> None:
        self.conv = conv

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv(x, 2))
        return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


class _Stage(nnx.Module):
    def __init__(self, blocks: Sequence[nnx.Module]) -> None:
        self.blocks = nnx.List(blocks)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


class _Bottleneck(nnx.Module):
    def __init__(self, made: Iterator[_Conv], stride: int, changes: bool) -> None:
        self.narrow, self.middle, self.wide = next(made), next(made), next(made)
        self.skip = next(made) if changes else None
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = x if self.skip is None else self.skip(x, self.stride)
        y = nnx.relu(self.middle(nnx.relu(self.narrow(x)), self.stride))
        return nnx.relu(skip + self.wide(y))


def stored_layers(path: Path) -> list[tuple[jax.Array, jax.Array]]:
    """Reads weights, see `Weights`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is damaged, or of another architecture.
    """
    weights = Weights(path, "resnet50")
    found = [weights.folded(place.conv, place.norm, place.shape) for place in _places()]
    return [(jnp.asarray(kernel), jnp.asarray(bias)) for kernel, bias in found]


def random_layers(seed: int) -> list[tuple[jax.Array, jax.Array]]:
    """Returns weights for a training from nothing; each block begins as its shortcut alone."""
    places = _places()
    keys = jax.random.split(jax.random.key(seed), len(places))
    layers = []
    for key, place in zip(keys, places, strict=True):
        deviation = (place.gain / np.prod(place.shape[:3])) ** 0.5
        kernel = jnp.float32(deviation) * jax.random.normal(key, place.shape)
        layers.append((kernel, jnp.zeros(place.shape[-1])))
    return layers


def _places() -> list[_Place]:
    """The convolutions in the order that `ResNet50` takes them."""
    places = [_Place("conv1", "bn1", (7, 7, 3, 64), 2.0)]
    before = 64
    for stage, (inside, blocks, _) in enumerate(_STAGES, start=1):
        after = _WIDER * inside
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes = ((1, 1, before, inside), (3, 3, inside, inside), (1, 1, inside, after))
            for number, (shape, gain) in enumerate(zip(shapes, (2.0, 2.0, 0.0), strict=True), 1):
                places.append(_Place(f"{name}.conv{number}", f"{name}.bn{number}", shape, gain))
            if not block:
                skip = f"{name}.downsample"
                places.append(_Place(f"{skip}.0", f"{skip}.1", (1, 1, before, after), 2.0))
            before = after
    return places
