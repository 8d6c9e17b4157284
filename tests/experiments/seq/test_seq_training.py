"""Training: what a step does, how methods differ, and that a run goes on bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_images

import tempalign
from experiments.seq import training
from experiments.seq.episodes import Sampler
from experiments.seq.features import Features
from experiments.seq.results import main_variant
from experiments.seq.settings import METHODS
from experiments.seq.steps import Scaling, classify, make_spec, train_step
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog

CLASSES, SIZE = 3, 5
SETTINGS = tiny_images.settings("unused", num_support=2, queries=2)


def features(each: int, draws: int, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), each).astype(np.int32)
    images = 2 * np.eye(CLASSES, SIZE)[labels] + rng.normal(size=(len(labels), SIZE))
    drift = rng.normal(size=(len(labels), draws, 1, SIZE)) * np.linspace(0, 1, 3)[:, None]
    sequences = images[:, None, None] + drift
    return Features(images.astype(np.float16), sequences.astype(np.float16), labels)


@pytest.fixture(scope="module")
def sampler():
    train = features(6, 2, 0)
    return Sampler(train, np.arange(len(train.labels)), seed=0)


@pytest.fixture(scope="module")
def test_split():
    return features(20, 1, 1)


def train(folder, sampler, test_split, method="seq", settings=SETTINGS):
    folder.mkdir(exist_ok=True)
    with MetricsLog(folder / "metrics.jsonl") as log:
        return training.train_run(
            test_split, sampler, settings, main_variant(settings, method), 0, CLASSES,
            folder / "run", log,
        )  # fmt: skip


def terms_of(method, sampler, params, spec):
    """The loss of the first episode, term by term, as `tempalign` has it."""
    still = method == "baseline"
    episode = sampler.draw(0, queries=2, support=2, still=still)
    query, support = (
        (np.asarray(part, np.float32) - sampler.mean) / sampler.std
        for part in (episode.query, episode.support)
    )
    kernel, bias = params["linear"]["kernel"], params["linear"]["bias"]
    exemplars = tempalign.soft_dtw_barycenter(
        jax.nn.softmax(support @ kernel + bias), SETTINGS.gamma, num_iters=2
    )
    logits = query @ kernel + bias
    if still:
        of_label = jax.nn.log_softmax(logits)[np.arange(6), 0, episode.labels]
        return 0.0, -float(of_label.mean()), 0.0
    align = [
        tempalign.soft_dtw(jax.nn.softmax(row), exemplars[label], SETTINGS.gamma)
        for row, label in zip(logits, episode.labels, strict=True)
    ]
    mean = jax.nn.softmax(logits).mean(axis=1)[np.arange(6), episode.labels]
    smooth = tempalign.smoothness(jax.nn.softmax(logits)).mean()
    aligned = float(np.mean(align)) if spec.align else 0.0
    return aligned, -float(np.log(mean).mean()), float(smooth) if spec.smooth else 0.0


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_of_each_method(sampler, method):
    spec, state = make_spec(SETTINGS, method, SIZE, CLASSES, 0)
    align, entropy, smooth = terms_of(method, sampler, state.params, spec)
    episode = sampler.draw(0, queries=2, support=2 if spec.align else 0, still=method == "baseline")
    before = jax.tree.map(np.array, state.params)
    new, totals = train_step(
        spec, state, jnp.zeros(4), episode, Scaling(sampler.mean, sampler.std), (3.0, 0.5, 0.1), 0.1
    )
    total = align + 3 * entropy + 0.5 * smooth
    np.testing.assert_allclose(totals, [total, align, entropy, smooth], rtol=2e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), new.params, before)
    # The first step of AdamW: the rate for every number, and the decay.
    assert 0.09 < moved["linear"]["kernel"] < 0.11


def test_first_weights_depend_on_the_seed_alone():
    states = [make_spec(SETTINGS, method, SIZE, CLASSES, 3)[1].params for method in METHODS]
    for other in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, states[0])
    another = make_spec(SETTINGS, "seq", SIZE, CLASSES, 4)[1].params
    assert (another["linear"]["kernel"] != states[0]["linear"]["kernel"]).any()


def test_exemplars_of_some_classes_only(sampler):
    """With classes drawn for an episode, the scores and the terms are still of all classes."""
    spec, state = make_spec(SETTINGS, "seq", SIZE, CLASSES, 0)
    rows = np.arange(18)
    some = Sampler(sampler._features, rows, seed=0, classes_per_episode=2)
    episode = some.draw(0, queries=2, support=2)
    absent = ({0, 1, 2} - set(episode.classes.tolist())).pop()
    scaling = Scaling(some.mean, some.std)
    before = np.array(state.params["linear"]["kernel"])
    new, totals = train_step(spec, state, jnp.zeros(4), episode, scaling, (3.0, 0.5, 0.1), 0.1)
    assert np.isfinite(totals).all()
    assert (np.asarray(new.params["linear"]["kernel"])[:, absent] != before[:, absent]).any()


def test_classification_is_by_the_mean_probability(rng):
    spec, state = make_spec(SETTINGS, "seq", SIZE, CLASSES, 0)
    frames = rng.normal(size=(300, 2, SIZE)).astype(np.float16)
    scaling = Scaling(np.full(SIZE, 0.5, np.float32), np.full(SIZE, 2, np.float32))
    found = classify(spec.graphdef, state.params, frames, scaling)
    kernel, bias = (np.asarray(state.params["linear"][n]) for n in ("kernel", "bias"))
    logits = (frames.astype(np.float32) - 0.5) / 2 @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected.mean(axis=1), atol=1e-6)


def test_a_run_learns_and_goes_on_bit_for_bit(sampler, test_split, tmp_path, monkeypatch):
    straight = train(tmp_path / "straight", sampler, test_split)
    assert len(straight.history) == 3
    assert straight.last["image_accuracy"] > 0.6
    assert straight.history[-1]["loss"] < straight.history[0]["loss"]
    assert straight.last["image_accuracy"] == np.mean(
        straight.image_predictions == test_split.labels
    )

    save, folder = Checkpoints.save, tmp_path / "broken"

    def save_and_stop(self, step, *args):
        save(self, step, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder, sampler, test_split)
    resumed = train(folder, sampler, test_split)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, straight.params)
    np.testing.assert_array_equal(resumed.image_predictions, straight.image_predictions)
    np.testing.assert_array_equal(resumed.sequence_predictions, straight.sequence_predictions)
    for one, other in zip(resumed.history, straight.history, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k != "seconds"
        }
    with MetricsLog(folder / "metrics.jsonl") as log:
        done = [line["epochs_done"] for line in log.lines() if line["event"] == "run_start"]
    assert done == [0, 1]

    # A finished run is read, not trained.
    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_step", never)
    again = train(folder, sampler, test_split)
    jax.tree.map(np.testing.assert_array_equal, again.params, straight.params)


def test_a_loss_that_is_not_finite(sampler, test_split, tmp_path):
    settings = tiny_images.settings("unused", learning_rate=1e30)
    with pytest.raises(ValueError, match="seq seed 0: the loss of epoch 1 is nan"):
        train(tmp_path, sampler, test_split, settings=settings)
