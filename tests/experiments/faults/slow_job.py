"""A job like any other (files that are read by threads, checkpoints, log, report, picture), slowed.

It is started in processes of its own, which are forked from one that has imported everything.
"""

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.shared import command
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.fingerprint import dataset_identity
from experiments.shared.job import JobOptions, run_job
from experiments.shared.options import option
from experiments.shared.pictures import Picture
from experiments.shared.reports import Report, sessions_of
from experiments.shared.run import Run
from experiments.shared.tables import Table
from experiments.tse import index_folder
from experiments.tse.batches import epoch_batches

EPOCHS = 6


@dataclasses.dataclass(frozen=True)
class Settings(JobOptions):
    data_dir: str = option("data", "Data", "Where it is.", path=True, changes_result=False)
    epochs: int = option(EPOCHS, "Training", "How long.", minimum=1, grows=True)
    pause: float = option(0.0, "Training", "Seconds a batch.", minimum=0, changes_result=False)


class State(NamedTuple):
    w: np.ndarray
    count: np.ndarray


class SlowRun(Run[State]):
    """Sums over batches, weighted by when they came."""

    name, about = "sums-seed0", {"seed": 0}

    def __init__(self, dataset, settings):
        self._dataset, self._settings = dataset, settings

    def start(self):
        return State(np.zeros((32, self._dataset.num_features), np.float32), np.int32(0))

    def epoch(self, state, number, advance):
        w = state.w.copy()
        batches = epoch_batches(self._dataset.train, 4, seed=0, epoch=number, num_threads=2)
        for batch in batches:
            w = (w * np.float32(0.9) + batch.x.sum((0, 1))).astype(np.float32)
            time.sleep(self._settings.pause)
        return State(w, np.int32(state.count + 1)), {"loss": float(np.abs(w).mean())}


def run(settings):
    return run_job(
        settings,
        load=lambda settings: index_folder.load(settings.data_dir),
        identify=lambda data, _, digests: dataset_identity(
            data.contents(digests), data.class_names
        ),
        num_bytes=lambda data, settings: 1000,
        work=work,
    )


def work(dataset, settings, workspace):
    trained = workspace.train(SlowRun(dataset, settings), epochs=settings.epochs)
    baseline = workspace.once("baseline", "zero", lambda: {"loss": 0.0})
    table = Table(("run", "loss"), ((trained.name, f"{trained.last['loss']:.6f}"), ("zero", "0")))
    numbers = {"loss": trained.last["loss"], "baseline": baseline["loss"]}
    return Report(
        "Sums", "They are large.", {"Losses": table}, settings, numbers=numbers,
        drawings=[("loss.png", draw)], sessions=sessions_of([trained]),
    ).write(workspace.folder)  # fmt: skip


def draw():
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return figure, Picture("", "A line", "It rises.")


def write_data(folder: Path) -> Path:
    """Writes twelve sequences to train on and one to test on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["id,path,label,split"]
    for number in range(13):
        np.save(folder / f"{number}.npy", rng.normal(size=(5, 8)).astype(np.float32))
        lines.append(f"{number},{number}.npy,{number % 2},{'test' if number == 12 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines))
    return folder


def result(out_dir: Path):
    """What a job has come to, without times: the last state, its history, log and report."""
    with Checkpoints(out_dir / "checkpoints" / SlowRun.name) as checkpoints:
        step, arrays, record = checkpoints.newest()
    report = json.loads((out_dir / "report.json").read_text())
    lines = map(json.loads, (out_dir / "metrics.jsonl").read_text().splitlines())
    losses = {line["epoch"]: line["loss"] for line in lines if line["event"] == "epoch"}
    return {
        "step": step,
        "arrays": {name: array.tobytes() for name, array in arrays.items()},
        "history": [(entry["epoch"], entry["loss"]) for entry in record["history"]],
        "report": [report[name] for name in ("tables", "loss", "baseline", "pictures")],
        "log": sorted(losses.items()),
        "picture": (out_dir / "loss.png").read_bytes()[:4],
    }


def saved_epochs(out_dir: Path) -> int:
    """The newest checkpoint; 0 for none."""
    found = [int(path.name) for path in out_dir.glob("checkpoints/*/*") if path.name.isdecimal()]
    return max(found, default=0)


# Jobs in processes of their own.

_CONTEXT = multiprocessing.get_context("forkserver")
# This file is not found there: the folder of the tests is on the path of this process alone.
_CONTEXT.set_forkserver_preload(
    [
        *(f"experiments.shared.{name}" for name in ("command", "job", "pictures", "reports")),
        *("experiments.tse.index_folder", "experiments.tse.batches"),
        *("matplotlib.backends.backend_agg", "matplotlib.pyplot"),
    ]
)


class Started:
    """A job that is at work in another process; what it says goes to a file."""

    def __init__(self, says: Path, *flags, spoil=None) -> None:
        """Starts it; `spoil`, a function of a module, is called there before."""
        self._says = says
        self._process = _CONTEXT.Process(target=_child, args=(str(says), flags, spoil))
        self._process.start()
        assert self.until(says.exists)

    def until(self, condition, seconds=60.0):
        """Waits for a condition while the job is at work; returns whether it came."""
        end = time.monotonic() + seconds
        while self._process.is_alive() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.002)
        return bool(condition())

    def send(self, number):
        os.kill(self._process.pid, number)

    @property
    def pid(self):
        return self._process.pid

    def end(self):
        """Waits; returns (exit code, what it said)."""
        self._process.join(120)
        assert self._process.exitcode is not None, "it hangs"
        return self._process.exitcode, self._says.read_text()


def _child(says, flags, spoil):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    descriptor = os.open(says, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    try:
        if spoil is not None:
            spoil[0](*spoil[1:])
        command.main("", Settings, run, ["job", *flags])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
