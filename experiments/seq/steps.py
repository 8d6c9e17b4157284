"""The compiled step of training, and what it works on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from experiments.seq.settings import SeqOptions
from experiments.shared import devices
from experiments.shared.devices import ROWS, WHOLE
from experiments.shared.optimizers import adamw
from experiments.shared.scaling import Scaling
from tempalign import SeqLoss, heads

Params = dict[str, Any]
Tested = dict[str, np.ndarray]


class Episode(NamedTuple):
    """The arrays of one step.

    Attributes:
        query: ``[B, T, F]``, sequences to learn from; T is 1 for single images.
        labels: int32 ``[B]``, the class of each query, whose exemplar it is aligned to.
        support: ``[K, N, tau, F]``, sequences of K classes; not read where nothing is aligned.
        classes: int32 ``[K]``, the classes of the support.
        frame_labels: int32 ``[B, T]`` where frames have classes of their own; otherwise None, and
            the cross-entropy is that of the sequence.
        valid: float32 ``[B]`` where several devices share the queries: 0 for filler, otherwise 1.
    """

    query: np.ndarray
    labels: np.ndarray
    support: np.ndarray
    classes: np.ndarray
    frame_labels: np.ndarray | None = None
    valid: np.ndarray | None = None


@dataclass(frozen=True)
class StepSpec:
    """What a compiled step is compiled for; runs with equal specs share one compilation.

    Attributes:
        graphdef: the head without its arrays.
        align: whether the loss has the alignment to exemplars.
        smooth: whether it has the smoothness.
        iterations: most iterations behind an exemplar.
        weight_decay: AdamW's.
        mesh: of the devices that share each episode, or None for one device.
    """

    graphdef: nnx.GraphDef
    align: bool
    smooth: bool
    iterations: int
    weight_decay: float
    mesh: Mesh | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW with learning rate 1: `train_step` scales its update by the rate."""
        return adamw(1.0, b1=0.9, b2=0.999, weight_decay=self.weight_decay)


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: of the head, by name.
        optimizer: optax state.
    """

    params: Params
    optimizer: optax.OptState


class Snapshot(NamedTuple):
    """What is known after an epoch.

    Attributes:
        state: parameters and optimiser.
        scaling: what features are standardised with before the head.
        tested: what these parameters say of the test split, by name; see the room's run.
    """

    state: TrainState
    scaling: Scaling
    tested: Tested


def make_spec(
    options: SeqOptions, method: str, num_features: int, num_classes: int, seed: int
) -> tuple[StepSpec, TrainState]:
    """Returns what a method is compiled for, and its first state: the same for all of a seed."""
    graphdef, params = nnx.split(
        heads.SeqClassifier(num_features, num_classes, rngs=nnx.Rngs(seed))
    )
    spec = StepSpec(
        graphdef,
        align=method in ("seq", "seq_no_smooth"),
        smooth=method in ("seq", "seq_no_align"),
        iterations=options.exemplar_iterations,
        weight_decay=options.weight_decay,
        mesh=devices.mesh_of(),
    )
    arrays = nnx.to_pure_dict(params)
    # The state's buffers are given to each step for reuse, so no two may be the same one.
    return spec, jax.tree.map(jnp.copy, TrainState(arrays, spec.optimizer.init(arrays)))


def place_episode(spec: StepSpec, episode: Episode) -> Episode:
    """Returns an episode whose queries and classes the devices divide among them."""
    mesh = spec.mesh
    if mesh is None:
        return episode
    beyond = np.iinfo(np.int32).max  # a class that there is not
    valid = np.ones(len(episode.query), np.float32)
    rows = devices.place_filled(mesh, episode._replace(valid=valid))
    return rows._replace(classes=devices.place_filled(mesh, episode.classes, beyond))


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
        scaling: of the features of the episode.
        weights: (alpha, beta, gamma).
        rate: the learning rate.

    Returns:
        (the new state, totals with this episode added).
    """
    classes = nnx.merge(spec.graphdef, state.params).linear.out_features
    # Exemplars of the classes of the episode; those of others are not looked at.
    exemplars = jnp.zeros((classes, episode.query.shape[1], classes))
    if spec.align:
        found = devices.over(
            spec.mesh, partial(_exemplars, spec), (WHOLE, ROWS, WHOLE, WHOLE), ROWS, checked=False
        )(state.params, episode.support, scaling, weights)
        found, which = (devices.everywhere(spec.mesh, x) for x in (found, episode.classes))
        exemplars = exemplars.at[which].set(found)
    gradients, terms = devices.over(
        spec.mesh, partial(_gradients, spec), (WHOLE, ROWS, WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE)
    )(state.params, episode, exemplars, scaling, weights)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    params = jax.tree.map(lambda old, update: old + rate * update, state.params, updates)
    return TrainState(params, optimizer), totals + terms


def _exemplars(
    spec: StepSpec, params: Params, support: jax.Array, scaling: Scaling, weights: tuple
) -> jax.Array:
    """Exemplars of the classes that one device has, constants."""
    head = nnx.merge(spec.graphdef, params)
    scaled = scaling.apply(support.astype(jnp.float32))
    return head.exemplars(scaled, gamma=weights[2], num_iters=spec.iterations)


def _gradients(
    spec: StepSpec,
    params: Params,
    episode: Episode,
    exemplars: jax.Array,
    scaling: Scaling,
    weights: tuple,
) -> tuple[Params, jax.Array]:
    """Gradients of the loss, and it with its terms; see `train_step`."""
    alpha, beta, gamma = weights

    def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
        head = nnx.merge(spec.graphdef, params)
        query = scaling.apply(episode.query.astype(jnp.float32))

        def terms_of(query: jax.Array, labels: Any, frame_labels: Any) -> SeqLoss:
            return head.loss(
                query,
                labels,
                exemplars,
                alpha=alpha,
                beta=beta,
                gamma=gamma,
                sequence_labels=frame_labels,
            )

        if episode.valid is None:
            terms = terms_of(query, episode.labels, episode.frame_labels)
        else:
            found = jax.vmap(terms_of)(query, episode.labels, episode.frame_labels)
            share = episode.valid / devices.sum_over(spec.mesh, jnp.sum(episode.valid))
            terms = SeqLoss(*(jnp.sum(term * share) for term in found))
        align = terms.align if spec.align else jnp.zeros(())
        smooth = terms.smooth if spec.smooth else jnp.zeros(())
        total = align + alpha * terms.cross_entropy + beta * smooth
        return total, jnp.stack([total, align, terms.cross_entropy, smooth])

    gradients, terms = jax.grad(loss_of, has_aux=True)(params)
    return gradients, devices.sum_over(spec.mesh, terms)


def in_parts(
    function: Callable[[np.ndarray], jax.Array], items: np.ndarray, at_once: int
) -> np.ndarray:
    """Returns what a compiled function gives for many items, compiled once for any number of them.

    Args:
        function: of [at_once, ...]; each item's result depends on that item alone.
        items: [N, ...].
        at_once: how many are given to it; the last part is filled up with zeros.
    """
    found = []
    for start in range(0, len(items), at_once):
        part = items[start : start + at_once]
        padded = np.zeros((at_once, *items.shape[1:]), items.dtype)
        padded[: len(part)] = part
        found.append(np.asarray(function(padded))[: len(part)])
    return np.concatenate(found)
