"""Meta-training, -validation and -test classes: sequences of equal length, sorted by class."""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.episodes.sampling import Classes
from experiments.episodes.settings import Settings
from experiments.shared.progress import progress
from experiments.tse import index_folder, spoken_digits
from experiments.tse.dataset import TseSplit
from experiments.tse.sources import ArraySource, TseSource, raise_all

SPLITS = ("train", "val", "test")

_COLUMNS = ("class", "split")
_DIGITS_TRAINED = 5


@dataclass(frozen=True, eq=False)
class MetaSplit:
    """The samples of some classes.

    Attributes:
        features: float32 [N, T, F], sorted by class.
        ids: [N].
        class_names: [C], in the order of the classes.
        classes: where each stands.
    """

    features: np.ndarray
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    classes: Classes

    @property
    def labels(self) -> np.ndarray:
        """The number, int [N], of each sample's class."""
        return np.repeat(np.arange(len(self.class_names)), self.classes.size)


@dataclass(frozen=True, eq=False)
class MetaData:
    """The meta splits of a data set; their classes are disjoint.

    Attributes:
        name: for titles.
        train: what the encoder is trained on.
        val: what its best epoch is chosen on, None if there are no such classes.
        test: what is reported.
        note: facts that a report on this data must state.
    """

    name: str
    train: MetaSplit
    val: MetaSplit | None
    test: MetaSplit
    note: str

    @property
    def num_features(self) -> int:
        """Features of a frame."""
        return self.test.features.shape[-1]

    def describe(self) -> dict[str, Any]:
        """What identifies the data, of JSON's types; not where it lies."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {
            name: {
                "classes": list(split.class_names),
                "samples": len(split.ids),
                "features": hashlib.sha256(
                    "\0".join(split.ids).encode() + split.features.tobytes()
                ).hexdigest()[:16],
            }
            for name, split in splits.items()
            if split is not None
        }


def load(settings: Settings) -> MetaData:
    """Reads the data that the settings name, and makes it ready for episodes.

    Raises:
        ValueError: classes that are not there, not disjoint, too few or too small for the
            episodes that the settings ask for, or anything wrong with a file.
        FileNotFoundError: a file that is not there.
    """
    if settings.layout == "spoken_digits":
        source, splits, note = _spoken_digits(settings.split_seed)
        name = "spoken digits"
    else:
        source = _read_folder(Path(settings.data_dir))
        splits = read_class_splits(settings.class_splits, source.class_names)
        name, note = source.name, ""
        left_out = len(source.class_names) - sum(map(len, splits.values()))
        if left_out:
            note = f"{left_out} classes of the folder are in no meta split and were not read"
    chosen = {split: _rows(source, splits[split], settings) for split in SPLITS if splits[split]}
    check_enough(
        {
            split: {k: len(rows) for k, rows in of_class.items()}
            for split, of_class in chosen.items()
        },
        settings,
    )
    made = {}
    for split, of_class in chosen.items():
        rows = np.concatenate(list(of_class.values()))
        counts = np.array([len(one) for one in of_class.values()], np.int32)
        made[split] = MetaSplit(
            features=_segments(source.samples, rows, settings, split),
            ids=tuple(source.samples.ids[row] for row in rows),
            class_names=tuple(of_class),
            classes=Classes((np.cumsum(counts) - counts).astype(np.int32), counts),
        )
    if settings.standardize:
        mean, std = _statistics(made["train"].features)
        for part in made.values():
            np.subtract(part.features, mean, out=part.features)
            np.divide(part.features, std, out=part.features)
    return MetaData(name, made["train"], made.get("val"), made["test"], note)


def read_class_splits(path: Path | str, class_names: Sequence[str]) -> dict[str, list[str]]:
    """Reads which classes are for meta-training, -validation and -testing.

    Args:
        path: CSV file with a header line and the columns class and split.
        class_names: of the data set.

    Returns:
        The classes of each of `SPLITS`, in the order of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing columns, an unknown class or split, a class that comes twice, or no
            class to train or to test on; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--class_splits={path}: no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            missing = [name for name in _COLUMNS if name not in columns]
            if missing:
                raise ValueError(
                    f"--class_splits={path}: no column {', '.join(missing)}; the first line must "
                    f"name {','.join(_COLUMNS)}, got {','.join(columns) or 'nothing'}"
                )
            lines = [
                (reader.line_num, *((line[name] or "").strip() for name in _COLUMNS))
                for line in reader
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"--class_splits={path}: not a UTF-8 CSV file: {error}") from error
    known, seen = set(class_names), dict[str, str]()
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    errors: list[Exception] = []
    for number, name, split in lines:
        if split not in SPLITS:
            errors.append(
                ValueError(f"line {number} ('{name}'): unknown split '{split}'; use train/val/test")
            )
        elif name not in known:
            errors.append(ValueError(f"line {number}: class '{name}' is not in the data set"))
        elif name in seen:
            errors.append(
                ValueError(
                    f"line {number}: class '{name}' is in '{split}' and in '{seen[name]}'; the "
                    "meta splits must be disjoint, each class once"
                )
            )
        else:
            seen[name] = split
            splits[split].append(name)
    raise_all(errors, f"--class_splits={path}")
    for split in ("train", "test"):
        if not splits[split]:
            raise ValueError(f"--class_splits={path}: has no class with split '{split}'")
    return splits


