"""What this machine can do at most, for the rows of the benchmark to be held beside.

Two limits, each measured on all cores at once: how many cells a second the arithmetic of a row
allows (`peaks.cpp`: the same instructions on numbers that stay in registers and in the nearest
cache, compiled for the processor's level as the library is), and how many bytes a second memory
gives (copies of an array that fits in no cache). A row needs at least its cells over the first and
its bytes over the second; the larger of the two is its limit and says what bounds it.

Neither counts what an implementation adds: borders, tables of moves, hand-over between threads.
"""

import ctypes
import functools
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

#: Whose arithmetic: the hard minimum of many pairs, of one pair (lanes are its rows, which costs a
#: shift) and with moves written down; the soft minimum without and with gradients; terms of
#: weighted L1 costs.
Kind = Literal["hard", "hard one pair", "hard path", "soft", "soft gradient", "weighted"]

_SOURCE = pathlib.Path(__file__).with_name("peaks.cpp")
_SECONDS = 0.05  # of a sample
_SAMPLES = 5
_STREAM_BYTES = 1 << 27


@dataclass(frozen=True)
class Work:
    """What a row cannot do without.

    Attributes:
        kind: whose arithmetic.
        cells: how often it is done (of ``"weighted"``: terms).
        features: of a frame.
        num_bytes: that are read or written at least.
        dtype: what is computed in.
    """

    kind: Kind
    cells: int
    features: int
    num_bytes: int
    dtype: str = "float32"


@dataclass(frozen=True)
class Limit:
    """The least time of a row.

    Attributes:
        seconds: that it needs.
        bound: ``"arithmetic"`` or ``"memory"``.
    """

    seconds: float
    bound: str


def of(work: Work) -> Limit | None:
    """The limit of a row on this machine, or None where it cannot be measured."""
    if missing() is not None:
        return None
    arithmetic = work.cells / peak(work.kind, work.features, work.dtype)
    memory = work.num_bytes / stream()
    return Limit(max(arithmetic, memory), "arithmetic" if arithmetic >= memory else "memory")


def missing() -> str | None:
    """Why peaks cannot be measured here, or None."""
    found = _library()
    return found if isinstance(found, str) else None


@functools.cache
def peak(kind: Kind, features: int, dtype: str) -> float:
    """Cells a second, on all cores together."""
    library = _library()
    assert isinstance(library, ctypes.CDLL), library
    function = library.peak_f64 if dtype == "float64" else library.peak_f32
    function.restype = ctypes.c_longlong
    number = get_args(Kind).index(kind)
    steps = 1 << 10

    def work() -> int:
        return function(number, features, steps)

    while _timed(work)[1] < _SECONDS and steps < 1 << 28:
        steps *= 2
    rates = []
    for _ in range(_SAMPLES):
        cells, seconds = _timed(work)
        rates.append(cells / seconds)
    return max(rates)


@functools.cache
def stream() -> float:
    """Bytes a second that copies read and write, on all cores together."""
    parts = [
        (np.ones(_STREAM_BYTES // 8 // cores()), np.zeros(_STREAM_BYTES // 8 // cores()))
        for _ in range(cores())
    ]
    waiting = list(parts)

    def copy() -> int:
        source, to = waiting.pop()
        np.copyto(to, source)
        return 2 * source.nbytes

    rates = []
    for _ in range(_SAMPLES):
        waiting = list(parts)
        moved, seconds = _timed(copy)
        rates.append(moved / seconds)
    return max(rates)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def level() -> str:
    """The level of x86-64 that the library takes on this machine, or ``"base"`` elsewhere."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "base"
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return "v2"
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    found = "v2"
    if {"avx2", "fma", "bmi2"} <= set(flags):
        found = "v3"
        if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= set(flags):
            found = "v4"
    asked = os.environ.get("TEMPALIGN_CPU_LEVEL") or found
    return max("v2", min(found, asked))


def about() -> dict[str, str]:
    """What was measured, in words."""
    if missing() is not None:
        return {"limits": f"not measured: {missing()}"}
    words = [
        f"{kind} {peak(kind, 1, 'float32') / 1e9:.1f}"
        for kind in get_args(Kind)
        if kind != "weighted"
    ]
    return {
        "limits": f"level {level()}, {cores()} cores together; copies {stream() / 1e9:.1f} GB/s; "
        f"Gcells/s in float32 with one feature: {', '.join(words)}"
    }


@functools.cache
def _library() -> ctypes.CDLL | str:
    """`peaks.cpp`, compiled; or why it is not."""
    named = os.environ.get("CXX", "").split()
    compiler = named or [c for c in ("c++", "g++", "clang++") if shutil.which(c)][:1]
    if not compiler:
        return "there is no C++ compiler"
    arch = [] if level() == "base" else [f"-march=x86-64-{level()}"]
    flags = ["-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno"]
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder, "peaks.so")
        command = [*compiler, *flags, *arch, f"-DTA_LEVEL={level()}", str(_SOURCE)]
        try:
            done = subprocess.run(
                [*command, "-o", str(library)], capture_output=True, text=True, timeout=120
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{compiler[0]}: {error}"
        if done.returncode:
            return f"{compiler[0]} does not compile peaks.cpp: {done.stderr.strip()[:200]}"
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            return f"peaks.cpp does not load: {error}"


def _timed(work: Callable[[], int]) -> tuple[int, float]:
    """What all threads did together, each the same, and the seconds it took."""
    pool = _threads()
    start = time.perf_counter()
    done = [task.result() for task in [pool.submit(work) for _ in range(cores())]]
    return sum(done), time.perf_counter() - start


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """A thread a core; they live as long as the process, for new ones begin late."""
    return ThreadPoolExecutor(cores())
