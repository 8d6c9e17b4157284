import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch_weights

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.checked_encoder import CheckedEncoder, EncoderSpec
from experiments.vision.encoders import NotFiniteError, open_encoder
from experiments.vision.mobilenet import MobileNet
from experiments.vision.preprocessing import Preprocessing, layout_of, read_preprocessing

ROOT = Path(__file__).parents[3]
SIDE = 32  # one shape in all tests of mobilenet_v2: it is compiled once for each batch


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_thumbnails_are_mean_colours():
    encoder = open_encoder("thumbnail", size=16)
    assert encoder.spec.num_features == 192 and encoder.spec.frames is None
    assert encoder.spec.size == (16, 16) and not encoder.spec.logits
    frames = pictures(2, 3, 16, 16)
    found = encoder(frames)
    assert found.shape == (2, 192) and found.dtype == np.float32
    cell = frames[1, :, 2:4, 6:8].mean(axis=(0, 1, 2)) / 255  # the second row, the fourth column
    np.testing.assert_allclose(found[1].reshape(8, 8, 3)[1, 3], cell, rtol=1e-6)
    assert open_encoder("thumbnail").spec.size == (64, 64)


def test_a_window_of_single_pictures_is_the_mean_of_its_frames():
    encoder = open_encoder("thumbnail", size=8)
    frames = pictures(2, 5, 8, 8)
    single = np.stack([encoder(frames[:, [k]]) for k in range(5)])
    np.testing.assert_allclose(encoder(frames), single.mean(axis=0), rtol=1e-6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    tensors = torch_weights.random_weights(0)
    return torch_weights.write(tmp_path_factory.mktemp("weights") / "weights.pth", tensors)


def test_mobilenet_is_the_network_and_its_rows_do_not_depend_on_their_neighbours():
    encoder = open_encoder("mobilenet_v2", size=SIDE)
    assert encoder.spec.num_features == 1280 and encoder.spec.size == (SIDE, SIDE)
    frames = pictures(4, 1, SIDE, SIDE)
    found = encoder(frames)
    expected = MobileNet.load().encode(frames[:, 0], batch_size=4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    others = encoder(np.concatenate([frames[2:], np.zeros_like(frames[:2])]))
    np.testing.assert_array_equal(others[:2], found[2:])


def test_weights_and_logits_of_a_local_file(weights):
    encoder = open_encoder("mobilenet_v2", weights=str(weights), size=SIDE, logits=True)
    assert encoder.spec.num_features == 1280 + 10 and encoder.spec.logits
    frames = pictures(4, 1, SIDE, SIDE)
    found = encoder(frames)
    np.testing.assert_allclose(
        found[:, :1280],
        open_encoder("mobilenet_v2", weights=str(weights), size=SIDE)(frames),
    )
    kernel = torch_weights.random_weights(0)["classifier.1.weight"]
    np.testing.assert_allclose(found[:, 1280:], found[:, :1280] @ kernel.T, atol=1e-3)
    own, other = (
        open_encoder("mobilenet_v2", weights=path, size=SIDE).spec.identity["weights"]
        for path in ("", str(weights))
    )
    assert own != other and encoder.spec.identity["weights"] == other


@pytest.mark.slow
def test_several_devices_share_a_batch_and_nothing_changes():
    code = (
        "import numpy as np, jax\n"
        "from experiments.vision.encoders import open_encoder\n"
        "rng = np.random.default_rng(0)\n"
        f"frames = rng.integers(0, 256, (4, 1, {SIDE}, {SIDE}, 3), dtype=np.uint8)\n"
        f"encoder = open_encoder('mobilenet_v2', size={SIDE})\n"
        "assert len(jax.local_devices()) == 2\n"
        "found = [encoder(frames[:4]), encoder(frames[:3])]\n"  # the second does not divide
        "print(repr([part.tolist() for part in found]))\n"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=flags, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    even, odd = (np.array(part) for part in eval(done.stdout))
    expected = open_encoder("mobilenet_v2", size=SIDE)(pictures(4, 1, SIDE, SIDE))
    np.testing.assert_allclose(even, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(odd, expected[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "allowed: thumbnail, mobilenet_v2, onnx:FILE, .*MODULE:FUNCTION"),
        ("onnx:", {}, "allowed: thumbnail"),
        ("", {}, "allowed: thumbnail"),
        ("thumbnail", {"size": 30}, "a multiple of 8, not 30"),
        ("thumbnail", {"logits": True}, "neither weights nor logits"),
        ("thumbnail", {"weights": "w.npz"}, "neither weights nor logits"),
        ("thumbnail", {"frames": 8}, "every frame of a window, not 8"),
        ("mobilenet_v2", {"size": 31}, "at least 32, not 31"),
        ("mobilenet_v2", {"logits": True}, "no classifier"),
        ("mobilenet_v2", {"size": -1}, "must not be negative"),
    ],
)
def test_what_cannot_be_is_told(name, options, message):
    with pytest.raises(UserError, match=f"--encoder={name}: .*{message}"):
        open_encoder(name, **options)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.pth: no such file"):
        open_encoder("mobilenet_v2", weights=str(tmp_path / "none.pth"))


SPEC = EncoderSpec("mine", 4, 2, (8, 8))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((3, 5)), "returned 5 features, it has 4"),
        (np.zeros((2, 4)), r"got \(2, 4\) of 3 windows"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        (np.zeros(4), r"got \(4,\)"),
        (np.zeros((3, 4), np.complex64), "must return numbers, got complex64"),
        (np.full((3, 4), "x"), "must return numbers"),
    ],
)
def test_a_wrong_result_names_the_encoder(result, message):
    with pytest.raises(UserError, match=f"--encoder=mine: .*{message}") as caught:
        CheckedEncoder(SPEC, lambda frames: result)(pictures(3, 2, 8, 8))
    assert not isinstance(caught.value, NotFiniteError)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])  # the last is none of float32
