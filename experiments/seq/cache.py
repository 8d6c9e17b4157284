"""Arrays that take long to compute, kept in files with what they were computed from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.archives import opened_npz
from experiments.shared.files import whole_file

Arrays = dict[str, np.ndarray]


def kept(path: Path, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """Returns arrays from a file, or computes them and writes it.

    Args:
        path: of the .npz file. The zip format has a checksum for every array, so damage is noticed.
        key: everything that the arrays depend on, the content of their input included, of JSON's
            types. A file of another key is written anew.
        compute: makes the arrays, by name.

    Raises:
        UserError: the file cannot be written.
    """
    key_text = json.dumps(key, sort_keys=True)
    found = _read(path, key_text)
    if found is None:
        found = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, "wb") as file:
            np.savez(file, **found, key=np.array(key_text))  # type: ignore[arg-type]
    return found


def _read(path: Path, key_text: str) -> Arrays | None:
    """The arrays of a file; None if it is not there, damaged, or of something else."""
    if not path.is_file():
        return None
    try:
        with opened_npz(path) as stored:
            if str(stored["key"]) != key_text:
                return None
            return {name: stored[name] for name in stored.files if name != "key"}
    except Exception:  # whatever NumPy and zipfile raise for a damaged file
        print(f"{path}: damaged, computed again", flush=True)
        return None
