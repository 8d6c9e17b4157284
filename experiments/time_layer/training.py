"""What a run of the TIME layer is: what its classifier is shown, and what an epoch does."""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from experiments.shared import devices
from experiments.shared.devices import ROWS, WHOLE
from experiments.shared.finite import Watch
from experiments.shared.optimizers import adamw
from experiments.shared.run import Advance, Entry, Run, Trained
from experiments.time_layer.dataset import Batch, Split, VideoDataset, batches
from experiments.time_layer.models import make_classifier, trained_part, with_holes
from experiments.time_layer.settings import Settings
from tempalign._time_layer import Arrangement
from tempalign.heads import TimeClassifier


@dataclass(frozen=True)
class Method:
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
    def key(self) -> str:
        """A name for files and for `--predict_method`."""
        return self.name.replace(" ", "_").replace(",", "").replace("=", "")

    @property
    def sees_order(self) -> bool:
        """Whether other scores come of the same frames in another order."""
        return self.n > 1


class TrainState(NamedTuple):
    """Everything that a run is made of.

    Attributes:
        params: what takes gradients.
        optimizer: its state.
        frozen: what stays as it was, so that a checkpoint is whole without the file of weights.
    """

    params: Any
    optimizer: optax.OptState
    frozen: Any


class Snapshot(NamedTuple):
    """What is known after an epoch.

    Attributes:
        state: parameters and optimiser.
        predictions: int32 ``[N_test]``, the class that these parameters see in each test video.
    """

    state: TrainState
    predictions: np.ndarray


@dataclass(frozen=True)
class RunResult:
    """One trained run: one method with one seed, evaluated after every epoch.

    Attributes:
        method: what was shown.
        seed: of first weights and order.
        trained: the run itself. Entries of its history have loss, train_, test_ and perhaps
            val_accuracy, step_seconds (median; None where too few were timed), temp_bytes, ...
    """

    method: Method
    seed: int
    trained: Trained[Snapshot]

    @property
    def last(self) -> Entry:
        """The entry of the last epoch."""
        return self.trained.last

    @property
    def accuracy(self) -> float:
        """On the test split after the last epoch, a fraction."""
        return self.last["test_accuracy"]

    @property
    def predictions(self) -> np.ndarray:
        """int32 ``[N_test]`` after the last epoch."""
        return self.trained.state.predictions

    @property
    def num_parameters(self) -> int:
        """How many numbers were learned."""
        return count(self.trained.state.state.params)


Groups = Mapping[Method, Sequence[RunResult]]
"""The results of all seeds by method, in the order of the first."""

_Shapes = tuple[Any, ...]


