"""The report of a job: the tables, what they say, and the pictures."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from experiments.seq.report import Pairs, Results, method_names
from experiments.seq.results import RunResult
from experiments.seq_images import pictures
from experiments.seq_images.dataset import ImageDataset
from experiments.seq_images.episodes import Sampler
from experiments.seq_images.settings import Settings
from experiments.seq_images.training import METRICS
from experiments.shared.comparison import Statistic, accuracy_difference
from experiments.shared.job import Workspace
from experiments.shared.reports import Report
from experiments.shared.scores import (
    Classification,
    by_class_table,
    classification,
    write_predictions,
)
from experiments.shared.tables import Table, percent

NAMES = method_names("baseline (original images)")

_TESTED = {"image_accuracy": "images", "sequence_accuracy": "sequences"}


def write_report(
    workspace: Workspace,
    dataset: ImageDataset,
    settings: Settings,
    sampler: Sampler,
    runs: Sequence[RunResult],
) -> str:
    """Writes report.json, report.md, predictions.csv and the pictures.

    Args:
        workspace: of the job.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        sampler: of the first seed; the picture of exemplars shows its first episode.
        runs: of all variants and seeds.

    Returns:
        The tables, with what they say and how to read them, in plain text for a terminal.

    Raises:
        UserError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    results = compared(dataset.test.labels, runs)
    scores = {
        NAMES[method]: [
            classification(dataset.test.labels, run.tested["images"], dataset.class_names)
            for run in group
        ]
        for method, group in results.groups.items()
    }
    by_class_heading, by_class = by_class_table(scores)
    write_predictions(
        workspace.folder / "predictions.csv",
        dataset.test.ids,
        dataset.test.labels,
        dataset.class_names,
        {
            f"{run.variant.run_name(run.seed)} {tested}": run.tested[tested]
            for run in runs
            for tested in _TESTED.values()
        },
    )
    numbers = results.numbers()
    numbers["classification"] = {
        name: [one.to_json() for one in of_seeds] for name, of_seeds in scores.items()
    }
    report = Report(
        title=f"SEQ on {dataset.name}",
        verdict=verdict(results),
        tables={
            "Results": _table(results, scores),
            **results.tables(),
            by_class_heading: by_class,
        },
        settings=settings,
        notes=[
            *_notes(dataset, settings, results),
            *([f"{workspace.note}."] if workspace.note else []),
        ],
        about_data=dataset.note,
        facts={"Data": _data_fact(dataset, settings, sampler)},
        numbers={**numbers, "skipped_images": list(dataset.skipped)},
        drawings=pictures.drawings(dataset, settings, sampler, results),
        sessions=results.sessions(),
    )
    return report.write(workspace.folder)


def compared(labels: np.ndarray, runs: Sequence[RunResult]) -> Results:
    """Returns the runs with all comparisons; each test image is a unit of its own."""

    def accuracies(pairs: Pairs, *, tested: str) -> Statistic:
        guesses = [(one.tested[tested], two.tested[tested]) for one, two in pairs]
        return accuracy_difference(labels, guesses)

    return Results(
        runs,
        names=NAMES,
        metrics=METRICS,
        unit="test images",
        units=np.arange(len(labels)),
        statistic={
            metric: partial(accuracies, tested=tested) for metric, tested in _TESTED.items()
        },
    )


def verdict(results: Results) -> str:
    """Says from the numbers where SEQ helps and where not, for each way of testing."""
    return " ".join(
        results.verdict(metric, f"On {name}, {{method}} classifies {{percent}} % correctly")
        for metric, name in METRICS.items()
    )


def _table(results: Results, scores: dict[str, list[Classification]]) -> Table:
    """One row a method: accuracies, the scores of the plain images, seconds."""
    rows = []
    for method, of_seeds in zip(results.groups, scores.values(), strict=True):
        name, images, sequences, took = results.row(method)
        balanced = percent([one.balanced_accuracy for one in of_seeds])
        f1 = percent([one.macro_f1 for one in of_seeds])
        rows.append((name, images, balanced, f1, sequences, took))
    images, sequences = METRICS.values()
    columns = ("method", images, "balanced accuracy", "macro F1", sequences, "seconds")
    return Table(columns, tuple(rows))


def _notes(dataset: ImageDataset, settings: Settings, results: Results) -> list[str]:
    drawn = f", {settings.train_per_class} training images a class drawn by the seed"
    notes = [
        f"Percent of {len(dataset.test):,} test images of {len(dataset.class_names)} classes, "
        "after the last epoch; no epoch was chosen by its result. predictions.csv has every one.",
        "Test images: the image as it is, which is the paper's static classifier; balanced "
        "accuracy (the mean of the classes), macro F1 and the accuracy by class are of these. "
        f"Virtual test sequences: one seeded sequence of {settings.tau} frames of each test image, "
        "probabilities averaged over its frames.",
        f"{results.seeds_note()}. Methods of a seed share first weights, query images and "
        f"sequences{drawn if settings.train_per_class else ''}.",
        "Each method is one linear layer on the same frozen features; an epoch is "
        f"{settings.steps_per_epoch} steps, each on an episode, and every method takes as many "
        "steps on as many query images. Support images, from which no gradient comes, are seen "
        "with align only.",
        "Whether sequences or SEQ make the difference: + feature trajectory has the sequences and "
        "cross-entropy alone.",
        *results.notes(),
    ]
    if dataset.skipped:
        notes.append(
            f"{len(dataset.skipped)} images do not decode and were left out: report.json names "
            "them."
        )
    return notes


def _data_fact(dataset: ImageDataset, settings: Settings, sampler: Sampler) -> str:
    return (
        f"{dataset.name}: {len(dataset.train):,} training images, {settings.draws} virtual "
        f"sequences of {settings.tau} frames of each, and {len(dataset.test):,} test images of "
        f"{len(dataset.class_names)} classes, {settings.image_size} x {settings.image_size}; "
        f"{len(sampler.scaling.mean):,} features by {settings.encoder}"
    )
