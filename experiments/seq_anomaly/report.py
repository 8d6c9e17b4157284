"""The report of a job: the tables, what they say, and the pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from experiments.seq.report import Pairs, Results, method_names
from experiments.seq.results import RunResult
from experiments.seq_anomaly import pictures
from experiments.seq_anomaly.baselines import PlainResult
from experiments.seq_anomaly.dataset import CLASS_NAMES, AnomalyDataset, Event, Video
from experiments.seq_anomaly.metrics import AucDifference
from experiments.seq_anomaly.settings import Settings
from experiments.seq_anomaly.training import METRICS
from experiments.shared.comparison import Statistic
from experiments.shared.job import Workspace
from experiments.shared.reports import Report
from experiments.shared.scores import write_predictions
from experiments.shared.tables import Table, percent

NAMES = method_names("FC baseline")

_NONE = "-"


def write_report(
    workspace: Workspace,
    dataset: AnomalyDataset,
    settings: Settings,
    baselines: Sequence[PlainResult],
    runs: Sequence[RunResult],
) -> str:
    """Writes report.json, report.md, predictions.csv and the pictures.

    Args:
        workspace: of the job.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        baselines: what was not trained.
        runs: of all variants and seeds.

    Returns:
        The tables, with what they say and how to read them, in plain text for a terminal.

    Raises:
        UserError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    results = compared(dataset, runs)
    kinds = kinds_table(dataset, baselines, results)
    _write_predictions(workspace.folder / "predictions.csv", dataset, runs)
    report = Report(
        title=f"SEQ on {dataset.name}",
        verdict=verdict(baselines, results),
        tables={
            "Results": _table(baselines, results),
            **results.tables(),
            **({} if kinds is None else {"ROC AUC by kind of event": kinds}),
        },
        settings=settings,
        notes=[
            *_notes(dataset, results, kinds is not None),
            *([f"{workspace.note}."] if workspace.note else []),
        ],
        about_data=dataset.note,
        facts={"Data": _data_fact(dataset)},
        numbers={
            "baselines": [{"name": one.name, **one.metrics._asdict()} for one in baselines],
            **results.numbers(),
        },
        drawings=pictures.drawings(dataset, settings, baselines, results),
        sessions=results.sessions(),
    )
    return report.write(workspace.folder)


def compared(dataset: AnomalyDataset, runs: Sequence[RunResult]) -> Results:
    """Returns the runs with all comparisons; something is claimed of ROC AUC alone."""
    labels, units = dataset.test_labels, dataset.test_units

    def auc(pairs: Pairs) -> Statistic:
        scores = [(one.tested["log_odds"], two.tested["log_odds"]) for one, two in pairs]
        return AucDifference(labels, units, scores)

    return Results(
        runs,
        names=NAMES,
        metrics=METRICS,
        unit=dataset.unit,
        units=units,
        statistic={"roc_auc": auc},
    )


def verdict(baselines: Sequence[PlainResult], results: Results) -> str:
    """Says from the numbers how SEQ compares with the plain classifier and with no training."""
    text = [results.verdict("roc_auc", "{method} has a ROC AUC of {percent} %")]
    for metric, lead in (("roc_auc", "It"), ("average_precision", "In average precision it")):
        best = max(baselines, key=lambda one: getattr(one.metrics, metric), default=None)
        if best is None:
            continue
        value, bar = results.mean(results.shown, metric), getattr(best.metrics, metric)
        gap = 100 * (value - bar)
        of_precision = f" ({100 * value:.2f} %)" * (metric != "roc_auc")
        text.append(
            f"{lead}{of_precision} is {abs(gap):.2f} points {'above' if gap > 0 else 'below'} the "
            f"best score that needs no training, {best.name} ({100 * bar:.2f} %)."
        )
    return " ".join(text)


def _table(baselines: Sequence[PlainResult], results: Results) -> Table:
    """One row a baseline, then one a method (mean and spread over seeds)."""
    rows = [(one.name, *(percent([value]) for value in one.metrics), _NONE) for one in baselines]
    rows += [results.row(method) for method in results.groups]
    return Table(("method", *METRICS.values(), "seconds"), tuple(rows))


def kinds_table(
    dataset: AnomalyDataset, baselines: Sequence[PlainResult], results: Results
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
    for method, group in results.groups.items():
        per_kind = zip(*(aucs(run.tested["log_odds"]) for run in group), strict=True)
        rows.append((NAMES[method], *(percent(values) for values in per_kind)))
    return Table(("method", *names), tuple(rows))


def _kinds(num_frames: int, events: Sequence[Event]) -> np.ndarray:
    kinds = np.full(num_frames, "", dtype="U32")
    for event in events:
        kinds[event.start : event.end] = event.kind
    return kinds


def _write_predictions(path: Path, dataset: AnomalyDataset, runs: Sequence[RunResult]) -> None:
    scores = {run.variant.run_name(run.seed): run.tested["log_odds"] for run in runs}
    write_predictions(
        path,
        [f"{video.id} frame {t}" for video in dataset.test for t in range(video.num_frames)],
        dataset.test_labels,
        CLASS_NAMES,
        {name: (log_odds > 0).astype(int) for name, log_odds in scores.items()},
        scores,
    )


def _notes(dataset: AnomalyDataset, results: Results, kinds: bool) -> list[str]:
    units = len(np.unique(dataset.test_units))
    notes = [
        f"Percent, over the {len(dataset.test_labels):,} frames of all {len(dataset.test)} test "
        f"videos together, {100 * dataset.test_labels.mean():.1f} % of them anomalous (the average "
        "precision of a guess), after the last epoch; no epoch was chosen by its result. "
        "predictions.csv has every frame; its scores are log-odds.",
        f"{results.seeds_note()}. All methods of a seed begin with the same weights; those with "
        "windows see the same windows.",
        "average precision: scikit-learn's average_precision_score. PR area (trapezoid): "
        "auc(recall, precision), which joins the points of the curve by straight lines. Papers "
        "call either of them AP.",
        "Every trained method is one linear layer that sees one row of features at a time, with "
        "labels of frames in training; they differ in the loss and in how rows are drawn.",
        *results.notes(),
    ]
    if dataset.unit == "source segments":
        shown = [video.source for video in dataset.test if video.source is not None]
        frames = len(np.unique(np.concatenate(shown)))
        one = "one source segment, so no method is said to help or to hurt here"
        several = f"{units} source segments"
        notes.append(
            f"The {len(dataset.test_labels):,} test frames show {frames} frames of one recording. "
            "Clips that overlap in it, directly or through others, are not independent: they are "
            f"{one if units == 1 else several}."
        )
    if kinds:
        notes.append(
            "By kind: frames of that kind against all normal test frames. Below 50 means that the "
            "score falls during the event: a frozen picture changes less than a normal one."
        )
    return notes


def _data_fact(dataset: AnomalyDataset) -> str:
    def split(videos: Sequence[Video]) -> str:
        frames = sum(video.num_frames for video in videos)
        share = 100 * sum(int(video.labels.sum()) for video in videos) / frames
        return f"{len(videos)} videos, {frames:,} frames, {share:.1f} % anomalous"

    rows = "frame" if dataset.frames_per_row == 1 else f"{dataset.frames_per_row} frames"
    return (
        f"{dataset.name}: training {split(dataset.train)}; test {split(dataset.test)}; "
        f"{dataset.num_features:,} features, one row for every {rows}"
    )
