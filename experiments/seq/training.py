"""What a run of SEQ is: how it starts, and what an epoch does."""

import abc
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.seq.results import Variant
from experiments.seq.settings import SeqOptions
from experiments.seq.steps import (
    Episode,
    Params,
    Snapshot,
    Tested,
    make_spec,
    place_episode,
    train_step,
)
from experiments.shared import devices
from experiments.shared.checkpoints import Arrays
from experiments.shared.finite import Watch
from experiments.shared.run import Advance, Entry, Run
from experiments.shared.scaling import Scaling
from tempalign import heads


class SeqRun(Run[Snapshot]):
    """One variant with one seed, tested after every epoch.

    A room says what an episode is, and how the test split is evaluated.
    """

    unit = "steps"

    def __init__(
        self,
        options: SeqOptions,
        variant: Variant,
        seed: int,
        *,
        scaling: Scaling,
        num_classes: int,
        untested: Tested,
        scaled: bool = False,
    ) -> None:
        """Prepares a run.

        Args:
            options: of training; N, gamma and alpha are those of the variant.
            variant: what to train.
            seed: of the first weights.
            scaling: of the features.
            num_classes: C.
            untested: arrays of the shapes of what `test` returns.
            scaled: whether episodes hold features that are scaled already.
        """
        self.name, self.about = variant.run_name(seed), variant.about() | {"seed": seed}
        self.steps = options.steps_per_epoch
        num_features = len(scaling.mean)
        self.spec, first = make_spec(options, variant.method, num_features, num_classes, seed)
        self._options, self._variant, self._first = options, variant, first
        self._scaling, self._untested = scaling, untested
        self._of_episodes = Scaling.identity(num_features) if scaled else scaling

    @abc.abstractmethod
    def draw(self, step: int) -> Episode:
        """Returns the episode of a step, counted from 0: a pure function of seed and step."""

    @abc.abstractmethod
    def test(self, params: Params) -> tuple[Tested, Mapping[str, float]]:
        """Returns (what these parameters say of the test split, the metrics of that)."""

    def start(self) -> Snapshot:
        """Returns the snapshot before the first epoch."""
        return Snapshot(self._first, self._scaling, self._untested)

    def epoch(self, state: Snapshot, number: int, advance: Advance) -> tuple[Snapshot, Entry]:
        """Trains one epoch, then tests."""
        options, variant, spec = self._options, self._variant, self.spec
        training = devices.copied(spec.mesh, state.state)
        rate = learning_rate(options, number)
        weights = (variant.alpha, options.beta, variant.gamma)
        scaling = jax.tree.map(jnp.asarray, self._of_episodes)
        watch = Watch(self.name, number, self.steps)
        scaling, totals = devices.place_whole(spec.mesh, (scaling, jnp.zeros(4)))
        for step in range((number - 1) * self.steps, number * self.steps):
            episode = place_episode(spec, self.draw(step))
            training, totals = train_step(spec, training, totals, episode, scaling, weights, rate)
            watch.add(totals)
            advance(1)
        watch.end()
        loss, align, entropy, smooth = (np.asarray(totals) / self.steps).tolist()
        training = devices.on_host(spec.mesh, training)
        tested, metrics = self.test(training.params)
        entry = {
            "loss": loss,
            "align": align if spec.align else None,
            "cross_entropy": entropy,
            "smooth": smooth if spec.smooth else None,
            **metrics,
            "learning_rate": rate,
        }
        return Snapshot(training, state.scaling, tested), entry


def learning_rate(options: SeqOptions, epoch: int) -> float:
    """Returns the rate in an epoch (from 1): a cosine to 0, by whole epochs."""
    schedule = optax.cosine_decay_schedule(options.learning_rate, options.epochs)
    return float(schedule(epoch - 1))


def num_bytes(num_features: int, num_classes: int, num_tested: int, options: SeqOptions) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most.

    Args:
        num_features: F.
        num_classes: C.
        num_tested: numbers of four bytes that a checkpoint keeps of the test split.
        options: of the job.
    """
    runs = len(options.seeds) * len(variants(options))
    # Weights with two moments, the scaling, the test split, and what surrounds them.
    one = 4 * (3 * (num_features + 1) * num_classes + 2 * num_features + num_tested) + 50_000
    return one * runs * (options.keep_checkpoints + 1)


def variants(options: SeqOptions) -> list[Variant]:
    """Returns what to train with each seed: the methods, then the other values of sweeps."""
    found = [Variant.of(options, method) for method in options.methods]
    for name in options.swept:
        own = getattr(options, name)
        values = [value for value in options.sweep_values(name) if value != own]
        found += [Variant.of(options, "seq", **{name: value}, swept=name) for value in values]
    return found


def saved_head(arrays: Arrays) -> tuple[nnx.GraphDef, Params, Scaling]:
    """Returns the head of a checkpoint without and with its arrays, and the scaling before it."""
    linear = {name: arrays[f"state.params.linear.{name}"] for name in ("kernel", "bias")}
    head = heads.SeqClassifier(*linear["kernel"].shape, rngs=nnx.Rngs(0))
    scaling = Scaling(arrays["scaling.mean"], arrays["scaling.std"])
    return nnx.split(head)[0], {"linear": linear}, scaling
