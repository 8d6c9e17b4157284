"""Meta splits: what is read, how it is brought to segments, and every bad input by name."""

import numpy as np
import pytest
import tiny_episodes

import tempalign
from experiments.few_shot import data
from experiments.few_shot.settings import Settings
from experiments.make_store import writing
from experiments.tse import index_folder, spoken_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_episodes.write(tmp_path_factory.mktemp("tiny"))


def splits_file(tmp_path, text):
    path = tmp_path / "splits.csv"
    path.write_text(text)
    return path


def test_meta_splits_hold_their_classes(folder):
    found = data.load(tiny_episodes.settings(folder))
    assert found.val is None and found.num_features == tiny_episodes.NUM_FEATURES
    for name, part in (("train", found.train), ("test", found.test)):
        classes = [k for k, split in tiny_episodes.SPLITS.items() if split == name]
        assert list(part.class_names) == classes
        assert part.features.shape == (27, 4, 4) and part.features.dtype == np.float32
        np.testing.assert_array_equal(part.classes.first, [0, 9, 18])
        names = [part.class_names[k] for k in part.labels]
        assert [row.rstrip("0123456789") for row in part.ids] == names
    x = np.load(folder / "dip3.npy")
    row = found.test.ids.index("dip3")
    np.testing.assert_allclose(found.test.features[row], tempalign.resample(x, 4), atol=1e-6)
    assert not set(found.train.ids) & set(found.test.ids)


def test_segments():
    x = np.arange(12, dtype=np.float32)[:, None] ** 2
    middle = data.to_segments(x, 4, "middle", "none")
    np.testing.assert_array_equal(middle, x[[1, 4, 7, 10]])  # of 0-2, 3-5, 6-8, 9-11
    np.testing.assert_array_equal(data.to_segments(x[:2], 4, "middle", "none")[:, 0], [0, 0, 1, 1])
    for length in (1, 2, 5, 12):
        for count in (1, 4, 8):
            linear = data.to_segments(x[:length], count, "linear", "none")
            np.testing.assert_allclose(linear, tempalign.resample(x[:length], count), rtol=1e-6)
    for center, value in (("mean", x.mean()), ("median", np.median(x))):
        centered = data.to_segments(x, 12, "middle", center)
        assert centered.dtype == np.float32
        np.testing.assert_allclose(centered, x - value, rtol=1e-6)


