"""The report of a job: the tables, what they say, and the pictures."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.anomaly import pictures
from experiments.anomaly.dataset import AnomalyDataset
from experiments.anomaly.results import NAMES, PlainResult, RunResult
from experiments.anomaly.settings import Settings
from experiments.shared.reports import Report, percent, seconds
from experiments.shared.tables import Table

METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "pr_area": "PR area (trapezoid)",
}
PAIRS = (
    ("trajectory", "baseline"),
    ("seq", "baseline"),
    ("seq", "trajectory"),
    ("seq", "seq_no_align"),
    ("seq", "seq_no_smooth"),
)
_DRAWS = 200
_NONE = "-"


def write_report(
    out_dir: str | os.PathLike,
    dataset: AnomalyDataset,
    settings: Settings,
    baselines: Sequence[PlainResult],
    runs: Sequence[RunResult],
) -> str:
    """Writes report.json, the pictures and report.md.

    Args:
        out_dir: an existing folder.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        baselines: what was not trained.
        runs: of all methods and seeds.

    Returns:
        The tables, with what they say and how to read them, in plain text for a terminal.

    Raises:
        OSError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    differences = paired_differences(dataset, runs)
    tables = {"Results": results_table(baselines, runs)}
    if differences:
        tables["Differences with the same seeds"] = _differences_table(differences)
    kinds = kinds_table(dataset, baselines, runs)
    if kinds is not None:
        tables["ROC AUC by kind of event"] = kinds
    scalars = ("method", "seed", "seconds", "history")
    plain = ("name", *METRICS)
    report = Report(
        title=f"SEQ on {dataset.name}",
        verdict=verdict(baselines, runs),
        tables=tables,
        settings=settings,
        notes=_notes(dataset, runs, kinds is not None),
        about_data=dataset.note,
        facts={"Data": _data_fact(dataset)},
        numbers={
            "baselines": [{name: getattr(one, name) for name in plain} for one in baselines],
            "runs": [{name: getattr(run, name) for name in scalars} for run in runs],
            "differences": [dataclasses.asdict(one) for one in differences],
        },
        pictures=pictures.draw_all(Path(out_dir), dataset, baselines, runs),
    )
    return report.write(Path(out_dir))


@dataclasses.dataclass(frozen=True)
class Difference:
    """A method minus another, each seed with itself.

    Attributes:
        method: the one.
        other: the other.
        seeds: differences by seed of every metric, as fractions.
        interval: 95 % interval of the mean difference in ROC AUC when test videos are drawn anew
            (bootstrap); None where too few draws have both classes.
    """

    method: str
    other: str
    seeds: dict[str, list[float]]
    interval: tuple[float, float] | None


def results_table(baselines: Sequence[PlainResult], runs: Sequence[RunResult]) -> Table:
    """Returns one row a baseline, then one a method (mean and spread over seeds)."""
    rows = [
        (one.name, *(percent([getattr(one, metric)]) for metric in METRICS), _NONE)
        for one in baselines
    ]
    for method, of_method in by_method(runs).items():
        rows.append(
            (
                NAMES[method],
                *(percent([run.last[metric] for run in of_method]) for metric in METRICS),
                seconds(statistics.fmean(run.seconds for run in of_method)),
            )
        )
    return Table(("method", *METRICS.values(), "seconds"), tuple(rows))


def paired_differences(dataset: AnomalyDataset, runs: Sequence[RunResult]) -> list[Difference]:
    """Returns the differences between methods that were trained with the same seeds."""
    groups, found = by_method(runs), []
    for method, other in PAIRS:
        if method not in groups or other not in groups:
            continue
        pairs = list(zip(groups[method], groups[other], strict=True))
        found.append(
            Difference(
                method,
                other,
                {
                    metric: [one.last[metric] - two.last[metric] for one, two in pairs]
                    for metric in METRICS
                },
                _interval(dataset, pairs),
            )
        )
    return found


def _interval(
    dataset: AnomalyDataset, pairs: Sequence[tuple[RunResult, RunResult]]
) -> tuple[float, float] | None:
    """Draws test videos with replacement; a seeded bootstrap."""
    labels = dataset.test_labels
    parts = np.split(np.arange(len(labels)), np.cumsum([v.num_frames for v in dataset.test])[:-1])
    rng = np.random.default_rng(0)
    means = []
    for _ in range(_DRAWS):
        frames = np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))])
        if len(np.unique(labels[frames])) < 2:
            continue
        means.append(
            statistics.fmean(
                roc_auc_score(labels[frames], one.test_scores[frames])
                - roc_auc_score(labels[frames], two.test_scores[frames])
                for one, two in pairs
            )
        )
    if len(means) < _DRAWS // 2:
        return None
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _differences_table(differences: Sequence[Difference]) -> Table:
    rows = []
    for one in differences:
        auc = one.seeds["roc_auc"]
        better = sum(value > 0 for value in auc)
        interval = _NONE
        if one.interval is not None:
            interval = f"{100 * one.interval[0]:+.2f} to {100 * one.interval[1]:+.2f}"
        rows.append(
            (
                f"{NAMES[one.method]} minus {NAMES[one.other]}",
                *(points(one.seeds[metric]) for metric in METRICS),
                f"{better} of {len(auc)}",
                interval,
            )
        )
    columns = ("points", *METRICS.values(), "seeds with higher AUC", "AUC, 95 % over videos")
    return Table(columns, tuple(rows))


