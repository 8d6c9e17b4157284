import os
import pickle
from collections import OrderedDict
from shutil import copyfile

import numpy as np
import pytest

from experiments.make_store import job
from experiments.make_store.settings import Settings
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.tse import dejavid_layout, index_folder
from experiments.tse.dataset import check_finite


def ramp(frames, features):
    return (np.arange(frames)[:, None] + np.arange(features) / 8).astype(np.float32)


def test_the_layout_is_read_as_in_their_code(dejavid_dir):
    data = dejavid_layout.load(dejavid_dir())
    # Sorted by file name; labels 10, 20 renumbered, 77 belongs to no file.
    assert data.train.ids == ("5", "7", "3") and data.test.ids == ("8", "x")
    assert data.class_names == ("10", "20") and data.num_features == 3
    assert data.train.labels.tolist() == [0, 1, 1] and data.test.labels.tolist() == [0, 1]
    assert data.train.lengths.tolist() == [5, 5, 5] and data.test.lengths.tolist() == [4, 5]
    for i in range(3):
        np.testing.assert_array_equal(data.train.source[i], ramp(5, 3))
    np.testing.assert_array_equal(data.test.source[0], ramp(4, 3))
    np.testing.assert_array_equal(data.test.source[1], ramp(9, 4)[2:7, 1:])
    check_finite(data.test)


def test_val_is_evaluated_and_test_where_there_is_none(dejavid_dir):
    note = dejavid_layout.load(dejavid_dir()).note
    assert "split 'val'" in note and "1 videos of the split 'test' are not used" in note
    splits = {3: "train", 5: "train", 7: "train", 8: "test", "x": "test", "y": "test"}
    data = dejavid_layout.load(dejavid_dir(id2splits=splits))
    assert len(data.test) == 3
    assert data.note.startswith("evaluated on the split 'test' of id2splits.pkl; 1 class has a")


def test_numpy_labels_and_another_folder_are_fine(dejavid_dir, tmp_path):
    plain = {3: 2, 5: 1, 7: 2, 8: 1, "x": 2, "y": 1}
    labels = OrderedDict((key, np.int64(label)) for key, label in plain.items())
    folder = dejavid_dir(id2labels=labels)
    (folder / "feats").rename(tmp_path / "elsewhere")
    data = dejavid_layout.load(folder, feats_dir=tmp_path / "elsewhere")
    assert data.class_names == ("1", "2")
    with pytest.raises(FileNotFoundError, match="feats: no such folder"):
        dejavid_layout.load(folder)


@pytest.mark.parametrize("name", ["double", "bfloat16"])
def test_wide_and_brain_floats_become_float32(dejavid_dir, torch_files, name):
    folder = dejavid_dir()
    copyfile(torch_files / f"{name}.pt", folder / "feats" / "contiguous.pt")
    data = dejavid_layout.load(folder)
    assert data.train.source[0].dtype == np.float32
    stored = {"double": "float64"}.get(name, name)
    assert f"1 of 5 sequences are stored as {stored}, read as float32" in data.note
    np.testing.assert_array_equal(data.train.source[0], ramp(5, 3))


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("id2labels", {3: None}, "id 3: id2labels.pkl has None, not an integer"),
        ("id2labels", {3: "20"}, "id 3: id2labels.pkl has '20', not an integer"),
        ("id2labels", {3: True}, "id 3: id2labels.pkl has True, not an integer"),
        ("id2labels", {3: 30, "x": 30}, None),
        ("id2labels", {"y": 30}, r"class 2 \('30'\) has no training sample"),
        ("id2splits", {"x": "dev"}, "id 'x': id2splits.pkl has 'dev', not train, val, test"),
        ("id2fname", {8: 5}, "id 8: id2fname.pkl has 5, not a file name"),
        ("id2fname", {8: "none.pt"}, "none.pt: no such file"),
        ("id2fname", {8: "contiguous.pt"}, "id 8: has the file of id 5"),
        ("id2fname", {8: "../feats/contiguous.pt"}, "id 5: has the file of id 8"),
        ("id2fname", {8: "../x.pt"}, "id 8: path '../x.pt' leads out of the folder .*feats"),
        ("id2fname", {8: "/etc/passwd"}, "id 8: path '/etc/passwd' leads out of .*outside_paths"),
        ("id2fname", {8: "contiguous.pt", 5: "dict.pt"}, "dict.pt: .*without a tensor for id 5"),
        ("id2fname", {2.5: "half.pt"}, "id 2.5: must be an integer or text"),
        ("id2fname", {"5": "half.pt"}, "id '5': id2labels.pkl has no entry"),
    ],
)
def test_bad_tables_are_refused(dejavid_dir, table, change, message):
    folder = dejavid_dir()
    path = folder / f"{table}.pkl"
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **change}))
    if message is None:
        assert dejavid_layout.load(folder).class_names == ("10", "20", "30")
        return
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        dejavid_layout.load(folder)


