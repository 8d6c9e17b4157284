"""Frozen features: what they are of, that they are computed once, and what is refused."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_images

from experiments.seq_images import dataset as data
from experiments.seq_images import features
from experiments.seq_images.virtual_sequences import virtual_sequences
from experiments.shared.fingerprint import Digests
from experiments.vision.encoders import EncoderSpec, open_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_images.write(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def dataset(folder):
    return data.load_folder(folder, image_size=tiny_images.SIZE)


def brightness(images):
    """An encoder: mean, and mean square, of every colour."""
    return np.concatenate([images.mean(axis=(1, 2)), np.square(images).mean(axis=(1, 2))], axis=1)


def bad_shape(images):
    return images.mean(axis=(1, 2, 3))


def not_finite(images):
    return images.mean(axis=(1, 2)) / 0


def test_features_are_of_the_images_and_their_sequences(folder, dataset, tmp_path):
    settings = tiny_images.settings(folder, encoder="test_seq_features:brightness")
    train, test = features.compute_features(dataset, settings, tmp_path / "features")
    assert train.images.shape == (18, 6) and train.sequences.shape == (18, 2, 3, 6)
    assert test.images.shape == (12, 6) and test.sequences.shape == (12, 1, 3, 6)
    assert train.images.dtype == train.sequences.dtype == np.float16
    np.testing.assert_array_equal(train.labels, dataset.train.labels)
    images = dataset.train.images.astype(np.float32) / 255
    np.testing.assert_allclose(train.images, brightness(images), atol=1e-3)
    frames = virtual_sequences(images[4:8], np.arange(4, 8), 0, num_draws=2, tau=3)
    expected = brightness(np.asarray(frames).reshape(-1, 8, 8, 3)).reshape(4, 2, 3, 6)
    np.testing.assert_allclose(train.sequences[4:8], expected, atol=1e-3)
    np.testing.assert_allclose(train.sequences[:, 0, 0], train.images, atol=1e-3)
    # The sequences of the two splits have no draws in common.
    again = virtual_sequences(dataset.test.images[:4] / np.float32(255), np.arange(4), 0, tau=3)
    same_draw = brightness(np.asarray(again).reshape(-1, 8, 8, 3)).reshape(4, 3, 6)
    assert np.abs(test.sequences[:4, 0, -1] - same_draw[:, -1]).max() > 0.01
    one = features.Encoder(settings.encoder)(images[7:8])
    np.testing.assert_array_equal(one[0], train.images[7])


def test_they_are_computed_once(folder, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(features, "_PART", 7)
    settings = tiny_images.settings(folder)
    first = features.compute_features(dataset, settings, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "test-000000.npz", "test-000007.npz",
        "train-000000.npz", "train-000007.npz", "train-000014.npz",
    ]  # fmt: skip
    computed = []
    compute = features._Extractor._compute

    def counting(self, images, rows, *rest):
        computed.append(rows[0])
        return compute(self, images, rows, *rest)

    def assert_same(found):
        for one, other in zip(found, first, strict=True):
            np.testing.assert_array_equal(one.images, other.images)
            np.testing.assert_array_equal(one.sequences, other.sequences)

    monkeypatch.setattr(features._Extractor, "_compute", counting)
    assert_same(features.compute_features(dataset, settings, tmp_path))
    assert computed == []

    # One that is damaged, one that is lost: those two are computed again, to the same.
    damaged = bytearray((tmp_path / "train-000007.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    (tmp_path / "train-000007.npz").write_bytes(damaged)
    (tmp_path / "test-000000.npz").unlink()
    assert_same(features.compute_features(dataset, settings, tmp_path))
    assert computed == [7, 0]
    assert "train-000007.npz: damaged, computed again" in capsys.readouterr().out

    # Of other sequences: all of them.
    other = tiny_images.settings(folder, augment_seed=1)
    changed, _ = features.compute_features(dataset, other, tmp_path)
    assert len(computed) == 7
    assert np.abs(changed.sequences - first[0].sequences).max() > 0.01
    np.testing.assert_array_equal(changed.images, first[0].images)


def test_features_of_an_encoder_that_was_edited_are_computed_again(
    folder, dataset, tmp_path, monkeypatch
):
    """The name of the encoder is the same, its source is not."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "own_encoder_of_a_test.py"
    source.write_text("def encode(images):\n    return images.mean(axis=(1, 2))\n")
    settings = tiny_images.settings(folder, encoder="own_encoder_of_a_test:encode")
    before, _ = features.compute_features(dataset, settings, tmp_path / "features")
    source.write_text("def encode(images):\n    return images.mean(axis=(1, 2)) / 2 # edited\n")
    sys.modules.pop("own_encoder_of_a_test")
    importlib.invalidate_caches()
    after, _ = features.compute_features(dataset, settings, tmp_path / "features")
    np.testing.assert_allclose(after.images, before.images / 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": "test_seq_features:bad_shape"}, ValueError, r"must return \[N, F\]"),
        ({"encoder": "test_seq_features:not_finite"}, ValueError, "not finite"),
        ({"encoder": "test_seq_features:absent"}, ValueError, "cannot be imported"),
        ({"encoder": "no_such_module:encode"}, ValueError, "there is no module no_such_module"),
        ({"encoder": "test_seq_features:np"}, ValueError, "is not a function"),
        (
            {"encoder": "mobilenet_v2", "encoder_weights": "no.pth", "image_size": 32},
            FileNotFoundError,
            "no.pth",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_encoders_that_cannot_be_used(folder, dataset, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        features.compute_features(dataset, tiny_images.settings(folder, **changes), tmp_path)


def test_mobilenet_is_the_frozen_encoder(tmp_path):
    from experiments.vision.mobilenet import MobileNet

    folder = tiny_images.write(tmp_path / "images", train=1, names=("a",))
    found = data.load_folder(folder, image_size=32)
    settings = tiny_images.settings(folder, encoder="mobilenet_v2", image_size=32, tau=2, draws=1)
    train, _ = features.compute_features(found, settings, tmp_path / "features")
    assert train.sequences.shape == (1, 1, 2, 1280)
    expected = MobileNet.load()(found.train.images.astype(np.float32) / 255)
    np.testing.assert_allclose(train.images, expected, atol=2e-3)


def means(frames):
    """Of windows ``[B, T, H, W, 3]``, as every script has them."""
    return frames.mean(axis=(1, 2, 3))


def with_weights(weights, size):
    factor = float(Path(weights).read_text())

    def encode(frames):
        assert frames.shape[1:] == (1, size, size, 3)
        return factor * means(frames)

    return encode


class Windows:
    """An encoder of windows of more frames than one."""

    spec = EncoderSpec("windows", 3, frames=4, size=(8, 8))

    def __call__(self, frames):
        return means(frames)


windows = Windows()


def test_encoders_by_the_names_of_every_script(folder, dataset, tmp_path):
    """They get bytes: of images as they are stored, of sequences rounded."""
    settings = tiny_images.settings(folder, encoder="thumbnail")
    train, _ = features.compute_features(dataset, settings, tmp_path / "features")
    assert train.images.shape == (18, 192) and train.sequences.shape == (18, 2, 3, 192)
    assert features.Encoder.of(settings).num_features == 192
    thumbnail = open_encoder("thumbnail", size=8)
    expected = thumbnail(dataset.train.images[:, None]).astype(np.float16)
    np.testing.assert_array_equal(train.images, expected)
    frames = virtual_sequences(
        dataset.train.images[:4].astype(np.float32) / 255, np.arange(4), 0, num_draws=2, tau=3
    )
    shown = np.rint(np.asarray(frames).reshape(-1, 1, 8, 8, 3) * 255).astype(np.uint8)
    expected = thumbnail(shown).reshape(4, 2, 3, 192)
    np.testing.assert_allclose(train.sequences[:4], expected, atol=1e-3)


def test_code_that_makes_an_encoder(folder, dataset, tmp_path):
    weights = tmp_path / "weights.txt"
    weights.write_text("2")
    name = "test_seq_features:with_weights"
    changes = {"encoder": name, "encoder_weights": str(weights)}
    settings = tiny_images.settings(folder, **changes)
    train, _ = features.compute_features(dataset, settings, tmp_path / "features")
    expected = 2 * dataset.train.images.mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(train.images, expected, atol=2e-3)
    before = features.Encoder.of(settings).identity(Digests())
    weights.write_text("3")
    after = features.Encoder.of(settings).identity(Digests())
    assert before["source"] == after["source"] and before["weights"] != after["weights"]
    train, _ = features.compute_features(dataset, settings, tmp_path / "features")
    np.testing.assert_allclose(train.images, 1.5 * expected, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "test_seq_features:windows"}, "encodes windows of 4 frames, and these are"),
        ({"encoder": "thumbnail", "image_size": 12}, "multiple of 8, not 12"),
        ({"encoder": "onnx:no.onnx"}, "no.onnx: no such file"),
        ({"encoder": "torch:no.pt"}, "no.pt"),
        (
            {"encoder": "test_seq_features:brightness", "encoder_weights": "w"},
            "takes no weights",
        ),
        ({"encoder": "test_seq_features:with_weights"}, "missing a required argument"),
    ],
)
def test_encoders_that_are_not_of_single_pictures(folder, dataset, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        features.compute_features(dataset, tiny_images.settings(folder, **changes), tmp_path)
