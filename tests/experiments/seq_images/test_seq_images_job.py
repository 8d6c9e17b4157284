"""The command line of the job: what it leaves, says and refuses."""

import csv
import json
import sys
from functools import partial
from pathlib import Path

import command_line
import numpy as np
import pytest
import tiny_images
from command_line import never
from PIL import Image

from experiments.seq import training
from experiments.seq.settings import METHODS
from experiments.seq_images import __main__ as script
from experiments.seq_images import features, job
from experiments.seq_images.settings import Settings
from experiments.shared import options
from experiments.vision import foreign_encoders
from experiments.vision.checked_encoder import CheckedEncoder, EncoderSpec
from experiments.vision.foreign_model import digest_of

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_images.write(tmp_path_factory.mktemp("images"))


def flags(folder, out_dir, *more, **changes):
    values = tiny_images.values(folder, out_dir=str(out_dir), **changes)
    return [*(f"--{name}={options.to_text(value)}" for name, value in values.items()), *more]


def call(capsys, *arguments):
    return command_line.call(capsys, partial(job.main, script.__doc__), *arguments)


def report_of(out):
    """What is printed at the end, without the lines of the runs."""
    return out[out.index("SEQ on") :]


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A finished job: its folder, its arguments, and what it printed."""
    out_dir = tmp_path_factory.mktemp("job") / "out"
    methods = "--methods=baseline,trajectory,seq"
    arguments = flags(folder, out_dir, methods, "--seeds=0,1", epochs=2)
    return out_dir, arguments, job.run(options.parse(Settings, ["job", *arguments]))


def test_what_a_job_leaves(finished):
    out_dir, _, _ = finished
    events = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "epoch" for line in events) == 12
    report = json.loads((out_dir / "report.json").read_text())
    assert len(report["runs"]) == 6 and len(report["differences"]) == 3
    of = {(r["method"], r["seed"]): r["history"][-1]["image_accuracy"] for r in report["runs"]}
    difference = report["differences"][2]
    assert (difference["method"], difference["other"]) == ("seq", "trajectory")
    assert difference["seeds"]["image_accuracy"] == [
        of["seq", seed] - of["trajectory", seed] for seed in (0, 1)
    ]
    text = (out_dir / "report.md").read_text()
    for name in ("virtual_sequences", "accuracy", "exemplars", "learning_curves", "confusion"):
        assert f"({name}.png)" in text and (out_dir / f"{name}.png").stat().st_size > 5000
    assert "Trained on" in text and "balanced accuracy" in text and "macro F1" in text


def test_every_prediction_is_in_a_table(finished):
    """Each test image, with what every run took it and its virtual sequence for."""
    out_dir, _, _ = finished
    report = json.loads((out_dir / "report.json").read_text())
    with (out_dir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and rows[0]["id"] == "test/blue/0.png"
    for run in report["runs"]:
        for kind, metric in (("images", "image_accuracy"), ("sequences", "sequence_accuracy")):
            guesses = [row[f"{run['method']}-seed{run['seed']} {kind}"] for row in rows]
            right = np.mean([g == row["label"] for g, row in zip(guesses, rows, strict=True)])
            assert right == pytest.approx(run["history"][-1][metric])
    recall = report["classification"]["baseline (original images)"][0]["by_class"][1]["accuracy"]
    mine = [row["baseline-seed0 images"] == "green" for row in rows if row["label"] == "green"]
    assert recall == np.mean(mine)


@pytest.mark.slow  # of anomalies by default, the same mechanism
def test_a_finished_job_is_read_and_grows(finished, capsys, monkeypatch):
    out_dir, arguments, printed = finished
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "already holds a job" in err
    code, _, err = call(capsys, *arguments, "--beta=0.5", "--resume")
    assert code == 2 and "--beta: was 0.1, now 0.5" in err
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", never)
        patch.setattr(features._Extractor, "_compute", never)
        code, again, err = call(capsys, *arguments, "--resume")
    assert (code, err) == (0, "") and report_of(again).strip() == printed.strip()

    # Sweeps: only their own runs are trained, and a later one keeps those before it.
    trained = []
    epoch = training.SeqRun.epoch

    def counting(self, state, number, advance):
        trained.append(self.name)
        return epoch(self, state, number, advance)

    monkeypatch.setattr(training.SeqRun, "epoch", counting)
    code, out, err = call(
        capsys, *arguments, "--resume", "--sweep=num_support", "--sweep_num_support=1,2"
    )
    assert (code, err) == (0, "")
    assert sorted(set(trained)) == ["seq-num_support1-seed0", "seq-num_support1-seed1"]
    assert "SEQ by support sequences N" in out and (out_dir / "sweep_num_support.png").is_file()
    trained.clear()
    code, out, err = call(capsys, *arguments, "--resume", "--sweep=gamma", "--sweep_gamma=1")
    assert (code, err) == (0, "")
    assert sorted(set(trained)) == ["seq-gamma1-seed0", "seq-gamma1-seed1"]
    assert "SEQ by support sequences N" in out and "SEQ by temperature gamma" in out
    assert (out_dir / "sweep_num_support.png").is_file()


def test_prediction(folder, finished, tmp_path, capsys):
    out_dir, _, _ = finished
    path = folder / "test" / "green" / "1.png"
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={path}")
    assert (code, err) == (0, "") and "by seq seed 0, epoch 2" in out
    probabilities = [float(line.split()[-1]) for line in out.splitlines()[4:]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-3) and len(probabilities) == 3
    code, out, _ = call(
        capsys, f"--out_dir={out_dir}", f"--predict={path}", "--predict_method=baseline",
        "--predict_seed=1",
    )  # fmt: skip
    assert code == 0 and "by baseline seed 1" in out

    # A folder: all images in it, as in the test split; nothing is overwritten.
    for name in ("predicted.csv", "predicted-2.csv"):
        code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={folder / 'test'}")
        assert (code, err) == (0, "") and "12 inputs" in out and name in out
    with (out_dir / "predicted.csv").open(newline="") as file:
        rows = {row["id"]: row["class"] for row in csv.DictReader(file)}
    with (out_dir / "predictions.csv").open(newline="") as file:
        tested = {row["id"]: row["seq-seed0 images"] for row in csv.DictReader(file)}
    assert {f"test/{name}": guess for name, guess in rows.items()} == tested

    # Those of a table, by its ids; a path that leads out of its folder needs a flag.
    table = folder / "new.csv"
    table.write_text("id,path\nmine,test/green/1.png\nyours,test/red/0.png\n")
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={table}")
    assert (code, err) == (0, "") and "mine" in out and "yours" in out

    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    for more, message in (
        ([f"--predict={tmp_path / 'absent.png'}"], "absent.png"),
        ([f"--predict={bad}"], "bad.png"),
        ([f"--predict={path}", "--predict_seed=7"], "--predict_seed=7"),
        ([f"--predict={path}", f"--out_dir={tmp_path / 'no'}"], "nothing was trained"),
    ):
        code, _, err = call(capsys, f"--out_dir={out_dir}", *more)
        assert code == 2 and message in err and "Traceback" not in err


def test_a_run_folder_cannot_ask_to_run_code(folder, tmp_path, capsys, monkeypatch):
    """Whoever hands over a run folder writes its settings.json."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "encoder_in_a_folder.py"
    source.write_text("def encode(images):\n    return images.mean(axis=(1, 2))\n")
    encoder = "--encoder=encoder_in_a_folder:encode"
    out_dir = tmp_path / "out"
    code, _, err = call(capsys, *flags(folder, out_dir, "--methods=baseline", epochs=1), encoder)
    assert (code, err) == (0, "")
    predict = [f"--out_dir={out_dir}", f"--predict={folder / 'test' / 'red' / '0.png'}"]
    sys.modules.pop("encoder_in_a_folder")
    code, _, err = call(capsys, *predict)
    assert code == 2 and f"add {encoder} to the command line" in err
    assert "encoder_in_a_folder" not in sys.modules
    code, out, err = call(capsys, *predict, encoder)
    assert (code, err) == (0, "") and "by baseline seed 0" in out
    # Edited since: another encoder.
    source.write_text("def encode(images):\n    return images.mean(axis=(1, 2)) / 2\n")
    code, _, err = call(capsys, *predict, encoder)
    assert code == 2 and "source or weights are not those" in err


