"""The command line of the job, on a folder of tiny data: what it leaves, says and refuses."""

import csv
import dataclasses
import json
import re
from collections import Counter
from functools import partial

import command_line
import numpy as np
import pytest
import tiny_tse
from tiny_tse import flags

from experiments.dejavid import baselines, job, throughput, training
from experiments.make_store import writing
from experiments.shared.metrics_log import MetricsLog
from experiments.tse import index_folder
from tempalign.kernels.gpu import specs


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The classes are 1, 2 and 3, the features float64, as archives of time series have them."""
    return tiny_tse.write(tmp_path_factory.mktemp("data"), dtype="f8")


@pytest.fixture
def no_pictures(monkeypatch):
    """They take seconds and have tests of their own."""
    monkeypatch.setattr("experiments.dejavid.pictures.drawings", lambda *_: [])


def call(capsys, *arguments):
    return command_line.call(capsys, partial(job.main, "About.", "k400"), *arguments)


def events(out_dir):
    """(event, name or run, epoch) of each line of the log."""
    return [
        (
            line["event"],
            line.get("name") or f"{line['method']}-seed{line['seed']}",
            line.get("epoch"),
        )
        for line in MetricsLog(out_dir / "metrics.jsonl").lines()
    ]


def report(out_dir):
    return json.loads((out_dir / "report.json").read_text(encoding="utf-8"))


def test_a_job_leaves_a_report_and_is_read_not_repeated(data_dir, tmp_path, capsys, monkeypatch):
    arguments = flags(data_dir, tmp_path, "--methods=frozen_weights,full", "--baselines=mean_1nn")
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "temporal mean + 1-NN" in out and "DejaVid full" in out
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "81 of 81 sequences are stored as float64, read as float32" in text
    found = report(tmp_path)
    assert found["pictures_failed"] == [] and len(found["pictures"]) == 4
    assert [run["num_parameters"] for run in found["runs"]] == [3 * 4 * 4, 2 * 3 * 4 * 4]
    assert found["runs"][1]["history"][-1]["test_top1"] >= 0.9
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list("123" * 7)
    right = np.mean([row["full-seed0"] == row["label"] for row in rows])
    assert right == pytest.approx(found["runs"][1]["history"][-1]["test_top1"])

    def never(*_):
        raise AssertionError("computed again")

    for module, name in (
        (training, "train_step"), (training, "initial_centroids"), (job, "run_baseline")
    ):  # fmt: skip
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr("experiments.dejavid.pictures.drawings", lambda *_: [])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    code, again, err = call(capsys, *arguments, "--resume")
    assert (code, again, err) == (0, out, "")
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_job_grows(data_dir, tmp_path, capsys, no_pictures):
    """By seeds, methods, baselines and epochs; what there is already is not done again."""
    start = flags(data_dir, tmp_path, "--epochs=2", "--baselines=mean_1nn")
    assert call(capsys, *start)[0] == 0
    grown = flags(
        data_dir, tmp_path, "--epochs=3", "--baselines=mean_logistic", "--seeds=0,1",
        "--methods=frozen_weights", "--resume",
    )  # fmt: skip
    code, out, err = call(capsys, *grown)
    assert (code, err) == (0, "")
    for change in (
        "--seeds was 0, now 0,1", "--methods was full, now full,frozen_weights",
        "--epochs was 2, now 3", "--baselines was mean_1nn, now mean_1nn,mean_logistic",
    ):  # fmt: skip
        assert f"{tmp_path} grows: {change}\n" in out
    runs = [f"{method}-seed{seed}" for seed in (0, 1) for method in ("full", "frozen_weights")]
    done = Counter(event for event in events(tmp_path) if event[0] in ("epoch", "baseline"))
    assert done == Counter(
        [("epoch", run, epoch) for run in runs for epoch in (1, 2, 3)]
        + [("baseline", baselines.NAMES[key], None) for key in ("mean_1nn", "mean_logistic")]
    )
    found = report(tmp_path)
    assert [f"{run['method']}-seed{run['seed']}" for run in found["runs"]] == runs
    assert all(len(run["history"]) == 3 for run in found["runs"])
    assert len(found["baselines"]) == 2
    # One run had its second epoch at the rate of a job of two epochs.
    assert "--epochs=3, and gone on with: full-seed0. Their learning rates" in out

    # Less than there is means no less, but fewer epochs and other settings are refused.
    saved = json.loads((tmp_path / "settings.json").read_text())["settings"]
    assert saved["methods"] == ["full", "frozen_weights"] and saved["epochs"] == 3
    code, _, err = call(capsys, *grown, "--epochs=1", "--diagonal")
    assert code == 2 and "--epochs: was 3, now 1 (it may only grow)" in err
    assert "--diagonal: was false, now true" in err and "--baselines" not in err


def test_baselines_come_after_training_each_logged_when_it_ends(
    data_dir, tmp_path, capsys, monkeypatch, no_pictures
):
    arguments = flags(data_dir, tmp_path, "--epochs=1", "--baselines=mean_1nn,mean_logistic")
    run_baseline, calls = job.run_baseline, []

    def killed_in_the_second(key, *rest):
        calls.append(key)
        if calls == ["mean_1nn", "mean_logistic"]:
            raise KeyboardInterrupt
        return run_baseline(key, *rest)

    monkeypatch.setattr(job, "run_baseline", killed_in_the_second)
    assert call(capsys, *arguments)[0] == 130
    kinds = [event for event, *_ in events(tmp_path)]
    assert kinds == ["run_start", "epoch", "run_end", "baseline"]
    assert call(capsys, *arguments, "--resume")[0] == 0
    assert calls == ["mean_1nn", "mean_logistic", "mean_logistic"]
    rows = report(tmp_path)["baselines"]
    assert [row["name"] for row in rows] == [baselines.NAMES[key] for key in calls[:2]]
    assert all(row["seconds"] > 0 for row in rows)


def test_resume_on_other_data_is_refused(tmp_path, capsys, no_pictures):
    data_dir = tiny_tse.write(tmp_path / "data")
    arguments = flags(data_dir, tmp_path / "out", "--epochs=1")
    assert call(capsys, *arguments, "--resume")[0] == 0  # nothing there yet: a start
    other = tiny_tse.write(tmp_path / "other")
    assert call(capsys, *arguments, f"--data_dir={other}", "--resume")[0] == 0  # the same, moved
    for file in other.glob("*.npy"):
        np.save(file, -np.load(file))  # as long as before, of the same shape
    code, out, err = call(capsys, *arguments, f"--data_dir={other}", "--resume")
    assert code == 2 and "data content: was" in err and "other data" in err
    assert "data num_samples" not in err and "DejaVid full" not in out
    index = (data_dir / "index.csv").read_text().splitlines()
    (data_dir / "index.csv").write_text("\n".join(index[:-1]) + "\n")
    code, _, err = call(capsys, *arguments, "--resume")
    assert code == 2 and "data num_samples" in err


def test_a_loss_that_is_not_finite_stops_the_job_in_its_batch(data_dir, tmp_path, capsys):
    arguments = flags(data_dir, tmp_path / "out", "--learning_rate=1e30")
    code, _, err = call(capsys, *arguments)
    assert code == 2 and re.search(
        r"full-seed0: epoch 1, batch [2-4] of 8: the loss is not finite.*smaller --learning", err
    )
    assert list((tmp_path / "out" / "checkpoints" / "full-seed0").iterdir()) == []


@pytest.mark.parametrize("rate", ["1e30", "1e6"])
def test_training_that_leaves_the_numbers_saves_none_of_them(
    data_dir, tmp_path, capsys, monkeypatch, rate
):
    """Also where only the last update of an epoch did it: the loss before that was finite."""
    arguments = flags(
        data_dir, tmp_path / "out", "--epochs=1", "--batch_size=60", f"--learning_rate={rate}"
    )
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "full-seed0: after epoch 1 these are not finite: " in err
    assert "test_logits" in err and "start anew with a smaller --learning_rate" in err
    assert "loss" not in err.split("not finite")[1].split(". Nothing")[0]  # one step: before it
    folder = tmp_path / "out" / "checkpoints" / "full-seed0"
    assert list(folder.iterdir()) == []
    np.save(tmp_path / "new.npy", np.zeros((5, 4), np.float32))
    code, out, err = call(
        capsys, f"--out_dir={tmp_path / 'out'}", f"--predict={tmp_path / 'new.npy'}"
    )
    assert (code, out) == (2, "") and "nothing was trained there" in err
    # The folder is free for a better start.
    monkeypatch.setattr("experiments.dejavid.pictures.drawings", lambda *_: [])
    assert call(capsys, *arguments, "--learning_rate=0.05")[0] == 0


def test_bad_data_is_named_before_training(tmp_path, capsys):
    data_dir = tiny_tse.write(tmp_path / "data")
    x = np.load(data_dir / "train7.npy")
    x[3, 2] = np.inf
    np.save(data_dir / "train7.npy", x)
    code, out, err = call(capsys, *flags(data_dir, tmp_path / "out"))
    assert code == 2 and "train7.npy" in err and "Traceback" not in err and out == ""
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
    # Also where the check is skipped and training finds it.
    code, _, err = call(capsys, *flags(data_dir, tmp_path / "out2", "--nocheck_data"))
    assert code == 2 and "train7.npy" in err
    wrong = flags(data_dir, tmp_path / "out3", "--baselines=encoder_logits", "--encoder_logits=3")
    code, _, err = call(capsys, *wrong)
    assert code == 2 and "leave encoder_logits out of --baselines" in err


def test_paths_that_lead_out_need_a_word_in_every_layout(tmp_path, capsys, monkeypatch):
    found = {}
    for layout in ("index_folder", "dejavid_layout"):
        module = getattr(job, layout)
        monkeypatch.setattr(
            module, "load", lambda _, layout=layout, **rest: found.__setitem__(layout, rest)
        )
    for layout in ("index", "dejavid"):
        job.load_dataset(
            tiny_tse.settings(layout=layout, data_dir=str(tmp_path), outside_paths=True)
        )
    assert all(rest["outside_paths"] for rest in found.values()) and len(found) == 2


def test_a_folder_of_the_uea_archive(tmp_path, capsys, no_pictures):
    folder = tmp_path / "Toy"
    folder.mkdir()
    for part in ("train", "test"):
        split = getattr(tiny_tse.dataset(), part)
        lines = ["@problemName Toy", "@timeStamps false", "@classLabel true 1 2 3", "@data"]
        for x, label in zip(split.source, split.labels, strict=True):
            values = [",".join(f"{value:.4f}" for value in column) for column in x.T]
            lines.append(":".join([*values, str(label + 1)]))
        (folder / f"Toy_{part.upper()}.ts").write_text("\n".join(lines) + "\n")
    code, out, err = call(capsys, *flags(folder, tmp_path / "out", "--layout=ts"))
    assert (code, err) == (0, "") and "DejaVid on Toy" in out
    data = json.loads((tmp_path / "out" / "settings.json").read_text())["data"]
    assert data["class_names"] == ["1", "2", "3"]
    assert report(tmp_path / "out")["runs"][0]["history"][-1]["test_top1"] >= 0.9


def test_throughput(capsys, monkeypatch):
    small = dataclasses.replace(
        specs.HMDB51, num_classes=3, num_features=5, num_frames=6, batch=4, num_train=30
    )
    monkeypatch.setitem(throughput.specs.DEJAVID, "hmdb51", small)
    code, out, err = call(capsys, "--synthetic=hmdb51", "--synthetic_steps=3")
    assert (code, err) == (0, "")
    assert re.search(r"steps timed +3\n", out) and re.search(r"steps/s +[\d.e+]+\n", out)
    assert "extrapolated" in out and "(8 steps, " in out  # 30 samples in batches of 4
    assert "1.01 (on 8 H100, " in out
    assert "1 of 1 x cpu (cpu)" in out
    assert "all on this device (a job divides --batch_size among its devices)" in out


def test_a_store_trains_as_its_folder_and_goes_on_with_its_job(tmp_path, capsys, no_pictures):
    folder, made = tiny_tse.write(tmp_path / "data"), tmp_path / "store"
    writing.write_store(index_folder.load_rows(folder), made, shard_bytes=1000)

    def losses(out_dir):
        lines = MetricsLog(out_dir / "metrics.jsonl").lines()
        return [line["loss"] for line in lines if "loss" in line]

    for data_dir, out in ((folder, "a"), (made, "b")):
        assert call(capsys, *flags(data_dir, tmp_path / out, "--epochs=2"))[0] == 0
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    code, _, err = call(capsys, *flags(made, tmp_path / "a", "--epochs=3"), "--resume")
    assert (code, err) == (0, "") and len(losses(tmp_path / "a")) == 3
    shard = next(made.glob("*.array_record"))
    shard.write_bytes(bytes(shard.stat().st_size))
    code, _, err = call(capsys, *flags(made, tmp_path / "c"))
    assert code == 2 and "not what was written" in err


def test_batches_of_similar_lengths_are_another_job(data_dir, tmp_path, capsys, no_pictures):
    arguments = flags(data_dir, tmp_path, "--epochs=2", "--length_buckets=3")
    assert call(capsys, *arguments)[0] == 0
    assert report(tmp_path)["runs"][0]["history"][-1]["loss"] > 0
    code, _, err = call(capsys, *flags(data_dir, tmp_path, "--epochs=2"), "--resume")
    assert code == 2 and "--length_buckets: was 3, now 0" in err
