"""Spatial classifiers: images in, scores out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.shared.errors import UserError
from experiments.time_layer.settings import VIT_PATCHES, Settings
from experiments.vision.depth import FARTHEST
from experiments.vision.trunks import NAMES, RANDOM, Trunk, open_trunk, trained_filter

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


class TrunkClassifier(nnx.Module):
    """A trunk and a linear layer on its features, or on all places of its last map of them."""

    def __init__(self, trunk: Trunk, side: int, places: bool, classes: int, *, rngs: nnx.Rngs):
        """Takes the trunk and makes random weights of the linear layer.

        Raises:
            UserError: all places of a trunk that has no map of features.
        """
        self.trunk, self.places = trunk, places
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        num_features = trunk.num_features
        if places:
            found = (
                nnx.eval_shape(lambda one, x: one.maps(x), trunk, images) if trunk.stages else None
            )
            if found is None or len(found.shape) != 4:
                raise UserError("--pooling=places: this --model has no map of features, only mean")
            num_features = found.size
        self.scores = nnx.Linear(num_features, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores ``[B, classes]`` of images ``[B, side, side, channels]``, 0 to 255."""
        x = images.astype(jnp.float32) / 255
        if x.shape[-1] == 1:
            x = jnp.tile(x, (1, 1, 1, 3))
        if not self.places:
            return self.scores(self.trunk(x))
        maps = self.trunk.maps(x).astype(jnp.float32)
        return self.scores(maps.reshape(maps.shape[0], -1))


class DepthClassifier(nnx.Module):
    """A classifier of grids of depth, in which holes were not mixed with what was measured.

    The TIME layer, which knows nothing of holes, scales depth and where it was measured alike; the
    one by the other is the mean over what was measured.
    """

    def __init__(self, classifier: nnx.Module):
        """Takes a classifier of images with one channel."""
        self.classifier = classifier

    def __call__(self, images: jax.Array) -> jax.Array:
        """Scores ``[B, classes]`` of images ``[B, side, side, 2]``, see `with_holes`."""
        depth, measured = jnp.split(images.astype(jnp.float32) / FARTHEST, 2, axis=-1)
        mean = jnp.where(measured >= 0.5, depth / jnp.maximum(measured, 0.5), 0)
        inner: Any = self.classifier
        return inner(255 * mean)


def with_holes(videos: jax.Array) -> jax.Array:
    """Returns videos of depth ``[..., 1]`` with a second channel: where it was measured."""
    measured = jnp.where(videos > 0, jnp.asarray(FARTHEST, videos.dtype), 0)
    return jnp.concatenate([videos, measured], axis=-1)


def make_classifier(
    settings: Settings, classes: int, seed: int, *, any_weights: bool = False
) -> nnx.Module:
    """Returns the classifier that the settings name, with its first weights.

    Args:
        settings: of the job.
        classes: how many scores.
        seed: of random weights.
        any_weights: those of a trunk do not matter, as in `nnx.eval_shape`; no file is read.

    Raises:
        MissingFileError: the weights are not there.
        UserError: a trunk that cannot be made so; see `open_trunk`.
    """
    rngs = nnx.Rngs(seed)
    made: nnx.Module
    if settings.has_trunk:
        ours = settings.model in NAMES
        trunk = open_trunk(
            settings.model,
            weights=RANDOM if any_weights and ours else settings.weights,
            seed=seed,
            side=settings.side,
            precision=settings.precision,
            remat=settings.remat,
        )
        places = settings.pooling == "places"
        made = TrunkClassifier(trunk, settings.side, places, classes, rngs=rngs)
    else:
        kind = SmallResNet if settings.model == "resnet" else SmallViT
        made = kind(settings.side, settings.channels, settings.width, classes, rngs=rngs)
    return DepthClassifier(made) if settings.limits else made


def check_classifier(settings: Settings) -> None:
    """Makes a classifier once, so that what is wrong with it is known before the data is read.

    Raises:
        MissingFileError: the weights are not there.
        UserError: it cannot be made, see `make_classifier` and `trained_part`.
    """
    if settings.has_trunk:
        trained_part(make_classifier(settings, 2, 0), settings, at=())


def trained_part(classifier: nnx.Module, settings: Settings, *, at: tuple[str, ...]) -> Callable:
    """Returns an nnx filter: which parameters take gradients.

    Args:
        classifier: as `make_classifier` returns it.
        settings: of the job.
        at: where it is in the model that the filter is used on.

    Raises:
        UserError: more stages are to be trained than there are.
    """
    while isinstance(classifier, DepthClassifier):
        classifier, at = classifier.classifier, (*at, "classifier")
    if not isinstance(classifier, TrunkClassifier):
        return trained_filter(classifier, "all")
    which: Any = settings.trained
    return trained_filter(classifier.trunk, which, settings.last_stages, at=(*at, "trunk"))


def _normalised(images: jax.Array) -> jax.Array:
    """Pixels 0 to 255 as mean 0 and deviation 1 of each image: brightness is no hint."""
    x = images.astype(jnp.float32) / 255
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 0.1)
