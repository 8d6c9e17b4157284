"""The one rule by which reports say that a method helps, hurts, or shows no difference.

Two methods that were trained with the same seeds are compared pair by pair. Two things could make
their difference chance: the seeds that happened to be drawn, and the test data that happened to be
collected. So there are two 95 % intervals of the mean difference: over seeds by Student's t, and
over independent units of the test data by a bootstrap. Only where both exclude 0, on the same side,
does a report claim anything.
"""

import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from experiments.shared.tables import Cell, Table, points

Interval = tuple[float, float]
Statistic = Callable[[np.ndarray], float]

_CONFIDENCE = 0.95
# Resampled items at once: bounds the memory of a bootstrap at some tens of megabytes.
_BATCH_ITEMS = 2_000_000
# All units lie on one side of 0 by chance once in 2^(units - 1) cases: of fewer than six more often
# than an interval of 95 % may, and a bootstrap, which draws from them alone, would not see it.
FEWEST_UNITS = 6
# Means of thirds are not exact: a difference of nothing may come out as 1e-17.
_ZERO = 1e-12


@dataclass(frozen=True)
class Comparison:
    """A method minus another, each seed with itself.

    Attributes:
        differences: one a seed, as fractions (0.01 is one percentage point).
        over_seeds: 95 % interval of their mean by Student's t; None of one seed.
        over_units: 95 % interval of the mean difference when the units of the test data are drawn
            anew (bootstrap); None where they do not allow one.
        unit: what was drawn anew, in the plural: "test images", "videos".
        num_units: how many of them there are.
    """

    differences: tuple[float, ...]
    over_seeds: Interval | None
    over_units: Interval | None
    unit: str
    num_units: int

    @property
    def mean(self) -> float:
        """The mean difference over seeds."""
        return statistics.fmean(self.differences)

    @property
    def effect(self) -> str | None:
        """What may be claimed: "helps", "hurts", or None for nothing."""
        signs = {_sign(self.over_seeds), _sign(self.over_units)}
        return {1: "helps", -1: "hurts"}.get(signs.pop()) if len(signs) == 1 else None

    def sentence(self, *, rival: bool = False) -> str:
        """Returns what the differences allow to say, without a full stop.

        Args:
            rival: whether the other is a method of its own, which the one is better or worse than,
                and not the same with a part left out, which helps or hurts.
        """
        count = len(self.differences)
        if count < 2:
            return f"{points(self.differences)} points, of which one seed says nothing about chance"
        better = sum(value > _ZERO for value in self.differences)
        worse = sum(value < -_ZERO for value in self.differences)
        change = (
            f"{points(self.differences)} points (better with {better}, worse with {worse} of "
            f"{count} seeds)"
        )
        if self.effect:
            words = {"helps": "is better", "hurts": "is worse"} if rival else {}
            return f"{change}: it {words.get(self.effect, self.effect)} here"
        return f"{change}: no difference is shown, {self._reason()}"

    def _reason(self) -> str:
        """Which of the two kinds of chance may have made the difference."""
        named = {"seeds": self.over_seeds, self.unit: self.over_units}
        around = [
            f"over {name} ({interval_text(interval)})"
            for name, interval in named.items()
            if interval is not None and _sign(interval) == 0
        ]
        if around:
            few = len(around) == 1
            text = f"as the 95 % interval{'' if few else 's'} {' and '.join(around)} "
            return text + ("contains 0" if few else "contain 0")
        if self.over_units is None:
            if self.num_units < FEWEST_UNITS:
                return f"as of independent {self.unit} there are only {self.num_units}"
            return f"as the {self.unit} allow no interval over them"
        return f"as seeds and {self.unit} point to different sides"

    def to_json(self) -> dict[str, Any]:
        """Returns every number and what is claimed."""
        return {
            "differences": list(self.differences),
            "mean": self.mean,
            "over_seeds": None if self.over_seeds is None else list(self.over_seeds),
            "over_units": None if self.over_units is None else list(self.over_units),
            "unit": self.unit,
            "num_units": self.num_units,
            "effect": self.effect,
            "sentence": self.sentence(),
        }


