"""Meta-training, -validation and -test classes: sequences of equal length, sorted by class."""

from collections.abc import Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from experiments.few_shot.sampling import Classes
from experiments.few_shot.settings import Settings
from experiments.shared.csv_index import SPLITS, read_rows
from experiments.shared.errors import UserError, raise_all
from experiments.shared.fingerprint import Content, dataset_identity, digest_array
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse import index_folder, spoken_digits
from experiments.tse.dataset import TseSplit
from experiments.tse.sources import ArraySource, TseSource

_DIGITS_TRAINED = 5


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of some classes, sorted by class.

    Attributes:
        ids: [N].
        class_names: [C], in the order of the classes.
        classes: where each stands.
    """

    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    classes: Classes

    @property
    def labels(self) -> np.ndarray:
        """The number, int [N], of each sample's class."""
        return np.repeat(np.arange(len(self.class_names)), self.classes.size)


S = TypeVar("S", bound=Samples)


@dataclass(frozen=True, eq=False)
class Meta(Generic[S]):
    """The meta splits of a data set; their classes are disjoint.

    Attributes:
        name: for titles.
        train: what is trained on.
        val: what the best epoch is chosen on, None if there are no such classes.
        test: what is reported.
        note: facts that a report on this data must state; empty for none.
    """

    name: str
    train: S
    val: S | None
    test: S
    note: str

    @property
    def splits(self) -> dict[str, S]:
        """The meta splits by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of the samples besides, by heading."""
        return {}

    def identity_of(self, digests: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What tells the data from every other, of JSON's types; not where it lies.

        Args:
            digests: of the content of each sample, by split.
        """
        content = {
            name: Content(
                split.ids, [split.class_names[label] for label in split.labels], digests[name]
            )
            for name, split in self.splits.items()
        }
        names = {name: list(split.class_names) for name, split in self.splits.items()}
        return dataset_identity(content, sum(names.values(), [])) | {"classes": names}


@dataclass(frozen=True, eq=False)
class MetaSplit(Samples):
    """Sequences of some classes.

    Attributes:
        features: float32 [N, T, F], scaled where `--standardize` is on.
    """

    features: np.ndarray


@dataclass(frozen=True, eq=False)
class MetaData(Meta[MetaSplit]):
    """Sequences of frozen features.

    Attributes:
        scaling: what the features of all splits were scaled with.
    """

    scaling: Scaling

    @property
    def num_features(self) -> int:
        """Features of a frame."""
        return self.test.features.shape[-1]

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of the features."""
        segments = self.test.features.shape[1]
        return {"Features": f"{segments} segments of {self.num_features:,} features"}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells the data from every other, see `identity_of`."""
        return self.identity_of(
            {name: [digest_array(x) for x in one.features] for name, one in self.splits.items()}
        )


def load(settings: Settings) -> MetaData:
    """Reads the data that the settings name, and makes it ready for episodes.

    Raises:
        UserError: classes that are not there, not disjoint, too few or too small for the episodes
            that the settings ask for, or anything wrong with a file.
    """
    if settings.layout == "spoken_digits":
        source, splits = _spoken_digits(settings.split_seed)
    else:
        source = _read_folder(Path(settings.data_dir), settings.outside_paths)
        splits = read_class_splits(settings.class_splits, source.class_names)
    notes = [source.note] if source.note else []
    notes += left_out_note(source.class_names, splits, "folder")
    chosen = {
        split: choose_rows(source.samples.labels, source.class_names, names, settings)
        for split, names in splits.items()
        if names
    }
    check_enough(chosen, settings)
    made = {}
    for split, of_class in chosen.items():
        rows = np.concatenate(list(of_class.values()))
        made[split] = MetaSplit(
            features=_segments(source.samples, rows, settings, split),
            ids=tuple(source.samples.ids[row] for row in rows),
            class_names=tuple(of_class),
            classes=classes_of(of_class),
        )
    scaling = Scaling.identity(made["train"].features.shape[-1])
    if settings.standardize:
        scaling = Scaling.fit(made["train"].features)
        for part in made.values():
            scaling.apply(part.features, out=part.features)
    return MetaData(
        source.name, made["train"], made.get("val"), made["test"], "; ".join(notes), scaling
    )


def read_class_splits(path: Path | str, class_names: Sequence[str]) -> dict[str, list[str]]:
    """Reads which classes are for meta-training, -validation and -testing.

    Args:
        path: CSV file with a header line and the columns class and split.
        class_names: of the data set.

    Returns:
        The classes of each of `SPLITS`, in the order of the file.

    Raises:
        MissingFileError: no such file.
        UserError: a class that comes twice or is not in the data set, no class to train or to test
            on, or anything else that is wrong with the file; names the line.
    """
    rows = read_rows(path, required=("class",), unique="class")
    known = set(class_names)
    unknown = [row for row in rows if row["class"] not in known]
    raise_all([UserError(f"{row.where} is not in the data set") for row in unknown], str(path))
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for row in rows:
        splits[row["split"]].append(row["class"])
    for split in ("train", "test"):
        if not splits[split]:
            raise UserError(f"{path}: has no class with split '{split}'")
    return splits


def left_out_note(
    class_names: Sequence[str], splits: Mapping[str, Sequence[str]], what: str
) -> list[str]:
    """Returns a note on classes that are in no meta split, if there are any."""
    left_out = len(class_names) - sum(map(len, splits.values()))
    classes = f"class of the {what} is" if left_out == 1 else f"classes of the {what} are"
    return [f"{left_out} {classes} in no meta split and not read"] if left_out else []


def choose_rows(
    labels: np.ndarray, class_names: Sequence[str], names: Sequence[str], settings: Settings
) -> dict[str, np.ndarray]:
    """Returns the rows of each class, `samples_per_class` at most, in the order of the data.

    Args:
        labels: int [N].
        class_names: [C], by label.
        names: of the classes to take.
        settings: say how many samples, and which.
    """
    number_of = {name: k for k, name in enumerate(class_names)}
    chosen = {}
    for name in names:
        rows = np.flatnonzero(labels == number_of[name])
        if settings.samples_per_class and len(rows) > settings.samples_per_class:
            rng = np.random.default_rng((settings.sample_seed, number_of[name]))
            rows = np.sort(rng.choice(rows, settings.samples_per_class, replace=False))
        chosen[name] = rows
    return chosen


def classes_of(rows: Mapping[str, Sized]) -> Classes:
    """Returns where classes stand that have so many rows each, one class after the other."""
    counts = np.array([len(one) for one in rows.values()], np.int32)
    return Classes((np.cumsum(counts) - counts).astype(np.int32), counts)


def check_enough(chosen: Mapping[str, Mapping[str, Sized]], settings: Settings) -> None:
    """Checks that there are classes and samples enough for every episode that will be drawn.

    Args:
        chosen: the rows of each class of each meta split.
        settings: say what an episode takes; what is only trained on counts if there is training.

    Raises:
        UserError: too few; lists every meta split or class.
    """
    errors: list[Exception] = []
    for split, of_class in chosen.items():
        if split != "test" and not settings.trained:
            continue
        if len(of_class) < settings.way:
            errors.append(
                UserError(
                    f"the meta-{split} split has {len(of_class)} classes, too few for --way="
                    f"{settings.way}"
                )
            )
        shots = settings.max_shots if split == "test" else settings.train_shots
        flag = "--shots" if split == "test" else "--train_shots"
        needed = shots + settings.queries
        errors += [
            UserError(
                f"class '{name}' (meta-{split}) has {len(rows)} samples, but an episode takes "
                f"{needed}: {flag}={shots} and --queries={settings.queries}"
            )
            for name, rows in of_class.items()
            if len(rows) < needed
        ]
    raise_all(errors, "too few for the episodes")


@dataclass(frozen=True, eq=False)
class _Labelled:
    """All samples of a data set, before they are split by class."""

    name: str
    samples: TseSplit
    class_names: tuple[str, ...]
    note: str


def _spoken_digits(split_seed: int) -> tuple[_Labelled, dict[str, list[str]]]:
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
    return _Labelled("spoken digits", samples, dataset.class_names, note), splits


def _read_folder(data_dir: Path, outside_paths: bool) -> _Labelled:
    """Opens all rows of an index folder, whatever their split."""
    rows = index_folder.load_rows(data_dir, outside_paths=outside_paths)
    return _Labelled(data_dir.resolve().name, rows.samples, rows.class_names, rows.note)


def _segments(samples: TseSplit, rows: np.ndarray, settings: Settings, desc: str) -> np.ndarray:
    """Reads sequences and brings them to equal length: float32 [N, num_segments, F]."""
    shape = (len(rows), settings.num_segments, samples.source.num_features)
    features = np.empty(shape, np.float32)
    errors: list[Exception] = []

    def attempt(row: int) -> np.ndarray | Exception:
        """Reading must go on after a bad file, so that all are named at once."""
        try:
            x = samples.source[int(row)]
        except UserError as error:
            return error
        return to_segments(x, settings.num_segments, settings.sampling, settings.center)

    with ThreadPoolExecutor(settings.num_threads) as pool:
        found = progress(
            pool.map(attempt, rows), total=len(rows), desc=f"reading meta-{desc}", unit="file"
        )
        for place, x in enumerate(found):
            if isinstance(x, Exception):
                errors.append(x)
            else:
                features[place] = x
    raise_all(errors, "bad sequences")
    return features


def to_segments(x: np.ndarray, count: int, sampling: str, center: str) -> np.ndarray:
    """Brings one sequence to `count` frames.

    Args:
        x: [T, F], float16 or float32; T may be smaller than `count`: frames then repeat.
        count: number of frames.
        sampling: "middle" or "linear" (as `tempalign.resample`), see the flag.
        center: "none", "mean" or "median", see the flag.

    Returns:
        float32 [count, F].
    """
    x = x.astype(np.float32)
    if center != "none":
        x = x - (x.mean(axis=0) if center == "mean" else np.median(x, axis=0))
    if sampling == "middle":
        return x[((2 * np.arange(count) + 1) * len(x)) // (2 * count)]
    # tempalign.resample, frame by frame the same, would be compiled for every length.
    last, steps = len(x) - 1, max(count - 1, 1)
    before, rest = np.divmod(np.arange(count) * last, steps)
    after = np.minimum(before + 1, last)
    return x[before] + (rest / steps).astype(np.float32)[:, None] * (x[after] - x[before])
