import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights

from experiments.shared.errors import UserError
from experiments.vision.mobilenet import WEIGHTS_FILE, MobileNet

FEATURES_OF_TORCH = Path(__file__).parent / "fixtures" / "mobilenet_v2_features.npy"
HEIGHT, WIDTH = 45, 33  # one shape in nearly all tests: it is compiled once; odd, and not square
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures() -> np.ndarray:
    """Returns uint8 [2, 45, 33, 3] by a formula, the second upside down."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    channels = (row * 5 + column * 3, row * column, column * column // 8 + 7 * row)
    picture = (np.stack(channels, axis=-1) % 256).astype(np.uint8)
    return np.stack([picture, picture[::-1]])


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return torch_weights.random_weights(0)


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory, weights) -> Path:
    return torch_weights.write(tmp_path_factory.mktemp("weights") / "weights.pth", weights)


@pytest.fixture(scope="module")
def random_net(torch_file) -> MobileNet:
    return MobileNet.load(torch_file)


@pytest.fixture(scope="module")
def trained_net() -> MobileNet:
    return MobileNet.load()


def reference(tensors: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """The network in float64, by windows, batch normalisation as its own step."""

    def convolution(x, name, stride=1):
        kernel = tensors[f"{name}.weight"].astype(np.float64)
        side = kernel.shape[2]
        pad = side // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
        windows = windows[:, ::stride, ::stride]  # [n, h, w, channels, side, side]
        if kernel.shape[1] == 1:
            return np.einsum("nhwcij,cij->nhwc", windows, kernel[:, 0], optimize=True)
        return np.einsum("nhwcij,ocij->nhwo", windows, kernel, optimize=True)

    def normalised(x, name):
        weight, bias, mean, variance = (
            tensors[f"{name}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def relu6(x):
        return np.minimum(np.maximum(x, 0), 6)

    x = (images - np.array(MEAN)) / np.array(STD)
    x = relu6(normalised(convolution(x, "features.0.0", 2), "features.0.1"))
    number = 1
    for expansion, channels, blocks, first_stride in torch_weights.STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            conv, y, part = f"features.{number}.conv", x, 0
            if expansion != 1:
                y = relu6(normalised(convolution(y, f"{conv}.0.0"), f"{conv}.0.1"))
                part = 1
            y = convolution(y, f"{conv}.{part}.0", stride)
            y = relu6(normalised(y, f"{conv}.{part}.1"))
            y = normalised(convolution(y, f"{conv}.{part + 1}"), f"{conv}.{part + 2}")
            x = x + y if stride == 1 and x.shape[3] == channels else y
            number += 1
    x = relu6(normalised(convolution(x, "features.18.0"), "features.18.1"))
    return x.mean(axis=(1, 2))


def test_agrees_with_a_reference_in_numpy(random_net, weights):
    images = pictures() / 255
    expected = reference(weights, images)
    assert expected.shape == (2, 1280) and 0.1 < expected.std() < 3  # nothing has died or grown
    found = random_net(jnp.asarray(images, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_embedded_weights_agree_with_torch(trained_net):
    """torch 2.13, torchvision's float32 weights; what differs is the rounding to float16."""
    expected = np.load(FEATURES_OF_TORCH)
    found = trained_net.encode(pictures(), batch_size=2)
    assert np.linalg.norm(found - expected) < 0.005 * np.linalg.norm(expected)
    # The two pictures' features differ by far more.
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1 * np.linalg.norm(expected)


def test_save_and_load_round_to_float16(random_net, tmp_path):
    random_net.save(tmp_path / "weights.npz")
    loaded = MobileNet.load(tmp_path / "weights.npz")
    assert len(loaded.layers) == len(random_net.layers) == 52
    for before, after in zip(random_net.layers, loaded.layers, strict=True):
        for a, b in zip(before, after, strict=True):
            assert b.dtype == jnp.float32
            np.testing.assert_array_equal(np.asarray(a, np.float16), np.asarray(b, np.float16))


def test_batches_do_not_matter(trained_net):
    images = np.concatenate([pictures(), pictures()[:1]])  # three, so the last batch is filled up
    features = trained_net.encode(images, batch_size=2)
    assert features.shape == (3, 1280) and features.dtype == np.float32
    np.testing.assert_allclose(features[2], features[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(features[:2], trained_net.encode(images[:2], batch_size=2))


def test_bytes_and_fractions_are_the_same(trained_net):
    images = pictures()
    expected = trained_net.encode(images, batch_size=2)
    found = trained_net.encode(images / 255.0, batch_size=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_no_image_gives_no_feature(trained_net):
    assert trained_net.encode(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 1280)


@pytest.mark.parametrize("side", [(32, 32), (50, 33)])
def test_any_size_of_at_least_32(trained_net, side):
    images = np.random.default_rng(0).integers(0, 256, (1, *side, 3), dtype=np.uint8)
    features = trained_net.encode(images, batch_size=1)
    assert features.shape == (1, 1280) and np.isfinite(features).all() and features.std() > 0


@pytest.mark.parametrize(
    "shape", [(2, 31, 64, 3), (2, 64, 31, 3), (2, 64, 64, 1), (2, 64, 64), (64, 64, 3)]
)
def test_other_shapes_are_an_error(trained_net, shape):
    with pytest.raises(ValueError, match="sides of at least 32") as error:
        trained_net(jnp.zeros(shape))
    assert str(shape) in str(error.value)


def test_numbers_of_another_type_are_an_error(trained_net):
    with pytest.raises(ValueError, match="must be uint8 or floating point, got int64"):
        trained_net.encode(pictures().astype(np.int64))


def test_missing_weights_are_named(tmp_path):
    for name in ("none.npz", "none.pth"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            MobileNet.load(tmp_path / name)


def test_damaged_weights_are_named(tmp_path):
    content = WEIGHTS_FILE.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes(byte ^ 255 for byte in content[middle : middle + 64])
    for damaged in (b"", b"not an npz", content[:middle], flipped + content[middle + 64 :]):
        path = tmp_path / "weights.npz"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"weights\.npz: not weights of MobileNetV2"):
            MobileNet.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kernel_0.npy", "secret text")
    with pytest.raises(UserError, match=r"weights\.npz: not weights") as caught:
        MobileNet.load(path)
    assert "secret" not in str(caught.value)


def test_other_networks_are_refused(tmp_path, weights):
    np.savez(tmp_path / "other.npz", kernel=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: not weights of MobileNetV2"):
        MobileNet.load(tmp_path / "other.npz")

    with np.load(WEIGHTS_FILE) as stored:
        arrays = dict(stored)
    arrays["bias_5"] = arrays["bias_5"][:-1]
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ValueError, match=r"short\.npz: layer 5 has a kernel"):
        MobileNet.load(tmp_path / "short.npz")

    lacking = {name: value for name, value in weights.items() if "features.18.1" not in name}
    path = torch_weights.write(tmp_path / "lacking.pth", lacking)
    with pytest.raises(ValueError, match=r"lacking\.pth: has no tensor features\.18\.1"):
        MobileNet.load(path)

    wide = weights | {"features.18.0.weight": np.zeros((1280, 160, 1, 1), np.float32)}
    path = torch_weights.write(tmp_path / "wide.pth", wide)
    with pytest.raises(ValueError, match=r"wide\.pth: layer 51 has a kernel \(160, 1280\)"):
        MobileNet.load(path)
