"""What data is, by its content: digests of files and arrays, and the identity of a data set.

A job that is resumed with other data would mix two results in one report without a word. So it
keeps the identity of its data (ids, labels, splits and every number) and is compared with it.
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.files import RealPaths
from experiments.shared.progress import progress
from experiments.shared.remembered import Remembered

_LENGTH = 32  # hexadecimal digits kept of SHA-256
_LISTED = 5


_Taken = tuple[int, int, str]  # of a file: size, time of the last change, digest


class Digests:
    """Content digests of files, remembered by path, size and time of the last change."""

    def __init__(self, path: Path | str | None = None, *, num_threads: int = 4) -> None:
        """Takes what is remembered.

        Args:
            path: JSON file for `save`, which need not be there, nor its folder. One that cannot be
                read is forgotten: it only saves time. None: nothing is kept.
            num_threads: files read at the same time.
        """
        self._known = Remembered(path)  # digests
        self._num_threads = num_threads
        self._taken: dict[str, _Taken] = {}  # in this job, by the path that was given

    def of_files(self, paths: Sequence[Path | str], *, desc: str = "fingerprint") -> list[str]:
        """Returns the digest of each file's bytes; a file that comes twice is read once.

        Raises:
            MissingFileError: files that are not there.
            UserError: files that cannot be read, or change meanwhile; lists up to five.
        """
        places = RealPaths()
        real = [places.of(str(path)) for path in paths]
        distinct = list(dict.fromkeys(real))
        # Without the pool: a look at a file takes less than handing it to a thread.
        found = {name: now for name in distinct if (now := self._known.now(name))}
        distinct = [name for name in distinct if name not in found]
        errors: list[Exception] = []
        with ThreadPoolExecutor(self._num_threads) as pool:
            results = progress(
                pool.map(self._attempt, distinct), total=len(distinct), desc=desc, unit="file"
            )
            for name, result in zip(distinct, results, strict=True):
                if isinstance(result, Exception):
                    errors.append(result)
                else:
                    found[name] = result
        raise_all(errors, desc)
        for path, name in zip(paths, real, strict=True):
            self._taken[os.fspath(path)] = found[name]
        return [found[name][2] for name in real]

    def of_file(self, path: Path | str) -> str:
        """Returns the digest of one file's bytes; raises as `of_files`, without the list."""
        return self._digest(os.path.realpath(path))[2]

    @contextmanager
    def checked(self, path: Path | str | None) -> Iterator[None]:
        """Surrounds the reading of a file, which must still be what `of_files` took a digest of.

        A job that goes on with other data than it began with would report on neither. It takes one
        `stat`. Of a file whose digest was not taken nothing is known; so of None.

        Raises:
            MissingFileError: it is no longer there.
            UserError: it is another one, or cannot be read; or what the block raises of a file
                that is the same.
        """
        try:
            yield
        except UserError:
            self._check(path)
            raise
        self._check(path)  # after it was read, so that no change meanwhile is missed

    def _check(self, path: Path | str | None) -> None:
        if path is None or (taken := self._taken.get(name := os.fspath(path))) is None:
            return
        try:
            status = os.stat(name)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{path}: is no longer there; put it back, then go on by the same command and "
                "--resume"
            ) from error
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        if (status.st_size, status.st_mtime_ns) == taken[:2]:
            return
        now = self._digest(os.path.realpath(path))
        if now[2] != taken[2]:
            raise UserError(
                f"{path}: was changed since the job began; put back what it was, then go on by the "
                "same command and --resume, or start anew in another --out_dir"
            )
        self._taken[name] = now

    def save(self) -> None:
        """Writes what is known to the file, if there is one.

        Raises:
            UserError: it cannot be written.
        """
        self._known.save()

    def _attempt(self, name: str) -> _Taken | Exception:
        """Reading must go on after a bad file, so that all are named at once."""
        try:
            return self._digest(name)
        except UserError as error:
            return error

    def _digest(self, name: str) -> _Taken:
        try:
            with open(name, "rb") as file:
                before = os.fstat(file.fileno())
                stamp = (before.st_size, before.st_mtime_ns)
                known = self._known.get(name, *stamp)
                if known is not None:
                    return *stamp, known
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:_LENGTH]
                after = os.fstat(file.fileno())
        except FileNotFoundError as error:
            raise MissingFileError(f"{name}: no such file") from error
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from error
        if (after.st_size, after.st_mtime_ns) != stamp:
            raise UserError(f"{name}: was changed while it was read; start again when it is ready")
        self._known.put(name, *stamp, digest)
        return *stamp, digest


