"""The report of a job: the tables, what they say, and the pictures."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from experiments.seq import pictures
from experiments.seq.dataset import ImageDataset
from experiments.seq.episodes import Sampler
from experiments.seq.results import NAMES, RunResult
from experiments.seq.settings import SWEEPS, Settings
from experiments.shared.reports import Report, percent, seconds
from experiments.shared.tables import Table

METRICS = {"image_accuracy": "test images", "sequence_accuracy": "virtual test sequences"}
PAIRS = (
    ("trajectory", "baseline"),
    ("seq", "baseline"),
    ("seq", "trajectory"),
    ("seq", "seq_no_align"),
    ("seq", "seq_no_smooth"),
)
SWEEP_TITLES = {
    "num_support": "support sequences N",
    "gamma": "temperature gamma",
    "alpha": "weight alpha of the cross-entropy",
}

_DRAWS = 1000


def write_report(
    out_dir: str | os.PathLike,
    dataset: ImageDataset,
    settings: Settings,
    sampler: Sampler,
    runs: Sequence[RunResult],
) -> str:
    """Writes report.json, the pictures and report.md.

    Args:
        out_dir: an existing folder.
        dataset: what the runs were trained and evaluated on.
        settings: of the job.
        sampler: of the first seed; the picture of exemplars shows its first episode.
        runs: of all variants and seeds.

    Returns:
        The tables, with what they say and how to read them, in plain text for a terminal.

    Raises:
        OSError: the folder cannot be written to. Reports of an earlier job are then unharmed.
    """
    differences = paired_differences(dataset, runs)
    tables = {"Results": results_table(runs)}
    if differences:
        tables["Differences with the same seeds"] = _differences_table(differences)
    for name in SWEEPS:
        if any(run.variant.swept == name for run in runs):
            tables[f"SEQ by {SWEEP_TITLES[name]}"] = sweep_table(runs, name)
    report = Report(
        title=f"SEQ on {dataset.name}",
        verdict=verdict(runs),
        tables=tables,
        settings=settings,
        notes=_notes(dataset, settings, runs),
        about_data=dataset.note,
        facts={"Data": _data_fact(dataset, settings, sampler)},
        numbers={
            "runs": [_numbers(run) for run in runs],
            "differences": [dataclasses.asdict(one) for one in differences],
            "skipped_images": list(dataset.skipped),
        },
        pictures=pictures.draw_all(Path(out_dir), dataset, settings, sampler, runs),
    )
    return report.write(Path(out_dir))


@dataclasses.dataclass(frozen=True)
class Difference:
    """A method minus another, each seed with itself.

    Attributes:
        method: the one.
        other: the other.
        seeds: differences by seed of every metric, as fractions.
        interval: 95 % interval of the mean difference on test images when those are drawn anew
            (bootstrap).
    """

    method: str
    other: str
    seeds: dict[str, list[float]]
    interval: tuple[float, float]


def results_table(runs: Sequence[RunResult]) -> Table:
    """Returns one row a method: mean and spread over seeds."""
    rows = [
        (
            NAMES[method],
            *(percent([run.last[metric] for run in group]) for metric in METRICS),
            seconds(statistics.fmean(run.seconds for run in group)),
        )
        for method, group in by_method(runs).items()
    ]
    return Table(("method", *METRICS.values(), "seconds"), tuple(rows))


def paired_differences(dataset: ImageDataset, runs: Sequence[RunResult]) -> list[Difference]:
    """Returns the differences between methods that were trained with the same seeds."""
    groups, found = by_method(runs), []
    for method, other in PAIRS:
        if method not in groups or other not in groups:
            continue
        pairs = list(zip(groups[method], groups[other], strict=True))
        by_metric = {
            metric: [one.last[metric] - two.last[metric] for one, two in pairs]
            for metric in METRICS
        }
        found.append(Difference(method, other, by_metric, _interval(dataset.test.labels, pairs)))
    return found


def sweep_table(runs: Sequence[RunResult], name: str) -> Table:
    """Returns one row a value of the swept parameter; that of the main table is among them."""
    rows = [
        (f"{value:g}", *(percent([run.last[metric] for run in group]) for metric in METRICS))
        for value, group in by_value(runs, name).items()
    ]
    return Table((SWEEP_TITLES[name], *METRICS.values()), tuple(rows))


def by_method(runs: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Returns the runs of each method without those of a sweep, in the order of their seeds."""
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        if not run.variant.swept:
            groups.setdefault(run.variant.method, []).append(run)
    return groups


def by_value(runs: Sequence[RunResult], name: str) -> dict[float, list[RunResult]]:
    """Returns the runs of SEQ by the values of a swept parameter, in rising order."""
    groups: dict[float, list[RunResult]] = {}
    for run in runs:
        if run.variant.method == "seq" and run.variant.swept in ("", name):
            groups.setdefault(getattr(run.variant, name), []).append(run)
    return dict(sorted(groups.items()))