def test_a_run_folder_cannot_ask_for_a_file_either(folder, tmp_path, capsys, monkeypatch):
    """A model from a file: named again, wherever it lies by now, and no other one."""

    def opened(wish):
        spec = EncoderSpec(wish.name, 3, size=(8, 8), identity={"weights": digest_of([wish.path])})
        return CheckedEncoder(spec, lambda frames: frames.mean(axis=(1, 2, 3)) / 255)

    monkeypatch.setitem(foreign_encoders._OPENERS, "onnx", opened)
    model, moved = tmp_path / "model.onnx", tmp_path / "elsewhere.onnx"
    model.write_bytes(b"a model")
    out_dir = tmp_path / "out"
    arguments = [*flags(folder, out_dir, "--methods=baseline", epochs=1)]
    code, _, err = call(capsys, *arguments, f"--encoder=onnx:{model}")
    assert (code, err) == (0, "")
    predict = [f"--out_dir={out_dir}", f"--predict={folder / 'test' / 'red' / '0.png'}"]
    code, _, err = call(capsys, *predict)
    assert code == 2 and f"add --encoder=onnx:{model} to the command line" in err
    model.rename(moved)
    code, out, err = call(capsys, *predict, f"--encoder=onnx:{moved}")
    assert (code, err) == (0, "") and "by baseline seed 0" in out
    moved.write_bytes(b"another model")
    code, _, err = call(capsys, *predict, f"--encoder=onnx:{moved}")
    assert code == 2 and "source or weights are not those" in err
    moved.rename(model)
    code, _, err = call(capsys, *arguments, f"--encoder=onnx:{model}", "--resume")
    assert code == 2 and "data encoder: was" in err


