"""The report of a job: what was found, the tables, how to read them, and the pictures."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

import numpy as np

from experiments.dejavid import pictures
from experiments.dejavid.baselines import NAMES, ORDER_BLIND
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.dejavid.training import learning_rate
from experiments.shared.comparison import (
    Comparison,
    accuracy_difference,
    compare,
    comparisons_note,
    comparisons_table,
)
from experiments.shared.job import Workspace
from experiments.shared.reports import Report, sessions_of
from experiments.shared.scores import (
    balanced_table,
    by_class_table,
    classification,
    write_predictions,
)
from experiments.shared.tables import Table, percent, seconds
from experiments.tse.dataset import TseDataset

COLUMNS = ("method", "top-1 last", "top-1 best", "top-5", "parameters", "seconds")
_METRIC = {"test_top1": "top-1 last"}
_UNIT = "test sequences"
_NONE = "-"


def write_report(
    workspace: Workspace,
    dataset: TseDataset,
    settings: Settings,
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
) -> str:
    """Writes predictions.csv, report.json, report.md and the pictures.

    Args:
        workspace: of the job.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        baselines: rows of the table, in this order.
        runs: the runs of all methods and seeds; methods come in the order of their first run.

    Returns:
        The tables, with what they say and how to read them, in plain text for a terminal.

    Raises:
        UserError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    test, names = dataset.test, dataset.class_names
    guesses = {one.name: np.array(one.predictions) for one in baselines}
    guesses |= {run.trained.name: run.predictions for run in runs}
    write_predictions(workspace.folder / "predictions.csv", test.ids, test.labels, names, guesses)
    scores = {name: classification(test.labels, of, names) for name, of in guesses.items()}
    grouped = {one.name: [scores[one.name]] for one in baselines} | {
        pictures.head_name(method): [scores[run.trained.name] for run in of_method]
        for method, of_method in by_method(runs).items()
    }
    compared = comparisons(dataset, baselines, runs)
    tables = {"Results": results_table(baselines, runs)}
    if compared:
        tables["Differences with the same seeds"] = comparisons_table(
            {name: {"test_top1": one} for name, one in compared.items()}, _METRIC
        )
    tables["Classes counted alike"] = balanced_table(grouped)
    heading, table = by_class_table(grouped)
    tables[heading] = table
    report = Report(
        title=f"DejaVid on {dataset.name}",
        verdict=verdict(baselines, runs, compared, pooled=settings.pooling == "mean"),
        tables=tables,
        settings=settings,
        notes=[*_notes(dataset, baselines, runs), *_grown(settings, runs)],
        about_data="; ".join(filter(None, (dataset.note, workspace.note))),
        facts=_facts(dataset),
        numbers={
            "baselines": [dataclasses.asdict(result) for result in baselines],
            "runs": [_numbers(run) for run in runs],
            "classification": {name: one.to_json() for name, one in scores.items()},
            "differences": {name: one.to_json() for name, one in compared.items()},
        },
        drawings=pictures.drawings(dataset, settings, baselines, runs),
        sessions=sessions_of(run.trained for run in runs),
    )
    return report.write(workspace.folder)


def results_table(baselines: Sequence[BaselineResult], runs: Sequence[RunResult]) -> Table:
    """Returns the table: one row a baseline, then one a method (mean and spread over seeds)."""
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
    for method, of_method in by_method(runs).items():
        rows.append(
            (
                pictures.head_name(method),
                percent([run.last["test_top1"] for run in of_method]),
                percent([run.best["test_top1"] for run in of_method]),
                percent([run.last["test_top5"] for run in of_method]),
                f"{of_method[0].num_parameters:,}",
                seconds(statistics.fmean(run.seconds for run in of_method)),
            )
        )
    return Table(COLUMNS, tuple(rows))


def comparisons(
    dataset: TseDataset, baselines: Sequence[BaselineResult], runs: Sequence[RunResult]
) -> dict[str, Comparison]:
    """Compares the best head with the best order-blind baseline, and with the best other one.

    A baseline is one result: every seed of the head is compared with the same.
    """
    groups = by_method(runs)
    if not groups:
        return {}
    best = max(groups, key=lambda method: _mean_top1(groups[method]))  # the first of equals
    labels = dataset.test.labels
    found = {}
    for rivals in _blind_and_aware(baselines):
        if rivals:
            rival = max(rivals, key=lambda result: result.top1)
            guesses = np.array(rival.predictions)
            found[f"{pictures.head_name(best)} minus {rival.name}"] = compare(
                [run.last["test_top1"] - rival.top1 for run in groups[best]],
                unit=_UNIT,
                units=np.arange(len(labels)),
                statistic=accuracy_difference(
                    labels, [(run.predictions, guesses) for run in groups[best]]
                ),
            )
    return found


