import numpy as np
import pytest

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests, dataset_identity, repetition_note
from experiments.tse import index_folder
from experiments.tse.dataset import check_finite
from experiments.tse.npy_file import read_npy


def test_a_folder_comes_back_as_it_was_written(index_dir, rows):
    data = index_folder.load(index_dir(rows))
    assert data.name == index_dir(rows).name
    assert (data.num_classes, data.num_features, data.class_names) == (2, 3, ("0", "1"))
    assert data.train.ids == ("v0", "v1", "v2", "v3") and data.test.ids == ("v4", "v5")
    assert data.train.labels.tolist() == [0, 1, 0, 1] and data.test.labels.tolist() == [1, 0]
    for part in (data.train, data.test):
        for i, name in enumerate(part.ids):
            stored = np.load(index_dir(rows) / f"{name}.npy")
            np.testing.assert_array_equal(part.source[i], stored)
            assert part.lengths[i] == len(stored)
    check_finite(data.train)


def test_class_names_are_sorted_or_in_the_order_of_classes_txt(index_dir, rows):
    for row, label in zip(rows, ["run", "jump"] * 3, strict=True):
        row["label"] = label
    folder = index_dir(rows)
    data = index_folder.load(folder)
    assert data.class_names == ("jump", "run") and data.train.labels.tolist() == [1, 0, 1, 0]
    (folder / "classes.txt").write_text("run\njump\n")
    data = index_folder.load(folder)
    assert data.class_names == ("run", "jump") and data.train.labels.tolist() == [0, 1, 0, 1]


def test_classes_txt_names_integer_labels(index_dir, rows):
    folder = index_dir(rows)
    (folder / "classes.txt").write_text("run\njump\n")
    data = index_folder.load(folder)
    assert data.class_names == ("run", "jump") and data.train.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("first", [1, -3])
def test_integer_labels_are_names_in_the_order_of_their_values(index_dir, rows, first):
    for row, label in zip(rows, [first, 10, first, 9, 10, 9], strict=True):
        row["label"] = str(label)
    data = index_folder.load(index_dir(rows))
    assert data.class_names == (str(first), "9", "10")
    assert data.train.labels.tolist() == [0, 2, 0, 1] and data.test.labels.tolist() == [2, 1]


@pytest.mark.parametrize("name", ["val", "validation", "Val"])
def test_val_is_evaluated_on_where_there_is_no_test(index_dir, rows, name):
    for row in rows[4:]:
        row["split"] = name
    data = index_folder.load(index_dir(rows))
    assert len(data.test) == 2 and data.val is None and "split 'val'" in data.note


def test_val_beside_test_is_what_the_best_epoch_is_picked_on(index_dir, rows):
    rows[4]["split"] = "validation"
    data = index_folder.load(index_dir(rows))
    assert data.val is not None and data.val.ids == ("v4",) and data.test.ids == ("v5",)
    assert "split 'test'; those with split 'val' are what the best epoch is picked on" in data.note


def test_a_class_with_one_training_sample_is_told(index_dir, rows, capsys):
    for row, label in zip(rows, ["run", "jump", "run", "jmup", "jump", "run"], strict=True):
        row["label"] = label
    data = index_folder.load(index_dir(rows))
    assert "2 classes have a single training sample: jmup, jump" in data.note
    assert "warning: 2 classes have a single training sample: jmup, jump" in capsys.readouterr().err


def test_wide_floats_become_float32_and_the_note_says_so(index_dir, rows):
    folder = index_dir(rows)
    wide = np.load(folder / "v4.npy").astype(np.float64) + 1e-12
    np.save(folder / "v4.npy", wide)
    data = index_folder.load(folder)
    assert data.test.source.dtype == data.test.source[0].dtype == np.float32
    np.testing.assert_array_equal(data.test.source[0], wide.astype(np.float32))
    assert "1 of 6 sequences are stored as float64, read as float32" in data.note
    np.save(folder / "v4.npy", wide * 0 + 1e39)
    with pytest.raises(UserError, match="v4.npy: .* values are beyond 3.4e.38"):
        check_finite(index_folder.load(folder).test)


def test_paths_out_of_the_folder_need_a_word(index_dir, rows, tmp_path):
    rows[1]["path"] = "../there.npy"
    folder = index_dir(rows)
    folder = folder.rename(folder.with_name(folder.name + "-data"))
    with pytest.raises(UserError, match="line 3, id 'v1': path '../there.npy' leads out"):
        index_folder.load(folder)
    assert len(index_folder.load(folder, outside_paths=True).train) == 4


def test_the_content_of_a_folder_is_its_identity(index_dir, rows):
    folder = index_dir(rows)

    def identity():
        data = index_folder.load(folder)
        return dataset_identity(data.contents(Digests()), data.class_names)

    before = identity()
    assert before["num_samples"] == {"train": 4, "test": 2} and before == identity()
    assert repetition_note(before) == ""
    np.save(folder / "v1.npy", -np.load(folder / "v1.npy"))
    assert identity()["content"] != before["content"]
    np.save(folder / "v5.npy", np.load(folder / "v1.npy"))
    assert "'v1' (train) and 'v5' (test)" in repetition_note(identity())


def test_half_and_mixed_types_are_kept(index_dir, rows):
    folder = index_dir(rows)
    for i in range(6):
        np.save(folder / f"v{i}.npy", np.load(folder / f"v{i}.npy").astype(np.float16))
    assert index_folder.load(folder).train.source.dtype == np.float16
    np.save(folder / "v0.npy", np.ones((2, 3), np.float32))
    data = index_folder.load(folder)
    assert (data.train.source.dtype, data.test.source.dtype) == (np.float32, np.float16)


