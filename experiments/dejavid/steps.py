"""One step of training and one of prediction: pure functions of arrays, compiled once a shape.

What varies between runs of the same shapes (parameters, learning rates, seeds) is an argument, what
changes the compiled code is in `StepSpec`: runs with equal specs share one compilation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.shared.errors import UserError
from experiments.shared.optimizers import adamw
from experiments.shared.scaling import Scaling
from experiments.tse.batches import Batch
from tempalign import heads

Params = dict[str, jax.Array]

T = TypeVar("T")

_AXIS = "batch"
_SHARDED, _WHOLE = PartitionSpec(_AXIS), PartitionSpec()


@dataclass(frozen=True)
class StepSpec:
    """What a compiled step is compiled for.

    Attributes:
        graphdef: the head without its arrays, as `nnx.split` gives it.
        learned: names of the parameters that are learned; the others get no gradient, no update
            and no optimiser state.
        pooling: "mean" replaces every sequence by its temporal mean, "none" does not.
        weight_decay: AdamW's.
        mesh: of the devices that share each batch, or None for one device.
    """

    graphdef: nnx.GraphDef
    learned: tuple[str, ...]
    pooling: str
    weight_decay: float
    mesh: Mesh | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with learning rate 1: `train_step` scales each group's update by its own rate."""
        return adamw(1.0, b1=0.9, b2=0.999, weight_decay=self.weight_decay)


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


def batch_mesh(batch_size: int) -> Mesh | None:
    """Returns the mesh of all devices of this machine, or None if there is one.

    Raises:
        UserError: the devices cannot share a batch evenly.
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return None
    if batch_size % len(devices):
        raise UserError(
            f"--batch_size must be a multiple of {len(devices)}, the devices that jax sees, got "
            f"{batch_size} (CUDA_VISIBLE_DEVICES=0 shows it one)"
        )
    return Mesh(np.array(devices), (_AXIS,))


def place_batch(spec: StepSpec, batch: Batch) -> Batch:
    """Returns the batch; where several devices share it, each row on the one that works on it."""
    return batch if spec.mesh is None else jax.device_put(batch, NamedSharding(spec.mesh, _SHARDED))


def place_whole(spec: StepSpec, tree: T) -> T:
    """Returns what each step needs whole, on all devices that share the batches."""
    return tree if spec.mesh is None else jax.device_put(tree, NamedSharding(spec.mesh, _WHOLE))


def _over_batch(spec: StepSpec, function: Callable, in_specs: tuple, out_specs: Any) -> Callable:
    """Returns the function, on each device's share of the batch where there are several."""
    if spec.mesh is None:
        return function
    return jax.shard_map(function, mesh=spec.mesh, in_specs=in_specs, out_specs=out_specs)


def _sum_over_devices(spec: StepSpec, value: jax.Array) -> jax.Array:
    return value if spec.mesh is None else jax.lax.psum(value, _AXIS)


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

    def gradients_and_sums(
        learned: Params, fixed: tuple[Params, Params], batch: Batch, scaling: Scaling
    ) -> tuple[Params, jax.Array]:
        x, lengths = prepare(batch.x, batch.lengths, scaling, spec.pooling)
        count = _sum_over_devices(spec, jnp.sum(batch.valid))

        def mean_loss(learned: Params) -> tuple[jax.Array, jax.Array]:
            params, paths = fixed
            head = nnx.merge(spec.graphdef, {**params, **learned}, paths)
            logits = head(x, lengths=lengths)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            return jnp.sum(losses * batch.valid) / count, logits

        # jax sums the gradients over the devices: what is learned is the same on all of them.
        (loss, logits), gradients = jax.value_and_grad(mean_loss, has_aux=True)(learned)
        correct = jnp.sum(jnp.where(jnp.argmax(logits, axis=-1) == batch.labels, batch.valid, 0))
        loss, correct = _sum_over_devices(spec, jnp.stack([loss, correct]))
        return gradients, jnp.stack([loss * count, correct, count])

    learned = {name: state.params[name] for name in spec.learned}
    gradients, sums = _over_batch(
        spec, gradients_and_sums, (_WHOLE, _WHOLE, _SHARDED, _WHOLE), (_WHOLE, _WHOLE)
    )(learned, (state.params, state.paths), batch, scaling)
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

    def logits(params, x, lengths, scaling):
        x, lengths = prepare(x, lengths, scaling, spec.pooling)
        return nnx.merge(spec.graphdef, params)(x, lengths=lengths)

    return _over_batch(spec, logits, (_WHOLE, _SHARDED, _SHARDED, _WHOLE), _SHARDED)(
        params, x, lengths, scaling
    )
