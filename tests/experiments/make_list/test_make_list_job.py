"""A list from beginning to end: its bytes, what is said of it, what keeps it from being made."""

import csv
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
import tiny_lists
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lists import KINETICS, MSAD, SSV2, UCF101

from experiments.make_list import __main__ as script
from experiments.make_list import job
from experiments.shared.csv_index import read_rows
from experiments.shared.errors import MissingFileError, UserError
from experiments.time_layer import dataset
from experiments.time_layer.settings import Settings as TimeLayerSettings

FOLDERS = ("train/run/1.mp4", "train/walk/2.mp4", "validation/run/deep/3.avi", "test/walk/4.webm")


def make(folder, *annotations, **changes):
    return job.run(tiny_lists.settings(folder, *annotations, **changes))


@pytest.fixture
def call(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            job.main(script.__doc__, ["make_list", *map(str, arguments)])
        return exit_.value.code, *capsys.readouterr()

    return call


def test_class_folders(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", *FOLDERS, "train/beside.mp4", "extras/x/5.mp4")
    told = make(folder)
    assert (folder / "videos.csv").read_bytes() == (
        b"path,label,split\ntest/walk/4.webm,walk,test\ntrain/run/1.mp4,run,train\n"
        b"train/walk/2.mp4,walk,train\nvalidation/run/deep/3.avi,run,val\n"
    )
    assert told.splitlines() == [
        f"{folder / 'videos.csv'}: 4 videos of 2 classes",
        "class  train  val  test",
        "-----  -----  ---  ----",
        "run        1    1     0",
        "walk       1    0     1",
        "all        2    1     1",
        "In no class folder, and left out: 2",
    ]


def test_the_time_layer_reads_the_list(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", *FOLDERS)
    make(folder)
    data = dataset.load(TimeLayerSettings(data_dir=str(folder)))
    assert data.class_names == ("run", "walk") and len(data.train) == 2 and len(data.test) == 1
    assert data.test.paths == (folder / "test/walk/4.webm",)


def test_annotated_videos_and_those_that_are_missing(tmp_path):
    annotations = tiny_lists.write(tmp_path / "a", KINETICS)
    names = ("air drumming/-3B32lodO2M_000059_000069.mp4", "x/y/_dbcJuKJQNs.mkv", "more.mp4")
    folder = tiny_lists.videos(tmp_path / "v", *names, "abseiling/---QUuC4vJs_000084_000094.mp4")
    files = (annotations / "train.csv", annotations / "validate.csv")
    told = make(folder, *files, format="kinetics")
    assert tiny_lists.rows(folder / "videos.csv") == [
        ("path", "label", "split"),
        ("x/y/_dbcJuKJQNs.mkv", "abseiling", "train"),
        ("air drumming/-3B32lodO2M_000059_000069.mp4", "air drumming", "train"),
        ("abseiling/---QUuC4vJs_000084_000094.mp4", "abseiling", "val"),
    ]
    assert (
        "\nAnnotated, but not on the disk, and left out: 1\n  lost0000000_000000_000010 (val, "
        in (told)
    )
    assert told.endswith("\nOn the disk, but not annotated, and left out: 1")
    with pytest.raises(MissingFileError, match="annotated, but not on the disk: 1\n  lost0000000"):
        make(folder, *files, format="kinetics", strict=True, out=str(tmp_path / "strict.csv"))
    assert not (tmp_path / "strict.csv").exists()


def test_no_annotated_video_is_there(tmp_path):
    text = KINETICS["train.csv"] + "".join(f"x,id{k},0,10,train,0\n" for k in range(20))
    annotations = tiny_lists.write(
        tmp_path / "a", {"train.csv": text, "none.csv": text.partition("\n")[0]}
    )
    folder = tiny_lists.videos(tmp_path / "v", "unlike.mp4")
    with pytest.raises(MissingFileError) as caught:
        make(folder, annotations / "train.csv", format="kinetics")
    lines = str(caught.value).splitlines()
    assert "1 video files lie there, such as unlike.mp4, but none that is annotated: 22" in lines[0]
    assert len(lines) == 12 and lines[-1] == "  ... and 12 more"
    with pytest.raises(UserError, match="--annotations: they name no video"):
        make(folder, annotations / "none.csv", format="kinetics")


def test_anomalies_go_on_to_the_columns_that_seq_anomaly_reads(tmp_path):
    annotations = tiny_lists.write(tmp_path / "a", MSAD)
    folder = tiny_lists.videos(
        tmp_path / "v",
        "MSAD_blur/MSAD_anomaly_blur/Assault/Assault_1.mp4",
        "MSAD_blur/MSAD_anomaly_blur/Water_incident/Water_incident_2.mp4",
        "MSAD_blur/MSAD_normal_testing_blur/MSAD_normal_testing_1.mp4",
        "MSAD_blur/MSAD_normal_training_blur/frontdoor/frontdoor1.mp4",
    )
    make(folder, *sorted(annotations.iterdir()), format="msad")
    found = tiny_lists.rows(folder / "videos.csv")
    assert found[0] == ("path", "label", "split", "frames", "labels")
    assert [row[1:] for row in found[1:]] == [
        ("Water_incident", "test", "300", "0-40;100-120"),
        ("normal", "test", "", "normal"),
        ("Assault", "train", "426", "54-426"),
        ("normal", "train", "", "normal"),
    ]


def test_a_file_in_two_splits(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", "train/run/1.mp4", "test/run/2.mp4")
    (folder / "test" / "run" / "again.mp4").symlink_to("../../train/run/1.mp4")
    with pytest.raises(
        UserError, match="train/run/1.mp4 .test/run/again.mp4.: is in the splits 'te"
    ):
        make(folder)
    text = KINETICS["train.csv"] + "abseiling,_dbcJuKJQNs,4,14,test,0\n"
    annotations = tiny_lists.write(tmp_path / "a", {"all.csv": text})
    other = tiny_lists.videos(tmp_path / "w", "_dbcJuKJQNs.mp4")
    with pytest.raises(
        UserError, match="1 problem\n  _dbcJuKJQNs.mp4: is in the splits 'train' and"
    ):
        make(other, annotations / "all.csv", format="kinetics")
    assert not list(tmp_path.glob("*/videos.csv"))


def test_a_file_that_is_annotated_twice(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", "_dbcJuKJQNs.mp4")
    text = KINETICS["train.csv"] + "abseiling,_dbcJuKJQNs,20,30,train,0\n"
    annotations = tiny_lists.write(tmp_path / "a", {"all.csv": text})
    told = make(folder, annotations / "all.csv", format="kinetics")
    assert "1 videos of 1 classes" in told and "\nAnnotated again, and left out: 1" in told
    tiny_lists.write(annotations, {"all.csv": text + "juggling,_dbcJuKJQNs,20,30,train,0\n"})
    with pytest.raises(UserError, match="twice, differently, as 'abseiling' and 'juggling'"):
        make(folder, annotations / "all.csv", format="kinetics", overwrite=True)


def test_of_many_classes_the_smallest_and_largest_are_told(tmp_path):
    names = [f"train/c{k}/{v}.mp4" for k in range(31) for v in range(1 + (k == 7))]
    told = make(tiny_lists.videos(tmp_path / "v", *names, "test/new/1.mp4"))
    assert told.splitlines()[1:] == [
        "split  videos  classes  smallest class  largest class",
        "-----  ------  -------  --------------  -------------",
        "train      32       31          c0 (1)         c7 (2)",
        "test        1        1         new (1)        new (1)",
        "Classes without a training video: 1, new",
    ]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\r"), min_size=1, max_size=9
).filter(lambda name: name.strip() and not name.startswith("."))


@settings(max_examples=15)
@given(
    st.sets(
        st.tuples(st.sampled_from(("train", "val", "test")), NAMES, NAMES), min_size=1, max_size=9
    ),
    st.randoms(use_true_random=False),
)
def test_any_names_come_through_and_give_the_same_bytes(videos, random):
    expected = {f"{split}/{label}/{name}.mp4": (label, split) for split, label, name in videos}
    shuffled = list(expected)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as place:
        first = tiny_lists.videos(Path(place) / "1", *expected)
        second = tiny_lists.videos(Path(place) / "2", *shuffled)
        make(first)
        make(second)
        written = (first / "videos.csv").read_bytes()
        assert written == (second / "videos.csv").read_bytes()
        found = read_rows(first / "videos.csv", required=("path", "label", "split"), files="path")
        assert {row["path"]: (row["label"], row["split"]) for row in found} == {
            path: (label.strip(), split) for path, (label, split) in expected.items()
        }
        keys = [(row["split"], row["label"], row["path"]) for row in found]
        assert keys == sorted(keys)


@settings(max_examples=25)
@given(st.dictionaries(st.integers(0, 99), st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_each_annotation_is_listed_or_missing(videos):
    header = "label,youtube_id,time_start,time_end,split\n"
    lines = [f"c{n % 3},id{n},0,10,{'train' if n % 2 else 'val'}\n" for n in videos]
    there = {
        n: f"d{n % 4}/id{n}{'_000000_000010' * long}.mp4" for n, (on, long) in videos.items() if on
    }
    with tempfile.TemporaryDirectory() as place:
        annotations = tiny_lists.write(Path(place) / "a", {"all.csv": header + "".join(lines)})
        folder = tiny_lists.videos(Path(place) / "v", *there.values(), "other.mp4")
        given = (folder, annotations / "all.csv")
        if not there:
            with pytest.raises(MissingFileError, match="none that is annotated"):
                make(*given, format="kinetics")
            return
        told = make(*given, format="kinetics")
        found = {row[0] for row in tiny_lists.rows(folder / "videos.csv")[1:]}
        assert found == set(there.values())
        missing = len(videos) - len(there)
        assert (f"not on the disk, and left out: {missing}\n" in told) == bool(missing)
        assert told.count("  id") == min(missing, 10) and "not annotated, and left out: 1" in told


def test_a_list_elsewhere_leads_to_the_videos(tmp_path):
    folder = tiny_lists.videos(tmp_path / "data" / "v", *FOLDERS)
    (tmp_path / "lists").mkdir()
    inside, outside = tmp_path / "data" / "all.csv", tmp_path / "lists" / "all.csv"
    assert "--outside_paths" not in make(folder, out=str(inside))
    assert tiny_lists.rows(inside)[1][0] == "v/test/walk/4.webm"
    assert make(folder, out=str(outside)).endswith("give --outside_paths to what reads it")
    assert tiny_lists.rows(outside)[1][0] == "../data/v/test/walk/4.webm"
    columns = {"required": ("path", "label", "split"), "files": "path"}
    assert len(read_rows(inside, **columns)) == 4
    assert len(read_rows(outside, **columns, outside_paths=True)) == 4
    with pytest.raises(UserError, match="leads out of the folder"):
        read_rows(outside, **columns)


def test_a_step_up_from_a_link_and_links_out_of_the_folder(tmp_path):
    folder = tiny_lists.videos(tmp_path / "data" / "v", "train/run/1.mp4")
    (tmp_path / "far" / "lists").mkdir(parents=True)
    (tmp_path / "lists").symlink_to(tmp_path / "far" / "lists")
    make(folder, out=str(tmp_path / "lists" / "all.csv"))
    found = read_rows(
        tmp_path / "lists" / "all.csv", required=("split",), files="path", outside_paths=True,
        optional=("path",),
    )  # fmt: skip
    assert found[0].path.samefile(folder / "train/run/1.mp4")
    linked = tiny_lists.videos(tmp_path / "w", "test/run/2.mp4")
    (linked / "train").symlink_to(folder / "train")
    assert make(linked).endswith("give --outside_paths to what reads it")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            os.fsdecode(b"train/run/caf\xe9.mp4"),
            r"caf\\udce9.mp4: its name or class is not Unicode",
        ),
        (
            os.fsdecode(b"train/caf\xe9/1.mp4"),
            r"caf\\udce9/1.mp4: its name or class is not Unicode",
        ),
        ("train/run/1\r.mp4", r"run/1\\r.mp4: its name or class is not Unicode or has"),
        ("train/ /1.mp4", "train/ /1.mp4: it has no class"),
    ],
)
def test_names_that_a_table_cannot_hold(tmp_path, name, message):
    try:
        folder = tiny_lists.videos(tmp_path / "v", name)
    except OSError:
        pytest.skip("the disk takes no such names")
    with pytest.raises(UserError, match=message):
        make(folder)


def test_a_path_that_begins_with_a_blank(tmp_path):
    annotations = tiny_lists.write(tmp_path / "a", UCF101)
    folder = tiny_lists.videos(tmp_path / "v", " x/v_ApplyEyeMakeup_g08_c01.avi")
    with pytest.raises(UserError, match="' x/v_Apply.*': begins with a blank, which tables cannot"):
        make(folder, annotations, format="ucf101")
    make(folder, annotations, format="ucf101", out=str(tmp_path / "videos.csv"))
    assert tiny_lists.rows(tmp_path / "videos.csv")[1][0] == "v/ x/v_ApplyEyeMakeup_g08_c01.avi"


def test_classes_without_splits_are_not_divided(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", "run/1.mp4", "walk/2.mp4")
    with pytest.raises(
        UserError, match="but 2 elsewhere, such as run/1.mp4. .*Move them into such"
    ):
        make(folder)
    with pytest.raises(MissingFileError, match="no video file lies below that folder"):
        make(tiny_lists.videos(tmp_path / "empty", "train/run/1.txt"))


def test_a_list_that_is_there_is_kept(tmp_path):
    folder = tiny_lists.videos(tmp_path / "v", *FOLDERS)
    (folder / "videos.csv").write_text("mine")
    with pytest.raises(UserError, match="videos.csv: is there already; name another file, or give"):
        make(folder)
    assert (folder / "videos.csv").read_text() == "mine"
    make(folder, overwrite=True)
    assert len(tiny_lists.rows(folder / "videos.csv")) == 5
    with pytest.raises(MissingFileError, match="all.csv: there is no folder .*none"):
        make(folder, out=str(tmp_path / "none" / "all.csv"))


def test_a_long_list_takes_little_memory(tmp_path):
    count = 4000
    text = "".join(f"class {n % 9},id{n:08d},{n % 60},{n % 60 + 10},train\n" for n in range(count))
    header = "label,youtube_id,time_start,time_end,split\n"
    annotations = tiny_lists.write(tmp_path / "a", {"all.csv": header + text})
    folder = tiny_lists.videos(tmp_path / "v")
    paths = [f"{n % 99}/id{n:08d}_{n % 60:06d}_{n % 60 + 10:06d}.mp4" for n in range(count)]
    given = tiny_lists.settings(folder, annotations / "all.csv", format="kinetics")
    job.VideoFolder(folder)
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job.VideoFolder, "walk", lambda self: (path + "" for path in paths))
        told = job.run(given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{count:,} videos of 9 classes" in told
    assert peak < 600 * count  # bytes; as rows of read_rows they would be twice as many


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--videos: needed; give the folder of the videos"),
        (("--videos=v", "--annotations=x"), "--annotations: not used with --format=folders"),
        (("--videos=v", "--format=ssv2"), "--annotations: needed with --format=ssv2; see --help"),
        (("--videos=v", "--format=ucf101", "--annotations=x,y"), "one folder with --format=ucf101"),
        (("--videos=v", "--label_map=x"), "--label_map: used with --format=ssv2 only"),
        (
            ("--videos=v", "--format=imagenet"),
            "--format=imagenet: allowed: folders, kinetics, ssv2",
        ),
        (("--videos=v", "--split_ratio=0.8"), "Unknown command line flag 'split_ratio'"),
        (("--videos=v", "--fold=0"), "--fold=0: allowed: a whole number >= 1"),
        (("--videos=/none",), "--videos=/none: no such folder"),
    ],
)
def test_wrong_command_lines_are_one_message(call, arguments, message):
    code, out, told = call(*arguments)
    assert (code, out) == (2, "") and told.startswith("error: ") and message in told
    assert "Traceback" not in told


def test_a_whole_command_line(call, tmp_path, monkeypatch):
    folder = tiny_lists.videos(tmp_path / "v", "78687.webm", "42326.mp4", "74225.webm")
    tiny_lists.write(tmp_path / "a", SSV2)
    monkeypatch.setenv("HOME", str(tmp_path))
    begins = "~/a/something-something-v2-"
    code, out, told = call(
        f"--videos={folder}",
        "--format=ssv2",
        f"--annotations={begins}train.json,{begins}validation.json",
        f"--label_map={begins}labels.json",
        "--strict",
    )
    assert (code, told) == (0, "") and "3 videos of 2 classes" in out
    with open(folder / "videos.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [
            "42326.mp4",
            "78687.webm",
            "74225.webm",
        ]


def test_help_explains_every_format(call):
    code, out, told = call("--help")
    assert (code, told) == (0, "") and out.startswith("Lists videos with their classes")
    for name in ("folders", "kinetics", "ssv2", "hmdb51", "ucf101", "msad", "--annotations="):
        assert name in out
