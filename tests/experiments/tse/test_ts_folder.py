from pathlib import Path

import numpy as np
import pytest

from experiments.shared.errors import MissingFileError, UserError
from experiments.tse import ts_folder

HEADER = """# a comment, in any encoding
@problemName Toy
@timeStamps false
@missing false
@univariate false
@dimension 2
@equalLength false
@classLabel true Up Down

@data
"""
TRAIN = "1,2,3:4,5,6:Up\n1.5,-2e3:0,1:Down\n7:8:Up\n1,1:2,2:Down\n"
TEST = "1,2:3,4:up\n# between\n\n0,0,0:1,1,1:Down\n"


def write(folder: Path, train=HEADER + TRAIN, test=HEADER + TEST, name="Toy") -> Path:
    folder.mkdir(exist_ok=True)
    for part, text in (("TRAIN", train), ("TEST", test)):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}_{part}.ts").write_bytes(data)
    return folder


def test_a_folder_is_read(tmp_path):
    data = ts_folder.load(write(tmp_path))
    assert (data.name, data.class_names, data.num_features) == ("Toy", ("Down", "Up"), 2)
    assert data.train.ids == ("train/0", "train/1", "train/2", "train/3")
    assert data.train.labels.tolist() == [1, 0, 1, 0] and data.test.labels.tolist() == [1, 0]
    assert data.train.lengths.tolist() == [3, 2, 1, 2] and data.val is None
    assert data.train.source.dtype == np.float32
    np.testing.assert_array_equal(data.train.source[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(data.train.source[1], np.array([[1.5, 0], [-2000, 1]]))
    assert data.note == "evaluated on Toy_TEST.ts, as the archive divides it"


def test_labels_1_to_c_are_ordered_by_value_however_they_are_written(tmp_path):
    head = "@problemname x\n@CLASSLABEL True 10 9 1\n@DATA\n"
    folder = write(tmp_path, f"{head}1:1\n2:9.0\n3:10\n4:01\n5:9\n6:10\n", f"{head}1,2:9\n")
    data = ts_folder.load(folder)
    assert data.class_names == ("1", "9", "10") and data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_comments_may_be_in_any_encoding_but_not_the_rest(tmp_path):
    odd = b"\xef\xbb\xbf# M\xfcller\r\n" + HEADER.encode().replace(b"\n", b"\r\n") + TRAIN.encode()
    assert len(ts_folder.load(write(tmp_path, odd)).train) == 4
    with pytest.raises(UserError, match=r"Toy_TRAIN.ts: not UTF-8 \(line 11\); save it as UTF-8"):
        ts_folder.load(write(tmp_path, HEADER.encode() + b"1:2:M\xfcller\n"))


def test_the_pair_that_bears_the_name_of_the_folder_is_read(tmp_path):
    folder = write(tmp_path / "Toy")
    write(folder, name="Toy_eq", train="", test="")
    assert ts_folder.load(folder).name == "Toy"
    for part in ("TRAIN", "TEST"):
        (folder / f"Toy_{part}.ts").rename(folder / f"Other_{part}.ts")
    with pytest.raises(
        UserError, match=r"2 files NAME_TRAIN.ts \(Other, Toy_eq\).*rename it Toy_T"
    ):
        ts_folder.load(folder)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="none: no such folder"):
        ts_folder.load(tmp_path / "none")
    with pytest.raises(MissingFileError, match="holds no file NAME_TRAIN.ts"):
        ts_folder.load(tmp_path)
    (write(tmp_path) / "Toy_TEST.ts").unlink()
    with pytest.raises(MissingFileError, match="Toy_TEST.ts: no such file"):
        ts_folder.load(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("timeStamps false", "timeStamps TRUE"), "has time stamps, .* even steps"),
        (HEADER.replace("true Up Down", "false"), "has no classes .@classlabel false."),
        (HEADER + "@targetLabel true\n", "line 11: must be dimensions and a class"),
        (HEADER.replace("@missing false", "@targetlabel true"), "only classification is done"),
        (HEADER.replace("@data\n", ""), "not a .ts file .it has no line @data."),
        ("", "not a .ts file .it has no line @data."),
        (HEADER + "# nothing\n", None),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, header, message):
    if message is None:
        with pytest.raises(UserError, match="Toy_TRAIN.ts: has no series after @data"):
            ts_folder.load(write(tmp_path, header))
        return
    with pytest.raises(UserError, match=f"Toy_TRAIN.ts(: 1 problem\n .*)?.*{message}"):
        ts_folder.load(write(tmp_path, header + TRAIN))


