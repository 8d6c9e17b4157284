"""One run, from first weights to last epoch: the epoch loop, its checkpoints, its resumption."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.anomaly.dataset import AnomalyDataset, frame_scores
from experiments.anomaly.metrics import evaluate
from experiments.anomaly.results import RunResult
from experiments.anomaly.settings import Settings
from experiments.anomaly.steps import TrainState, make_spec, score_rows, train_step
from experiments.anomaly.windows import Sampler
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import progress


class Snapshot(NamedTuple):
    """The arrays of a checkpoint.

    Attributes:
        state: parameters and optimiser.
        mean: float32 [F], subtracted from the features before the head.
        std: float32 [F], dividing them.
        test_scores: float64, one a test frame, of these parameters.
    """

    state: TrainState
    mean: np.ndarray
    std: np.ndarray
    test_scores: np.ndarray


def train_run(
    dataset: AnomalyDataset,
    sampler: Sampler,
    settings: Settings,
    method: str,
    seed: int,
    folder: Path | str,
    log: MetricsLog,
) -> RunResult:
    """Trains one method with one seed, or goes on where its newest checkpoint ends.

    Args:
        dataset: scored on its test split after every epoch.
        sampler: of its training split.
        settings: see `Settings`.
        method: one of `settings.methods`.
        seed: of the first weights and the windows.
        folder: of this run's checkpoints.
        log: where a line an epoch goes.

    Returns:
        The result; read from the last checkpoint alone where the run is already finished.

    Raises:
        ValueError: a loss that is no longer finite, or a checkpoint that is damaged or of another
            model.
        OSError: a checkpoint cannot be written.
    """
    spec, first = make_spec(settings, method, dataset.num_features, seed)
    labels = dataset.test_labels
    snapshot = Snapshot(first, sampler.mean, sampler.std, np.zeros(len(labels)))
    record: dict[str, Any] = {"method": method, "seed": seed, "seconds": 0.0, "history": []}
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is not None:
            snapshot, record = checkpoints.restore(step, snapshot)
        done = len(record["history"])
        if done < settings.epochs:
            log.write("run_start", method=method, seed=seed, epochs_done=done)
        bar = progress(range(done, settings.epochs), desc=f"{method} seed {seed}", unit=" epochs")
        for epoch in bar:
            began = time.monotonic()
            # Copies on the device, because each step reuses the buffers of the state it is given.
            state = jax.tree.map(jnp.array, snapshot.state)
            state, terms, rate = _train_epoch(spec, state, sampler, settings, method, seed, epoch)
            scores = score_split(dataset, spec.graphdef, state.params, sampler.mean, sampler.std)
            seconds = time.monotonic() - began
            entry = {
                "epoch": epoch + 1,
                **terms,
                **evaluate(labels, scores)._asdict(),
                "learning_rate": rate,
                "seconds": seconds,
            }
            record = {
                **record,
                "seconds": record["seconds"] + seconds,
                "history": [*record["history"], entry],
            }
            snapshot = Snapshot(state, sampler.mean, sampler.std, scores)
            checkpoints.save(epoch + 1, snapshot, record)
            log.write("epoch", method=method, seed=seed, **entry)
            bar.set_postfix_str(f"loss {entry['loss']:.4f}, AUC {entry['roc_auc']:.4f}")
        if done < settings.epochs:
            log.write("run_end", method=method, seed=seed, seconds=record["seconds"])
            last = record["history"][-1]
            print(
                f"{method} seed {seed}: epoch {settings.epochs}, loss {last['loss']:.4f}, test AUC "
                f"{last['roc_auc']:.4f}, AP {last['average_precision']:.4f}, "
                f"{record['seconds']:.1f} s",
                flush=True,
            )
    return RunResult(
        method, seed, record["seconds"], record["history"], np.asarray(snapshot.test_scores)
    )


def learning_rate(settings: Settings, epoch: int) -> float:
    """Returns the rate in an epoch (from 0): a cosine to 0, by whole epochs."""
    return float(optax.cosine_decay_schedule(settings.learning_rate, settings.epochs)(epoch))


def score_split(dataset: AnomalyDataset, graphdef, params, mean, std) -> np.ndarray:
    """Returns the score of every test frame, video after video."""
    rows = np.concatenate([video.features for video in dataset.test])
    scores = score_rows(graphdef, params, rows, mean, std)
    per_video = np.split(scores, np.cumsum([len(video.features) for video in dataset.test])[:-1])
    return np.concatenate(
        [
            frame_scores(part, video.num_frames, dataset.frames_per_row)
            for part, video in zip(per_video, dataset.test, strict=True)
        ]
    )


def num_bytes(dataset: AnomalyDataset, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    # Weights of two classes with two moments, the statistics of the features, the scores.
    one = 4 * (8 * dataset.num_features + len(dataset.test_labels)) + 50_000
    return one * len(settings.methods) * len(settings.seeds) * (settings.keep_checkpoints + 1)


def _train_epoch(
    spec,
    state: TrainState,
    sampler: Sampler,
    settings: Settings,
    method: str,
    seed: int,
    epoch: int,
) -> tuple[TrainState, dict[str, float | None], float]:
    """Returns the state after an epoch, the means of the loss and its terms, and the rate."""
    rate = learning_rate(settings, epoch)
    weights = (settings.alpha, settings.beta, settings.gamma)
    totals = jnp.zeros(4)
    for step in range(epoch * settings.episodes, (epoch + 1) * settings.episodes):
        episode = sampler.draw(seed, step, by_frame=method == "baseline")
        state, totals = train_step(spec, state, totals, episode, weights, rate)
    loss, align, entropy, smooth = (np.asarray(totals) / settings.episodes).tolist()
    if not np.isfinite(loss):
        raise ValueError(
            f"{method} seed {seed}: the loss of epoch {epoch + 1} is {loss}; the checkpoints "
            "before it are intact. A smaller --learning_rate may help."
        )
    terms = {
        "loss": loss,
        "align": align if spec.align else None,
        "cross_entropy": entropy,
        "smooth": smooth if spec.smooth else None,
    }
    return state, terms, rate
