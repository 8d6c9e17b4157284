"""The images of an experiment: what is read, how it is split, what is refused."""

import dataclasses

import numpy as np
import pytest
import tiny_images
from sklearn.datasets import load_digits

from experiments.seq_images import dataset as data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_images.write(tmp_path_factory.mktemp("images"))


def test_a_folder(folder):
    found = data.load_folder(folder, image_size=8)
    assert found.class_names == tiny_images.CLASS_NAMES and found.skipped == ()
    assert found.train.images.shape == (18, 8, 8, 3) and found.train.images.dtype == np.uint8
    assert len(found.test) == 12
    assert found.train.ids[0] == "train/blue/0.png"
    for label, name in enumerate(found.class_names):
        rows = found.train.labels == label
        assert all(f"/{name}/" in id for id, on in zip(found.train.ids, rows, strict=True) if on)
        strongest = found.train.images[rows].mean(axis=(0, 1, 2)).argmax()
        assert ("red", "green", "blue")[strongest] == name


@pytest.mark.parametrize(
    ("load", "size", "train"),
    [(data.load_silhouettes, 64, 500), (data.load_small_digits, 8, 797)],
)
def test_what_comes_along(load, size, train):
    found = load(image_size=size)
    assert found.train.images.shape == (train, size, size, 3) and len(found.class_names) == 10
    assert np.bincount(found.test.labels).tolist() == [100] * 10
    assert not set(found.train.ids) & set(found.test.ids)
    assert found.note and found.train.images.max() == 255
    assert load(image_size=size).train.ids == found.train.ids
    assert load(image_size=size, split_seed=1).train.ids != found.train.ids


def test_silhouettes_are_no_copies_of_each_other():
    found = data.load_silhouettes(image_size=28)
    images = np.concatenate([found.train.images, found.test.images])[..., 0].reshape(-1, 28, 28)
    images = images.astype(np.float32) / 255
    for row in range(0, len(images), 97):
        for other in (images[row], images[row, :, ::-1]):
            distance = np.abs(images - other).mean(axis=(1, 2))
            distance[row] = 1
            same = np.concatenate([found.train.labels, found.test.labels])
            assert distance[same == same[row]].min() > 0.04


def test_digits_are_those_of_scikit_learn():
    found = data.load_small_digits(image_size=8)
    digits = load_digits()
    row = int(found.test.ids[5].split("/")[1])
    assert digits.target[row] == found.test.labels[5]
    for channel in range(3):
        shade = found.test.images[5, :, :, channel] / 255 * 16
        np.testing.assert_allclose(shade, digits.images[row], atol=0.04)


def test_training_rows_are_drawn_by_the_seed(folder):
    split = data.load_folder(folder, image_size=8).train
    few = tiny_images.settings(folder, train_per_class=4)
    rows = [data.training_rows(split, few, seed) for seed in range(4)]
    for chosen in rows:
        assert np.bincount(split.labels[chosen]).tolist() == [4, 4, 4]
        assert (np.diff(chosen) > 0).all()
    assert len({tuple(chosen) for chosen in rows}) > 1
    np.testing.assert_array_equal(rows[1], data.training_rows(split, few, 1))
    everything = data.training_rows(split, tiny_images.settings(folder), 0)
    np.testing.assert_array_equal(everything, np.arange(18))


def test_images_that_do_not_decode_are_named_counted_and_skipped_on_demand(tmp_path):
    folder = tiny_images.write(tmp_path / "images")
    (folder / "train" / "red" / "2.png").write_bytes(b"no image")
    (folder / "test" / "blue" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 18 images do not decode") as error:
        data.load_folder(folder, image_size=8)
    assert "red/2.png" in str(error.value) and "--skip_bad" in str(error.value)
    found = data.load_folder(folder, image_size=8, skip_bad=True)
    assert (len(found.train), len(found.test)) == (17, 11)
    assert found.skipped == ("train/red/2.png", "test/blue/1.png")
    assert "train/red/2.png" not in found.train.ids and len(found.train.images) == 17
    assert found.train.labels[list(found.train.ids).index("train/red/3.png")] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_support": 5}, r"3 classes have fewer training images than the 7 needed "
         r"\(--num_support=5 \+ --queries=2\): blue \(6\), green \(6\), red \(6\)"),
        ({"sweep": ("num_support",), "sweep_num_support": (1, 5)}, "--num_support=5"),
        ({"train_per_class": 3}, "--train_per_class=3: an episode needs 4 images of each class"),
        ({"train_per_class": 7}, r"fewer training images than the 7 needed \(--train_per_class=7"),
        ({"classes_per_episode": 4}, "--classes_per_episode=4: there are only 3"),
    ],
)  # fmt: skip
def test_episodes_that_cannot_be_drawn(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        data.check_classes(
            data.load_folder(folder, image_size=8), tiny_images.settings(folder, **changes)
        )


def test_a_class_whose_images_are_all_skipped_is_refused(folder):
    found = data.load_folder(folder, image_size=8)
    kept = found.train.labels != 1
    train = data.Split(
        tuple(id for id, on in zip(found.train.ids, kept, strict=True) if on),
        found.train.images[kept],
        found.train.labels[kept],
    )
    with pytest.raises(ValueError, match=r"1 classes have fewer .* green \(0\)"):
        data.check_classes(dataclasses.replace(found, train=train), tiny_images.settings(folder))


def test_one_class_only(tmp_path):
    folder = tiny_images.write(tmp_path, names=("lonely",))
    with pytest.raises(ValueError, match=r"has one class only \(lonely\)"):
        data.check_classes(data.load_folder(folder, image_size=8), tiny_images.settings(folder))


def test_no_test_images_and_no_folder(tmp_path):
    folder = tiny_images.write(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match="absent"):
        data.load_folder(tmp_path / "absent", image_size=8)
    for path in (folder / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match="no image to test on"):
        data.load_folder(folder, image_size=8)


def test_the_identity_is_of_every_pixel(folder):
    found = data.load_folder(folder, image_size=8)
    before = data.identity(found)
    assert before["num_samples"] == {"train": 18, "test": 12}
    images = found.test.images.copy()
    images[3, 2, 1, 0] ^= 1
    changed = dataclasses.replace(found, test=dataclasses.replace(found.test, images=images))
    after = data.identity(changed)
    assert {key for key in before if before[key] != after[key]} == {"content"}
