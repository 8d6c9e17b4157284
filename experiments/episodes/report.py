"""The report of a job: what was found, Table 2 and Fig. 5 of the paper, how to read them."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.episodes import pictures
from experiments.episodes.data import MetaData
from experiments.episodes.results import RunResult, Score, Scores, source_name
from experiments.episodes.settings import ORDER_BLIND, Settings
from experiments.shared.reports import Report, seconds
from experiments.shared.tables import Table

# Results that would be the same with the frames of every sequence in another order.
BLIND = (ORDER_BLIND, "min", "mean")

_NONE = "-"


def write_report(
    out_dir: str | os.PathLike,
    data: MetaData,
    settings: Settings,
    scores: Sequence[Score],
    results: Sequence[RunResult],
) -> str:
    """Writes report.json, the pictures and report.md, in this order.

    Args:
        out_dir: an existing folder.
        data: of the job.
        settings: of the job.
        scores: every evaluation.
        results: every training.

    Returns:
        The report in plain text for a terminal.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = Path(out_dir)
    known = Scores(tuple(scores))
    tables = {
        f"{settings.way}-way {shots}-shot": matching_table(known, settings, shots)
        for shots in settings.shots
    }
    if len(settings.gammas) > 1:
        tables["Temperature of the soft minimum (tam)"] = gamma_table(known, settings)
    if results:
        tables["Trainings"] = training_table(results)
    report = Report(
        title=f"Few-shot by temporal alignment on {data.name}",
        verdict=verdict(known, settings),
        tables=tables,
        settings=settings,
        notes=_notes(known, settings, data, results),
        about_data=data.note,
        facts=_facts(data),
        numbers={
            "scores": [dataclasses.asdict(score) for score in scores],
            "runs": [
                dataclasses.asdict(result.run)
                | {
                    "num_parameters": result.num_parameters,
                    "seconds": result.seconds,
                    "best_epoch": result.best_epoch,
                    "history": result.history,
                }
                for result in results
            ],
        },
        pictures=pictures.draw_all(folder, data, settings, known, results),
    )
    return report.write(folder)


def matching_table(scores: Scores, settings: Settings, shots: int) -> Table:
    """Returns Table 2: one row a matching, one column a kind of features."""
    sources = scores.sources()
    rows = []
    for matching in (ORDER_BLIND, *settings.matchings):
        cells = [
            cell(scores.find(source, matching, settings.gamma, shots, settings.gamma))
            for source in sources
        ]
        rows.append((f"{matching} *" if matching in BLIND else matching, *cells))
    heading = f"{settings.way}-way {shots}-shot"
    return Table((heading, *map(source_name, sources)), tuple(rows))


def gamma_table(scores: Scores, settings: Settings) -> Table:
    """Returns Fig. 5 as a table: tam trained and matched at each temperature."""
    sources = [source for source in scores.sources() if source in ("", "tam")]
    columns = [
        f"{source_name(source)}, {shots}-shot" for source in sources for shots in settings.shots
    ]
    rows = []
    for gamma in sorted(settings.gammas):
        cells = [
            cell(scores.find(source, "tam", gamma, shots, gamma))
            for source in sources
            for shots in settings.shots
        ]
        rows.append((f"{gamma:g}", *cells))
    return Table(("gamma", *columns), tuple(rows))


def training_table(results: Sequence[RunResult]) -> Table:
    """Returns what the trainings took, one row a matching and temperature."""
    groups: dict[tuple[str, float], list[RunResult]] = {}
    for result in results:
        groups.setdefault((result.run.through, result.run.gamma), []).append(result)
    rows = []
    for (through, gamma), group in groups.items():
        losses = [result.history[-1]["loss"] for result in group]
        best = [
            entry["val_accuracy"]
            for result in group
            if "val_accuracy" in (entry := result.history[result.best_epoch - 1])
        ]
        rows.append(
            (
                through,
                f"{gamma:g}" if through.startswith("tam") else _NONE,
                f"{group[0].num_parameters:,}",
                f"{statistics.fmean(losses):.4f}",
                f"{100 * statistics.fmean(best):.2f}" if best else _NONE,
                ",".join(str(result.best_epoch) for result in group),
                seconds(statistics.fmean(result.seconds for result in group)),
            )
        )
    columns = (
        "trained through", "gamma", "parameters", "last loss", "meta-val", "epoch used", "seconds",
    )  # fmt: skip
    return Table(columns, tuple(rows))


def cell(found: Sequence[Score]) -> str:
    """Returns accuracy ± 95 % interval in percent and, of several seeds, (their deviation)."""
    if not found:
        return _NONE
    values = [100 * score.accuracy for score in found]
    interval = 100 * statistics.fmean(score.interval for score in found)
    text = f"{statistics.fmean(values):.2f} ± {interval:.2f}"
    return f"{text} ({statistics.stdev(values):.2f})" if len(values) > 1 else text


