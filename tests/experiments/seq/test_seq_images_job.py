"""The command line of the job: what it leaves, says and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_images
from PIL import Image

from experiments.seq import features, job, training
from experiments.seq.report import by_value, points, verdict
from experiments.seq.results import RunResult, Variant
from experiments.seq.settings import METHODS, Settings
from experiments.shared import options

CHECKOUT = Path(__file__).parents[3]
FLAGS = CHECKOUT / "experiments" / "flags"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_images.write(tmp_path_factory.mktemp("images"))


def flags(folder, out_dir, *more, **changes):
    values = tiny_images.values(folder, out_dir=str(out_dir), **changes)
    return [*(f"--{name}={options.to_text(value)}" for name, value in values.items()), *more]


def call(capsys, *arguments):
    """Runs the command line; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as exit_:
        job.main("About.", ["job", *map(str, arguments)])
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_a_job_from_start_to_prediction(folder, tmp_path, capsys, monkeypatch):
    out_dir = tmp_path / "out"
    arguments = flags(folder, out_dir, "--seeds=0,1", epochs=2)
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    lines = [line.split(":")[0] for line in out.splitlines()[:10]]
    assert lines == [f"{method} seed {seed}" for seed in (0, 1) for method in METHODS]
    events = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "epoch" for line in events) == 20
    report = json.loads((out_dir / "report.json").read_text())
    assert len(report["runs"]) == 10 and len(report["differences"]) == 5
    of = {(r["method"], r["seed"]): r["history"][-1]["image_accuracy"] for r in report["runs"]}
    difference = report["differences"][2]
    assert (difference["method"], difference["other"]) == ("seq", "trajectory")
    assert difference["seeds"]["image_accuracy"] == [
        of["seq", seed] - of["trajectory", seed] for seed in (0, 1)
    ]
    text = (out_dir / "report.md").read_text()
    for name in ("virtual_sequences", "accuracy", "exemplars", "learning_curves"):
        assert f"({name}.png)" in text and (out_dir / f"{name}.png").stat().st_size > 5000

    # Once more without --resume: refused. With other settings too, each listed.
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "already holds a job" in err
    code, _, err = call(capsys, *arguments, "--beta=0.5", "--resume")
    assert code == 2 and "--beta: was 0.1, now 0.5" in err

    # With the same ones: everything is read, nothing computed again, the same report.
    def never(*_, **__):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", never)
        patch.setattr(features._Extractor, "_compute", never)
        code, again, err = call(capsys, *arguments, "--resume")
    assert (code, err) == (0, "")
    assert again == "\n".join(out.splitlines()[10:]) + "\n"

    # A sweep of the finished job: only its own runs are trained.
    code, out, err = call(
        capsys, *arguments, "--resume", "--sweep=num_support", "--sweep_num_support=1,2"
    )
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == [
        "seq-num_support1 seed 0", "seq-num_support1 seed 1",
    ]  # fmt: skip
    assert "SEQ by support sequences N" in out and (out_dir / "sweep_num_support.png").is_file()

    # A new image, classified as in the test split.
    path = folder / "test" / "green" / "1.png"
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={path}")
    assert (code, err) == (0, "")
    assert "by seq seed 0, epoch 2" in out
    probabilities = [float(line.split()[-1]) for line in out.splitlines()[4:]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-3) and len(probabilities) == 3
    code, out, _ = call(
        capsys, f"--out_dir={out_dir}", f"--predict={path}", "--predict_method=baseline",
        "--predict_seed=1",
    )  # fmt: skip
    assert code == 0 and "by baseline seed 1" in out
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    for more, message in (
        ([f"--predict={tmp_path / 'absent.png'}"], "absent.png"),
        ([f"--predict={bad}"], "bad.png"),
        ([f"--predict={path}", "--predict_seed=7"], "--seeds=0,1"),
        ([f"--predict={path}", f"--out_dir={tmp_path / 'no'}"], "nothing was trained"),
    ):
        code, _, err = call(capsys, f"--out_dir={out_dir}", *more)
        assert code == 2 and message in err and "Traceback" not in err

    # Other images under the same names: another job.
    moved = tiny_images.write(tmp_path / "moved")
    code, _, err = call(capsys, *arguments, f"--data_dir={moved}", "--resume")
    assert (code, err) == (0, "")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(moved / "test" / "red" / "0.png")
    code, _, err = call(capsys, *arguments, f"--data_dir={moved}", "--resume")
    assert code == 2 and "data ids_labels_pixels: was" in err


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
    assert "train/red/2.png" in (tmp_path / "out" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_support": 5}, "7 needed (--num_support=5 + --queries=2): blue (6)"),
        ({"data_dir": "no_such_folder"}, "no_such_folder"),
        ({"data_dir": ""}, "--data_dir: needed with --layout=folder"),
        ({"encoder": "resnet"}, "--encoder=resnet: allowed: mobilenet_v2, pixels or MODULE"),
        ({"encoder": "mobilenet_v2"}, "--image_size=8: --encoder=mobilenet_v2 needs at least 32"),
        ({"encoder_weights": "w.pth"}, "--encoder_weights: only with"),
        ({"methods": ("baseline",), "sweep": "gamma"}, "--sweep=gamma: needs seq among --methods"),
        ({"methods": ()}, "--methods and --seeds must each name at least one"),
        ({"classes_per_episode": 1}, "--classes_per_episode=1: an episode needs two"),
        ({"tau": 1}, "--tau=1: allowed: a whole number >= 2"),
        ({"gamma": 0}, "--gamma=0: allowed: a number > 0"),
        ({"learning_rate": 1e30}, "A smaller --learning_rate may help"),
    ],
)
def test_mistakes_end_with_a_message_and_code_2(folder, tmp_path, capsys, changes, message):
    code, _, err = call(capsys, *flags(folder, tmp_path / "out", **changes))
    assert code == 2 and message in err and "Traceback" not in err


