"""One run: what it must say about itself, and the loop that trains it, saves it and goes on."""

import abc
import contextlib
import functools
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import flax
import jax
import numpy as np

import tempalign
from experiments.shared import processes
from experiments.shared.checkpoints import Checkpoints, fill, named_leaves
from experiments.shared.errors import UserError
from experiments.shared.finite import refuse_names
from experiments.shared.identity import refuse_differences
from experiments.shared.interrupts import held
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.progress import SECONDS_BETWEEN_LINES, progress

S = TypeVar("S")
Entry = dict[str, Any]
Advance = Callable[[int], None]

# Nothing of it is used: what reads and writes checkpoints is called in process 0.
_NO_CHECKPOINTS: Any = contextlib.nullcontext()
_NOT_SHOWN = ("epoch", "seconds", "learning_rate")


class Run(abc.ABC, Generic[S]):
    """One training, by one method with one seed. `train` does everything else about it.

    The state is a pytree of arrays with all that a later epoch or the report needs; what is made
    from it is a pure function of it, so that a run which was killed ends as one that was not.

    Attributes:
        name: of its folder, and in messages.
        about: what every line of the log says about it, of JSON's types.
        steps: how far an epoch calls `advance` in all.
        unit: what those steps are, for the display.
    """

    name: str
    about: Mapping[str, Any]
    steps: int = 1
    unit: str = "epochs"

    @abc.abstractmethod
    def start(self) -> S:
        """Returns the state before the first epoch."""

    def like(self) -> S:
        """Returns a state of the same shapes and dtypes, without the work of `start`."""
        return self.start()

    @abc.abstractmethod
    def epoch(self, state: S, number: int, advance: Advance) -> tuple[S, Entry]:
        """Trains and evaluates one epoch more.

        Args:
            state: after the epoch before, NumPy arrays: copy them to the device, whose buffers a
                step may reuse.
            number: of the epoch, from 1.
            advance: to be called with the steps that were done, for the display.

        Returns:
            (the state after it, what to log: numbers, lists, text or None by name, with "loss").
        """


@dataclass(frozen=True)
class Trained(Generic[S]):
    """A finished run.

    Attributes:
        name: of the run.
        state: after the last epoch, NumPy arrays.
        history: what each epoch logged, with its number (from 1) and its wall-clock seconds.
        sessions: which machine trained which epochs, with which versions.
    """

    name: str
    state: S
    history: list[Entry]
    sessions: list[dict[str, Any]]

    @property
    def last(self) -> Entry:
        """What the last epoch logged."""
        return self.history[-1]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all epochs and what came before the first."""
        return math.fsum(session["seconds"] for session in self.sessions)


def train(
    run: Run[S],
    folder: Path,
    log: MetricsLog,
    *,
    epochs: int,
    keep: int,
    identity: Mapping[str, Any],
    later: Mapping[str, Any] = MappingProxyType({}),
    claim: Callable[[], None] = lambda: None,
) -> Trained[S]:
    """Trains a run to its last epoch, or goes on where its newest checkpoint ends.

    Args:
        run: what to train.
        folder: of its checkpoints.
        log: where a line an epoch goes.
        epochs: how many there are in all.
        keep: how many checkpoints to keep.
        identity: what decides the result (settings, data), of JSON's types; a checkpoint of another
            identity is refused.
        later: the parts of the identity that a checkpoint of an earlier version may lack, and what
            they were then.
        claim: called before the first checkpoint is written.

    Returns:
        The run; read from its last checkpoint alone where it was finished before.

    Raises:
        UserError: numbers that are not finite, a checkpoint of another job or another model or of
            more epochs, or one that cannot be read or written.
    """
    # Process 0 alone has checkpoints; those of the others wait for it.
    with Checkpoints(folder, keep=keep) if processes.is_first() else _NO_CHECKPOINTS as checkpoints:
        read: list[S] = []

        def newest() -> dict[str, Any]:
            found = checkpoints.newest()
            if found is None:
                return {}
            step, arrays, record = found
            where = str(folder / str(step))
            # One of before identities were recorded has none, and differs from every other.
            saved = record.get("identity")
            refuse_differences({**later, **saved} if saved else {}, identity, where)
            read.append(fill(run.like(), arrays, where))
            return {name: record[name] for name in ("history", "sessions")}

        record = processes.on_first(newest)
        history: list[Entry] = record.get("history", [])
        sessions: list[dict[str, Any]] = record.get("sessions", [])
        began = time.monotonic()
        if not record:
            state = processes.to_host(run.start())
        else:
            state = processes.from_first(read.pop() if read else run.like())
        done = len(history)
        processes.on_first(lambda: _log_what_a_kill_left_out(run, log, history))
        if done > epochs:
            raise UserError(
                f"--epochs={epochs}: {run.name} has {done} already, and the results of fewer are "
                f"not kept; give {done} or more, or another --out_dir"
            )
        if done == epochs:
            return Trained(run.name, state, history, sessions)
        processes.on_first(lambda: checkpoints.set_aside(done))
        log.write("run_start", **run.about, epochs_done=done)
        sessions = [*sessions, {"epochs": [done + 1, done], "seconds": 0.0, **surroundings()}]
        with (
            _saying_how_far(run.name, epochs, checkpoints),
            contextlib.closing(_Display(run, epochs, done)) as display,
        ):
            for number in range(done + 1, epochs + 1):
                state, entry = run.epoch(state, number, display.advance)
                state = processes.to_host(state)
                _check_finite(run.name, number, state, entry)
                now = time.monotonic()
                entry = {"epoch": number, **entry, "seconds": now - began}
                history = [*history, entry]
                last = sessions[-1]
                sessions[-1] = last | {
                    "epochs": [last["epochs"][0], number],
                    "seconds": last["seconds"] + entry["seconds"],
                }
                began = now
                record = {"identity": dict(identity), "history": history, "sessions": sessions}
                save = functools.partial(_save, checkpoints, state, record, log, run, claim)
                processes.on_first(save)
                display.end_epoch(entry)
        trained = Trained(run.name, state, history, sessions)
        log.write("run_end", **run.about, seconds=trained.seconds)
        display.say(trained)
    return trained


def _save(
    checkpoints: Checkpoints,
    state: Any,
    record: Mapping[str, Any],
    log: MetricsLog,
    run: Run,
    claim: Callable[[], None],
) -> None:
    """Writes what an epoch came to: the checkpoint, then its line in the log."""
    claim()
    entry = record["history"][-1]
    with held():
        checkpoints.save(entry["epoch"], state, record)
        log.write("epoch", **run.about, **entry)


def _log_what_a_kill_left_out(run: Run, log: MetricsLog, history: list[Entry]) -> None:
    """Writes the line of the last epoch, where a kill or a full disk came after its checkpoint."""
    entry = {**run.about, **(history[-1] if history else {})}
    if history and not any(
        line["event"] == "epoch" and entry.items() <= line.items() for line in log.lines()
    ):
        log.write("epoch", **entry)


@contextlib.contextmanager
def _saying_how_far(name: str, epochs: int, checkpoints: Checkpoints | None) -> Iterator[None]:
    """Notes at Ctrl-C and SIGTERM how far the run is saved, for the last line on the screen."""
    try:
        yield
    except KeyboardInterrupt as error:
        if checkpoints is None:  # process 0 says it
            raise
        saved = max(checkpoints.steps(), default=0)
        error.add_note(
            f"{name} is saved up to epoch {saved} of {epochs}"
            if saved
            else f"{name} has no epoch of {epochs} that is saved yet"
        )
        raise


def surroundings() -> dict[str, Any]:
    """Returns the versions and the machine of this process, of JSON's types."""
    devices = jax.devices()
    return {
        "tempalign": tempalign.__version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": len(devices),
        "device": devices[0].device_kind,
        **({"processes": processes.count()} if processes.count() > 1 else {}),
    }


