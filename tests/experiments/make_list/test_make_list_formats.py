"""The annotation files of data sets: what is read of them, and how wrong ones are refused."""

import json
import tempfile
from pathlib import Path

import pytest
import tiny_lists
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lists import HMDB51, KINETICS, MSAD, SSV2, UCF101

from experiments.make_list.disk import Entry
from experiments.make_list.formats import READERS, split_in_name
from experiments.shared.errors import MissingFileError, UserError

HOLDING = "Holding something next to something"
SAMPLES = {"kinetics": KINETICS, "ssv2": SSV2, "hmdb51": HMDB51, "ucf101": UCF101, "msad": MSAD}


def read(name, folder, **changes):
    """Reads the files of a folder as the format wants them."""
    if name in ("hmdb51", "ucf101"):
        return list(READERS[name](tiny_lists.settings(folder, folder, format=name, **changes)))
    files = [path for path in sorted(folder.iterdir()) if "label" not in path.name]
    return list(READERS[name](tiny_lists.settings(folder, *files, format=name, **changes)))


def test_kinetics(tmp_path):
    found = read("kinetics", tiny_lists.write(tmp_path / "a", KINETICS))
    assert found == [
        Entry(
            ("-3B32lodO2M_000059_000069", "-3B32lodO2M"), "air drumming", "train", "air drumming"
        ),
        Entry(("_dbcJuKJQNs_000004_000014", "_dbcJuKJQNs"), "abseiling", "train", "abseiling"),
        Entry(("---QUuC4vJs_000084_000094", "---QUuC4vJs"), "abseiling", "val", "abseiling"),
        Entry(("lost0000000_000000_000010", "lost0000000"), "abseiling", "val", "abseiling"),
    ]


def test_ssv2(tmp_path):
    folder = tiny_lists.write(tmp_path / "a", SSV2)
    label_map = str(folder / "something-something-v2-labels.json")
    found = read("ssv2", folder, label_map=label_map)
    assert (
        found
        == read("ssv2", folder)
        == [
            Entry(("78687",), HOLDING, "train"),
            Entry(("42326",), HOLDING, "train"),
            Entry(("74225",), "Opening something", "val"),
        ]
    )


def test_hmdb51(tmp_path):
    folder = tiny_lists.write(tmp_path / "a", HMDB51)
    brushing = "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_le_goo_0"
    climbing = "(a) b_climb_stairs_f_cm_np1_ba_med_0"
    assert read("hmdb51", folder) == [
        Entry(("April_09_brush_hair_u_nm_np1_ba_goo_0",), "brush_hair", "train", "brush_hair"),
        Entry((brushing,), "brush_hair", "test", "brush_hair"),
        Entry((climbing,), "climb_stairs", "train", "climb_stairs"),
    ]
    assert [(entry.names, entry.split) for entry in read("hmdb51", folder, fold=2)] == [
        ((climbing,), "test"),
        (("unused_climb_stairs_f_cm_np1_ba_med_0",), "train"),
    ]


def test_ucf101(tmp_path):
    folder = tiny_lists.write(tmp_path / "a", UCF101)
    assert read("ucf101", folder) == [
        Entry(("v_ApplyEyeMakeup_g08_c01",), "ApplyEyeMakeup", "train", "ApplyEyeMakeup"),
        Entry(("v_HandStandPushups_g08_c01",), "HandstandPushups", "train", "HandstandPushups"),
        Entry(("v_ApplyEyeMakeup_g01_c01",), "ApplyEyeMakeup", "test", "ApplyEyeMakeup"),
    ]
    assert [(entry.names[0][-7:], entry.split) for entry in read("ucf101", folder, fold=2)] == [
        ("g01_c01", "train"),
        ("g08_c01", "test"),
    ]


