"""The job on tiny data: what it leaves and says; resumption bit for bit; settings."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_episodes

from experiments.few_shot import job, pictures, training
from experiments.few_shot.results import Score, Scores
from experiments.few_shot.settings import Settings
from experiments.shared import options
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.errors import UserError
from experiments.shared.run import Trained

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"
WHOLE = {"train_through": ("tam", "order_blind"), "gammas": (0.1, 1.0), "seeds": (0, 1)}
RUNS = [
    f"{name}-seed{seed}"
    for seed in (0, 1)
    for name in ("tam-gamma0.1", "tam-gamma1", "order_blind-gamma0.1")
]


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
    return out_dir, job.run(settings(folder, out_dir, **WHOLE))


@pytest.fixture
def without_pictures(monkeypatch):
    """Most of the time of a tiny job is for them."""
    monkeypatch.setattr(pictures, "drawings", lambda *_: [])


def arrays(out_dir, run):
    with Checkpoints(out_dir / "checkpoints" / run) as checkpoints:
        _, found, record = checkpoints.newest()
        return found, record


def read_report(out_dir):
    return json.loads((out_dir / "report.json").read_text())


def read_lines(out_dir, event):
    lines = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_what_a_job_leaves(finished):
    out_dir, text = finished
    report, markdown = read_report(out_dir), (out_dir / "report.md").read_text()
    assert report["pictures_failed"] == []
    for name in (
        "matching.png", "gamma.png", "learning_curves.png", "confusion.png", "confusion_2.png",
        "alignments.png",
    ):  # fmt: skip
        assert (out_dir / name).stat().st_size > 1000 and name in markdown
    for heading in (
        "2-way 1-shot", "2-way 2-shot", "Temperature of the soft minimum", "Trainings",
        "Differences in percentage points", "Accuracy by class", "Trained on",
    ):  # fmt: skip
        assert heading in markdown
    assert {run["through"] for run in report["runs"]} == {"tam", "order_blind"}
    # No encoder: order_blind, 3 matchings, tam at the other gamma; each trained: 4; sweep: 1.
    assert len(report["scores"]) == 2 * (5 + 2 * (4 + 4 + 1))
    for score in report["scores"]:
        assert 0 <= score["accuracy"] <= 1 and score["interval"] >= 0
    assert "blind to the order" in report["verdict"]
    for name, one in report["comparisons"].items():
        assert name.startswith(("1-shot: tam (trained through tam) minus ", "2-shot: tam"))
        assert len(one["differences"]) == 2 and one["unit"] == "query samples"
    assert len(read_lines(out_dir, "evaluation")) == 2 + len(RUNS)
    epochs = read_lines(out_dir, "epoch")
    assert len(epochs) == 3 * len(RUNS) and all("val_accuracy" in line for line in epochs)


def test_every_test_sample_has_its_answers(finished):
    out_dir, _ = finished
    with open(out_dir / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 and {row["label"] for row in rows} == {"fall", "dip"}
    scores = read_report(out_dir)["scores"]
    (tam,) = (
        score
        for score in scores
        if (score["through"], score["trained_gamma"], score["seed"], score["matching"])
        == ("tam", 0.1, 1, "tam")
        and score["shots"] == 2
    )
    right = sum(int(row["tam-gamma0.1-seed1 tam gamma 0.1 2-shot right"]) for row in rows)
    asked = sum(int(row["queries"]) for row in rows)
    assert asked == 2 * 40 and right / asked == pytest.approx(tam["accuracy"], abs=1e-6)


def test_the_best_epoch_on_meta_validation_is_used(finished):
    out_dir, _ = finished
    for run in RUNS:
        found, record = arrays(out_dir, run)
        accuracies = [entry["val_accuracy"] for entry in record["history"]]
        assert found["best_epoch"] == 1 + int(np.argmax(accuracies))
        assert found["best_accuracy"] == max(accuracies)
    assert found["best.encoder.kernel"].shape == (4, 3)


def test_without_meta_validation_the_last_epoch_is_used(folder, tmp_path, without_pictures):
    path = tmp_path / "splits.csv"
    splits = {"rise": "train", "hump": "train", "fall": "test", "dip": "test"}
    tiny_episodes.write_splits(path, splits)
    job.run(settings(folder, tmp_path / "out", shots=(1,), class_splits=str(path)))
    found, _ = arrays(tmp_path / "out", "tam-gamma0.1-seed0")
    assert found["best_epoch"] == 3
    np.testing.assert_array_equal(
        found["best.encoder.kernel"], found["state.params.encoder.kernel"]
    )
    notes = " ".join(read_report(tmp_path / "out")["notes"])
    assert "used is the last epoch (there are no meta-validation classes" in notes


def same_as(finished, out_dir):
    whole, _ = finished
    for run in RUNS:
        expected, found = arrays(whole, run)[0], arrays(out_dir, run)[0]
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{run} {name}")
    assert by_name(whole) == by_name(out_dir)


def by_name(out_dir):
    scores = read_report(out_dir)["scores"]
    return sorted(map(tuple, (score.values() for score in scores)))


def test_interrupted_job_goes_on_bit_for_bit(
    folder, finished, tmp_path, monkeypatch, without_pictures
):
    save, saved = Checkpoints.save, []

    def save_and_stop(self, step, *args):
        save(self, step, *args)
        saved.append(step)
        if len(saved) == 5:  # the second epoch of the second training
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save_and_stop)
        job.run(settings(folder, tmp_path, **WHOLE))
    assert saved == [1, 2, 3, 1, 2]
    assert len(read_lines(tmp_path, "evaluation")) == 3  # each logged when it ended
    with pytest.raises(UserError, match="already holds a job.*--resume"):
        job.run(settings(folder, tmp_path, **WHOLE))
    with pytest.raises(UserError, match="--way: was 2, now 3"):
        job.run(tiny_episodes.settings(folder, out_dir=str(tmp_path), resume=True))
    job.run(settings(folder, tmp_path, resume=True, **WHOLE))
    same_as(finished, tmp_path)

    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(training, "train_epoch", never)
    monkeypatch.setattr(job.evaluation, "evaluate", never)
    again = job.run(settings(folder, tmp_path, resume=True, **WHOLE))
    without_seconds = [re.sub(r"\d+\.\d\n", "", report).split() for report in (finished[1], again)]
    assert without_seconds[0] == without_seconds[1]


@pytest.mark.slow
def test_a_job_grows_by_seeds_matchings_and_temperatures(
    folder, finished, tmp_path, without_pictures
):
    job.run(settings(folder, tmp_path))
    # The first temperature is that of the results, whatever comes first now.
    more = {"train_through": ("order_blind",), "gammas": (1.0, 0.1), "seeds": (1,)}
    job.run(settings(folder, tmp_path, resume=True, **more))
    same_as(finished, tmp_path)
    assert len(read_lines(tmp_path, "evaluation")) == 2 + len(RUNS)


def test_a_job_grows_by_epochs(folder, tmp_path, without_pictures):
    job.run(settings(folder, tmp_path, shots=(1,), epochs=1))
    job.run(settings(folder, tmp_path, shots=(1,), epochs=2, resume=True))
    (run,) = read_report(tmp_path)["runs"]
    assert [entry["epoch"] for entry in run["history"]] == [1, 2]
    assert len(read_lines(tmp_path, "evaluation")) == 3  # features once, the encoder twice
    with pytest.raises(UserError, match="--epochs: was 2, now 1"):
        job.run(settings(folder, tmp_path, shots=(1,), epochs=1, resume=True))


def test_other_data_is_refused(tmp_path, without_pictures):
    folder = tiny_episodes.write(tmp_path / "data")
    changes = {"encoder": "none", "shots": (1,), "matchings": ("min",)}
    out_dir = tmp_path / "out"
    job.run(tiny_episodes.settings(folder, out_dir=str(out_dir), **changes))
    np.save(folder / "dip3.npy", -np.load(folder / "dip3.npy"))
    with pytest.raises(UserError, match="other data"):
        job.run(tiny_episodes.settings(folder, out_dir=str(out_dir), resume=True, **changes))


@pytest.mark.slow
def test_class_names_are_never_parsed(tmp_path):
    folder = tiny_episodes.write(tmp_path / "data")
    text = (folder / "index.csv").read_text().replace(",dip,", ",$\\foo$,")
    (folder / "index.csv").write_text(text.replace(",fall,", ",_fall,"))
    names = {"dip": "$\\foo$", "fall": "_fall"}
    splits = {names.get(name, name): split for name, split in tiny_episodes.SPLITS.items()}
    tiny_episodes.write_splits(folder / "class_splits.csv", splits)
    changes = {"shots": (1,), "encoder": "none", "matchings": ("tam",)}
    job.run(tiny_episodes.settings(folder, out_dir=str(tmp_path / "out"), **changes))
    report = read_report(tmp_path / "out")
    assert report["pictures_failed"] == [] and len(report["pictures"]) == 3


def test_each_matching_has_a_panel_for_its_loss(finished):
    entries = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]

    def result(through, gamma):
        source = training.Source(through, gamma, 0)
        return pictures.RunResult(source, 1, training_of(source.name, entries), None, None)

    figure, _ = pictures._learning_curves(
        [result("tam", 0.1), result("tam", 1.0), result("mean", 0.1), result("order_blind", 0.1)]
    )
    shown = {ax.get_title(): len(ax.lines) for ax in figure.axes if ax.get_visible()}
    assert shown == {
        "trained through tam": 2, "trained through mean": 1, "trained through order_blind": 1
    }  # fmt: skip


def training_of(name, history):
    return Trained(name, None, history, [])


def score(right, *, through="tam", seed=0, asked=10):
    accuracy = sum(right) / (len(right) * asked)
    gamma = 0.1 if through else 0.0
    return Score(through, gamma, seed, "tam", 0.1, 1, accuracy, 0.0, right, [[sum(right)]])


def test_a_difference_is_claimed_only_over_seeds_and_samples():
    """Thirty samples, each asked ten times: what ten questions say about one sample counts once."""
    scores = Scores((), np.full(30, 10))
    blind = [score([5] * 30, through="", seed=-1)]
    better = [score([7 + seed % 2] * 30, seed=seed) for seed in range(4)]
    found = scores.compare(better, blind)
    assert found.effect == "helps" and found.num_units == 30
    np.testing.assert_allclose(found.differences, [0.2, 0.3, 0.2, 0.3])
    # All of the gain is in two samples of thirty: with others it might not be there.
    few = [score([10, 10, *[5] * 28], seed=seed) for seed in range(4)]
    assert scores.compare(few, blind).effect is None
    # One seed says nothing about chance.
    assert scores.compare(better[:1], blind).effect is None


def test_features_alone_are_evaluated_without_training(folder, tmp_path, without_pictures):
    text = job.run(settings(folder, tmp_path, encoder="none", shots=(1,), matchings=("tam",)))
    assert "untrained features" in text and "Trainings" not in text
    assert not (tmp_path / "checkpoints").exists()


def test_a_loss_that_is_not_finite_is_an_error(folder, tmp_path):
    said = "epoch 1, batch 2 of 2: the loss is not finite.*smaller --learning_rate, in another"
    with pytest.raises(UserError, match=f"(?s)seed0: {said}"):
        job.run(settings(folder, tmp_path, learning_rate=1e38, shots=(1,)))
    assert not list((tmp_path / "checkpoints").glob("*/[0-9]*"))


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


def test_flagfile_of_the_paper_from_frames():
    found = options.parse(
        Settings, ["few_shot", f"--flagfile={FLAGS / 'few_shot_frames.txt'}", "--videos=v.csv"]
    )
    assert (found.way, found.shots, found.queries, found.episodes) == (5, (1, 5), 1, 10_000)
    assert found.num_segments == 8 and found.train_crop == "random" and not found.flip
    assert found.train_trunk == "all" and found.encoder == "none" and found.trains_trunk


def test_former_words_are_read(capsys):
    found = options.parse(Settings, ["few_shot", "--layout=spoken_digits", "--center=sequence"])
    assert found.center == "mean" and "--center=mean" in capsys.readouterr().err


def test_flagfile_of_the_demo_needs_no_data():
    found = options.parse(Settings, ["few_shot", f"--flagfile={FLAGS / 'few_shot_demo.txt'}"])
    assert found.layout == "spoken_digits" and found.episodes == 10_000
    assert len(found.seeds) >= 3 and len(found.gammas) == 5


def test_settings_that_cannot_change_the_result():
    others = {field.name for field in dataclasses.fields(Settings)} - set(Settings.result_names())
    assert others == {
        "data_dir", "class_splits", "out_dir", "resume", "keep_checkpoints", "eval_batch",
        "distance_table", "num_threads", "traceback", "outside_paths", "predict",
        "predict_support", "predict_method", "predict_seed", "predict_pictures", "video_encoder",
        "video_encoder_weights", "allow_pickle", "videos", "trunk_weights", "cache_mb",
        "max_pixels", "videos_at_once",
        "seeds", "train_through", "gammas", "epochs",  # by these a job grows
    }  # fmt: skip
