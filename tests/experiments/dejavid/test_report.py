import dataclasses
import json
import re

import numpy as np
import pytest
import tiny_tse
from matplotlib.image import imread

import tempalign
from experiments.dejavid import pictures
from experiments.dejavid.baselines import NAMES
from experiments.dejavid.report import results_table, verdict, write_report
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.shared.tables import Table
from experiments.tse.dataset import TseDataset, TseSplit

MEAN = BaselineResult(NAMES["mean_1nn"], None, 0.25, 0.9, None)
LOGISTIC = BaselineResult(NAMES["mean_logistic"], 1234, 100.4, 0.8, 0.95)
DTW = BaselineResult(NAMES["dtw_1nn"], None, 12.0, 0.97, None)


def make_run(dataset, variant, seed, curve, top5=None, seconds=10.0, loss=0.5):
    """A run with this test accuracy after each epoch; predictions fit the last one."""
    rng = np.random.default_rng(seed)
    labels = dataset.test.labels
    logits = np.eye(dataset.num_classes, dtype=np.float32)[labels]
    wrong = round((1 - curve[-1]) * len(labels))
    logits[:wrong] = np.roll(logits[:wrong], 1, axis=1)
    shape = (dataset.num_classes, 4, dataset.num_features)
    history = [
        {"epoch": epoch, "loss": loss / epoch, "train_accuracy": 0.9, "test_top1": accuracy,
         "test_top5": top5, "learning_rate": 0.1, "seconds": 1.0}
        for epoch, accuracy in enumerate(curve, start=1)
    ]  # fmt: skip
    return RunResult(
        variant=variant,
        seed=seed,
        num_parameters=2080,
        seconds=seconds,
        history=history,
        best_epoch=int(np.argmax(curve)) + 1,
        test_logits=logits,
        centroids=rng.normal(size=shape).astype(np.float32),
        log_weights=0.3 * (variant != "frozen_weights") * rng.normal(size=shape),
        feature_mean=np.zeros(dataset.num_features),
        feature_std=np.ones(dataset.num_features),
    )


@pytest.fixture(scope="module")
def dataset():
    return dataclasses.replace(tiny_tse.dataset(), note="the curves are made up.")


@pytest.fixture(scope="module")
def runs(dataset):
    """Last epochs 0.80 and 0.90, best epochs 0.85 and 0.90."""
    return [
        make_run(dataset, "full", 0, [0.6, 0.85, 0.8], seconds=10.0),
        make_run(dataset, "full", 1, [0.7, 0.8, 0.9], seconds=20.0),
    ]


def test_table_has_hand_computed_means_and_sample_deviations(runs):
    table = results_table([MEAN, LOGISTIC], runs)
    assert table.columns == (
        "method", "top-1 last", "top-1 best", "top-5", "parameters", "seconds"
    )  # fmt: skip
    assert table.rows == (
        ("temporal mean + 1-NN", "90.00", "-", "-", "-", "0.2"),
        ("temporal mean + logistic regression", "80.00", "-", "95.00", "1,234", "100"),
        # sqrt(((80-85)^2 + (90-85)^2) / 1) = 7.07, and 2.5 sqrt(2) = 3.54
        ("DejaVid full", "85.00 ± 7.07", "87.50 ± 3.54", "-", "2,080", "15.0"),
    )


def test_one_seed_has_no_spread_and_variants_keep_their_order(dataset):
    runs = [
        make_run(dataset, variant, 0, [accuracy], top5=1.0)
        for variant, accuracy in (("frozen_weights", 0.7), ("weights_only", 0.6), ("full", 0.8))
    ]
    rows = results_table([], runs).rows
    assert [row[:4] for row in rows] == [
        ("DejaVid frozen weights", "70.00", "70.00", "100.00"),
        ("DejaVid weights only", "60.00", "60.00", "100.00"),
        ("DejaVid full", "80.00", "80.00", "100.00"),
    ]


def test_verdict_below_the_order_blind_baseline(runs):
    text = verdict([MEAN, LOGISTIC], runs)
    assert text.startswith(
        "The best head, DejaVid full (85.00 % after the last epoch, mean of 2 seeds), is 5.00 "
        "points below the best order-blind baseline, temporal mean + 1-NN (90.00 %)."
    )
    assert "no evidence that the order of the frames helps" in text


def test_verdict_above_it_and_against_untrained_alignment(runs):
    text = verdict([LOGISTIC, DTW], runs)
    assert "is 5.00 points above the best order-blind baseline, temporal mean + logistic" in text
    assert "no evidence" not in text
    assert text.endswith("12.00 points below the best untrained alignment, 1-NN DTW (97.00 %).")


def test_verdict_takes_the_last_epoch_and_the_best_variant(dataset):
    runs = [
        make_run(dataset, "full", 0, [0.99, 0.5]),
        make_run(dataset, "weights_only", 0, [0.2, 0.6]),
    ]
    text = verdict([LOGISTIC], runs)
    assert "DejaVid weights only (60.00 % after the last epoch), is 20.00 points below" in text


