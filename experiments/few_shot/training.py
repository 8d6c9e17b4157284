"""Meta-training: what a run is, how it starts, and what an epoch does."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from experiments.few_shot import evaluation
from experiments.few_shot.data import Meta, MetaData, MetaSplit, Samples
from experiments.few_shot.evaluation import Row
from experiments.few_shot.models import episodes_loss, make_model, num_parameters
from experiments.few_shot.sampling import Classes, sample_episodes
from experiments.few_shot.settings import Settings
from experiments.shared import devices
from experiments.shared.devices import ROWS, WHOLE
from experiments.shared.finite import check_losses
from experiments.shared.optimizers import adamw
from experiments.shared.options import to_text
from experiments.shared.run import Advance, Entry, Run
from experiments.shared.scaling import Scaling
from tempalign.heads import FewShotHead

Params = dict[str, Any]


class Source(NamedTuple):
    """What features come from: a training, or nothing but the frozen features.

    Attributes:
        through: the matching whose loss is minimised; "" for the features as they are.
        gamma: temperature (read by the two TAM matchings only).
        seed: of first weights and training episodes.
    """

    through: str
    gamma: float
    seed: int

    @property
    def name(self) -> str:
        """For messages, and the folder of its checkpoints."""
        if not self.through:
            return "untrained"
        return f"{self.through}-gamma{to_text(self.gamma)}-seed{self.seed}"


UNTRAINED = Source("", 0.0, -1)


@dataclass(frozen=True)
class TrainSpec:
    """What a compiled epoch is compiled for.

    Attributes:
        graphdef: the model without its arrays, as `nnx.split` gives it.
        steps: steps an epoch.
        episodes: episodes a step.
        total_steps: of the whole run, for the learning rate.
        learning_rate: the first.
        weight_decay: AdamW's.
        way: classes an episode.
        shots: supports a class.
        queries: queries a class.
        mesh: of the devices that share the episodes of each step, or None for one device.
    """

    graphdef: nnx.GraphDef
    steps: int
    episodes: int
    total_steps: int
    learning_rate: float
    weight_decay: float
    way: int
    shots: int
    queries: int
    mesh: Mesh | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW, its rate a cosine to 0."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.total_steps)
        return adamw(rate, weight_decay=self.weight_decay)


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: of the encoder.
        optimizer: optax state.
    """

    params: Params
    optimizer: optax.OptState


