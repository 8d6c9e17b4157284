import csv
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import tiny_tse
from matplotlib.image import imread

import tempalign
from experiments.dejavid import pictures
from experiments.dejavid.baselines import NAMES
from experiments.dejavid.report import comparisons, results_table, verdict, write_report
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.steps import TrainState
from experiments.dejavid.training import Snapshot, learning_rate
from experiments.shared import pictures as shared_pictures
from experiments.shared.run import Trained, surroundings
from experiments.shared.scaling import Scaling
from experiments.tse.dataset import TseDataset, TseSplit

SIZE = 200  # test sequences


def guessed(labels, accuracy, num_classes, first=0):
    """Guesses of which so many are right; those from `first` on are wrong, round the end."""
    guesses = labels.copy()
    wrong = (first + np.arange(round((1 - accuracy) * len(labels)))) % len(labels)
    guesses[wrong] = (guesses[wrong] + 1) % num_classes
    return guesses


def make_baseline(dataset, key, top1, *, parameters=None, seconds=0.25, top5=None):
    guesses = guessed(dataset.test.labels, top1, dataset.num_classes, first=100)
    return BaselineResult(NAMES[key], parameters, seconds, top1, top5, guesses.tolist())


def make_run(dataset, method, seed, curve, top5=None, seconds=10.0, val=None):
    """A run with this test accuracy after each epoch; predictions fit the last one."""
    rng = np.random.default_rng(seed)
    guesses = guessed(dataset.test.labels, curve[-1], dataset.num_classes)
    shape = (dataset.num_classes, 4, dataset.num_features)
    settings = tiny_tse.settings(epochs=len(curve))
    history = [
        {"epoch": epoch, "loss": 0.5 / epoch, "train_accuracy": 0.9, "test_top1": accuracy,
         "test_top5": top5, "learning_rate": learning_rate(settings, epoch), "seconds": 1.0}
        | ({} if val is None else {"val_top1": val[epoch - 1]})
        for epoch, accuracy in enumerate(curve, start=1)
    ]  # fmt: skip
    params = {
        "centroids": rng.normal(size=shape).astype(np.float32),
        "log_weights": 0.3 * (method != "frozen_weights") * rng.normal(size=shape),
    }
    state = Snapshot(
        TrainState(params, {}, ()),
        Scaling.identity(dataset.num_features),
        np.eye(dataset.num_classes, dtype=np.float32)[guesses],
    )
    session = {"epochs": [1, len(curve)], "seconds": seconds, **surroundings()}
    trained = Trained(f"{method}-seed{seed}", state, history, [session])
    return RunResult(method, seed, 2080, trained)


@dataclasses.dataclass
class Workspace:
    """What a report needs of one."""

    folder: pathlib.Path
    note: str = ""


def make_dataset(names=tiny_tse.CLASS_NAMES, features=4, test=SIZE, note="", val=None):
    rng = np.random.default_rng(0)

    def split(name, size):
        series = [rng.normal(size=(5, features)).astype(np.float32) for _ in range(size)]
        ids = tuple(f"{name}{k}" for k in range(size))
        return TseSplit(ids, np.arange(size) % len(names), np.full(size, 5), series)

    held_out = None if val is None else split("val", val)
    train = split("train", 2 * len(names))
    return TseDataset("made up", train, split("test", test), names, features, note, held_out)


def verdict_of(dataset, baselines, runs, **rest):
    return verdict(baselines, runs, comparisons(dataset, baselines, runs), **rest)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(note="the curves are made up.")


@pytest.fixture(scope="module")
def mean(dataset):
    return make_baseline(dataset, "mean_1nn", 0.9)


@pytest.fixture(scope="module")
def dtw(dataset):
    return make_baseline(dataset, "dtw_1nn", 0.97, seconds=12.0)


@pytest.fixture(scope="module")
def logistic(dataset):
    return make_baseline(dataset, "mean_logistic", 0.8, parameters=1234, seconds=100.4, top5=0.95)


@pytest.fixture(scope="module")
def runs(dataset):
    """Last epochs 0.80 and 0.90, best epochs 0.85 and 0.90."""
    return [
        make_run(dataset, "full", 0, [0.6, 0.85, 0.8], seconds=10.0),
        make_run(dataset, "full", 1, [0.7, 0.8, 0.9], seconds=20.0),
    ]


def test_table_has_hand_computed_means_and_sample_deviations(mean, logistic, runs):
    table = results_table([mean, logistic], runs)
    assert table.columns == (
        "method", "top-1 last", "top-1 best", "top-5", "parameters", "seconds"
    )  # fmt: skip
    assert table.rows == (
        ("temporal mean + 1-NN", "90.00", "-", "-", "-", "0.2"),
        ("temporal mean + logistic regression", "80.00", "-", "95.00", "1,234", "100"),
        # sqrt(((80-85)^2 + (90-85)^2) / 1) = 7.07, and 2.5 sqrt(2) = 3.54
        ("DejaVid full", "85.00 ± 7.07", "87.50 ± 3.54", "-", "2,080", "15.0"),
    )


