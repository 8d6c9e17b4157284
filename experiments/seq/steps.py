"""The compiled steps of training and scoring, and what they work on."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.seq.episodes import Episode
from experiments.seq.settings import Settings
from tempalign import heads

Params = dict[str, Any]

_SCORED_AT_ONCE = 256  # images: one compilation for splits of every size


@dataclass(frozen=True)
class StepSpec:
    """What a compiled step is compiled for; runs with equal specs share one compilation.

    Attributes:
        graphdef: the head without its arrays.
        align: whether the loss has the alignment to exemplars.
        smooth: whether it has the smoothness.
        iterations: most iterations behind an exemplar.
        weight_decay: AdamW's.
    """

    graphdef: nnx.GraphDef
    align: bool
    smooth: bool
    iterations: int
    weight_decay: float

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with learning rate 1: `train_step` scales its update by the rate."""
        return optax.adamw(1.0, b1=0.9, b2=0.999, weight_decay=self.weight_decay)


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: of the head, by name.
        optimizer: optax state.
    """

    params: Params
    optimizer: optax.OptState


class Scaling(NamedTuple):
    """What features are standardised with, each float32 ``[F]``."""

    mean: np.ndarray | jax.Array
    std: np.ndarray | jax.Array

    def apply(self, features: np.ndarray | jax.Array) -> jax.Array:
        """Returns stored features ``[..., F]`` as the head takes them."""
        return (jnp.asarray(features, jnp.float32) - self.mean) / self.std


def make_spec(
    settings: Settings, method: str, num_features: int, num_classes: int, seed: int
) -> tuple[StepSpec, TrainState]:
    """Returns what a method is compiled for, and its first state: the same for all of a seed."""
    head = heads.SeqClassifier(num_features, num_classes, rngs=nnx.Rngs(seed))
    graphdef, params = nnx.split(head)
    spec = StepSpec(
        graphdef,
        align=method in ("seq", "seq_no_smooth"),
        smooth=method in ("seq", "seq_no_align"),
        iterations=settings.exemplar_iterations,
        weight_decay=settings.weight_decay,
    )
    arrays = nnx.to_pure_dict(params)
    # The state's buffers are given to each step for reuse, so no two may be the same one.
    return spec, jax.tree.map(jnp.copy, TrainState(arrays, spec.optimizer.init(arrays)))


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(
    spec: StepSpec,
    state: TrainState,
    totals: jax.Array,
    episode: Episode,
    scaling: Scaling,
    weights: tuple[float, float, float],
    rate: float,
) -> tuple[TrainState, jax.Array]:
    """Takes one step of AdamW on the loss of an episode.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        totals: float32 [4], sums so far: loss, align, cross-entropy, smoothness.
        episode: its queries and support.
        scaling: of the features.
        weights: (alpha, beta, gamma).
        rate: the learning rate.

    Returns:
        (the new state, totals with this episode added).
    """
    alpha, beta, gamma = weights

    def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
        head = nnx.merge(spec.graphdef, params)
        classes = head.linear.out_features
        query = scaling.apply(episode.query)
        # Exemplars of the classes of the episode; those of others are not looked at.
        exemplars = jnp.zeros((classes, query.shape[1], classes))
        if spec.align:
            found = head.exemplars(
                scaling.apply(episode.support), gamma=gamma, num_iters=spec.iterations
            )
            exemplars = exemplars.at[episode.classes].set(found)
        terms = head.loss(query, episode.labels, exemplars, alpha=alpha, beta=beta, gamma=gamma)
        align = terms.align if spec.align else jnp.zeros(())
        smooth = terms.smooth if spec.smooth else jnp.zeros(())
        total = align + alpha * terms.cross_entropy + beta * smooth
        return total, jnp.stack([total, align, terms.cross_entropy, smooth])

    gradients, terms = jax.grad(loss_of, has_aux=True)(state.params)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    params = jax.tree.map(lambda old, update: old + rate * update, state.params, updates)
    return TrainState(params, optimizer), totals + terms


@partial(jax.jit, static_argnames="graphdef")
def _probabilities(
    graphdef: nnx.GraphDef, params: Params, frames: jax.Array, scaling: Scaling
) -> jax.Array:
    return jnp.mean(jax.nn.softmax(nnx.merge(graphdef, params)(scaling.apply(frames))), axis=1)


def classify(
    graphdef: nnx.GraphDef, params: Params, frames: np.ndarray, scaling: Scaling
) -> np.ndarray:
    """Returns the probabilities ``[N, C]`` of frames ``[N, T, F]``, averaged over the T."""
    found = []
    for start in range(0, len(frames), _SCORED_AT_ONCE):
        part = frames[start : start + _SCORED_AT_ONCE]
        padded = np.zeros((_SCORED_AT_ONCE, *frames.shape[1:]), frames.dtype)
        padded[: len(part)] = part
        found.append(np.asarray(_probabilities(graphdef, params, padded, scaling))[: len(part)])
    return np.concatenate(found)
