"""MobileNetV2 as a trunk: the layers of `experiments.vision.mobilenet`, to be trained."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.vision import mobilenet
from experiments.vision.mobilenet import Layer
from experiments.vision.trunks.trunk import Trunk


class MobileNetV2(Trunk):
    """Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.

    Its nine stages are the stem, the seven of the paper's Table 2, and the last convolution.
    """

    num_features = mobilenet.NUM_FEATURES
    smallest = mobilenet.SMALLEST_SIDE

    def __init__(
        self, layers: Sequence[Layer], *, precision: str = "float32", remat: bool = False
    ) -> None:
        """Makes a trunk from its layers, in the order that they are run."""
        groups = enumerate(mobilenet.by_stage(layers))
        stages = [_Stage(number, of_stage) for number, of_stage in groups]
        super().__init__(stages, precision=precision, remat=remat)


class _Stage(nnx.Module):
    """Some layers, run by the function that runs them in the frozen encoder."""

    def __init__(self, number: int, layers: Sequence[Layer]) -> None:
        self.number = number
        self.kernels = nnx.List([nnx.Param(layer.kernel) for layer in layers])
        self.biases = nnx.List([nnx.Param(layer.bias) for layer in layers])

    def __call__(self, x: jax.Array) -> jax.Array:
        layers = [
            Layer(kernel[...].astype(x.dtype), bias[...].astype(x.dtype))
            for kernel, bias in zip(self.kernels, self.biases, strict=True)
        ]
        return mobilenet.run_stage(self.number, layers, x)


def stored_layers(path: Path | None) -> Sequence[Layer]:
    """Reads weights, see `MobileNet.load`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is damaged, or of another architecture.
    """
    return mobilenet.MobileNet.load(path).layers


def random_layers(seed: int) -> list[Layer]:
    """Returns weights for a training from nothing: He et al. 2015, by the inputs of each output."""
    shapes = mobilenet.kernel_shapes()
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    layers = []
    for key, shape in zip(keys, shapes, strict=True):
        inputs = 9 if len(shape) == 3 else shape[0] if len(shape) == 2 else 27
        # The last of a residual block is followed by no nonlinearity.
        gain = 1.0 if len(shape) == 2 and shape[1] < shape[0] else 2.0
        kernel = (gain / inputs) ** 0.5 * jax.random.normal(key, shape)
        layers.append(Layer(kernel, jnp.zeros(shape[-1])))
    return layers
