"""One run, from first weights to last epoch: the epoch loop, its checkpoints, its resumption."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.seq.episodes import Sampler
from experiments.seq.features import Features
from experiments.seq.results import RunResult, Variant
from experiments.seq.settings import SWEEPS, Settings
from experiments.seq.steps import Scaling, StepSpec, TrainState, classify, make_spec, train_step
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import progress


class Snapshot(NamedTuple):
    """The arrays of a checkpoint.

    Attributes:
        state: parameters and optimiser.
        scaling: of the features.
        image_predictions: int32 ``[N_test]``, of these parameters, see `RunResult`.
        sequence_predictions: likewise.
    """

    state: TrainState
    scaling: Scaling
    image_predictions: np.ndarray
    sequence_predictions: np.ndarray


def train_run(
    test: Features,
    sampler: Sampler,
    settings: Settings,
    variant: Variant,
    seed: int,
    num_classes: int,
    folder: Path | str,
    log: MetricsLog,
) -> RunResult:
    """Trains one variant with one seed, or goes on where its newest checkpoint ends.

    Args:
        test: features of the test split, classified after every epoch.
        sampler: of the training split and this seed.
        settings: see `Settings`; N, gamma and alpha are those of the variant.
        variant: what to train.
        seed: of the first weights; that of the sampler.
        num_classes: C.
        folder: of this run's checkpoints.
        log: where a line an epoch goes.

    Returns:
        The result; read from the last checkpoint alone where the run is already finished.

    Raises:
        ValueError: a loss that is no longer finite, or a checkpoint that is damaged or of another
            model.
        OSError: a checkpoint cannot be written.
    """
    scaling = Scaling(sampler.mean, sampler.std)
    spec, first = make_spec(settings, variant.method, len(scaling.mean), num_classes, seed)
    none = np.zeros(len(test.labels), np.int32)
    snapshot = Snapshot(first, scaling, none, none)
    record: dict[str, Any] = {"variant": variant.name, "seed": seed, "seconds": 0.0, "history": []}
    about = {"method": variant.method, "swept": variant.swept, "seed": seed}
    about |= {name: getattr(variant, name) for name in SWEEPS}
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is not None:
            snapshot, record = checkpoints.restore(step, snapshot)
        done = len(record["history"])
        if done < settings.epochs:
            log.write("run_start", **about, epochs_done=done)
        title = f"{variant.name} seed {seed}"
        bar = progress(range(done, settings.epochs), desc=title, unit=" epochs")
        for epoch in bar:
            began = time.monotonic()
            # Copies on the device, because each step reuses the buffers of the state it is given.
            state = jax.tree.map(jnp.array, snapshot.state)
            state, terms = _train_epoch(spec, state, sampler, settings, variant, title, epoch)
            predictions = predict(spec, state.params, test, scaling)
            accuracies = [float(np.mean(found == test.labels)) for found in predictions]
            seconds = time.monotonic() - began
            entry = {
                "epoch": epoch + 1,
                **terms,
                "image_accuracy": accuracies[0],
                "sequence_accuracy": accuracies[1],
                "learning_rate": learning_rate(settings, epoch),
                "seconds": seconds,
            }
            record = {
                **record,
                "seconds": record["seconds"] + seconds,
                "history": [*record["history"], entry],
            }
            snapshot = Snapshot(state, scaling, *predictions)
            checkpoints.save(epoch + 1, snapshot, record)
            log.write("epoch", **about, **entry)
            bar.set_postfix_str(f"loss {entry['loss']:.4f}, accuracy {accuracies[0]:.4f}")
        if done < settings.epochs:
            log.write("run_end", **about, seconds=record["seconds"])
            last = record["history"][-1]
            print(
                f"{title}: epoch {settings.epochs}, loss {last['loss']:.4f}, accuracy of test "
                f"images {last['image_accuracy']:.4f}, of test sequences "
                f"{last['sequence_accuracy']:.4f}, {record['seconds']:.1f} s",
                flush=True,
            )
    return RunResult(
        variant,
        seed,
        record["seconds"],
        record["history"],
        np.asarray(snapshot.image_predictions),
        np.asarray(snapshot.sequence_predictions),
        jax.tree.map(np.asarray, snapshot.state.params),
        np.asarray(snapshot.scaling.mean),
        np.asarray(snapshot.scaling.std),
    )


def learning_rate(settings: Settings, epoch: int) -> float:
    """Returns the rate in an epoch (from 0): a cosine to 0, by whole epochs."""
    return float(optax.cosine_decay_schedule(settings.learning_rate, settings.epochs)(epoch))


def predict(
    spec: StepSpec, params: dict, test: Features, scaling: Scaling
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes, int32 ``[N]``, of test images and of their virtual sequences."""
    shown = (test.images[:, None], test.sequences[:, 0])
    found = [classify(spec.graphdef, params, frames, scaling) for frames in shown]
    image, sequence = (np.argmax(one, axis=1).astype(np.int32) for one in found)
    return image, sequence


def num_bytes(num_features: int, num_classes: int, num_test: int, num_runs: int, keep: int) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most."""
    # Weights with two moments, the statistics of the features, the predictions.
    one = 4 * (3 * (num_features + 1) * num_classes + 2 * num_features + 2 * num_test) + 50_000
    return one * num_runs * (keep + 1)


def _train_epoch(
    spec: StepSpec,
    state: TrainState,
    sampler: Sampler,
    settings: Settings,
    variant: Variant,
    title: str,
    epoch: int,
) -> tuple[TrainState, dict[str, float | None]]:
    """Returns the state after an epoch, and the means of the loss and its terms."""
    rate = learning_rate(settings, epoch)
    weights = (variant.alpha, settings.beta, variant.gamma)
    scaling = jax.tree.map(jnp.asarray, Scaling(sampler.mean, sampler.std))
    totals = jnp.zeros(4)
    for step in range(epoch * settings.episodes, (epoch + 1) * settings.episodes):
        episode = sampler.draw(
            step,
            queries=settings.queries,
            support=variant.num_support if spec.align else 0,
            still=variant.method == "baseline",
        )
        state, totals = train_step(spec, state, totals, episode, scaling, weights, rate)
    loss, align, entropy, smooth = (np.asarray(totals) / settings.episodes).tolist()
    if not np.isfinite(loss):
        raise ValueError(
            f"{title}: the loss of epoch {epoch + 1} is {loss}; the checkpoints before it are "
            "intact. A smaller --learning_rate may help."
        )
    terms = {
        "loss": loss,
        "align": align if spec.align else None,
        "cross_entropy": entropy,
        "smooth": smooth if spec.smooth else None,
    }
    return state, terms
