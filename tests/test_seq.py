"""seq_loss and smoothness."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import tempalign

B, T, C, L = 4, 6, 3, 5
LABELS = np.array([2, 0, 1, 2])
LENGTHS = np.array([6, 3, 1, 5])
EXEMPLAR_LENGTHS = np.array([5, 2, 4])


def make_batch(seed=0):
    """Logits, frame labels and exemplars; NaN logits and impossible labels past the lengths."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(B, T, C))
    frames = rng.integers(0, C, (B, T))
    outside = np.arange(T) >= LENGTHS[:, None]
    logits[outside], frames[outside] = np.nan, -100
    exemplars = rng.dirichlet(np.ones(C), (C, L))
    exemplars[np.arange(L) >= EXEMPLAR_LENGTHS[:, None]] = np.nan
    return logits, frames, exemplars


def loop_softmax(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def loop_terms(logits, exemplars, gamma, frames=None):
    """The three terms, one query after the other."""
    terms = []
    for b, label in enumerate(LABELS):
        p = loop_softmax(logits[b, : LENGTHS[b]])
        exemplar = exemplars[label, : EXEMPLAR_LENGTHS[label]]
        cost = oracles.local_cost(p, exemplar, "sqeuclidean")
        align, _, _ = oracles.loop_soft_dtw(cost, gamma, True)
        if frames is None:
            entropy = -np.log(p[:, label].mean())
        else:
            entropy = np.mean([-np.log(p[t, frames[b, t]]) for t in range(len(p))])
        changes = [((p[t] - p[t - 1]) ** 2).sum() for t in range(1, len(p))]
        terms.append((align, entropy, np.mean(changes) if changes else 0.0))
    return np.mean(terms, axis=0)


def loss(logits, exemplars, **options):
    given = dict(query_lengths=LENGTHS, exemplar_lengths=EXEMPLAR_LENGTHS) | options
    return tempalign.seq_loss(logits, LABELS, exemplars, **given)


@pytest.mark.parametrize("sequence", [False, True])
def test_equals_the_loop(x64, sequence):
    logits, frames, exemplars = make_batch()
    frames = frames if sequence else None
    got = loss(logits, exemplars, alpha=2, beta=3.0, gamma=0.3, sequence_labels=frames)
    align, entropy, smooth = loop_terms(logits, exemplars, 0.3, frames)
    assert got.total.dtype == np.float64 and got.total.shape == ()
    np.testing.assert_allclose(got.align, align, rtol=1e-12)
    np.testing.assert_allclose(got.cross_entropy, entropy, rtol=1e-12)
    np.testing.assert_allclose(got.smooth, smooth, rtol=1e-12)
    np.testing.assert_allclose(got.total, align + 2 * entropy + 3 * smooth, rtol=1e-12)
    default = loss(logits, exemplars, sequence_labels=frames)
    align, entropy, smooth = loop_terms(logits, exemplars, 0.1, frames)
    np.testing.assert_allclose(default.total, align + 0.1 * (entropy + smooth), rtol=1e-12)


@pytest.mark.parametrize("term", ["total", "cross_entropy"])
def test_gradients_against_finite_differences(x64, term):
    logits, frames, exemplars = make_batch()
    # The other terms know nothing of the frames' labels.
    frames = frames if term == "cross_entropy" else None

    @jax.jit
    def of_inputs(logits, exemplars, alpha, beta, gamma):
        options = dict(alpha=alpha, beta=beta, gamma=gamma, sequence_labels=frames)
        return getattr(loss(logits, exemplars, **options), term)

    inputs = (logits, exemplars, 0.7, 1.3, 0.2)
    gradients = jax.jit(jax.grad(of_inputs, argnums=(0, 1, 2, 3, 4)))(*inputs)
    for k, gradient in enumerate(gradients):
        value = np.asarray(inputs[k])
        expected = np.zeros(value.shape)
        for index in np.argwhere(np.isfinite(value)):
            nudge = np.zeros(value.shape)
            nudge[tuple(index)] = 1e-6
            above, below = (
                of_inputs(*(x + side * nudge if i == k else x for i, x in enumerate(inputs)))
                for side in (1, -1)
            )
            expected[tuple(index)] = (above - below) / 2e-6
        # Exactly 0 past the lengths, where the inputs are NaN.
        assert not np.any(np.asarray(gradient)[~np.isfinite(value)])
        np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_only_the_exemplar_of_the_label_matters():
    logits, _, exemplars = make_batch()
    labels = np.array([2, 0, 0, 2])

    @jax.jit
    @jax.value_and_grad
    def align(exemplars):
        options = dict(query_lengths=LENGTHS, exemplar_lengths=EXEMPLAR_LENGTHS)
        return tempalign.seq_loss(logits, labels, exemplars, **options).align

    expected, _ = align(exemplars)
    exemplars[1] = np.nan
    value, gradient = align(exemplars)
    np.testing.assert_array_equal(value, expected)
    assert not np.any(gradient[1])
    assert np.all(np.any(gradient[::2, :2], axis=(1, 2)))


def test_leading_axes_and_exemplars_for_the_classes_of_videos():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, T, C)).astype(np.float32)
    labels = rng.integers(0, C, (2, 3))
    frames = rng.integers(0, C, (2, 3, T))
    exemplars = rng.dirichlet(np.ones(C), (C, L)).astype(np.float32)

    @jax.jit
    def of(logits, labels, exemplars, frames):
        return tempalign.seq_loss(logits, labels, exemplars, sequence_labels=frames)

    together = of(logits, labels, exemplars, frames)
    one_by_one = [of(logits[k], labels[k], exemplars, frames[k]) for k in np.ndindex(2, 3)]
    np.testing.assert_allclose(together, np.mean(one_by_one, axis=0), rtol=1e-5)
    # Frames of C classes in videos of K: the labels pick one of K exemplars.
    more = np.concatenate([exemplars[::-1], exemplars])
    np.testing.assert_allclose(of(logits, labels + C, more, frames), together, rtol=1e-6)


