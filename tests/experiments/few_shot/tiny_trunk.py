"""Trunks for --trunk=tiny_trunk:FACTORY."""

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.vision.trunks import Trunk


class Tiny(Trunk):
    """Two convolutions."""

    num_features, smallest, side = 6, 4, 8

    def __init__(self, seed, precision="float32", remat=False):
        rngs = nnx.Rngs(seed)
        sizes = ((3, 4), (4, 6))
        stages = [_Stage(nnx.Conv(a, b, (3, 3), dtype=precision, rngs=rngs)) for a, b in sizes]
        super().__init__(stages, precision=precision, remat=remat)


class _Stage(nnx.Module):
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x):
        return jnp.tanh(self.conv(x))


def staged(seed, precision="float32", remat=False):
    """A trunk with stages."""
    return Tiny(seed, precision, remat)


def colours(seed):
    """No parameters: means and squares of the colours."""
    del seed

    def features(images):
        means = images.mean((1, 2))
        return jnp.concatenate([means, jax.lax.square(means)], axis=1)

    return features
