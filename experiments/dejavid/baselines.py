"""What the trained heads are compared with: two order-blind classifiers and three that are not.

All of them rank the classes: `scores [N_test, C]`, the higher the better. A tie goes to the class
with the smaller number. Times are wall-clock times of everything a baseline needs by itself,
reading and compiling included.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances_chunked
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tempalign
from experiments.dejavid.initial import initial_centroids, statistics
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import prepare
from experiments.dejavid.training import accuracies
from experiments.shared.errors import UserError
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.batches import epoch_batches
from experiments.tse.dataset import TseDataset, TseSplit

NAMES = {
    "mean_1nn": "temporal mean + 1-NN",
    "mean_logistic": "temporal mean + logistic regression",
    "dtw_1nn": "1-NN DTW",
    "dba_centroid": "nearest DBA centroid",
    "encoder_logits": "temporal mean of the encoder's logits",
}
"""From the names of `--baselines` to those of the report, in the order of the report."""

ORDER_BLIND = tuple(NAMES[key] for key in ("mean_1nn", "mean_logistic", "encoder_logits"))
"""The baselines whose answer does not change when the frames are shuffled."""

_TILE = 32  # sequences a side of one batch of all-pairs DTW: it stays in a CPU's cache
_WIDTH_QUANTILES = (0.5, 0.85, 0.97, 1.0)


def run_baseline(key: str, dataset: TseDataset, settings: Settings) -> dict[str, Any]:
    """Runs one baseline.

    Args:
        key: one of `settings.baselines`.
        dataset: fitted on its training split, evaluated on its test split.
        settings: `standardize`, `encoder_logits` and what decides the first centroids. Nothing here
            is random but the samples behind those: the first seed's.

    Returns:
        What `BaselineResult` has but for name and seconds, of JSON's types.
    """
    score: dict[str, Callable[[], tuple[np.ndarray, int | None]]] = {
        "mean_1nn": lambda: _mean_nearest_neighbour(dataset, statistics(dataset, settings)),
        "mean_logistic": lambda: _mean_logistic(dataset),
        "dtw_1nn": lambda: _dtw_nearest_neighbour(dataset, statistics(dataset, settings)),
        "dba_centroid": lambda: _nearest_centroid(dataset, settings),
        "encoder_logits": lambda: _mean_encoder_logits(dataset, settings.encoder_logits),
    }
    scores, num_parameters = score[key]()
    top1, top5 = accuracies(scores, dataset.test.labels)
    return {
        "num_parameters": num_parameters,
        "top1": top1,
        "top5": top5,
        "predictions": np.argsort(-scores, axis=1, kind="stable")[:, 0].tolist(),
    }


def check_logit_blocks(dataset: TseDataset, settings: Settings) -> None:
    """Checks what the baseline encoder_logits, where it is asked for, needs of the features.

    Raises:
        UserError: they are not `encoder_logits` equal blocks that can end in one logit a class.
    """
    num_blocks = settings.encoder_logits
    if "encoder_logits" not in settings.baselines:
        return
    size, rest = divmod(dataset.num_features, num_blocks)
    if rest or size < dataset.num_classes:
        raise UserError(
            f"--encoder_logits={num_blocks}: the {dataset.num_features} features of "
            f"{dataset.name} are not {num_blocks} equal blocks that each end in "
            f"{dataset.num_classes} logits, one a class; leave encoder_logits out of --baselines "
            "if they hold no logits"
        )


def _temporal_means(
    split: TseSplit, desc: str, order: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """The mean frame of every sequence, float32 [N, F]; one sequence is in memory at a time."""
    means = np.empty((len(split), split.source.num_features), np.float32)
    rows = range(len(split)) if order is None else order
    for row, index in enumerate(progress(rows, desc=desc, unit="sequences")):
        means[row] = split.source[int(index)].mean(axis=0, dtype=np.float64)
    return means


def _mean_nearest_neighbour(dataset: TseDataset, scaling: Scaling) -> tuple[np.ndarray, None]:
    # The training samples class by class: then a class is a run of columns.
    order = np.argsort(dataset.train.labels, kind="stable")
    starts = np.searchsorted(dataset.train.labels[order], np.arange(dataset.num_classes))
    train = _temporal_means(dataset.train, "temporal means (train)", order)
    test = _temporal_means(dataset.test, "temporal means (test)")
    for means in (train, test):
        scaling.apply(means, out=means)  # gigabytes on large data: no copy

    def nearest_of_class(distances: np.ndarray, start: int) -> np.ndarray:
        return np.minimum.reduceat(distances, starts, axis=1)

    # In chunks that fit in memory, by matrix products that scikit-learn accumulates in float64:
    # the fast formula for distances cancels.
    chunks = pairwise_distances_chunked(
        test, train, metric="euclidean", reduce_func=nearest_of_class
    )
    bar = progress(total=len(test), desc=NAMES["mean_1nn"], unit="sequences")
    nearest = []
    for chunk in chunks:
        nearest.append(chunk)
        bar.update(len(chunk))
    bar.close()
    return -np.concatenate(nearest), None


def _mean_logistic(dataset: TseDataset) -> tuple[np.ndarray, int]:
    train = _temporal_means(dataset.train, "temporal means (train)")
    test = _temporal_means(dataset.test, "temporal means (test)")
    # The means are scaled by their own deviation, whatever the heads get: less than a frame's.
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train, dataset.train.labels)
    return model.predict_log_proba(test), dataset.num_classes * (dataset.num_features + 1)


def _dtw_nearest_neighbour(dataset: TseDataset, scaling: Scaling) -> tuple[np.ndarray, None]:
    """All pairs, tile by tile of sequences that are about equally long.

    Lengths are rounded up to one of four widths, quantiles of the lengths there are. So little
    is wasted on padding, and as distances are symmetric at most 10 shapes are compiled.
    """
    lengths = np.concatenate([dataset.train.lengths, dataset.test.lengths])
    widths = np.unique(np.quantile(lengths, _WIDTH_QUANTILES, method="higher")).tolist()
    all_pairs = jax.jit(
        lambda x, y, x_lengths, y_lengths: tempalign.dtw(
            x[:, None], y[None], x_lengths=x_lengths[:, None], y_lengths=y_lengths[None]
        )
    )

    def tile(x: np.ndarray, x_lengths: np.ndarray, y: np.ndarray, y_lengths: np.ndarray):
        if x.shape[1] <= y.shape[1]:
            return np.asarray(all_pairs(x, y, x_lengths, y_lengths))
        return np.asarray(all_pairs(y, x, y_lengths, x_lengths)).T

    def read(split: TseSplit, indices: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.zeros((_TILE, width, dataset.num_features), np.float32)
        lengths = np.ones(_TILE, np.int32)  # of the filler rows, too
        lengths[: len(indices)] = split.lengths[indices]
        for row, index in enumerate(indices):
            x[row, : lengths[row]] = scaling.apply(split.source[int(index)])
        return x, lengths

    # The training split stays in memory; the test split passes through it once.
    train = _tiles(dataset.train, widths)
    train_labels = [dataset.train.labels[indices] for indices, _ in train]
    train_x, train_lengths = zip(*(read(dataset.train, *of_tile) for of_tile in train), strict=True)
    test = _tiles(dataset.test, widths)
    nearest = np.full((len(dataset.test), dataset.num_classes), np.inf, np.float32)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress(total=len(train) * len(test), desc=NAMES["dtw_1nn"]) as bar,
    ):
        for indices, width in test:
            x, x_lengths = read(dataset.test, indices, width)
            tiles = pool.map(partial(tile, x, x_lengths), train_x, train_lengths)
            for labels, distances in zip(train_labels, tiles, strict=True):
                valid = distances[: len(indices), : len(labels)]
                np.minimum.at(nearest, (indices[:, None], labels), valid)
                bar.update()
    return -nearest, None


def _tiles(split: TseSplit, widths: list[int]) -> list[tuple[np.ndarray, int]]:
    """Groups of at most `_TILE` indices of about equally long sequences, with their width."""
    width_of = np.searchsorted(widths, split.lengths)
    tiles = []
    for group, width in enumerate(widths):
        members = np.flatnonzero(width_of == group)
        tiles += [(members[i : i + _TILE], width) for i in range(0, len(members), _TILE)]
    return tiles


def _nearest_centroid(dataset: TseDataset, settings: Settings) -> tuple[np.ndarray, int]:
    """DejaVid before its first step: the centroids that it starts from, all weights 1."""
    scaling = statistics(dataset, settings)
    centroids = jnp.asarray(initial_centroids(dataset, settings, settings.seeds[0]))

    @jax.jit
    def distances(x, lengths):
        x, lengths = prepare(x, lengths, scaling, settings.pooling)
        return tempalign.weighted_dtw(
            x[:, None], centroids, diagonal=settings.diagonal, x_lengths=lengths[:, None]
        )

    batches = epoch_batches(
        dataset.test, settings.batch_size, seed=None, num_threads=settings.num_threads
    )
    total = -(-len(dataset.test) // settings.batch_size)
    scores = [
        -np.asarray(distances(batch.x, batch.lengths))
        for batch in progress(batches, total=total, desc="nearest DBA centroid")
    ]
    return np.concatenate(scores)[: len(dataset.test)], centroids.size


def _mean_encoder_logits(dataset: TseDataset, num_blocks: int) -> tuple[np.ndarray, None]:
    """The "supersampling" baseline: the encoder's own answer, averaged over time (and blocks)."""
    means = _temporal_means(dataset.test, "temporal means (test)")
    blocks = means.reshape(len(means), num_blocks, -1)
    return blocks[:, :, -dataset.num_classes :].sum(axis=1), None
