"""Who serves a call: asked from many threads, for devices that are not the default one."""

import gc
import threading
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempalign
from tempalign._engine import backends, model, platforms
from tempalign.kernels.gpu import launch

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 7, 4)).astype(np.float32)
C = RANDOM.normal(size=(2, 5, 4)).astype(np.float32)


def test_explain_takes_the_function_itself():
    said = tempalign.explain("weighted_dtw", X[:, None], C)
    assert tempalign.explain(tempalign.weighted_dtw, X[:, None], C) == said
    assert tempalign.explain(partial(tempalign.soft_dtw, gamma=0.1), X, X).startswith("soft_dtw")
    for name in ("dba", "soft_dtw_barycenter"):
        assert tempalign.explain(name, X).startswith(f"{name} runs on ")
    assert "runs on xla" in tempalign.explain("subsequence_matches", X, X, 2)
    with pytest.raises(ValueError, match="checkpoint needs gamma > 0"):
        tempalign.explain("soft_dtw", X, X, 0.0, checkpoint=True)
    with pytest.raises(ValueError, match="function must be one of .*, got 'resample'"):
        tempalign.explain(tempalign.resample)


def test_explain_from_many_threads():
    """Each hears its own call only, also while others call the functions themselves."""
    asked = {"pallas_interpret": "runs on pallas_interpret", "xla": "runs on xla: asked for"}
    wrong = []

    def ask(name, said):
        for _ in range(10):
            found = tempalign.explain("weighted_dtw", X[:, None], C, implementation=name)
            if said not in found:
                wrong.append((name, found))

    def call():
        for _ in range(10):
            jax.eval_shape(tempalign.dtw, X, X)

    threads = [threading.Thread(target=ask, args=item) for item in asked.items() for _ in range(2)]
    threads += [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_divergence_passes_its_implementation_on():
    with pytest.raises(NotImplementedError, match="soft_dtw_divergence cannot run on pallas"):
        tempalign.soft_dtw_divergence(X, X, implementation="pallas")


@pytest.mark.parametrize(
    "call",
    [
        tempalign.dtw,
        tempalign.dtw_path,
        tempalign.align,
        tempalign.warp,
        partial(tempalign.subsequence_matches, k=1),
        tempalign.tam_distance,
        tempalign.tam_alignment,
        lambda x, y, **options: tempalign.dba(x, **options),
        lambda x, y, **options: tempalign.soft_dtw_barycenter(x, **options),
        lambda x, y, **options: tempalign.seq_loss(x, 0, np.ones((4, 3, 4), np.float32), **options),
    ],
)
def test_every_function_says_who_cannot_serve(call):
    with pytest.raises(NotImplementedError, match="cannot run on pallas: .*it needs a GPU"):
        call(X[:, :4], X[:, :4], implementation="pallas")


def test_a_backend_refuses_by_model():
    weighted = model.weighted(False)
    kernels = backends.kernels_for(model.Model())
    for soft in (False, True):
        served = model.Model(soft=soft, window=model.Window(band=2, masked=True))
        assert kernels.refuses(served, None) is None
        assert kernels.refuses(served.replace(diagonal=model.Move(allowed="never")), None) is None
        assert kernels.refuses(served.replace(end=model.Opening(y=2)), None) is None
        anywhere = served.replace(begin=model.Opening(x=None), diagonal=model.Move(allowed="never"))
        assert "only where there are moves along" in kernels.refuses(anywhere, None)
        assert "steps in columns" in kernels.refuses(
            served.replace(column=model.Move(allowed="never")), None
        )
        for move in (model.Move(penalised=True), model.Move(weighted=True)):
            assert "cost the same" in kernels.refuses(served.replace(row=move), None)
        assert "keep" in kernels.refuses(served.replace(recompute=True), None)
    for boundary in ("paper", "edge"):
        assert kernels.refuses(model.tam(boundary), None) is None
    kernels = backends.kernels_for(weighted)
    assert kernels.refuses(weighted, None) is None
    for other in (
        weighted.replace(begin=model.Opening(x=None)),
        weighted.replace(row=model.Move(penalised=True)),
        weighted.replace(window=model.Window(band=2)),
        weighted.replace(soft=True),
    ):
        assert "plain steps" in kernels.refuses(other, None)


@pytest.fixture
def beside_a_gpu(monkeypatch):
    """As in a process whose default device is an Nvidia GPU."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))
    monkeypatch.setattr(launch, "missing", lambda: None)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("fixed", [False, True])
def test_work_on_the_cpu_beside_a_gpu(beside_a_gpu, fixed):
    """The kernels are traced, and XLA takes over where the call is lowered for the CPU."""
    lengths = np.array([[7], [3], [1]])

    def total(x, c, implementation):
        values = tempalign.weighted_dtw(
            x[:, None],
            c,
            path_from=(c + 0.1, None) if fixed else None,
            x_lengths=lengths,
            implementation=implementation,
        )
        return values.sum(), values

    gradient = jax.value_and_grad(total, (0, 1), has_aux=True)
    expected = gradient(X, C, "xla")
    chex.assert_trees_all_close(gradient(X, C, None), expected, rtol=1e-6, atol=1e-6)
    jitted = jax.jit(gradient, static_argnums=2)
    chex.assert_trees_all_close(jitted(X, C, None), expected, rtol=1e-6, atol=1e-6)
    said = tempalign.explain("weighted_dtw", X[:, None], C)
    assert "runs on pallas" in said and "on xla where it is lowered for another platform" in said


@pytest.mark.slow
def test_how_much_at_once_follows_the_default_device(monkeypatch):
    """Only speed hangs on it, but a default device that is chosen counts."""
    assert platforms.likely_cpu()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not platforms.likely_cpu()
    with jax.default_device(jax.devices("cpu")[0]):
        assert platforms.likely_cpu()
    x = RANDOM.normal(size=(2, 3, 9, 2)).astype(np.float32)
    averaged = tempalign.soft_dtw_barycenter(x, num_iters=2)  # all sets at once
    assert np.all(np.isfinite(averaged))


def test_a_gpu_that_is_not_nvidias(monkeypatch):
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "rocm"}))
    assert tempalign.weighted_dtw(X[:, None], C).shape == (3, 2)
    said = tempalign.explain("weighted_dtw", X[:, None], C)
    assert "it needs a GPU of Nvidia's, and jax runs on cpu and rocm" in said


def test_what_cards_say_of_themselves(monkeypatch):
    class Card:
        def __init__(self, capability):
            self.compute_capability = capability

        def __repr__(self):
            return "card"

    for capability, refused in (("7.5", True), ("9.0", False), ("gfx942", False), (None, False)):
        monkeypatch.setattr(jax, "devices", lambda *_, c=capability: [Card(c)])
        assert (launch.too_old() is not None) == refused, capability


@pytest.fixture
def compiled():
    """The compilations so far, and those to come."""
    events = []

    def listen(event, duration, **details):
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    "function", [tempalign.dtw, tempalign.soft_dtw, tempalign.tam_distance, tempalign.dtw_alignment]
)
def test_a_second_eager_call_compiles_nothing(compiled, function):
    """Also where there are so many pairs that they are worked on in blocks."""
    x = jnp.asarray(RANDOM.normal(size=(30, 1, 50, 2)).astype(np.float32))
    y = jnp.asarray(RANDOM.normal(size=(20, 50, 2)).astype(np.float32))
    jax.block_until_ready(function(x, y))
    first = len(compiled)
    assert first > 0
    jax.block_until_ready(function(x, y))
    assert len(compiled) == first


def test_a_cost_made_anew_each_time_does_not_pile_up_programs():
    x = np.ones((3, 2), np.float32)
    client = jax.devices()[0].client
    tempalign.dtw(x, x)
    before = len(client.live_executables())
    for _ in range(24):
        tempalign.dtw(x, x, cost=lambda a, b: jnp.abs(a[:, None] - b).sum(-1))
    gc.collect()
    assert len(client.live_executables()) - before <= 17
    # One that is defined once is compiled once, and its value is looked up.

    def cost(a, b):
        return jnp.abs(a[:, None] - b).sum(-1)

    tempalign.dtw(x, x, cost=cost)
    known = len(client.live_executables())
    tempalign.dtw(x, x, cost=cost)
    assert len(client.live_executables()) == known