def test_files_of_another_order_are_read(index_dir, rows):
    folder = index_dir(rows)
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(folder / "v0.npy", np.asfortranarray(expected))
    np.save(folder / "v1.npy", expected.astype(">f4"))
    source = index_folder.load(folder).train.source
    for i in (0, 1):
        np.testing.assert_array_equal(source[i], expected)
        assert source[i].dtype == np.float32 and source[i].dtype.isnative


def test_spaces_more_columns_and_a_byte_order_mark_do_no_harm(index_dir, rows):
    folder = index_dir(rows)
    lines = [f"{r['id']}, {r['path']}, {r['label']}, {r['split']}, x" for r in rows]
    text = "\n".join(["id, path, label, split, comment", *lines])
    (folder / "index.csv").write_text(text, encoding="utf-8-sig")
    assert index_folder.load(folder).test.ids == ("v4", "v5")


@pytest.mark.parametrize(
    ("row", "field", "value", "message"),
    [
        (1, "id", "v0", "line 3, id 'v0': comes on line 2 already"),
        (1, "id", "", "line 3: no id"),
        (1, "label", "", "line 3, id 'v1': no label"),
        (1, "path", " ", "line 3, id 'v1': no path"),
        (1, "path", "v5.npy", r"line 7, id 'v5' \('test'\) and line 3 \('train'\) name the same"),
        (1, "split", "dev", "line 3, id 'v1': unknown split 'dev'; use train, val or test"),
        (4, "label", "2", r"class 2 \('2'\) has no training sample"),
    ],
)
def test_bad_rows_are_refused(index_dir, rows, row, field, value, message):
    rows[row][field] = value
    with pytest.raises(UserError, match=message):
        index_folder.load(index_dir(rows))


def test_bad_rows_are_listed_together(index_dir, rows):
    for row in rows[:3]:
        row["split"] = "dev"
    rows[4]["label"] = ""
    rows[5]["id"] = "v4"
    with pytest.raises(ValueError, match="index.csv: 5 problems"):
        index_folder.load(index_dir(rows))


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_refused(index_dir, rows, split):
    for row in rows:
        row["split"] = split
    other = {"train": "test", "test": "train"}[split]
    with pytest.raises(ValueError, match=f"the {other} split is empty"):
        index_folder.load(index_dir(rows))


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        ("run\nrun\n", None, "classes.txt: must hold a different class name on each line"),
        ("run\n\njump\n", None, "classes.txt: must hold"),
        ("run\njump\n", ["run", "jmup"] * 3, "line 3, id 'v1': label 'jmup' is not among"),
        ("run\n", None, r"line 3, id 'v1': label '1' is outside 0\.\.0"),
        ("run\njump\nsit\n", None, r"class 2 \('sit'\) has no training sample"),
        ("", None, "label 0 is outside|at least 2 classes|must hold"),
    ],
)
def test_a_bad_classes_txt_is_refused(index_dir, rows, text, labels, message):
    for row, label in zip(rows, labels or [r["label"] for r in rows], strict=True):
        row["label"] = label
    folder = index_dir(rows)
    (folder / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        index_folder.load(folder)


def test_missing_files_are_listed(index_dir, rows):
    folder = index_dir(rows)
    (folder / "v1.npy").unlink()
    (folder / "v4.npy").unlink()
    with pytest.raises(FileNotFoundError, match="index.csv: 2 problems") as caught:
        index_folder.load(folder)
    assert "id 'v1': no file" in str(caught.value) and "v4.npy" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="data_dir must hold an index.csv"):
        index_folder.load(folder / "nowhere")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, np.float32), r"must be \[frames, features\], got shape \(3,\)"),
        (np.zeros((1, 2, 3), np.float32), r"must be \[frames, features\], got shape \(1, 2, 3\)"),
        (np.zeros((0, 3), np.float32), r"at least one frame .*\(0, 3\)"),
        (np.zeros((2, 3), np.int32), "must be floating point .*, got int32"),
        (np.zeros((2, 3), np.complex64), "must be floating point .*, got complex64"),
        (np.zeros((2, 3), [("a", "f4")]), "its header is damaged, or not that of an array"),
        (np.array([[None]]), "must hold numbers, got objects"),
        (np.zeros((2, 4), np.float32), "4 features, most files have 3"),
    ],
)
def test_bad_headers_are_refused_when_the_folder_is_opened(index_dir, rows, array, message):
    folder = index_dir(rows)
    np.save(folder / "v4.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=f"v4.npy: .*{message}"):
        index_folder.load(folder)


def test_truncated_and_foreign_files_are_refused_when_the_folder_is_opened(index_dir, rows):
    folder = index_dir(rows)
    path = folder / "v2.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(UserError, match="index.csv: 1 problem\n.*v2.npy: truncated"):
        index_folder.load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(MissingFileError, match="line 4, id 'v2': no file .*v2.npy"):
        index_folder.load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_file(index_dir, rows, value):
    folder = index_dir(rows)
    bad = np.ones((4, 3), np.float16)
    bad[2, 1] = value
    np.save(folder / "v4.npy", bad)
    data = index_folder.load(folder)
    message = "v4.npy: 1 of 12 values are NaN or infinite, the first at frame 2, feature 1"
    with pytest.raises(ValueError, match=message):
        data.test.source[0]
    with pytest.raises(ValueError, match=message):
        check_finite(data.test)
    with pytest.raises(ValueError, match=message):
        read_npy(folder / "v4.npy")


def test_a_file_replaced_after_opening_is_noticed(index_dir, rows):
    folder = index_dir(rows)
    data = index_folder.load(folder)
    np.save(folder / "v0.npy", np.ones((11, 3), np.float32))
    with pytest.raises(ValueError, match=r"v0.npy: has changed: shape \(11, 3\) now"):
        data.train.source[0]
