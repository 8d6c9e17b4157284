"""What reports on SEQ have in common: comparisons, their tables and words, curves and sweeps."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.seq.results import RunResult, by_method, by_value
from experiments.seq.settings import SWEEPS
from experiments.shared import charts
from experiments.shared.comparison import (
    Comparison,
    Statistic,
    compare,
    comparisons_note,
    comparisons_table,
)
from experiments.shared.pictures import Drawing, Picture
from experiments.shared.reports import sessions_of
from experiments.shared.tables import Table, percent, seconds

Pairs = Sequence[tuple[RunResult, RunResult]]

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
_IN_VERDICT = ("trajectory", "baseline", "seq_no_align")


def method_names(baseline: str) -> dict[str, str]:
    """Returns what reports call the methods; what the baseline is differs between the rooms."""
    return {
        "baseline": baseline,
        "trajectory": "+ feature trajectory",
        "seq": "+ feature trajectory + SEQ",
        "seq_no_align": "SEQ without align",
        "seq_no_smooth": "SEQ without smooth",
    }


class Results:
    """The trained runs of a job, compared.

    Attributes:
        runs: all of them.
        names: of the methods.
        metrics: how to name what was measured.
        groups: by method, in the order of their seeds, without those of sweeps.
        comparisons: of every pair of methods, by metric.
    """

    def __init__(
        self,
        runs: Sequence[RunResult],
        *,
        names: Mapping[str, str],
        metrics: Mapping[str, str],
        unit: str,
        units: np.ndarray,
        statistic: Mapping[str, Callable[[Pairs], Statistic]],
    ) -> None:
        """Compares the methods that were trained with the same seeds.

        Args:
            runs: of all variants and seeds.
            names: of the methods, see `method_names`.
            metrics: keys of the histories, and how to name them.
            unit: see `experiments.shared.comparison.compare`.
            units: likewise.
            statistic: by metric, of pairs of runs; a metric without is shown, but nothing is
                claimed of it.
        """
        self.runs, self.names, self.metrics = runs, names, metrics
        self.groups = by_method(runs)
        self._unit, self._claimed = unit, tuple(statistic)
        self.comparisons: dict[tuple[str, str], dict[str, Comparison]] = {}
        for method, other in PAIRS:
            if method in self.groups and other in self.groups:
                pairs = list(zip(self.groups[method], self.groups[other], strict=True))
                self.comparisons[method, other] = {
                    metric: compare(
                        [one.last[metric] - two.last[metric] for one, two in pairs],
                        unit=unit,
                        # All of one unit: no interval.
                        units=units if metric in statistic else np.zeros_like(units),
                        statistic=statistic[metric](pairs) if metric in statistic else _nothing,
                    )
                    for metric in metrics
                }

    def mean(self, method: str, metric: str) -> float:
        """Returns the mean of a metric over seeds after the last epoch."""
        return statistics.fmean(run.last[metric] for run in self.groups[method])

    @property
    def shown(self) -> str:
        """The method that a report is about: SEQ, or the last one where it was not trained."""
        return "seq" if "seq" in self.groups else next(reversed(self.groups))

    def row(self, method: str) -> tuple[str, ...]:
        """Returns the cells of a method: its name, the metrics, seconds."""
        group = self.groups[method]
        took = statistics.fmean(run.trained.seconds for run in group)
        cells = (percent([run.last[metric] for run in group]) for metric in self.metrics)
        return self.names[method], *cells, seconds(took)

    def tables(self) -> dict[str, Table]:
        """Returns the differences, and what each sweep gave, by heading."""
        found: dict[str, Table] = {}
        comparisons = {
            f"{self.names[method]} minus {self.names[other]}": by_metric
            for (method, other), by_metric in self.comparisons.items()
        }
        heading = "Differences with the same seeds"
        if comparisons and len(self._claimed) == 1:
            first = self._claimed[0]
            metrics = {first: self.metrics[first], **self.metrics}
            found[heading] = comparisons_table(comparisons, metrics)
        elif comparisons:
            for metric in self._claimed:
                title = self.metrics[metric]
                found[f"{heading}: {title}"] = comparisons_table(comparisons, {metric: title})
        for name in self._swept():
            rows = [
                (f"{value:g}", *(percent([run.last[key] for run in group]) for key in self.metrics))
                for value, group in by_value(self.runs, name).items()
            ]
            title = SWEEP_TITLES[name]
            found[f"SEQ by {title}"] = Table((title, *self.metrics.values()), tuple(rows))
        return found

    def verdict(self, metric: str, lead: str) -> str:
        """Says from the numbers where SEQ helps and where not.

        Args:
            metric: one that may be claimed of.
            lead: begins the sentence, with {method} and {percent}.
        """
        shown = self.shown
        parts = [
            lead.format(method=self.names[shown], percent=f"{100 * self.mean(shown, metric):.2f}")
        ]
        for other in _IN_VERDICT:
            if (shown, other) in self.comparisons:
                parts.append(
                    f"against {self.names[other]} ({100 * self.mean(other, metric):.2f} %) "
                    + self.comparisons[shown, other][metric].sentence()
                )
        return "; ".join(parts) + "."

    def seeds_note(self) -> str:
        """Returns how many seeds there are, and which."""
        seeds = sorted({run.seed for run in self.runs})
        named = ", ".join(map(str, seeds))
        if len(seeds) == 1:
            return f"One seed ({named}), no spread"
        return f"Mean ± sample standard deviation over {len(seeds)} seeds ({named})"

    def notes(self) -> list[str]:
        """Returns how to read the comparisons."""
        return [comparisons_note(self._unit)] if self.comparisons else []

    def numbers(self) -> dict[str, Any]:
        """Returns everything behind the tables, for report.json."""
        return {
            "runs": [
                {
                    **run.variant.about(),
                    "seed": run.seed,
                    "seconds": run.trained.seconds,
                    "history": run.history,
                }
                for run in self.runs
            ],
            "differences": [
                {
                    "method": method,
                    "other": other,
                    "seeds": {name: list(one.differences) for name, one in by_metric.items()},
                    **{name: by_metric[name].to_json() for name in self._claimed},
                }
                for (method, other), by_metric in self.comparisons.items()
            ],
        }

    def sessions(self) -> list[dict[str, Any]]:
        """Returns which machines trained the runs."""
        return sessions_of(run.trained for run in self.runs)

    def learning_curves(self, panels: Sequence[charts.Panel], caption: str) -> Drawing:
        """Returns the drawing of the learning curves of all methods.

        Args:
            panels: one for each thing to draw.
            caption: what they show; how to read bands is added.
        """

        def drawing() -> tuple[Figure, Picture]:
            histories = {
                self.names[method]: [run.history for run in group]
                for method, group in self.groups.items()
            }
            several = len({run.seed for run in self.runs}) > 1
            bands = " Lines are means over seeds, bands one sample standard deviation." * several
            picture = Picture("learning_curves.png", "Learning curves", caption + bands)
            return charts.curves(histories, panels), picture

        return drawing

    def sweeps(self) -> list[tuple[str, Drawing]]:
        """Returns the drawing of each sweep, by its file."""
        return [(f"sweep_{name}.png", self._sweep_drawing(name)) for name in self._swept()]

    def _swept(self) -> list[str]:
        return [name for name in SWEEPS if any(run.variant.swept == name for run in self.runs)]

    def _sweep_drawing(self, name: str) -> Drawing:
        def drawing() -> tuple[Figure, Picture]:
            groups = by_value(self.runs, name)
            lines = {
                f"SEQ, {self.metrics[metric]}": {
                    value: [100 * run.last[metric] for run in group]
                    for value, group in groups.items()
                }
                for metric in self._claimed
            }
            # What SEQ adds to has none of the parameters that are swept but alpha.
            plain = {
                f"{self.names['trajectory']}, {self.metrics[metric]}": 100
                * self.mean("trajectory", metric)
                for metric in self._claimed
                if "trajectory" in self.groups
            }
            figure = charts.sweep(
                lines,
                x_label=SWEEP_TITLES[name],
                y_label="percent",
                log=name != "num_support",
                references=plain,
            )
            caption = (
                f"SEQ by {SWEEP_TITLES[name]}, mean and one sample standard deviation over seeds."
                + " Grey lines: what it is added to, with the job's own values." * bool(plain)
                + " The axis does not begin at 0."
            )
            return figure, Picture(f"sweep_{name}.png", f"Sweep of {name}", caption)

        return drawing


def _nothing(rows: np.ndarray) -> float:
    """Of what nothing is claimed."""
    del rows
    return float("nan")
