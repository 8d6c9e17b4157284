"""ONNX files, made here without another framework."""

import json

import numpy as np
import pytest

from experiments.shared.errors import UserError
from experiments.vision.encoders import open_encoder
from experiments.vision.preprocessing import Preprocessing

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

SIDE = 8
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 4, SIDE, SIDE, 3), dtype=np.uint8)


def write(path, shape, *, axes, outputs=("embedding",), dtype=TensorProto.FLOAT, inputs=("x",)):
    """Writes a model whose embedding is the mean over `axes`; "logits" are its negatives."""
    given = [helper.make_tensor_value_info(name, dtype, shape) for name in inputs]
    mean = "embedding" if "embedding" in outputs else "mean"
    kept = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], [mean], keepdims=0)]
    if "logits" in outputs:
        nodes.append(helper.make_node("Neg", [mean], ["logits"]))
    rest = [None] * (len(shape) - len(axes))
    found = [helper.make_tensor_value_info(name, dtype, rest) for name in outputs]
    graph = helper.make_graph(nodes, "means", given, found, initializer=[kept])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return f"onnx:{path}"


def values(layout="BTHWC"):
    return Preprocessing()(FRAMES, layout)


def test_pictures_of_any_number(tmp_path):
    name = write(tmp_path / "model.onnx", ["b", 3, SIDE, SIDE], axes=[2, 3])
    encoder = open_encoder(name)
    assert (encoder.spec.num_features, encoder.spec.frames) == (3, None)
    assert encoder.spec.size == (SIDE, SIDE)
    np.testing.assert_allclose(encoder(FRAMES), values().mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="encodes single pictures, not 4"):
        open_encoder(name, frames=4)
    with pytest.raises(UserError, match="its size is 8, not 16"):
        open_encoder(name, size=16)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ([2, 4, 3, SIDE, SIDE], [1, 3, 4]),
        (["b", 3, 4, SIDE, SIDE], [2, 3, 4]),
        (["b", "t", "h", "w", 3], [1, 2, 3]),
    ],
)
def test_clips_in_any_order_and_a_fixed_batch(tmp_path, shape, axes):
    name = write(tmp_path / "model.onnx", shape, axes=axes)
    encoder = open_encoder(name, frames=4, size=SIDE)
    assert encoder.spec.frames == 4
    np.testing.assert_allclose(encoder(FRAMES), values().mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    if "t" in shape:
        with pytest.raises(UserError, match="say how many frames"):
            open_encoder(name, size=SIDE)
    else:
        assert open_encoder(name).spec.frames == 4
        with pytest.raises(UserError, match="its frames is 4, not 8"):
            open_encoder(name, frames=8)


def test_tokens_are_averaged_and_logits_stand_behind(tmp_path):
    # The mean of each row of pixels, [B, H, 3], and the scores, wherever they stand.
    shape = ["b", SIDE, SIDE, 3]
    name = write(tmp_path / "tokens.onnx", shape, axes=[2])
    np.testing.assert_allclose(
        open_encoder(name)(FRAMES), values().mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(UserError, match="one output: no logits"):
        open_encoder(name, logits=True)
    name = write(tmp_path / "both.onnx", shape, axes=[1, 2], outputs=("logits", "embedding"))
    found = open_encoder(name, logits=True)(FRAMES)
    np.testing.assert_allclose(found[:, :3], values().mean(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, 3:], -found[:, :3])
    np.testing.assert_allclose(open_encoder(name)(FRAMES), found[:, :3])


def test_half_precision_and_a_preprocessing_beside_it(tmp_path):
    name = write(
        tmp_path / "model.onnx", ["b", 3, "h", "w"], axes=[2, 3], dtype=TensorProto.FLOAT16
    )
    said = {"do_rescale": False, "do_normalize": False, "size": SIDE}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    encoder = open_encoder(name)
    assert encoder.spec.size == (SIDE, SIDE)
    np.testing.assert_allclose(encoder(FRAMES), FRAMES.mean(axis=(1, 2, 3)), rtol=2e-3)


def test_weights_beside_the_file_are_in_its_identity(tmp_path):
    name = write(tmp_path / "model.onnx", ["b", 3, SIDE, SIDE], axes=[2, 3])
    before = open_encoder(name).spec.identity
    assert before["encoder"] == "onnx:model.onnx" and "onnxruntime" in before["versions"]
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    assert open_encoder(name).spec.identity["weights"] != before["weights"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ["b", "c", "h", "w"], "axes": [2, 3]}, "are not clear: .*layout"),
        ({"shape": ["b", 12], "axes": [1]}, "are not clear"),
        ({"shape": ["b", 3, 8, 8], "axes": [2, 3], "inputs": ("x", "y")}, "one input, has x, y"),
        ({"shape": ["b", 3, 8, 8], "axes": [2, 3], "dtype": TensorProto.DOUBLE}, "is tensor.doub"),
        ({"shape": ["b", 3, 8, 8], "axes": []}, r"\[B, F\] or \[B, tokens, F\], got"),
        ({"shape": ["b", 3, 8, 8], "axes": [1, 2, 3]}, "must return"),
    ],
)
def test_other_models_are_refused(tmp_path, options, message):
    name = write(tmp_path / "model.onnx", **options)
    with pytest.raises(UserError, match=f"--encoder=onnx:.*{message}"):
        open_encoder(name)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model\.onnx: cannot be loaded .InvalidProtobuf"):
        open_encoder(f"onnx:{tmp_path / 'model.onnx'}")