def test_paths_may_lead_out_where_the_user_says_so(dejavid_dir, tmp_path):
    folder = dejavid_dir(id2fname={5: "contiguous.pt", 3: "../half.pt", 8: "dict.pt"})
    (folder / "feats" / "half.pt").rename(folder / "half.pt")
    with pytest.raises(UserError, match="id 3: path '../half.pt' leads out"):
        dejavid_layout.load(folder)
    data = dejavid_layout.load(folder, outside_paths=True)
    np.testing.assert_array_equal(data.train.source[1], ramp(5, 3))


def test_digests_are_those_of_file_and_id(dejavid_dir):
    found = dejavid_layout.load(dejavid_dir()).contents(Digests())
    of_dict = [found["train"].digests[1], found["test"].digests[0]]
    assert of_dict[0] != of_dict[1]
    assert of_dict[0].split("/")[0] == of_dict[1].split("/")[0]


def test_ids_that_read_the_same_are_refused(dejavid_dir):
    folder = dejavid_dir(
        id2fname={5: "contiguous.pt", "5": "half.pt", "x": "slice.pt"},
        id2labels={5: 0, "5": 1, "x": 0},
        id2splits={5: "train", "5": "train", "x": "val"},
    )
    with pytest.raises(ValueError, match="id '5' comes 2 times"):
        dejavid_layout.load(folder)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_refused(dejavid_dir, split):
    splits = dict.fromkeys([3, 5, 7, 8, "x", "y"], split)
    empty = "train" if split == "val" else "test"
    with pytest.raises(ValueError, match=f"the {empty} split is empty"):
        dejavid_layout.load(dejavid_dir(id2splits=splits))


@pytest.mark.parametrize("table", ["id2fname", "id2labels", "id2splits"])
def test_pickles_that_are_no_tables_are_refused(dejavid_dir, table):
    class Evil:
        def __reduce__(self):
            return os.system, ("exit 1",)

    path = dejavid_dir() / f"{table}.pkl"
    path.write_bytes(pickle.dumps({1: Evil()}))
    with pytest.raises(ValueError, match=f"{table}.pkl: .*'{os.system.__module__}.system'"):
        dejavid_layout.load(path.parent)
    for data in (pickle.dumps([1, 2]), pickle.dumps({})):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"{table}.pkl: must be a pickled dict"):
            dejavid_layout.load(path.parent)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{table}.pkl"):
        dejavid_layout.load(path.parent)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("integer", "must be floating point .*, got int64"),
        ("legacy", "before torch 1.6"),
        ("module", "'torch.nn.modules.linear.Linear'"),
    ],
)
def test_bad_tensor_files_are_refused_when_the_folder_is_opened(
    dejavid_dir, torch_files, name, message
):
    folder = dejavid_dir()
    copyfile(torch_files / f"{name}.pt", folder / "feats" / "slice.pt")
    with pytest.raises(ValueError, match=f"slice.pt: .*{message}"):
        dejavid_layout.load(folder)


def test_truncated_tensor_files_are_listed_when_the_folder_is_opened(dejavid_dir):
    folder = dejavid_dir()
    for name in ("dict.pt", "half.pt"):
        path = folder / "feats" / name
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="feats: 2 problems") as caught:  # dict.pt once
        dejavid_layout.load(folder)
    assert "dict.pt" in str(caught.value) and "half.pt" in str(caught.value)


def test_a_store_holds_what_the_folder_does(dejavid_dir, tmp_path):
    data_dir = dejavid_dir()
    made = Settings(layout="dejavid", data_dir=str(data_dir), out_dir=str(tmp_path / "store"))
    job.run(made)
    job.run(Settings(data_dir=made.out_dir, verify=True))
    ours, theirs = index_folder.load(made.out_dir), dejavid_layout.load(data_dir)
    assert ours.class_names == theirs.class_names
    for name, split in ours.splits.items():
        other = theirs.splits[name]
        assert split.ids == other.ids and split.labels.tolist() == other.labels.tolist()
        for row in range(len(split)):
            np.testing.assert_array_equal(split.source[row], other.source[row])
    assert "split 'val' of id2splits.pkl" in ours.note
