"""A checked data set of TSEs: what every layout on disk is turned into.

Everything that can be known without reading the numbers is checked on construction; the numbers
themselves are checked when a sequence is read, or all at once by `check_finite`.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Content, Digests
from experiments.shared.progress import progress
from experiments.shared.remembered import Remembered
from experiments.shared.scaling import Scaling
from experiments.tse.sources import ArraySource, TseSource


@dataclass(frozen=True, eq=False)
class TseSplit:
    """Labelled sequences of one split.

    Attributes:
        ids: [N], unique.
        labels: int32 [N].
        lengths: int32 [N], frames of each sequence.
        source: N sequences `[T_i, N_f]`; a list of arrays is taken as an `ArraySource`.

    Raises:
        ValueError: numbers of entries or lengths disagree, or labels are not integers.
        UserError: an id comes twice.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    lengths: np.ndarray
    source: TseSource

    def __post_init__(self) -> None:
        """Checks and normalises the fields."""
        if isinstance(self.source, list | tuple):
            object.__setattr__(self, "source", ArraySource(self.source, self.ids))
        for name in ("labels", "lengths"):
            values = np.asarray(getattr(self, name))
            if values.size and not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f"{name}: must be integers, got {values.dtype}")
            if values.shape != (len(self.ids),):
                raise ValueError(f"{name}: shape {values.shape}, but there are {len(self.ids)} ids")
            object.__setattr__(self, name, values.astype(np.int32))
        object.__setattr__(self, "ids", tuple(self.ids))
        if not np.array_equal(self.lengths, self.source.lengths):
            raise ValueError("lengths: not those of the sequences in source")
        raise_all(duplicates(self.ids), "ids")

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.ids)

    def content(self, known: Digests) -> Content:
        """Returns ids, labels and digests of the sequences; reads files that are not `known`."""
        return Content(self.ids, self.labels, self.source.digests(known))


def duplicates(ids: Sequence[str]) -> list[Exception]:
    """Returns one UserError for each id that comes more than once."""
    counts = Counter(ids).items()
    return [UserError(f"id '{name}' comes {count} times") for name, count in counts if count > 1]


@dataclass(frozen=True, eq=False)
class TseDataset:
    """A data set with a training and an evaluation split, and perhaps one to choose by.

    Attributes:
        name: for titles.
        train: what is learned from.
        test: what is evaluated on.
        class_names: [C]; label k is `class_names[k]`.
        num_features: N_f.
        note: facts that a report on this data must state.
        val: what the best epoch is picked on; None where there is no such split.

    Raises:
        UserError: an empty split, fewer than two classes, a label outside 0..C-1, a class with no
            training sample, an N_f that differs, or an id in two splits.
    """

    name: str
    train: TseSplit
    test: TseSplit
    class_names: tuple[str, ...]
    num_features: int
    note: str = ""
    val: TseSplit | None = None

    def __post_init__(self) -> None:
        """Checks the splits against each other and the classes."""
        if self.num_classes < 2:
            raise UserError(f"{self.name}: needs at least 2 classes, got {self.num_classes}")
        errors: list[Exception] = []
        for where, split in self.splits.items():
            if not len(split):
                errors.append(UserError(f"the {where} split is empty"))
                continue
            if split.source.num_features != self.num_features:
                errors.append(
                    UserError(
                        f"the {where} split has {split.source.num_features} features, "
                        f"expected {self.num_features}"
                    )
                )
            outside = (split.labels < 0) | (split.labels >= self.num_classes)
            errors += [
                UserError(
                    f"id '{split.ids[i]}' ({where}): label {split.labels[i]} is outside "
                    f"0..{self.num_classes - 1}"
                )
                for i in np.flatnonzero(outside)
            ]
        if len(self.train):
            absent = set(range(self.num_classes)) - set(self.train.labels.tolist())
            errors += [
                UserError(f"class {k} ('{self.class_names[k]}') has no training sample")
                for k in sorted(absent)
            ]
        errors += duplicates([name for split in self.splits.values() for name in split.ids])
        raise_all(errors, self.name)

    @property
    def splits(self) -> dict[str, TseSplit]:
        """The splits by name: train, val if there is one, test."""
        val = {} if self.val is None else {"val": self.val}
        return {"train": self.train, **val, "test": self.test}

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def max_length(self) -> int:
        """Frames of the longest sequence of all splits."""
        return int(max(split.lengths.max() for split in self.splits.values()))

    def remember(self, known: Remembered) -> None:
        """Notes what the next start need not read or check again, see `TseSource.remember`."""
        for split in self.splits.values():
            split.source.remember(known)

    def contents(self, known: Digests) -> dict[str, Content]:
        """Returns what each split holds, for `experiments.shared.fingerprint.dataset_identity`."""
        return {name: split.content(known) for name, split in self.splits.items()}


def check_finite(split: TseSplit, *, num_threads: int = 4, desc: str = "checking data") -> None:
    """Reads every sequence of a split once, so that a bad file is known before training.

    Those that the source knows to be sound are not read again.

    Args:
        split: what to read.
        num_threads: files read at the same time.
        desc: text of the progress bar.

    Raises:
        UserError: files that cannot be read, or hold NaN or infinite values; lists up to five.
    """

    def problem(index: int) -> Exception | None:
        try:
            split.source.check(index)
        except (ValueError, OSError) as error:
            return error
        return None

    left = split.source.unchecked().tolist()
    with ThreadPoolExecutor(num_threads) as pool:
        found = progress(pool.map(problem, left), total=len(left), desc=desc)
        raise_all([error for error in found if error is not None], "bad sequences")


def to_padded(
    split: TseSplit,
    indices: Sequence[int] | np.ndarray | None = None,
    dtype: DTypeLike = np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads sequences into one array, zeros behind the shorter ones.

    Args:
        split: where from.
        indices: which sequences, in which order; all without it.
        dtype: of the result.

    Returns:
        (x `[N, Tmax, N_f]`, lengths int32 `[N]`); Tmax is the longest of those asked for.
    """
    chosen = np.arange(len(split)) if indices is None else np.asarray(indices, np.intp)
    lengths = split.lengths[chosen]
    x = np.zeros((len(chosen), lengths.max(initial=0), split.source.num_features), dtype)
    split.source.fill(chosen.tolist(), x)
    return x, lengths


def feature_statistics(split: TseSplit) -> Scaling:
    """Mean and standard deviation of each feature over all frames of a split.

    The split is read once and never held, see `Scaling.fit`.

    Args:
        split: the training split, usually.
    """
    rows = progress(range(len(split)), desc="feature statistics")
    return Scaling.fit(split.source[row] for row in rows)