def verdict(runs: Sequence[RunResult]) -> str:
    """Says from the numbers where SEQ helps and where not.

    Args:
        runs: the trained runs.

    Returns:
        A sentence or two for each way of testing, after the last epoch.
    """
    groups = by_method(runs)
    shown = "seq" if "seq" in groups else next(reversed(groups))
    text = []
    for metric, name in METRICS.items():
        means = {m: statistics.fmean(r.last[metric] for r in group) for m, group in groups.items()}
        sentence = f"On {name}, {NAMES[shown]} classifies {100 * means[shown]:.2f} % correctly"
        compared = [
            f"against {NAMES[other]} ({100 * means[other]:.2f} %) "
            + _compared(
                [
                    one.last[metric] - two.last[metric]
                    for one, two in zip(groups[shown], groups[other], strict=True)
                ]
            )
            for other in ("trajectory", "baseline", "seq_no_align")
            if other in groups and shown == "seq"
        ]
        text.append("; ".join([sentence, *compared]) + ".")
    return " ".join(text)


def points(values: Sequence[float]) -> str:
    """Returns signed mean and, of several, sample standard deviation, in percentage points."""
    text = f"{100 * statistics.fmean(values):+.2f}"
    return f"{text} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else text


def _compared(values: Sequence[float]) -> str:
    """What the differences of the seeds allow to say."""
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return f"{points(values)} points, of which one seed says nothing about chance"
    better, worse = sum(value > 0 for value in values), sum(value < 0 for value in values)
    change = f"{points(values)} points (better with {better}, worse with {worse} of {count} seeds)"
    # The 95 % interval of the mean by Student's t.
    if abs(mean) <= stats.t.ppf(0.975, count - 1) * statistics.stdev(values) / count**0.5:
        return f"{change}, which so few seeds may give by chance: no difference is shown"
    return f"{change}: it {'helps' if mean > 0 else 'hurts'} here"


def _interval(
    labels: np.ndarray, pairs: Sequence[tuple[RunResult, RunResult]]
) -> tuple[float, float]:
    """Draws test images with replacement; a seeded bootstrap."""
    of_image = np.mean(
        [
            (one.image_predictions == labels).astype(float) - (two.image_predictions == labels)
            for one, two in pairs
        ],
        axis=0,
    )
    rng = np.random.default_rng(0)
    means = [of_image[rng.integers(len(labels), size=len(labels))].mean() for _ in range(_DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _differences_table(differences: Sequence[Difference]) -> Table:
    rows = []
    for one in differences:
        values = one.seeds["image_accuracy"]
        low, high = one.interval
        rows.append(
            (
                f"{NAMES[one.method]} minus {NAMES[one.other]}",
                *(points(one.seeds[metric]) for metric in METRICS),
                f"{sum(value > 0 for value in values)} of {len(values)}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
            )
        )
    columns = ("points", *METRICS.values(), "seeds better (images)", "images, 95 % over images")
    return Table(columns, tuple(rows))


def _numbers(run: RunResult) -> dict:
    variant = dataclasses.asdict(run.variant)
    return {**variant, "seed": run.seed, "seconds": run.seconds, "history": run.history}


def _notes(dataset: ImageDataset, settings: Settings, runs: Sequence[RunResult]) -> list[str]:
    named = ", ".join(map(str, settings.seeds))
    several = len(settings.seeds) > 1
    spread = f"mean ± sample standard deviation over {len(settings.seeds)} seeds ({named})"
    drawn = f", {settings.train_per_class} training images a class drawn by the seed"
    notes = [
        f"Percent of {len(dataset.test):,} test images of {len(dataset.class_names)} classes, "
        "after the last epoch; no epoch was chosen by its result.",
        "test images: the image as it is, which is the paper's static classifier. Virtual test "
        f"sequences: one seeded sequence of {settings.tau} frames of each test image, "
        "probabilities averaged over its frames.",
        f"{spread if several else f'One seed ({named}), no spread'}. Methods of a seed share first "
        f"weights, query images and sequences{drawn if settings.train_per_class else ''}.",
        "Each method is one linear layer on the same frozen features; an epoch is "
        f"{settings.episodes} episodes, and every method takes as many steps on as many query "
        "images. Support images, from which no gradient comes, are seen with align only.",
        "Whether sequences or SEQ make the difference: + feature trajectory has the sequences and "
        "cross-entropy alone.",
    ]
    if several and len(by_method(runs)) > 1:
        notes.append(
            "95 % over images: how far the mean difference moves when other test images are drawn "
            "from these (bootstrap); the standard deviation over seeds does not cover that."
        )
        notes.append(
            "Helps or hurts is said where the 95 % interval of the mean of the paired differences "
            "(Student's t over seeds) does not contain 0."
        )
    if dataset.skipped:
        notes.append(
            f"{len(dataset.skipped)} images do not decode and were left out: metrics.jsonl and "
            "report.json name them."
        )
    return notes


def _data_fact(dataset: ImageDataset, settings: Settings, sampler: Sampler) -> str:
    return (
        f"{dataset.name}: {len(dataset.train):,} training images, {settings.draws} virtual "
        f"sequences of {settings.tau} frames of each, and {len(dataset.test):,} test images of "
        f"{len(dataset.class_names)} classes, {settings.image_size} x {settings.image_size}; "
        f"{len(sampler.mean):,} features by {settings.encoder}"
    )
