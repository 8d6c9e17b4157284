"""The command line of the job, on a folder of tiny data: what it leaves, says and refuses."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import job, throughput, training
from experiments.dejavid.results import BaselineResult

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tiny_tse.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def short_report(monkeypatch):
    """The report in one line, and a baseline at once: both have tests of their own."""
    calls = []

    def run_baselines(dataset, settings):
        calls.append("baselines")
        return [BaselineResult("coin", None, 0.5, 0.25)]

    def write_report(out_dir, dataset, settings, baselines, runs):
        names = [f"{run.variant}{run.seed}={run.last['test_top1']:.2f}" for run in runs]
        return f"report: {baselines[0].name} {' '.join(names)}"

    monkeypatch.setattr(job, "run_baselines", run_baselines)
    monkeypatch.setattr(job, "write_report", write_report)
    return calls


def flags(data_dir, out_dir, *more):
    return [
        f"--data_dir={data_dir}", f"--out_dir={out_dir}", "--num_steps=4", "--epochs=4",
        "--batch_size=8", "--learning_rate=0.05", "--dba_samples=5", "--dba_iterations=3",
        "--num_threads=0", "--baselines=mean_1nn", "--variants=frozen_weights,full", *more,
    ]  # fmt: skip


def call(capsys, *arguments):
    """Runs the command line; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as exit_:
        job.main("About.", ["job", *map(str, arguments)])
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def files(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def test_a_job_from_start_to_resumption(data_dir, tmp_path, capsys, short_report, monkeypatch):
    # One line a run, however slow the machine is.
    monkeypatch.setattr(training, "_SECONDS_BETWEEN_LINES", float("inf"))
    code, out, err = call(capsys, *flags(data_dir, tmp_path, "--seeds=0,1"))
    assert (code, err) == (0, "")
    order = [line.split(":")[0] for line in out.splitlines()]
    assert order == [
        "frozen_weights seed 0", "full seed 0", "frozen_weights seed 1", "full seed 1", "report",
    ]  # fmt: skip
    assert re.search(r"full0=(0\.9\d|1\.00)", out), out
    saved = json.loads((tmp_path / "settings.json").read_text())
    assert saved["settings"]["epochs"] == 4
    assert saved["data"]["class_names"] and saved["data"]["num_train"] == 60
    events = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in events[:3]] == ["baseline", "baselines_end", "run_start"]
    assert sum(line["event"] == "epoch" for line in events) == 16
    assert events[0]["name"] == "coin"
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["frozen_weights-seed0", "frozen_weights-seed1", "full-seed0", "full-seed1"]

    # Once more without --resume: refused, and nothing is touched.
    before = files(tmp_path)
    code, _, err = call(capsys, *flags(data_dir, tmp_path, "--seeds=0,1"))
    assert code == 2 and "already holds a job" in err and "--resume" in err
    assert files(tmp_path) == before

    # With other settings: refused, each difference listed.
    code, _, err = call(
        capsys, *flags(data_dir, tmp_path, "--seeds=0", "--diagonal", "--resume", "--num_threads=1")
    )
    assert code == 2
    assert "--seeds: was 0,1, now 0\n" in err and "--diagonal: was false, now true\n" in err
    assert "epochs" not in err and "num_threads" not in err
    assert files(tmp_path) == before

    # With the same ones: everything is read, nothing computed again.
    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_step", never)
    code, again, err = call(capsys, *flags(data_dir, tmp_path, "--seeds=0,1", "--resume"))
    assert (code, err) == (0, "")
    assert again.splitlines() == [out.splitlines()[-1]]
    assert short_report == ["baselines"]


def test_resume_on_other_data_is_refused(data_dir, tmp_path, capsys, short_report):
    arguments = flags(data_dir, tmp_path / "out", "--epochs=1", "--variants=full")
    assert call(capsys, *arguments, "--resume")[0] == 0  # nothing there yet: a start
    other = tiny_tse.write(tmp_path / "other")
    assert call(capsys, *arguments, f"--data_dir={other}", "--resume")[0] == 0  # the same, moved
    index = (other / "index.csv").read_text().splitlines()
    (other / "index.csv").write_text("\n".join(index[:-1]) + "\n")
    code, _, err = call(capsys, *arguments, f"--data_dir={other}", "--resume")
    assert code == 2 and "data num_test: was 21, now 20" in err