def test_verdict_on_a_tie_with_nothing_to_compare_and_with_nothing_at_all(dataset):
    tie = make_run(dataset, "full", 0, [0.9])
    assert "is level with the best order-blind baseline" in verdict([MEAN], [tie])
    assert "no evidence" in verdict([MEAN], [tie])
    assert "No order-blind baseline was run" in verdict([DTW], [tie])
    assert verdict([MEAN], []) == "No head was trained."


def test_verdict_says_that_pooled_heads_are_order_blind_too(runs):
    assert "--pooling=mean the heads do not see" in verdict([LOGISTIC, DTW], runs, pooled=True)


def test_report_and_its_pictures(dataset, runs, tmp_path):
    settings = tiny_tse.settings(seeds=(0, 1), baselines=("mean_1nn", "dtw_1nn"))
    text = write_report(tmp_path, dataset, settings, [MEAN, DTW], runs)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    table, sentences = results_table([MEAN, DTW], runs), verdict([MEAN, DTW], runs)
    assert table.to_text() in text and sentences in text
    assert table.to_markdown() in markdown and sentences in markdown
    for fact in (
        "selected on the test split", "sample standard deviation over 2 seeds (0, 1)",
        "The curves are made up.", "Order-blind",
    ):  # fmt: skip
        assert fact in text and fact in markdown
    for fact in ("60 training and 21 test sequences", "tempalign", "flax", "--num_steps=4"):
        assert fact in markdown

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


def test_report_json_has_the_raw_numbers(dataset, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "draw_all", lambda *_: [])
    write_report(tmp_path, dataset, tiny_tse.settings(seeds=(0, 1)), [MEAN], runs)
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["baselines"] == [dataclasses.asdict(MEAN)]
    assert [run["seed"] for run in values["runs"]] == [0, 1]
    assert values["runs"][0]["history"] == runs[0].history
    assert values["settings"]["num_steps"] == 4


def test_numbers_that_json_does_not_have_become_null(dataset, tmp_path):
    run = make_run(dataset, "full", 0, [0.5], loss=float("nan"))
    write_report(tmp_path, dataset, tiny_tse.settings(pooling="mean"), [], [run])
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["runs"][0]["history"][0]["loss"] is None


def test_report_without_runs_or_weights_or_alignment(dataset, tmp_path):
    write_report(tmp_path, dataset, tiny_tse.settings(), [MEAN], [])
    assert not list(tmp_path.glob("*.png"))
    frozen = make_run(dataset, "frozen_weights", 0, [1.0])  # and no errors to show
    write_report(tmp_path, dataset, tiny_tse.settings(pooling="mean"), [MEAN], [frozen])
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "confusion.png", "learning_curves.png"
    }  # fmt: skip
    assert "There are no errors." in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("diagonal", [False, True])
def test_drawn_path_adds_up_to_the_distance_of_the_head(diagonal):
    rng = np.random.default_rng(0)
    x, centroid = (rng.normal(size=(t, 3)).astype(np.float32) for t in (7, 4))
    weight = np.exp(rng.normal(size=(4, 3))).astype(np.float32)
    cost = pictures.weighted_cost(x, centroid, weight)
    path = np.asarray(pictures._path(np.pad(cost, ((0, 0), (0, 3))), 7, diagonal))[:, :7]
    distance = tempalign.weighted_dtw(x, centroid, weight, diagonal=diagonal)
    np.testing.assert_allclose(np.sum(path * cost), distance, rtol=1e-5)


def test_many_classes_and_features_are_summed_up(tmp_path):
    classes, features = 30, 70
    rng = np.random.default_rng(0)

    def split(name):
        series = [rng.normal(size=(5, features)).astype(np.float32) for _ in range(classes)]
        ids = tuple(f"{name}{k}" for k in range(classes))
        return TseSplit(ids, np.arange(classes), np.full(classes, 5), series)

    names = tuple(f"a class with quite a long name {k}" for k in range(classes))
    dataset = TseDataset("many", split("train"), split("test"), names, features)
    run = make_run(dataset, "full", 0, [0.9], top5=0.9)
    write_report(tmp_path, dataset, tiny_tse.settings(), [], [run])
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "The 10 of 30 classes that moved most are shown." in markdown
    assert "Of 70 features, those 64 that moved most" in markdown
    assert "taken for" in markdown


def test_folder_that_is_not_there_is_an_os_error(dataset, runs, tmp_path):
    with pytest.raises(OSError):
        write_report(tmp_path / "missing", dataset, tiny_tse.settings(), [MEAN], runs)


def test_table_renders_for_terminal_and_markdown():
    table = Table(("name", "x"), (("a|b", "1.5"), ("long name", "10")))
    assert table.to_text() == (
        "name         x\n"
        "---------  ---\n"
        "a|b        1.5\n"
        "long name   10"
    )  # fmt: skip
    assert table.to_markdown() == (
        "| name      |   x |\n| --------- | --: |\n| a\\|b      | 1.5 |\n| long name |  10 |"
    )


def test_table_without_rows_renders_and_a_ragged_one_is_refused():
    assert Table(("a", "b"), ()).to_text() == "a  b\n-  -"
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells"):
        Table(("a", "b"), (("1", "2"), ("3",)))
