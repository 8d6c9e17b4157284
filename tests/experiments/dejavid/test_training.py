import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import steps, training
from experiments.dejavid.initial import initial_centroids, make_head
from experiments.dejavid.results import RunResult
from experiments.dejavid.steps import StepSpec
from experiments.dejavid.training import DejaVidRun
from experiments.shared import run
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.scaling import Scaling
from experiments.tse.batches import epoch_batches

METHODS = ("frozen_weights", "weights_only", "full")


@pytest.fixture(scope="module")
def dataset():
    return tiny_tse.dataset()


def train(dataset, folder, method="full", seed=0, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = tiny_tse.settings(**changes)
    log = MetricsLog(folder / "metrics.jsonl")
    one = DejaVidRun(dataset, settings, method, seed)
    trained = run.train(one, folder / "run", log, epochs=settings.epochs, keep=1, identity={})
    return RunResult(method, seed, 0, trained)


def random_head(dataset, settings):
    head = make_head(dataset, settings, fixed_paths=settings.fixed_epoch_paths)
    head.centroids[...] = jax.random.normal(jax.random.key(0), head.centroids.shape)
    head.refresh_paths()
    return head


def start(dataset, learned, **changes):
    """Returns the spec and the state of a head with random centroids, and a batch."""
    settings = tiny_tse.settings(**changes)
    head = random_head(dataset, settings)
    graphdef, params, paths = steps.split_head(head)
    spec = StepSpec(graphdef, learned, settings.pooling, settings.weight_decay)
    batch = next(iter(epoch_batches(dataset.train, settings.batch_size, seed=0)))
    return spec, steps.init_state(spec, params, paths), batch


RATES = {"centroids": np.float32(0.01), "log_weights": np.float32(0.03)}


def one_step(spec, state, batch, rates=RATES):
    scaling = Scaling.identity(tiny_tse.NUM_FEATURES)
    # The step takes its state's buffers, so it is given copies.
    state = jax.tree.map(jnp.copy, state)
    return steps.train_step(spec, state, jnp.zeros(3), batch, rates, scaling)


def test_step_adds_up_loss_correct_and_count(dataset):
    spec, state, batch = start(dataset, ("centroids", "log_weights"))
    _, totals = one_step(spec, state, batch)
    head = random_head(dataset, tiny_tse.settings())
    logits = np.asarray(head(batch.x, lengths=batch.lengths), np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), batch.labels]
    correct = (logits.argmax(1) == batch.labels).sum()
    np.testing.assert_allclose(totals, [losses.sum(), correct, len(logits)], rtol=1e-5)


def test_filler_rows_change_nothing(dataset):
    spec, state, batch = start(dataset, ("centroids", "log_weights"))
    valid = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    ours, totals = one_step(spec, state, batch._replace(valid=valid))
    other = batch.x.copy()
    other[3:] = 7.0
    labels = np.where(valid == 1, batch.labels, 0)
    theirs, other_totals = one_step(
        spec, state, batch._replace(valid=valid, x=other, labels=labels)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    np.testing.assert_array_equal(totals, other_totals)
    assert totals[2] == 3


@pytest.mark.parametrize("learned", [("centroids",), ("log_weights",)])
def test_frozen_parameters_have_no_optimiser_state_and_stay(dataset, learned):
    spec, state, batch = start(dataset, learned)
    after, _ = one_step(spec, state, batch)
    moments = state.optimizer[0]
    assert tuple(moments.mu) == tuple(moments.nu) == learned
    for name in ("centroids", "log_weights"):
        same = np.array_equal(state.params[name], after.params[name])
        assert same == (name not in learned)


def test_each_group_has_its_own_learning_rate(dataset):
    """AdamW's first step is the rate times the sign of the gradient."""
    spec, state, batch = start(dataset, ("centroids", "log_weights"))
    after, _ = one_step(spec, state, batch)
    for name, rate in RATES.items():
        moved = np.abs(np.asarray(after.params[name] - state.params[name]))
        assert np.median(moved[moved > 0]) == pytest.approx(rate, rel=1e-2)


def test_weight_decay_shrinks_parameters_by_rate_times_decay(dataset):
    plain, state, batch = start(dataset, ("centroids",))
    decaying = dataclasses.replace(plain, weight_decay=0.5)
    without, _ = one_step(plain, state, batch)
    with_decay, _ = one_step(decaying, state, batch)
    np.testing.assert_allclose(
        without.params["centroids"] - with_decay.params["centroids"],
        0.01 * 0.5 * state.params["centroids"],
        atol=1e-6,
    )


def test_learning_rate_is_a_cosine_of_whole_epochs():
    settings = tiny_tse.settings(epochs=36, learning_rate=0.008)
    rates = [training.learning_rate(settings, epoch) for epoch in range(1, 37)]
    expected = 0.008 * (1 + np.cos(np.pi * np.arange(36) / 36)) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)


