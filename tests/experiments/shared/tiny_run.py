"""A run that takes microseconds, with a state of several types of arrays."""

import signal
from typing import NamedTuple

import numpy as np

from experiments.shared.run import Run


class State(NamedTuple):
    weights: dict
    count: np.ndarray


class TinyRun(Run[State]):
    """A random walk, whose steps depend on the seed and the number of the epoch.

    `hooks` are called in the epochs of their numbers with the state and the entry, and may change
    the entry, send a signal or raise.
    """

    steps = 2

    def __init__(self, method="full", seed=0, hooks=None):
        self.name, self.about = f"{method}-seed{seed}", {"method": method, "seed": seed}
        self.seed, self.hooks = seed, hooks or {}
        self.trained = []

    def start(self):
        rng = np.random.default_rng(self.seed)
        return State({"w": rng.normal(size=(2, 3)).astype(np.float32)}, np.int32(0))

    def epoch(self, state, number, advance):
        self.trained.append(number)
        step = np.random.default_rng([self.seed, number]).normal(size=(2, 3))
        w = (state.weights["w"] * 0.9 + step).astype(np.float32)
        advance(1)
        entry = {"loss": float(np.square(w).sum()), "by_class": w[0].tolist(), "top5": None}
        state = State({"w": w}, np.int32(state.count + 1))
        self.hooks.get(number, lambda state, entry: None)(state, entry)
        return state, entry


def sends(number):
    """A hook that sends a signal."""
    return lambda state, entry: signal.raise_signal(number)


def fails(error):
    """A hook that raises."""

    def hook(state, entry):
        raise error

    return hook


def same(one, other):
    """Whether two `Trained` are equal, bit for bit but for their times."""
    times = ("seconds",)
    return (
        one.name == other.name
        and one.state.count == other.state.count
        and one.state.weights["w"].tobytes() == other.state.weights["w"].tobytes()
        and [{k: v for k, v in entry.items() if k not in times} for entry in one.history]
        == [{k: v for k, v in entry.items() if k not in times} for entry in other.history]
    )
