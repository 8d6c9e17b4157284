"""The report of a job: one table, the facts that it needs, and the pictures."""

import dataclasses
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.dejavid import pictures
from experiments.dejavid.baselines import NAMES, ORDER_BLIND
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.shared.reports import Report, percent, seconds
from experiments.shared.tables import Table
from experiments.tse.dataset import TseDataset

COLUMNS = ("method", "top-1 last", "top-1 best", "top-5", "parameters", "seconds")
_NONE = "-"


def write_report(
    out_dir: str | os.PathLike,
    dataset: TseDataset,
    settings: Settings,
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
) -> str:
    """Writes report.json, the pictures and report.md, in this order.

    Args:
        out_dir: an existing folder.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        baselines: rows of the table, in this order.
        runs: the runs of all variants and seeds; variants come in the order of their first run.

    Returns:
        The table, with what it says and how to read it, in plain text for a terminal.

    Raises:
        OSError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    folder = Path(out_dir)
    scalars = ("variant", "seed", "num_parameters", "seconds", "best_epoch", "history")
    report = Report(
        title=f"DejaVid on {dataset.name}",
        verdict=verdict(baselines, runs, pooled=settings.pooling == "mean"),
        tables={"Results": results_table(baselines, runs)},
        settings=settings,
        notes=_notes(dataset, baselines, runs),
        about_data=dataset.note,
        facts=_facts(dataset),
        numbers={
            "baselines": [dataclasses.asdict(result) for result in baselines],
            "runs": [{name: getattr(run, name) for name in scalars} for run in runs],
        },
        pictures=pictures.draw_all(folder, dataset, settings, baselines, runs),
    )
    return report.write(folder)


def results_table(baselines: Sequence[BaselineResult], runs: Sequence[RunResult]) -> Table:
    """Returns the table: one row a baseline, then one a variant (mean and spread over seeds)."""
    rows = [
        (
            result.name,
            percent([result.top1]),
            _NONE,
            percent([result.top5]),
            _NONE if result.num_parameters is None else f"{result.num_parameters:,}",
            seconds(result.seconds),
        )
        for result in baselines
    ]
    for variant, of_variant in _by_variant(runs).items():
        rows.append(
            (
                pictures.head_name(variant),
                percent([run.last["test_top1"] for run in of_variant]),
                percent([run.best["test_top1"] for run in of_variant]),
                percent([run.last["test_top5"] for run in of_variant]),
                f"{of_variant[0].num_parameters:,}",
                seconds(statistics.fmean(run.seconds for run in of_variant)),
            )
        )
    return Table(COLUMNS, tuple(rows))


def verdict(
    baselines: Sequence[BaselineResult], runs: Sequence[RunResult], *, pooled: bool = False
) -> str:
    """Says in words, from the numbers, what order-blind baselines leave for the heads to win.

    Args:
        baselines: the baselines that were run.
        runs: the trained runs.
        pooled: whether the heads were given temporal means, and so are order-blind themselves.

    Returns:
        One to three sentences on top-1 after the last epoch.
    """
    if not runs:
        return "No head was trained."
    scores = {
        variant: statistics.fmean(run.last["test_top1"] for run in of_variant)
        for variant, of_variant in _by_variant(runs).items()
    }
    best = max(scores, key=lambda variant: scores[variant])  # the first of equals
    blind = [result for result in baselines if result.name in ORDER_BLIND]
    aware = [result for result in baselines if result.name not in ORDER_BLIND]
    seeds = len(_by_variant(runs)[best])
    head = (
        f"{pictures.head_name(best)} ({100 * scores[best]:.2f} % after the last epoch"
        f"{f', mean of {seeds} seeds' if seeds > 1 else ''})"
    )
    if not blind:
        text = (
            f"The best head is {head}. No order-blind baseline was run (--baselines), so nothing "
            "here shows that the order of the frames matters."
        )
    else:
        bar = max(blind, key=lambda result: result.top1)
        text = (
            f"The best head, {head}, is {_difference(scores[best], bar.top1)} the best order-blind "
            f"baseline, {bar.name} ({100 * bar.top1:.2f} %)."
        )
        if scores[best] <= bar.top1:
            text += " So this table is no evidence that the order of the frames helps here."
    if pooled:
        text += " With --pooling=mean the heads do not see the order of the frames either."
    elif aware:
        rival = max(aware, key=lambda result: result.top1)
        text += (
            f" It is {_difference(scores[best], rival.top1)} the best untrained alignment, "
            f"{rival.name} ({100 * rival.top1:.2f} %)."
        )
    return text


def _difference(score: float, other: float) -> str:
    points = 100 * (score - other)
    if abs(points) < 0.005:
        return "level with"
    return f"{abs(points):.2f} points {'above' if points > 0 else 'below'}"


def _by_variant(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.variant, []).append(run)
    return groups


def _best_top1(baselines: Sequence[BaselineResult], runs: Sequence[RunResult]) -> float:
    """The best top-1 after the last epoch in the table; 0 if it is empty."""
    means = [
        statistics.fmean(run.last["test_top1"] for run in of_variant)
        for of_variant in _by_variant(runs).values()
    ]
    return max([result.top1 for result in baselines] + means, default=0.0)


def _notes(
    dataset: TseDataset, baselines: Sequence[BaselineResult], runs: Sequence[RunResult]
) -> list[str]:
    """How to read the table."""
    size = len(dataset.test)
    # The rule of succession keeps the error of 0 or all right from being none.
    share = (size * _best_top1(baselines, runs) + 1) / (size + 2)
    error = 100 * math.sqrt(share * (1 - share) / size)
    notes = [
        f"Accuracies are percent of the {size:,} test sequences; that there are no more of them "
        f"gives the best row a standard error of {error:.2f} points, whatever the seeds say."
    ]
    if runs:
        seeds = list(dict.fromkeys(run.seed for run in runs))
        named = ", ".join(map(str, seeds))
        if len(seeds) > 1:
            notes.append(
                f"DejaVid: mean ± sample standard deviation over {len(seeds)} seeds ({named})."
            )
        else:
            notes.append(f"DejaVid: one seed ({named}), so no spread is known.")
        notes.append(
            f"last: after epoch {runs[0].last['epoch']}, also for top-5. best: the best epoch of "
            "each run, selected on the test split itself and so optimistic; the paper reports it."
        )
    blind = [result.name for result in baselines if result.name in ORDER_BLIND]
    if blind:
        notes.append(f"Order-blind, the frames may be shuffled: {'; '.join(blind)}.")
    notes.append(
        "parameters: numbers that the row fits (weights only keeps the centroids of DBA). "
        "seconds: wall clock with reading, compiling and evaluation; of DejaVid the mean of its "
        "runs, evaluation after every epoch included. What rows share (the first centroids of a "
        "seed, compiled steps) counts in the first that needs it."
    )
    if NAMES["mean_logistic"] in blind:
        notes.append("Logistic regression: scikit-learn's, L2 with C = 1, not tuned.")
    return notes


def _facts(dataset: TseDataset) -> dict[str, str]:
    lengths = np.concatenate([dataset.train.lengths, dataset.test.lengths])
    return {
        "Data": (
            f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test "
            f"sequences, {dataset.num_classes} classes, {dataset.num_features:,} features, "
            f"{lengths.min()} to {lengths.max()} frames (median {np.median(lengths):g})"
        ),
    }