def check_enough(counts: dict[str, dict[str, int]], settings: Settings) -> None:
    """Checks that there are classes and samples enough for every episode that will be drawn.

    Args:
        counts: samples of each class of each meta split.
        settings: of the job.

    Raises:
        ValueError: too few; lists every meta split or class.
    """
    errors: list[Exception] = []
    for split, of_class in counts.items():
        if split != "test" and not settings.trained:
            continue
        if len(of_class) < settings.way:
            errors.append(
                ValueError(
                    f"the meta-{split} split has {len(of_class)} classes, too few for --way="
                    f"{settings.way}"
                )
            )
        shots = settings.max_shots if split == "test" else settings.train_shots
        flag = "--shots" if split == "test" else "--train_shots"
        needed = shots + settings.queries
        errors += [
            ValueError(
                f"class '{name}' (meta-{split}) has {count} samples, but an episode takes {needed}:"
                f" {flag}={shots} and --queries={settings.queries}"
            )
            for name, count in of_class.items()
            if count < needed
        ]
    raise_all(errors, "too few for the episodes")


@dataclass(frozen=True, eq=False)
class _Labelled:
    """All samples of a data set, before they are split by class."""

    name: str
    samples: TseSplit
    class_names: tuple[str, ...]


def _spoken_digits(split_seed: int) -> tuple[_Labelled, dict[str, list[str]], str]:
    dataset = spoken_digits.load()
    both = (dataset.train, dataset.test)
    source: TseSource = ArraySource(
        [part.source[row] for part in both for row in range(len(part))],
        dataset.train.ids + dataset.test.ids,
    )
    labels = np.concatenate([part.labels for part in both])
    samples = TseSplit(dataset.train.ids + dataset.test.ids, labels, source.lengths, source)
    order = np.random.default_rng(split_seed).permutation(dataset.num_classes)
    names = [str(k) for k in order]
    train, test = sorted(names[:_DIGITS_TRAINED]), sorted(names[_DIGITS_TRAINED:])
    note = (
        f"seeded split of the digits (split_seed={split_seed}): {', '.join(train)} for "
        f"meta-training, {', '.join(test)} for meta-testing, none for validation. The same 6 "
        "speakers speak all of them, so this is about new words of known speakers. With 5 "
        "meta-test classes every 5-way episode has the same classes: the interval is about the "
        "choice of samples, not of classes"
    )
    splits = {"train": train, "val": [], "test": test}
    return _Labelled("spoken digits", samples, dataset.class_names), splits, note


def _read_folder(data_dir: Path) -> _Labelled:
    """Opens all rows of an index folder, whatever their split."""
    rows = index_folder.load_rows(data_dir)
    return _Labelled(data_dir.resolve().name, rows.samples, rows.class_names)


def _rows(source: _Labelled, names: Sequence[str], settings: Settings) -> dict[str, np.ndarray]:
    """Returns the rows of each class, `samples_per_class` at most, in the order of the data."""
    number_of = {name: k for k, name in enumerate(source.class_names)}
    chosen = {}
    for name in names:
        rows = np.flatnonzero(source.samples.labels == number_of[name])
        if settings.samples_per_class and len(rows) > settings.samples_per_class:
            rng = np.random.default_rng((settings.sample_seed, number_of[name]))
            rows = np.sort(rng.choice(rows, settings.samples_per_class, replace=False))
        chosen[name] = rows
    return chosen


def _segments(samples: TseSplit, rows: np.ndarray, settings: Settings, desc: str) -> np.ndarray:
    """Reads sequences and brings them to equal length: float32 [N, num_segments, F]."""
    shape = (len(rows), settings.num_segments, samples.source.num_features)
    features = np.empty(shape, np.float32)
    with ThreadPoolExecutor(settings.num_threads) as pool:
        found = _readable(pool.map(_attempt(samples), rows))
        for place, x in enumerate(progress(found, total=len(rows), desc=f"reading meta-{desc}")):
            features[place] = to_segments(
                x, settings.num_segments, settings.sampling, settings.center
            )
    return features


def _attempt(samples: TseSplit):
    """Reading must go on after a bad file, so that all are named at once."""

    def read(row: int) -> np.ndarray | Exception:
        try:
            return samples.source[int(row)]
        except (ValueError, OSError) as error:
            return error

    return read


def _readable(found: Iterator[np.ndarray | Exception]) -> Iterator[np.ndarray]:
    errors: list[Exception] = []
    for one in found:
        if isinstance(one, Exception):
            errors.append(one)
        elif not errors:
            yield one
    raise_all(errors, "bad sequences")


def to_segments(x: np.ndarray, count: int, sampling: str, center: str) -> np.ndarray:
    """Brings one sequence to `count` frames.

    Args:
        x: [T, F], float16 or float32; T may be smaller than `count`: frames then repeat.
        count: number of frames.
        sampling: "middle" or "linear" (as `tempalign.resample`), see the flag.
        center: "none" or "sequence", see the flag.

    Returns:
        float32 [count, F].
    """
    x = x.astype(np.float32)
    if center == "sequence":
        x = x - x.mean(axis=0)
    if sampling == "middle":
        return x[((2 * np.arange(count) + 1) * len(x)) // (2 * count)]
    # tempalign.resample, frame by frame the same, would be compiled for every length.
    last, steps = len(x) - 1, max(count - 1, 1)
    before, rest = np.divmod(np.arange(count) * last, steps)
    after = np.minimum(before + 1, last)
    return x[before] + (rest / steps).astype(np.float32)[:, None] * (x[after] - x[before])


def _statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature; 1 for that of a constant one."""
    mean = features.mean(axis=(0, 1), dtype=np.float64)
    std = features.std(axis=(0, 1), dtype=np.float64)
    std = np.where(std <= 1e-7 * np.abs(mean), 1.0, std)
    return mean.astype(np.float32), std.astype(np.float32)
