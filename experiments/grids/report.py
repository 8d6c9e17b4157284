"""The report: accuracy by N and arrangement beside the order-blind baselines, and what it costs."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.grids import pictures
from experiments.grids.dataset import VideoDataset
from experiments.grids.settings import Settings
from experiments.grids.training import RunResult, Variant
from experiments.shared.reports import Report, percent, seconds
from experiments.shared.tables import Table

COLUMNS = (
    "shown to the classifier",
    "test accuracy",
    "training accuracy",
    "ms a step",
    "temporary MB",
    "parameters",
    "seconds",
)


def write_report(
    folder: Path, dataset: VideoDataset, settings: Settings, results: Sequence[RunResult]
) -> str:
    """Writes report.json, report.md and the pictures; returns the report in plain text.

    Raises:
        OSError: the folder cannot be written to.
    """
    scalars = ("seed", "num_parameters", "seconds", "step_seconds", "temp_bytes", "history")
    report = Report(
        title=f"TIME layer: {dataset.name}",
        verdict=verdict(results),
        tables={"Results": results_table(results)},
        settings=settings,
        notes=_notes(dataset, settings),
        about_data=dataset.note,
        facts={
            "Data": (
                f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test "
                f"videos, {len(dataset.class_names)} classes ({', '.join(dataset.class_names)})"
            )
        },
        numbers={
            "runs": [
                {"variant": asdict(one.variant)} | {name: getattr(one, name) for name in scalars}
                for one in results
            ]
        },
        pictures=pictures.draw_all(folder, dataset, settings, results),
    )
    return report.write(folder)


def by_variant(results: Sequence[RunResult]) -> dict[Variant, list[RunResult]]:
    """The results of all seeds of each variant, in the order of the first."""
    groups: dict[Variant, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.variant, []).append(result)
    return groups


def results_table(results: Sequence[RunResult]) -> Table:
    """One row a variant: mean and spread over seeds."""
    rows = []
    for variant, runs in by_variant(results).items():
        timed = [run.step_seconds for run in runs if run.step_seconds is not None]
        rows.append(
            (
                variant.name,
                percent([run.accuracy for run in runs]),
                percent([run.history[-1]["train_accuracy"] for run in runs]),
                f"{1e3 * statistics.median(timed):.1f}" if timed else "-",
                f"{runs[0].temp_bytes / 1e6:.1f}",
                f"{runs[0].num_parameters:,}",
                seconds(statistics.fmean(run.seconds for run in runs)),
            )
        )
    return Table(COLUMNS, tuple(rows))


def verdict(results: Sequence[RunResult]) -> str:
    """Says in words, from the numbers, what the grids win over what is blind to order."""
    means = {
        variant: statistics.fmean(run.accuracy for run in runs)
        for variant, runs in by_variant(results).items()
    }
    grids = {variant: mean for variant, mean in means.items() if variant.n > 1}
    blind = {variant: mean for variant, mean in means.items() if variant.n == 1}
    if not grids:
        return "No grid of more than one frame was trained."
    best = max(grids, key=lambda variant: grids[variant])
    text = f"{best.name} is right in {100 * grids[best]:.2f} % of the test videos"
    if not blind:
        return text + "."
    rival = max(blind, key=lambda variant: blind[variant])
    points = 100 * (grids[best] - blind[rival])
    text += (
        f", {abs(points):.2f} points {'above' if points >= 0 else 'below'} the best that does not "
        f"see the order of frames, {rival.name} ({100 * blind[rival]:.2f} %)."
    )
    lower = [variant.name for variant, mean in grids.items() if mean < blind[rival]]
    if lower:
        text += f" Below that are {', '.join(lower)}."
    return text


def _notes(dataset: VideoDataset, settings: Settings) -> list[str]:
    seeds = ", ".join(map(str, settings.seeds))
    spread = (
        f"mean ± sample standard deviation over {len(settings.seeds)} seeds ({seeds})"
        if len(settings.seeds) > 1
        else f"one seed ({seeds}), so no spread is known"
    )
    share = 100 / len(dataset.class_names)
    return [
        f"Accuracies are percent after the last epoch, {spread}. No epoch and no setting is chosen "
        f"by the test videos. Guessing is right in {share:.2f} %.",
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
