"""One run, from first weights to last epoch: steps, checkpoints, resumption."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.grids.dataset import Batch, Split, VideoDataset, batches
from experiments.grids.models import make_classifier
from experiments.grids.settings import Settings
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import progress
from tempalign._time_layer import Arrangement
from tempalign.heads import TimeClassifier


@dataclass(frozen=True)
class Variant:
    """What a run shows its classifier.

    Attributes:
        name: as the report calls it.
        n: cells along each side of a grid.
        num_frames: grids.
        arrangement: of the frames in them.
        middle_only: whether the video is cut down to its middle frame first.
    """

    name: str
    n: int
    num_frames: int
    arrangement: Arrangement = "spatial"
    middle_only: bool = False

    @property
    def folder(self) -> str:
        """A name for files."""
        return self.name.replace(" ", "_").replace(",", "").replace("=", "")


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves.

    Attributes:
        variant: what was shown.
        seed: of first weights and order.
        num_parameters: of the classifier.
        seconds: wall clock of the run.
        step_seconds: median of a training step; None where too few were timed.
        temp_bytes: temporary memory of a training step, as the compiler planned it.
        history: one dict an epoch: epoch, loss, train_accuracy, test_accuracy, seconds.
        predictions: int ``[N_test]`` after the last epoch.
    """

    variant: Variant
    seed: int
    num_parameters: int
    seconds: float
    step_seconds: float | None
    temp_bytes: int
    history: list[dict[str, Any]]
    predictions: np.ndarray

    @property
    def accuracy(self) -> float:
        """On the test split after the last epoch, a fraction."""
        return self.history[-1]["test_accuracy"]


class TrainState(NamedTuple):
    """Everything that training changes."""

    params: Any
    optimizer: optax.OptState


class Snapshot(NamedTuple):
    """The arrays of a checkpoint."""

    state: TrainState
    predictions: np.ndarray