def test_msad(tmp_path):
    found = read("msad", tiny_lists.write(tmp_path / "a", MSAD))
    # Frames 55 to 426 of 426, counted from 1, are 54 to 426 with the end not counted.
    assert {entry.names[0]: entry[1:] for entry in found} == {
        "Assault_1": ("Assault", "train", "", ("426", "54-426")),
        "MSAD_normal_frontdoor1": ("normal", "train", "", ("", "normal")),
        "Water_incident_2": ("Water_incident", "test", "", ("300", "0-40;100-120")),
        "MSAD_normal_testing_1": ("normal", "test", "", ("", "normal")),
    }
    (normal,) = (entry for entry in found if "testing" in entry.names[0])
    assert normal.names == ("MSAD_normal_testing_1", "testing_1", "normal_testing_1")


def test_which_split_a_file_is(tmp_path):
    for name, split in {
        "train.json": "train",
        "something-something-v2-validation.json": "val",
        "MSAD_I3D_WS_Test.list": "test",
        "a-VAL-2.txt": "val",
    }.items():
        assert split_in_name(Path(name)) == split
    for name in ("trainers.json", "x.json", "train-test.json"):
        with pytest.raises(UserError, match=f"the name of the file {name} must say which split"):
            split_in_name(Path(name))


WRONG = [
    ("kinetics", {"a.csv": "label,id\nx,y\n"}, "no column youtube_id, time_start, time_end, split"),
    ("kinetics", {"a.csv": "youtube_id,time_start,time_end,split\n"}, "a.csv: no column label;"),
    ("kinetics", {"a.csv": KINETICS["train.csv"] + ",y,1,2,test\n"}, "a.csv, line 4: no label"),
    ("kinetics", {"a.csv": KINETICS["train.csv"] + "x,y,1,2,dev\n"}, "line 4: unknown split 'dev'"),
    (
        "kinetics",
        {"a.csv": KINETICS["train.csv"] + "x,y,1.5,2,test\n"},
        "line 4: '1.5' is no whole",
    ),
    ("kinetics", {"a.csv": KINETICS["train.csv"] + "x,y,-1,2,test\n"}, "line 4: '-1' is no whole"),
    ("kinetics", {"a.csv": 'label,"'}, "a.csv, line 1: not a CSV file"),
    ("ssv2", {"train.json": {"id": "1"}}, "train.json: must be a JSON list of videos"),
    (
        "ssv2",
        {"train.json": [1, {"id": []}]},
        "2 problems\n  video 1: must be an object with an id",
    ),
    ("ssv2", {"train.json": [{"id": "1"}]}, "video 1: no template; lists without labels cannot be"),
    ("ssv2", {"train.json": [{"id": "1", "template": 3}]}, "video 1: no template"),
    ("ssv2", {"train.json": "[{"}, "train.json: not a JSON file that can be read"),
    ("ssv2", {"list.json": []}, "list.json must say which split it is; rename it"),
    (
        "hmdb51",
        {"x_test_split1.txt": "a.avi 1\nb.avi 3\n"},
        "split1.txt, line 2: must be a file and",
    ),
    ("hmdb51", {"x_test_split1.txt": "a.avi\n"}, "line 1: must be a file and 0, 1 or 2"),
    ("hmdb51", {"x_test_split2.txt": "a.avi 1\n"}, "holds no file <class>_test_split1.txt; is it"),
    ("ucf101", {"trainlist01.txt": "a/b.avi 1\n"}, "classInd.txt: no such file"),
    ("ucf101", {"classInd.txt": "1 a\nb\n"}, "classInd.txt, line 2: must be a number and a class"),
    ("ucf101", {"classInd.txt": "1 a\n"}, "trainlist01.txt: no such file; is --fold 1, 2 or 3"),
    (
        "ucf101",
        {"classInd.txt": "1 a\n", "trainlist01.txt": "b/c.avi 1"},
        "trainlist01.txt, line 1: .*classInd.txt has no class 'b'",
    ),
    (
        "ucf101",
        {"classInd.txt": "1 a\n", "trainlist01.txt": "a/c.avi 2"},
        "class 'a' has the number 2 here and 1 in",
    ),
    (
        "ucf101",
        {"classInd.txt": "1 a\n", "trainlist01.txt": "c.avi 1"},
        "line 1: must be <class>/<file>",
    ),
    ("msad", {"anomaly_annotation.csv": "name\n"}, "one CSV file, .*, and two lists"),
    (
        "msad",
        MSAD | {"MSAD_I3D_WS_Train.list": "a/Fire_3_i3d.npy"},
        "Train.list, line 1: .*anomaly_annotation.csv has no line of 'Fire_3', and normal videos",
    ),
    (
        "msad",
        MSAD | {"anomaly_annotation.csv": MSAD["anomaly_annotation.csv"] + "Fire_1,x,9,4,10\n"},
        "line 5: 4 to 10 is no interval of 9 frames",
    ),
    (
        "msad",
        MSAD | {"anomaly_annotation.csv": MSAD["anomaly_annotation.csv"] + "Assault_1,x,9,4,5\n"},
        "line 5: 'Assault_1' has 426 frames on a line before",
    ),
    (
        "msad",
        MSAD | {"anomaly_annotation.csv": MSAD["anomaly_annotation.csv"] + "Fire_1,x,9,-1,-1\n"},
        "line 5: '-1' is no whole number",
    ),
]


