"""What came of all folds together: for each method and seed an answer to every item."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.arrow_of_time.folds import Item
from experiments.arrow_of_time.segments import DIRECTIONS
from experiments.shared.comparison import Comparison, MeanOf, compare
from experiments.shared.errors import UserError

CHANCE = 0.5  # both directions of every segment are asked for
UNIT = "recordings"


@dataclass(frozen=True, eq=False)
class Method:
    """A row of the report.

    Attributes:
        name: what it is called.
        right: bool ``[seeds, N]``, for every item; one seed of what has none.
        is_blind: whether it does not see the order of frames.
    """

    name: str
    right: np.ndarray
    is_blind: bool

    @property
    def accuracies(self) -> list[float]:
        """One a seed."""
        return self.right.mean(axis=1).tolist()

    def over_chance(self, recordings: np.ndarray, seeds: int) -> Comparison:
        """Compares it with guessing.

        Args:
            recordings: ``[N]``, of which recording each item is.
            seeds: how many the others have. What has no seed gives the same with each.
        """
        right = self.right if len(self.right) > 1 else np.repeat(self.right, seeds, axis=0)
        return compare(
            (right.mean(axis=1) - CHANCE).tolist(),
            unit=UNIT,
            units=recordings,
            statistic=MeanOf(right.mean(axis=0) - CHANCE),
        )


@dataclass(frozen=True)
class Mirrored:
    """Whether reversed segments have the rows of the forward ones, in the opposite order.

    Attributes:
        pairs: how many were compared.
        identical: of how many all bits are the same.
        largest: the largest difference of a number.
    """

    pairs: int
    identical: int
    largest: float

    @property
    def is_exact(self) -> bool:
        """Whether nothing but the order tells the directions apart."""
        return self.identical == self.pairs

    def sentence(self) -> str:
        """Says what that means for methods that do not see the order."""
        if self.is_exact:
            return (
                f"The rows of each of the {self.pairs} reversed segments are those of the forward "
                "one in the opposite order, bit for bit: what does not see the order is at 50 % "
                "by construction."
            )
        return (
            f"The rows of {self.pairs - self.identical} of the {self.pairs} reversed segments are "
            f"not exactly those of the forward one in the opposite order (largest difference "
            f"{self.largest:.2g}): what does not see the order is at 50 % up to that."
        )


def mirrored(items: Sequence[Item]) -> Mirrored:
    """Compares the features of the two directions of every segment."""
    forward, reverse = (
        {item.segment: item.path for item in items if item.direction == direction}
        for direction in DIRECTIONS
    )
    identical, largest = 0, 0.0
    for segment, path in forward.items():
        rows, others = np.load(path), np.load(reverse[segment])[::-1]
        same = rows.shape == others.shape and bool((rows == others).all())
        identical += same
        if not same:
            gap = np.inf
            if rows.shape == others.shape:
                gap = float(np.abs(rows.astype(np.float64) - others).max())
            largest = max(largest, gap)
    return Mirrored(len(forward), identical, largest)


def read_predictions(path: Path) -> dict[str, dict[str, str]]:
    """Reads the predictions.csv of a run of experiments.k400.

    Returns:
        By its name in the file (of a head with its seed), the answer to each id.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    names = [name for name in (rows[0] if rows else {}) if name not in ("id", "label")]
    return {name: {row["id"]: row[name] for row in rows} for name in names}


def right_or_wrong(items: Sequence[Item], answers: Mapping[str, str]) -> np.ndarray:
    """Returns bool ``[N]``, whether the answer to each item is its direction.

    Args:
        items: all of them.
        answers: by the id of the item.
    """
    return np.array([answers[item.id] == item.direction for item in items])
