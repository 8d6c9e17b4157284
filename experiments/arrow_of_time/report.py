"""The report: what may be said of each method against guessing, and the numbers behind it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.arrow_of_time import pictures
from experiments.arrow_of_time.folds import Item
from experiments.arrow_of_time.results import CHANCE, UNIT, Method, Mirrored
from experiments.arrow_of_time.segments import DIRECTIONS
from experiments.arrow_of_time.settings import Settings
from experiments.dejavid.baselines import NAMES
from experiments.shared.comparison import (
    Comparison,
    comparisons_note,
    comparisons_table,
    interval_text,
)
from experiments.shared.files import write_csv
from experiments.shared.reports import Report
from experiments.shared.tables import Table, percent

PICTURE = "arrow_of_time.png"
_METRIC = {"accuracy": "points over chance"}


def write_report(
    out: Path,
    settings: Settings,
    items: Sequence[Item],
    folds: Sequence[Sequence[str]],
    methods: Sequence[Method],
    mirror: Mirrored,
) -> str:
    """Writes answers.csv, report.json, report.md and the picture.

    Args:
        out: the folder.
        settings: of the job.
        items: both directions of all segments.
        folds: the recordings that each tests on.
        methods: in the order to show them.
        mirror: whether methods that do not see the order are blind.

    Returns:
        The report in plain text.

    Raises:
        UserError: the folder cannot be written to.
    """
    recordings = np.array([item.segment.recording for item in items])
    seeds = max(len(method.right) for method in methods)
    compared = {
        method.name: method.over_chance(recordings, seeds)
        for method in methods
        if not method.is_blind
    }
    _write_answers(out / "answers.csv", items, methods)
    segments = len(items) // len(DIRECTIONS)
    report = Report(
        title="The arrow of time: forward or reversed?",
        verdict=verdict(methods, compared, mirror),
        tables={
            "Results": _results(methods, recordings),
            "Over chance": comparisons_table(
                {name: {"accuracy": one} for name, one in compared.items()}, _METRIC
            ),
            "Accuracy by recording": _by_recording(methods, recordings),
        },
        settings=settings,
        notes=_notes(methods, seeds),
        facts={
            "Data": (
                f"{len(set(recordings))} recordings, {segments} segments of "
                f"{settings.segment_frames} frames, each in both directions; {len(folds)} folds"
            ),
        },
        numbers={
            "differences": {name: one.to_json() for name, one in compared.items()},
            "mirrored": vars(mirror),
            "folds": [list(tested) for tested in folds],
        },
        drawings=[(PICTURE, partial(pictures.draw, items, methods, recordings, compared))],
    )
    return report.write(out)


def verdict(methods: Sequence[Method], compared: Mapping[str, Comparison], mirror: Mirrored) -> str:
    """Says which methods tell the direction in recordings that they have not seen."""
    told = [name for name, one in compared.items() if one.effect == "helps"]
    wrong = [name for name, one in compared.items() if one.effect == "hurts"]
    text = mirror.sentence()
    if told:
        text += f" Better than chance on recordings that were never trained on: {'; '.join(told)}."
        missing = [name for name in compared if name not in told]
        text += f" Not shown to be: {'; '.join(missing)}." if missing else ""
    else:
        text += (
            " No method is shown to be better than chance on recordings that were never trained "
            "on: nothing here is evidence that the direction of time can be told there."
        )
    if wrong:
        text += f" Worse than chance: {'; '.join(wrong)}."
    best = max((one for one in methods if not one.is_blind), key=lambda one: one.right.mean())
    interval = compared[best.name].over_units
    text += f" The best is {best.name} ({100 * best.right.mean():.2f} %"
    if interval is not None:
        text += f"; over chance {interval_text(interval)} points when other {UNIT} are drawn"
    return f"{text})."


def _results(methods: Sequence[Method], recordings: np.ndarray) -> Table:
    names = np.unique(recordings)
    rows = []
    for method in methods:
        right = method.right.mean(axis=0)
        by_recording = [right[recordings == name].mean() for name in names]
        above = sum(value > CHANCE for value in by_recording)
        order = "no" if method.is_blind else "yes"
        rows.append((method.name, order, percent(method.accuracies), f"{above} of {len(names)}"))
    columns = ("method", "sees the order", "accuracy", "recordings above 50 %")
    return Table(columns, tuple(rows))


def _by_recording(methods: Sequence[Method], recordings: np.ndarray) -> Table:
    rows = [
        (
            str(name),
            f"{(recordings == name).sum() // len(DIRECTIONS):,}",
            *(percent(method.right[:, recordings == name].mean(axis=1)) for method in methods),
        )
        for name in np.unique(recordings)
    ]
    return Table(("recording", "segments", *(method.name for method in methods)), tuple(rows))


def _notes(methods: Sequence[Method], seeds: int) -> list[str]:
    notes = [
        "Accuracies are percent of all segments, each in both directions, each tested on by what "
        "was trained on other recordings.",
        f"DejaVid, after the last epoch, and its first centroids ({NAMES['dba_centroid']}): mean ± "
        f"sample standard deviation over {seeds} seeds. The others have no seed, and give the same "
        "with each."
        if seeds > 1
        else "DejaVid: one seed, so no spread is known.",
        "TAM is not trained: a segment is compared with all that are labelled, by the nearest "
        "one or, as the paper does with several shots, by the mean distance to a class.",
        comparisons_note(UNIT),
    ]
    if any(method.is_blind for method in methods):
        notes.append(
            "Methods that do not see the order give both directions of a segment the same answer, "
            "of which one is right."
        )
    return notes


def _write_answers(path: Path, items: Sequence[Item], methods: Sequence[Method]) -> None:
    """Writes which directions were told rightly, as the share of seeds."""
    shares = [[f"{value:g}" for value in method.right.mean(axis=0)] for method in methods]
    columns = ("id", "recording", "direction", *(f"right: {method.name}" for method in methods))
    rows = (
        (item.id, item.segment.recording, item.direction, *(of[row] for of in shares))
        for row, item in enumerate(items)
    )
    write_csv(path, columns, rows)