def test_features_that_are_not_finite_say_which(bad):
    result = np.ones((3, 4))
    result[1, 2] = bad
    with pytest.raises(NotFiniteError, match="--encoder=mine: .*of 1 of 3 windows") as caught:
        CheckedEncoder(SPEC, lambda frames: result)(pictures(3, 2, 8, 8))
    assert caught.value.rows.tolist() == [1]
    np.testing.assert_array_equal(caught.value.features[[0, 2]], 1)


@pytest.mark.parametrize(
    "frames",
    [
        pictures(3, 2, 8, 8).astype(np.float32),
        pictures(3, 1, 8, 8),
        pictures(3, 2, 8, 9),
        pictures(0, 2, 8, 8),
        pictures(2, 8, 8),
    ],
)
def test_other_pictures_are_a_mistake_of_the_caller(frames):
    with pytest.raises(ValueError, match=r"pictures must be uint8 \('B', 2, 8, 8, 3\)"):
        CheckedEncoder(SPEC, lambda frames: np.ones((len(frames), 4)))(frames)


def config(folder: Path, text: str, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(text)
    return folder


def test_published_preprocessing_is_done(tmp_path):
    text = """{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.125],
        "rescale_factor": 0.00392156862745098, "do_flip_channel_order": true,
        "size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 12}}"""
    found = read_preprocessing(config(tmp_path, text))
    assert found is not None and found.size == (16, 12)
    frames = pictures(2, 3, 4, 5)
    values = (frames[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.25, 0.125]
    np.testing.assert_allclose(
        found(frames, "BCTHW"), values.transpose(0, 4, 1, 2, 3), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        found(frames, "BTCHW"), values.transpose(0, 1, 4, 2, 3), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(found(frames, "BHWC"), values[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('{"size": 224}', (224, 224)),
        ('{"size": {"shortest_edge": 256}, "do_center_crop": false, "crop_size": 224}', (256, 256)),
        ("{}", None),
    ],
)
def test_a_size_is_written_in_many_ways(tmp_path, text, size):
    found = read_preprocessing(config(tmp_path, text, "video_preprocessor_config.json"))
    assert found is not None and found.size == size
    bytes_kept = '{"do_rescale": false, "do_normalize": false}'
    kept = read_preprocessing(config(tmp_path, bytes_kept))
    np.testing.assert_array_equal(kept(pictures(1, 1, 2, 2), "BHWC"), pictures(1, 1, 2, 2)[:, 0])
    assert read_preprocessing(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "must be a JSON object"),
        ('{"image_mean": [0.5]}', "image_mean: three numbers"),
        ('{"image_std": [0.5, 0, 0.5]}', "image_std: must be greater than 0"),
        ('{"rescale_factor": "x"}', "a finite number is expected, not 'x'"),
        ('{"size": 0}', "two whole numbers"),
        ('{"layout": "CHW"}', "layout: allowed: BCHW"),
    ],
)
def test_bad_preprocessing_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"preprocessor_config\.json: .*{message}"):
        read_preprocessing(config(tmp_path, text))


def test_without_a_file_pictures_are_normalised_as_imagenets():
    white = np.full((1, 1, 1, 1, 3), 255, np.uint8)
    values = Preprocessing()(white, "BCHW")[0, :, 0, 0]
    np.testing.assert_allclose(values, [2.2489, 2.4286, 2.64], atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        (["b", 3, 224, 224], "BCHW"),
        ([1, "h", "w", 3], "BHWC"),
        (["b", 16, 3, 224, 224], "BTCHW"),
        (["b", 3, "t", 224, 224], "BCTHW"),
        ([None, 8, 224, 224, 3], "BTHWC"),
        (["b", 3, 3, 224, 224], ""),
        (["b", "c", "h", "w"], ""),
        ([3, 3], ""),
    ],
)
def test_axes_are_told_by_the_three_colours(shape, layout):
    assert layout_of(shape) == layout
