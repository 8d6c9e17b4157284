import numpy as np
import pytest

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.labels import label_key, lonely_classes, number_labels, read_classes


@pytest.mark.parametrize(
    ("texts", "names", "labels"),
    [
        (["0", "1", "0"], ("0", "1"), [0, 1, 0]),
        (["1", "2", "10"], ("1", "2", "10"), [0, 1, 2]),  # every UCR and UEA data set
        (["-1", "1", "-1"], ("-1", "1"), [0, 1, 0]),
        (["7", "2000000000", "-3"], ("-3", "7", "2000000000"), [1, 2, 0]),
        (["1.0", "+1", "01", "2."], ("1", "2"), [0, 0, 0, 1]),
        (["run", "jump", "run"], ("jump", "run"), [1, 0, 1]),
        (["1", "2", "x"], ("1", "2", "x"), [0, 1, 2]),
        (["1.5", "1"], ("1", "1.5"), [1, 0]),
        (["9" * 5000, "1"], ("1", "9" * 5000), [1, 0]),
    ],
)
def test_labels_are_names_and_integers_are_ordered_by_value(texts, names, labels):
    found, numbers = number_labels(texts)
    assert found == names and numbers.tolist() == labels and numbers.dtype == np.int32


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["run", "jump"], [0, 1]),
        (["0", "1", "2"], [0, 1, 2]),  # the numbers of the lines
        (["10", "sit"], None),
        (["3"], None),
        (["-1"], None),
    ],
)
def test_the_order_is_that_of_classes_txt(texts, labels):
    names = ("run", "jump", "sit")
    if labels is None:
        with pytest.raises(UserError, match=r"table: 1 problem\n  line 2: label '(10|3|-1)' is"):
            number_labels(texts, names=names, places=["line 2", "line 3"], what="table")
        return
    assert number_labels(texts, names=names) == (names, pytest.approx(labels))


def test_a_label_that_is_a_line_of_classes_txt_is_that_class():
    names, numbers = number_labels(["1", "2", "2"], names=("2", "1"))
    assert names == ("2", "1") and numbers.tolist() == [1, 0, 0]


def test_classes_txt(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text(" run \n跳\n\n", encoding="utf-8-sig")
    assert read_classes(path) == ("run", "跳")
    for text in ("run\nrun\n", "run\n\njump\n", "", "\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="classes.txt: must hold a different class name"):
            read_classes(path)
    path.write_bytes(b"run\nm\xfcde\n")
    with pytest.raises(UserError, match=r"classes.txt: not UTF-8 \(line 2\); save it as UTF-8"):
        read_classes(path)
    with pytest.raises(MissingFileError, match="none.txt"):
        read_classes(tmp_path / "none.txt")


def test_a_class_with_one_sample_is_told(capsys):
    assert lonely_classes(np.array([0, 0, 2, 2]), "abc") == ""  # b is missing, not lonely
    assert capsys.readouterr().err == ""
    assert (
        lonely_classes([0, 1, 1], ("jmup", "jump")) == "1 class has a single training sample: jmup"
    )
    assert "warning: 1 class has a single training sample: jmup" in capsys.readouterr().err
    found = lonely_classes(list(range(7)), "abcdefg", "training image")
    assert found == "7 classes have a single training image: a, b, c, d, e, ..."


def test_spellings_of_one_label():
    assert label_key("01") == label_key("1.0") == label_key("+1") == "1"
    assert label_key("Run") == label_key("run") != label_key("ran")