def digest_array(array: np.ndarray) -> str:
    """Returns the digest of an array: its type, shape and numbers."""
    array = np.ascontiguousarray(array)
    hasher = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    hasher.update(array.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()[:_LENGTH]


def digest_json(value: Any) -> str:
    """Returns the digest of a value of JSON's types."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


@dataclass(frozen=True)
class Content:
    """What a split holds.

    Attributes:
        ids: [N], the names of its samples.
        labels: [N], of JSON's types: the label of each sample, or the digest of its labels.
        digests: [N], of the content of each sample; equal where two are the same.
    """

    ids: Sequence[str]
    labels: Iterable[Any]
    digests: Sequence[str]

    def __post_init__(self) -> None:
        """Checks that there is one of each for each sample."""
        labels = self.labels.tolist() if isinstance(self.labels, np.ndarray) else list(self.labels)
        object.__setattr__(self, "labels", labels)
        if not len(self.ids) == len(labels) == len(self.digests):
            raise ValueError(
                f"{len(self.ids)} ids, {len(labels)} labels, {len(self.digests)} digests"
            )


def dataset_identity(splits: Mapping[str, Content], class_names: Sequence[str]) -> dict[str, Any]:
    """Returns what tells a data set from every other, of JSON's types; not where it lies.

    Args:
        splits: by name.
        class_names: by label.

    Returns:
        "num_samples" by split, "class_names", "ids_labels_splits" and "content" (digests), and
        "repeated": how many samples of a split have the content of one in an earlier split, and
        the ids of the first few.
    """
    listed = {name: [list(part.ids), part.labels] for name, part in splits.items()}
    return {
        "num_samples": {name: len(part.ids) for name, part in splits.items()},
        "class_names": list(class_names),
        "ids_labels_splits": digest_json([list(class_names), listed]),
        "content": digest_json({name: list(part.digests) for name, part in splits.items()}),
        "repeated": _repeated(splits),
    }


def repetition_note(identity: Mapping[str, Any]) -> str:
    """Returns a sentence for the report on samples that are in two splits; empty for none."""
    repeated = identity.get("repeated") or {}
    if not repeated.get("count"):
        return ""
    listed = "; ".join(f"{a} and {b}" for a, b in repeated["first"])
    more = "; ..." if repeated["count"] > len(repeated["first"]) else ""
    samples = "sample has" if repeated["count"] == 1 else "samples have"
    return (
        f"{repeated['count']} {samples} exactly the content of another in an earlier split, so "
        f"results are partly on what was learned: {listed}{more}"
    )


def _repeated(splits: Mapping[str, Content]) -> dict[str, Any]:
    seen: dict[str, str] = {}
    pairs: list[list[str]] = []
    count = 0
    for split, part in splits.items():
        for name, digest in zip(part.ids, part.digests, strict=True):
            if digest in seen:
                count += 1
                if len(pairs) < _LISTED:
                    pairs.append([seen[digest], f"'{name}' ({split})"])
        for name, digest in zip(part.ids, part.digests, strict=True):
            seen.setdefault(digest, f"'{name}' ({split})")
    return {"count": count, "first": pairs}


def encoder_identity(
    encoder: str, digests: Digests, weights: Path | str | None = None
) -> dict[str, str]:
    """Returns what tells an encoder from every other, of JSON's types.

    Args:
        encoder: its name. Of "MODULE:FUNCTION" the source counts: the file of the module, or all
            files of the package. What that imports does not.
        digests: what is known of files.
        weights: the file with its weights, None where it has none or they cannot be known.

    Raises:
        MissingFileError: the weights are not there.
        UserError: there is no such module; names the encoder.
    """
    found = {"encoder": encoder}
    if ":" in encoder:
        sources = _sources(encoder)
        digest = digests.of_files([path for _, path in sources], desc="encoder")
        found["source"] = digest_json(
            [[name, one] for (name, _), one in zip(sources, digest, strict=True)]
        )
    if weights is not None:
        found["weights"] = digests.of_file(weights)
    return found


def _sources(encoder: str) -> list[tuple[str, Path]]:
    """The files of the module that an encoder is in, each with its name in the package."""
    module = encoder.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # whatever the parents of the module raise when they are imported
        raise UserError(f"--encoder={encoder}: cannot be imported ({error})") from error
    if spec is None:
        raise UserError(f"--encoder={encoder}: there is no module {module}")
    if spec.submodule_search_locations:
        folders = map(Path, spec.submodule_search_locations)
        found = [
            (path.relative_to(folder).as_posix(), path)
            for folder in folders
            for path in folder.rglob("*.py")
        ]
        return sorted(found)
    if not spec.has_location or spec.origin is None:
        return []  # built into Python
    return [(Path(spec.origin).name, Path(spec.origin))]
