"""The pictures of a report: scores over time, ROC and precision-recall curves, learning, events."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from experiments.anomaly.dataset import AnomalyDataset, Video, split_scores
from experiments.anomaly.results import NAMES, PlainResult, RunResult
from experiments.shared.reports import Picture
from tempalign import plot

_DPI = 130
_MAX_VIDEOS = 6
_IN_CURVES = ("baseline", "trajectory", "seq")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)))


def draw_all(
    folder: Path,
    dataset: AnomalyDataset,
    baselines: Sequence[PlainResult],
    runs: Sequence[RunResult],
) -> list[Picture]:
    """Draws every picture that these results allow, as PNG.

    Args:
        folder: where to.
        dataset: of the runs.
        baselines: become grey lines.
        runs: of the first seed, where one run is drawn: picking the best would flatter.

    Returns:
        What was drawn, in the order to show it. Nothing if there are no runs.
    """
    if not runs:
        return []
    first = [run for run in runs if run.seed == runs[0].seed]
    drawn = [
        _scores(dataset, first),
        _roc_and_pr(dataset, baselines, first),
        _learning(runs),
    ]
    if dataset.strips:
        drawn.append(_events(dataset))
    for figure, picture in drawn:
        figure.savefig(folder / picture.file, dpi=_DPI)
    return [picture for _, picture in drawn]


def shown_videos(videos: Sequence[Video]) -> list[int]:
    """Returns which videos to draw: spread over those with both classes, one all normal if any."""
    mixed = [i for i, v in enumerate(videos) if 0 < v.labels.sum() < v.num_frames]
    normal = [i for i, v in enumerate(videos) if not v.labels.any()][:1]
    room = _MAX_VIDEOS - len(normal)
    picked = np.linspace(0, len(mixed) - 1, min(room, len(mixed))).round().astype(int)
    chosen = {mixed[i] for i in picked} | set(normal)
    return sorted(chosen) or list(range(min(_MAX_VIDEOS, len(videos))))


def _scores(dataset: AnomalyDataset, runs: Sequence[RunResult]) -> tuple[Figure, Picture]:
    chosen = shown_videos(dataset.test)
    lines = [run for run in runs if run.method in _IN_CURVES] or list(runs)
    figure = Figure(figsize=(11, 1.55 * len(chosen) + 0.9), layout="constrained")
    axes = figure.subplots(len(chosen), 1, squeeze=False, sharey=True)[:, 0]
    for run, color, style in zip(lines, plot.PALETTE, _STYLES, strict=False):
        per_video = split_scores(run.test_scores, dataset.test)
        for ax, index in zip(axes, chosen, strict=True):
            label = NAMES[run.method] if index == chosen[0] else None
            ax.plot(per_video[index], color=color, linestyle=style, linewidth=1.3, label=label)
    for ax, index in zip(axes, chosen, strict=True):
        video = dataset.test[index]
        _shade(ax, video)
        ax.set(xlim=(0, video.num_frames - 1), ylim=(-0.03, 1.03), ylabel="score")
        ax.set_title(video.id, fontsize=9, loc="left", pad=3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("frame")
    figure.legend(loc="outside lower center", ncols=len(lines), frameon=False)
    caption = (
        f"Probability of anomaly of every frame of {len(chosen)} test videos, seed "
        f"{lines[0].seed}. Shaded: the frames labelled anomalous, with the kind where it is known."
    )
    return figure, Picture("scores.png", "Scores over time", caption)


def _shade(ax, video: Video) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], video.labels, [0]]).astype(int)))
    for start, end in edges.reshape(-1, 2):
        ax.axvspan(start - 0.5, end - 0.5, color="0.75", alpha=0.55, linewidth=0)
    for event in video.events:
        if event.kind != "anomaly":
            middle = (event.start + event.end - 1) / 2
            ax.text(middle, 1.05, event.kind, ha="center", va="bottom", fontsize=8)


def _roc_and_pr(
    dataset: AnomalyDataset, baselines: Sequence[PlainResult], runs: Sequence[RunResult]
) -> tuple[Figure, Picture]:
    labels = dataset.test_labels
    figure = Figure(figsize=(10, 4.9), layout="constrained")
    roc_ax, pr_ax = figure.subplots(1, 2)
    curves: list[tuple] = [
        (one.name, one.test_scores, "0.5", style)
        for one, style in zip(baselines, ("--", ":"), strict=False)
    ]
    curves += [
        (NAMES[run.method], run.test_scores, color, style)
        for run, color, style in zip(runs, plot.PALETTE, _STYLES, strict=False)
    ]
    for name, scores, color, style in curves:
        false, true, _ = roc_curve(labels, scores)
        precision, recall, _ = precision_recall_curve(labels, scores)
        roc_ax.plot(false, true, color=color, linestyle=style, linewidth=1.5, label=name)
        pr_ax.plot(recall, precision, color=color, linestyle=style, linewidth=1.5)
    roc_ax.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    pr_ax.axhline(labels.mean(), color="0.8", linewidth=1)
    roc_ax.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    pr_ax.set(xlabel="recall", ylabel="precision", title="Precision and recall", ylim=(0, 1.03))
    for ax in (roc_ax, pr_ax):
        ax.grid(alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    caption = (
        f"All test frames together, seed {runs[0].seed}; grey: scores that nothing was trained "
        "for, and (thin) guessing."
    )
    return figure, Picture("curves.png", "ROC and precision-recall curves", caption)


def _learning(runs: Sequence[RunResult]) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(10, 4.3), layout="constrained")
    entropy_ax, auc_ax = figure.subplots(1, 2)
    methods = list(dict.fromkeys(run.method for run in runs))
    for method, color, style in zip(methods, plot.PALETTE, _STYLES, strict=False):
        histories = [run.history for run in runs if run.method == method]
        epochs = [entry["epoch"] for entry in histories[0]]
        for ax, key, scale in ((entropy_ax, "cross_entropy", 1), (auc_ax, "roc_auc", 100)):
            values = scale * np.array([[entry[key] for entry in h] for h in histories])
            mean = values.mean(axis=0)
            marker = "o" if len(epochs) == 1 else None
            ax.plot(epochs, mean, color=color, linestyle=style, marker=marker, label=NAMES[method])
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                ax.fill_between(
                    epochs, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0
                )
    entropy_ax.set(ylabel="cross-entropy of frames", title="Training")
    auc_ax.set(ylabel="ROC AUC (%)", title="Test")
    for ax in (entropy_ax, auc_ax):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = auc_ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    caption = (
        "Cross-entropy in training (of frames drawn one by one for the baseline, along windows for "
        "the others) and test AUC after every epoch; bands are one sample standard deviation."
    )
    return figure, Picture("learning_curves.png", "Learning curves", caption)


def _events(dataset: AnomalyDataset) -> tuple[Figure, Picture]:
    count = len(dataset.strips)
    shape = next(iter(dataset.strips.values())).shape
    figure = Figure(
        figsize=(11, 11 * count * shape[1] / (shape[0] * shape[2]) + 0.2 * count),
        layout="constrained",
    )
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    for ax, (kind, frames) in zip(axes, dataset.strips.items(), strict=True):
        ax.imshow(np.concatenate(list(frames), axis=1), interpolation="nearest")
        ax.axvline(2 * frames.shape[2] - 0.5, color="red", linewidth=1.5)
        ax.set_ylabel(kind, fontsize=9)
        ax.set(xticks=[], yticks=[])
    caption = (
        "One planted event of each kind, consecutive frames of a test clip; the event begins at "
        "the red line."
    )
    return figure, Picture("events.png", "Planted events", caption)
