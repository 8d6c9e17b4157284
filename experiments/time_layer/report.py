"""The report: accuracy by N and arrangement beside the order-blind baselines, and what it costs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

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
    Classification,
    by_class_table,
    classification,
    write_predictions,
)
from experiments.shared.tables import Cell, Table, percent, seconds
from experiments.time_layer import pictures
from experiments.time_layer.dataset import VideoDataset
from experiments.time_layer.settings import Settings
from experiments.time_layer.training import Groups, Method, RunResult, by_method

_SHOWN = "shown to the classifier"


def write_report(
    workspace: Workspace,
    dataset: VideoDataset,
    settings: Settings,
    results: Sequence[RunResult],
) -> str:
    """Writes predictions.csv, report.json, report.md and the pictures.

    Args:
        workspace: the job's folder, and what identifies its data.
        dataset: what the runs were trained and tested on.
        settings: of the job.
        results: the runs of all methods and seeds; methods come in the order of their first run.

    Returns:
        The report in plain text, for a terminal.

    Raises:
        UserError: the folder cannot be written to.
    """
    test = dataset.test
    guesses = {one.trained.name: one.predictions for one in results}
    path = workspace.folder / "predictions.csv"
    write_predictions(path, test.ids, test.labels, dataset.class_names, guesses)
    groups = by_method(results)
    scores = {
        method: [classification(test.labels, run.predictions, dataset.class_names) for run in runs]
        for method, runs in groups.items()
    }
    best, rival = picked(groups)
    compared = comparisons(dataset, groups, rival)
    tables = {"Results": results_table(groups, scores)}
    if compared:
        named = {f"{method.name} - {rival.name}": one for method, one in compared.items() if rival}
        by_metric = {name: {"accuracy": one} for name, one in named.items()}
        tables["Grids against the best that is blind to order"] = comparisons_table(
            by_metric, {"accuracy": "test accuracy"}
        )
    # report.json has all methods; these two are what a reader compares first.
    shown = {method.name: scores[method] for method in (rival, best) if method is not None}
    heading, table = by_class_table(shown)
    tables |= {heading: table, "Cost": cost_table(groups)}
    numbers = [
        {
            "method": asdict(run.method),
            "seed": run.seed,
            "num_parameters": run.num_parameters,
            "seconds": run.trained.seconds,
            "history": run.trained.history,
            "classification": scored.to_json(),
        }
        for method, runs in groups.items()
        for run, scored in zip(runs, scores[method], strict=True)
    ]
    report = Report(
        title=f"TIME layer: {dataset.name}",
        verdict=verdict(groups, best, rival, compared),
        tables=tables,
        settings=settings,
        notes=_notes(dataset, settings, results),
        about_data=_about_data(dataset, workspace),
        facts={
            "Data": (
                f"{dataset.name}: "
                f"{', '.join(f'{len(split):,} {name}' for name, split in dataset.splits.items())} "
                f"videos, {len(dataset.class_names)} classes"
            ),
            "Classes": ", ".join(dataset.class_names),
        },
        numbers={
            "runs": numbers,
            "comparisons": {method.name: one.to_json() for method, one in compared.items()},
        },
        drawings=pictures.drawings(dataset, settings, groups, best or rival),
        sessions=sessions_of(run.trained for run in results),
    )
    return report.write(workspace.folder)


def picked(groups: Groups) -> tuple[Method | None, Method | None]:
    """Returns (the best that sees the order of frames, the best that does not), None for none.

    They are picked by their accuracy on the validation split; on the test split where there is no
    other.
    """

    def score(method: Method) -> float:
        key = "val_accuracy" if "val_accuracy" in groups[method][0].last else "test_accuracy"
        return statistics.fmean(run.last[key] for run in groups[method])

    sees, blind = ([m for m in groups if m.sees_order is order] for order in (True, False))
    return max(sees, key=score, default=None), max(blind, key=score, default=None)


def comparisons(
    dataset: VideoDataset, groups: Groups, rival: Method | None
) -> dict[Method, Comparison]:
    """Compares each method that sees the order of frames with the best that does not."""
    found: dict[Method, Comparison] = {}
    if rival is None:
        return found
    for method, runs in groups.items():
        if method.sees_order:
            pairs = list(zip(runs, groups[rival], strict=True))
            predictions = [(one.predictions, other.predictions) for one, other in pairs]
            found[method] = compare(
                [one.accuracy - other.accuracy for one, other in pairs],
                unit=dataset.unit,
                units=dataset.test.units,
                statistic=accuracy_difference(dataset.test.labels, predictions),
            )
    return found


def results_table(groups: Groups, scores: Mapping[Method, Sequence[Classification]]) -> Table:
    """Returns one row a method: mean and spread over seeds."""
    entries = [run.last for runs in groups.values() for run in runs]
    keys = [key for key in ("val_accuracy", "train_accuracy") if key in entries[0]]
    names = {"val_accuracy": "validation accuracy", "train_accuracy": "training accuracy"}
    rows = [
        (
            method.name,
            percent([one.accuracy for one in scores[method]]),
            percent([one.balanced_accuracy for one in scores[method]]),
            percent([one.macro_f1 for one in scores[method]]),
            *(percent([run.last[key] for run in runs]) for key in keys),
        )
        for method, runs in groups.items()
    ]
    columns = (_SHOWN, "test accuracy", "balanced", "macro F1", *(names[key] for key in keys))
    return Table(columns, tuple(rows))


def cost_table(groups: Groups) -> Table:
    """Returns what each method takes."""
    rows = []
    for method, runs in groups.items():
        entries = [entry for run in runs for entry in run.trained.history]
        timed = [entry["step_seconds"] for entry in entries if entry["step_seconds"] is not None]
        milliseconds = Cell(f"{1e3 * statistics.median(timed):.1f}", timed) if timed else "-"
        rows.append(
            (
                method.name,
                milliseconds,
                f"{entries[-1]['temp_bytes'] / 1e6:.1f}",
                f"{runs[0].num_parameters:,}",
                seconds(statistics.fmean(run.trained.seconds for run in runs)),
            )
        )
    return Table((_SHOWN, "ms a step", "temporary MB", "parameters", "seconds"), tuple(rows))


def verdict(
    groups: Groups,
    best: Method | None,
    rival: Method | None,
    compared: Mapping[Method, Comparison],
) -> str:
    """Says in words, from the numbers, what the grids win over what is blind to order.

    Args:
        groups: the results.
        best: see `picked`.
        rival: see `picked`.
        compared: see `comparisons`.
    """
    if best is None:
        return "No grid of more than one frame was trained."

    def right(method: Method) -> str:
        return f"{100 * statistics.fmean(run.accuracy for run in groups[method]):.2f} %"

    text = f"{best.name} is right in {right(best)} of the test videos"
    if rival is None:
        return f"{text}. Nothing that is blind to order was trained beside it."
    text += (
        f"; the best that does not see the order of frames, {rival.name}, in {right(rival)}. The "
        f"difference is {compared[best].sentence()}."
    )
    others = {method: one.effect for method, one in compared.items() if method != best}
    for effect in ("helps", "hurts"):
        names = [method.name for method, shown in others.items() if shown == effect]
        if names:
            text += f" What {effect} here, too: {'; '.join(names)}."
    return text


def _notes(dataset: VideoDataset, settings: Settings, results: Sequence[RunResult]) -> list[str]:
    seeds = ", ".join(map(str, settings.seeds))
    spread = (
        f"mean ± sample standard deviation over {len(settings.seeds)} seeds ({seeds})"
        if len(settings.seeds) > 1
        else f"one seed ({seeds}), so no spread is known"
    )
    picked_on = (
        "the validation split; test videos are only reported"
        if dataset.val is not None
        else "the test videos themselves, as there is no validation split: that flatters them a "
        "little"
    )
    chosen = settings.chosen_on.strip().rstrip(".") or "not told (--chosen_on)"
    notes = [
        f"Accuracies are percent after the last epoch, {spread}; no epoch is picked. Guessing is "
        f"right in {100 / len(dataset.class_names):.2f} %. predictions.csv has every test video.",
        "The grid and the baseline that the first sentences name are those with the highest "
        f"accuracy on {picked_on}.",
        f"On what the settings were chosen: {chosen}.",
        comparisons_note(dataset.unit),
        "All rows train the same classifier, by the same steps on the same videos, and all "
        "pictures have the same size: with N the frames in a grid get smaller.",
        "single frame: the middle frame alone. frame average and TIME N=1: scores of single "
        f"frames, averaged over {settings.average_frames} and "
        f"{settings.num_frames} frames; blind to their order.",
        "ms a step: median of a training step, reading included. temporary MB: what the compiler "
        "plans to allocate in a step.",
        "In the paper, too, the layer lowers accuracy in some rows: a larger N pays for time with "
        "resolution. Its gains are larger on small data sets.",
    ]
    plans = {entry["planned_epochs"] for run in results for entry in run.trained.history}
    if len(plans) > 1:
        shown = " and ".join(map(str, sorted(plans)))
        notes.append(
            f"Epochs were planned as {shown}: what was trained before the number grew had the "
            "learning rates of the smaller one."
        )
    return notes


def _about_data(dataset: VideoDataset, workspace: Workspace) -> str:
    return " ".join(f"{text.rstrip('.')}." for text in (dataset.note, workspace.note) if text)
