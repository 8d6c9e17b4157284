"""The pictures of a report: scores over time, ROC and precision-recall curves, learning, events."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from experiments.seq.report import Results
from experiments.seq.results import RunResult
from experiments.seq_anomaly.baselines import PlainResult
from experiments.seq_anomaly.dataset import AnomalyDataset, Video, split_scores
from experiments.seq_anomaly.settings import Settings
from experiments.seq_anomaly.training import METRICS, probability
from experiments.shared import charts
from experiments.shared.lettering import label as safe
from experiments.shared.pictures import Drawing, Picture

_MAX_VIDEOS = 6
_IN_SCORES = ("baseline", "trajectory", "seq")
_FEW_FALSE = 0.2  # false positive rate up to which one looks closer


def drawings(
    dataset: AnomalyDataset,
    settings: Settings,
    baselines: Sequence[PlainResult],
    results: Results,
) -> list[tuple[str, Drawing]]:
    """Returns every picture that these results allow, by its file, in the order to show them.

    Args:
        dataset: of the runs.
        settings: of the job.
        baselines: become grey lines.
        results: where single runs are drawn they are of the first seed: picking the best would
            flatter.
    """
    first = [
        run for group in results.groups.values() for run in group if run.seed == settings.seeds[0]
    ]
    auc, precision, _ = METRICS
    panels = [
        charts.Panel("cross_entropy", "Training", "cross-entropy of frames"),
        *(
            charts.Panel(
                metric,
                "Test",
                f"{METRICS[metric]} (%)",
                100,
                references={one.name: getattr(one.metrics, metric) for one in baselines},
            )
            for metric in (auc, precision)
        ),
    ]
    caption = (
        "Cross-entropy in training (of frames drawn one by one for the baseline, along windows for "
        "the others), test AUC and average precision after every epoch; grey: scores that nothing "
        "was trained for."
    )
    found: list[tuple[str, Drawing]] = [
        ("scores.png", partial(_scores, dataset, first, results)),
        ("curves.png", partial(_roc_and_pr, dataset, baselines, first, results)),
        ("learning_curves.png", results.learning_curves(panels, caption)),
        *results.sweeps(),
    ]
    if dataset.strips:
        found.append(("events.png", partial(_events, dataset)))
    return found


def shown_videos(videos: Sequence[Video]) -> list[int]:
    """Returns which videos to draw: spread over those with both classes, one all normal if any."""
    mixed = [i for i, v in enumerate(videos) if 0 < v.labels.sum() < v.num_frames]
    normal = [i for i, v in enumerate(videos) if not v.labels.any()][:1]
    room = _MAX_VIDEOS - len(normal)
    picked = np.linspace(0, len(mixed) - 1, min(room, len(mixed))).round().astype(int)
    chosen = {mixed[i] for i in picked} | set(normal)
    return sorted(chosen) or list(range(min(_MAX_VIDEOS, len(videos))))


def _scores(
    dataset: AnomalyDataset, runs: Sequence[RunResult], results: Results
) -> tuple[Figure, Picture]:
    chosen = shown_videos(dataset.test)
    lines = [run for run in runs if run.variant.method in _IN_SCORES] or list(runs)
    figure = Figure(figsize=(11, 1.55 * len(chosen) + 0.4), layout="constrained")
    axes = figure.subplots(len(chosen), 1, squeeze=False, sharey=True)[:, 0]
    handles = {}
    for run, look in zip(lines, charts.looks(len(lines)), strict=True):
        per_video = split_scores(probability(run.tested["log_odds"]), dataset.test)
        for ax, index in zip(axes, chosen, strict=True):
            look = {**look, "linewidth": 1.4}
            (handles[results.names[run.variant.method]],) = ax.plot(per_video[index], **look)
    for ax, index in zip(axes, chosen, strict=True):
        video = dataset.test[index]
        _shade(ax, video)
        ax.set(xlim=(0, video.num_frames - 1), ylim=(-0.03, 1.03), ylabel="score")
        ax.set_title(safe(video.id), fontsize=9, loc="left", pad=3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("frame")
    charts.legend(figure, handles)
    caption = (
        f"Probability of anomaly of every frame of {len(chosen)} test videos, seed "
        f"{lines[0].seed}. Shaded: the frames labelled anomalous, with the kind where it is known."
    )
    return figure, Picture("scores.png", "Scores over time", caption)


def _shade(ax: Axes, video: Video) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], video.labels, [0]]).astype(int)))
    for start, end in edges.reshape(-1, 2):
        ax.axvspan(start - 0.5, end - 0.5, color="0.75", alpha=0.55, linewidth=0)
    for event in video.events:
        if event.kind != "anomaly":
            middle = (event.start + event.end - 1) / 2
            ax.text(middle, 1.05, safe(event.kind, 20), ha="center", va="bottom", fontsize=8)


def _roc_and_pr(
    dataset: AnomalyDataset,
    baselines: Sequence[PlainResult],
    runs: Sequence[RunResult],
    results: Results,
) -> tuple[Figure, Picture]:
    labels = dataset.test_labels
    figure = Figure(figsize=(15, 5), layout="constrained")
    roc_ax, near_ax, pr_ax = figure.subplots(1, 3)
    greys = [{"color": "0.45", "linestyle": style, "linewidth": 1.4} for style in ("--", ":")]
    curves = [
        (f"{one.name}, AUC {100 * one.metrics.roc_auc:.1f}", one.test_scores, grey)
        for one, grey in zip(baselines, greys, strict=False)
    ]
    curves += [
        (
            f"{results.names[run.variant.method]}, AUC {100 * run.last['roc_auc']:.1f}",
            run.tested["log_odds"],
            look,
        )
        for run, look in zip(runs, charts.looks(len(runs)), strict=True)
    ]
    handles, highest = {}, 0.0
    for name, scores, look in curves:
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(labels, scores)
        (handles[name],) = roc_ax.plot(false, true, **look)
        near = false <= _FEW_FALSE
        near_ax.plot(false[near], true[near], **look)
        highest = max(highest, true[near].max())
        pr_ax.plot(recall, precision, **look)
    for ax in (roc_ax, near_ax):
        ax.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        ax.set(xlabel="false positive rate", ylabel="true positive rate")
    pr_ax.axhline(labels.mean(), color="0.8", linewidth=1)
    roc_ax.set_title("ROC")
    near_ax.set(
        title="ROC, where few normal frames are taken for anomalous",
        xlim=(0, _FEW_FALSE),
        ylim=(0, min(1.02, 1.05 * highest)),
    )
    pr_ax.set(xlabel="recall", ylabel="precision", title="Precision and recall", ylim=(0, 1.03))
    for ax in (roc_ax, near_ax, pr_ax):
        charts.tidy(ax)
    charts.legend(figure, handles)
    caption = (
        f"All test frames together, seed {runs[0].seed}; in the middle the left part of the ROC "
        "curves, larger. Lines that coincide are drawn from broad to narrow. Grey: scores that "
        "nothing was trained for, and (light) guessing."
    )
    return figure, Picture("curves.png", "ROC and precision-recall curves", caption)


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
