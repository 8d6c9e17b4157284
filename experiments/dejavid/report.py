"""The report of a job: one table, the facts that it needs, and the pictures."""

import dataclasses
import math
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

import tempalign
from experiments.dejavid import pictures
from experiments.dejavid.baselines import NAMES, ORDER_BLIND
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.shared.checkpoints import write_json
from experiments.shared.options import to_text
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
    table = results_table(baselines, runs)
    sentences = verdict(baselines, runs, pooled=settings.pooling == "mean")
    notes = _notes(dataset, baselines, runs)
    facts = _facts(dataset)
    write_json(folder / "report.json", _numbers(facts, settings, baselines, runs, sentences))
    drawn = pictures.draw_all(folder, dataset, settings, baselines, runs)
    note = f"{dataset.note[0].upper()}{dataset.note[1:]}" if dataset.note else ""

    lines = [f"# DejaVid on {dataset.name}", "", sentences, "", table.to_markdown(), ""]
    lines += [f"- {text}" for text in notes]
    if note:
        lines += ["", f"About the data: {note}"]
    lines += ["", "## Pictures"]
    for picture in drawn:
        lines += ["", f"![{picture.title}]({picture.file})", "", picture.caption]
    lines += ["", "## Facts", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "Settings (`report.json` has every number behind this report):", "", "```"]
    lines += [f"--{name}={to_text(value)}" for name, value in settings.to_json().items()]
    lines += ["```", ""]
    _write(folder / "report.md", "\n".join(lines))

    head = f"DejaVid on {dataset.name}"
    terminal = [head, "=" * len(head), "", table.to_text(), "", sentences, ""]
    terminal += [f"* {text}" for text in notes]
    if note:
        terminal += ["", f"About the data: {note}"]
    return "\n".join(terminal)


def results_table(baselines: Sequence[BaselineResult], runs: Sequence[RunResult]) -> Table:
    """Returns the table: one row a baseline, then one a variant (mean and spread over seeds)."""
    rows = [
        (
            result.name,
            _percent([result.top1]),
            _NONE,
            _percent([result.top5]),
            _NONE if result.num_parameters is None else f"{result.num_parameters:,}",
            _seconds(result.seconds),
        )
        for result in baselines
    ]
    for variant, of_variant in _by_variant(runs).items():
        rows.append(
            (
                pictures.head_name(variant),
                _percent([run.last["test_top1"] for run in of_variant]),
                _percent([run.best["test_top1"] for run in of_variant]),
                _percent([run.last["test_top5"] for run in of_variant]),
                f"{of_variant[0].num_parameters:,}",
                _seconds(statistics.fmean(run.seconds for run in of_variant)),
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


def _percent(values: Sequence[float | None]) -> str:
    """Mean and, of several values, sample standard deviation, in percent."""
    known = [value for value in values if value is not None]
    if not known:
        return _NONE
    text = f"{100 * statistics.fmean(known):.2f}"
    return f"{text} ± {100 * statistics.stdev(known):.2f}" if len(known) > 1 else text


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


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
    devices = jax.devices()
    return {
        "Data": (
            f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test "
            f"sequences, {dataset.num_classes} classes, {dataset.num_features:,} features, "
            f"{lengths.min()} to {lengths.max()} frames (median {np.median(lengths):g})"
        ),
        "Versions": (
            f"tempalign {tempalign.__version__}, jax {jax.__version__}, flax {flax.__version__}, "
            f"numpy {np.__version__}, Python {platform.python_version()}"
        ),
        "Machine": (
            f"{os.cpu_count()} CPU cores, {platform.platform()}; jax ran on {len(devices)} x "
            f"{devices[0].device_kind}"
        ),
    }


def _numbers(
    facts: dict[str, str],
    settings: Settings,
    baselines: Sequence[BaselineResult],
    runs: Sequence[RunResult],
    sentences: str,
) -> Any:
    """What report.json holds."""
    scalars = ("variant", "seed", "num_parameters", "seconds", "best_epoch", "history")
    values = {
        "verdict": sentences,
        "baselines": [dataclasses.asdict(result) for result in baselines],
        "runs": [{name: getattr(run, name) for name in scalars} for run in runs],
        "facts": facts,
        "settings": settings.to_json(),
    }
    return _plain(values)


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; NaN and infinity, which JSON does not have, as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a full disk must not cost the report of an earlier job."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
