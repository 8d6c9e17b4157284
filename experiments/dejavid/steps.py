"""One step of training and one of prediction: pure functions of arrays, compiled once a shape.

What varies between runs of the same shapes (parameters, learning rates, seeds) is an argument, what
changes the compiled code is in `StepSpec`: runs with equal specs share one compilation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.tse.batches import Batch
from tempalign import heads

Params = dict[str, jax.Array]


class Statistics(NamedTuple):
    """Mean and deviation of every feature: `x` goes into the head as `(x - mean) / std`.

    Attributes:
        mean: float32 [F].
        std: float32 [F].
    """

    mean: jax.Array | np.ndarray
    std: jax.Array | np.ndarray

    @classmethod
    def identity(cls, num_features: int) -> "Statistics":
        """Returns the statistics that leave features as they are."""
        return cls(np.zeros(num_features, np.float32), np.ones(num_features, np.float32))


@dataclass(frozen=True)
class StepSpec:
    """What a compiled step is compiled for.

    Attributes:
        graphdef: the head without its arrays, as `nnx.split` gives it.
        learned: names of the parameters that are learned; the others get no gradient, no update
            and no optimiser state.
        pooling: "mean" replaces every sequence by its temporal mean, "none" does not.
        weight_decay: AdamW's.
    """

    graphdef: nnx.GraphDef
    learned: tuple[str, ...]
    pooling: str
    weight_decay: float

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with learning rate 1: `train_step` scales each group's update by its own rate."""
        return optax.adamw(1.0, b1=0.9, b2=0.999, weight_decay=self.weight_decay)


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: the head's parameters by name, each [C, T_c, F].
        paths: copies of them that decide the warping paths, empty where those are live.
        optimizer: optax state of the learned parameters.
    """

    params: Params
    paths: Params
    optimizer: optax.OptState


def split_head(head: heads.DejaVidHead) -> tuple[nnx.GraphDef, Params, Params]:
    """Returns (graphdef, parameters, path copies) of a head, the arrays in plain dicts."""
    graphdef, *states = nnx.split(head, nnx.Param, heads.PathCopy)
    params, paths = (nnx.to_pure_dict(state) for state in states)
    return graphdef, params, paths


def init_state(spec: StepSpec, params: Params, paths: Params) -> TrainState:
    """Returns the state before the first step: the head's arrays and an optimiser at rest."""
    optimizer = spec.optimizer.init({name: params[name] for name in spec.learned})
    # The state's buffers are given to each step for reuse, so no two may be the same one.
    return jax.tree.map(jnp.copy, TrainState(params, paths, optimizer))


def refresh_paths(spec: StepSpec, state: TrainState) -> TrainState:
    """Returns the state with path copies equal to its parameters (paper section 3.4)."""
    if not state.paths:
        return state
    head = nnx.merge(spec.graphdef, state.params, state.paths)
    head.refresh_paths()
    _, params, paths = split_head(head)
    return state._replace(params=params, paths=jax.tree.map(jnp.copy, paths))


def prepare(
    x: jax.Array | np.ndarray,
    lengths: jax.Array | np.ndarray,
    statistics: Statistics,
    pooling: str,
) -> tuple[jax.Array, jax.Array]:
    """Turns stored sequences into what the head takes.

    Args:
        x: [..., T, F] in the stored dtype.
        lengths: int [...].
        statistics: to standardise with.
        pooling: see `StepSpec`.

    Returns:
        (x float32 [..., T, F], or [..., 1, F] where pooled, lengths).
    """
    x = (jnp.asarray(x, jnp.float32) - statistics.mean) / statistics.std
    lengths = jnp.asarray(lengths)
    if pooling == "none":
        return x, lengths
    present = jnp.arange(x.shape[-2]) < lengths[..., None]
    total = jnp.sum(jnp.where(present[..., None], x, 0), axis=-2, keepdims=True)
    return total / lengths[..., None, None], jnp.ones_like(lengths)


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(
    spec: StepSpec,
    state: TrainState,
    totals: jax.Array,
    batch: Batch,
    rates: Mapping[str, jax.Array | np.float32],
    statistics: Statistics,
) -> tuple[TrainState, jax.Array]:
    """Takes one step of AdamW on the mean cross-entropy of the batch's valid rows.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        totals: float32 [3], sums so far: loss, correct predictions, samples.
        batch: the samples.
        rates: learning rate of each parameter by name, scalars.
        statistics: of the features.

    Returns:
        (the new state, totals with this batch added).
    """
    x, lengths = prepare(batch.x, batch.lengths, statistics, spec.pooling)
    count = jnp.sum(batch.valid)

    def mean_loss(learned: Params) -> tuple[jax.Array, jax.Array]:
        head = nnx.merge(spec.graphdef, {**state.params, **learned}, state.paths)
        logits = head(x, lengths=lengths)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.sum(losses * batch.valid) / count, logits

    learned = {name: state.params[name] for name in spec.learned}
    (loss, logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(learned)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, learned)
    learned = {name: learned[name] + rates[name] * updates[name] for name in spec.learned}
    correct = jnp.sum((jnp.argmax(logits, axis=-1) == batch.labels) * batch.valid)
    totals = totals + jnp.stack([loss * count, correct, count])
    return TrainState({**state.params, **learned}, state.paths, optimizer), totals


@partial(jax.jit, static_argnames="spec")
def predict_step(
    spec: StepSpec,
    params: Mapping[str, jax.Array | np.ndarray],
    x: jax.Array | np.ndarray,
    lengths: jax.Array | np.ndarray,
    statistics: Statistics,
) -> jax.Array:
    """Returns the logits [B, C] of a batch of stored sequences [B, T, F].

    `spec.graphdef` is that of a head with live paths: the parameters themselves decide them.
    """
    x, lengths = prepare(x, lengths, statistics, spec.pooling)
    return nnx.merge(spec.graphdef, params)(x, lengths=lengths)
