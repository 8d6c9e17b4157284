import pytest
from tiny_extraction import write_list

from experiments.extract_tse.listing import ids_of, read_list
from experiments.shared.errors import MissingFileError, UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.mp4", "a"),
        ("train/b c/vidéo 明.name.webm", "train/b_c/vidéo_明.name"),
        ("../other/./x.avi", "other/x"),
        ("/abs/x.avi", "abs/x"),
        ("v1.0/x.mp4", "v1_0/x"),
        (r"C:\data\x.mp4", "C_/data/x"),
        ('odd<>:"|?*.mp4', "odd_"),
        (".hidden/.mp4", "_hidden/mp4"),
        ("...", "_"),
    ],
)
def test_an_id_is_a_path_that_every_disk_takes(text, expected):
    assert ids_of([text]) == [expected]


def test_no_two_ids_are_one_file_and_the_first_keep_theirs():
    texts = ["a.mp4", "A.avi", "a.webm", "b c.mp4", "b_c.mp4", "e\u0301.mp4", "\u00e9.mp4"]
    ids = ids_of(texts)
    assert ids[0] == "a" and ids[3] == "b_c" and len({name.casefold() for name in ids}) == 7
    assert ids[1].startswith("A-") and ids[4].startswith("b_c-") and ids[6].startswith("\u00e9-")
    assert ids_of([*texts, "new.mp4", "a.mov"])[:7] == ids


def test_long_names_are_cut_and_stay_different():
    ids = ids_of([f"{'明' * 300}{end}/{'x' * 400}.mp4" for end in "ab"])
    assert len(set(ids)) == 2
    assert all(len(part.encode()) <= 150 for name in ids for part in name.split("/"))


def test_columns_are_kept_and_labels_are_named_as_classes(tmp_path):
    columns = ("Split", "path", "Fold", "label")
    rows = [("train", "a.mp4", "1", "07"), ("validation", "b.mp4", "", "-1")]
    listing = read_list(write_list(tmp_path, rows, columns))
    assert listing.columns == ("split", "fold", "label")
    assert listing.class_names == ("-1", "7")
    first, second = listing.videos
    assert first.values == {"split": "train", "fold": "1", "label": "7"}
    assert second.values == {"split": "val", "fold": "", "label": "-1"}
    assert first.path == tmp_path / "a.mp4" and (first.id, first.text) == ("a", "a.mp4")


def test_a_list_needs_no_labels(tmp_path):
    listing = read_list(
        write_list(tmp_path, [("a.mp4", "test", "3-4")], ("path", "split", "labels"))
    )
    assert listing.class_names == () and listing.videos[0].values["labels"] == "3-4"


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("a.mp4", "x")], ("path", "label"), "no column split"),
        ([("a.mp4", "x", "train")] * 2, ("path", "label", "split"), "name the same file"),
        ([("a.mp4", "", "train")], ("path", "label", "split"), "no label"),
        ([("../a.mp4", "x", "train")], ("path", "label", "split"), "out of the folder"),
        ([("a.mp4", '"x\ny"', "train")], ("path", "label", "split"), "more than one line"),
        ([("a.mp4", "x", "train", "1")], ("path", "label", "split", "Label"), "more than once"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path, rows, columns, message):
    with pytest.raises(UserError, match=message):
        read_list(write_list(tmp_path, rows, columns))


def test_outside_paths_take_a_word(tmp_path):
    listing = read_list(write_list(tmp_path, [("../a.mp4", "x", "train")]), outside_paths=True)
    assert listing.videos[0].id == "a"


def test_no_list(tmp_path):
    with pytest.raises(MissingFileError):
        read_list(tmp_path / "none.csv")