class MeanOf:
    """The statistic that is the mean of one number an item, such as right minus right.

    `compare` computes all of its resamples together, which makes thousands of them cheap.
    """

    def __init__(self, values: np.ndarray) -> None:
        """Keeps the numbers.

        Args:
            values: [N].
        """
        self.values = np.asarray(values, np.float64)

    def __call__(self, rows: np.ndarray) -> float:
        """Returns the mean of some rows, which may repeat."""
        return float(self.values[rows].mean())


def accuracy_difference(
    labels: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> MeanOf:
    """Returns the statistic of two methods' accuracies: right or wrong, item by item.

    Args:
        labels: [N], the truth.
        pairs: for each seed what the one and the other method guessed, [N] each.
    """
    by_seed = [
        np.equal(one, labels).astype(np.float64) - np.equal(other, labels) for one, other in pairs
    ]
    return MeanOf(np.mean(by_seed, axis=0))


def score_difference(
    score: Callable[[np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Statistic:
    """Returns the statistic of a score that is not a mean over items, such as ROC AUC.

    Args:
        score: of (labels, what a method gave them); called for every draw, method and seed, so a
            quick one such as `experiments.shared.scores.roc_auc`.
        labels: [N], the truth.
        pairs: for each seed what the one and the other method gave, [N] each.

    Returns:
        The mean difference over seeds on some rows; NaN where these have one class alone.
    """

    def of_rows(rows: np.ndarray) -> float:
        truth = labels[rows]
        if (truth == truth[0]).all():
            return math.nan
        return statistics.fmean(
            float(score(truth, one[rows])) - float(score(truth, other[rows]))
            for one, other in pairs
        )

    return of_rows


def compare(
    differences: Sequence[float],
    *,
    unit: str,
    units: np.ndarray,
    statistic: Statistic,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compares two methods that were trained with the same seeds.

    Args:
        differences: the one method minus the other on all test items, one a seed, as fractions.
        unit: what is independent in the test data, in the plural: "test images", "videos".
        units: int [N], to which unit each test item belongs. Frames of one video belong together,
            and so do crops of one source: neighbours say almost the same.
        statistic: the mean difference over seeds on some rows (int, may repeat) of the test items.
            May return NaN where it is undefined; such draws are left out. A `MeanOf` is fast.
        n_resamples: how often the units are drawn anew. Each is a call unless it is a `MeanOf`.
        seed: of the draws.

    Returns:
        The comparison. It has no interval over units where there are fewer than 6, or where the
        statistic is undefined in more than half of the draws.

    Raises:
        ValueError: there are no differences, or one is not finite, or no test items.
    """
    if not differences or not np.isfinite(differences).all():
        raise ValueError(f"differences must be finite numbers, one a seed, got {differences}")
    units = np.asarray(units)
    if units.ndim != 1 or not len(units):
        raise ValueError(f"units must be [N], one an item, got {units.shape}")
    _, units = np.unique(units, return_inverse=True)
    num_units = int(units.max()) + 1
    enough = num_units >= FEWEST_UNITS
    return Comparison(
        tuple(map(float, differences)),
        _over_seeds(differences),
        _over_units(units, num_units, statistic, n_resamples, seed) if enough else None,
        unit,
        num_units,
    )


def comparisons_table(
    comparisons: Mapping[str, Mapping[str, Comparison]], metrics: Mapping[str, str]
) -> Table:
    """Returns a table of comparisons; the first metric is the one that a claim is made of.

    Args:
        comparisons: by "A minus B", then by metric; all of them with the same unit.
        metrics: how to name each metric, in the order of the columns.
    """
    main = next(iter(metrics))
    rows: list[tuple[str, ...]] = []
    unit = "units"
    for name, by_metric in comparisons.items():
        one = by_metric[main]
        unit = one.unit
        better = sum(value > _ZERO for value in one.differences)
        rows.append(
            (
                name,
                *(points(by_metric[metric].differences) for metric in metrics),
                f"{better} of {len(one.differences)}",
                interval_text(one.over_seeds),
                interval_text(one.over_units),
                one.effect or "-",
            )
        )
    of_main = "" if len(metrics) == 1 else f" ({metrics[main]})"
    columns = (
        "points", *metrics.values(), f"seeds better{of_main}", "95 % over seeds",
        f"95 % over {unit}", "shown",
    )  # fmt: skip
    return Table(columns, tuple(rows))


def comparisons_note(unit: str) -> str:
    """Returns how to read claims and a table of them, for the notes of a report.

    Args:
        unit: as in `compare`.
    """
    return (
        "Helps or hurts is said only where two 95 % intervals exclude 0 on the same side: that of "
        "the mean of the paired differences over seeds (Student's t), and that of this mean when "
        f"other {unit} are drawn from these (bootstrap). Each comparison is judged by itself: of "
        "many, some will show a difference by chance."
    )


def interval_text(interval: Interval | None) -> Cell:
    """Returns an interval in percentage points; "-" for None."""
    if interval is None:
        return Cell("-", ())
    low, high = interval
    return Cell(f"{100 * low:+.2f} to {100 * high:+.2f}", interval)


def _sign(interval: Interval | None) -> int:
    """On which side of 0 an interval lies; 0 for none and for one that contains 0."""
    if interval is None:
        return 0
    return int(interval[0] > _ZERO) - int(interval[1] < -_ZERO)


def _over_seeds(differences: Sequence[float]) -> Interval | None:
    count = len(differences)
    if count < 2:
        return None
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    # Differences that all are the same, as quantised ones may be, have an interval of one point:
    # the seeds say nothing against them, and the units of the test data decide.
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, count - 1)) * deviation / count**0.5
    return mean - half, mean + half


def _over_units(
    units: np.ndarray, num_units: int, statistic: Statistic, n_resamples: int, seed: int
) -> Interval | None:
    if isinstance(statistic, MeanOf):
        # The mean over the items of the drawn units is a ratio of sums over units.
        sums = np.bincount(units, statistic.values, num_units)
        sizes = np.bincount(units, minlength=num_units).astype(np.float64)
        if (sizes == sizes[0]).all():
            data: tuple[np.ndarray, ...] = (sums / sizes,)
            draws = _resampled(data, np.mean, n_resamples, seed, vectorized=True)
        else:
            draws = _resampled((sums, sizes), _ratio, n_resamples, seed, vectorized=True)
    else:
        order = np.argsort(units, kind="stable")
        rows_of = np.split(order, np.cumsum(np.bincount(units, minlength=num_units))[:-1])

        def of_units(drawn: np.ndarray) -> float:
            return statistic(np.concatenate([rows_of[index] for index in drawn]))

        data = (np.arange(num_units),)
        draws = _resampled(data, of_units, n_resamples, seed, vectorized=False)
    defined = draws[np.isfinite(draws)]
    if 2 * len(defined) < n_resamples:
        return None
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _ratio(sums: np.ndarray, sizes: np.ndarray, axis: int = -1) -> np.ndarray:
    return sums.sum(axis=axis) / sizes.sum(axis=axis)


def _resampled(
    data: tuple[np.ndarray, ...], statistic: Callable, n_resamples: int, seed: int, vectorized: bool
) -> np.ndarray:
    """The statistic of each draw, [n_resamples]."""
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # Where the statistic is undefined in a draw; scipy's own interval, which it then warns of,
        # is not used.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            data,
            statistic,
            n_resamples=n_resamples,
            batch=max(1, _BATCH_ITEMS // len(data[0])),
            vectorized=vectorized,
            paired=True,
            method="percentile",
            random_state=np.random.default_rng(seed),  # called rng since scipy 1.15; both work
        )
    return np.asarray(result.bootstrap_distribution, np.float64)
