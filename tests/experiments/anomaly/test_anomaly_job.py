"""The command line of the job: what it leaves, says and refuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_videos

from experiments.anomaly import job, planted, training
from experiments.anomaly.report import points, verdict
from experiments.anomaly.results import PlainResult, RunResult
from experiments.anomaly.settings import METHODS, Settings
from experiments.shared import options

CHECKOUT = Path(__file__).parents[3]
FLAGS = CHECKOUT / "experiments" / "flags"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tiny_videos.write(tmp_path_factory.mktemp("data"))


def flags(data_dir, out_dir, *more):
    return [
        f"--data_dir={data_dir}", f"--out_dir={out_dir}", "--window=4", "--batch_size=4",
        "--epochs=2", "--episodes=5", "--learning_rate=0.3", "--exemplar_iterations=3",
        "--alpha=3", "--seeds=0,1", "--methods=baseline,seq", *more,
    ]  # fmt: skip


def call(capsys, *arguments):
    """Runs the command line; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as exit_:
        job.main("About.", ["job", *map(str, arguments)])
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_a_job_from_start_to_prediction(data_dir, tmp_path, capsys, monkeypatch):
    out_dir = tmp_path / "out"
    code, out, err = call(capsys, *flags(data_dir, out_dir))
    assert (code, err) == (0, "")
    lines = [line.split(":")[0] for line in out.splitlines()[:4]]
    assert lines == [f"{method} seed {seed}" for seed in (0, 1) for method in ("baseline", "seq")]
    events = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "epoch" for line in events) == 8
    assert events[0]["event"] == "baseline" and 0 <= events[0]["roc_auc"] <= 1
    report = json.loads((out_dir / "report.json").read_text())
    assert len(report["runs"]) == 4 and len(report["differences"]) == 1
    of = {(run["method"], run["seed"]): run["history"][-1]["roc_auc"] for run in report["runs"]}
    difference = report["differences"][0]
    assert (difference["method"], difference["other"]) == ("seq", "baseline")
    assert difference["seeds"]["roc_auc"] == [of["seq", s] - of["baseline", s] for s in (0, 1)]
    text = (out_dir / "report.md").read_text()
    for name in ("scores.png", "curves.png", "learning_curves.png"):
        assert f"({name})" in text and (out_dir / name).stat().st_size > 5000
    assert "PR area (trapezoid)" in text and "average precision" in text

    # Once more without --resume: refused. With other settings too, each listed.
    code, _, err = call(capsys, *flags(data_dir, out_dir))
    assert code == 2 and "already holds a job" in err
    code, _, err = call(capsys, *flags(data_dir, out_dir, "--beta=0.5", "--resume"))
    assert code == 2 and "--beta: was 0.1, now 0.5" in err

    # With the same ones: everything is read, nothing trained again, the same report.
    def never(*_):
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", never)
        code, again, err = call(capsys, *flags(data_dir, out_dir, "--resume"))
    assert (code, err) == (0, "")
    assert again == "\n".join(out.splitlines()[4:]) + "\n"

    # A new file, scored as the test split was.
    video = tiny_videos.dataset().test[1]
    np.save(tmp_path / "new.npy", video.features)
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'new.npy'}")
    assert (code, err) == (0, "")
    assert "24 frames, by seq seed 0, epoch 2" in out and "scores-new.csv" in out
    scores = np.loadtxt(out_dir / "scores-new.csv", delimiter=",", skiprows=1)
    assert scores[:, 0].tolist() == list(range(24))
    result = training.train_run(
        tiny_videos.dataset(), _sampler(data_dir), _settings(data_dir), "seq", 0,
        out_dir / "checkpoints" / "seq-seed0", None,
    )  # fmt: skip
    np.testing.assert_allclose(scores[:, 1], result.test_scores[24:48], atol=1e-6)
    code, out, _ = call(
        capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'new.npy'}",
        "--predict_method=baseline", "--predict_seed=1",
    )  # fmt: skip
    assert code == 0 and "by baseline seed 1" in out

    for content, message in (
        (np.zeros((5, 2), np.float32), "has 2 features a row, but the run was trained on 3"),
        (np.full((5, 3), np.nan, np.float32), "NaN"),
    ):
        np.save(tmp_path / "bad.npy", content)
        code, _, err = call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'bad.npy'}")
        assert code == 2 and "bad.npy" in err and message in err
    for arguments, message in (
        ([f"--predict={tmp_path / 'absent.npy'}"], "absent.npy"),
        ([f"--predict={tmp_path / 'new.npy'}", "--predict_seed=7"], "--seeds=0,1"),
        ([f"--predict={tmp_path / 'new.npy'}", f"--out_dir={tmp_path / 'no'}"], "nothing was"),
    ):
        code, _, err = call(capsys, f"--out_dir={out_dir}", *arguments)
        assert code == 2 and message in err


def _settings(data_dir):
    return options.parse(Settings, ["job", *flags(data_dir, "unused")])


def _sampler(data_dir):
    return training.Sampler(tiny_videos.dataset(), _settings(data_dir))


