import csv
import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.shared.csv_index import (
    Inside,
    column_names,
    evaluated_split,
    read_rows,
    stream_rows,
)
from experiments.shared.errors import MissingFileError, UserError

COLUMNS = ("id", "path", "label", "split")


def table(folder: Path, text: str | bytes, files=("a.npy", "b.npy", "c.npy")) -> Path:
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).write_bytes(b"x")
    path = folder / "index.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, **changes):
    given = {"required": COLUMNS, "unique": "id", "files": "path"} | changes
    return read_rows(path, **given)


GOOD = "id,path,label,split\na,a.npy,run,train\nb,b.npy,walk,test\n"


def test_rows_know_their_values_lines_and_files(tmp_path):
    rows = read(table(tmp_path, GOOD), optional=("frames",))
    assert [row["label"] for row in rows] == ["run", "walk"]
    assert [row.line for row in rows] == [2, 3] and rows[1].where == "line 3, id 'b'"
    assert rows[0].path == tmp_path / "a.npy" and rows[0]["frames"] == ""


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.replace("\n", "\n\n"),
        GOOD.replace(",", " ,  "),
        GOOD.replace("id,path,label,split", "ID,Path,LABEL,Split"),
        GOOD.replace("train", "Train").replace("test", "TEST"),
        GOOD.replace("run", '"run"').rstrip(),
        "\n" + GOOD + ",,,\n   \n",
        GOOD.replace("\n", ",,\n"),
        "note,split,label,path,id\n,train,run,a.npy,a\nx,test,walk,b.npy,b\n",
        'note,split,label,path,id\n"1\n2",train,run,a.npy,a\nx,test,walk,b.npy,b\n',
    ],
)
def test_what_spreadsheets_make_of_a_table_does_no_harm(tmp_path, text):
    rows = read(table(tmp_path, text))
    assert [dict(row.values) for row in rows] == [
        {"id": "a", "path": "a.npy", "label": "run", "split": "train"},
        {"id": "b", "path": "b.npy", "label": "walk", "split": "test"},
    ]


def test_commas_in_quotes_and_lines_of_quoted_breaks(tmp_path):
    text = 'id,path,label,split\na,a.npy,"run, fast\nor slow",train\nb,b.npy,x,dev\n'
    with pytest.raises(UserError, match="line 4, id 'b': unknown split 'dev'"):
        read(table(tmp_path, text))
    rows = read(table(tmp_path, text.replace("dev", "validation")))
    assert rows[0]["label"] == "run, fast\nor slow" and rows[1]["split"] == "val"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column id, path, label, split; the first line must name id,path,label,split$"),
        ("id,path,x,y\n", "no column label, split; .*; it names id, path and 2 others"),
        ("id;path;label;split\n", "commas must be between the columns, not semicolons"),
        ("id,ID,path,label,split\n", "the first line names id more than once"),
        ("id,path,label,split\n", "has no rows"),
        ("id,path,label,split\n,,,\n\n", "has no rows"),
        (GOOD + "c,c.npy,x,0,train\n", "line 4: more values than columns; quote the commas"),
        (GOOD + "c,c.npy\n", "line 4, id 'c': no label, split"),
        (GOOD + "\n,c.npy,x,train\n", "line 5: no id"),
        (GOOD + "c,,x,train\n", "line 4, id 'c': no path"),
        (GOOD + "a,c.npy,x,train\n", "line 4, id 'a': comes on line 2 already"),
        (GOOD + "c,c.npy,x,training\n", "unknown split 'training'; use train, val or test"),
        (GOOD + 'c,"c.npy,x,train\nd,d.npy,x,train\n', "line 4: not a CSV file"),
        (GOOD.encode() + b"\nc,c.npy,M\xfcller,train\n", r"not UTF-8 \(line 5\); save it as UTF-8"),
        (GOOD.encode("utf-16"), r"not UTF-8 \(line 1\)"),
        (GOOD + "c,c.n\0py,x,train\n", "line 4, id 'c': the path holds a zero byte"),
        (
            GOOD + "c,./a.npy,x,test\n",
            r"line 4, id 'c' \('test'\) and line 2 \('train'\) name the same file, .*a.npy; each",
        ),
        (GOOD + "c,a.npy,x,train\n", "name the same file, .*a.npy; list it once"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_a_stream_has_the_first_problem_only(tmp_path):
    path = table(tmp_path, GOOD + "c,c.npy\nd,d.npy,x,train,more\n")
    rows = stream_rows(path, required=("split", "id"))
    assert next(rows) == (2, ("train", "a")) and next(rows) == (3, ("test", "b"))
    with pytest.raises(UserError, match="index.csv, line 4: no split$"):
        next(rows)
    with pytest.raises(UserError, match="line 5: more values than columns"):
        list(stream_rows(path, required=("id",)))
    with pytest.raises(UserError, match="no column frames, sex; the first line must name"):
        list(stream_rows(path, required=("frames", "sex")))
    path.write_bytes(GOOD.encode() + b"M\xfcller,x,x,x\n")
    with pytest.raises(UserError, match=r"not UTF-8 \(line 4\)"):
        list(stream_rows(path, required=("id",)))
    path.write_bytes(b"")
    with pytest.raises(UserError, match="no column id"):
        list(stream_rows(path, required=("id",)))
    with pytest.raises(MissingFileError, match="other.csv: no such file"):
        list(stream_rows(tmp_path / "other.csv", required=("id",)))


CELLS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.strip)


