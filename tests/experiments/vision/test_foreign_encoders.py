"""Encoders of others that need no package: functions, and what is said before one is needed."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.encoders import NotFiniteError, open_encoder

MODULE = """
import jax.numpy as jnp
import numpy as np
from experiments.shared.errors import UserError
from experiments.vision.checked_encoder import EncoderSpec

calls = []

def plain(x):
    calls.append((x.shape, x.dtype, float(x.max())))
    return x.mean(axis=(1, 2, 3))

def in_jax(x):
    return jnp.asarray(x, jnp.bfloat16).mean(axis=(1, 2, 3))

def flat(x):
    return x.mean(axis=(1, 2, 3)).reshape(-1)

def nan_on_white(x):
    return np.where(x.mean(axis=(1, 2, 3)) > 0.99, np.nan, 1.0)

def always_nan(x):
    return np.full((len(x), 2), np.nan)

def raises(x):
    raise RuntimeError("out of luck\\n" + "x" * 1000)

def factory(size=0, logits=False):
    return lambda x: np.full((len(x), 5), size + logits)

def needs_weights(weights):
    if weights == "bad":
        raise UserError("those are bad")
    raise KeyError(weights)

def returns_none(frames=0):
    return None

class Whole:
    spec = EncoderSpec("ignored", None, 4, (6, 8), {"weights": "12ab"})
    def __call__(self, x):
        assert x.dtype == np.uint8
        return x.reshape(len(x), -1)[:, :7]

def whole(**options):
    return Whole()

made = Whole()
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_encoders.py").write_text(MODULE)
    (tmp_path / "broken_encoders.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_encoders"


def test_a_plain_function_gets_clips_or_pictures(module):
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 8, 8, 3), dtype=np.uint8)
    clips = open_encoder("own_encoders:plain", size=8, frames=5)
    assert clips.spec.num_features == 3 and clips.spec.frames == 5 and clips.spec.size == (8, 8)
    np.testing.assert_allclose(clips(frames), frames.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    single = open_encoder("own_encoders:plain", size=8)
    assert single.spec.frames is None
    np.testing.assert_allclose(single(frames), clips(frames), rtol=1e-5)
    calls = sys.modules["own_encoders"].calls
    assert [shape for shape, _, _ in calls[:3]] == [
        (2, 5, 8, 8, 3), (2, 5, 8, 8, 3), (2, 1, 8, 8, 3)
    ]  # fmt: skip
    assert calls[0][2] == 0 and 0.9 < calls[1][2] <= 1 and calls[1][1] == np.float32


def test_bfloat16_of_jax_becomes_float32(module):
    encoder = open_encoder("own_encoders:in_jax", size=8)
    found = encoder(np.full((2, 1, 8, 8, 3), 255, np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 1)


def test_a_compiled_function_is_a_plain_one(module):
    own = __import__("own_encoders")
    own.compiled = jax.jit(lambda x: jnp.mean(x, axis=(1, 2, 3)))
    assert open_encoder("own_encoders:compiled", size=8).spec.num_features == 3


def test_a_function_of_options_makes_an_encoder(module):
    encoder = open_encoder("own_encoders:factory", size=8, logits=True)
    np.testing.assert_array_equal(encoder(np.zeros((3, 1, 8, 8, 3), np.uint8)), 9)


@pytest.mark.parametrize("name", ["own_encoders:whole", "own_encoders:Whole", "own_encoders:made"])
def test_an_encoder_with_a_spec_says_frames_and_size(module, name):
    spec = open_encoder(name).spec
    assert (spec.name, spec.num_features, spec.frames, spec.size) == (name, 7, 4, (6, 8))
    assert set(spec.identity) == {"encoder", "source", "weights"}
    assert spec.identity["weights"] == "12ab"


def test_weights_that_are_given_are_in_the_identity(module, tmp_path):
    weights, found = tmp_path / "weights.bin", []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        identity = open_encoder("own_encoders:whole", weights=str(weights)).spec.identity
        found.append(identity["weights"])
    assert found[0] != found[1] != "12ab"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"two")
    folder = open_encoder("own_encoders:whole", weights=str(tmp_path / "folder")).spec.identity
    assert folder["weights"] == found[1]
    named = open_encoder("own_encoders:whole", weights="base").spec.identity
    assert named["weights"] == "base"


def test_other_code_is_another_encoder(module, tmp_path):
    before = open_encoder("own_encoders:plain", size=8).spec.identity
    assert before == open_encoder("own_encoders:plain", size=8).spec.identity
    (tmp_path / "own_encoders.py").write_text(MODULE + "# changed\n")
    assert open_encoder("own_encoders:plain", size=8).spec.identity["source"] != before["source"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_module:f", {}, "cannot be imported .*no_such_module"),
        ("broken_encoders:f", {}, "cannot be imported .ZeroDivisionError"),
        ("own_encoders:none", {}, "cannot be imported .AttributeError"),
        ("own_encoders:number", {}, "is not a function"),
        ("own_encoders:flat", {}, r"must return \[B, F\] of B windows, got \(6,\) of 2 windows"),
        ("own_encoders:always_nan", {}, "not finite, of 2 of 2 windows"),
        ("own_encoders:raises", {}, "fails on pictures .*RuntimeError: out of luck x+"),
        ("own_encoders:plain", {"weights": "w"}, "takes neither weights nor logits"),
        ("own_encoders:factory", {"weights": "w"}, "options .*weights.*unexpected keyword"),
        ("own_encoders:needs_weights", {}, "options none: missing a required argument"),
        ("own_encoders:needs_weights", {"weights": "w"}, "fails when it is made .KeyError: 'w'"),
        ("own_encoders:returns_none", {}, "must return a function or an encoder, not None"),
    ],
)
def test_what_is_wrong_with_code_is_told(module, name, options, message):
    with pytest.raises(UserError, match=f"--encoder={name}: .*{message}") as caught:
        open_encoder(name, **options)
    assert len(str(caught.value)) < 500


