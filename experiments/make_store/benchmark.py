"""How fast batches are read, by one process and several, from the system's cache and from disk."""

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from experiments.make_store.settings import Settings
from experiments.make_store.writing import write_store
from experiments.shared.errors import UserError
from experiments.shared.tables import Table
from experiments.tse import index_folder
from experiments.tse.batches import epoch_batches, plan_epoch
from experiments.tse.dataset import TseSplit
from experiments.tse.rows import Rows
from experiments.tse.sources import ArraySource
from tempalign.kernels.gpu import specs

_EPOCH_SECONDS = 8.0  # of Kinetics-400, where the kernels aim
_BUCKETS = 16
_DIFFERENT = 64  # sequences of random data; what is read does not depend on the numbers


def benchmark(settings: Settings) -> str:
    """Measures and returns what to print.

    Raises:
        UserError: the data cannot be used.
    """
    if settings.data_dir:
        return _measured(settings, Path(settings.data_dir))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        write_store(_random_rows(specs.K400, settings.records), store, shard_bytes=2**30)
        return _measured(settings, store)


def _random_rows(shapes: specs.DejaVidSpec, count: int) -> Rows:
    rng = np.random.default_rng(0)
    shape = (_DIFFERENT, shapes.num_frames, shapes.num_features)
    values = rng.standard_normal(shape, np.float32).astype(np.float16)
    ids = tuple(f"v{row}" for row in range(count))
    source = ArraySource([values[row % _DIFFERENT] for row in range(count)], ids)
    samples = TseSplit(ids, np.arange(count) % 2, source.lengths, source)
    return Rows(samples, ("a", "b"), ("train",) * count, "", "")


def _measured(settings: Settings, folder: Path) -> str:
    samples = index_folder.load_rows(folder, outside_paths=settings.outside_paths).samples
    some = _first(samples, settings.records)
    frames = int(some.lengths.sum())
    size = frames * some.source.num_features * some.source.dtype.itemsize
    need = specs.K400.num_train / _EPOCH_SECONDS
    lines = [
        f"{folder}: batches of {settings.batch_size} of {len(some):,} of {len(samples):,} "
        f"sequences, {size / len(some) / 1e3:.0f} kB each; median of {settings.repeats}, on "
        f"{os.cpu_count()} cores, {os.getloadavg()[0]:.1f} processes at work before",
    ]
    rows = []
    for count in settings.processes:
        for name, rate, cores in _rates(settings, folder, count, len(some)):
            rows.append(
                (
                    str(count),
                    name,
                    f"{rate:,.0f}",
                    f"{rate * size / len(some) / 1e9:.2f}",
                    f"{rate / cores:,.0f}",
                    f"{need * cores / rate:.1f}",
                )
            )
    head = (
        "processes",
        "from",
        "sequences/s",
        "GB/s",
        "a core's second",
        f"cores for {need:,.0f}/s",
    )
    lines.append(Table(head, tuple(rows)).to_text())
    lines.append(
        f"{need:,.0f}/s are {specs.K400.num_train:,} sequences, Kinetics-400, in "
        f"{_EPOCH_SECONDS:g} s. A core's second: sequences by the time that processors worked, "
        "which other work on the machine and waiting for the disk do not change"
    )
    lines.append(
        f"padding of an epoch: {_padding(samples, settings.batch_size, 0):.1%} of the frames, with "
        f"--length_buckets={_BUCKETS} {_padding(samples, settings.batch_size, _BUCKETS):.1%}"
    )
    return "\n".join(lines)


def _first(samples: TseSplit, count: int) -> TseSplit:
    count = min(count, len(samples))
    source = samples.source.take(np.arange(count))
    return TseSplit(samples.ids[:count], samples.labels[:count], source.lengths, source)


def _padding(samples: TseSplit, batch_size: int, buckets: int) -> float:
    """Which part of the frames of an epoch's batches is padding."""
    plan = plan_epoch(samples.lengths, batch_size, seed=0, length_buckets=buckets)
    frames = sum(len(batch.rows) * batch.width for batch in plan)
    return 1 - int(samples.lengths.sum()) / frames


def _rates(
    settings: Settings, folder: Path, count: int, records: int
) -> list[tuple[str, float, float]]:
    """Measures processes that share epochs.

    Returns:
        Where from, sequences a second of all together, and the cores that they kept busy.
    """
    context = multiprocessing.get_context("spawn")
    # One process is this one: another takes seconds to begin.
    kind: Any = context.Process if count > 1 else threading.Thread
    ends: list[Connection] = []
    readers = []
    for index in range(count):
        ours, theirs = context.Pipe()
        reader = kind(target=_reader, args=(settings, folder, index, count, theirs))
        reader.start()
        if count > 1:
            theirs.close()  # so that its end is noticed
        ends.append(ours)
        readers.append(reader)
    try:
        found = []
        for name, before in (("cache", "keep"), ("disk", "drop")):
            rates, cores = [], []
            for repeat in range(settings.repeats + 1):  # the first one warms up
                _all(ends, before)
                began = time.perf_counter()
                busy = _all(ends, str(repeat))
                seconds = time.perf_counter() - began
                rates.append(records / seconds)
                cores.append(sum(busy) / seconds)
            found.append((name, statistics.median(rates[1:]), statistics.median(cores[1:])))
        return found
    except EOFError as error:
        raise UserError("--benchmark: a process has ended; its message is above") from error
    finally:
        for end in ends:
            end.close()
        for reader in readers:
            reader.join()


def _all(ends: list[Connection], word: str) -> list[float]:
    for end in ends:
        end.send(word)
    return [end.recv() for end in ends]


def _reader(settings: Settings, folder: Path, index: int, count: int, end: Connection) -> None:
    """A process (or thread) that reads its share of epochs when it is told to."""
    try:
        _read_when_told(settings, folder, index, count, end)
    finally:
        end.close()


def _read_when_told(
    settings: Settings, folder: Path, index: int, count: int, end: Connection
) -> None:
    samples = index_folder.load_rows(folder, outside_paths=settings.outside_paths).samples
    some = _first(samples, settings.records)
    while True:
        try:
            word = end.recv()
        except EOFError:
            return
        began = time.process_time()
        if word == "drop":
            if index == 0:
                _drop_from_cache(folder)
        elif word.isdigit():
            batches = epoch_batches(
                some,
                settings.batch_size * count,
                seed=0,
                epoch=int(word),
                num_threads=settings.num_threads,
                process_index=index,
                process_count=count,
            )
            for _ in batches:
                pass
        end.send(time.process_time() - began)


def _drop_from_cache(folder: Path) -> None:
    """Asks the system to forget the files, which needs no rights, as long as none is written."""
    for path in folder.rglob("*"):
        if path.suffix in (".npy", ".array_record", ".pt"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
