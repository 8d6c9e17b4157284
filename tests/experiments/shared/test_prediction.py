import csv
import dataclasses

import numpy as np
import pytest
from tiny_run import TinyRun

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.job import JobOptions, run_job
from experiments.shared.prediction import open_run, predict_inputs, say_classes, write_scores


@dataclasses.dataclass(frozen=True)
class Settings(JobOptions):
    pass


def name(settings, method, seed):
    return f"{method}-seed{seed}"


def methods(settings):
    return ("full", "half")


def opened(request, prefer=()):
    return open_run(request, methods=methods, run_name=name, prefer=prefer)


def work(data, settings, workspace):
    for seed in settings.seeds:
        for method in methods(settings):
            workspace.train(TinyRun(method, seed), epochs=1)
    return ""


@pytest.fixture
def request_(tmp_path):
    """The settings that name a job of two methods and two seeds."""
    settings = Settings(out_dir=str(tmp_path / "job"), seeds=(3, 4))
    run_job(
        settings,
        load=lambda settings: None,
        identify=lambda data, settings, digests: {"class_names": ["cat", "дог"]},
        num_bytes=lambda data, settings: 0,
        work=work,
    )
    return Settings(out_dir=settings.out_dir)


def test_the_run_that_is_asked_for_is_opened(request_):
    run = opened(request_)
    assert (run.method, run.seed, run.step) == ("half", 3, 1) and run.settings.seeds == (3, 4)
    assert run.about == "by half seed 3, epoch 1" and run.data["class_names"] == ["cat", "дог"]
    assert run.arrays["weights.w"].shape == (2, 3)
    assert opened(request_, prefer=("best", "full")).method == "full"
    asked = dataclasses.replace(request_, predict_method="full", predict_seed=4)
    run = opened(asked)
    assert (run.method, run.seed) == ("full", 4)


def test_what_is_not_there_is_told(request_, tmp_path):
    for change in ({"predict_method": "best"}, {"predict_seed": 7}, {"predict_method": "../.."}):
        with pytest.raises(MissingFileError, match="trained were full seed 3, half seed 3, "):
            opened(dataclasses.replace(request_, **change))
    with pytest.raises(MissingFileError, match="holds no settings.json, so nothing was trained"):
        opened(Settings(out_dir=str(tmp_path / "absent")))
    with pytest.raises(MissingFileError, match="nothing was trained"):
        open_run(request_, methods=lambda settings: (), run_name=name)
    run = tmp_path / "job" / "checkpoints" / "half-seed3" / "1"
    run.rename(tmp_path / "1")
    assert opened(request_).method == "full"  # of those that have a checkpoint
    with pytest.raises(MissingFileError, match="half.*: no such run"):
        opened(dataclasses.replace(request_, predict_method="half"))


def test_a_damaged_checkpoint_is_told(request_, tmp_path):
    record = tmp_path / "job" / "checkpoints" / "half-seed3" / "1" / "record" / "metadata"
    record.write_text("{}")
    with pytest.raises(UserError, match="(?s)half-seed3/1 is damaged.*None is intact"):
        opened(request_)


def test_opening_a_run_changes_nothing(request_, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*"))
    opened(request_)
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.fixture
def files(tmp_path):
    """Files to predict, and what names them."""
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    for text in ("x.npy", "b/x.npy", "a.NPY", "notes.txt"):
        (folder / text).write_text("")
    (tmp_path / "outside.npy").write_text("")
    return folder


def inputs(path, **options):
    return predict_inputs(Settings(predict=str(path), **options), (".npy",))


def test_a_file(files):
    assert inputs(files / "x.npy") == [(str(files / "x.npy"), files / "x.npy")]


def test_a_folder_with_its_subfolders(files):
    found = inputs(files)
    assert [name for name, _ in found] == ["a.NPY", "b/x.npy", "x.npy"]
    assert all(files / name == path for name, path in found)
    (files / "empty").mkdir()
    with pytest.raises(MissingFileError, match="empty: holds no file .npy"):
        inputs(files / "empty")


def test_a_table(files):
    table = files / "list.csv"
    table.write_text("path,note\nb/x.npy,1\nx.npy,\n")
    assert inputs(table) == [("b/x.npy", files / "b/x.npy"), ("x.npy", files / "x.npy")]
    table.write_text("id,path\none,b/x.npy\n,x.npy\n")
    assert [name for name, _ in inputs(table)] == ["one", "x.npy"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path\n", "has no rows"),
        ("name\nx.npy\n", "no column path"),
        ("path\nabsent.npy\n", "line 2: no file .*absent.npy"),
        ("path\n../outside.npy\n", r"line 2: path '../outside.npy' leads out .*--outside_paths"),
        ("path\n/etc/hostname\n", "line 2: path '/etc/hostname' leads out of the folder"),
        ("path\nlink.npy\n", "line 2: path 'link.npy' is or follows a link that leads out"),
    ],
)
def test_a_bad_table_is_told_by_its_lines(files, text, told):
    (files / "link.npy").symlink_to(files.parent / "outside.npy")
    table = files / "list.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=f"(?s)list.csv.*{told}"):
        inputs(table)


def test_paths_that_lead_out_take_a_word(files):
    table = files / "list.csv"
    table.write_text("path\n../outside.npy\n")
    [(name, path)] = inputs(table, outside_paths=True)
    assert name == "../outside.npy" and path.read_text() == ""


def test_what_is_not_there(tmp_path):
    for text in ("absent", "absent.csv", "absent.npy"):
        with pytest.raises(MissingFileError, match=f"--predict=.*{text}: no such file"):
            inputs(tmp_path / text)


def test_scores_are_never_overwritten(tmp_path):
    for number, suffix in enumerate(("", "-2", "-3")):
        path = write_scores(tmp_path / "scores.csv", ("id", "score"), [("a,b", number)])
        assert path == tmp_path / f"scores{suffix}.csv"
    assert (tmp_path / "scores.csv").read_text() == 'id,score\n"a,b",0\n'


def test_classes_of_one_and_of_many(request_, tmp_path):
    run = opened(request_)
    one = say_classes(run, ["x.npy"], np.array([[0.25, 0.75]]), "9 steps, ")
    assert one.startswith("x.npy: 9 steps, by half seed 3, epoch 1") and "0.7500" in one
    assert one.index("дог") < one.index("cat")
    many = np.tile([[0.75, 0.25]], (7, 1))
    for file in ("predicted.csv", "predicted-2.csv"):
        told = say_classes(run, [f"b/{n}.npy" for n in range(7)], many)
        assert f"7 inputs, by half seed 3, epoch 1; all are in {tmp_path / 'job' / file}" in told
        assert "... and 2 more" in told
        with open(tmp_path / "job" / file) as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == 7 and rows[6] == {
            "id": "b/6.npy", "class": "cat", "probability": "0.750000", "cat": "0.750000",
            "дог": "0.250000",
        }  # fmt: skip
    with pytest.raises(UserError, match="the run has 3 classes, its settings.json names 2"):
        say_classes(run, ["x"], np.zeros((1, 3)))