def test_standardised_by_the_meta_training_classes(folder):
    raw = data.load(tiny_episodes.settings(folder))
    found = data.load(tiny_episodes.settings(folder, standardize=True))
    mean, std = raw.train.features.mean((0, 1)), raw.train.features.std((0, 1))
    np.testing.assert_allclose(found.train.features.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(found.train.features.std((0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(
        found.test.features, (raw.test.features - mean) / std, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_array_equal(found.scaling.apply(raw.test.features), found.test.features)


def test_some_samples_of_a_class(folder):
    found = data.load(tiny_episodes.settings(folder, samples_per_class=5))
    assert found.test.classes.size.tolist() == [5, 5, 5]
    again = data.load(tiny_episodes.settings(folder, samples_per_class=5))
    assert found.test.ids == again.test.ids
    other = data.load(tiny_episodes.settings(folder, samples_per_class=5, sample_seed=1))
    assert found.test.ids != other.test.ids
    assert found.identity == again.identity != other.identity


def test_one_number_of_one_video_makes_other_data(tmp_path):
    folder = tiny_episodes.write(tmp_path)
    before = data.load(tiny_episodes.settings(folder)).identity
    x = np.load(folder / "dip3.npy")
    x[0, 0] += 1e-3
    np.save(folder / "dip3.npy", x)
    assert data.load(tiny_episodes.settings(folder)).identity != before


def test_a_video_in_two_meta_splits_is_told(tmp_path):
    folder = tiny_episodes.write(tmp_path)
    assert data.load(tiny_episodes.settings(folder)).identity["repeated"]["count"] == 0
    np.save(folder / "dip3.npy", np.load(folder / "rise0.npy"))
    repeated = data.load(tiny_episodes.settings(folder)).identity["repeated"]
    assert repeated == {"count": 1, "first": [["'rise0' (train)", "'dip3' (test)"]]}


def test_classes_in_no_split_are_left_out_and_counted(folder, tmp_path):
    some = {k: v for k, v in tiny_episodes.SPLITS.items() if k != "late"} | {"early": "val"}
    path = tiny_episodes.write_splits(tmp_path / "some.csv", some)
    settings = tiny_episodes.settings(
        folder, class_splits=str(path), way=2, encoder="none", shots=(1,)
    )
    found = data.load(settings)
    assert found.note.startswith("1 class of the folder is in no meta split")
    assert found.val is not None and found.val.class_names == ("early",)


def test_spoken_digits_are_split_by_class():
    settings = Settings(layout="spoken_digits", split_seed=3, center="mean")
    found = data.load(settings)
    classes = set(found.train.class_names), set(found.test.class_names)
    assert len(classes[0]) == len(classes[1]) == 5 and not classes[0] & classes[1]
    assert set(found.test.classes.size) == {300}
    stored = spoken_digits.load()
    row = found.test.ids[7]
    part = stored.train if row in stored.train.ids else stored.test
    place = part.ids.index(row)
    assert stored.class_names[part.labels[place]] == found.test.class_names[0]
    assert data.load(Settings(layout="spoken_digits")).test.class_names != found.test.class_names


SPLIT_LINES = "".join(f"{name},{split}\n" for name, split in tiny_episodes.SPLITS.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,split\nrise,train\n", "no column class; the first line must name class,split"),
        ("class\nrise\n", "no column split"),
        ("", "no column class, split"),
        (f"class,split\n{SPLIT_LINES}rise,test\n", "line 8, class 'rise': comes on line 2 already"),
        (f"class,split\n{SPLIT_LINES}jump,test\n", "line 8, class 'jump' is not in the data set"),
        ("class,split\nrise\n", "line 2, class 'rise': no split"),
        ("class,split\nrise,training\n", "unknown split 'training'; use train, val or test"),
        ("class,split\nrise,train\n", "has no class with split 'test'"),
        ("class,split\nrise,test\n", "has no class with split 'train'"),
    ],
)
def test_bad_class_splits(folder, tmp_path, text, message):
    path = splits_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        data.load(tiny_episodes.settings(folder, class_splits=str(path)))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"way": 4}, "the meta-test split has 3 classes, too few for --way=4"),
        ({"way": 4}, "the meta-train split has 3 classes, too few for --way=4"),
        (
            {"shots": (1, 9)},
            "class 'dip' .meta-test. has 9 samples, but an episode takes 10: --shots=9 and "
            "--queries=1",
        ),
        ({"queries": 8}, "class 'fall' .meta-test. has 9 samples, but an episode takes 10"),
        (
            {"train_shots": 9},
            "class 'rise' .meta-train. has 9 samples, .* 10: --train_shots=9 and --queries=1",
        ),
        ({"samples_per_class": 2}, "has 2 samples, but an episode takes 3"),
    ],
)
def test_too_few_for_the_episodes(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        data.load(tiny_episodes.settings(folder, **changes))


def test_training_needs_nothing_where_nothing_is_trained(folder):
    settings = tiny_episodes.settings(folder, train_shots=9, encoder="none")
    assert data.load(settings).train.features.shape[0] == 27


def test_missing_and_damaged_files_are_named(tmp_path):
    folder = tiny_episodes.write(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="absent.csv: no such file"):
        data.load(tiny_episodes.settings(folder, class_splits="absent.csv"))
    with pytest.raises(FileNotFoundError, match="data_dir must hold an index.csv"):
        data.load(tiny_episodes.settings(folder, data_dir=str(tmp_path)))
    bad = np.load(folder / "fall2.npy")
    bad[1, 2] = np.nan
    np.save(folder / "fall2.npy", bad)
    with pytest.raises(ValueError, match="fall2.npy: 1 of .* values are NaN"):
        data.load(tiny_episodes.settings(folder))
    (folder / "rise0.npy").unlink()
    with pytest.raises(FileNotFoundError, match="id 'rise0': no file"):
        data.load(tiny_episodes.settings(folder))


def test_a_store_is_the_data_of_its_folder(folder, tmp_path):
    writing.write_store(index_folder.load_rows(folder), tmp_path / "store", shard_bytes=1000)
    theirs = data.load(tiny_episodes.settings(folder))
    classes = str(folder / "class_splits.csv")
    ours = data.load(tiny_episodes.settings(tmp_path / "store", class_splits=classes))
    assert ours.identity == theirs.identity
    np.testing.assert_array_equal(ours.test.features, theirs.test.features)