def test_paths_are_copied_once_an_epoch(dataset):
    spec, state, batch = start(dataset, ("centroids", "log_weights"))
    after, _ = one_step(spec, state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.paths, state.paths)
    copied = steps.refresh_paths(spec, after)
    # There is one copy of each parameter, under a name that ends in the parameter's.
    copy_of = {name: next(p for p in after.params if name.endswith(p)) for name in copied.paths}
    assert sorted(copy_of.values()) == sorted(after.params) == ["centroids", "log_weights"]
    for name, param in copy_of.items():
        np.testing.assert_array_equal(copied.paths[name], after.params[param])
        assert not np.array_equal(copied.paths[name], state.paths[name])
    spec, state, _ = start(dataset, ("centroids",), fixed_epoch_paths=False)
    assert steps.refresh_paths(spec, state) is state and not state.paths


def test_step_evaluates_along_the_copied_paths(dataset):
    """Other path copies, other loss: the live parameters do not decide the paths."""
    spec, state, batch = start(dataset, ("centroids", "log_weights"))
    _, totals = one_step(spec, state, batch)
    reversed_paths = {name: copy[:, ::-1] for name, copy in state.paths.items()}
    _, others = one_step(spec, state._replace(paths=reversed_paths), batch)
    assert totals[0] != others[0]


def test_pooling_takes_the_mean_of_the_true_frames():
    x = np.full((2, 6, 3), np.nan, np.float32)
    x[0, :2] = [[1, 2, 3], [3, 4, 5]]
    x[1, :6] = 2
    scaling = Scaling(np.ones(3, np.float32), np.full(3, 2, np.float32))
    pooled, lengths = steps.prepare(jnp.asarray(x), jnp.array([2, 6]), scaling, "mean")
    np.testing.assert_allclose(pooled[:, 0], [[0.5, 1, 1.5], [0.5, 0.5, 0.5]])
    assert pooled.shape == (2, 1, 3) and lengths.tolist() == [1, 1]


