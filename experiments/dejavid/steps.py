"""One step of training and one of prediction: pure functions of arrays, compiled once a shape.

What varies between runs of the same shapes (parameters, learning rates, seeds) is an argument, what
changes the compiled code is in `StepSpec`: runs with equal specs share one compilation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from experiments.shared import devices, processes
from experiments.shared.devices import CLASSES, ROWS, WHOLE
from experiments.shared.optimizers import adamw
from experiments.shared.scaling import Scaling
from experiments.tse.batches import Batch
from tempalign import heads

Params = dict[str, Any]

T = TypeVar("T")


@dataclass(frozen=True)
class StepSpec:
    """What a compiled step is compiled for.

    Attributes:
        graphdef: the head without its arrays, as `nnx.split` gives it.
        learned: names of the parameters that are learned; the others get no gradient, no update
            and no optimiser state.
        pooling: "mean" replaces every sequence by its temporal mean, "none" does not.
        weight_decay: AdamW's.
        mesh: of the devices that share each batch, and perhaps the classes; None for one device.
        num_classes: C, where devices share the classes: each has as many, and behind the last one
            there is filler, of which nothing is learned.
    """

    graphdef: nnx.GraphDef
    learned: tuple[str, ...]
    pooling: str
    weight_decay: float
    mesh: Mesh | None = None
    num_classes: int = 0

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with learning rate 1: `train_step` scales each group's update by its own rate."""
        return adamw(1.0, b1=0.9, b2=0.999, weight_decay=self.weight_decay)

    @property
    def of_classes(self) -> PartitionSpec:
        """Where arrays with an entry for each class are."""
        return CLASSES if devices.class_shards(self.mesh) > 1 else WHOLE


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


def place_state(spec: StepSpec, state: T) -> T:
    """Returns parameters, and what belongs to each of them, on the devices that work on them.

    These are copies: a step reuses the buffers of the state that it is given.

    Args:
        spec: says on which.
        state: arrays that every process has whole; those of three axes are of classes.
    """
    if spec.of_classes == WHOLE:
        return devices.copied(spec.mesh, state)
    missing = -spec.num_classes % devices.class_shards(spec.mesh)

    def full(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return np.pad(leaf, ((0, missing), (0, 0), (0, 0))) if leaf.ndim == 3 else leaf

    specs = jax.tree.map(lambda leaf: CLASSES if np.ndim(leaf) == 3 else WHOLE, state)
    return devices.place(spec.mesh, jax.tree.map(full, state), specs)


def whole_state(spec: StepSpec, state: T) -> T:
    """Returns a state as it was before `place_state`; NumPy arrays where devices share classes."""
    if spec.of_classes == WHOLE:
        return state
    host = processes.to_host(state)
    return jax.tree.map(lambda leaf: leaf[: spec.num_classes] if leaf.ndim == 3 else leaf, host)


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


def first_state(spec: StepSpec, params: Params, paths: Params) -> TrainState:
    """Returns what `init_state` does as NumPy arrays: no device needs to have room for all."""
    optimizer = jax.eval_shape(lambda *arrays: init_state(spec, *arrays), params, paths).optimizer
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), optimizer)
    params, paths = jax.tree.map(np.asarray, (params, paths))
    return TrainState(params, paths, zeros)


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
    scaling: Scaling,
    pooling: str,
) -> tuple[jax.Array, jax.Array]:
    """Turns stored sequences into what the head takes.

    Args:
        x: [..., T, F] in the stored dtype.
        lengths: int [...].
        scaling: to standardise with.
        pooling: see `StepSpec`.

    Returns:
        (x float32 [..., T, F], or [..., 1, F] where pooled, lengths).
    """
    scaled: jax.Array = scaling.apply(jnp.asarray(x, jnp.float32))
    lengths = jnp.asarray(lengths)
    if pooling == "none":
        return scaled, lengths
    frames = jax.lax.broadcasted_iota(lengths.dtype, scaled.shape[:-1], scaled.ndim - 2)
    present = frames < lengths[..., None]
    total = jnp.sum(jnp.where(present[..., None], scaled, 0), axis=-2, keepdims=True)
    return total / lengths[..., None, None].astype(total.dtype), jnp.ones_like(lengths)


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(
    spec: StepSpec,
    state: TrainState,
    totals: jax.Array,
    batch: Batch,
    rates: Mapping[str, jax.Array | np.float32],
    scaling: Scaling,
) -> tuple[TrainState, jax.Array]:
    """Takes one step of AdamW on the mean cross-entropy of the batch's valid rows.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        totals: float32 [3], sums so far: loss, correct predictions, samples.
        batch: the samples.
        rates: learning rate of each parameter by name, scalars.
        scaling: of the features.

    Returns:
        (the new state, totals with this batch added).
    """
    mesh = spec.mesh

    def gradients_and_sums(
        learned: Params, fixed: tuple[Params, Params], batch: Batch, scaling: Scaling
    ) -> tuple[Params, jax.Array]:
        x, lengths = prepare(batch.x, batch.lengths, scaling, spec.pooling)
        count = devices.sum_over(mesh, jnp.sum(batch.valid))

        def mean_loss(learned: Params) -> tuple[jax.Array, jax.Array]:
            params, paths = fixed
            head = nnx.merge(spec.graphdef, {**params, **learned}, paths)
            distances = head.distances(x, lengths=lengths)
            logits = head.logits(devices.all_classes(mesh, distances, spec.num_classes))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            return devices.once(mesh, jnp.sum(losses * batch.valid) / count), logits

        # jax sums the gradients over the devices on which what is learned is the same.
        (loss, logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(learned)
        correct = jnp.sum(jnp.where(jnp.argmax(logits, axis=-1) == batch.labels, batch.valid, 0))
        loss, correct = devices.sum_over(mesh, jnp.stack([loss, correct]))
        return gradients, jnp.stack([loss * count, correct, count])

    learned = {name: state.params[name] for name in spec.learned}
    own = spec.of_classes
    gradients, sums = devices.over(mesh, gradients_and_sums, (own, own, ROWS, WHOLE), (own, WHOLE))(
        learned, (state.params, state.paths), batch, scaling
    )
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, learned)
    learned = {name: learned[name] + rates[name] * updates[name] for name in spec.learned}
    return TrainState({**state.params, **learned}, state.paths, optimizer), totals + sums


@partial(jax.jit, static_argnames="spec")
def predict_step(
    spec: StepSpec,
    params: Mapping[str, jax.Array | np.ndarray],
    x: jax.Array | np.ndarray,
    lengths: jax.Array | np.ndarray,
    scaling: Scaling,
) -> jax.Array:
    """Returns the logits [B, C] of a batch of stored sequences [B, T, F].

    `spec.graphdef` is that of a head with live paths: the parameters themselves decide them.
    """

    def distances(params, x, lengths, scaling):
        x, lengths = prepare(x, lengths, scaling, spec.pooling)
        return nnx.merge(spec.graphdef, params).distances(x, lengths=lengths)

    own = spec.of_classes
    pairs = PartitionSpec(devices.BATCH, *own)
    found = devices.over(spec.mesh, distances, (own, ROWS, ROWS, WHOLE), pairs)(
        params, x, lengths, scaling
    )
    found = devices.everywhere(spec.mesh, found)
    if own != WHOLE:
        found = found[:, : spec.num_classes]
    return nnx.merge(spec.graphdef, params).logits(found)
