"""The job on tiny data: what it leaves and says; resumption bit for bit; settings."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_episodes

from experiments.episodes import job, training
from experiments.episodes.settings import Settings
from experiments.shared import options
from experiments.shared.checkpoints import Checkpoints

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    splits = tiny_episodes.SPLITS | {"late": "val", "hump": "val"}
    folder = tiny_episodes.write(tmp_path_factory.mktemp("tiny"), splits=splits)
    # Two classes each: 2-way episodes.
    splits = {"rise": "train", "hump": "train", "late": "val", "early": "val",
              "fall": "test", "dip": "test"}  # fmt: skip
    tiny_episodes.write_splits(folder / "class_splits.csv", splits)
    return folder


def settings(folder, out_dir, **changes):
    return tiny_episodes.settings(folder, out_dir=str(out_dir), way=2, **changes)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("finished")
    text = job.run(
        settings(folder, out_dir, train_through=("tam", "order_blind"), gammas=(0.1, 1.0))
    )
    return out_dir, text


def arrays(out_dir, run):
    with Checkpoints(out_dir / "checkpoints" / run) as checkpoints:
        return checkpoints.read(checkpoints.latest())


def test_what_a_job_leaves(finished):
    out_dir, text = finished
    report = json.loads((out_dir / "report.json").read_text())
    markdown = (out_dir / "report.md").read_text()
    for name in ("matching.png", "gamma.png", "learning_curves.png", "alignments.png"):
        assert (out_dir / name).stat().st_size > 1000 and name in markdown
    for heading in ("2-way 1-shot", "2-way 2-shot", "Temperature of the soft minimum", "Trainings"):
        assert heading in text and heading in markdown
    assert {run["through"] for run in report["runs"]} == {"tam", "order_blind"}
    # No encoder: order_blind, 3 matchings, tam at the other gamma; each trained: 4; sweep: 1.
    assert len(report["scores"]) == 2 * (5 + 4 + 4 + 1)
    for score in report["scores"]:
        assert 0 <= score["accuracy"] <= 1 and score["interval"] >= 0
        shown = f"{100 * score['accuracy']:.2f} ± {100 * score['interval']:.2f}"
        assert shown in text
    assert "blind to the order" in report["verdict"]
    lines = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "evaluation" for line in lines) == 4
    assert sum(line["event"] == "epoch" for line in lines) == 9
    assert all("val_accuracy" in line for line in lines if line["event"] == "epoch")


def test_the_best_epoch_on_meta_validation_is_used(finished):
    out_dir, _ = finished
    found, record = arrays(out_dir, "tam-gamma0.1-seed0")
    accuracies = [entry["val_accuracy"] for entry in record["history"]]
    assert record["best_epoch"] == 1 + int(np.argmax(accuracies))
    kernels = [found[name] for name in found if "kernel" in name and "best" in name]
    assert len(kernels) == 1 and kernels[0].shape == (4, 3)


def test_interrupted_job_goes_on_bit_for_bit(folder, finished, tmp_path, monkeypatch):
    changes = {"train_through": ("tam", "order_blind"), "gammas": (0.1, 1.0)}
    save, saved = Checkpoints.save, []

    def save_and_stop(self, step, *args):
        save(self, step, *args)
        saved.append(step)
        if len(saved) == 5:  # the second epoch of the second training
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save_and_stop)
        job.run(settings(folder, tmp_path, **changes))
    assert saved == [1, 2, 3, 1, 2]
    with pytest.raises(ValueError, match="already holds a job.*--resume"):
        job.run(settings(folder, tmp_path, **changes))
    with pytest.raises(ValueError, match="--way: was 2, now 3|too few"):
        job.run(tiny_episodes.settings(folder, out_dir=str(tmp_path), resume=True))
    job.run(settings(folder, tmp_path, resume=True, **changes))
    whole, text = finished
    for run in ("tam-gamma0.1-seed0", "tam-gamma1-seed0", "order_blind-gamma0.1-seed0"):
        expected, found = arrays(whole, run)[0], arrays(tmp_path, run)[0]
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{run} {name}")
    scores = [
        json.loads((place / "report.json").read_text())["scores"] for place in (whole, tmp_path)
    ]
    assert scores[0] == scores[1]

    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(training, "train_epoch", never)
    monkeypatch.setattr(job.evaluation, "evaluate", never)
    again = job.run(settings(folder, tmp_path, resume=True, **changes))
    without_seconds = [re.sub(r"\d+\.\d\n", "", report).split() for report in (text, again)]
    assert without_seconds[0] == without_seconds[1]


def test_features_alone_are_evaluated_without_training(folder, tmp_path):
    text = job.run(settings(folder, tmp_path, encoder="none", shots=(1,), matchings=("tam",)))
    assert "untrained features" in text and "Trainings" not in text
    assert not (tmp_path / "checkpoints").exists()


def test_a_loss_that_is_not_finite_is_an_error(folder, tmp_path):
    with pytest.raises(ValueError, match="the loss of epoch .* is nan.*--learning_rate"):
        job.run(settings(folder, tmp_path, learning_rate=1e38, shots=(1,)))


def test_errors_are_one_message_and_exit_code_2(folder, capsys):
    with pytest.raises(SystemExit) as exit_:
        job.main("About.", ["few_shot", "--layout=index"])
    assert exit_.value.code == 2
    assert "error: --data_dir: needed with --layout=index" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout=index", "--data_dir=d"], "--class_splits: needed with --layout=index"),
        (["--data_dir=d"], "not for --layout=spoken_digits"),
        (["--way=1"], "--way=1: allowed: a whole number >= 2"),
        (["--shots=0"], "--shots=0: allowed: "),
        (["--shots="], "--shots: must name at least one"),
        (["--gammas=0"], "--gammas=0: allowed: "),
        (["--matchings=best"], "min, mean, diagonal, dtw, tam, tam_symmetric"),
        (["--train_through="], "--encoder=none"),
        (["--encoder=resnet"], "none, linear, mlp"),
    ],
)
def test_flags_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        options.parse(Settings, ["few_shot", "--layout=spoken_digits", *arguments])


@pytest.mark.parametrize("name", ["few_shot_kinetics", "few_shot_ssv2"])
def test_flagfiles_of_the_paper(name):
    found = options.parse(
        Settings,
        ["few_shot", f"--flagfile={FLAGS / name}.txt", "--data_dir=d", "--class_splits=f"],
    )
    assert (found.way, found.shots, found.queries, found.episodes) == (5, (1, 5), 1, 10_000)
    assert found.num_segments == 8 and found.gamma == 0.1 and found.boundary == "paper"
    assert set(found.gammas) == {0.01, 0.05, 0.1, 0.5, 1}
    assert set(found.train_through) >= {"min", "mean", "diagonal", "dtw", "tam", "order_blind"}
    assert found.samples_per_class == 100 and found.center == "none"


def test_flagfile_of_the_demo_needs_no_data():
    found = options.parse(Settings, ["few_shot", f"--flagfile={FLAGS / 'few_shot_demo.txt'}"])
    assert found.layout == "spoken_digits" and found.episodes == 10_000
    assert len(found.seeds) >= 3 and len(found.gammas) == 5


def test_settings_that_cannot_change_the_result():
    others = {field.name for field in dataclasses.fields(Settings)} - set(Settings.result_names())
    assert others == {
        "data_dir", "class_splits", "out_dir", "resume", "keep_checkpoints", "eval_batch",
        "distance_table", "num_threads", "traceback",
    }  # fmt: skip
