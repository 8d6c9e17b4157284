import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tse import index_folder
from experiments.tse.dataset import check_finite


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


@pytest.mark.parametrize("name", ["val", "validation"])
def test_val_means_test(index_dir, rows, name):
    for row in rows[4:]:
        row["split"] = name
    data = index_folder.load(index_dir(rows))
    assert len(data.test) == 2 and f"'{name}'" in data.note


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
        (1, "id", "v0", "id 'v0' comes 2 times"),
        (1, "id", "", "line 3 .*: no id"),
        (1, "label", "", r"line 3 \(id 'v1'\): no label"),
        (1, "path", " ", r"line 3 \(id 'v1'\): no path"),
        (1, "split", "", r"line 3 \(id 'v1'\): no split"),
        (1, "split", "dev", "line 3 .*: unknown split 'dev'; use train or test"),
        (5, "split", "val", "rows of split 'test' and of 'val'.*keep one"),
        (1, "label", "-1", r"id 'v1': label -1 is outside 0\.\.1"),
        (1, "label", "4", r"the largest is 4, but no row has label 2, 3 \(2 missing in all\)"),
        (1, "label", "2000000000", r"no row has label 2, 3, 4, 5, 6 \(1999999998 missing"),
        (4, "label", "2", r"class 2 \('2'\) has no training sample"),
    ],
)
def test_bad_rows_are_refused(index_dir, rows, row, field, value, message):
    rows[row][field] = value
    with pytest.raises(ValueError, match=message):
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
    ("text", "message"),
    [
        ("", "no column id, path, label, split; .* got nothing"),
        ("id,path,label\n", "no column split; .* got id,path,label"),
        ("id;path;label;split\n", "no column id, path, label, split"),
        ("id,path,label,split\n", "has no rows"),
        ("id,path,label,split\na,b,c.npy,0,train\n", "line 2: more values than columns"),
        ("id,path,label,split\na,a.npy\n", "line 2 .*: no label, split"),
        (b"id,path,label,split\n\xff,a.npy,0,train\n", "not a UTF-8 CSV file"),
    ],
)
def test_a_bad_index_is_refused(tmp_path, text, message):
    (tmp_path / "index.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"index.csv: (1 problem\n.*)?{message}"):
        index_folder.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "labels", "message"),
    [
        ("run\nrun\n", None, "classes.txt: must hold a different class name on each line"),
        ("run\n\njump\n", None, "classes.txt: must hold"),
        ("run\njump\n", ["run", "jmup"] * 3, "id 'v1': label 'jmup' is not a line of"),
        ("run\n", None, r"id 'v1': label 1 is outside 0\.\.0"),
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
        (np.zeros((2, 3), np.float64), "must be float16 or float32, got float64"),
        (np.zeros((2, 3), np.int32), "must be float16 or float32, got int32"),
        (np.zeros((2, 3), [("a", "f4")]), "must be float16 or float32"),
        (np.array([[None]]), "must be float16 or float32, got object"),
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
    for cut in (0, 3, 7, 9, 40, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match="v2.npy: (not a .npy file|truncated)"):
            index_folder.load(folder)
    path.write_bytes(good + b"\0")
    with pytest.raises(ValueError, match="v2.npy: longer than its header says"):
        index_folder.load(folder)
    path.write_bytes(b"PK\x03\x04" + good)
    with pytest.raises(ValueError, match="v2.npy: not a .npy file"):
        index_folder.load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileNotFoundError, match="v2.npy"):
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
        index_folder.read_npy(folder / "v4.npy")


def test_a_file_replaced_after_opening_is_noticed(index_dir, rows):
    folder = index_dir(rows)
    data = index_folder.load(folder)
    np.save(folder / "v0.npy", np.ones((11, 3), np.float32))
    with pytest.raises(ValueError, match=r"v0.npy: has changed: shape \(11, 3\) now"):
        data.train.source[0]


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["<f2", "<f4", ">f2", ">f4"]),
    st.booleans(),
)
def test_any_tse_comes_back_from_npy(tmp_path_factory, frames, features, dtype, fortran):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    array = np.random.default_rng(frames).normal(size=(frames, features)).astype(dtype)
    np.save(path, np.asfortranarray(array) if fortran else array)
    assert index_folder.npy_header(path) == ((frames, features), array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(index_folder.read_npy(path), array)
