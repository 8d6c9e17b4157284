"""What the tests of stores are made of."""

import numpy as np

from experiments.make_store import job, writing
from experiments.make_store.settings import Settings
from experiments.tse import index_folder

FEATURES = 700
# Some records are longer than one or two of Riegeli's blocks of 64 KiB, others begin in their ends.
LENGTHS = (40, 40, 100, 1, 46, 93, 2, 60, 13, 45)
SPLITS = ("train",) * 6 + ("val", "test", "test", "val")


def write_folder(folder, dtypes=("f2",) * 10, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lines = ["id,path,label,split"]
    for row, (length, split, dtype) in enumerate(zip(LENGTHS, SPLITS, dtypes, strict=True)):
        np.save(folder / f"{row}.npy", rng.normal(size=(length, FEATURES)).astype(dtype))
        lines.append(f"é{row},{row}.npy,{'ba'[row % 2]},{split}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("b\na\n")
    return folder


def make(data_dir, out_dir, shard_bytes=150_000, **kwargs):
    rows = index_folder.load_rows(data_dir)
    writing.write_store(rows, out_dir, shard_bytes=shard_bytes, **kwargs)
    return out_dir


def run(**settings):
    return job.run(Settings(**{name: str(value) for name, value in settings.items()}))


def verify(data_dir):
    return job.run(Settings(data_dir=str(data_dir), verify=True))
