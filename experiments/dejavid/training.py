"""One run, from first centroids to last epoch: the epoch loop, its checkpoints, its resumption."""

import collections
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.dejavid.initial import initial_centroids, make_head, statistics
from experiments.dejavid.results import RunResult
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import (
    Params,
    Statistics,
    StepSpec,
    TrainState,
    batch_mesh,
    init_state,
    place_batch,
    place_whole,
    predict_step,
    refresh_paths,
    split_head,
    train_step,
)
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import progress
from experiments.tse.batches import Batch, epoch_batches
from experiments.tse.dataset import TseDataset, TseSplit

_TOP = 5
_STEPS_AHEAD = 4  # how many batches the host may be ahead of the device: bounds their memory
_SECONDS_BETWEEN_LINES = 10  # of progress, where no bar is drawn


class Snapshot(NamedTuple):
    """The arrays of a checkpoint.

    Attributes:
        state: parameters, path copies, optimiser.
        scaling: statistics that the features are standardised with.
        test_logits: float32 [N_test, C], of these parameters.
    """

    state: TrainState
    scaling: Statistics
    test_logits: np.ndarray


def train_run(
    dataset: TseDataset,
    settings: Settings,
    variant: str,
    seed: int,
    folder: Path | str,
    log: MetricsLog,
) -> RunResult:
    """Trains one variant with one seed, or goes on where its newest checkpoint ends.

    Args:
        dataset: trained on its training split, evaluated on its test split after every epoch.
        settings: see `Settings`.
        variant: one of `settings.variants`.
        seed: of the samples behind the first centroids, first weights and order of the batches.
        folder: of this run's checkpoints.
        log: where a line an epoch goes.

    Returns:
        The result; read from the last checkpoint alone where the run is already finished.

    Raises:
        ValueError: a sequence that cannot be read, a loss that is no longer finite, or a
            checkpoint that is damaged or of another model.
        OSError: a checkpoint cannot be written.
    """
    run = _Run(dataset, settings, variant, seed)
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is None:
            snapshot, record = run.start()
        else:
            snapshot, record = checkpoints.restore(step, run.blank())
        done = len(record["history"])
        if done < settings.epochs:
            log.write("run_start", variant=variant, seed=seed, epochs_done=done)
            display = _Display(f"{variant} seed {seed}", settings.epochs, len(dataset.train), done)
            while len(record["history"]) < settings.epochs:
                snapshot, record = run.next_epoch(snapshot, record, display)
                checkpoints.save(len(record["history"]), snapshot, record)
                log.write("epoch", variant=variant, seed=seed, **record["history"][-1])
                display.end_epoch(record["history"][-1])
            log.write("run_end", variant=variant, seed=seed, seconds=record["seconds"])
            display.close()
    history, params = record["history"], snapshot.state.params
    return RunResult(
        variant=variant,
        seed=seed,
        num_parameters=sum(params[name].size for name in settings.learned(variant)),
        seconds=record["seconds"],
        history=history,
        best_epoch=1 + int(np.argmax([entry["test_top1"] for entry in history])),
        test_logits=snapshot.test_logits,
        centroids=np.asarray(params["centroids"]),
        log_weights=np.asarray(params["log_weights"]),
        feature_mean=np.asarray(snapshot.scaling.mean),
        feature_std=np.asarray(snapshot.scaling.std),
    )


def learning_rate(settings: Settings, epoch: int) -> float:
    """Returns the log-weights' rate in an epoch (from 1): a cosine to 0, by whole epochs."""
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.epochs)
    return float(schedule(epoch - 1))


def predict_split(
    spec: StepSpec, params: Params, scaling: Statistics, split: TseSplit, settings: Settings
) -> np.ndarray:
    """Returns the logits [N, C] of a split; `spec` as `predict_step` wants it."""
    batches = epoch_batches(split, settings.batch_size, seed=None, num_threads=settings.num_threads)
    logits, ahead = [], _Ahead()
    for batch in batches:
        placed = place_batch(spec, batch)
        logits.append(predict_step(spec, params, placed.x, placed.lengths, scaling))
        ahead.add(logits[-1])
    return np.concatenate([np.asarray(part) for part in logits])[: len(split)]


