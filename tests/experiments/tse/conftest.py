import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest

FIXTURES = Path(__file__).resolve().parent / "fixtures"


@pytest.fixture
def torch_files() -> Path:
    return FIXTURES


@pytest.fixture
def index_dir(tmp_path) -> Callable[..., Path]:
    """A function that writes a good `index.csv` folder; rows given to it replace or follow."""

    def write(rows: list[dict] | None = None, columns=("id", "path", "label", "split")) -> Path:
        rng = np.random.default_rng(0)
        if rows is None:
            rows = good_rows()
        for row in rows:
            path = tmp_path / (row.get("path") or "")
            if row.get("path") and not path.exists():
                length = int(rng.integers(1, 9))
                np.save(path, rng.normal(size=(length, 3)).astype(np.float32))
        with (tmp_path / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path

    return write


def good_rows(labels=("0", "1", "0", "1", "1", "0")) -> list[dict]:
    splits = ("train",) * 4 + ("test",) * 2
    return [
        {"id": f"v{i}", "path": f"v{i}.npy", "label": label, "split": split}
        for i, (label, split) in enumerate(zip(labels, splits, strict=True))
    ]


@pytest.fixture
def rows() -> list[dict]:
    return good_rows()


@pytest.fixture
def dejavid_dir(tmp_path, torch_files) -> Callable[..., Path]:
    """A function that writes a good folder in the layout of DejaVid's authors.

    Each keyword replaces one of the three tables.
    """

    def write(**tables) -> Path:
        (tmp_path / "feats").mkdir(exist_ok=True)
        for name in ("contiguous", "transposed", "slice", "half", "dict"):
            copyfile(torch_files / f"{name}.pt", tmp_path / "feats" / f"{name}.pt")
        good = {
            "id2fname": {
                3: "half.pt",
                5: "contiguous.pt",
                7: "dict.pt",
                8: "dict.pt",
                "x": "slice.pt",
                "y": "transposed.pt",
            },
            "id2labels": {3: 20, 5: 10, 7: 20, 8: 10, "x": 20, "y": 10, 999: 77},
            "id2splits": {3: "train", 5: "train", 7: "train", 8: "val", "x": "val", "y": "test"},
        }
        for name, table in {**good, **tables}.items():
            with (tmp_path / f"{name}.pkl").open("wb") as file:
                pickle.dump(table, file)
        return tmp_path

    return write
