"""Times tempalign and other libraries in one run: ``python -m tempalign.kernels.benchmark``.

Every row is one named workload of `specs` with everyone who can do it. Results are compared before
anything is timed; then all take turns, in random order, round after round, so that whatever else
the machine does hits all alike. See README.md beside this file for the columns.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jaxlib
import numpy as np

import tempalign
from tempalign._types import ImplementationName
from tempalign.kernels.contenders import Arrays, Call, Peer, threads
from tempalign.kernels.peers import load
from tempalign.kernels.specs import CARDS
from tempalign.kernels.workloads import WORKLOADS, Workload, select

ROUNDS = 11
QUICK_ROUNDS = 3
SAMPLE_SECONDS = 0.05  # a sample repeats its call until it takes about this long
PAUSE_SECONDS = 0.01  # before each turn: the last one's threads may still be spinning


@dataclasses.dataclass
class Entry:
    """What became of one contender in one workload; None: not known, or does not apply.

    Attributes:
        name: the peer, or ``tempalign/`` and the implementation.
        ours: whether it is one of ours.
        how: what is called.
        dtype: what it computes in.
        state: ``"timed"``, ``"differs"`` or ``"failed"``.
        note: why it is not timed.
        differences: largest difference from ours, of ours' largest entry, for each result.
        first_seconds: the first call, compilation included.
        median_seconds: of the samples.
        quartile_seconds: the first and third quartile.
        samples: turns it had.
        calls_per_sample: calls in each, of which a sample is the mean.
        temp_bytes: temporary memory as the compiler planned it.
        ratio: on ours: the median of the fastest peer, or of our first where there is none, over
            this one.
        of_limit: the time that the card needs to issue the instructions that the work cannot do
            without, over the median.
    """

    name: str
    ours: bool
    how: str | None = None
    dtype: str | None = None
    state: str = "failed"
    note: str | None = None
    differences: list[float | None] | None = None
    first_seconds: float | None = None
    median_seconds: float | None = None
    quartile_seconds: tuple[float, float] | None = None
    samples: int | None = None
    calls_per_sample: int | None = None
    temp_bytes: int | None = None
    ratio: float | None = None
    of_limit: float | None = None


def measure(workload: Workload, peers: Sequence[Peer], rounds: int) -> list[Entry]:
    """Checks, then times everyone who can do a workload.

    Args:
        workload: what to do.
        peers: the usable peers.
        rounds: samples of each.

    Returns:
        One entry for each, ours first.
    """
    inputs = workload.inputs()
    entries: list[Entry] = []
    ready: list[tuple[Entry, Call]] = []
    expected: Arrays | None = None
    for entry, prepare in _contenders(workload, peers, inputs):
        try:
            call = prepare()
            if call is None:
                continue
            entry.how, entry.dtype = call.how, call.dtype
            start = time.perf_counter()
            result = call.run()
            entry.first_seconds = time.perf_counter() - start
            arrays = call.arrays(result)
            expected = arrays if expected is None else expected
            if _agrees(entry, expected, arrays, workload.tolerances):
                entry.temp_bytes = call.temp_bytes()
                ready.append((entry, call))
        except Exception as error:  # a peer that breaks is a finding, not the end of the run
            if expected is None:
                raise  # but ours is the yardstick
            entry.note = f"{type(error).__name__}: {error}"[:200]
        entries.append(entry)
    _take_turns(ready, rounds)
    _compare([entry for entry, _ in ready])
    rate = _float32_rate()
    if rate is not None and workload.instructions is not None:
        for entry, _ in ready:
            if entry.median_seconds:
                entry.of_limit = workload.instructions() / rate / entry.median_seconds
    return entries


def _float32_rate() -> float | None:
    """Float32 instructions that the first device issues a second, if it is a card we know."""
    kind = jax.devices()[0].device_kind
    return next((card.float32_rate for card in CARDS.values() if card.name == kind), None)


def _contenders(
    workload: Workload, peers: Sequence[Peer], inputs: Arrays
) -> Iterator[tuple[Entry, Callable[[], Call | None]]]:
    for name in _implementations(workload.function):
        yield (
            Entry(f"tempalign/{name}", ours=True),
            partial(workload.our_call, name, inputs),
        )
    for peer in peers:
        yield Entry(peer.name, ours=False), partial(workload.peer, peer, inputs)


def _implementations(function: str | None) -> list[ImplementationName]:
    """The compiled implementations that serve here; the yardstick, XLA, first."""
    try:
        if function is not None:
            tempalign.explain(function, implementation="pallas")
            return ["xla", "pallas"]
    except NotImplementedError:
        pass
    return ["xla"]


def _agrees(entry: Entry, expected: Arrays, got: Arrays, tolerances: Sequence[float]) -> bool:
    """Writes the differences into the entry and judges them."""
    differences = [_difference(*pair) for pair in zip(expected, got, strict=True)]
    entry.differences = [value if math.isfinite(value) else None for value in differences]
    limits = list(zip(differences, tolerances, strict=True))
    if all(value <= most for value, most in limits):  # a NaN is not
        return True
    shown = ", ".join(f"{value:.1e} (allowed {most:.0e})" for value, most in limits)
    entry.state, entry.note = "differs", f"not timed, differs from ours by {shown}"
    return False


def _difference(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        return math.inf
    wide = np.asarray(expected, np.float64)
    return float(np.abs(wide - got).max() / np.abs(wide).max())


def _take_turns(ready: Sequence[tuple[Entry, Call]], rounds: int) -> None:
    """Times all of them, one sample each a round, and writes the figures into the entries."""
    repeats = [max(1, round(SAMPLE_SECONDS / _seconds(call, 1))) for _, call in ready]
    samples: list[list[float]] = [[] for _ in ready]
    order = list(range(len(ready)))
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for index in order:
            call = ready[index][1]
            time.sleep(PAUSE_SECONDS)
            if repeats[index] > 1:
                call.run()  # wakes its threads and fills its caches
            samples[index].append(_seconds(call, repeats[index]))
    for (entry, call), calls, seconds in zip(ready, repeats, samples, strict=True):
        scaled = np.multiply(seconds, call.scale)
        low, median, high = np.percentile(scaled, (25, 50, 75)).tolist()
        entry.median_seconds, entry.quartile_seconds = median, (low, high)
        entry.samples, entry.calls_per_sample, entry.state = rounds, calls, "timed"


def _seconds(call: Call, times: int) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(times):
        call.run()
    return (time.perf_counter() - start) / times


def _compare(timed: Sequence[Entry]) -> None:
    """Puts the ratio on ours."""
    peers = [entry.median_seconds for entry in timed if not entry.ours and entry.median_seconds]
    ours = [entry for entry in timed if entry.ours and entry.median_seconds]
    best = min(peers) if peers else ours[0].median_seconds if ours else None
    for entry in ours if peers else ours[1:]:
        if best and entry.median_seconds:
            entry.ratio = best / entry.median_seconds


HEADER = (
    "workload",
    "who",
    "median ms",
    "quartiles ms",
    "first s",
    "temp MiB",
    "differs",
    "ratio",
    "limit",
)


def table(rows: Sequence[tuple[str, Sequence[Entry]]]) -> str:
    """The results as plain text.

    Args:
        rows: names of workloads, and what `measure` returned.

    Returns:
        Lines; a workload's name stands on its first only. Below them why some were not timed.
    """
    lines: list[Sequence[str]] = [HEADER]
    notes = []
    for workload, entries in rows:
        for index, entry in enumerate(entries):
            lines.append(("" if index else workload, entry.name, *_cells(entry)))
            if entry.note:
                notes.append(f"{workload}, {entry.name}: {entry.note}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    text = []
    for line in lines:
        cells = list(zip(line, widths, strict=True))
        words = [cell.ljust(width) for cell, width in cells[:2]]
        figures = [cell.rjust(width) for cell, width in cells[2:]]
        text.append("  ".join(words + figures))
    return "\n".join(text + notes)


def _cells(entry: Entry) -> Iterator[str]:
    """The figures, in the order of the header."""
    quartiles = entry.quartile_seconds
    differences = entry.differences
    yield entry.state if entry.median_seconds is None else f"{1e3 * entry.median_seconds:.2f}"
    yield "-" if quartiles is None else " .. ".join(f"{1e3 * value:.2f}" for value in quartiles)
    yield "-" if entry.first_seconds is None else f"{entry.first_seconds:.2f}"
    yield "-" if entry.temp_bytes is None else f"{entry.temp_bytes / 2**20:.1f}"
    if differences is None:
        yield "-"
    else:
        known = [value for value in differences if value is not None]
        yield f"{max(known):.0e}" if len(known) == len(differences) else "nan"
    yield "-" if entry.ratio is None else f"{entry.ratio:.2f}"
    yield "-" if entry.of_limit is None else f"{100 * entry.of_limit:.0f} %"


def machine(peers: Sequence[Peer], missing: dict[str, str]) -> dict[str, str]:
    """What was measured, with what and on what, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tempalign": f"{tempalign.__version__}, {_commit()}",
        "cpu": f"{_cpu()}, {cores} cores usable",
        "device": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": f"{jax.__version__}, jaxlib {jaxlib.__version__}, numpy {np.__version__}",
    }
    found.update({peer.name: peer.version for peer in peers})
    found.update(missing)
    return found | threads()