def test_snippets_with_motion(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["id,path,split,labels,frames"]
    for index in range(6):
        np.save(tmp_path / f"{index}.npy", tiny_videos.features(rng, 8, 17))
        split = "train" if index < 4 else "test"
        lines.append(f"v{index},{index}.npy,{split},128-272,375")  # 24 snippets, the last of 7
    (tmp_path / "index.csv").write_text("\n".join(lines))
    arguments = flags(
        tmp_path, tmp_path / "out", "--methods=baseline", "--seeds=0", "--motion", "--center"
    )
    code, out, err = call(capsys, *arguments, "--protocol=snippet")
    assert (code, err) == (0, "")
    assert "over the 750 frames of all 2 test videos" in out
    np.save(tmp_path / "new.npy", tiny_videos.features(rng, 8, 17))
    code, out, err = call(
        capsys, f"--out_dir={tmp_path / 'out'}", f"--predict={tmp_path / 'new.npy'}"
    )
    assert (code, err) == (0, "") and "384 frames" in out
    code, _, err = call(capsys, *flags(tmp_path, tmp_path / "out2"))
    assert code == 2 and "375 labels, but features of 24 frames" in err
    assert not (tmp_path / "out2").exists()


def test_planted_data_through_the_whole_job(tmp_path, capsys, monkeypatch):
    arguments = [
        "--layout=planted", "--encoder=pixels", "--motion", "--train_clips=5", "--test_clips=4",
        "--epochs=1", "--episodes=2", "--window=4", "--batch_size=4", "--methods=baseline",
        f"--out_dir={tmp_path}",
    ]  # fmt: skip
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    text = (tmp_path / "report.md").read_text()
    assert "ROC AUC by kind of event" in text and "(events.png)" in text
    assert "the events are not" in text and "change of pixels (not trained)" in text
    assert (tmp_path / "events.png").stat().st_size > 5000

    # The features are read where they are those of the same pictures, and made where they are not.
    def never(*_):
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(planted, "_grid_colours", never)
        code, _, err = call(capsys, *arguments, "--resume")
        assert (code, err) == (0, "")
    with np.load(tmp_path / "features.npz") as stored:
        before = stored["features"]
    (tmp_path / "features.npz").write_bytes(b"PK damaged")
    code, _, err = call(capsys, *arguments, "--resume")
    assert (code, err) == (0, "")
    with np.load(tmp_path / "features.npz") as stored:
        np.testing.assert_array_equal(stored["features"], before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout=index"], "--data_dir: needed with --layout=index"),
        (["--layout=planted", "--protocol=snippet"], "one row a frame only"),
        (["--batch_size=3"], "must be even"),
        (["--methods="], "--methods and --seeds must each name at least one"),
        (["--methods=otam"], "allowed: a comma-separated list of baseline, trajectory, seq"),
        (["--window=1"], "a whole number >= 2"),
        (["--max_speed=0.5"], "a number >= 1"),
        (["--gamma=0"], "a number > 0"),
        (["--protocol=video"], "frame, snippet"),
        (["--predict_method=best"], "baseline, trajectory"),
    ],
)
def test_flags_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        options.parse(Settings, ["job", *(["--layout=planted"] + arguments)])


def test_flagfiles():
    demo = options.parse(Settings, ["job", f"--flagfile={FLAGS / 'seq_anomaly_demo.txt'}"])
    assert demo.layout == "planted" and len(demo.seeds) >= 5 and demo.methods == METHODS
    paper = options.parse(
        Settings, ["job", f"--flagfile={FLAGS / 'seq_anomaly_msad.txt'}", "--data_dir=d"]
    )
    assert (paper.support, paper.gamma, paper.frames_per_row) == (2, 0.1, 16)
    assert paper.alpha >= 1 and paper.layout == "index" and demo.alpha >= 1


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "experiments.seq_anomaly", "--help"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--flagfile=experiments/flags/seq_anomaly_msad.txt" in done.stdout
    assert "planted in it" in done.stdout and "Training:\n  --epochs=20\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def run_of(method, seed, auc):
    entry = {"roc_auc": auc, "average_precision": 0.5, "pr_area": 0.5}
    return RunResult(method, seed, 1.0, [entry], np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ((0.8, 0.82), (0.7, 0.73), "+9.50 ± 0.71 points, higher with 2 of 2 seeds, so it helps"),
        ((0.7, 0.73), (0.8, 0.82), "-9.50 ± 0.71 points, higher with 0 of 2 seeds, so it hurts"),
        ((0.8, 0.7), (0.7, 0.78), "1 of 2 seeds, which is within what the seeds vary"),
        ((0.8,), (0.7,), "one seed says nothing about chance"),
    ],
)
def test_the_verdict_follows_the_numbers(ours, theirs, words):
    runs = [run_of("seq", seed, auc) for seed, auc in enumerate(ours)]
    runs += [run_of("baseline", seed, auc) for seed, auc in enumerate(theirs)]
    plain = PlainResult("change", np.zeros(4, np.float32), 0.9, 0.5, 0.5)
    text = verdict([plain], runs)
    assert words in text and "points below the best score that needs no training, change" in text


def test_points():
    assert points([0.01]) == "+1.00"
    assert points([-0.01, -0.03]) == "-2.00 ± 1.41"