def kinds_table(
    dataset: AnomalyDataset, baselines: Sequence[PlainResult], runs: Sequence[RunResult]
) -> Table | None:
    """Returns the AUC of each kind of event against all normal frames; None below two kinds."""
    kinds = np.concatenate([_kinds(video.num_frames, video.events) for video in dataset.test])
    names = [str(kind) for kind in dict.fromkeys(kinds.tolist()) if kind]
    if len(names) < 2:
        return None
    normal = dataset.test_labels == 0

    def aucs(scores: np.ndarray) -> list[float]:
        chosen = [normal | (kinds == name) for name in names]
        return [roc_auc_score(kinds[part] != "", scores[part]) for part in chosen]

    rows = [(one.name, *(percent([auc]) for auc in aucs(one.test_scores))) for one in baselines]
    for method, of_method in by_method(runs).items():
        per_kind = zip(*(aucs(run.test_scores) for run in of_method), strict=True)
        rows.append((NAMES[method], *(percent(values) for values in per_kind)))
    return Table(("method", *names), tuple(rows))


def _kinds(num_frames: int, events) -> np.ndarray:
    kinds = np.full(num_frames, "", dtype="U32")
    for event in events:
        kinds[event.start : event.end] = event.kind
    return kinds


def verdict(baselines: Sequence[PlainResult], runs: Sequence[RunResult]) -> str:
    """Says from the numbers how SEQ compares with the plain classifier and with no training.

    Args:
        baselines: what was not trained.
        runs: the trained runs.

    Returns:
        A few sentences on ROC AUC after the last epoch.
    """
    groups = by_method(runs)
    if not groups:
        return "Nothing was trained."
    scores = {m: statistics.fmean(r.last["roc_auc"] for r in group) for m, group in groups.items()}
    shown = "seq" if "seq" in scores else max(scores, key=lambda method: scores[method])
    text = [f"{NAMES[shown]} has a ROC AUC of {100 * scores[shown]:.2f} %."]
    for other in ("baseline", "trajectory"):
        if shown != "seq" or other not in groups:
            continue
        pairs = zip(groups["seq"], groups[other], strict=True)
        values = [one.last["roc_auc"] - two.last["roc_auc"] for one, two in pairs]
        text.append(f"Against {NAMES[other]} ({100 * scores[other]:.2f} %): {_compared(values)}.")
    if baselines:
        best = max(baselines, key=lambda one: one.roc_auc)
        gap = 100 * (scores[shown] - best.roc_auc)
        text.append(
            f"It is {abs(gap):.2f} points {'above' if gap > 0 else 'below'} the best score that "
            f"needs no training, {best.name} ({100 * best.roc_auc:.2f} %)."
        )
        best = max(baselines, key=lambda one: one.average_precision)
        precision = statistics.fmean(run.last["average_precision"] for run in groups[shown])
        gap = 100 * (precision - best.average_precision)
        text.append(
            f"In average precision ({100 * precision:.2f} %) it is {abs(gap):.2f} points "
            f"{'above' if gap > 0 else 'below'} {best.name} ({100 * best.average_precision:.2f} %)."
        )
    return " ".join(text)


def _compared(values: Sequence[float]) -> str:
    """What the differences of the seeds allow to say."""
    mean, count = statistics.fmean(values), len(values)
    better = sum(value > 0 for value in values)
    change = f"{points(values)} points, higher with {better} of {count} seeds"
    if count < 2:
        return f"{change}; one seed says nothing about chance"
    if abs(mean) <= statistics.stdev(values):
        return f"{change}, which is within what the seeds vary: no difference is shown"
    return f"{change}, so it {'helps' if mean > 0 else 'hurts'} here"


def points(values: Sequence[float]) -> str:
    """Returns signed mean and, of several, sample standard deviation, in percentage points."""
    text = f"{100 * statistics.fmean(values):+.2f}"
    return f"{text} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else text


def by_method(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Returns the runs of each method, in the order of their seeds."""
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.method, []).append(run)
    return groups


def _notes(dataset: AnomalyDataset, runs: Sequence[RunResult], kinds: bool) -> list[str]:
    seeds = list(dict.fromkeys(run.seed for run in runs))
    named = ", ".join(map(str, seeds))
    spread = f"mean ± sample standard deviation over {len(seeds)} seeds ({named})"
    notes = [
        f"Percent, over the {len(dataset.test_labels):,} frames of all {len(dataset.test)} test "
        f"videos together, {100 * dataset.test_labels.mean():.1f} % of them anomalous (the average "
        "precision of a guess), after the last epoch; no epoch was chosen by its result.",
        f"Trained methods: {spread if len(seeds) > 1 else f'one seed ({named}), no spread'}. All "
        "methods of a seed begin with the same weights; those with windows see the same windows.",
        "average precision: scikit-learn's average_precision_score. PR area (trapezoid): "
        "auc(recall, precision), which joins the points of the curve by straight lines. Papers "
        "call either of them AP.",
        "Every trained method is one linear layer that sees one row of features at a time, with "
        "labels of frames in training; they differ in the loss and in how rows are drawn.",
    ]
    if len(seeds) > 1 and len({run.method for run in runs}) > 1:
        notes.append(
            "95 % over videos: how far the mean difference moves when other test videos are drawn "
            "from these (bootstrap); the standard deviation over seeds does not cover that."
        )
    if kinds:
        notes.append(
            "By kind: frames of that kind against all normal test frames. Below 50 means that the "
            "score falls during the event: a frozen picture changes less than a normal one."
        )
    return notes


def _data_fact(dataset: AnomalyDataset) -> str:
    def split(videos) -> str:
        frames = sum(video.num_frames for video in videos)
        share = 100 * sum(int(video.labels.sum()) for video in videos) / frames
        return f"{len(videos)} videos, {frames:,} frames, {share:.1f} % anomalous"

    rows = "frame" if dataset.frames_per_row == 1 else f"{dataset.frames_per_row} frames"
    return (
        f"{dataset.name}: training {split(dataset.train)}; test {split(dataset.test)}; "
        f"{dataset.num_features:,} features, one row for every {rows}"
    )