def test_first_centroids_depend_on_seed_and_take_what_there_is(dataset):
    first = initial_centroids(dataset, tiny_tse.settings(), 0)
    assert first.shape == (3, 4, tiny_tse.NUM_FEATURES)
    assert first[0, 0].mean() < first[0, -1].mean()  # "rise" rises
    assert first[1, 0].mean() > first[1, -1].mean()
    assert not np.array_equal(first, initial_centroids(dataset, tiny_tse.settings(), 1))
    # More samples wanted than a class has: all of them, each once, so the seed does not matter.
    all_of_them = tiny_tse.settings(dba_samples=30)
    np.testing.assert_array_equal(
        initial_centroids(dataset, all_of_them, 0), initial_centroids(dataset, all_of_them, 1)
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_run_learns(dataset, tmp_path, method):
    result = train(dataset, tmp_path, method, epochs=6)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.last["test_top1"] >= 0.9
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.picked_on == "test_top1"
    assert result.best["test_top1"] == max(entry["test_top1"] for entry in result.history)
    assert result.last["test_top5"] is None  # three classes
    accuracy = np.mean(result.predictions == dataset.test.labels)
    assert accuracy == pytest.approx(result.last["test_top1"])
    first = initial_centroids(dataset, tiny_tse.settings(epochs=6), 0)
    assert np.array_equal(result.centroids, first) == (method == "weights_only")
    assert np.all(result.log_weights == 0) == (method == "frozen_weights")


def test_the_best_epoch_is_that_of_the_validation_split(tmp_path):
    result = train(tiny_tse.dataset_with_val(), tmp_path, epochs=2)
    assert result.picked_on == "val_top1"
    assert all(0 <= entry["val_top1"] <= 1 for entry in result.history)
    assert result.history[-1]["test_top1"] == np.mean(
        result.predictions == tiny_tse.dataset().test.labels
    )
    history = [
        {"epoch": epoch, "val_top1": epoch / 9, "test_top1": 1 - epoch / 9} for epoch in (1, 2)
    ]
    trained = dataclasses.replace(result.trained, history=history)
    assert dataclasses.replace(result, trained=trained).best == history[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"diagonal": True},
        {"fixed_epoch_paths": False},
        {"standardize": True, "weight_init": "normal"},
        {"methods": ("custom",), "learn_centroids": False},
    ],
    ids=str,
)
def test_ablations_train(dataset, tmp_path, changes):
    method = changes.get("methods", ("full",))[0]
    result = train(dataset, tmp_path, method, epochs=5, **changes)
    assert result.last["loss"] < result.history[0]["loss"]
    assert result.last["test_top1"] >= 0.8


def test_pooling_makes_the_head_blind_to_order(dataset, tmp_path):
    result = train(dataset, tmp_path, epochs=4, pooling="mean")
    assert result.centroids.shape == (3, 1, tiny_tse.NUM_FEATURES)
    assert result.last["test_top1"] <= 0.8  # rise and fall have equal means


def test_frozen_weights_stay_one_whatever_the_init(dataset, tmp_path):
    result = train(dataset, tmp_path, "frozen_weights", epochs=1, weight_init="normal")
    assert np.all(result.log_weights == 0)


def test_two_runs_are_equal_bit_for_bit(dataset, tmp_path):
    one = train(dataset, tmp_path / "one", epochs=2)
    two = train(dataset, tmp_path / "two", epochs=2, num_threads=2)
    for name in ("centroids", "log_weights", "test_logits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    other = train(dataset, tmp_path / "other", epochs=2, seed=1)
    assert not np.array_equal(one.centroids, other.centroids)


def test_an_epoch_says_what_was_measured(dataset, tmp_path):
    result = train(dataset, tmp_path, epochs=2)
    assert set(result.last) == {
        "epoch", "loss", "train_accuracy", "test_top1", "test_top5", "learning_rate", "seconds"
    }  # fmt: skip
    assert result.last["learning_rate"] == pytest.approx(0.025)
    assert 0 < result.last["train_accuracy"] <= 1
    assert result.trained.state.test_logits.shape == (21, 3)


def test_top1_and_top5_by_hand():
    scores = np.zeros((4, 7))
    scores[0, 6] = 1  # best
    scores[1, [2, 3, 4, 5]] = 1  # 6 is behind these and, being equal, behind 0 and 1
    scores[2, 0] = 1  # 4 is the fifth: ties go to the smaller class
    scores[3, 6] = np.nan  # worse than everything
    top1, top5 = training.accuracies(scores, np.array([6, 6, 4, 6]))
    assert (top1, top5) == (0.25, 0.5)
    assert training.accuracies(scores, np.array([6, 2, 0, 0])) == (1.0, 1.0)
    assert training.accuracies(scores[:, :5], np.array([0, 2, 0, 0])) == (1.0, None)


def test_runs_of_equal_shapes_share_the_compiled_step(dataset, tmp_path):
    train(dataset, tmp_path / "one", epochs=1)
    compiled = steps.train_step._cache_size()
    train(dataset, tmp_path / "two", epochs=2, seed=5, learning_rate=0.01)
    assert steps.train_step._cache_size() == compiled