def num_bytes(dataset: TseDataset, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    head = 4 * dataset.num_classes * settings.centroid_steps * dataset.num_features
    evaluation = 4 * len(dataset.test) * dataset.num_classes
    # Parameters and path copies, two moments for what is learned; one more while one is replaced.
    checkpoints = sum(head * (4 + 2 * len(settings.learned(name))) for name in settings.variants)
    checkpoints += evaluation * len(settings.variants)
    return checkpoints * len(settings.seeds) * (settings.keep_checkpoints + 1)


class _Run:
    """One variant with one seed: how its snapshots come about."""

    def __init__(self, dataset: TseDataset, settings: Settings, variant: str, seed: int) -> None:
        self._dataset, self._settings = dataset, settings
        self._variant, self._seed = variant, seed
        learned = settings.learned(variant)
        head = make_head(
            dataset,
            settings,
            # Random weights that are never learned would make no sense (paper section 4.3).
            weight_init=settings.weight_init if "log_weights" in learned else "ones",
            seed=seed,
            fixed_paths=settings.fixed_epoch_paths,
        )
        graphdef, self._params, self._paths = split_head(head)
        mesh = batch_mesh(settings.batch_size)
        self._spec = StepSpec(graphdef, learned, settings.pooling, settings.weight_decay, mesh)
        live = split_head(make_head(dataset, settings))[0]
        self._predict_spec = StepSpec(live, (), settings.pooling, 0.0, mesh)

    def blank(self) -> Snapshot:
        """Returns a snapshot of this run's shapes."""
        return Snapshot(
            init_state(self._spec, self._params, self._paths),
            Statistics.identity(self._dataset.num_features),
            np.zeros((len(self._dataset.test), self._dataset.num_classes), np.float32),
        )

    def start(self) -> tuple[Snapshot, dict[str, Any]]:
        """Returns the snapshot before the first epoch, and its record."""
        began = time.monotonic()
        blank = self.blank()
        centroids = jnp.asarray(initial_centroids(self._dataset, self._settings, self._seed))
        state = init_state(self._spec, {**self._params, "centroids": centroids}, self._paths)
        scaling = statistics(self._dataset, self._settings)
        record = {
            "variant": self._variant,
            "seed": self._seed,
            "settings": self._settings.to_json(),
            "seconds": time.monotonic() - began,
            "history": [],
        }
        return blank._replace(state=state, scaling=scaling), record

    def next_epoch(
        self, snapshot: Snapshot, record: dict[str, Any], display: "_Display"
    ) -> tuple[Snapshot, dict[str, Any]]:
        """Trains and evaluates one epoch more; a pure function of snapshot and record."""
        began = time.monotonic()
        settings, epoch = self._settings, len(record["history"]) + 1
        # Copies on the device, because each step reuses the buffers of the state it is given.
        own = jax.tree.map(jnp.array, (snapshot.state, snapshot.scaling))
        state, scaling = place_whole(self._spec, own)
        rate = learning_rate(settings, epoch)
        rates = {
            "centroids": np.float32(rate * settings.centroid_lr_ratio),
            "log_weights": np.float32(rate),
        }
        state = refresh_paths(self._spec, state)
        totals, ahead = jnp.zeros(3), _Ahead()
        batches = epoch_batches(
            self._dataset.train,
            settings.batch_size,
            seed=self._seed,
            epoch=epoch,
            num_threads=settings.num_threads,
        )
        for batch in batches:
            placed = place_batch(self._spec, batch)
            state, totals = train_step(self._spec, state, totals, placed, rates, scaling)
            ahead.add(totals)
            display.step(batch, totals)
        loss, correct, count = np.asarray(totals).tolist()
        if not np.isfinite(loss):
            raise ValueError(
                f"{self._variant} seed {self._seed}: the loss of epoch {epoch} is {loss / count}; "
                "the checkpoints before it are intact. A smaller --learning_rate may help."
            )
        test = self._dataset.test
        logits = predict_split(self._predict_spec, state.params, scaling, test, settings)
        top1, top5 = _accuracies(logits, test.labels)
        seconds = time.monotonic() - began
        entry = {
            "epoch": epoch,
            "loss": loss / count,
            "train_accuracy": correct / count,
            "test_top1": top1,
            "test_top5": top5,
            "learning_rate": rate,
            "seconds": seconds,
        }
        record = {
            **record,
            "seconds": record["seconds"] + seconds,
            "history": [*record["history"], entry],
        }
        return Snapshot(state, scaling, logits), record


def _accuracies(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float | None]:
    """Returns (top-1, top-5) fractions; no top-5 where there are no more than five classes."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]  # NaN sorts to the end
    hit = best == labels[:, None]
    top5 = float(hit.any(axis=1).mean()) if logits.shape[1] > _TOP else None
    return float(hit[:, 0].mean()), top5


class _Ahead:
    """Lets the host run a few steps ahead of the device, and no further."""

    def __init__(self) -> None:
        self._results: collections.deque[jax.Array] = collections.deque()

    def add(self, result: jax.Array) -> None:
        self._results.append(result)
        if len(self._results) > _STEPS_AHEAD:
            self._results.popleft().block_until_ready()


class _Display:
    """Shows a run's progress: a bar on a terminal, otherwise a line every few seconds."""

    def __init__(self, name: str, epochs: int, samples: int, done: int) -> None:
        self._name, self._epochs, self._samples = name, epochs, samples
        self._first = done
        self._bar = progress(total=(epochs - done) * samples, desc=name, unit=" samples")
        self._began = self._shown = time.monotonic()

    def step(self, batch: Batch, totals: jax.Array) -> None:
        """Counts a batch; `totals` are the epoch's sums so far, read back twice a second."""
        if self._bar.disable:
            return
        self._bar.update(int(batch.valid.sum()))
        if time.monotonic() > self._shown + 0.5:
            self._shown = time.monotonic()
            loss, correct, count = np.asarray(totals).tolist()
            self._bar.set_postfix_str(f"loss {loss / count:.4f}, accuracy {correct / count:.4f}")

    def end_epoch(self, entry: dict[str, Any]) -> None:
        """Prints the epoch, where there is no bar and the last line is long enough ago."""
        now = time.monotonic()
        last = entry["epoch"] == self._epochs
        if not last and (not self._bar.disable or now < self._shown + _SECONDS_BETWEEN_LINES):
            return
        self._shown = now
        epochs = entry["epoch"] - self._first
        line = (
            f"{self._name}: epoch {entry['epoch']}/{self._epochs}, loss {entry['loss']:.4f}, "
            f"training accuracy {entry['train_accuracy']:.4f}, test top-1 {entry['test_top1']:.4f}"
            f", {self._samples * epochs / (now - self._began):,.0f} samples/s"
        )
        if not last:
            left = (self._epochs - entry["epoch"]) * (now - self._began) / epochs
            line += f", {left:,.0f} s left"
        self._bar.clear()
        print(line, flush=True)

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()