def test_prediction(data_dir, tmp_path, capsys, short_report):
    out_dir = tmp_path / "out"
    assert call(capsys, *flags(data_dir, out_dir, "--seeds=3", "--standardize"))[0] == 0
    rng = np.random.default_rng(7)
    names = json.loads((out_dir / "settings.json").read_text())["data"]["class_names"]
    for label in range(3):
        file = tmp_path / "new.npy"
        np.save(file, tiny_tse.sequence(rng, label))
        code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={file}")
        assert (code, err) == (0, "")
        assert "by full seed 3, epoch 4" in out.splitlines()[0]
        rows = [line.split() for line in out.splitlines()[4:]]
        assert rows[0][0] == names[label]
        probabilities = [float(row[-1]) for row in rows]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert probabilities == sorted(probabilities, reverse=True)
    _, out, _ = call(
        capsys, f"--out_dir={out_dir}", f"--predict={file}", "--predict_variant=frozen_weights"
    )
    assert "by frozen_weights seed 3" in out
    code, _, err = call(capsys, f"--out_dir={out_dir}", f"--predict={file}", "--predict_seed=0")
    assert code == 2 and "trained with --variants=frozen_weights,full --seeds=3" in err

    for content, message in (
        (np.zeros(4, np.float32), "bad.npy"),
        (np.zeros((5, 3), np.float32), "has 3 features a step, but the run was trained on 4"),
        (np.full((5, 4), np.nan, np.float32), "bad.npy"),
        (np.zeros((0, 4), np.float32), "bad.npy"),
    ):
        np.save(tmp_path / "bad.npy", content)
        code, _, err = call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'bad.npy'}")
        assert code == 2 and "bad.npy" in err and message in err
    code, _, err = call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'absent.npy'}")
    assert code == 2 and "absent.npy" in err
    code, _, err = call(capsys, f"--out_dir={tmp_path / 'empty'}", f"--predict={file}")
    assert code == 2 and "nothing was trained there" in err
    (out_dir / "settings.json").write_text("{")
    code, _, err = call(capsys, f"--out_dir={out_dir}", f"--predict={file}")
    assert code == 2 and "settings.json" in err


def test_bad_data_is_named_before_training(tmp_path, capsys, short_report):
    data_dir = tiny_tse.write(tmp_path / "data")
    x = np.load(data_dir / "train7.npy")
    x[3, 2] = np.inf
    np.save(data_dir / "train7.npy", x)
    code, out, err = call(capsys, *flags(data_dir, tmp_path / "out"))
    assert code == 2 and "train7.npy" in err and "Traceback" not in err
    assert out == "" and short_report == []
    # Also where the check is skipped and training finds it.
    code, _, err = call(capsys, *flags(data_dir, tmp_path / "out2", "--nocheck_data"))
    assert code == 2 and "train7.npy" in err
    code, _, err = call(capsys, *flags(data_dir, tmp_path / "out3", "--traceback"))
    assert code == 2 and "Traceback" in err


def test_mistakes_end_with_a_message_and_code_2(data_dir, tmp_path, capsys, short_report):
    code, _, err = call(capsys, "--epochs=0")
    assert (code, err) == (2, "error: flag --epochs=0: allowed: a whole number >= 1\n")
    code, _, err = call(capsys, *flags(tmp_path / "absent", tmp_path / "out"))
    assert code == 2 and "absent" in err
    (tmp_path / "file").write_text("")
    code, _, err = call(capsys, *flags(data_dir, tmp_path / "file" / "out"))
    assert code == 2 and "--out_dir" in err and "cannot be written" in err


def test_the_whole_job_with_its_own_report(data_dir, tmp_path, capsys):
    code, out, err = call(capsys, *flags(data_dir, tmp_path, "--epochs=2"))
    assert (code, err) == (0, "")
    assert (tmp_path / "report.md").stat().st_size > 0
    assert "temporal mean + 1-NN" in out


@pytest.mark.parametrize("name", ["k400", "hmdb51", "ssv2"])
def test_help(name):
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--help"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--flagfile=experiments/flags/{name}.txt" in done.stdout
    assert "Training:\n  --epochs=36\n" in done.stdout


def test_throughput(capsys, monkeypatch):
    from tempalign.kernels import specs

    small = dataclasses.replace(
        specs.HMDB51, num_classes=3, num_features=5, num_frames=6, batch=4, num_train=30
    )
    monkeypatch.setitem(throughput.specs.DEJAVID, "hmdb51", small)
    code, out, err = call(capsys, "--synthetic=hmdb51", "--synthetic_steps=3")
    assert (code, err) == (0, "")
    assert re.search(r"steps timed +3\n", out) and re.search(r"steps/s +[\d.e+]+\n", out)
    assert "extrapolated" in out and "(8 steps, " in out  # 30 samples in batches of 4
    assert "1.01 (on 8 H100, " in out
