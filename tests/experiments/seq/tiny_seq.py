"""Tiny options of what both SEQ experiments share, episodes, and runs without training."""

import numpy as np

from experiments.seq.results import RunResult, Variant
from experiments.seq.settings import SeqOptions
from experiments.seq.steps import Episode, Snapshot
from experiments.seq.training import SeqRun
from experiments.shared.run import Trained
from experiments.shared.scaling import Scaling

CLASSES, SIZE, TAU = 3, 5, 4
SCALING = Scaling(np.full(SIZE, 0.5, np.float32), np.full(SIZE, 2, np.float32))


def options(**changes) -> SeqOptions:
    """Returns options under which a run takes a moment."""
    values = {
        "tau": TAU,
        "num_support": 2,
        "alpha": 3.0,
        "beta": 0.5,
        "exemplar_iterations": 2,
        "epochs": 3,
        "steps_per_epoch": 2,
        "learning_rate": 0.1,
    }
    return SeqOptions(**(values | changes))


def episode(step: int = 0, *, frames: int = TAU, by_frame: bool = False) -> Episode:
    """Returns two queries and two support sequences of each class."""
    rng = np.random.default_rng([step, 7])
    labels = np.repeat(np.arange(CLASSES), 2).astype(np.int32)

    def sequences(of: np.ndarray, length: int) -> np.ndarray:
        noise = rng.normal(size=(len(of), length, SIZE))
        return (2 * np.eye(CLASSES, SIZE)[of][:, None] + noise).astype(np.float16)

    query = sequences(labels, frames)
    support = sequences(labels, TAU).reshape(CLASSES, 2, TAU, SIZE)
    of_frames = rng.integers(0, CLASSES, (len(labels), frames)).astype(np.int32)
    classes = np.arange(CLASSES, dtype=np.int32)
    return Episode(query, labels, support, classes, of_frames if by_frame else None)


class TinyRun(SeqRun):
    """A run on the episodes above; tested on the queries of one of them."""

    def __init__(self, settings: SeqOptions, variant: Variant, seed: int = 0) -> None:
        """Prepares a run."""
        super().__init__(
            settings,
            variant,
            seed,
            scaling=SCALING,
            num_classes=CLASSES,
            untested={"classes": np.zeros(6, np.int32)},
        )

    def draw(self, step):
        """Returns the episode of a step."""
        return episode(step)

    def test(self, params):
        """Classifies the first frames of the queries of an episode."""
        kernel, bias = (np.asarray(params["linear"][name]) for name in ("kernel", "bias"))
        found = np.argmax(SCALING.apply(episode(99).query[:, 0]) @ kernel + bias, axis=1)
        right = float(np.mean(found == episode(99).labels))
        return {"classes": found.astype(np.int32)}, {"accuracy": right}


def result(method: str, seed: int, accuracy: float, right=None, **changes) -> RunResult:
    """Returns a run that was not trained: its accuracy, and which of the test items are right."""
    variant = Variant.of(options(), method, **changes)
    entry = {"epoch": 1, "loss": 1.0, "cross_entropy": 1.0, "accuracy": accuracy}
    tested = {} if right is None else {"right": np.asarray(right)}
    state = Snapshot(None, SCALING, tested)
    trained = Trained(variant.run_name(seed), state, [entry], [{"epochs": [1, 1], "seconds": 1.0}])
    return RunResult(variant, seed, trained)