@dataclass(frozen=True)
class StepSpec:
    """What a step is compiled for; hashable."""

    graphdef: nnx.GraphDef
    middle_only: bool
    has_holes: bool
    trunk_rate: float | None
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    total_steps: int
    mesh: Mesh | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW, its rate rising from 0, then a cosine to 0."""
        rate = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, self.warmup_steps, self.total_steps
        )
        return adamw(rate, weight_decay=self.weight_decay)

    def scores(self, params: Any, frozen: Any, batch: Batch) -> jax.Array:
        """Returns the scores ``[B, C]``."""
        videos, lengths = jnp.asarray(batch.videos), jnp.asarray(batch.lengths)
        if self.has_holes:
            videos = with_holes(videos)
        if self.middle_only:
            middle = (lengths // 2)[:, None, None, None, None]
            videos, lengths = jnp.take_along_axis(videos, middle, axis=1), jnp.ones_like(lengths)
        return nnx.merge(self.graphdef, params, frozen)(videos, lengths=lengths)


@functools.partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(spec: StepSpec, state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    """One step on the mean cross-entropy.

    Returns:
        (state, [sum of the losses, number of videos that were right, number of videos]).
    """
    mesh = spec.mesh

    def gradients_and_sums(params: Any, frozen: Any, batch: Batch) -> tuple[Any, jax.Array]:
        count = devices.sum_over(mesh, batch.valid.sum())

        def loss_of(params: Any) -> tuple[jax.Array, jax.Array]:
            scores = spec.scores(params, frozen, batch)
            losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch.labels)
            right = scores.argmax(-1) == batch.labels
            loss = (losses * batch.valid).sum()
            return loss / count, jnp.stack([loss, jnp.where(right, batch.valid, 0).sum()])

        (_, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        loss, right = devices.sum_over(mesh, sums)
        return gradients, jnp.stack([loss, right, count])

    step = devices.over(mesh, gradients_and_sums, (WHOLE, WHOLE, ROWS), (WHOLE, WHOLE))
    gradients, sums = step(state.params, state.frozen, batch)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    if spec.trunk_rate is not None:
        updates = _slowed(updates, spec.trunk_rate)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, optimizer, state.frozen), sums


def _slowed(updates: Any, share: float) -> Any:
    """What AdamW does to a trunk, as at a learning rate so many times as large."""

    def slowed(path: Any, update: jax.Array) -> jax.Array:
        inside = any(getattr(part, "key", None) == "trunk" for part in path)
        return update * jnp.asarray(share, update.dtype) if inside else update

    return jax.tree_util.tree_map_with_path(slowed, updates)


@functools.partial(jax.jit, static_argnames="spec")
def score_step(spec: StepSpec, params: Any, frozen: Any, batch: Batch) -> jax.Array:
    """Returns the scores ``[B, C]`` of a batch."""
    scores = devices.over(spec.mesh, spec.scores, (WHOLE, WHOLE, ROWS), ROWS)
    return devices.everywhere(spec.mesh, scores(params, frozen, batch))


class TimeLayerRun(Run[Snapshot]):
    """One method with one seed, trained on the training videos, tested after every epoch."""

    unit = "videos"

    def __init__(
        self, dataset: VideoDataset, settings: Settings, method: Method, seed: int
    ) -> None:
        """Prepares a run.

        Args:
            dataset: its test split, and its validation split where it has one, are evaluated.
            settings: see `Settings`.
            method: one of `methods(settings)`.
            seed: of first weights and order of the videos.
        """
        self.name = run_name(settings, method.key, seed)
        self.about = {"method": method.name, "seed": seed}
        self.steps = sum(map(len, dataset.splits.values()))
        self._dataset, self._settings, self._seed = dataset, settings, seed
        total = settings.epochs * -(-len(dataset.train) // settings.batch_size)
        self._spec, self._params, self._frozen = make_spec(
            settings, method, len(dataset.class_names), seed=seed, total_steps=total
        )

    def start(self) -> Snapshot:
        """Returns the snapshot before the first epoch."""
        optimizer = self._spec.optimizer.init(self._params)
        state = TrainState(self._params, optimizer, self._frozen)
        return Snapshot(state, np.zeros(len(self._dataset.test), np.int32))

    def epoch(self, state: Snapshot, number: int, advance: Advance) -> tuple[Snapshot, Entry]:
        """Trains one epoch, then evaluates."""
        settings, dataset, mesh = self._settings, self._dataset, self._spec.mesh
        watch = Watch(self.name, number, -(-len(dataset.train) // settings.batch_size))
        training = devices.copied(mesh, state.state)
        sums, ticks = np.zeros(3), list[float]()
        for read in self._batches(dataset.train, seed=self._seed, epoch=number):
            batch = devices.place_rows(mesh, read)
            if not ticks:
                step, temp_bytes = _compiled(self._spec, _shapes(training), _shapes(batch))
            training, of_batch = step(training, batch)
            sums += np.asarray(of_batch, np.float64)
            watch.look(sums)
            ticks.append(time.monotonic())
            advance(settings.batch_size)
        loss, right, valid = sums.tolist()
        entry: Entry = {"loss": loss / valid, "train_accuracy": right / valid}
        if dataset.val is not None:
            chosen = self._predict(training, dataset.val, advance)
            entry["val_accuracy"] = float(np.mean(chosen == dataset.val.labels))
        predictions = self._predict(training, dataset.test, advance)
        entry["test_accuracy"] = float(np.mean(predictions == dataset.test.labels))
        steps = np.diff(ticks)  # without the first one, which may compile
        entry["step_seconds"] = float(np.median(steps)) if len(steps) else None
        entry |= {"temp_bytes": temp_bytes, "planned_epochs": settings.epochs}
        return Snapshot(training, predictions), entry

    def _predict(self, state: TrainState, split: Split, advance: Advance) -> np.ndarray:
        """The predicted classes of a split, int32 ``[N]``."""
        size, parts = self._settings.batch_size, []
        for batch in self._batches(split, seed=None):
            placed = devices.place_rows(self._spec.mesh, batch)
            scores = np.asarray(score_step(self._spec, state.params, state.frozen, placed))
            parts.append(scores[:size].argmax(-1))
            advance(size)
        return np.concatenate(parts)[: len(split)].astype(np.int32)

    def _batches(self, split: Split, *, seed: int | None, epoch: int = 0) -> Iterator[Batch]:
        """This process's part of the batches of a split."""
        return batches(
            split,
            self._settings.batch_size,
            seed=seed,
            epoch=epoch,
            num_threads=self._settings.num_threads,
            **devices.reading(self._spec.mesh, self._settings.batch_size),
        )


