"""Trunks from files of weights, their blocks against NumPy, and trunks of the user's own."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from flax import nnx

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests
from experiments.vision.trunks import open_trunk, resnet50, trained_filter, trunk_identity, vit_b16
from experiments.vision.trunks.weights import Weights

NUM_PARAMETERS = {  # torchvision's numbers, less the classifier and half of the folded norms
    "mobilenet_v2": 3_504_872 - 1_281_000 - 17_056,
    "resnet50": 25_557_032 - 2_049_000 - 26_560,
    "vit_b16": 86_567_656 - 769_000,
}
RNG = np.random.default_rng(0)


def write_safetensors(path, arrays, kinds=None):
    header, content = {"__metadata__": {"format": "np"}}, b""
    for name, array in arrays.items():
        places = [len(content), len(content) + array.nbytes]
        kind = (kinds or {}).get(name, "F32")
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": places}
        content += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


@pytest.mark.parametrize(
    ("name", "stages"), [("mobilenet_v2", 9), ("resnet50", 5), ("vit_b16", 13)]
)
def test_architectures(name, stages):
    """Without computing anything."""
    trunk = nnx.eval_shape(lambda: open_trunk(name, weights="random", seed=0))
    leaves = jax.tree.leaves(nnx.state(trunk, nnx.Param))
    assert sum(math.prod(leaf.shape) for leaf in leaves) == NUM_PARAMETERS[name]
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert len(trunk.stages) == stages and trunk.side == 224
    for side in (224, 64):
        for precision in ("float32", "bfloat16"):
            trunk.precision = precision
            images = jax.ShapeDtypeStruct((2, side, 2 * side, 3), jnp.float32)
            found = nnx.eval_shape(lambda one, x: one(x), trunk, images)
            assert (found.shape, found.dtype) == ((2, trunk.num_features), jnp.float32)
            maps = nnx.eval_shape(lambda one, x: one.maps(x), trunk, images)
            assert maps.dtype == jnp.dtype(precision)


def test_a_picture_must_be_whole_patches():
    trunk = nnx.eval_shape(lambda: open_trunk("vit_b16", seed=0))
    with pytest.raises(ValueError, match="multiples of 16"):
        nnx.eval_shape(lambda one: one(jnp.zeros((1, 30, 32, 3))), trunk)


def convolution(x, kernel, bias, stride):
    pad = kernel.shape[0] // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows[:, ::stride, ::stride], kernel) + bias


def test_a_bottleneck_against_numpy():
    """The stride is in the 3 x 3 layer, and in the shortcut."""
    shapes = ((1, 1, 6, 2), (3, 3, 2, 2), (1, 1, 2, 8), (1, 1, 6, 8))
    kernels = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    biases = [RNG.normal(size=shape[-1]).astype(np.float32) for shape in shapes]
    x = RNG.normal(size=(2, 7, 5, 6)).astype(np.float32)
    made = iter([resnet50._Conv(k, b) for k, b in zip(kernels, biases, strict=True)])
    block = resnet50._Bottleneck(made, 2, True)
    y = np.maximum(convolution(x, kernels[0], biases[0], 1), 0)
    y = np.maximum(convolution(y, kernels[1], biases[1], 2), 0)
    y = convolution(y, kernels[2], biases[2], 1) + convolution(x, kernels[3], biases[3], 2)
    np.testing.assert_allclose(block(jnp.asarray(x)), np.maximum(y, 0), rtol=1e-4, atol=1e-4)


def test_a_block_of_the_transformer_against_numpy(monkeypatch):
    width, hidden, heads = 8, 12, 2
    monkeypatch.setattr(vit_b16, "NUM_FEATURES", width)
    monkeypatch.setattr(vit_b16, "_HIDDEN", hidden)
    monkeypatch.setattr(vit_b16, "_HEADS", heads)
    stem = "encoder.layers.encoder_layer_0."
    tensors = {
        name.removeprefix(stem): RNG.normal(size=shape)
        for name, shape in vit_b16._shapes().items()
        if name.startswith(stem)
    }
    given = {stem + name: jnp.asarray(array, jnp.float32) for name, array in tensors.items()}
    x = RNG.normal(size=(2, 5, width))

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    attention = "self_attention"
    y = norm(x, "ln_1") @ tensors[f"{attention}.in_proj_weight"]
    y += tensors[f"{attention}.in_proj_bias"]
    parts = [part.reshape(2, 5, heads, -1) for part in np.split(y, 3, axis=-1)]
    scores = np.einsum("nqhf,nkhf->nhqk", *parts[:2]) / np.sqrt(width / heads)
    chances = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = np.einsum("nhqk,nkhf->nqhf", chances, parts[2]).reshape(2, 5, width)
    x_after = (
        x + y @ tensors[f"{attention}.out_proj.weight"] + tensors[f"{attention}.out_proj.bias"]
    )
    y = norm(x_after, "ln_2") @ tensors["mlp.0.weight"] + tensors["mlp.0.bias"]
    y = y * (1 + np.vectorize(math.erf)(y / np.sqrt(2))) / 2
    expected = x_after + y @ tensors["mlp.3.weight"] + tensors["mlp.3.bias"]
    found = vit_b16._Block(given, 0)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_three_forms_of_files_hold_the_same(tmp_path):
    arrays = {name: RNG.normal(size=(2, 3)).astype(np.float32) for name in ("a.weight", "b")}
    torch_weights.write(tmp_path / "w.pth", arrays)
    np.savez(tmp_path / "w.npz", **arrays)
    write_safetensors(tmp_path / "w.safetensors", arrays)
    for suffix in ("pth", "npz", "safetensors"):
        weights = Weights(tmp_path / f"w.{suffix}", "a model")
        np.testing.assert_array_equal(weights.take("a.weight", (2, 3)), arrays["a.weight"])
        assert "b" in weights and "c" not in weights
        with pytest.raises(UserError, match=f"w.{suffix}: has no tensor c; not torchvision's a"):
            weights.take("c", (1,))
        with pytest.raises(UserError, match=r"b has the shape \(2, 3\), that of a model \(3,\)"):
            weights.take("b", (3,))
    halves = {"a": np.array([1.5, -2], np.float16), "b": np.array([0x3FC0, 0xC000], np.uint16)}
    path = write_safetensors(tmp_path / "h.safetensors", halves, {"a": "F16", "b": "BF16"})
    for name in halves:
        np.testing.assert_array_equal(Weights(path, "").take(name, (2,)), [1.5, -2])


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no such file with weights of resnet50"):
        open_trunk("resnet50", weights=str(tmp_path / "none.pth"), seed=0)
    path = write_safetensors(tmp_path / "w.safetensors", {"a": np.zeros(8, np.float32)})
    whole = path.read_bytes()
    header = json.dumps({"a": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4]}}).encode()
    for content in (b"", whole[:20], whole[:-4], len(header).to_bytes(8, "little") + header):
        path.write_bytes(content)
        with pytest.raises(UserError, match="w.safetensors: not a file of weights, or damaged"):
            open_trunk("vit_b16", weights=str(path), seed=0)
    (tmp_path / "w.npz").write_bytes(b"secret")
    with pytest.raises(UserError, match=r"w\.npz: not a file of weights") as caught:
        open_trunk("resnet50", weights=str(tmp_path / "w.npz"), seed=0)
    assert "secret" not in str(caught.value)


def test_normalisation_is_folded(tmp_path):
    shape = (3, 3, 4, 5)
    kernel = RNG.normal(size=shape).astype(np.float32)
    parts = {
        name: RNG.uniform(0.5, 2, 5).astype(np.float32)
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    stored = {"c.weight": kernel.transpose(3, 2, 0, 1)} | {f"n.{k}": v for k, v in parts.items()}
    np.savez(tmp_path / "w.npz", **stored)
    x = RNG.normal(size=(1, 6, 6, 4))
    y = convolution(x, kernel, 0, 1) - parts["running_mean"]
    expected = y / np.sqrt(parts["running_var"] + 1e-5) * parts["weight"] + parts["bias"]
    found = convolution(x, *Weights(tmp_path / "w.npz", "").folded("c", "n", shape), 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_module_of_the_users():
    trunk = open_trunk("own_trunks:net", seed=3)
    assert (trunk.num_features, trunk.side) == (5, 16)
    images = jnp.ones((2, 16, 16, 3))
    found = trunk(images)
    assert found.shape == (2, 5)
    np.testing.assert_array_equal(found, trunk(images))  # no dropout, no new statistics
    trained = nnx.state(trunk, trained_filter(trunk, "all"))
    assert len(jax.tree.leaves(trained)) == 4 and not jax.tree.leaves(
        nnx.state(trunk, nnx.RngState)
    )
    np.testing.assert_allclose(open_trunk("own_trunks:net", seed=3, remat=True)(images), found)
    with pytest.raises(UserError, match="has 0: train all of it, or none"):
        trained_filter(trunk, "last", 1)
    plain = open_trunk("own_trunks:colours", seed=0)
    np.testing.assert_allclose(plain(images / 2), np.full((2, 3), 0.5))


def test_a_trunk_of_the_users_has_stages_and_precision():
    trunk = open_trunk("own_trunks:staged", seed=0, precision="bfloat16")
    assert trunk.precision == "bfloat16" and trunk.num_features == 4
    assert len(jax.tree.leaves(nnx.state(trunk, trained_filter(trunk, "last", 1)))) == 2
    weights = open_trunk("own_trunks:takes_weights", weights="four", seed=0)
    assert float(weights(jnp.ones((1, 8, 8, 3)))[0, 0]) == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("own_trunks:nothing", {}, "own_trunks:nothing: cannot be imported"),
        ("no_such_module:f", {}, "cannot be imported .ModuleNotFoundError"),
        ("own_trunks:not_features", {}, r"features \[N, F\] .* got shape \(2, 224, 224, 3\)"),
        ("own_trunks:fails", {}, "fails when it is made .RuntimeError: no luck"),
        ("own_trunks:number", {}, "must return a module or a function, not 7"),
        ("own_trunks:net", {"weights": "w.pth"}, "no argument weights, but weights=w.pth is asked"),
        ("own_trunks:net", {"precision": "bfloat16"}, "no argument precision"),
    ],
)
def test_what_is_no_trunk(name, options, message):
    with pytest.raises(UserError, match=message):
        open_trunk(name, seed=0, **options)


def test_identity(tmp_path):
    digests = Digests()
    file = tmp_path / "w.pth"
    file.write_bytes(b"1")
    found = [
        trunk_identity(*given, digests)
        for given in (
            ("mobilenet_v2", ""),
            ("mobilenet_v2", "random"),
            ("mobilenet_v2", str(file)),
            ("resnet50", ""),
            ("own_trunks:net", ""),
            ("own_trunks:net", "a name of the user's"),
        )
    ]
    assert len({json.dumps(one, sort_keys=True) for one in found}) == len(found)
    assert found[3] == trunk_identity("resnet50", "random", digests)
    with pytest.raises(MissingFileError):
        trunk_identity("resnet50", "nowhere.pth", digests)