def test_one_seed_has_no_spread_and_methods_keep_their_order(dataset):
    runs = [
        make_run(dataset, method, 0, [accuracy], top5=1.0)
        for method, accuracy in (("frozen_weights", 0.7), ("weights_only", 0.6), ("full", 0.8))
    ]
    rows = results_table([], runs).rows
    assert [row[:4] for row in rows] == [
        ("DejaVid frozen weights", "70.00", "70.00", "100.00"),
        ("DejaVid weights only", "60.00", "60.00", "100.00"),
        ("DejaVid full", "80.00", "80.00", "100.00"),
    ]


def test_verdict_claims_nothing_that_seeds_or_sequences_may_have_made(
    dataset, mean, logistic, runs
):
    text = verdict_of(dataset, [mean, logistic], runs)
    assert text.startswith(
        "The best head is DejaVid full (85.00 % after the last epoch, mean of 2 seeds). Against "
        "the best order-blind baseline, temporal mean + 1-NN (90.00 %): -5.00 ± 7.07 points "
        "(better with 0, worse with 1 of 2 seeds): no difference is shown, "
    )
    assert "no evidence that the order of the frames helps" in text


def test_verdict_claims_what_is_beyond_both(dataset, mean, logistic, dtw):
    sure = [make_run(dataset, "full", seed, [0.90 + 0.01 * seed]) for seed in range(3)]
    text = verdict_of(dataset, [logistic, dtw], sure)
    blind, aware = text.split("Against the best untrained alignment, 1-NN DTW (97.00 %): ")
    assert "temporal mean + logistic regression (80.00 %): +11.00 ± 1.00 points" in blind
    assert "(better with 3, worse with 0 of 3 seeds): it helps here." in blind
    assert "no evidence" not in text
    assert aware.startswith("-6.00 ± 1.00 points") and "it is worse here" in aware


def test_verdict_takes_the_last_epoch_and_the_best_method(dataset, logistic):
    runs = [
        make_run(dataset, "full", 0, [0.99, 0.5]),
        make_run(dataset, "weights_only", 0, [0.2, 0.6]),
    ]
    text = verdict_of(dataset, [logistic], runs)
    assert "DejaVid weights only (60.00 % after the last epoch)." in text
    assert "-20.00 points, of which one seed says nothing about chance" in text
    assert "no evidence" in text


def test_verdict_with_nothing_to_compare_and_with_nothing_at_all(dataset, mean, dtw):
    one = make_run(dataset, "full", 0, [0.9])
    assert "No order-blind baseline was run" in verdict_of(dataset, [dtw], [one])
    assert verdict_of(dataset, [mean], []) == "No head was trained."
    pooled = verdict_of(dataset, [mean, dtw], [one], pooled=True)
    assert "--pooling=mean the heads do not see" in pooled


def test_report_and_its_pictures(dataset, runs, mean, dtw, tmp_path):
    settings = tiny_tse.settings(seeds=(0, 1), baselines=("mean_1nn", "dtw_1nn"))
    text = write_report(Workspace(tmp_path), dataset, settings, [mean, dtw], runs)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    table = results_table([mean, dtw], runs)
    sentences = verdict_of(dataset, [mean, dtw], runs)
    assert table.to_text() in text and sentences in text
    assert table.to_markdown() in markdown and sentences in markdown
    for fact in (
        "selected on the test split itself", "sample standard deviation over 2 seeds (0, 1)",
        "The curves are made up.", "Order-blind",
    ):  # fmt: skip
        assert fact in text and fact in markdown
    for fact in (
        "6 train, 200 test sequences", "Trained on: 1 x cpu", ": 2 runs, 6 epochs, 30.0 s",
        "--num_steps=4",
    ):  # fmt: skip
        assert fact in markdown
    assert "Begun with fewer epochs" not in text

    drawn = re.findall(r"!\[[^]]+\]\(([^)/]+\.png)\)", markdown)
    assert drawn == [
        "confusion.png", "learning_curves.png", "weights.png", "alignments.png"
    ]  # fmt: skip
    for name in drawn:
        pixels = imread(tmp_path / name)
        height, width = pixels.shape[:2]
        assert 400 <= height <= 2400 and 400 <= width <= 2400
        assert pixels[..., :3].std() > 0.01  # not blank
    assert not list(tmp_path.glob("*.part"))


def test_curves_have_every_baseline_the_strongest_too(runs, mean, logistic, dtw):
    with shared_pictures.style():
        figure, picture = pictures._learning_curves([mean, logistic, dtw], runs)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["DejaVid full", mean.name, logistic.name, dtw.name]
    accuracy = figure.axes[1]
    levels = {line.get_ydata()[0] for line in accuracy.lines if len(set(line.get_ydata())) == 1}
    assert levels == {90.0, 80.0, 97.0}
    low, high = accuracy.get_ylim()
    assert low < 80 and high > 97  # all are in view
    assert "Level lines: the baselines." in picture.caption


