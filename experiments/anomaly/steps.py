"""The compiled steps of training and scoring, and what they work on."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.anomaly.settings import Settings
from experiments.anomaly.windows import Episode
from tempalign import heads

Params = dict[str, Any]

_SCORED_AT_ONCE = 4096  # rows: one compilation for videos of every length


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


def make_spec(settings: Settings, method: str, num_features: int, seed: int) -> tuple:
    """Returns (StepSpec, first TrainState) of a method; the weights depend on the seed only."""
    head = heads.SeqClassifier(num_features, 2, rngs=nnx.Rngs(seed))
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
    weights: tuple[float, float, float],
    rate: float,
) -> tuple[TrainState, jax.Array]:
    """Takes one step of AdamW on the loss of an episode.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        totals: float32 [4], sums so far: loss, align, cross-entropy, smoothness.
        episode: the windows.
        weights: (alpha, beta, gamma).
        rate: the learning rate.

    Returns:
        (the new state, totals with this episode added).
    """
    alpha, beta, gamma = weights

    def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
        head = nnx.merge(spec.graphdef, params)
        if spec.align:
            exemplars = head.exemplars(episode.support, gamma=gamma, num_iters=spec.iterations)
        else:
            exemplars = jnp.zeros((2, episode.query.shape[1], 2))
        terms = head.loss(
            episode.query,
            episode.labels,
            exemplars,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            sequence_labels=episode.frame_labels,
        )
        align = terms.align if spec.align else 0.0
        smooth = terms.smooth if spec.smooth else 0.0
        total = align + alpha * terms.cross_entropy + beta * smooth
        return total, jnp.stack([total, align, terms.cross_entropy, smooth])

    gradients, terms = jax.grad(loss_of, has_aux=True)(state.params)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    params = jax.tree.map(lambda old, update: old + rate * update, state.params, updates)
    return TrainState(params, optimizer), totals + terms


@partial(jax.jit, static_argnames="graphdef")
def _log_odds(
    graphdef: nnx.GraphDef, params: Params, rows: jax.Array, mean: jax.Array, std: jax.Array
) -> jax.Array:
    scores = nnx.merge(graphdef, params)((rows - mean) / std)
    return scores[:, 1] - scores[:, 0]


def score_rows(
    graphdef: nnx.GraphDef, params: Params, rows: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> np.ndarray:
    """Returns the probability of anomaly, float64 [R], of rows [R, F] of features.

    In float32 every log-odds above 17 would become 1, and the ties would decide the metrics.
    """
    found = []
    for start in range(0, len(rows), _SCORED_AT_ONCE):
        part = rows[start : start + _SCORED_AT_ONCE].astype(np.float32)
        padded = np.zeros((_SCORED_AT_ONCE, rows.shape[1]), np.float32)
        padded[: len(part)] = part
        found.append(np.asarray(_log_odds(graphdef, params, padded, mean, std))[: len(part)])
    return 1 / (1 + np.exp(-np.concatenate(found).astype(np.float64)))
