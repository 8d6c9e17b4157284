"""MobileNetV2 as a frozen encoder of frames, in plain JAX.

The architecture is torchvision's `mobilenet_v2` without its classifier, batch normalisation folded
into the convolutions. The weights in `experiments/data/mobilenet_v2.npz` are torchvision's, trained
on ImageNet, as float16; other weights of the same architecture are read from a `torch.save` file.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.progress import progress
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers

T = TypeVar("T")

WEIGHTS_FILE = Path(__file__).resolve().parents[1] / "data" / "mobilenet_v2.npz"
NUM_FEATURES = 1280
SMALLEST_SIDE = 32

# Of each stage: expansion, channels, blocks, stride of the first (Sandler et al. 2018, Table 2).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in training
_EPSILON = 1e-5  # of batch normalisation


class Layer(NamedTuple):
    """A convolution and what is added after it.

    Attributes:
        kernel: ``[3, 3, in, out]``, ``[3, 3, channels]`` (depthwise) or ``[in, out]`` (pointwise).
        bias: ``[out]``.
    """

    kernel: jax.Array
    bias: jax.Array


class _Place(NamedTuple):
    """Where a layer's tensors are called what in torchvision's files, and its kind."""

    conv: str
    norm: str
    depthwise: bool


class MobileNet:
    """The encoder: pictures to features, averaged over the picture.

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

    num_features = NUM_FEATURES

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        """Makes an encoder from its layers, in the order that they are run."""
        self.layers = layers

    @classmethod
    def load(cls, path: Path | str | None = None) -> "MobileNet":
        """Reads weights.

        Args:
            path: a `torch.save` file (`.pth`, zip format) of torchvision's `mobilenet_v2`, or an
                .npz as `save` writes it; None: those that come with this repository.

        Raises:
            MissingFileError: there is no such file.
            UserError: it is damaged, or of another architecture.
        """
        path = WEIGHTS_FILE if path is None else Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file with weights of MobileNetV2")
        layers = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
        return cls(tuple(Layer(jnp.asarray(k), jnp.asarray(b)) for k, b in layers))

    def save(self, path: Path | str) -> None:
        """Writes an .npz with kernels and biases as float16."""
        arrays: dict[str, Any] = {}
        for index, layer in enumerate(self.layers):
            arrays[f"kernel_{index}"] = np.asarray(layer.kernel, np.float16)
            arrays[f"bias_{index}"] = np.asarray(layer.bias, np.float16)
        np.savez_compressed(path, **arrays)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features ``[N, 1280]`` of float32 images ``[N, H, W, 3]`` in [0, 1].

        Raises:
            ValueError: images of another shape, or a side shorter than 32.
        """
        if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < SMALLEST_SIDE:
            raise ValueError(
                f"images must have shape [N, H, W, 3] with sides of at least {SMALLEST_SIDE}, "
                f"got {images.shape}"
            )
        return _encode(self.layers, images)

    def encode(self, images: np.ndarray, *, batch_size: int = 32, desc: str = "") -> np.ndarray:
        """Features of many images, batch by batch, with a progress bar.

        Args:
            images: ``[N, H, W, 3]``, uint8, or floating point in [0, 1].
            batch_size: images at once.
            desc: what the bar says.

        Returns:
            float32 ``[N, 1280]``.

        Raises:
            ValueError: numbers of another type, or a shape that `__call__` refuses.
        """
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise ValueError(f"images must be uint8 or floating point, got {images.dtype}")
        scale = 1 / 255 if images.dtype == np.uint8 else 1.0
        parts = [np.zeros((0, NUM_FEATURES), np.float32)]
        for start in progress(range(0, len(images), batch_size), desc=desc, unit="batch"):
            batch = images[start : start + batch_size].astype(np.float32) * np.float32(scale)
            # One shape, one compilation: the last batch is filled up.
            filled = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)))
            parts.append(np.asarray(self(jnp.asarray(filled)))[: len(batch)])
        return np.concatenate(parts)


@jax.jit
def _encode(layers: tuple[Layer, ...], images: jax.Array) -> jax.Array:
    x = normalised(images)
    for number, of_stage in enumerate(by_stage(layers)):
        x = run_stage(number, of_stage, x)
    return jnp.mean(x, axis=(1, 2))


def normalised(images: jax.Array) -> jax.Array:
    """Images ``[N, H, W, 3]`` in [0, 1] as networks that were trained on ImageNet want them."""
    return (images - _everywhere(jnp.asarray(_MEAN))) / _everywhere(jnp.asarray(_STD))


def by_stage(layers: Sequence[T]) -> list[Sequence[T]]:
    """Returns the 52 layers in nine groups: the stem, the stages of Table 2, the last layer."""
    ends = [1]
    for expansion, _, blocks, _ in _STAGES:
        ends.append(ends[-1] + blocks * (2 + (expansion != 1)))
    return [layers[a:b] for a, b in zip([0, *ends], [*ends, len(layers)], strict=True)]


def run_stage(number: int, layers: Sequence[Layer], x: jax.Array) -> jax.Array:
    """Runs one of the nine groups of `by_stage`.

    Args:
        number: which one.
        layers: its own.
        x: ``[N, H, W, in]`` of the layers' dtype; for the first normalised images.

    Returns:
        ``[N, H', W', out]``.
    """
    remaining = iter(layers)
    if number == 0:
        first = next(remaining)
        x = lax.conv_general_dilated(
            x, first.kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return _relu6(x + _everywhere(first.bias))
    if number > len(_STAGES):
        return _relu6(_pointwise(x, next(remaining)))
    expansion, channels, blocks, stride = _STAGES[number - 1]
    for block in range(blocks):
        before = x
        if expansion != 1:
            x = _relu6(_pointwise(x, next(remaining)))
        x = _relu6(_depthwise(x, next(remaining), stride if block == 0 else 1))
        x = _pointwise(x, next(remaining))
        if block and before.shape[-1] == channels:
            x = x + before
    return x


def _everywhere(channels: jax.Array) -> jax.Array:
    """Numbers of the channels ``[C]`` as ``[1, 1, 1, C]``, for all pixels of a batch."""
    return channels[None, None, None]


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _pointwise(x: jax.Array, layer: Layer) -> jax.Array:
    return jnp.einsum("nhwi,io->nhwo", x, layer.kernel) + _everywhere(layer.bias)


def _depthwise(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """3 x 3, each channel for itself, as nine shifted products: on a CPU several times faster."""
    height, width = (-(-side // stride) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = _everywhere(layer.bias)
    for row in range(3):
        for column in range(3):
            shifted = x[:, row::stride, column::stride][:, :height, :width]
            total = total + shifted * _everywhere(layer.kernel[row, column])
    return total


def _places() -> list[_Place]:
    """The layers in the order that they are run."""
    places = [_Place("features.0.0", "features.0.1", False)]
    number = 1
    for expansion, _, blocks, _ in _STAGES:
        for _ in range(blocks):
            conv, part = f"features.{number}.conv", 0
            if expansion != 1:
                places.append(_Place(f"{conv}.0.0", f"{conv}.0.1", False))
                part = 1
            places.append(_Place(f"{conv}.{part}.0", f"{conv}.{part}.1", True))
            places.append(_Place(f"{conv}.{part + 1}", f"{conv}.{part + 2}", False))
            number += 1
    return [*places, _Place(f"features.{number}.0", f"features.{number}.1", False)]


def _read_torch(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    headers = tensor_headers(path)
    if isinstance(headers, StoredTensor):
        raise UserError(f"{path}: holds one tensor, not the weights of a MobileNetV2")
    read = partial(_tensor, path, headers)
    layers = []
    for place in _places():
        kernel = read(f"{place.conv}.weight")  # [out, in / groups, height, width]
        scale = read(f"{place.norm}.weight") / np.sqrt(read(f"{place.norm}.running_var") + _EPSILON)
        bias = read(f"{place.norm}.bias") - scale * read(f"{place.norm}.running_mean")
        kernel = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        if place.depthwise:
            kernel = kernel[:, :, 0]
        elif kernel.shape[:2] == (1, 1):
            kernel = kernel[0, 0]
        layers.append((kernel.astype(np.float32), bias.astype(np.float32)))
    return _checked(layers, path)


def _tensor(path: Path, headers: dict, name: str) -> np.ndarray:
    if not isinstance(headers.get(name), StoredTensor):
        raise UserError(f"{path}: has no tensor {name}; not torchvision's mobilenet_v2")
    return read_tensor(path, headers[name]).astype(np.float64)


def _read_npz(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            layers = [
                tuple(stored[f"{kind}_{index}"].astype(np.float32) for kind in ("kernel", "bias"))
                for index in range(len(_places()))
            ]
    except Exception as error:  # whatever NumPy and zipfile raise for a damaged file
        # The text of the error may repeat what is in the file.
        raise UserError(
            f"{path}: not weights of MobileNetV2, or damaged ({type(error).__name__})"
        ) from error
    return _checked(layers, path)


def kernel_shapes() -> list[tuple[int, ...]]:
    """Returns the shapes of all kernels in the order that they are run, see `Layer`."""
    expected: list[tuple[int, ...]] = [(3, 3, 3, 32)]
    before = 32
    for expansion, channels, blocks, _ in _STAGES:
        for _ in range(blocks):
            wide = before * expansion
            expected += [(before, wide)] * (expansion != 1) + [(3, 3, wide), (wide, channels)]
            before = channels
    return [*expected, (before, NUM_FEATURES)]


def _checked(layers: list, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers, if their shapes are those of the architecture."""
    expected = kernel_shapes()
    for index, ((kernel, bias), shape) in enumerate(zip(layers, expected, strict=True)):
        if kernel.shape != shape or bias.shape != shape[-1:]:
            raise UserError(
                f"{path}: layer {index} has a kernel {kernel.shape} and a bias {bias.shape}, "
                f"MobileNetV2 has {shape} and {shape[-1:]}"
            )
    return layers