def test_stable_for_extreme_logits():
    labels = np.array([0, 1])
    logits = 1e4 * np.array([[[0, 1], [0, 1]], [[0, 1], [1, 0]]], np.float32)
    exemplars = np.array([[[1, 0]] * 3, [[0, 1]] * 3], np.float32)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def of(logits):
        terms = tempalign.seq_loss(logits, labels, exemplars, gamma=1e-3)
        return terms.total, terms

    (_, terms), gradient = of(logits)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(terms.cross_entropy, (1e4 + np.log(2)) / 2, rtol=1e-6)
    np.testing.assert_allclose(terms.align, (6 + 2) / 2, atol=5e-3)
    np.testing.assert_allclose(terms.smooth, (0 + 2) / 2, rtol=1e-6)


def test_an_invariance_of_each_term():
    logits, frames, exemplars = make_batch()
    logits, exemplars = np.nan_to_num(logits), np.nan_to_num(exemplars)
    everything = dict(query_lengths=None, exemplar_lengths=None)
    before = loss(logits, exemplars, **everything)
    # A constant added to all logits of a frame changes no probability.
    np.testing.assert_allclose(loss(logits + 5, exemplars, **everything), before, rtol=1e-5)
    # Reversing time in queries and exemplars; the classes renamed.
    np.testing.assert_allclose(
        loss(logits[:, ::-1], exemplars[:, ::-1], **everything), before, rtol=1e-5
    )
    order = np.array([2, 0, 1])
    renamed = tempalign.seq_loss(
        logits[..., order], np.argsort(order)[LABELS], exemplars[order][..., order]
    )
    np.testing.assert_allclose(renamed, before, rtol=1e-5)
    # The same label in every frame: by Jensen, the mean over frames is the larger.
    constant = np.broadcast_to(LABELS[:, None], (B, T))
    frame_wise = loss(logits, exemplars, sequence_labels=constant, **everything)
    assert frame_wise.cross_entropy > before.cross_entropy
    np.testing.assert_allclose(frame_wise.smooth, before.smooth, rtol=1e-6)


def test_training_on_it_aligns_the_queries():
    rng = np.random.default_rng(0)
    support = np.repeat(np.eye(2)[:, None, None], T, 2) * 4 * rng.uniform(size=(2, 3, T, 1))
    exemplars = tempalign.soft_dtw_barycenter(jax.nn.softmax(support.astype(np.float32)), 0.1)
    labels = np.array([0, 1, 0, 1])
    step = jax.jit(jax.value_and_grad(lambda x: tempalign.seq_loss(x, labels, exemplars).total))
    logits = rng.normal(size=(4, T, 2)).astype(np.float32)
    first, _ = step(logits)
    for _ in range(50):
        last, gradient = step(logits)
        logits = logits - gradient
    assert last < first - 0.1
    np.testing.assert_array_equal(np.asarray(jax.nn.softmax(logits)).mean(1).argmax(-1), labels)


def test_half_precision_is_computed_in_float32():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, T, C)), jnp.bfloat16)
    exemplars = jnp.asarray(rng.dirichlet(np.ones(C), (C, L)), jnp.bfloat16)
    labels = np.array([0, 1], np.int8)
    got = tempalign.seq_loss(logits, labels, exemplars)
    full = tempalign.seq_loss(
        logits.astype(np.float32), labels.astype(np.int64), exemplars.astype(np.float32)
    )
    assert {term.dtype for term in got} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(got, full)
    assert tempalign.smoothness(logits).dtype == np.float32


def test_smoothness_equals_the_loop(x64):
    p = np.random.default_rng(0).normal(size=(2, B, T, C))
    padded = p.copy()
    padded[:, np.arange(T) >= LENGTHS[:, None]] = np.inf
    for lengths in (np.full(B, T), LENGTHS):
        expected = np.zeros((2, B))
        for k, b in np.ndindex(2, B):
            for t in range(1, lengths[b]):
                expected[k, b] += ((p[k, b, t] - p[k, b, t - 1]) ** 2).sum() / (lengths[b] - 1)
        got = tempalign.smoothness(p if lengths[1] == T else padded, lengths=lengths)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(tempalign.smoothness(p), tempalign.smoothness(p, lengths=T))
    np.testing.assert_array_equal(tempalign.smoothness(p[:, :, :1]), np.zeros((2, B)))
    gradient = jax.grad(lambda p: tempalign.smoothness(p, lengths=LENGTHS).sum())(padded)
    assert np.all(np.isfinite(gradient))
    assert not np.any(gradient[:, np.arange(T) >= LENGTHS[:, None]])