def test_other_images_or_another_encoder_are_another_job(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "encoder_that_changes.py"
    source.write_text("def encode(images):\n    return images.mean(axis=(1, 2))\n")
    moved = tiny_images.write(tmp_path / "moved")
    arguments = [
        *flags(folder, tmp_path / "out", "--methods=baseline", epochs=1),
        "--encoder=encoder_that_changes:encode",
    ]
    assert call(capsys, *arguments)[0] == 0
    code, _, err = call(capsys, *arguments, f"--data_dir={moved}", "--resume")
    assert (code, err) == (0, "")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(moved / "test" / "red" / "0.png")
    code, _, err = call(capsys, *arguments, f"--data_dir={moved}", "--resume")
    assert code == 2 and "data content: was" in err
    source.write_text("def encode(images):\n    return 2 * images.mean(axis=(1, 2))\n")
    code, _, err = call(capsys, *arguments, "--resume")
    assert code == 2 and "data encoder: was" in err


def test_names_that_pictures_could_trip_over(tmp_path, capsys):
    names = (r"$\foo$", "_hidden", "猫")
    folder = tiny_images.write(tmp_path / "images", names=names)
    out_dir = tmp_path / "out"
    arguments = flags(folder, out_dir, "--methods=seq", epochs=1)
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "") and r"$\foo$" in out
    assert json.loads((out_dir / "report.json").read_text())["pictures_failed"] == []


def test_bad_images(tmp_path, capsys):
    folder = tiny_images.write(tmp_path / "images")
    (folder / "train" / "red" / "2.png").write_bytes(b"no image")
    arguments = flags(folder, tmp_path / "out", "--methods=trajectory", epochs=1)
    code, out, err = call(capsys, *arguments)
    assert code == 2 and "1 of 18 images do not decode" in err and "red/2.png" in err
    assert out == "" and not (tmp_path / "out").exists()
    code, out, err = call(capsys, *arguments, "--skip_bad")
    assert (code, err) == (0, "")
    assert "1 images do not decode" in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["skipped_images"] == ["train/red/2.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_support": 5}, "7 needed (--num_support=5 + --queries=2): blue (6)"),
        ({"data_dir": "no_such_folder"}, "no_such_folder"),
        ({"data_dir": ""}, "--data_dir: needed with --layout=folder"),
        (
            {"encoder": "resnet"},
            "--encoder=resnet: allowed: mobilenet_v2, pixels, thumbnail, onnx:FILE, torch",
        ),
        ({"encoder": "no_such_module:encode"}, "there is no module no_such_module"),
        ({"encoder": "mobilenet_v2"}, "--image_size=8: --encoder=mobilenet_v2 needs at least 32"),
        ({"encoder_weights": "w.pth"}, "--encoder_weights: only with"),
        ({"classes_per_episode": 1}, "--classes_per_episode=1: an episode needs two"),
        ({"tau": 1}, "--tau=1: allowed: a whole number >= 2"),
        ({"gamma": 0}, "--gamma=0: allowed: a number > 0"),
        ({"learning_rate": 1e30}, "start anew with a smaller --learning_rate"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(folder, tmp_path, capsys, changes, message):
    code, _, err = call(capsys, *flags(folder, tmp_path / "out", **changes))
    assert code == 2 and message in err and "Traceback" not in err


@pytest.mark.parametrize("name", ["demo", "cars", "dogs", "flowers", "soyaging"])
def test_flagfiles(name, capsys):
    argv = ["job", f"--flagfile={FLAGS / f'seq_images_{name}.txt'}"]
    settings = options.parse(Settings, argv if name == "demo" else [*argv, "--data_dir=there"])
    assert capsys.readouterr().err == ""  # no former words
    assert settings.tau == 7 and settings.methods == METHODS
    if name != "demo":
        assert 3 <= settings.num_support <= 5 and settings.alpha == 0.1
    assert settings.gamma == 0.1 and len(settings.seeds) >= 5


def test_former_words(capsys):
    settings = options.parse(Settings, ["job", "--layout=digits", "--episodes=7"])
    assert settings.steps_per_epoch == 7
    assert "--episodes=7 is now written --steps_per_epoch=7" in capsys.readouterr().err


def test_help(capsys):
    code, out, err = call(capsys, "--help")
    assert (code, err) == (0, "")
    assert "--flagfile=experiments/flags/seq_images_demo.txt" in out
    assert "--classes_per_episode=0" in out and "--steps_per_epoch=30" in out