@dataclass(frozen=True)
class StepSpec:
    """What a step is compiled for; hashable."""

    graphdef: nnx.GraphDef
    middle_only: bool
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    total_steps: int

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW, its rate rising from 0, then a cosine to 0."""
        rate = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, self.warmup_steps, self.total_steps
        )
        return optax.adamw(rate, weight_decay=self.weight_decay)

    def scores(self, params: Any, batch: Batch) -> jax.Array:
        """Scores ``[B, C]``."""
        videos, lengths = jnp.asarray(batch.videos), jnp.asarray(batch.lengths)
        if self.middle_only:
            middle = (lengths // 2)[:, None, None, None, None]
            videos, lengths = jnp.take_along_axis(videos, middle, axis=1), jnp.ones_like(lengths)
        return nnx.merge(self.graphdef, params)(videos, lengths=lengths)


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(spec: StepSpec, state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    """One step on the mean cross-entropy; returns (state, [loss, share right])."""

    def loss_of(params: Any) -> tuple[jax.Array, jax.Array]:
        scores = spec.scores(params, batch)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch.labels)
        right = scores.argmax(-1) == batch.labels
        count = batch.valid.sum()
        return (losses * batch.valid).sum() / count, (right * batch.valid).sum() / count

    (loss, right), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, optimizer), jnp.stack([loss, right])


@partial(jax.jit, static_argnames="spec")
def predict_step(spec: StepSpec, params: Any, batch: Batch) -> jax.Array:
    """Predicted classes ``[B]``."""
    return spec.scores(params, batch).argmax(-1)


def variants(settings: Settings) -> list[Variant]:
    """The runs of a job, baselines first."""
    found = []
    if "single_frame" in settings.baselines:
        found.append(Variant("single frame", 1, 1, middle_only=True))
    if "frame_average" in settings.baselines:
        found.append(Variant("frame average", 1, settings.average_frames))
    for n in settings.grids:
        # Cells that show one frame each have nothing to arrange.
        arrangements = settings.arrangements if n > 1 and settings.num_frames > 1 else ("spatial",)
        for arrangement in arrangements:
            suffix = f", {arrangement}" if n > 1 else ""
            chosen = cast(Arrangement, arrangement)
            found.append(Variant(f"TIME N={n}{suffix}", n, settings.num_frames, chosen))
    return found


def train_run(
    dataset: VideoDataset,
    settings: Settings,
    variant: Variant,
    seed: int,
    folder: Path,
    log: MetricsLog,
) -> RunResult:
    """Trains one variant with one seed, or goes on where its newest checkpoint ends.

    Raises:
        ValueError: a video that cannot be read, a loss that is no longer finite, or a checkpoint
            that is damaged or of another model.
        OSError: a checkpoint cannot be written.
    """
    spec, params = make_spec(dataset, settings, variant, seed)
    state = TrainState(params, spec.optimizer.init(params))
    snapshot = Snapshot(state, np.zeros(len(dataset.test), np.int32))
    record: dict[str, Any] = {"history": [], "seconds": 0.0, "step_seconds": None}
    with Checkpoints(folder, keep=1) as checkpoints:
        newest = checkpoints.latest()
        if newest is not None:
            snapshot, record = checkpoints.restore(newest, snapshot)
        while len(record["history"]) < settings.epochs:
            snapshot, record = _next_epoch(dataset, settings, spec, seed, snapshot, record, variant)
            checkpoints.save(len(record["history"]), snapshot, record)
            log.write("epoch", variant=variant.name, seed=seed, **record["history"][-1])
    return RunResult(
        variant,
        seed,
        sum(leaf.size for leaf in jax.tree.leaves(snapshot.state.params)),
        record["seconds"],
        record["step_seconds"],
        record["temp_bytes"],
        record["history"],
        np.asarray(snapshot.predictions),
    )


def make_spec(
    dataset: VideoDataset, settings: Settings, variant: Variant, seed: int
) -> tuple[StepSpec, Any]:
    """What a run compiles for, and its first weights."""
    head = TimeClassifier(
        make_classifier(settings, len(dataset.class_names), seed),
        variant.n,
        num_frames=variant.num_frames,
        arrangement=variant.arrangement,
        size=settings.size,
    )
    graphdef, params = nnx.split(head, nnx.Param)
    steps = settings.epochs * -(-len(dataset.train) // settings.batch_size)
    spec = StepSpec(
        graphdef,
        variant.middle_only,
        settings.learning_rate,
        settings.weight_decay,
        int(settings.warmup * steps),
        steps,
    )
    return spec, params


def predict_split(spec: StepSpec, params: Any, split: Split, settings: Settings) -> np.ndarray:
    """Predicted classes ``[N]`` of a split."""
    parts = [
        np.asarray(predict_step(spec, params, batch))
        for batch in batches(
            split, settings.batch_size, seed=None, num_threads=settings.num_threads
        )
    ]
    return np.concatenate(parts)[: len(split)].astype(np.int32)


def _next_epoch(
    dataset: VideoDataset,
    settings: Settings,
    spec: StepSpec,
    seed: int,
    snapshot: Snapshot,
    record: dict[str, Any],
    variant: Variant,
) -> tuple[Snapshot, dict[str, Any]]:
    """Trains and evaluates one epoch more; a pure function of snapshot and record but for time."""
    began = time.monotonic()
    epoch = len(record["history"]) + 1
    state = jax.tree.map(jnp.array, snapshot.state)  # a step reuses the buffers it is given
    measured, ticks = [], []
    total = -(-len(dataset.train) // settings.batch_size)
    reading = batches(
        dataset.train,
        settings.batch_size,
        seed=seed,
        epoch=epoch,
        num_threads=settings.num_threads,
    )
    desc = f"{variant.name} seed {seed} epoch {epoch}/{settings.epochs}"
    temp_bytes = record.get("temp_bytes")
    for batch in progress(reading, total=total, desc=desc, unit="step"):
        if temp_bytes is None:
            planned = train_step.lower(spec, state, batch).compile().memory_analysis()
            temp_bytes = 0 if planned is None else int(planned.temp_size_in_bytes)
        state, numbers = train_step(spec, state, batch)
        measured.append(np.asarray(numbers))
        ticks.append(time.monotonic())
    loss, right = np.mean(measured, axis=0).tolist()
    if not np.isfinite(loss):
        raise ValueError(
            f"{variant.name} seed {seed}: the loss is {loss} in epoch {epoch}; "
            "try a smaller --learning_rate"
        )
    predictions = predict_split(spec, state.params, dataset.test, settings)
    entry = {
        "epoch": epoch,
        "loss": loss,
        "train_accuracy": right,
        "test_accuracy": float(np.mean(predictions == dataset.test.labels)),
        "seconds": time.monotonic() - began,
    }
    steps = np.diff(ticks)[1:]  # the first one compiles
    record = {
        "history": [*record["history"], entry],
        "seconds": record["seconds"] + entry["seconds"],
        "step_seconds": float(np.median(steps)) if len(steps) else record["step_seconds"],
        "temp_bytes": temp_bytes,
    }
    return Snapshot(jax.tree.map(np.asarray, state), predictions), record
