"""The job: from files to a store or back, or verify a store, or measure how fast one is read."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from experiments.extract_tse.manifest import MANIFEST
from experiments.make_store.benchmark import benchmark
from experiments.make_store.index_writing import write_index
from experiments.make_store.settings import Settings
from experiments.make_store.verifying import verify
from experiments.make_store.writing import write_store
from experiments.shared import command
from experiments.shared.errors import UserError
from experiments.shared.files import read_json
from experiments.tse import dejavid_layout, index_folder
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.rows import Rows
from experiments.tse.stored import FileSource, TseFile


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Does what the flags say and exits, see `experiments.shared.command`."""
    command.main(description, Settings, run, argv, go_on="the same command")


def run(settings: Settings) -> str:
    """Does what the settings ask for; returns what to print.

    Raises:
        UserError: something is wrong with the data, or the folder cannot be made.
    """
    data_dir, out = Path(settings.data_dir), Path(settings.out_dir)
    if settings.verify:
        return verify(data_dir)
    if settings.benchmark:
        return benchmark(settings)
    rows = _load(settings)
    samples = rows.samples
    kept = 0
    if settings.to == "index":
        write_index(rows, out, data_dir / MANIFEST)
    else:
        kept = write_store(
            rows,
            out,
            shard_bytes=settings.shard_mb * 10**6,
            about=_about(data_dir / MANIFEST),
            beside=data_dir / MANIFEST,
        )
    counts = Counter(rows.splits)
    splits = ", ".join(f"{counts[name]:,} {name}" for name in counts)
    frames = f"{samples.lengths.min()} to {samples.lengths.max()} frames"
    told = (
        f"{out}: {len(samples):,} sequences ({splits}) of {len(rows.class_names):,} classes, "
        f"{frames}, {samples.source.num_features:,} features"
    )
    return told + (f"; {kept} shards were finished before" if kept else "")


def _load(settings: Settings) -> Rows:
    if settings.layout == "dejavid":
        dataset = dejavid_layout.load(
            settings.data_dir,
            feats_dir=settings.feats_dir or None,
            outside_paths=settings.outside_paths,
        )
        return rows_of(dataset)
    return index_folder.load_rows(settings.data_dir, outside_paths=settings.outside_paths)


def rows_of(dataset: TseDataset) -> Rows:
    """Returns the samples of a data set whose sequences are files, split by split."""
    splits = dataset.splits
    files: list[TseFile] = []
    for split in splits.values():
        assert isinstance(split.source, FileSource)
        files += split.source.files
    source = FileSource(files)
    ids = tuple(name for split in splits.values() for name in split.ids)
    labels = np.concatenate([split.labels for split in splits.values()])
    names = tuple(name for name, split in splits.items() for _ in split.ids)
    samples = TseSplit(ids, labels, source.lengths, source)
    return Rows(samples, dataset.class_names, names, dataset.note, dataset.name)


def _about(path: Path) -> dict[str, Any]:
    """What store.json says of the extraction that made the features, where it is known."""
    if not path.is_file():
        return {"encoder": None, "windows": None}
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not the manifest of an extraction; mend or remove it")
    return {"encoder": content.get("encoder"), "windows": content.get("settings")}
