"""Factories as a user might write them, for MODULE:FACTORY."""

import jax.numpy as jnp
from flax import nnx

from experiments.vision.trunks import Trunk


class Net(nnx.Module):
    """A convolution with batch normalisation and dropout."""

    side = 16

    def __init__(self, seed):
        rngs = nnx.Rngs(seed)
        self.conv = nnx.Conv(3, 5, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, images):
        return self.dropout(self.norm(self.conv(images))).mean((1, 2))


class Staged(Trunk):
    """Of our own kind, with two stages."""

    num_features, smallest = 4, 1

    def __init__(self, seed, precision="float32"):
        rngs = nnx.Rngs(seed)
        stages = [nnx.Conv(n, 4, (3, 3), dtype=precision, rngs=rngs) for n in (3, 4)]
        super().__init__(stages, precision=precision, remat=False)


def net(seed):
    return Net(seed)


def staged(seed, precision="float32"):
    return Staged(seed, precision)


def colours(seed):
    return lambda images: images.mean((1, 2))


def not_features(seed):
    return lambda images: images


def fails(seed):
    raise RuntimeError("no luck")


def number(seed):
    return 7


def takes_weights(seed, weights=""):
    return lambda images: jnp.full((len(images), 1), float(len(weights)))
