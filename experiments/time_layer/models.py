"""Small spatial classifiers: images in, scores out."""

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.time_layer.settings import VIT_PATCHES, Settings

_DEPTH = 3  # its blocks
_HEADS = 4


class SmallResNet(nnx.Module):
    """Three residual stages, then a layer that sees where things are.

    The features are flattened, not averaged: in a grid the place is the time.
    """

    def __init__(self, side: int, channels: int, width: int, classes: int, *, rngs: nnx.Rngs):
        """Makes random weights for images ``[B, side, side, channels]``."""
        widths = (width, width + width // 2, 2 * width)
        self.stem = nnx.Conv(channels, widths[0], (5, 5), strides=2, rngs=rngs)
        self.blocks = nnx.List(
            [
                _Residual(before, after, stride, rngs=rngs)
                for before, after, stride in zip(
                    (widths[0], *widths), (widths[0], *widths[1:]), (1, 2, 1), strict=False
                )
            ]
        )
        last = -(-side // 4)
        self.hidden = nnx.Linear(last * last * widths[2], 128, rngs=rngs)
        self.scores = nnx.Linear(128, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores ``[B, classes]``."""
        x = nnx.relu(self.stem(_normalised(images)))
        for block in self.blocks:
            x = block(x)
        return self.scores(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


class _Residual(nnx.Module):
    def __init__(self, before: int, after: int, stride: int, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(before, after, (3, 3), strides=stride, rngs=rngs)
        self.second = nnx.Conv(after, after, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs)
        same = before == after and stride == 1
        self.skip = None if same else nnx.Conv(before, after, (1, 1), strides=stride, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = x if self.skip is None else self.skip(x)
        return nnx.relu(skip + self.second(nnx.relu(self.first(x))))


class SmallViT(nnx.Module):
    """A vision transformer on 8 x 8 patches, pre-norm, with learned places and mean pooling."""

    def __init__(self, side: int, channels: int, width: int, classes: int, *, rngs: nnx.Rngs):
        """Makes random weights for images ``[B, side, side, channels]``; side a multiple of 8."""
        patch, wide = side // VIT_PATCHES, 2 * width
        self.embed = nnx.Conv(channels, wide, (patch, patch), strides=patch, rngs=rngs)
        places = 0.02 * jax.random.normal(rngs.params(), (VIT_PATCHES * VIT_PATCHES, wide))
        self.places = nnx.Param(places)
        self.blocks = nnx.List([_Block(wide, rngs=rngs) for _ in range(_DEPTH)])
        self.norm = nnx.LayerNorm(wide, rngs=rngs)
        self.scores = nnx.Linear(wide, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores ``[B, classes]``."""
        x = self.embed(_normalised(images))
        x = x.reshape(x.shape[0], -1, x.shape[-1]) + self.places[...][None]
        for block in self.blocks:
            x = block(x)
        return self.scores(jnp.mean(self.norm(x), axis=1))


class _Block(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(_HEADS, width, decode=False, rngs=rngs)
        self.wide = nnx.Linear(width, 2 * width, rngs=rngs)
        self.narrow = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(nnx.gelu(self.wide(self.norms[1](x))))


def make_classifier(settings: Settings, classes: int, seed: int) -> nnx.Module:
    """Returns the classifier that the settings name, with random weights."""
    kind = SmallResNet if settings.model == "resnet" else SmallViT
    rngs = nnx.Rngs(seed)
    return kind(settings.side, settings.channels, settings.width, classes, rngs=rngs)


def _normalised(images: jax.Array) -> jax.Array:
    """Pixels 0 to 255 as mean 0 and deviation 1 of each image: brightness is no hint."""
    x = images.astype(jnp.float32) / 255
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 0.1)
