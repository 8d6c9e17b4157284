"""What a run of DejaVid is: how it starts, and what an epoch does."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.dejavid.initial import initial_centroids, make_head, statistics
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import (
    Params,
    StepSpec,
    TrainState,
    first_state,
    place_state,
    predict_step,
    refresh_paths,
    split_head,
    train_step,
    whole_state,
)
from experiments.shared import devices
from experiments.shared.finite import Ahead, Watch
from experiments.shared.run import Advance, Entry, Run
from experiments.shared.scaling import Scaling
from experiments.tse.batches import epoch_batches
from experiments.tse.dataset import TseDataset, TseSplit

_TOP = 5


class Snapshot(NamedTuple):
    """What is known after an epoch.

    Attributes:
        state: parameters, path copies, optimiser.
        scaling: what the features are standardised with.
        test_logits: float32 ``[N_test, C]``, of these parameters.
    """

    state: TrainState
    scaling: Scaling
    test_logits: np.ndarray


class DejaVidRun(Run[Snapshot]):
    """One method with one seed, trained on the training split, tested after every epoch."""

    unit = "samples"

    def __init__(self, dataset: TseDataset, settings: Settings, method: str, seed: int) -> None:
        """Prepares a run.

        Args:
            dataset: its test split, and its validation split where it has one, are evaluated.
            settings: see `Settings`.
            method: one of `settings.methods`.
            seed: of the samples behind the first centroids, first weights and order of batches.
        """
        self.name, self.about = run_name(settings, method, seed), {"method": method, "seed": seed}
        self.steps = len(dataset.train)
        self._dataset, self._settings, self._seed = dataset, settings, seed
        learned = settings.learned(method)
        head = make_head(
            dataset,
            settings,
            # Random weights that are never learned would make no sense (paper section 4.3).
            weight_init=settings.weight_init if "log_weights" in learned else "ones",
            seed=seed,
            fixed_paths=settings.fixed_epoch_paths,
        )
        graphdef, *arrays = split_head(head)
        # Not on a device, which may have room for its share of the classes only.
        self._params, self._paths = jax.tree.map(np.asarray, arrays)
        mesh = devices.mesh_of(settings.class_shards)
        of_mesh = (mesh, dataset.num_classes if settings.class_shards > 1 else 0)
        self._spec = StepSpec(graphdef, learned, settings.pooling, settings.weight_decay, *of_mesh)
        live = split_head(make_head(dataset, settings))[0]
        self._predict_spec = StepSpec(live, (), settings.pooling, 0.0, *of_mesh)

    def like(self) -> Snapshot:
        """Returns a snapshot of this run's shapes."""
        return Snapshot(
            first_state(self._spec, self._params, self._paths),
            Scaling.identity(self._dataset.num_features),
            np.zeros((len(self._dataset.test), self._dataset.num_classes), np.float32),
        )

    def start(self) -> Snapshot:
        """Returns the snapshot before the first epoch."""
        centroids = initial_centroids(self._dataset, self._settings, self._seed)
        state = first_state(self._spec, {**self._params, "centroids": centroids}, self._paths)
        scaling = statistics(self._dataset, self._settings)
        return self.like()._replace(state=state, scaling=scaling)

    def epoch(self, state: Snapshot, number: int, advance: Advance) -> tuple[Snapshot, Entry]:
        """Trains one epoch, then evaluates."""
        settings, dataset = self._settings, self._dataset
        mesh = self._spec.mesh
        training = place_state(self._spec, state.state)
        scaling = devices.copied(mesh, state.scaling)
        rate = learning_rate(settings, number)
        rates = {
            "centroids": np.float32(rate * settings.centroid_lr_ratio),
            "log_weights": np.float32(rate),
        }
        training = refresh_paths(self._spec, training)
        steps = -(-len(dataset.train) // settings.batch_size)
        watch = Watch(self.name, number, steps)
        totals = devices.place_whole(mesh, jnp.zeros(3))
        batches = epoch_batches(
            dataset.train,
            settings.batch_size,
            seed=self._seed,
            epoch=number,
            num_threads=settings.num_threads,
            length_buckets=settings.length_buckets,
            **devices.reading(mesh, settings.batch_size),
        )
        for batch in batches:
            placed = devices.place_rows(mesh, batch)
            training, totals = train_step(self._spec, training, totals, placed, rates, scaling)
            watch.add(totals)
            advance(settings.batch_size)
        watch.end()
        loss, correct, count = np.asarray(totals).tolist()
        logits = self._predict(training.params, scaling, dataset.test)
        top1, top5 = accuracies(logits, dataset.test.labels)
        entry = {
            "loss": loss / count,
            "train_accuracy": correct / count,
            "test_top1": top1,
            "test_top5": top5,
            "learning_rate": rate,
        }
        if dataset.val is not None:
            chosen = self._predict(training.params, scaling, dataset.val)
            entry["val_top1"] = accuracies(chosen, dataset.val.labels)[0]
        return Snapshot(whole_state(self._spec, training), scaling, logits), entry

    def _predict(self, params: Params, scaling: Scaling, split: TseSplit) -> np.ndarray:
        return predict_split(self._predict_spec, params, scaling, split, self._settings)


def run_name(settings: Settings, method: str, seed: int) -> str:
    """Returns the name of a run, which is that of its folder."""
    del settings
    return f"{method}-seed{seed}"


def learning_rate(settings: Settings, epoch: int) -> float:
    """Returns the log-weights' rate in an epoch (from 1): a cosine to 0, by whole epochs."""
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.epochs)
    return float(schedule(epoch - 1))


def predict_split(
    spec: StepSpec, params: Params, scaling: Scaling, split: TseSplit, settings: Settings
) -> np.ndarray:
    """Returns the logits [N, C] of a split; `spec` as `predict_step` wants it."""
    batches = epoch_batches(
        split,
        settings.batch_size,
        seed=None,
        num_threads=settings.num_threads,
        **devices.reading(spec.mesh, settings.batch_size),
    )
    logits, ahead = [], Ahead()
    for batch in batches:
        placed = devices.place_rows(spec.mesh, batch)
        logits.append(predict_step(spec, params, placed.x, placed.lengths, scaling))
        ahead.add(logits[-1])
    # Behind each batch stands what fills it up.
    rows = [np.asarray(part)[: settings.batch_size] for part in logits]
    return np.concatenate(rows)[: len(split)]


def accuracies(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float | None]:
    """Returns (top-1, top-5) fractions; no top-5 where there are no more than five classes.

    Args:
        scores: ``[N, C]``, the higher the better; NaN is worse than everything, and of equals the
            class with the smaller number is taken.
        labels: int ``[N]``.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]  # NaN sorts to the end
    hit = best == labels[:, None]
    top5 = float(hit.any(axis=1).mean()) if scores.shape[1] > _TOP else None
    return float(hit[:, 0].mean()), top5


def num_bytes(dataset: TseDataset, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    head = 4 * dataset.num_classes * settings.centroid_steps * dataset.num_features
    evaluation = 4 * len(dataset.test) * dataset.num_classes
    # Parameters and path copies, two moments for what is learned; one more while one is replaced.
    checkpoints = sum(head * (4 + 2 * len(settings.learned(name))) for name in settings.methods)
    checkpoints += evaluation * len(settings.methods)
    return checkpoints * len(settings.seeds) * (settings.keep_checkpoints + 1)