def _check_finite(name: str, number: int, state: Any, entry: Entry) -> None:
    """Refuses to save what no longer is a number."""
    wrong = [key for key, value in entry.items() if not all(map(_finite, jax.tree.leaves(value)))]
    wrong += [key for key, leaf in named_leaves(state).items() if not _finite(leaf)]
    if wrong:
        refuse_names(name, number, wrong)


def _finite(value: Any) -> bool:
    array = np.asarray(value)
    if array.dtype.kind not in "fc":  # such as bfloat16; all whole numbers and texts are finite
        array = array.astype(np.float32) if array.dtype.kind == "V" else np.zeros(0)
    return bool(np.isfinite(array).all())


class _Display:
    """Progress over all epochs of a run, and a line at the end of one that was not quick."""

    def __init__(self, run: Run, epochs: int, done: int) -> None:
        self._run, self._epochs, self._done = run, epochs, 0
        self._began = time.monotonic()
        self._bar = progress(total=(epochs - done) * run.steps, desc=run.name, unit=run.unit)

    def advance(self, steps: int) -> None:
        """Counts steps of the epoch that is being trained."""
        steps = min(steps, self._run.steps - self._done)
        self._done += steps
        self._bar.update(steps)

    def end_epoch(self, entry: Entry) -> None:
        """Counts what the epoch did not, and shows what it logged."""
        shown = f"epoch {entry['epoch']}/{self._epochs}, {_shown(entry)}"
        self._bar.set_postfix_str(shown, refresh=False)
        self.advance(self._run.steps - self._done)
        self._done = 0

    def close(self) -> None:
        """Ends the display, also where an epoch raised."""
        self._bar.close()

    def say(self, trained: Trained) -> None:
        """Prints a line that stays, of a run that was not quick."""
        if time.monotonic() < self._began + SECONDS_BETWEEN_LINES:
            return
        last = trained.last
        print(
            f"{trained.name}: epoch {last['epoch']}/{self._epochs}, {_shown(last)}, "
            f"{trained.seconds:.1f} s",
            flush=True,
        )


def _shown(entry: Entry) -> str:
    """The numbers of an epoch in a line."""
    numbers = {
        key.replace("_", " "): value
        for key, value in entry.items()
        if isinstance(value, float) and key not in _NOT_SHOWN
    }
    return ", ".join(f"{key} {value:.4f}" for key, value in numbers.items())