@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from("\n|\r\n|\r".split("|")),
)
def test_a_stream_has_the_rows_that_reading_at_once_has(cells, ending):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending).writerows([("a", "b"), *cells])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
        rows = read_rows(path, required=("a", "b"), splits=False)
        assert [(row.line, (row["b"], row["a"])) for row in rows] == list(
            stream_rows(path, required=("b", "a"))
        )
        assert [(row["a"], row["b"]) for row in rows] == [
            (one.strip(), other.strip()) for one, other in cells
        ]


def test_up_to_five_problems_are_listed(tmp_path):
    path = table(tmp_path, GOOD + "".join(f"x{k},x{k}.npy,,dev\n" for k in range(4)))
    with pytest.raises(UserError, match="index.csv: 12 problems\n") as caught:
        read(path)
    assert "... and 7 more" in str(caught.value)


def test_missing_files_are_of_their_own_kind(tmp_path):
    path = table(tmp_path, GOOD.replace("b.npy", "none.npy"))
    with pytest.raises(MissingFileError, match="line 3, id 'b': no file .*none.npy"):
        read(path)
    assert read(path, must_exist=False)[1].path == tmp_path / "none.npy"
    with pytest.raises(MissingFileError, match="other.csv: no such file"):
        read(tmp_path / "other.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="folder.csv: cannot be read"):
        read(tmp_path / "folder.csv")


def test_what_is_in_a_foreign_file_is_not_told(tmp_path):
    for text in (b"secret,path\nx", b"secret\n", b'"secret', b"secret\xff"):
        with pytest.raises(UserError) as caught:
            read(table(tmp_path, text))
        assert "secret" not in str(caught.value)


def test_cells_may_be_empty_and_columns_absent_where_this_is_allowed(tmp_path):
    path = table(tmp_path, "id,split,labels\na,train,\nb,test,x\n")
    rows = read_rows(
        path, required=("id",), may_be_empty=("labels",), optional=("frames",), unique="id"
    )
    assert [row["labels"] for row in rows] == ["", "x"] and rows[0].path is None
    with pytest.raises(UserError, match="no column frames"):
        read_rows(path, required=("id",), may_be_empty=("frames",))


def test_class_splits(tmp_path):
    path = table(tmp_path, "class,split\nrise,train\nfall,Validation\ndip,test\n")
    rows = read_rows(path, required=("class", "split"), unique="class")
    assert [(row["class"], row["split"]) for row in rows] == [
        ("rise", "train"),
        ("fall", "val"),
        ("dip", "test"),
    ]
    path.write_text("class,split\nrise,train\nrise,test\n")
    with pytest.raises(UserError, match="line 3, class 'rise': comes on line 2 already"):
        read_rows(path, required=("class", "split"), unique="class")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../out.npy", "line 2, id 'a': path '../out.npy' leads out of the folder .*data"),
        ("{tmp}/out.npy", "leads out of the folder .* or give --outside_paths if this is meant"),
        ("sub/../../out.npy", "leads out of the folder"),
        ("link.npy", "path 'link.npy' is or follows a link that leads out of the folder"),
        ("linked/out.npy", "path 'linked/out.npy' is or follows a link that leads out"),
        ("..", "leads out of the folder"),
        (".", "leads out of the folder"),
    ],
)
def test_paths_that_leave_the_folder(tmp_path, place, message):
    (tmp_path / "out.npy").write_bytes(b"x")
    text = f"id,path,label,split\na,{place.format(tmp=tmp_path)},x,train\n"
    path = table(tmp_path / "data", text)
    (path.parent / "sub").mkdir()
    (path.parent / "link.npy").symlink_to(tmp_path / "out.npy")
    (path.parent / "linked").symlink_to(tmp_path)
    with pytest.raises(UserError, match=message):
        read(path)
    if place.endswith("out.npy"):
        rows = read(path, outside_paths=True)
        assert rows[0].path is not None and rows[0].path.read_bytes() == b"x"


def test_links_within_the_folder_and_to_it_are_fine(tmp_path):
    path = table(tmp_path / "data", GOOD.replace("a.npy", "link.npy"))
    (path.parent / "link.npy").symlink_to("c.npy")
    (tmp_path / "short").symlink_to(path.parent)
    assert len(read(tmp_path / "short" / "index.csv")) == 2
    path.write_text(path.read_text() + "c,c.npy,x,test\n")
    with pytest.raises(UserError, match="line 4, id 'c' .* and line 2 .* name the same file"):
        read(path)


def test_the_root_of_the_disk_is_a_folder_too(tmp_path):
    found, real = Inside("/").find(str(tmp_path).lstrip("/"))
    assert found == tmp_path and real == os.path.realpath(tmp_path)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (["train", "test"], "test"),
        (["train", "val"], "val"),
        (["test", "val"], "test"),
        (["train"], "test"),
    ],
)
def test_what_is_evaluated_on(splits, expected):
    assert evaluated_split(splits) == expected


def test_the_names_of_all_columns(tmp_path):
    path = table(tmp_path, "\ufeffid, Path ,,Camera Nr\n\n1,x,,7\n")
    assert column_names(path) == ("id", "path", "camera nr")
    (row,) = read_rows(path, required=("id",), optional=column_names(path), splits=False)
    assert row["camera nr"] == "7"
    with pytest.raises(UserError, match="names id more than once"):
        column_names(table(tmp_path, "id,ID\n"))
    assert column_names(table(tmp_path, "")) == ()
    with pytest.raises(MissingFileError):
        column_names(tmp_path / "none.csv")