@pytest.mark.parametrize(("name", "files", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_place(tmp_path, name, files, message):
    with pytest.raises(UserError, match=message):
        read(name, tiny_lists.write(tmp_path / "a", files))


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_not_there(tmp_path, name):
    paths = [tmp_path / f"{split}.csv" for split in ("train", "test")]
    if name in ("hmdb51", "ucf101"):
        paths = paths[:1]
    if name == "msad":
        paths = [tmp_path / "a.csv", tmp_path / "train.list", tmp_path / "test.list"]
    with pytest.raises(MissingFileError, match="no such f"):
        list(READERS[name](tiny_lists.settings(tmp_path, *paths, format=name)))


def test_labels_that_the_label_map_lacks(tmp_path):
    folder = tiny_lists.write(tmp_path / "a", SSV2)
    label_map = folder / "labels.json"
    label_map.write_text(json.dumps({"Opening something": "80"}))
    with pytest.raises(
        UserError, match="train.json: 2 problems\n  video 1: .*labels.json has no"
    ) as e:
        read("ssv2", folder, label_map=str(label_map))
    assert f"no label '{HOLDING}'" in str(e.value)
    for content in ([], {}, 3):
        label_map.write_text(json.dumps(content))
        with pytest.raises(UserError, match="labels.json: must be a JSON object whose names are"):
            read("ssv2", folder, label_map=str(label_map))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("id", "template", "x")), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    which=st.integers(0, 9),
    start=st.floats(0, 1),
    length=st.integers(0, 9),
    instead=st.binary(max_size=6)
    | st.sampled_from((b"\n", b" ", b",", b'"', b"\xff", b"\0", b"9")),
)
def test_damage_is_no_mistake_of_ours(name, which, start, length, instead):
    with tempfile.TemporaryDirectory() as place:
        folder = tiny_lists.write(Path(place) / "a", SAMPLES[name])
        files = sorted(folder.iterdir())
        path = files[which % len(files)]
        data = path.read_bytes()
        cut = int(start * len(data))
        path.write_bytes(data[:cut] + instead + data[cut + length :])
        label_map = {"label_map": str(files[0])} if name == "ssv2" else {}
        try:
            found = read(name, folder, **label_map)
        except UserError as error:
            assert str(folder) in str(error)
        else:
            assert all(entry.split in ("train", "val", "test") for entry in found)


@settings(max_examples=60)
@given(JSON)
def test_json_of_any_shape_is_no_mistake_of_ours(content):
    with tempfile.TemporaryDirectory() as place:
        folder = tiny_lists.write(Path(place) / "a", {"train.json": json.dumps(content)})
        try:
            found = read("ssv2", folder)
        except UserError as error:
            assert "train.json" in str(error)
        else:
            assert len(found) == len(content)