def verdict(scores: Scores, settings: Settings) -> str:
    """Says in words, from the numbers, what alignment wins over results blind to order."""
    return " ".join(_verdict(scores, settings, shots) for shots in settings.shots)


def _verdict(scores: Scores, settings: Settings, shots: int) -> str:
    found = {
        (source, matching): statistics.fmean(score.accuracy for score in group)
        for source in scores.sources()
        for matching in (ORDER_BLIND, *settings.matchings)
        if (group := scores.find(source, matching, settings.gamma, shots, settings.gamma))
    }
    blind = max((key for key in found if key[1] in BLIND), key=lambda key: found[key])
    aware = [key for key in found if key[1] not in BLIND]
    if not aware:
        return f"{shots}-shot: no matching that aligns was evaluated."
    trained = [key for key in aware if key in (("tam", "tam"), ("", "tam"))]
    ours = max(trained or aware, key=lambda key: (key[0] == "tam", found[key]))
    best = max(aware, key=lambda key: found[key])
    text = (
        f"{shots}-shot: {_named(ours)} is right in {100 * found[ours]:.2f} % of the queries, "
        f"{_difference(found[ours], found[blind])} the best result that is blind to the order of "
        f"frames, {_named(blind)} ({100 * found[blind]:.2f} %)"
    )
    if best != ours:
        text += f"; {_named(best)} is best ({100 * found[best]:.2f} %)"
    if ours[0] and ("", ours[1]) in found:
        text += f". Without training it is {100 * found['', ours[1]]:.2f} %"
    return text + "."


def _named(key: tuple[str, str]) -> str:
    source, matching = key
    return f"{matching} ({source_name(source)})"


def _difference(score: float, other: float) -> str:
    points = 100 * (score - other)
    if abs(points) < 0.005:
        return "level with"
    return f"{abs(points):.2f} points {'above' if points > 0 else 'below'}"


def _notes(
    scores: Scores, settings: Settings, data: MetaData, results: Sequence[RunResult]
) -> list[str]:
    """How to read the tables."""
    notes = [
        f"Accuracies are percent of the queries, mean over {settings.episodes:,} episodes of the "
        f"meta-test classes ({settings.queries} queries a class); ± is the "
        "95 % interval of that mean (1.96 standard errors). Every row and column has the same "
        "episodes, and a k-shot episode those supports of a larger one that come first.",
        "Marked *: blind to the order of frames. order_blind: cosine of the query's temporal mean "
        "to the mean of the class's temporal means. min, mean, diagonal: of the cosine distances "
        "of all frame pairs; dtw: plain DTW; tam: Eq. 5; tam_symmetric: both ways added.",
    ]
    if results:
        seeds = list(dict.fromkeys(result.run.seed for result in results))
        spread = (
            f"in parentheses the sample standard deviation over {len(seeds)} seeds "
            f"({', '.join(map(str, seeds))}), ± then being the mean of the seeds' intervals"
            if len(seeds) > 1
            else f"one seed ({seeds[0]}), so no spread over trainings is known"
        )
        notes.append(f"Trained columns: {spread}.")
        chosen = (
            "the epoch with the best accuracy on the meta-validation classes"
            if data.val is not None
            else "the last epoch (there are no meta-validation classes to choose by)"
        )
        kinds = ", ".join(
            f"{settings.encoder_of(through)} through {through}"
            for through in settings.train_through
        )
        notes.append(
            f"Encoders: {kinds}; used is {chosen}. The job chooses nothing on meta-test data."
        )
    if len(settings.gammas) > 1:
        notes.append(
            f"Results other than the sweep are at gamma {settings.gamma:g}; in the sweep a trained "
            "encoder is trained and matched at the same temperature."
        )
    if settings.center == "sequence":
        notes.append(
            "--center=sequence: every sequence is moved to temporal mean 0 before it is cut into "
            "segments, so the temporal mean of raw or linearly encoded features says almost "
            "nothing by construction. Fair rivals are min, mean and an mlp trained through "
            "order_blind."
        )
    return notes


def _facts(data: MetaData) -> dict[str, str]:
    facts = {}
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
        if split is None:
            facts[f"Meta-{name}"] = "none"
            continue
        sizes = split.classes.size
        names = ", ".join(split.class_names[:12]) + (", ..." if len(split.class_names) > 12 else "")
        facts[f"Meta-{name}"] = (
            f"{len(split.class_names)} classes ({names}), {len(split.ids):,} samples, "
            f"{min(sizes)} to {max(sizes)} a class"
        )
    facts["Features"] = f"{data.test.features.shape[1]} segments of {data.num_features:,} features"
    return facts
