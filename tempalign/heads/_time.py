"""TIME: a spatial classifier that sees time as grids of frames."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from tempalign._engine import checks
from tempalign._engine.modes import in_our_modes
from tempalign._time_layer import Arrangement, grid_size, time_layer
from tempalign._types import Array, ArrayLike


class TimeClassifier(nnx.Module):
    """The TIME layer in front of any classifier of images.

    The video becomes `num_frames` grids of n x n frames; the classifier scores each of them, and
    the scores are averaged. With ``n = 1`` that is the average over single frames, which does not
    see their order.

    Attributes:
        classifier: images ``[B, H, W, channels]`` to scores ``[B, C]``; trained if it is a module.

    Source:
        "When Spatial meets Temporal in Action Recognition", arXiv 2411.15284.

    Example:
        >>> import jax.numpy as jnp
        >>> from tempalign import heads
        >>> brightness = lambda images: images.mean((1, 2))  # a classifier of 3 "classes"
        >>> head = heads.TimeClassifier(brightness, n=2, num_frames=4)
        >>> head(jnp.ones((5, 16, 8, 8, 3))).shape
        (5, 3)
    """

    @in_our_modes
    def __init__(
        self,
        classifier: Callable[[Array], Array],
        n: int,
        *,
        num_frames: int,
        arrangement: Arrangement = "spatial",
        size: tuple[int, int] | None = None,
    ):
        """Makes a head around a classifier.

        Args:
            classifier: a module or function of images.
            n: cells along each side of the grid.
            num_frames: grids of a video.
            arrangement: see `tempalign.time_layer`.
            size: height and width of the grids, both divisible by n. None: those of the frames.

        Raises:
            ValueError: a count below 1, an unknown arrangement, a size that is not two numbers or
                that n does not divide.
            TypeError: counts that are not integers.
        """
        self.classifier = classifier
        self.n = checks.positive_int(n, "n")
        self.num_frames = checks.positive_int(num_frames, "num_frames")
        checks.choice(arrangement, "arrangement", ("spatial", "temporal"))
        self.arrangement: Arrangement = arrangement
        self.size = None if size is None else grid_size(size, self.n)

    @in_our_modes
    def grids(self, frames: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """What the classifier is shown, ``[..., num_frames, H, W, channels]``.

        Args:
            frames: ``[..., S, H, W, channels]``.
            lengths: true numbers of frames, see `tempalign.time_layer`.

        Raises:
            ValueError: see `tempalign.time_layer`.
            TypeError: see `tempalign.time_layer`.
        """
        return time_layer(
            frames,
            self.n,
            num_frames=self.num_frames,
            arrangement=self.arrangement,
            size=self.size,
            lengths=lengths,
        )

    @in_our_modes
    def __call__(self, frames: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Scores ``[..., C]`` of videos; arguments as for `grids`."""
        shown = self.grids(frames, lengths=lengths)
        scores = self.classifier(shown.reshape(-1, *shown.shape[-3:]))
        return jnp.mean(scores.reshape(*shown.shape[:-3], -1), axis=-2)
