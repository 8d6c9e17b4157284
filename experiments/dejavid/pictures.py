"""The pictures of a report: confusion, learning curves, learned weights, alignments."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import tempalign
from experiments.dejavid.baselines import ORDER_BLIND
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.shared.reports import Picture
from experiments.tse.dataset import TseDataset
from tempalign import plot

_DPI = 150
_LINE_STYLES = ("-", "--", "-.", ":")
_MAX_NAMED_CLASSES = 25  # more class names than that cannot be read along an axis
_MAX_WEIGHT_PANELS = 10
_MAX_WEIGHT_FEATURES = 64
_HEADS = {
    "frozen_weights": "DejaVid frozen weights",
    "weights_only": "DejaVid weights only",
    "full": "DejaVid full",
}


def draw_all(
    folder: Path,
    dataset: TseDataset,
    settings: Settings,
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
) -> list[Picture]:
    """Draws every picture that these results allow, as PNG.

    Args:
        folder: where to.
        dataset: of the runs.
        settings: of the job.
        baselines: the order-blind ones become lines in the learning curves.
        runs: the one shown in detail is the first of the variant that learns most, whatever its
            accuracy: picking the best seed would flatter.

    Returns:
        What was drawn, in the order to show it. Nothing if there are no runs.
    """
    if not runs:
        return []
    run = next((run for run in runs if run.variant == "full"), runs[-1])
    drawn = [_confusion(dataset, run), _learning_curves(baselines, runs)]
    weighted = next((one for one in (run, *runs) if one.log_weights.any()), None)
    if weighted is not None:
        drawn.append(_weights(dataset, settings, weighted))
    if settings.pooling == "none":
        drawn.append(_alignments(dataset, settings, run))
    for figure, picture in drawn:
        figure.savefig(folder / picture.file, dpi=_DPI)
    return [picture for _, picture in drawn]


def head_name(variant: str) -> str:
    """Returns what tables and pictures call a variant."""
    return _HEADS.get(variant, f"DejaVid {variant}")


def _confusion(dataset: TseDataset, run: RunResult) -> tuple[Figure, Picture]:
    classes = dataset.num_classes
    truth, guess = dataset.test.labels, run.test_predictions_top1
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (truth, guess), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    few = classes <= _MAX_NAMED_CLASSES
    side = min(max(0.42 * classes, 3.0), 8.0) if few else 7.0
    figure = Figure(figsize=(side + 1.9, side + 1.2), layout="constrained")
    ax = figure.add_subplot()
    # The root spreads the small shares: a few errors beside a strong diagonal stay visible.
    image = ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=ax, label="share of the true class", fraction=0.046, pad=0.03)
    if few:
        longest = max(map(len, dataset.class_names))
        ax.set_xticks(
            range(classes),
            dataset.class_names,
            rotation=0 if longest <= 3 else 60,
            ha="center" if longest <= 3 else "right",
            rotation_mode="anchor",
        )
        ax.set_yticks(range(classes), dataset.class_names)
        size = 9 if counts.max() < 1000 else 7
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.35 else "black"
            ax.text(
                column, row, counts[row, column], color=color, ha="center", va="center", size=size
            )
    else:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
    unit = "class" if few else "class (number)"
    ax.set(xlabel=f"predicted {unit}", ylabel=f"true {unit}")
    ax.set_title(f"Confusion on the test split\n{_run_name(run)}", fontsize=11)

    wrong = counts * (1 - np.eye(classes, dtype=int))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:5]
    named = [
        f"{dataset.class_names[row]} taken for {dataset.class_names[column]} ({wrong[row, column]})"
        for row, column in zip(*np.unravel_index(pairs, wrong.shape), strict=True)
        if wrong[row, column]
    ]
    most = f" Most often: {'; '.join(named)}." if named else " There are no errors."
    caption = (
        f"Confusion matrix of {_run_name(run)}, {wrong.sum()} errors in {len(truth)} test "
        f"sequences.{most}"
    )
    return figure, Picture("confusion.png", "Confusion matrix", caption)


def _learning_curves(
    baselines: Sequence[BaselineResult], runs: Sequence[RunResult]
) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    loss_ax, accuracy_ax = figure.subplots(1, 2)
    variants = list(dict.fromkeys(run.variant for run in runs))
    for variant, color, style in zip(variants, plot.PALETTE, _LINE_STYLES, strict=False):
        histories = [run.history for run in runs if run.variant == variant]
        epochs = [entry["epoch"] for entry in histories[0]]
        for ax, key, scale in ((loss_ax, "loss", 1.0), (accuracy_ax, "test_top1", 100.0)):
            values = scale * np.array([[entry[key] for entry in h] for h in histories])
            mean = values.mean(axis=0)
            single = {"marker": "o"} if len(epochs) == 1 else {}
            ax.plot(
                epochs,
                mean,
                color=color,
                linestyle=style,
                linewidth=1.8,
                label=head_name(variant),
                **single,
            )
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                ax.fill_between(
                    epochs, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0
                )
    blind = [result for result in baselines if result.name in ORDER_BLIND]
    for result, style in zip(blind, ("--", ":", "-."), strict=False):
        accuracy_ax.axhline(
            100 * result.top1, color="0.35", linestyle=style, linewidth=1.2, label=result.name
        )
    loss_ax.set(ylabel="training loss (cross-entropy)", title="Loss")
    accuracy_ax.set(ylabel="test top-1 (%)", title="Accuracy")
    for ax in (loss_ax, accuracy_ax):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = accuracy_ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)

    seeds = len({run.seed for run in runs})
    band = f" Lines are means of {seeds} seeds, bands one sample standard deviation." * (seeds > 1)
    grey = " Grey lines: the order-blind baselines." * bool(blind)
    caption = f"Training loss and test accuracy after every epoch.{band}{grey}"
    return figure, Picture("learning_curves.png", "Learning curves", caption)


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
        ax.set_title(_short(dataset.class_names[label]), fontsize=10)
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
    samples = _samples(dataset.test.labels, run.test_predictions_top1)
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
    x = (dataset.test.source[sample].astype(np.float32) - run.feature_mean) / run.feature_std
    ranked = np.argsort(-run.test_logits[sample], kind="stable")[:2]
    truth = int(dataset.test.labels[sample])
    names = [_short(name) for name in dataset.class_names]
    right = "right" if ranked[0] == truth else "WRONG"
    sub.suptitle(
        f"{dataset.test.ids[sample]}, true class {names[truth]}: {right}",
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
        path = np.asarray(_path(padded, len(x), settings.diagonal))[:, : len(x)]
        plot.alignment(
            cost,
            path,
            centroid,
            x,
            ax=ax,
            title=f"{role}: {names[label]}, distance {_number(np.sum(path * cost))}",
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
def _path(cost: jax.Array, length: jax.Array, diagonal: bool) -> jax.Array:
    # The gradient of the distance in the costs is the path; ties go as in weighted_dtw.
    return jax.grad(tempalign.dtw_from_cost)(cost, diagonal=diagonal, y_lengths=length)


def _run_name(run: RunResult) -> str:
    accuracy = 100 * run.last["test_top1"]
    return (
        f"{head_name(run.variant)}, seed {run.seed}, epoch {run.last['epoch']} "
        f"({accuracy:.2f} % right)"
    )


def _number(value: float) -> str:
    """Four digits, or all before the point: distances over many features are large."""
    return f"{value:#.4g}" if value < 1000 else f"{value:,.0f}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