def by_method(results: Sequence[RunResult]) -> Groups:
    """Returns results in groups."""
    groups: dict[Method, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.method, []).append(result)
    return groups


def methods(settings: Settings) -> list[Method]:
    """Returns what the runs of a job show, baselines first."""
    found = []
    if "single_frame" in settings.baselines:
        found.append(Method("single frame", 1, 1, middle_only=True))
    if "frame_average" in settings.baselines:
        found.append(Method("frame average", 1, settings.average_frames))
    for n in settings.grids:
        # Cells that show one frame each have nothing to arrange.
        arrangements = settings.arrangements if n > 1 and settings.num_frames > 1 else ("spatial",)
        for arrangement in arrangements:
            suffix = f", {arrangement}" if n > 1 else ""
            chosen = cast(Arrangement, arrangement)
            found.append(Method(f"TIME N={n}{suffix}", n, settings.num_frames, chosen))
    return found


def run_name(settings: Settings, method: str, seed: int) -> str:
    """Returns the name of a run, which is that of its folder; `method` is a `Method.key`."""
    del settings
    return f"{method}-seed{seed}"


def make_spec(
    settings: Settings,
    method: Method,
    num_classes: int,
    *,
    seed: int = 0,
    total_steps: int = 1,
    shapes_only: bool = False,
) -> tuple[StepSpec, nnx.State, nnx.State]:
    """Returns what a run compiles for, and its first weights: those that are trained, the others.

    Args:
        settings: of the job.
        method: of the run.
        num_classes: in the data.
        seed: of random weights.
        total_steps: of the whole run.
        shapes_only: the weights are shapes alone, and no file of weights is read.
    """

    def made() -> TimeClassifier:
        return TimeClassifier(
            make_classifier(settings, num_classes, seed, any_weights=shapes_only),
            method.n,
            num_frames=method.num_frames,
            arrangement=method.arrangement,
            size=settings.size,
        )

    head = nnx.eval_shape(made) if shapes_only else made()
    trained = trained_part(cast(nnx.Module, head.classifier), settings, at=("classifier",))
    parts: Any = nnx.split(head, trained, ...)
    graphdef, params, frozen = parts
    spec = StepSpec(
        graphdef,
        method.middle_only,
        settings.limits is not None,
        settings.trunk_rate if settings.has_trunk else None,
        settings.learning_rate,
        settings.weight_decay,
        int(settings.warmup * total_steps),
        total_steps,
        None if shapes_only else devices.mesh_of(),
    )
    return spec, params, frozen


def num_bytes(dataset: VideoDataset, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    classes, runs = len(dataset.class_names), methods(settings)
    _, params, frozen = make_spec(settings, runs[-1], classes, shapes_only=True)
    # Weights and two moments of each, and the predictions; one more while one is replaced.
    checkpoint = 4 * (3 * count(params) + count(frozen) + len(dataset.test))
    return checkpoint * len(settings.seeds) * len(runs) * (settings.keep_checkpoints + 1)


def count(params: Any) -> int:
    """Returns the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _shapes(tree: Any) -> _Shapes:
    leaves, structure = jax.tree.flatten(tree)

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        placed = getattr(leaf, "sharding", None)
        where = placed if isinstance(placed, NamedSharding) else None
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return structure, tuple(map(shape, leaves))


@functools.lru_cache(maxsize=32)
def _compiled(spec: StepSpec, state: _Shapes, batch: _Shapes) -> tuple[Any, int]:
    """A training step, compiled once for all seeds, and the temporary bytes that it takes."""
    step = train_step.lower(
        spec, *(jax.tree.unflatten(structure, leaves) for structure, leaves in (state, batch))
    ).compile()
    planned = step.memory_analysis()
    return step, 0 if planned is None else int(planned.temp_size_in_bytes)
