"""Trains the tiny data in a process that kills itself: `killed_run.py FOLDER WHERE CENTROIDS`.

WHERE is `step:N`, before the N-th step of training; `arrays:N`, half-way through saving checkpoint
N, when its arrays are written and its record is not; or `commit:N`, when all of it is written and
only its name is still the temporary one. CENTROIDS is a file with the first centroids: making them
is most of the seconds of so short a run, and has nothing to do with the kill.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import tiny_tse

from experiments.dejavid import training
from experiments.shared.metrics_log import MetricsLog


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_step(number: int) -> None:
    train_step, calls = training.train_step, []

    def counting_step(*args):
        calls.append(1)
        if len(calls) == number:
            kill()
        return train_step(*args)

    training.train_step = counting_step


def kill_at_rename(number: int, item: str) -> None:
    """Kills before a folder gets its final name: the last thing done for it in a save."""

    def hook(event: str, args: tuple) -> None:
        if event == "os.rename":
            parts = Path(args[1]).parts
            if parts[-1] == (item or str(number)) and parts[-2 if item else -1].startswith(
                str(number)
            ):
                kill()

    sys.addaudithook(hook)


if __name__ == "__main__":
    folder, where = Path(sys.argv[1]), sys.argv[2]
    kind, number = where.split(":")
    if kind == "step":
        kill_at_step(int(number))
    else:
        kill_at_rename(int(number), "arrays" if kind == "arrays" else "")
    centroids = np.load(sys.argv[3])
    training.initial_centroids = lambda *_: centroids
    with MetricsLog(folder / "metrics.jsonl") as log:
        training.train_run(tiny_tse.dataset(), tiny_tse.settings(), "full", 0, folder / "run", log)
