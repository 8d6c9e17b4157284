"""The report of a job: what was found, Table 2 and Fig. 5 of the paper, how to read them."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.few_shot import pictures
from experiments.few_shot.data import Meta
from experiments.few_shot.results import RunResult, Score, Scores, mean, source_name
from experiments.few_shot.settings import ORDER_BLIND, Settings
from experiments.shared.comparison import Comparison, comparisons_note, comparisons_table
from experiments.shared.files import write_csv
from experiments.shared.job import Workspace
from experiments.shared.reports import Report, sessions_of
from experiments.shared.scores import balanced_table, by_class_table
from experiments.shared.tables import Cell, Table, percent, seconds

# Results that would be the same with the frames of every sequence in another order.
BLIND = (ORDER_BLIND, "min", "mean")
PREDICTIONS_FILE = "predictions.csv"

_NONE = "-"


def write_report(
    workspace: Workspace,
    data: Meta,
    settings: Settings,
    scores: Scores,
    results: Sequence[RunResult],
    features: Callable[[], np.ndarray],
) -> str:
    """Writes predictions.csv, report.json and report.md, then the pictures.

    Args:
        workspace: of the job.
        data: what was trained and evaluated on.
        settings: with which.
        scores: every evaluation.
        results: every training.
        features: makes the features of the meta-test samples before any training.

    Returns:
        The report in plain text for a terminal.

    Raises:
        UserError: the folder cannot be written to.
    """
    _write_predictions(workspace.folder / PREDICTIONS_FILE, data, scores)
    found = {shots: Findings.of(scores, settings, shots) for shots in settings.shots}
    comparisons = {
        f"{shots}-shot: {name}": {"accuracy": comparison}
        for shots, one in found.items()
        for name, comparison in one.comparisons(scores).items()
    }
    tables = {
        f"{settings.way}-way {shots}-shot": matching_table(scores, settings, shots)
        for shots in settings.shots
    }
    if comparisons:
        metrics = {"accuracy": "accuracy"}
        tables["Differences in percentage points"] = comparisons_table(comparisons, metrics)
    if len(settings.gammas) > 1:
        tables["Temperature of the soft minimum (tam)"] = gamma_table(scores, settings)
    if results:
        tables["Trainings"] = training_table(results)
    shown = {
        f"{name}, {shots}-shot": [score.classification(data.test.class_names) for score in group]
        for shots, one in found.items()
        for name, group in one.results.items()
    }
    confused = {
        f"{named(one.ours or one.blind)}, {settings.way}-way {shots}-shot": one.ours or one.blind
        for shots, one in found.items()
    }
    tables["Classes counted alike"] = balanced_table(shown, "result")
    heading, by_class = by_class_table({name: shown[name] for name in _headlines(found)})
    tables[heading] = Table(("class", "queries", *by_class.columns[2:]), by_class.rows)
    report = Report(
        title=f"Few-shot by temporal alignment on {data.name}",
        verdict=" ".join(one.sentence(scores) for one in found.values()),
        tables=tables,
        settings=settings,
        notes=_notes(settings, data, results),
        about_data="; ".join(filter(None, (data.note, workspace.note))),
        facts=_facts(data),
        numbers={
            "scores": [_without_counts(score) for score in scores.scores],
            "comparisons": {
                name: by_metric["accuracy"].to_json() for name, by_metric in comparisons.items()
            },
            "classification": {
                name: [one.to_json() for one in group] for name, group in shown.items()
            },
            "runs": [
                result.source._asdict()
                | {
                    "num_parameters": result.num_parameters,
                    "seconds": result.trained.seconds,
                    "best_epoch": result.best_epoch,
                    "history": result.history,
                }
                for result in results
            ],
        },
        drawings=pictures.drawings(data, settings, scores, results, confused, features),
        sessions=sessions_of(result.trained for result in results),
    )
    return report.write(workspace.folder)


def _headlines(found: Mapping[int, "Findings"]) -> list[str]:
    """The names of what is compared, without those beside it, which would make a table too wide."""
    groups = [(shots, one.blind) for shots, one in found.items()]
    groups += [(shots, one.ours) for shots, one in found.items() if one.ours is not None]
    return [f"{named(group)}, {shots}-shot" for shots, group in groups]


class Findings(NamedTuple):
    """The results with one number of shots that a report speaks of: each its scores over seeds.

    Attributes:
        shots: support samples a class.
        ours: tam, trained through tam if it was; else the best that aligns; None without any.
        blind: the best of those that do not see the order of frames.
        untrained: as `ours`, of the features as they are; None where `ours` is that.
        best: the best that aligns.
    """

    shots: int
    ours: list[Score] | None
    blind: list[Score]
    untrained: list[Score] | None
    best: list[Score] | None

    @classmethod
    def of(cls, scores: Scores, settings: Settings, shots: int) -> "Findings":
        """Finds them."""
        gamma = settings.gamma
        found = {
            (source, matching): group
            for source in scores.sources()
            for matching in (ORDER_BLIND, *settings.matchings)
            if (group := scores.find(source, matching, gamma, shots, gamma))
        }
        blind = max((found[key] for key in found if key[1] in BLIND), key=mean)
        aware = [key for key in found if key[1] not in BLIND]
        if not aware:
            return cls(shots, None, blind, None, None)
        chosen = [key for key in (("tam", "tam"), ("", "tam")) if key in aware]
        ours = chosen[0] if chosen else max(aware, key=lambda key: mean(found[key]))
        untrained = found.get(("", ours[1])) if ours[0] else None
        best = max((found[key] for key in aware), key=mean)
        return cls(shots, found[ours], blind, untrained, best)

    @property
    def results(self) -> dict[str, list[Score]]:
        """By name, each once: `ours` last."""
        every = (self.blind, self.untrained, self.best, self.ours)
        return {named(group): group for group in every if group is not None}

    def comparisons(self, scores: Scores) -> dict[str, Comparison]:
        """Returns what `ours` is compared with, by "one minus other"."""
        others = [group for group in (self.blind, self.untrained) if group is not None]
        if self.ours is None:
            return {}
        return {
            f"{named(self.ours)} minus {named(other)}": scores.compare(self.ours, other)
            for other in others
        }

    def sentence(self, scores: Scores) -> str:
        """Says in words, from the numbers, what alignment wins over results blind to order."""
        if self.ours is None or self.best is None:
            return f"{self.shots}-shot: no matching that aligns was evaluated."
        text = (
            f"{self.shots}-shot: {named(self.ours)} is right in {100 * mean(self.ours):.2f} % of "
            "the queries. Against the best result that is blind to the order of frames, "
            f"{named(self.blind)} with {100 * mean(self.blind):.2f} %, that is "
            f"{scores.compare(self.ours, self.blind).sentence()}."
        )
        if self.untrained is not None:
            text += (
                f" Against {named(self.untrained)} with {100 * mean(self.untrained):.2f} %, that "
                f"is {scores.compare(self.ours, self.untrained).sentence()}."
            )
        if named(self.best) != named(self.ours):
            text += f" The best of all is {named(self.best)} with {100 * mean(self.best):.2f} %."
        return text


def named(group: Sequence[Score]) -> str:
    """Returns what a report calls a result."""
    return f"{group[0].matching} ({source_name(group[0].through)})"


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
        groups.setdefault((result.source.through, result.source.gamma), []).append(result)
    rows = []
    for (through, gamma), group in groups.items():
        losses = [result.history[-1]["loss"] for result in group]
        rows.append(
            (
                through,
                f"{gamma:g}" if through.startswith("tam") else _NONE,
                f"{group[0].num_parameters:,}",
                Cell(f"{statistics.fmean(losses):.4f}", losses),
                percent([result.val_accuracy for result in group]),
                ",".join(str(result.best_epoch) for result in group),
                seconds(statistics.fmean(result.trained.seconds for result in group)),
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
    values = [score.accuracy for score in found]
    interval = 100 * statistics.fmean(score.interval for score in found)
    text = f"{100 * statistics.fmean(values):.2f} ± {interval:.2f}"
    if len(values) > 1:
        text += f" ({100 * statistics.stdev(values):.2f})"
    return Cell(text, values)


def _without_counts(score: Score) -> dict:
    """The numbers of a score; those of every sample are in predictions.csv."""
    fields = dataclasses.asdict(score)
    return {key: value for key, value in fields.items() if key not in ("right", "confusion")}


def _write_predictions(path: Path, data: Meta, scores: Scores) -> None:
    """Writes how often each meta-test sample was a query, and how often each result was right."""
    split = data.test
    columns: dict[str, Sequence] = {
        "id": split.ids,
        "label": [split.class_names[label] for label in split.labels],
        "queries": scores.asked.tolist(),
    }
    columns |= {f"{score.name} right": score.right for score in scores.scores}
    write_csv(path, columns, zip(*columns.values(), strict=True))


def _notes(settings: Settings, data: Meta, results: Sequence[RunResult]) -> list[str]:
    """How to read the tables."""
    queries = "1 query" if settings.queries == 1 else f"{settings.queries} queries"
    notes = [
        f"Accuracies are percent of the queries, mean over {settings.episodes:,} episodes of the "
        f"meta-test classes ({queries} a class); ± is the 95 % interval of that mean (1.96 "
        "standard errors). Every row and column has the same episodes, and a k-shot episode those "
        "supports of a larger one that come first.",
        "Marked *: blind to the order of frames. order_blind: cosine of the query's temporal mean "
        "to the mean of the class's temporal means. min, mean, diagonal: of the cosine distances "
        "of all frame pairs; dtw: plain DTW; tam: Eq. 5; tam_symmetric: both ways added.",
    ]
    if results:
        seeds = list(dict.fromkeys(result.source.seed for result in results))
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
        notes.append(f"Encoders: {kinds}; used is {chosen}.")
    if settings.videos:
        notes.append(_trunk_note(settings))
    notes.append(
        "Which result that is blind to order is the best is seen on the meta-test classes, in "
        "favour of what alignment is compared with. Nothing else is chosen on them by the job; "
        + (
            "the learning rate and the epochs of few_shot_demo.txt were, by a few trials."
            if settings.layout == "spoken_digits"
            else "how its settings were chosen it cannot know."
        )
    )
    notes.append(comparisons_note("query samples"))
    notes.append(
        "The episodes ask for each sample many times, so what is drawn anew are the samples; the "
        f"supports that they meet stay. {PREDICTIONS_FILE} has a row a sample. Balanced accuracy, "
        "F1 and accuracy by class are of all queries of all episodes."
    )
    if len(settings.gammas) > 1:
        notes.append(
            f"Results other than the sweep are at gamma {settings.gamma:g}; in the sweep a trained "
            "encoder is trained and matched at the same temperature."
        )
    if settings.center == "mean":
        notes.append(
            "--center=mean: every sequence is moved to temporal mean 0 before it is cut into "
            "segments, so the temporal mean of raw or linearly encoded features says almost "
            "nothing by construction. Fair rivals are min, mean and an mlp trained through "
            "order_blind."
        )
    return notes


def _trunk_note(settings: Settings) -> str:
    """What is trained and seen, of a job on videos."""
    trained = {"none": "is not trained", "all": "is trained as a whole"}.get(
        settings.train_trunk,
        f"is trained in its last {settings.trunk_stages} "
        + ("stage" if settings.trunk_stages == 1 else "stages"),
    )
    flip = "half of them mirrored" if settings.flip else "none mirrored"
    return (
        f"Features are those of --trunk={settings.trunk}, which {trained}; untrained features are "
        f"the trunk's before that. Training sees a random frame of each segment, cut by "
        f"--train_crop={settings.train_crop}, {flip}; testing the middle frame, and of that the "
        "middle."
    )


def _facts(data: Meta) -> dict[str, str]:
    facts = {} if data.val else {"Meta-val": "none"}
    for name, split in data.splits.items():
        sizes = split.classes.size
        names = ", ".join(split.class_names[:12]) + (", ..." if len(split.class_names) > 12 else "")
        facts[f"Meta-{name}"] = (
            f"{len(split.class_names)} classes ({names}), {len(split.ids):,} samples, "
            f"{min(sizes)} to {max(sizes)} a class"
        )
    return facts | data.facts
