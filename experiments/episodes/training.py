"""Meta-training: one run from first weights to last epoch, its checkpoints, its resumption."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.episodes import evaluation
from experiments.episodes.data import MetaData, MetaSplit
from experiments.episodes.evaluation import Row
from experiments.episodes.models import make_model, num_parameters
from experiments.episodes.results import Run, RunResult
from experiments.episodes.sampling import Classes, sample_episodes
from experiments.episodes.settings import Settings
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import progress
from tempalign.heads import FewShotHead

Params = dict[str, Any]


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

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW, its rate a cosine to 0."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.total_steps)
        return optax.adamw(rate, weight_decay=self.weight_decay)


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: of the encoder.
        optimizer: optax state.
    """

    params: Params
    optimizer: optax.OptState


class Snapshot(NamedTuple):
    """The arrays of a checkpoint.

    Attributes:
        state: after the last epoch.
        best: parameters of the best epoch on the meta-validation classes; without such classes
            those of the last epoch.
    """

    state: TrainState
    best: Params


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_epoch(
    spec: TrainSpec,
    state: TrainState,
    features: jax.Array,
    classes: Classes,
    gamma: float,
    seed: int,
    epoch: int,
) -> tuple[TrainState, jax.Array]:
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
        (the new state, the mean loss of the steps).
    """
    labels = jnp.arange(spec.way).repeat(spec.queries)

    def step(state: TrainState, number: jax.Array) -> tuple[TrainState, jax.Array]:
        numbers = (epoch * spec.steps + number) * spec.episodes + jnp.arange(spec.episodes)
        query, support = sample_episodes(
            seed, numbers, classes, way=spec.way, shots=spec.shots, queries=spec.queries
        )

        def loss(params: Params) -> jax.Array:
            model = nnx.merge(spec.graphdef, params)
            model.gamma = gamma
            return model.loss(features[query], features[support], labels)

        value, gradients = jax.value_and_grad(loss)(state.params)
        updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), optimizer), value

    state, losses = jax.lax.scan(step, state, jnp.arange(spec.steps))
    return state, jnp.mean(losses)


def train_run(
    data: MetaData, settings: Settings, run: Run, folder: Path | str, log: MetricsLog
) -> RunResult:
    """Trains one encoder, or goes on where its newest checkpoint ends.

    Args:
        data: trained on its meta-training classes; after every epoch evaluated on its
            meta-validation classes, where there are any.
        settings: of the job.
        run: what to train through, at which temperature, with which seed.
        folder: of this run's checkpoints.
        log: where a line an epoch goes.

    Returns:
        The result; read from the last checkpoint alone where the run is already finished.

    Raises:
        ValueError: a loss that is no longer finite, or a checkpoint that is damaged or of another
            model.
        OSError: a checkpoint cannot be written.
    """
    trainer = _Trainer(data, settings, run)
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        snapshot = trainer.blank()
        record: dict[str, Any] = {"seconds": 0.0, "best_epoch": 0, "history": []}
        if step is not None:
            snapshot, record = checkpoints.restore(step, snapshot)
        done = len(record["history"])
        if done < settings.epochs:
            names = {"through": run.through, "gamma": run.gamma, "seed": run.seed}
            log.write("run_start", **names, epochs_done=done)
            bar = progress(total=settings.epochs, desc=f"training {run.name}", unit=" epochs")
            bar.update(done)
            while len(record["history"]) < settings.epochs:
                snapshot, record = trainer.next_epoch(snapshot, record)
                checkpoints.save(len(record["history"]), snapshot, record)
                log.write("epoch", **names, **record["history"][-1])
                bar.update()
            log.write("run_end", **names, seconds=record["seconds"])
            if bar.disable:
                last = record["history"][-1]
                print(
                    f"{run.name}: {settings.epochs} epochs, loss {last['loss']:.4f}, "
                    f"{record['seconds']:.1f} s",
                    flush=True,
                )
            bar.close()
    return RunResult(
        run=run,
        num_parameters=num_parameters(trainer.model),
        seconds=record["seconds"],
        history=record["history"],
        best_epoch=record["best_epoch"],
        model=trainer.with_params(snapshot.best),
    )


def num_bytes(data: MetaData, settings: Settings, num_runs: int) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    if not settings.trained:
        return 0
    model = make_model(settings, settings.train_through[0], data.num_features, seed=0)
    # Parameters, the best ones, two moments; one checkpoint more while one is replaced.
    return 4 * 4 * num_parameters(model) * num_runs * (settings.keep_checkpoints + 1)


class _Trainer:
    """One run: how its snapshots come about."""

    def __init__(self, data: MetaData, settings: Settings, run: Run) -> None:
        self._data, self._settings, self._run = data, settings, run
        self.model = make_model(settings, run.through, data.num_features, seed=run.seed)
        graphdef, params = nnx.split(self.model, nnx.Param)
        self._params = nnx.to_pure_dict(params)
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
        )
        self._features = jnp.asarray(data.train.features)

    def blank(self) -> Snapshot:
        """Returns the snapshot before the first epoch."""
        params = jax.tree.map(jnp.asarray, self._params)
        return Snapshot(TrainState(params, self._spec.optimizer.init(params)), params)

    def with_params(self, params: Params) -> FewShotHead:
        """Returns the model with these parameters."""
        return nnx.merge(self._spec.graphdef, jax.tree.map(jnp.asarray, params))

    def next_epoch(
        self, snapshot: Snapshot, record: dict[str, Any]
    ) -> tuple[Snapshot, dict[str, Any]]:
        """Trains and validates one epoch more; a pure function of snapshot and record."""
        began = time.monotonic()
        epoch = len(record["history"]) + 1
        # A copy on the device, because the epoch reuses the buffers of the state it is given.
        state = jax.tree.map(jnp.array, snapshot.state)
        run = self._run
        state, loss = train_epoch(
            self._spec,
            state,
            self._features,
            self._data.train.classes,
            run.gamma,
            run.seed,
            epoch - 1,
        )
        if not np.isfinite(float(loss)):
            raise ValueError(
                f"{self._run.name}: the loss of epoch {epoch} is {float(loss)}; the checkpoints "
                "before it are intact. A smaller --learning_rate may help."
            )
        entry: dict[str, Any] = {"epoch": epoch, "loss": float(loss)}
        best, best_epoch = state.params, epoch
        if self._data.val is not None:
            entry["val_accuracy"] = self._validate(state.params, self._data.val)
            known = [one["val_accuracy"] for one in record["history"]]
            if known and entry["val_accuracy"] <= max(known):
                best, best_epoch = snapshot.best, record["best_epoch"]
        entry["seconds"] = time.monotonic() - began
        record = {
            "seconds": record["seconds"] + entry["seconds"],
            "best_epoch": best_epoch,
            "history": [*record["history"], entry],
        }
        return Snapshot(state, best), record

    def _validate(self, params: Params, split: MetaSplit) -> float:
        """Accuracy on meta-validation classes, matched as it is trained."""
        settings, row = self._settings, Row(self._run.through, self._run.gamma)
        shots = settings.train_shots
        found = evaluation.evaluate(
            evaluation.encode(self.with_params(params), split.features),
            split,
            [row],
            settings,
            num_episodes=settings.val_episodes,
            shots=[shots],
            desc="validation",
        )
        return found[row, shots].mean