def _cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def _commit() -> str:
    """The checkout's commit, if this is one."""
    here = pathlib.Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository.
        git("ls-files", "--error-unmatch", "specs.py")
        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"commit {git('rev-parse', '--short', 'HEAD')}{changed}"
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"


def main(arguments: Sequence[str] | None = None, workloads: Sequence[Workload] = WORKLOADS) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tempalign.kernels.benchmark", description="Times tempalign and its peers."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PART", help="part of a name"
    )
    parser.add_argument("--rounds", type=int, help=f"samples of each, {ROUNDS} unless --quick")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--list", action="store_true", help="print the workloads' names and stop")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything there")
    options = parser.parse_args(arguments)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if options.rounds is not None:
        rounds = options.rounds
    if rounds < 1:
        parser.error(f"--rounds must be at least 1, got {rounds}")
    try:
        chosen = select(options.only, workloads)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        for workload in workloads if not options.only else chosen:
            print(workload.name)
        return
    peers, missing = load()
    about = machine(peers, missing)
    for name, value in about.items():
        print(f"{name}: {value}")
    rows = []
    for workload in chosen:
        if sys.stderr.isatty():
            print(f"... {workload.name}", file=sys.stderr)
        rows.append((workload.name, measure(workload, peers, rounds)))
    print(f"\n{table(rows)}")
    if options.json is not None:
        plain = {name: [dataclasses.asdict(entry) for entry in entries] for name, entries in rows}
        text = json.dumps({"about": about, "workloads": plain}, indent=1, allow_nan=False)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