def test_the_own_words_of_code_are_kept(module):
    with pytest.raises(UserError, match="^those are bad$"):
        open_encoder("own_encoders:needs_weights", weights="bad")


def test_some_windows_may_have_features_that_are_not_finite(module):
    encoder = open_encoder("own_encoders:nan_on_white", size=8, frames=2)
    frames = np.zeros((3, 2, 8, 8, 3), np.uint8)
    frames[2] = 255
    with pytest.raises(NotFiniteError) as caught:
        encoder(frames)
    assert caught.value.rows.tolist() == [2]


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "torch", "transformers"])
def test_what_is_missing_is_named(kind, tmp_path):
    with pytest.raises(MissingFileError, match=rf"--encoder={kind}:.*none\.bin: no such (file|fo)"):
        open_encoder(f"{kind}:{tmp_path / 'none.bin'}")
    with pytest.raises(UserError, match="no others can be given"):
        open_encoder(f"{kind}:{tmp_path / 'none.bin'}", weights="other")


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("onnx", "onnxruntime", "onnx"),
        ("torchscript", "torch", "torch"),
        ("torch", "torch", "torch"),
        ("transformers", "torch", "torch"),
        ("transformers", "transformers", "torch"),
    ],
)
def test_a_missing_package_says_how_to_install_it(kind, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # importing it is an ImportError
    if package == "transformers":
        monkeypatch.setitem(sys.modules, "torch", sys.modules["numpy"])
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path if kind == "transformers" else tmp_path / "file"
    with pytest.raises(UserError, match=rf'needs {package}.*pip install -e "\.\[{extra}\]"'):
        open_encoder(f"{kind}:{path}", allow_pickle=True)


def test_a_pickle_is_not_read_unless_it_is_allowed(tmp_path):
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match="runs whatever code .*--allow_pickle"):
        open_encoder(f"torch:{tmp_path / 'evil.pt'}")


def test_a_folder_of_transformers_must_say_its_normalisation(tmp_path):
    with pytest.raises(MissingFileError, match=r"has no preprocessor_config\.json"):
        open_encoder(f"transformers:{tmp_path}")


def test_the_recipe_of_videoprism(tmp_path, monkeypatch):
    """Against a module in the place of its package, with its names and calls."""

    class Model:
        def apply(self, state, clips, train):
            assert not train
            tokens = clips.reshape(len(clips), 4, -1)[..., :6] * state["scale"]
            return tokens, {}

    package, models = types.ModuleType("videoprism"), types.ModuleType("videoprism.models")
    models.get_model = {"videoprism_public_v1_large": Model()}.__getitem__
    models.load_pretrained_weights = lambda name, checkpoint_path: dict(np.load(checkpoint_path))
    package.models = models
    monkeypatch.setitem(sys.modules, "videoprism", package)
    monkeypatch.setitem(sys.modules, "videoprism.models", models)
    np.savez(tmp_path / "flax_large.npz", scale=np.float32(2))
    encoder = open_encoder(
        "experiments.vision.recipes:videoprism",
        weights=str(tmp_path / "flax_large.npz"), frames=2, size=8,
    )  # fmt: skip
    assert (encoder.spec.num_features, encoder.spec.frames, encoder.spec.size) == (6, 2, (8, 8))
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)
    expected = frames.reshape(3, 4, -1)[..., :6].mean(axis=1) / 255 * 2
    np.testing.assert_allclose(encoder(frames), expected, rtol=1e-5)
