"""What a trunk is: pictures to features, in stages that are trained or left as they are."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.shared.errors import UserError
from experiments.vision.mobilenet import normalised

Which = Literal["none", "last", "all"]
PRECISIONS = ("float32", "bfloat16")


class Trunk(nnx.Module):
    """A model of pictures without its classifier.

    Parameters are float32 whatever it computes in. Batch normalisation is folded into the
    convolutions: its statistics are those of the weights and never change (the usual choice for
    batches of a few videos), and what is trained is the folded kernel and bias. Nothing is random,
    so there is no difference between training and use.

    Attributes:
        num_features: of its result.
        side: the usual height and width of a picture.
        divisor: height and width of every picture must be multiples of it.
        smallest: height and width of a picture must be at least this.
        stages: the stem first; each ``[N, H, W, C] -> [N, H', W', C']``, or tokens
            ``[N, tokens, C]``.
        precision: "float32", or "bfloat16", in which the stages then compute; features are float32.
        remat: whether a stage is computed again in the backward pass, which saves the memory of
            what is inside it.
    """

    num_features: int
    side: int = 224
    divisor: int = 1
    smallest: int = 32

    def __init__(self, stages: Sequence[nnx.Module], *, precision: str, remat: bool) -> None:
        """Takes the stages and how they are computed."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
        self.stages = nnx.List(stages)
        self.precision, self.remat = precision, remat

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features ``[N, num_features]``, float32, of images ``[N, H, W, 3]`` in [0, 1].

        Raises:
            ValueError: images of another shape or size.
        """
        return self.pooled(self.maps(images))

    def maps(self, images: jax.Array) -> jax.Array:
        """What the last stage returns, of images as for `__call__`; in `precision`."""
        self._check(images.shape)
        x = normalised(images.astype(jnp.float32)).astype(self.precision)
        for stage in self.stages:
            x = rematerialised(stage, x) if self.remat else _run(stage, x)
        return x

    def pooled(self, maps: jax.Array) -> jax.Array:
        """Features ``[N, num_features]``, float32, of what `maps` returned: the mean over it."""
        return jnp.mean(maps.astype(jnp.float32), axis=tuple(range(1, maps.ndim - 1)))

    def _check(self, shape: tuple[int, ...]) -> None:
        sides = shape[1:3]
        if len(shape) != 4 or shape[3] != 3 or min(sides) < self.smallest:
            raise ValueError(
                f"images must have shape [N, H, W, 3] with sides of at least {self.smallest}, "
                f"got {shape}"
            )
        if any(side % self.divisor for side in sides):
            raise ValueError(f"sides of images must be multiples of {self.divisor}, got {shape}")


def rematerialised(module: nnx.Module, x: jax.Array) -> jax.Array:
    """Calls a module; what is inside it is computed again in the backward pass.

    `nnx.remat` would write all of its variables again, which is refused where only some of them
    are differentiated.
    """
    graphdef, state = nnx.split(module)
    return jax.checkpoint(lambda state, x: _run(nnx.merge(graphdef, state), x))(state, x)


def _run(stage: Any, x: jax.Array) -> jax.Array:
    return stage(x)


def trained_filter(
    trunk: nnx.Module, which: Which, num_last: int = 1, *, at: Sequence[str] = ()
) -> Callable[[Sequence[Any], Any], bool]:
    """Returns an nnx filter: which parameters of a model take gradients.

    Args:
        trunk: the trunk in the model.
        which: "all" of the trunk's parameters, "none", or the "last" stages, with what comes after
            them.
        num_last: of the stages, with "last".
        at: where the trunk is in the model that the filter is used on, such as
            ``("classifier", "trunk")``; empty where the model is the trunk itself. Parameters of
            the model elsewhere are always trained.

    Raises:
        UserError: "last" of a trunk that has no stages, or not so many.
    """
    num_stages = len(getattr(trunk, "stages", ()))
    if which == "last" and not 1 <= num_last <= num_stages:
        raise UserError(
            f"the last {num_last} stages are to be trained of a model that has {num_stages}"
            + (": train all of it, or none" if not num_stages else "")
        )
    prefix = tuple(at)

    def is_trained(path: Sequence[Any], value: Any) -> bool:
        if not issubclass(getattr(value, "type", type(value)), nnx.Param):
            return False
        inside = tuple(path)
        if inside[: len(prefix)] != prefix:
            return True
        inside = inside[len(prefix) :]
        if which != "last" or inside[0] != "stages":
            return which != "none"
        return int(inside[1]) >= num_stages - num_last

    return is_trained
