"""FewShotHead: every matching against plain loops, the loss of Eq. 8, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import tempalign
from tempalign import heads

MATCHINGS = ("min", "mean", "diagonal", "dtw", "tam", "tam_symmetric")
Q, WAY, SHOT, T, F = 3, 2, 2, 4, 5


@pytest.fixture
def episode(rng):
    query = rng.normal(size=(Q, T, F)).astype(np.float32)
    support = rng.normal(size=(WAY, SHOT, T, F)).astype(np.float32)
    return query, support


def cosine_distances(x, y):
    """[n, m] in float64, frame by frame."""
    x, y = np.float64(x), np.float64(y)
    return np.array([[1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in y] for a in x])


def softmin(values, gamma):
    values = np.asarray(values)
    low = values.min()
    if gamma == 0 or not np.isfinite(low):
        return low
    return low - gamma * np.log(np.exp((low - values) / gamma).sum())


def dtw(d):
    n, m = d.shape
    r = np.full((n + 1, m + 1), np.inf)
    r[0, 0] = 0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            r[i, j] = d[i - 1, j - 1] + min(r[i - 1, j - 1], r[i - 1, j], r[i, j - 1])
    return r[n, m]


def tam(d, gamma, boundary):
    """The recurrence of spec and paper (Eq. 5), cell by cell."""
    n, m = d.shape
    r = np.full((n + 1, m + 2), np.inf)
    r[1:, 0] = 0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            from_ = [r[i - 1, j - 1], r[i, j - 1]]
            if j == 1 and boundary == "edge":
                from_.append(r[i - 1, 1])
            r[i, j] = d[i - 1, j - 1] + softmin(from_, gamma)
        r[i, m + 1] = softmin([r[i - 1, m], r[i - 1, m + 1], r[i, m]], gamma)
    return r[n, m + 1]


def expected(matching, d, gamma, boundary):
    return {
        "min": lambda: d.min(),
        "mean": lambda: d.mean(),
        "diagonal": lambda: np.trace(d) / len(d),
        "dtw": lambda: dtw(d),
        "tam": lambda: tam(d, gamma, boundary),
        "tam_symmetric": lambda: tam(d, gamma, boundary) + tam(d.T, gamma, boundary),
    }[matching]()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("matching", "boundary"),
    [*((name, "paper") for name in MATCHINGS), ("tam", "edge"), ("tam_symmetric", "edge")],
)
def test_logits_are_negated_mean_distances(episode, matching, boundary):
    query, support = episode
    head = heads.FewShotHead(matching=matching, gamma=0.3, boundary=boundary)
    truth = np.array(
        [
            [
                [expected(matching, cosine_distances(q, s), 0.3, boundary) for s in of_class]
                for of_class in support
            ]
            for q in query
        ]
    )
    np.testing.assert_allclose(head.distances(query, support), truth, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(head(query, support), -truth.mean(-1), rtol=2e-5, atol=1e-5)


def test_tam_is_the_library_s_distance(episode):
    query, support = episode
    for symmetric, matching in ((False, "tam"), (True, "tam_symmetric")):
        direct = tempalign.tam_distance(
            query[:, None, None], support[None], 0.05, symmetric=symmetric
        )
        head = heads.FewShotHead(matching=matching, gamma=0.05)
        np.testing.assert_allclose(head.distances(query, support), direct, rtol=1e-5)
    plain = tempalign.dtw(query[:, None, None], support[None], cost="cosine")
    found = heads.FewShotHead(matching="dtw").distances(query, support)
    np.testing.assert_allclose(found, plain, rtol=1e-5)


@pytest.mark.slow
def test_episodes_have_leading_axes(episode, rng):
    head = heads.FewShotHead(encoder=nnx.Linear(F, 3, rngs=nnx.Rngs(0)))
    query = rng.normal(size=(2, 3, Q, T, F)).astype(np.float32)
    support = rng.normal(size=(2, 3, WAY, SHOT, T + 2, F)).astype(np.float32)  # other lengths too
    logits = head(query, support)
    assert logits.shape == (2, 3, Q, WAY)
    np.testing.assert_allclose(logits[1, 2], head(query[1, 2], support[1, 2]), rtol=1e-5)


def test_an_encoder_may_be_any_function(episode):
    query, support = episode
    head = heads.FewShotHead(matching="diagonal", encoder=lambda x: 3 * x[..., :2])
    cut = heads.FewShotHead(matching="diagonal")
    np.testing.assert_allclose(
        head(query, support), cut(query[..., :2], support[..., :2]), rtol=1e-4, atol=1e-6
    )


def test_loss_is_equation_8(episode):
    query, support = episode
    head = heads.FewShotHead(matching="tam", gamma=0.1)
    labels = np.array([1, 0, 1])
    one_shot = support[:, :1]
    phi = np.asarray(head.distances(query, one_shot), np.float64)[..., 0]
    by_hand = [-np.log(np.exp(-p[k]) / np.exp(-p).sum()) for p, k in zip(phi, labels, strict=True)]
    np.testing.assert_allclose(head.loss(query, one_shot, labels), np.mean(by_hand), rtol=1e-5)
    entropy = optax.softmax_cross_entropy_with_integer_labels(head(query, support), labels)
    np.testing.assert_allclose(head.loss(query, support, labels), entropy.mean(), rtol=1e-6)
    for bad in (np.array([0, 2, 1]), np.array([0, -1, 1])):
        with pytest.raises(ValueError, match=r"labels must lie within 0\.\.1"):
            head.loss(query, support, bad)
        assert np.isnan(jax.jit(head.loss)(query, support, bad))
    # Labels that are constants of a compiled step are concrete there.
    for given in (labels, jnp.asarray(labels)):
        step = jax.jit(lambda query, given=given: head.loss(query, support, given))
        np.testing.assert_allclose(step(query), head.loss(query, support, labels), rtol=1e-6)


@pytest.mark.parametrize("matching", ["min", "dtw", "tam"])
def test_training_an_encoder_lowers_the_loss(rng, matching):
    query = rng.normal(size=(WAY, T, F)).astype(np.float32)
    support = rng.normal(size=(WAY, SHOT, T, F)).astype(np.float32)
    head = heads.FewShotHead(matching=matching, encoder=nnx.Linear(F, 4, rngs=nnx.Rngs(0)))
    graphdef, params = nnx.split(head, nnx.Param)

    @jax.jit
    def step(params):
        value, gradients = jax.value_and_grad(
            lambda p: nnx.merge(graphdef, p).loss(query, support, jnp.arange(WAY))
        )(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), value

    losses = []
    for _ in range(10):
        params, loss = step(params)
        losses.append(float(loss))
    assert np.isfinite(losses).all() and losses[-1] < losses[0] - 1e-3


def test_frames_of_zeros_have_finite_gradients(episode):
    query, support = (np.array(part) for part in episode)
    query[0] = 0
    head = heads.FewShotHead()
    gradient = jax.grad(lambda q: head.loss(q, support, jnp.zeros(Q, int)))(query)
    assert np.isfinite(gradient).all()
    # The cosine of a zero frame to any frame is 0: T distances of 1.
    hard = heads.FewShotHead(gamma=0.0)
    np.testing.assert_allclose(hard.distances(query, support)[0], T, rtol=1e-6)


def test_nothing_larger_than_the_costs_is_made(episode):
    """The features of a pair never stand beside its frames: [.., T, T, F] would not fit."""
    query = jnp.zeros((5, T, 999))
    support = jnp.zeros((5, 3, T, 999))
    jaxpr = jax.make_jaxpr(heads.FewShotHead().frame_costs)(query, support)
    sizes = [v.aval.size for e in jaxpr.jaxpr.eqns for v in e.outvars]
    assert max(sizes) <= support.size


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q, s: heads.FewShotHead(matching="best"), ValueError, "matching must be one of"),
        (lambda q, s: heads.FewShotHead(boundary="open"), ValueError, "boundary must be one of"),
        (lambda q, s: heads.FewShotHead(gamma=-1.0), ValueError, "gamma must be positive"),
        (lambda q, s: heads.FewShotHead()(q, s[0]), ValueError, r"support \[\.\.\., way, shot"),
        (lambda q, s: heads.FewShotHead()(q[0], s), ValueError, r"query must have shape"),
        (lambda q, s: heads.FewShotHead()(q, s[:, :0]), ValueError, "at least one sequence"),
        (lambda q, s: heads.FewShotHead()(q, s[..., :3]), ValueError, "same number of features"),
        (lambda q, s: heads.FewShotHead()(q.astype(int), s), TypeError, "query must be a float"),
        (
            lambda q, s: heads.FewShotHead(matching="diagonal")(q, s[..., :3, :]),
            ValueError,
            "equally many frames, got 4 and 3",
        ),
        (
            lambda q, s: heads.FewShotHead().loss(q, s, np.zeros(Q)),
            TypeError,
            "labels must be integers",
        ),
        (
            lambda q, s: heads.FewShotHead().loss(q, s, np.zeros(7, int)),
            ValueError,
            r"labels must broadcast to \(3,\)",
        ),
    ],
)
def test_bad_input(episode, call, error, message):
    with pytest.raises(error, match=message):
        call(*episode)


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("our_modes")  # optax is not written for strict dtypes
@pytest.mark.parametrize("given", [jnp.asarray(1.0), np.asarray(1.0, np.float32), "variable"])
def test_gamma_is_annealed_in_a_training_loop(episode, given):
    """Assigning an array once raised, and a float compiled anew at every value."""
    query, support = episode
    labels = np.array([1, 0, 1])
    if given == "variable":
        given = heads.Temperature(jnp.asarray(1.0))
    encoder = nnx.Linear(query.shape[-1], 4, rngs=nnx.Rngs(0))
    head = heads.FewShotHead(encoder=encoder, gamma=given)
    optimizer = nnx.Optimizer(head, optax.adam(1e-2), wrt=nnx.Param)
    traced = []

    @nnx.jit
    def step(head, optimizer):
        traced.append(head.gamma)
        loss, gradients = nnx.value_and_grad(lambda head: head.loss(query, support, labels))(head)
        optimizer.update(head, gradients)
        return loss

    for gamma in (1.0, 0.5, jnp.asarray(0.25), np.float32(0.1)):
        head.gamma = gamma
        constant = heads.FewShotHead(encoder=head.encoder, gamma=float(gamma))
        expected = constant.loss(query, support, labels)
        np.testing.assert_allclose(step(head, optimizer), expected, rtol=1e-5)
        assert float(head.gamma) == pytest.approx(float(gamma))
    assert len(traced) == 1
    assert jax.tree.leaves(nnx.state(head, heads.Temperature))[0] == np.float32(0.1)
    assert "temperature" not in nnx.state(head, nnx.Param)
    with pytest.raises(ValueError, match="gamma must be positive"):
        head.gamma = -1.0


def test_gamma_as_a_number_is_a_constant():
    head = heads.FewShotHead(gamma=0.5)
    assert head.gamma == 0.5 and not jax.tree.leaves(nnx.state(head))
    head.gamma = 0.25
    assert head.gamma == 0.25
    head.gamma = jnp.asarray(0.125)
    assert float(head.gamma) == 0.125 and len(jax.tree.leaves(nnx.state(head))) == 1