class Snapshot(NamedTuple):
    """What is known after an epoch.

    Attributes:
        state: of this epoch.
        best: parameters of the best epoch on the meta-validation classes; without such classes
            those of the last epoch.
        best_accuracy: float64, of that epoch on the meta-validation classes, in [0, 1]; -1 where it
            is not known.
        best_epoch: int32, from 1; 0 before the first.
        scaling: what the features were scaled with, for `--predict`.
    """

    state: TrainState
    best: Params
    best_accuracy: np.ndarray | np.float64
    best_epoch: np.ndarray | np.int32
    scaling: Scaling


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_epoch(
    spec: TrainSpec,
    state: TrainState,
    features: jax.Array,
    classes: Classes,
    gamma: float,
    seed: int,
    epoch: int,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """Takes the steps of one epoch on the loss of Eq. 8.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        features: float32 [N, T, F] of the meta-training samples.
        classes: where their classes stand.
        gamma: temperature, traced: one compilation serves a whole sweep.
        seed: of the training episodes.
        epoch: from 0: episodes are numbered through the whole run.

    Returns:
        (the new state, the mean loss of the steps, the loss of each).
    """
    labels = jnp.arange(spec.way).repeat(spec.queries)

    mesh = spec.mesh

    def of_episodes(
        params: Params,
        query: jax.Array,
        support: jax.Array,
        features: jax.Array,
        labels: jax.Array,
        gamma: jax.Array,
    ) -> tuple[jax.Array, Params]:
        valid = devices.valid_rows(mesh, spec.episodes)

        def loss(params: Params) -> jax.Array:
            model = nnx.merge(spec.graphdef, params)
            model.gamma = gamma
            episodes = (features[query], features[support])
            return episodes_loss(mesh, model, *episodes, labels, valid / spec.episodes)

        value, gradients = jax.value_and_grad(loss)(params)
        return devices.sum_over(mesh, value), gradients

    value_and_gradients = devices.over(
        mesh, of_episodes, (WHOLE, ROWS, ROWS, WHOLE, WHOLE, WHOLE), (WHOLE, WHOLE)
    )

    def step(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        numbers = (epoch * spec.steps + number) * spec.episodes + jnp.arange(spec.episodes)
        query, support = sample_episodes(
            seed, numbers, classes, way=spec.way, shots=spec.shots, queries=spec.queries
        )

        more = devices.filled(mesh, spec.episodes) - spec.episodes
        if more:  # they count nothing
            query, support = (
                jnp.pad(rows, ((0, more), *((0, 0),) * (rows.ndim - 1)), mode="edge")
                for rows in (query, support)
            )
        value, gradients = value_and_gradients(
            state.params, query, support, features, labels, gamma
        )
        updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimizer), value

    state, losses = jax.lax.scan(step, state, jnp.arange(spec.steps))
    return state, jnp.mean(losses), losses


class EpisodeRun(Run[Snapshot]):
    """One model, trained on episodes of the meta-training classes.

    After every epoch it is evaluated on the meta-validation classes, where there are any.
    """

    def __init__(
        self, data: Meta, settings: Settings, source: Source, params: Params, scaling: Scaling
    ) -> None:
        """Prepares a run.

        Args:
            data: what to train and validate on.
            settings: see `Settings`.
            source: what to train through, at which temperature, with which seed.
            params: the first ones, of what is trained.
            scaling: what features are scaled with.
        """
        self.name, self.about = source.name, source._asdict()
        self._settings, self._source = settings, source
        self._val, self._params, self._scaling = data.val, params, scaling

    @property
    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """Of the parameters."""

    @property
    @abc.abstractmethod
    def mesh(self) -> Mesh | None:
        """Of the devices that share the episodes of a step."""

    @abc.abstractmethod
    def train_steps(
        self, state: TrainState, epoch: int, advance: Advance
    ) -> tuple[TrainState, Entry]:
        """Takes the steps of an epoch, from 0; may reuse the buffers of the state."""

    @abc.abstractmethod
    def with_params(self, params: Params) -> FewShotHead:
        """Returns the head with these parameters."""

    @abc.abstractmethod
    def features(self, params: Params, split: Any) -> np.ndarray:
        """Returns what that head is given of a meta split, float32 [N, T, F]."""

    def start(self) -> Snapshot:
        """Returns the snapshot before the first epoch."""
        params = jax.tree.map(jnp.asarray, self._params)
        return Snapshot(
            TrainState(params, self.optimizer.init(params)),
            params,
            np.float64(-1),
            np.int32(0),
            self._scaling,
        )

    def epoch(self, state: Snapshot, number: int, advance: Advance) -> tuple[Snapshot, Entry]:
        """Trains one epoch, then validates."""
        copied = devices.copied(self.mesh, state.state)
        training, entry = self.train_steps(copied, number - 1, advance)
        training = devices.on_host(self.mesh, training)
        accuracy: np.ndarray | np.float64 = state.best_accuracy
        if self._val is not None:
            accuracy = np.float64(self._validate(training.params, self._val))
            entry["val_accuracy"] = float(accuracy)
            if accuracy <= state.best_accuracy:
                return state._replace(state=training), entry
        return Snapshot(training, training.params, accuracy, np.int32(number), state.scaling), entry

    def _validate(self, params: Params, split: Samples) -> float:
        """Accuracy on meta-validation classes, matched as it is trained."""
        settings, row = self._settings, Row(self._source.through, self._source.gamma)
        shots = settings.train_shots
        found = evaluation.evaluate(
            evaluation.encode(self.with_params(params), self.features(params, split)),
            split,
            [row],
            settings,
            num_episodes=settings.val_episodes,
            shots=[shots],
            desc="validation",
        )
        return found.accuracies[row, shots].mean


class FewShotRun(EpisodeRun):
    """One encoder of stored features; an epoch is one call of a compiled program."""

    def __init__(self, data: MetaData, settings: Settings, source: Source) -> None:
        """Prepares a run, see `EpisodeRun`."""
        self.model = make_model(settings, source.through, data.num_features, seed=source.seed)
        graphdef, params = nnx.split(self.model, nnx.Param)
        super().__init__(data, settings, source, nnx.to_pure_dict(params), data.scaling)
        self._spec = TrainSpec(
            graphdef=graphdef,
            steps=settings.steps_per_epoch,
            episodes=settings.batch_episodes,
            total_steps=settings.steps_per_epoch * settings.epochs,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            way=settings.way,
            shots=settings.train_shots,
            queries=settings.queries,
            mesh=devices.mesh_of(),
        )
        placed = (jnp.asarray(data.train.features), data.train.classes)
        self._features, self._classes = devices.place_whole(self.mesh, placed)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Of the encoder."""
        return self._spec.optimizer

    @property
    def mesh(self) -> Mesh | None:
        """Of all devices."""
        return self._spec.mesh

    def train_steps(
        self, state: TrainState, epoch: int, advance: Advance
    ) -> tuple[TrainState, Entry]:
        """Takes the steps of an epoch."""
        source = self._source
        training, loss, losses = train_epoch(
            self._spec,
            state,
            self._features,
            self._classes,
            source.gamma,
            source.seed,
            epoch,
        )
        check_losses(self.name, epoch + 1, losses)
        return training, {"loss": float(loss)}

    def with_params(self, params: Params) -> FewShotHead:
        """Returns the model with these parameters."""
        return nnx.merge(self._spec.graphdef, jax.tree.map(jnp.asarray, params))

    def features(self, params: Params, split: MetaSplit) -> np.ndarray:
        """Returns the stored features."""
        del params
        return split.features


def run_name(settings: Settings, through: str, seed: int) -> str:
    """Returns the name of a run at the temperature of the results."""
    return Source(through, settings.gamma, seed).name


def num_bytes(data: MetaData, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    if not settings.trained:
        return 0
    sizes = {
        through: num_parameters(make_model(settings, through, data.num_features, seed=0))
        for through in settings.train_through
    }
    return checkpoint_bytes(settings, sizes)


def checkpoint_bytes(settings: Settings, sizes: Mapping[str, int]) -> int:
    """Returns about how many bytes checkpoints take.

    Args:
        settings: say how many there are.
        sizes: numbers that are trained through each matching.
    """
    # Parameters, the best ones, two moments; one checkpoint more while one is replaced.
    numbers = 4 * sum(sizes[source.through] for source in plan(settings))
    return 4 * numbers * (settings.keep_checkpoints + 1)


def plan(settings: Settings) -> list[Source]:
    """Returns the trainings of a job, seed by seed."""
    if not settings.trained:
        return []
    return [
        Source(through, gamma, seed)
        for seed in settings.seeds
        for through in settings.train_through
        for gamma in (settings.gammas if through == "tam" else settings.gammas[:1])
    ]