def verdict(
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
    compared: dict[str, Comparison],
    *,
    pooled: bool = False,
) -> str:
    """Says in words, from the numbers, what order-blind baselines leave for the heads to win.

    Args:
        baselines: the baselines that were run.
        runs: the trained runs.
        compared: as `comparisons` returns it.
        pooled: whether the heads were given temporal means, and so are order-blind themselves.

    Returns:
        A few sentences on top-1 after the last epoch.
    """
    groups = by_method(runs)
    if not groups:
        return "No head was trained."
    best = max(groups, key=lambda method: _mean_top1(groups[method]))
    seeds = len(groups[best])
    head = (
        f"{pictures.head_name(best)} ({100 * _mean_top1(groups[best]):.2f} % after the last epoch"
        f"{f', mean of {seeds} seeds' if seeds > 1 else ''})"
    )
    text = f"The best head is {head}."
    blind, aware = _blind_and_aware(baselines)
    for rivals, what in ((blind, "order-blind baseline"), (aware, "untrained alignment")):
        if not rivals:
            continue
        rival = max(rivals, key=lambda result: result.top1)
        difference = compared[f"{pictures.head_name(best)} minus {rival.name}"]
        text += (
            f" Against the best {what}, {rival.name} ({100 * rival.top1:.2f} %): "
            f"{difference.sentence(rival=rivals is aware)}."
        )
        if rivals is blind and difference.effect != "helps":
            text += " So this table is no evidence that the order of the frames helps here."
    if not blind:
        text += (
            " No order-blind baseline was run (--baselines), so nothing here shows that the order "
            "of the frames matters."
        )
    if pooled:
        text += " With --pooling=mean the heads do not see the order of the frames either."
    return text


def by_method(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Returns the runs of each method, in the order of their seeds."""
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.method, []).append(run)
    return groups


def _mean_top1(runs: Sequence[RunResult]) -> float:
    return statistics.fmean(run.last["test_top1"] for run in runs)


def _blind_and_aware(
    baselines: Sequence[BaselineResult],
) -> tuple[list[BaselineResult], list[BaselineResult]]:
    blind = [result for result in baselines if result.name in ORDER_BLIND]
    return blind, [result for result in baselines if result.name not in ORDER_BLIND]


def _numbers(run: RunResult) -> dict:
    names = ("method", "seed", "num_parameters", "seconds", "best_epoch", "picked_on", "history")
    return {name: getattr(run, name) for name in names}


def _notes(
    dataset: TseDataset, baselines: Sequence[BaselineResult], runs: Sequence[RunResult]
) -> list[str]:
    """How to read the tables."""
    size = len(dataset.test)
    top1 = [result.top1 for result in baselines] + [*map(_mean_top1, by_method(runs).values())]
    # The rule of succession keeps the error of 0 or all right from being none.
    share = (size * max(top1, default=0.0) + 1) / (size + 2)
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
        picked = (
            "the epoch of each run that is best on the validation split"
            if dataset.val is not None
            else "the best epoch of each run, selected on the test split itself and so optimistic; "
            "the paper reports it"
        )
        notes.append(f"last: after epoch {runs[0].last['epoch']}, also for top-5. best: {picked}.")
    blind = [result.name for result in baselines if result.name in ORDER_BLIND]
    if blind:
        notes.append(f"Order-blind, the frames may be shuffled: {'; '.join(blind)}.")
    notes.append(
        "parameters: numbers that the row fits (weights only keeps the centroids of DBA). "
        "seconds: wall clock with reading, compiling and evaluation; of DejaVid the mean of its "
        "runs, evaluation after every epoch included. What rows share (the first centroids of a "
        "seed, compiled steps) counts in the first that needs it."
    )
    notes.append(
        "balanced accuracy: mean over classes of the share of each that is recognised. macro F1: "
        "mean over classes of the F1 score. predictions.csv has the answer to every test sequence."
    )
    if NAMES["mean_logistic"] in blind:
        notes.append("Logistic regression: scikit-learn's, L2 with C = 1, not tuned.")
    if baselines and runs:
        notes.append(comparisons_note(_UNIT))
    return notes


def _grown(settings: Settings, runs: Sequence[RunResult]) -> list[str]:
    """Says which runs were begun with fewer epochs, so that their learning rates differ."""
    rates = [learning_rate(settings, epoch) for epoch in range(1, settings.epochs + 1)]
    grown = [
        run.trained.name
        for run in runs
        if not np.allclose([entry["learning_rate"] for entry in run.history], rates, rtol=1e-4)
    ]
    if not grown:
        return []
    return [
        f"Begun with fewer epochs than --epochs={settings.epochs}, and gone on with: "
        f"{', '.join(grown)}. Their learning rates fell sooner and then rose again, so they are "
        "not what a job of that many epochs from the start gives."
    ]


def _facts(dataset: TseDataset) -> dict[str, str]:
    lengths = np.concatenate([split.lengths for split in dataset.splits.values()])
    sizes = [f"{len(split):,} {name}" for name, split in dataset.splits.items()]
    return {
        "Data": (
            f"{dataset.name}: {', '.join(sizes)} sequences, {dataset.num_classes} classes, "
            f"{dataset.num_features:,} features, {lengths.min()} to {lengths.max()} frames "
            f"(median {np.median(lengths):g})"
        ),
    }
