"""Checks and times everyone who can do a workload, in turns.

Results are compared before anything is timed; then all take turns, in random order, round after
round, so that whatever else the machine does hits all alike.
"""

import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import numpy as np

from tempalign.kernels.bench import limits
from tempalign.kernels.bench.contenders import Arrays, Call, Peer
from tempalign.kernels.bench.workloads import Workload
from tempalign.kernels.cpu import native
from tempalign.kernels.gpu.specs import CARDS

ROUNDS = 11
QUICK_ROUNDS = 3
SLOW_SECONDS = 2.0  # a contender whose samples take longer in all has fewer of them
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
        of_limit: on ours: the time that the work cannot do without on this machine (see `limits`;
            on a card: to issue the instructions of the costs), over the median.
        bound: what bounds that time.
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
    bound: str | None = None


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
            if expected is None and entry.ours:
                raise  # but ours is the yardstick
            entry.note = f"{type(error).__name__}: {error}"[:200]
        entries.append(entry)
    if not entries:
        why = native.missing() or "its model or its operands are not served"
        return [Entry("tempalign/native", ours=True, note=f"only native code does this: {why}")]
    take_turns(ready, rounds)
    _compare([entry for entry, _ in ready])
    limit = limit_of(workload)
    for entry, _ in ready:
        if limit is not None and entry.ours and entry.median_seconds:
            entry.of_limit, entry.bound = limit.seconds / entry.median_seconds, limit.bound
    return entries


def limit_of(workload: Workload) -> limits.Limit | None:
    """The least time of a workload on the first device, if that is known."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return None if workload.work is None else limits.of(workload.work())
    rates = [one.float32_rate for one in CARDS.values() if one.name == device.device_kind]
    if not rates or workload.instructions is None:
        return None
    return limits.Limit(workload.instructions() / rates[0], "arithmetic")


def _contenders(
    workload: Workload, peers: Sequence[Peer], inputs: Arrays
) -> Iterator[tuple[Entry, Callable[[], Call | None]]]:
    ours = workload.implementations(inputs)
    for name in ours:
        yield (
            Entry(f"tempalign/{name}", ours=True),
            partial(workload.our_call, name, inputs),
        )
    if ours:  # nobody is timed who was not compared with ours
        for peer in peers:
            yield Entry(peer.name, ours=False), partial(workload.peer, peer, inputs)


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


def take_turns(ready: Sequence[tuple[Entry, Call]], rounds: int) -> None:
    """Times all of them, one sample each a round, and writes the figures into the entries."""
    once = [_seconds(call, 1) for _, call in ready]
    repeats = [max(1, round(SAMPLE_SECONDS / seconds)) for seconds in once]
    fewest = min(rounds, QUICK_ROUNDS)
    turns = [min(rounds, max(fewest, int(SLOW_SECONDS / seconds))) for seconds in once]
    samples: list[list[float]] = [[] for _ in ready]
    order = list(range(len(ready)))
    shuffle = random.Random(0).shuffle
    for number in range(rounds):
        shuffle(order)
        for index in order:
            if (number + 1) * turns[index] // rounds == number * turns[index] // rounds:
                continue  # who is slow sits out some rounds, evenly
            call = ready[index][1]
            time.sleep(PAUSE_SECONDS)
            if repeats[index] > 1:
                call.run()  # wakes its threads and fills its caches
            samples[index].append(_seconds(call, repeats[index]))
    for (entry, call), calls, seconds in zip(ready, repeats, samples, strict=True):
        scaled = np.multiply(seconds, call.scale)
        low, median, high = np.percentile(scaled, (25, 50, 75)).tolist()
        entry.median_seconds, entry.quartile_seconds = median, (low, high)
        entry.samples, entry.calls_per_sample, entry.state = len(seconds), calls, "timed"


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