def result(method, accuracies, seed, **changes):
    variant = Variant(method, 4, 0.1, 0.1)
    history = [dict(zip(("image_accuracy", "sequence_accuracy"), accuracies, strict=True))]
    empty = np.zeros(1)
    values = {"variant": variant, "seed": seed, "seconds": 1.0, "history": history} | changes
    return RunResult(
        **values, image_predictions=empty, sequence_predictions=empty, params={}, mean=empty,
        std=empty,
    )  # fmt: skip


def test_the_verdict_says_where_it_helps_and_where_not():
    runs = []
    for seed, change in enumerate((0.019, 0.02, 0.021)):
        runs.append(result("trajectory", (0.5, 0.7), seed))
        runs.append(result("seq", (0.5 + change, 0.7 - 2 * change), seed))
        runs.append(result("baseline", (0.5, 0.5), seed))
        runs.append(result("seq_no_align", (0.5 + change * (seed + 0.5), 0.7), seed))
    image, sequence = verdict(runs).split(" On virtual test sequences, ")
    helps = "(50.00 %) +2.00 ± 0.10 points (better with 3, worse with 0 of 3 seeds): it helps here"
    assert f"against + feature trajectory {helps}" in image
    assert f"against baseline (original images) {helps}" in image
    assert "against SEQ without align (53.07 %) -1.07" in image
    assert image.endswith("by chance: no difference is shown.")
    hurts = "(70.00 %) -4.00 ± 0.20 points (better with 0, worse with 3 of 3 seeds): it hurts here"
    assert f"against + feature trajectory {hurts}" in sequence
    assert "against baseline (original images) (50.00 %) +16.00" in sequence
    assert "one seed says nothing" in verdict([run for run in runs if run.seed == 0])
    # Student's t: with three seeds a mean of 2 and a deviation of 1 may well be chance.
    runs = [result("seq", (0.5 + x, 0.5), i) for i, x in enumerate((0.01, 0.02, 0.03))]
    runs += [result("trajectory", (0.5, 0.5), seed) for seed in range(3)]
    assert "no difference is shown" in verdict(runs)
    assert points([0.01]) == "+1.00"


def test_a_sweep_has_the_jobs_own_value_and_no_other_sweeps():
    swept = [
        result("seq", (0.5, 0.5), 0, variant=Variant("seq", n, g, 0.1, name))
        for n, g, name in ((4, 0.1, ""), (1, 0.1, "num_support"), (4, 1.0, "gamma"))
    ]
    assert list(by_value(swept, "num_support")) == [1, 4]
    assert list(by_value(swept, "gamma")) == [0.1, 1.0]


@pytest.mark.parametrize("name", ["demo", "cars", "dogs", "flowers", "soyaging"])
def test_flagfiles(name):
    argv = ["job", f"--flagfile={FLAGS / f'seq_images_{name}.txt'}"]
    settings = options.parse(Settings, argv if name == "demo" else [*argv, "--data_dir=there"])
    assert settings.tau == 7 and settings.methods == METHODS
    if name != "demo":
        assert 3 <= settings.num_support <= 5 and settings.alpha == 0.1
    assert settings.gamma == 0.1 and len(settings.seeds) >= 5


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.seq_images", "--help"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--flagfile=experiments/flags/seq_images_demo.txt" in done.stdout
    assert "--classes_per_episode=0" in done.stdout