def test_the_report_says_what_the_best_epoch_is_picked_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "drawings", lambda *_: [])
    dataset = make_dataset(val=6)
    run = make_run(dataset, "full", 0, [0.9, 0.7, 0.8], val=[0.5, 0.75, 0.5])
    text = write_report(Workspace(tmp_path), dataset, tiny_tse.settings(), [], [run])
    assert "best: the epoch of each run that is best on the validation split." in text
    assert "selected on the test split" not in text
    assert "6 train, 6 val, 200 test sequences" in (tmp_path / "report.md").read_text()
    assert results_table([], [run]).rows[0][1:3] == ("80.00", "70.00")
    (saved,) = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert (saved["best_epoch"], saved["picked_on"]) == (2, "val_top1")


def test_runs_that_were_begun_with_fewer_epochs_are_named(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "drawings", lambda *_: [])
    settings = tiny_tse.settings(epochs=3)
    runs = [make_run(dataset, "full", seed, [0.5, 0.6, 0.7]) for seed in (0, 1)]
    begun_with_two = tiny_tse.settings(epochs=2)
    for entry in runs[0].history[:2]:
        entry["learning_rate"] = learning_rate(begun_with_two, entry["epoch"])
    text = write_report(Workspace(tmp_path), dataset, settings, [], runs)
    assert "fewer epochs than --epochs=3, and gone on with: full-seed0. Their" in text


def test_report_json_has_the_raw_numbers(dataset, runs, mean, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "drawings", lambda *_: [])
    write_report(Workspace(tmp_path), dataset, tiny_tse.settings(seeds=(0, 1)), [mean], runs)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["baselines"] == [dataclasses.asdict(mean)]
    assert [run["seed"] for run in values["runs"]] == [0, 1]
    assert values["runs"][0]["history"] == runs[0].history
    assert values["settings"]["num_steps"] == 4
    by_class = values["classification"]["full-seed0"]["by_class"]
    assert [one["name"] for one in by_class] == list(tiny_tse.CLASS_NAMES)
    assert sum(one["count"] * one["accuracy"] for one in by_class) == pytest.approx(0.8 * SIZE)
    (difference,) = values["differences"].values()
    assert difference["differences"] == pytest.approx([-0.1, 0.0])
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "label", mean.name, "full-seed0", "full-seed1"]
    assert len(rows) == SIZE and rows[1]["label"] == tiny_tse.CLASS_NAMES[1]
    assert sum(row["full-seed1"] == row["label"] for row in rows) == 180


def test_report_without_runs_or_weights_or_alignment(dataset, mean, tmp_path):
    write_report(Workspace(tmp_path), dataset, tiny_tse.settings(), [mean], [])
    assert not list(tmp_path.glob("*.png"))
    frozen = make_run(dataset, "frozen_weights", 0, [1.0])  # and no errors to show
    settings = tiny_tse.settings(pooling="mean", epochs=1)
    write_report(Workspace(tmp_path), dataset, settings, [mean], [frozen])
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "confusion.png", "learning_curves.png"
    }  # fmt: skip
    assert "0 errors in 200 test items." in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_names_of_classes_are_never_parsed(tmp_path, capfd):
    """They killed the report after all training, and each resume after that."""
    names = (r"$\foo$", "走路", "_^{", "a name that goes on " * 4)
    dataset = make_dataset(names, test=8)
    run = make_run(dataset, "full", 0, [0.5])
    text = write_report(Workspace(tmp_path), dataset, tiny_tse.settings(epochs=1), [], [run])
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert values["pictures_failed"] == [] and len(values["pictures"]) == 4
    assert [one["name"] for one in values["classification"]["full-seed0"]["by_class"]] == [*names]
    assert "走路" in text and r"$\foo$" in text
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("diagonal", [False, True])
def test_drawn_path_adds_up_to_the_distance_of_the_head(diagonal):
    rng = np.random.default_rng(0)
    x, centroid = (rng.normal(size=(t, 3)).astype(np.float32) for t in (7, 4))
    weight = np.exp(rng.normal(size=(4, 3))).astype(np.float32)
    cost = pictures.weighted_cost(x, centroid, weight)
    path = np.asarray(pictures.path_through(np.pad(cost, ((0, 0), (0, 3))), 7, diagonal))[:, :7]
    distance = tempalign.weighted_dtw(x, centroid, weight, diagonal=diagonal)
    np.testing.assert_allclose(np.sum(path * cost), distance, rtol=1e-5)


@pytest.mark.slow
def test_many_classes_and_features_are_summed_up(tmp_path):
    names = tuple(f"a class with quite a long name {k}" for k in range(30))
    dataset = make_dataset(names, features=70, test=60)
    run = make_run(dataset, "full", 0, [0.9], top5=0.9)
    write_report(Workspace(tmp_path), dataset, tiny_tse.settings(), [], [run])
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "The 10 of 30 classes that moved most are shown." in markdown
    assert "Of 70 features, those 64 that moved most" in markdown
    assert "taken for" in markdown
