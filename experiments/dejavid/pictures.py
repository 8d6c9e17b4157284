"""The pictures of a report: confusion, learning curves, learned weights, alignments."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import tempalign
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.shared import charts
from experiments.shared.lettering import label as lettered
from experiments.shared.pictures import Drawing, Picture
from experiments.tse.dataset import TseDataset
from tempalign import plot

_MAX_WEIGHT_PANELS = 10
_MAX_WEIGHT_FEATURES = 64
_NAME_WIDTH = 24  # of a class above a panel
_HEADS = {
    "frozen_weights": "DejaVid frozen weights",
    "weights_only": "DejaVid weights only",
    "full": "DejaVid full",
}


def drawings(
    dataset: TseDataset,
    settings: Settings,
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
) -> list[tuple[str, Drawing]]:
    """Returns every picture that these results allow, each by its file, still to be drawn.

    Args:
        dataset: of the runs.
        settings: of the job.
        baselines: they become lines in the learning curves.
        runs: the one shown in detail is the first of the method that learns most, whatever its
            accuracy: picking the best seed would flatter.
    """
    if not runs:
        return []
    run = next((run for run in runs if run.method == "full"), runs[-1])
    found: list[tuple[str, Drawing]] = [
        ("confusion.png", partial(_confusion, dataset, run)),
        ("learning_curves.png", partial(_learning_curves, baselines, runs)),
    ]
    weighted = next((one for one in (run, *runs) if one.log_weights.any()), None)
    if weighted is not None:
        found.append(("weights.png", partial(_weights, dataset, settings, weighted)))
    if settings.pooling == "none":
        found.append(("alignments.png", partial(_alignments, dataset, settings, run)))
    return found


def head_name(method: str) -> str:
    """Returns what tables and pictures call a method."""
    return _HEADS.get(method, f"DejaVid {method}")


def _confusion(dataset: TseDataset, run: RunResult) -> tuple[Figure, Picture]:
    figure, errors = charts.confusion(
        dataset.test.labels, run.predictions, dataset.class_names, f"Confusion, {_run_name(run)}"
    )
    caption = f"Confusion matrix of {_run_name(run)}: {errors}"
    return figure, Picture("confusion.png", "Confusion matrix", caption)


def _learning_curves(
    baselines: Sequence[BaselineResult], runs: Sequence[RunResult]
) -> tuple[Figure, Picture]:
    methods = dict.fromkeys(run.method for run in runs)
    histories = {
        head_name(method): [run.history for run in runs if run.method == method]
        for method in methods
    }
    others = {result.name: result.top1 for result in baselines}
    panels = [
        charts.Panel("loss", "Loss", "training loss (cross-entropy)"),
        charts.Panel("test_top1", "Accuracy", "test top-1 (%)", 100, references=others),
        charts.Panel("val_top1", "Accuracy on validation data", "validation top-1 (%)", 100),
    ]
    seeds = len({run.seed for run in runs})
    band = f" Lines are means of {seeds} seeds, bands one sample standard deviation." * (seeds > 1)
    level = " Level lines: the baselines." * bool(others)
    caption = f"Training loss and accuracy after every epoch.{band}{level}"
    return charts.curves(histories, panels), Picture(
        "learning_curves.png", "Learning curves", caption
    )


def _weights(dataset: TseDataset, settings: Settings, run: RunResult) -> tuple[Figure, Picture]:
    change = run.log_weights / math.log(2)  # the weights start at 1, unless drawn at random
    drift = np.abs(change).mean(axis=(1, 2))
    classes = np.sort(np.argsort(-drift, kind="stable")[:_MAX_WEIGHT_PANELS])
    drift = np.abs(change[classes]).mean(axis=(0, 1))
    features = np.sort(np.argsort(-drift, kind="stable")[:_MAX_WEIGHT_FEATURES])
    shown = change[np.ix_(classes, np.arange(change.shape[1]), features)]
    limit = max(float(np.percentile(np.abs(shown), 99.5)), 1e-3)

    columns = min(5, len(classes))
    rows = -(-len(classes) // columns)
    figure = Figure(figsize=(2.1 * columns + 1.6, 1.9 * rows + 1.0), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    norm = Normalize(-limit, limit)
    for ax, panel, label in zip(axes.flat, shown, classes, strict=False):
        ax.imshow(panel, cmap="PuOr", norm=norm, aspect="auto", interpolation="nearest")
        ax.set_title(lettered(dataset.class_names[label], _NAME_WIDTH), fontsize=10)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for ax in axes.flat[len(classes) :]:
        ax.set_visible(False)
    for ax in axes[-1 if len(classes) % columns == 0 else -2, len(classes) % columns :]:
        ax.tick_params(labelbottom=True)  # nothing is below these
    all_features = len(features) == change.shape[2]
    figure.supxlabel("feature" if all_features else "feature (rank by number)", fontsize=10)
    figure.supylabel("centroid step", fontsize=10)
    figure.suptitle(f"Learned weights, {_run_name(run)}", fontsize=11)
    random_start = settings.weight_init == "normal"
    figure.colorbar(
        ScalarMappable(norm, "PuOr"),
        ax=axes,
        label="log2 of the weight" + ("" if random_start else "\n(0: as at the start)"),
        extend="both",
    )

    which = (
        ""
        if len(classes) == dataset.num_classes
        else (f" The {len(classes)} of {dataset.num_classes} classes that moved most are shown.")
    )
    if not all_features:
        which += (
            f" Of {change.shape[2]} features, those {len(features)} that moved most, in order: "
            f"{', '.join(map(str, features))}."
        )
    start = (
        "They started at random (--weight_init=normal), so 0 is a weight of 1, not the start."
        if random_start
        else "They started at 1: +1 is twice, -1 half the starting weight."
    )
    caption = f"Learned weights of every class, as log2. {start}{which}"
    return figure, Picture("weights.png", "Learned weights", caption)


def _alignments(dataset: TseDataset, settings: Settings, run: RunResult) -> tuple[Figure, Picture]:
    samples = _samples(dataset.test.labels, run.predictions)
    figure = Figure(figsize=(12, 3.4 * len(samples)), layout="constrained")
    rows = figure.subfigures(len(samples), 1, hspace=0.04, squeeze=False)[:, 0]
    for sample, row in zip(samples, rows, strict=True):
        _draw_sample(row, dataset, settings, run, sample)
    caption = (
        "The warping path over the weighted local costs, for test sequences classified rightly "
        "and wrongly (where there are any): against the centroid of the predicted class, left, "
        "and that of the runner-up, right, on one colour scale. The sequence runs along the top, "
        "the centroid down the left side. The smaller distance wins."
    )
    return figure, Picture("alignments.png", "Alignments", caption)


def _samples(labels: np.ndarray, guesses: np.ndarray) -> list[int]:
    """Two test samples that are right and two that are wrong, spread over the split."""
    chosen: list[int] = []
    for group in (np.flatnonzero(labels == guesses), np.flatnonzero(labels != guesses)):
        count = min(2, len(group))
        chosen += [int(group[(2 * k + 1) * len(group) // (2 * count)]) for k in range(count)]
    return chosen


def _draw_sample(sub, dataset: TseDataset, settings: Settings, run: RunResult, sample: int) -> None:
    """One row: the sample against the centroids of the predicted class and the runner-up."""
    x = run.trained.state.scaling.apply(dataset.test.source[sample].astype(np.float32))
    ranked = np.argsort(-run.test_logits[sample], kind="stable")[:2]
    truth = int(dataset.test.labels[sample])
    names = [lettered(name, _NAME_WIDTH) for name in dataset.class_names]
    right = "right" if ranked[0] == truth else "WRONG"
    sub.suptitle(
        f"{lettered(dataset.test.ids[sample])}, true class {names[truth]}: {right}",
        fontsize=12,
        weight="bold",
    )
    costs = []
    axes = sub.subplots(1, 2)
    for ax, label, role in zip(axes, ranked, ("predicted", "runner-up"), strict=True):
        centroid, weight = run.centroids[label], np.exp(run.log_weights[label])
        cost = weighted_cost(x, centroid, weight)
        # Padded to one length for all samples: compiled once.
        padded = np.pad(cost, ((0, 0), (0, dataset.max_length - len(x))))
        path = np.asarray(path_through(padded, len(x), settings.diagonal))[:, : len(x)]
        plot.alignment(
            cost,
            path,
            centroid,
            x,
            ax=ax,
            title=f"{role}: {names[label]}, distance {digits(np.sum(path * cost))}",
            x_label="centroid (step)",
            y_label="sequence (frame)",
            cost_label="weighted cost",
        )
        costs.append(cost)
    # One scale for both, so that the two pictures can be compared.
    low, high = min(cost.min() for cost in costs), max(cost.max() for cost in costs)
    for ax in axes:
        ax.images[0].set_clim(low, high)


def weighted_cost(x: np.ndarray, centroid: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns the local costs [T_c, T] that `tempalign.weighted_dtw` sums along its path.

    Args:
        x: [T, F].
        centroid: [T_c, F].
        weight: [T_c, F].
    """
    cost = np.zeros((len(centroid), len(x)), np.float32)
    # Feature by feature: [T_c, T, F] would be large for real embeddings.
    for column, c, w in zip(x.T, centroid.T, weight.T, strict=True):
        cost += w[:, None] * np.abs(c[:, None] - column)
    return cost


@partial(jax.jit, static_argnums=2)
def path_through(cost: jax.Array, length: jax.Array, diagonal: bool) -> jax.Array:
    """Returns the warping path ``[T_c, T]``, 1 on it, through costs padded behind `length`.

    It is the gradient of the distance in the costs; ties go as in `tempalign.weighted_dtw`.
    """
    return jax.grad(tempalign.dtw_from_cost)(cost, diagonal=diagonal, y_lengths=length)


def _run_name(run: RunResult) -> str:
    accuracy = 100 * run.last["test_top1"]
    return (
        f"{head_name(run.method)}, seed {run.seed}, epoch {run.last['epoch']} "
        f"({accuracy:.2f} % right)"
    )


def digits(value: float) -> str:
    """Returns four digits, or all before the point: distances over many features are large."""
    return f"{value:#.4g}" if value < 1000 else f"{value:,.0f}"
