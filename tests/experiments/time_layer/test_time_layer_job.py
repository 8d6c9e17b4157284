"""The job on tiny videos: end to end, resumed, grown, refused; and what it predicts."""

import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_clips
from flax import nnx

from experiments.shared import options
from experiments.shared.errors import UserError
from experiments.shared.metrics_log import MetricsLog
from experiments.time_layer import job, training
from experiments.time_layer.dataset import Batch, load
from experiments.time_layer.models import make_classifier
from experiments.time_layer.settings import Settings

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"
NAME = r"$\foo$ 明"  # no formula, and no picture must fail for it
FEW = {"grids": (2,), "arrangements": ("spatial",), "baselines": ("single_frame",)}


@nnx.jit
def scored(classifier, images):
    return classifier(images)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of videos with a validation split, whose job is in out/, and what it printed."""
    folder = tiny_clips.write_folder(tmp_path_factory.mktemp("videos"), num_val=2)
    index = folder / "videos.csv"
    index.write_text(index.read_text().replace("brighter", NAME), encoding="utf-8")
    return folder, job.run(tiny_clips.settings(folder, **FEW, chosen_on="other videos"))


def report_of(out):
    return json.loads((out / "report.json").read_text())


def results(out):
    """What a job found, without the times."""
    return [
        (run["method"], run["seed"], [{k: e[k] for k in e if "seconds" not in k} for e in history])
        for run in report_of(out)["runs"]
        for history in [run["history"]]
    ]


def test_end_to_end(finished):
    folder, shown = finished
    out = folder / "out"
    for text in ("single frame", "TIME N=2, spatial", "highest accuracy on the validation split"):
        assert text in shown
    assert "On what the settings were chosen: other videos." in shown
    for file in ("report.md", "grids.png", "accuracy.png", "learning_curves.png", "confusion.png"):
        assert (out / file).stat().st_size > 0
    report = report_of(out)
    assert report["pictures_failed"] == []
    assert [run["method"]["name"] for run in report["runs"]] == [
        "single frame",
        "TIME N=2, spatial",
    ]
    assert set(report["comparisons"]) == {"TIME N=2, spatial"}
    for run in report["runs"]:
        assert [entry["epoch"] for entry in run["history"]] == [1, 2]
        for entry in run["history"]:
            assert 0 <= entry["val_accuracy"] <= 1 and entry["temp_bytes"] >= 0
            assert entry["step_seconds"] > 0 and entry["planned_epochs"] == 2
        assert run["classification"]["accuracy"] == run["history"][-1]["test_accuracy"]
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["test0.mkv", "test1.mkv", "test2.mkv"]
    right = [row["TIME_N2_spatial-seed0"] == row["label"] for row in rows]
    assert np.mean(right) == report["runs"][1]["history"][-1]["test_accuracy"]


def test_a_killed_job_ends_as_one_that_was_not(finished, tmp_path, monkeypatch):
    folder = finished[0]
    given = {**FEW, "out_dir": str(tmp_path / "out")}
    write, epochs = MetricsLog.write, []

    def stop(self, event, **values):
        epochs.extend([event] * (event == "epoch"))
        if len(epochs) == 3:  # the first of the second run, which is saved by then
            raise KeyboardInterrupt
        write(self, event, **values)

    monkeypatch.setattr(MetricsLog, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        job.run(tiny_clips.settings(folder, **given))
    monkeypatch.setattr(MetricsLog, "write", write)
    with pytest.raises(UserError, match="already holds a job"):
        job.run(tiny_clips.settings(folder, **given))
    with pytest.raises(UserError, match=r"--learning_rate: was 0.002, now 0.1"):
        job.run(tiny_clips.settings(folder, **given, learning_rate=0.1, resume=True))
    job.run(tiny_clips.settings(folder, **given, resume=True))
    assert results(tmp_path / "out") == results(folder / "out")


def test_a_job_grows_but_not_over_changed_videos(tmp_path):
    folder = tiny_clips.write_folder(tmp_path)
    few = FEW | {"epochs": 1, "baselines": ()}
    shown = job.run(tiny_clips.settings(folder, **few))
    assert "not told (--chosen_on)" in shown and "on the test videos themselves" in shown
    more = few | {"seeds": (1,), "epochs": 2, "resume": True}
    shown = job.run(tiny_clips.settings(folder, **more))
    found = report_of(folder / "out")["runs"]
    assert [(run["seed"], len(run["history"])) for run in found] == [(0, 2), (1, 2)]
    assert "Epochs were planned as 1 and 2" in shown
    # The list is as it was, a video is not.
    (folder / "train0.mkv").write_bytes((folder / "train2.mkv").read_bytes())
    with pytest.raises(UserError, match="data content: was"):
        job.run(tiny_clips.settings(folder, **more))


def test_a_start_that_fails_leaves_the_folder_free(tmp_path):
    folder = tiny_clips.write_folder(tmp_path)
    content = (folder / "test1.mkv").read_bytes()
    (folder / "test1.mkv").write_text("not a video")
    with pytest.raises(UserError, match="cannot be decoded"):
        job.run(tiny_clips.settings(folder, **FEW))
    (folder / "test1.mkv").write_bytes(content)
    job.run(tiny_clips.settings(folder, **FEW | {"epochs": 1, "baselines": ()}))


def test_a_loss_that_is_not_finite_names_its_batch(tmp_path, monkeypatch):
    settings = tiny_clips.settings(tiny_clips.write_folder(tmp_path), **FEW)
    losses = iter([1.0, np.nan])

    def step(state, batch):
        return state, np.array([next(losses), 0, 4])

    monkeypatch.setattr(training, "_compiled", lambda *_: (step, 0))
    with pytest.raises(UserError, match="seed0: epoch 1, batch 2 of 2: the loss is not finite"):
        job.run(settings)
    assert not list((tmp_path / "out" / "checkpoints").glob("*/[0-9]*"))


def test_predictions_are_those_of_the_report(finished):
    folder = finished[0]
    listed = folder / "listed.csv"
    listed.write_text("path\n" + "".join(f"test{k}.mkv\n" for k in range(3)))
    with open(folder / "out" / "predictions.csv", newline="") as file:
        reported = list(csv.DictReader(file))
    for method, name in (("", "predicted.csv"), ("single_frame", "predicted-2.csv")):
        given = {"out_dir": str(folder / "out"), "predict_method": method}
        run = method or "TIME_N2_spatial"
        shown = job.run(Settings(**given, predict=str(folder / "test1.mkv")))
        assert f"4 frames, by {run} seed 0, epoch 2" in shown
        shown = job.run(Settings(**given, predict=str(listed)))
        assert str(folder / "out" / name) in shown
        with open(folder / "out" / name, newline="") as file:
            found = [row["class"] for row in csv.DictReader(file)]
        assert found == [row[f"{run}-seed0"] for row in reported]


def test_what_cannot_be_predicted_is_named(finished, tmp_path):
    out = str(finished[0] / "out")
    (tmp_path / "bad.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"bad.mp4: cannot be decoded"):
        job.run(Settings(out_dir=out, predict=str(tmp_path)))
    with pytest.raises(UserError, match="trained were single_frame seed 0, TIME_N2_spatial seed 0"):
        job.run(Settings(out_dir=out, predict=str(tmp_path), predict_method="TIME_N4_spatial"))


def test_loss_and_accuracy_are_means_over_videos(tmp_path):
    # Six videos in batches of four: the two of the last batch counted twice as much before.
    folder = tiny_clips.write_folder(tmp_path)
    settings = tiny_clips.settings(folder, learning_rate=1e-12, epochs=1)
    data = load(settings)
    method = training.methods(settings)[-1]
    run = training.TimeLayerRun(data, settings, method, seed=0)
    start = run.start()
    shown = []
    _, entry = run.epoch(jax.tree.map(np.asarray, start), 1, shown.append)
    assert run.steps == 9 and sum(shown) == 4 + 4 + 4  # training and test, in whole batches
    videos = [data.train.read(row) for row in range(6)]
    padded = np.stack([np.pad(v, ((0, 5 - len(v)), (0, 0), (0, 0), (0, 0))) for v in videos])
    lengths = np.array([len(v) for v in videos], np.int32)
    batch = Batch(padded, lengths, data.train.labels, np.ones(6, np.float32))
    scores = np.asarray(
        training.score_step(run._spec, start.state.params, start.state.frozen, batch), np.float64
    )
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    losses = -np.log(chances[np.arange(6), data.train.labels])
    assert entry["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert entry["train_accuracy"] == np.mean(scores.argmax(1) == data.train.labels)


def test_methods():
    def names(**given):
        made = Settings(layout="camera", **given)
        return [method.name for method in training.methods(made)]

    assert names(grids=(1, 2)) == [
        "single frame",
        "frame average",
        "TIME N=1",
        "TIME N=2, spatial",
        "TIME N=2, temporal",
    ]
    # With one grid the two arrangements are the same.
    assert names(grids=(2,), num_frames=1, baselines=("single_frame",)) == [
        "single frame",
        "TIME N=2, spatial",
    ]


@pytest.mark.parametrize(("model", "channels"), [("resnet", "rgb"), ("vit", "luminance")])
def test_classifiers(model, channels):
    made = Settings(layout="camera", model=model, input=channels, side=16, width=4)
    classifier = make_classifier(made, 5, seed=0)
    images = jnp.ones((2, 16, 16, made.channels)) * jnp.arange(16.0)[None, None, :, None]
    scores = scored(classifier, images)
    assert scores.shape == (2, 5) and jnp.isfinite(scores).all()
    # The brightness of the whole picture says nothing.
    assert jnp.allclose(scored(classifier, images + 50), scores, atol=1e-4)
    again = scored(make_classifier(made, 5, seed=0), images)
    assert jax.numpy.array_equal(scores, again)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layout": "videos"}, "--data_dir: needed with --layout=videos"),
        ({"source_frames": 8}, "--source_frames=8: must be odd"),
        ({"warmup": 1.0}, "--warmup=1.0: must be less than 1"),
        ({"grids": (3,)}, "--side=32: must be divisible by .* got 3"),
        ({"seeds": ()}, "must each name at least one"),
        ({"model": "mlp"}, "--model"),
        ({"num_frames": 5000}, "--num_frames=5000: times N.2 must be at most 46340"),
        ({"model": "vit", "side": 20}, "--side=20: must be divisible by 8 with --model=vit"),
        ({"model": "vit", "width": 5}, "--width=5: must be even with --model=vit"),
    ],
)
def test_wrong_settings(given, message):
    with pytest.raises(UserError, match=message):
        Settings(**{"layout": "camera"} | given)


@pytest.mark.parametrize("name", ["time_layer", "time_layer_demo", "time_layer_mobilenet"])
def test_flagfiles_are_in_present_words(name, capsys):
    given = [f"--flagfile={FLAGS / name}.txt", "--data_dir=somewhere"]
    parsed = options.parse(Settings, ["time_layer", *given])
    assert capsys.readouterr().err == ""
    assert ("these test moves too" in parsed.chosen_on) == (name == "time_layer_demo")


def test_the_former_word_for_layout_is_understood(capsys):
    parsed = options.parse(Settings, ["time_layer", "--task=camera"])
    assert parsed.layout == "camera"
    assert "--task=camera is now written --layout=camera" in capsys.readouterr().err
    assert Settings.from_json({"task": "camera"}) == parsed