def test_traced_labels_and_lengths_out_of_range_give_nan():
    logits, frames, exemplars = make_batch()
    logits, exemplars = np.nan_to_num(logits), np.nan_to_num(exemplars)

    @jax.jit
    def traced(labels, lengths, own, frames):
        options = dict(query_lengths=lengths, exemplar_lengths=own, sequence_labels=frames)
        return tempalign.seq_loss(logits, labels, exemplars, **options)

    good = LABELS, LENGTHS, EXEMPLAR_LENGTHS, frames
    assert np.all(np.isfinite(traced(*good)))
    for k in range(4):
        for wrong in (-1, 7):
            changed = [np.array(part) for part in good]
            changed[k].flat[0] = wrong
            terms = traced(*changed)
            assert np.isnan(terms.total)
            assert np.isnan(terms.cross_entropy if k == 3 else terms.align)
    smooth = jax.jit(lambda n: tempalign.smoothness(logits, lengths=n))(np.array([0, 1, 6, 7]))
    np.testing.assert_array_equal(np.isnan(smooth), [True, False, False, True])


X = np.zeros((B, T, C), np.float32)
E = np.ones((C, L, C), np.float32) / C


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": X[0, 0]}, ValueError, r"query_logits must have shape \[..., T, F\]"),
        ({"x": X[:0]}, ValueError, r"query_logits must hold at least one query"),
        ({"x": X.astype(int)}, TypeError, r"query_logits must be a floating-point"),
        ({"y": LABELS[:3]}, ValueError, r"query_labels must broadcast to \(4,\)"),
        ({"y": LABELS[:, None]}, ValueError, r"query_labels must broadcast to \(4,\)"),
        ({"y": LABELS * 1.0}, TypeError, r"query_labels must be integers, got dtype float"),
        ({"y": LABELS + 1}, ValueError, r"query_labels must lie within 0..2 .* from 1 to 3"),
        ({"y": LABELS - 1}, ValueError, r"query_labels must lie within 0..2 .* from -1 to 1"),
        ({"e": E[0]}, ValueError, r"exemplars must have shape \(3, L, 3\)"),
        ({"e": E[:2]}, ValueError, r"exemplars must have shape \(3, L, 3\) .* got \(2, 5, 3\)"),
        ({"e": E[..., :2]}, ValueError, r"exemplars must have shape \(3, L, 3\)"),
        ({"e": E.astype(int)}, TypeError, r"exemplars must be a floating-point"),
        ({"alpha": -1}, ValueError, r"alpha must be finite and >= 0, got -1"),
        ({"alpha": np.ones(3)}, ValueError, r"alpha must be a real scalar, got shape \(3,\)"),
        ({"beta": np.nan}, ValueError, r"beta must be finite and >= 0, got nan"),
        ({"beta": True}, ValueError, r"beta must be a real scalar, .* bool"),
        ({"gamma": -1.0}, ValueError, r"gamma must be positive and finite"),
        ({"query_lengths": 7}, ValueError, r"lengths must lie within 1..6"),
        ({"query_lengths": np.ones((2, B), int)}, ValueError, r"lengths must broadcast to \(4,\)"),
        ({"exemplar_lengths": 6}, ValueError, r"exemplar_lengths must lie within 1..5"),
        ({"sequence_labels": LABELS}, ValueError, r"sequence_labels must broadcast to \(4, 6\)"),
        ({"sequence_labels": X[..., 0]}, TypeError, r"sequence_labels must be integers"),
        ({"sequence_labels": 3}, ValueError, r"sequence_labels must lie within 0..2"),
        ({"sequence_labels": 0, "e": E[:2]}, ValueError, r"query_labels must lie within 0..1"),
    ],
)
def test_bad_input_of_seq_loss(arguments, error, message):
    given = {"x": X, "y": LABELS, "e": E} | arguments
    with pytest.raises(error, match=message):
        tempalign.seq_loss(given.pop("x"), given.pop("y"), given.pop("e"), **given)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"probs": X[0, 0]}, ValueError, r"probs must have shape"),
        ({"probs": X.astype(int)}, TypeError, r"probs must be a floating-point"),
        ({"lengths": 0}, ValueError, r"lengths must lie within 1..6"),
        ({"lengths": 1.0}, TypeError, r"lengths must be integers"),
        ({"lengths": np.ones(3, int)}, ValueError, r"do not broadcast"),
    ],
)
def test_bad_input_of_smoothness(arguments, error, message):
    with pytest.raises(error, match=message):
        tempalign.smoothness(**({"probs": X} | arguments))