@pytest.mark.parametrize("missing", ["?", "NaN", " nan ", ""])
def test_missing_values_are_refused_with_what_to_do(tmp_path, missing):
    folder = write(tmp_path, HEADER + TRAIN.replace("4,5,6", f"4,{missing},6"))
    with pytest.raises(UserError, match="line 11: dimension 2, value 2 is missing; fill it"):
        ts_folder.load(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2:3,4,5:Up", "dimension 2 has 3 values, dimension 1 has 2"),
        ("1,2:Up", "1 dimensions, the first series has 2"),
        ("1,2:3,4:Left", "its class 'Left' is not among those of @classLabel"),
        ("1,2:3,four:Up", "dimension 2, value 2 is not a number"),
        ("1,nan,x:1,2,3:Up", "dimension 1, value 2 is missing"),
        ("(0,1),(1,2):(0,1),(1,3):Up", r"\(time, value\) pairs are not read"),
        ("1,2:3,4:", "must be dimensions and a class"),
        ("1,2", "must be dimensions and a class"),
        ("1,1e39:3,4:Up", "1 of 4 values are beyond 3.4e.38"),
        ("1,inf:3,4:Up", "1 of 4 values are NaN or infinite"),
    ],
)
def test_bad_series_are_named_by_line(tmp_path, line, message):
    folder = write(tmp_path, HEADER + TRAIN + line + "\n")
    with pytest.raises(UserError, match=f"Toy_TRAIN.ts: 1 problem\n  line 15: {message}"):
        ts_folder.load(folder)


def test_a_foreign_file_is_refused_without_its_text(tmp_path):
    with pytest.raises(UserError, match="Toy_TRAIN.ts: not a .ts file") as caught:
        ts_folder.load(write(tmp_path, "secret:x:0\n" * 999))
    assert "secret" not in str(caught.value)
    with pytest.raises(UserError, match="100 problems") as caught:
        ts_folder.load(write(tmp_path, HEADER + "secret\n" * 999))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["UnitTest", "BasicMotions", "JapaneseVowels", "ItalyPowerDemand"])
def test_the_series_are_those_of_aeon(name):
    aeon_datasets = pytest.importorskip("aeon.datasets")
    folder = Path(aeon_datasets.__file__).parent / "data" / name
    data = ts_folder.load(folder)
    for part, split in (("TRAIN", data.train), ("TEST", data.test)):
        x, y = aeon_datasets.load_from_ts_file(str(folder / f"{name}_{part}.ts"))
        assert [data.class_names[k].lower() for k in split.labels] == [str(label) for label in y]
        assert len(split) == len(x)
        for i, series in enumerate(x):
            np.testing.assert_array_equal(split.source[i], series.T.astype(np.float32))


def test_time_stamps_and_regression_of_aeons_own_files_are_refused(tmp_path):
    aeon_datasets = pytest.importorskip("aeon.datasets")
    folder = Path(aeon_datasets.__file__).parent / "data"
    for name, file, message in (
        ("UnitTest", "UnitTestTimeStamps", "has time stamps"),
        ("CardanoSentiment", "CardanoSentiment", "only classification"),
    ):
        text = (folder / name / f"{file}_TRAIN.ts").read_bytes()
        with pytest.raises(UserError, match=message):
            ts_folder.load(write(tmp_path, text, text))
