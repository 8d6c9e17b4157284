"""Training: what a step does, how methods differ, what an epoch depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny_seq

import tempalign
from experiments.seq.results import Variant
from experiments.seq.settings import METHODS
from experiments.seq.steps import in_parts, make_spec, train_step
from experiments.seq.training import saved_head, variants
from experiments.shared.checkpoints import named_leaves
from experiments.shared.errors import UserError
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.run import train

CLASSES, SIZE = tiny_seq.CLASSES, tiny_seq.SIZE
ALIGN = {"seq", "seq_no_smooth"}
SMOOTH = {"seq", "seq_no_align"}


def softmax(scores):
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def terms_of(method, params, episode):
    """The loss of an episode, term by term, in float64."""
    kernel, bias = (np.asarray(params["linear"][n], np.float64) for n in ("kernel", "bias"))
    query, support = (
        softmax(tiny_seq.SCALING.apply(part.astype(np.float64)) @ kernel + bias)
        for part in (episode.query, episode.support)
    )
    if episode.frame_labels is None:
        of_class = query.mean(axis=1)[np.arange(len(query)), episode.labels]
    else:
        of_class = np.take_along_axis(query, episode.frame_labels[..., None], axis=-1)
    smooth = (np.diff(query, axis=1) ** 2).sum(axis=-1).mean() if query.shape[1] > 1 else 0
    align = []
    if method in ALIGN:
        exemplars = np.asarray(
            tempalign.soft_dtw_barycenter(support.astype(np.float32), 0.1, num_iters=2), np.float64
        )
        for one, label in zip(query, episode.labels, strict=True):
            cost = ((one[:, None] - exemplars[label][None]) ** 2).sum(axis=-1)
            align.append(oracles.loop_soft_dtw(cost, 0.1, True)[0])
    return np.mean(align or [0]), -np.log(of_class).mean(), smooth * (method in SMOOTH)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("method", "by_frame"),
    [
        ("baseline", False), ("trajectory", False), ("seq", False), ("seq_no_align", False),
        ("baseline", True), ("seq", True),
    ],
)  # fmt: skip
def test_the_loss_of_a_method(method, by_frame):
    spec, state = make_spec(tiny_seq.options(), method, SIZE, CLASSES, 0)
    frames = 1 if method == "baseline" and not by_frame else tiny_seq.TAU
    episode = tiny_seq.episode(frames=frames, by_frame=by_frame)
    before = jax.tree.map(np.array, state.params)
    align, entropy, smooth = terms_of(method, before, episode)
    new, totals = train_step(
        spec, state, jnp.zeros(4), episode, tiny_seq.SCALING, (3.0, 0.5, 0.1), 0.1
    )
    total = align + 3 * entropy + 0.5 * smooth
    np.testing.assert_allclose(totals, [total, align, entropy, smooth], rtol=2e-3, atol=1e-4)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), new.params, before)
    # The first step of AdamW: the rate for every number, and the decay.
    assert 0.09 < moved["linear"]["kernel"] < 0.11


def test_which_terms_a_method_has():
    specs = {m: make_spec(tiny_seq.options(), m, SIZE, CLASSES, 0)[0] for m in METHODS}
    assert {m for m, spec in specs.items() if spec.align} == ALIGN
    assert {m for m, spec in specs.items() if spec.smooth} == SMOOTH


def test_first_weights_depend_on_the_seed_alone():
    states = [make_spec(tiny_seq.options(), m, SIZE, CLASSES, 3)[1].params for m in METHODS]
    for other in states[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, states[0])
    another = make_spec(tiny_seq.options(), "seq", SIZE, CLASSES, 4)[1].params
    assert (another["linear"]["kernel"] != states[0]["linear"]["kernel"]).any()


@pytest.mark.slow
def test_exemplars_of_some_classes_only():
    """With classes drawn for an episode, the scores and the terms are still of all classes."""
    spec, state = make_spec(tiny_seq.options(), "seq", SIZE, CLASSES, 0)
    whole = tiny_seq.episode()
    chosen = whole.labels != 1
    some = whole._replace(
        query=whole.query[chosen],
        labels=whole.labels[chosen],
        support=whole.support[[0, 2]],
        classes=whole.classes[[0, 2]],
    )
    before = jax.tree.map(np.array, state.params)
    new, totals = train_step(
        spec, state, jnp.zeros(4), some, tiny_seq.SCALING, (3.0, 0.5, 0.1), 0.1
    )
    # Those of the other class are not looked at.
    full = some._replace(support=whole.support, classes=whole.classes)
    align, entropy, smooth = terms_of("seq", before, full)
    expected = [align + 3 * entropy + 0.5 * smooth, align, entropy, smooth]
    np.testing.assert_allclose(totals, expected, rtol=2e-3, atol=1e-4)
    kernel = np.asarray(new.params["linear"]["kernel"])
    assert (kernel[:, 1] != before["linear"]["kernel"][:, 1]).any()


def test_a_run_learns_and_is_a_function_of_its_state(tmp_path):
    settings = tiny_seq.options(steps_per_epoch=5)
    run = tiny_seq.TinyRun(settings, Variant.of(settings, "seq"))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    trained = train(run, tmp_path / "run", log, epochs=3, keep=2, identity={})
    assert trained.last["accuracy"] > 0.6
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    rates = [entry["learning_rate"] for entry in trained.history]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.025], rtol=1e-5)  # a cosine by epochs
    # An epoch is a pure function: what was killed ends as what was not.
    state = run.like()
    for number in (1, 2, 3):
        stored = jax.tree.map(np.asarray, state)
        state, entry = run.epoch(stored, number, lambda steps: None)
        again, same = run.epoch(stored, number, lambda steps: None)
        assert entry == same
        jax.tree.map(np.testing.assert_array_equal, state, again)
    jax.tree.map(np.testing.assert_array_equal, state, trained.state)

    # The head of a checkpoint, for --predict.
    graphdef, params, scaling = saved_head(named_leaves(trained.state))
    assert graphdef == run.spec.graphdef
    jax.tree.map(np.testing.assert_array_equal, params, trained.state.state.params)
    np.testing.assert_array_equal(scaling.std, tiny_seq.SCALING.std)


def test_methods_log_the_terms_that_they_have():
    settings = tiny_seq.options(steps_per_epoch=1)
    for method in ("trajectory", "seq"):
        run = tiny_seq.TinyRun(settings, Variant.of(settings, method))
        _, entry = run.epoch(run.start(), 1, lambda steps: None)
        assert (entry["align"] is not None) == (method in ALIGN)
        assert (entry["smooth"] is not None) == (method in SMOOTH)


def test_numbers_that_are_not_finite(tmp_path):
    """Also after the last step of an epoch, whose loss was still finite."""
    settings = tiny_seq.options(learning_rate=1e38, steps_per_epoch=1)
    run = tiny_seq.TinyRun(settings, Variant.of(settings, "trajectory"))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"trajectory-seed0: epoch 2, batch 1 of 1: the loss is"):
        train(run, tmp_path / "run", log, epochs=3, keep=2, identity={})


def test_what_is_trained():
    settings = tiny_seq.options(
        methods=("baseline", "seq"), sweep=("alpha", "num_support"), sweep_alpha=(1.0, 3.0),
        sweep_num_support=(2, 5),
    )  # fmt: skip
    names = [variant.run_name(4) for variant in variants(settings)]
    # The job's own alpha and N are among the methods already.
    assert names == ["baseline-seed4", "seq-seed4", "seq-num_support5-seed4", "seq-alpha1-seed4"]
    close = [Variant.of(settings, "seq", alpha=a, swept="alpha").name for a in (1 / 3, 0.333333)]
    assert close[0] != close[1]


def test_in_parts():
    items = np.arange(7.0)[:, None]
    seen = []

    def double(part):
        seen.append(part.shape)
        return 2 * part

    np.testing.assert_array_equal(in_parts(double, items, 3), 2 * items)
    assert seen == [(3, 1)] * 3
