"""The command line of the job: what it leaves, says and refuses."""

import csv
import json
import re
from functools import partial
from pathlib import Path

import command_line
import numpy as np
import pytest
import tiny_videos
from command_line import never
from PIL import Image

from experiments.seq import encoding, training
from experiments.seq.settings import METHODS
from experiments.seq_anomaly import __main__ as script
from experiments.seq_anomaly import features, job
from experiments.seq_anomaly.settings import Settings
from experiments.shared import options

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tiny_videos.write(tmp_path_factory.mktemp("data"))


def flags(data_dir, out_dir, *more):
    return [
        f"--data_dir={data_dir}", f"--out_dir={out_dir}", "--tau=4", "--batch_size=4",
        "--epochs=2", "--steps_per_epoch=5", "--learning_rate=0.3", "--exemplar_iterations=3",
        "--alpha=3", "--seeds=0,1", "--methods=baseline,seq", *more,
    ]  # fmt: skip


def call(capsys, *arguments):
    return command_line.call(capsys, partial(job.main, script.__doc__), *arguments)


def report_of(out):
    """What is printed at the end, without the lines of the runs."""
    return out[out.index("SEQ on") :]


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A finished job: its folder, its arguments, and what it printed."""
    out_dir = tmp_path_factory.mktemp("job") / "out"
    arguments = flags(data_dir, out_dir)
    return out_dir, arguments, job.run(options.parse(Settings, ["job", *arguments]))


def test_what_a_job_leaves(finished):
    out_dir, _, printed = finished
    events = [json.loads(line) for line in (out_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "epoch" for line in events) == 8
    assert sum(line["event"] == "baseline" for line in events) == 1
    report = json.loads((out_dir / "report.json").read_text())
    assert len(report["runs"]) == 4 and len(report["differences"]) == 1
    of = {(run["method"], run["seed"]): run["history"][-1]["roc_auc"] for run in report["runs"]}
    difference = report["differences"][0]
    assert (difference["method"], difference["other"]) == ("seq", "baseline")
    assert difference["seeds"]["roc_auc"] == [of["seq", s] - of["baseline", s] for s in (0, 1)]
    assert (difference["roc_auc"]["unit"], difference["roc_auc"]["num_units"]) == ("test videos", 4)
    text = (out_dir / "report.md").read_text()
    for name in ("scores.png", "curves.png", "learning_curves.png"):
        assert f"({name})" in text and (out_dir / name).stat().st_size > 5000
    assert "PR area (trapezoid)" in text and "average precision" in text and "Trained on" in text
    assert "the best score that needs no training" in printed


def test_a_finished_job_is_read_and_grows(finished, capsys, monkeypatch):
    out_dir, arguments, printed = finished
    code, _, err = call(capsys, *arguments)
    assert code == 2 and "already holds a job" in err
    code, _, err = call(capsys, *arguments, "--beta=0.5", "--resume")
    assert code == 2 and "--beta: was 0.1, now 0.5" in err
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", never)
        code, again, err = call(capsys, *arguments, "--resume")
    assert (code, err) == (0, "") and report_of(again).strip() == printed.strip()
    # A sweep, which this experiment has too now.
    code, out, err = call(capsys, *arguments, "--resume", "--sweep=alpha", "--sweep_alpha=10")
    assert (code, err) == (0, "") and "SEQ by weight alpha" in out
    assert (out_dir / "sweep_alpha.png").is_file()


def test_prediction(finished, tmp_path, capsys):
    out_dir, _, _ = finished
    videos = tiny_videos.dataset().test
    for folder, video in (("a", videos[1]), ("b", videos[2])):
        (tmp_path / "new" / folder).mkdir(parents=True)
        np.save(tmp_path / "new" / folder / "clip.npy", video.features)
    one = tmp_path / "new" / "a" / "clip.npy"
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={one}")
    assert (code, err) == (0, "") and "24 frames, by seq seed 0, epoch 2" in out
    before = set(out_dir.glob("scores-*.csv"))
    assert len(before) == 1
    # Two files of one name, in a folder: a file of scores each, and none is overwritten.
    code, out, err = call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'new'}")
    assert (code, err) == (0, "") and "2 videos" in out
    assert len(set(out_dir.glob("scores-*.csv")) - before) == 2
    call(capsys, f"--out_dir={out_dir}", f"--predict={tmp_path / 'new'}")
    assert len(set(out_dir.glob("scores-*.csv")) - before) == 4
    with (out_dir / "predictions.csv").open(newline="") as file:
        tested = {row["id"]: float(row["seq-seed0 score"]) for row in csv.DictReader(file)}
    for name, video in (("a", videos[1]), ("b", videos[2])):
        found = np.loadtxt(out_dir / f"scores-{name}_clip.npy.csv", delimiter=",", skiprows=1)
        assert found[:, 0].tolist() == list(range(24))
        expected = [tested[f"{video.id} frame {t}"] for t in range(24)]
        np.testing.assert_allclose(found[:, 2], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-found[:, 2])), atol=1e-6)
    code, out, _ = call(
        capsys, f"--out_dir={out_dir}", f"--predict={one}", "--predict_method=baseline",
        "--predict_seed=1",
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
        ([f"--predict={one}", "--predict_seed=7"], "--predict_seed=7"),
        ([f"--predict={one}", f"--out_dir={tmp_path / 'no'}"], "nothing was"),
    ):
        code, _, err = call(capsys, f"--out_dir={out_dir}", *arguments)
        assert code == 2 and message in err


@pytest.mark.slow
def test_changed_features_are_another_job(tmp_path, capsys):
    """Every feature negated, with the same ids and labels: the old results are of other data."""
    folder = tiny_videos.write(tmp_path / "data")
    arguments = flags(folder, tmp_path / "out", "--methods=baseline", "--seeds=0")
    assert call(capsys, *arguments)[0] == 0
    for path in folder.glob("*.npy"):
        np.save(path, -np.load(path))
    code, _, err = call(capsys, *arguments, "--resume")
    assert code == 2 and "data content: was" in err


def test_snippets_with_motion(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["id,path,split,labels,frames"]
    for index in range(6):
        np.save(tmp_path / f"{index}.npy", tiny_videos.features(rng, 8, 17))
        split = "train" if index < 4 else "test"
        lines.append(f"v{index},{index}.npy,{split},128-272,375")  # 24 snippets, the last of 7
    (tmp_path / "index.csv").write_text("\n".join(lines))
    arguments = flags(
        tmp_path, tmp_path / "out", "--methods=baseline", "--seeds=0", "--motion",
        "--center=median",
    )  # fmt: skip
    code, out, err = call(capsys, *arguments, "--protocol=snippet")
    assert (code, err) == (0, "")
    assert "over the 750 frames of all 2 test videos" in out
    np.save(tmp_path / "new.npy", tiny_videos.features(rng, 8, 17))
    code, out, err = call(
        capsys, f"--out_dir={tmp_path / 'out'}", f"--predict={tmp_path / 'new.npy'}"
    )
    assert (code, err) == (0, "") and "384 frames" in out
    code, _, err = call(capsys, *flags(tmp_path, tmp_path / "out2"))
    assert code == 2 and "frames is 375, but there are features of 24 rows" in err
    assert not (tmp_path / "out2").exists()


def test_planted_data_through_the_whole_job(tmp_path, capsys, monkeypatch):
    out_dir = tmp_path / "out"
    arguments = [
        "--layout=planted", "--encoder=pixels", "--motion", "--train_clips=5", "--test_clips=4",
        "--epochs=1", "--steps_per_epoch=2", "--tau=4", "--batch_size=4", "--methods=baseline",
        f"--out_dir={out_dir}",
    ]  # fmt: skip
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    text = (out_dir / "report.md").read_text()
    assert "ROC AUC by kind of event" in text and "(events.png)" in text
    assert "the events are not" in text and "change of pixels (not trained)" in text
    assert "The 256 test frames show" in text and "source segment" in text
    assert (out_dir / "events.png").stat().st_size > 5000

    # The features are read where they are those of the same pictures, and made where they are not.
    with monkeypatch.context() as patch:
        patch.setattr(features, "grid_colours", never)
        code, _, err = call(capsys, *arguments, "--resume")
        assert (code, err) == (0, "")
    with np.load(out_dir / "features.npz") as stored:
        before = stored["features"]
    (out_dir / "features.npz").write_bytes(b"PK damaged")
    code, _, err = call(capsys, *arguments, "--resume")
    assert (code, err) == (0, "")
    with np.load(out_dir / "features.npz") as stored:
        np.testing.assert_array_equal(stored["features"], before)


def means(frames):
    """An encoder as every script has them: of windows ``[B, T, H, W, 3]``."""
    return frames.mean(axis=(1, 2, 3))


def scaled(weights):
    factor = float(Path(weights).read_text())
    return lambda frames: factor * means(frames)


def test_planted_data_by_an_encoder_of_every_script(tmp_path, capsys):
    weights, out_dir = tmp_path / "weights.txt", tmp_path / "out"
    weights.write_text("2")
    arguments = [
        "--layout=planted", "--train_clips=5", "--test_clips=4", "--epochs=1",
        "--steps_per_epoch=2", "--tau=4", "--batch_size=4", "--methods=baseline",
        "--encoder=test_anomaly_job:scaled", f"--encoder_weights={weights}",
        f"--out_dir={out_dir}",
    ]  # fmt: skip
    code, _, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    with np.load(out_dir / "features.npz") as stored:
        found = stored["features"]
    assert found.shape[1] == 3 and 0.2 < found.mean() < 2
    weights.write_text("3")
    code, _, err = call(capsys, *arguments, "--resume")
    assert code == 2 and "data encoder: was" in err


def test_pictures_are_scaled_to_an_encoder():
    images = np.random.default_rng(0).integers(0, 256, (33, 12, 16, 3)).astype(np.uint8)
    encoder = encoding.opened("thumbnail", size=16)
    shown = np.stack([Image.fromarray(one).resize((16, 16), 2) for one in images])
    np.testing.assert_array_equal(encoding.encoded(encoder, images), encoder(shown[:, None]))
    settings = Settings(layout="planted", encoder="thumbnail", motion=True)
    assert features.num_features(tiny_videos.dataset(), settings) == 2 * 192


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder=resnet"], "allowed: mobilenet_v2, pixels, thumbnail, onnx:FILE"),
        (["--encoder=thumbnail", "--encoder_weights=w"], "--encoder_weights: only with"),
        (["--layout=index"], "--data_dir: needed with --layout=index"),
        (["--layout=planted", "--protocol=snippet"], "one row a frame only"),
        (["--batch_size=3"], "must be even"),
        (["--methods=otam"], "allowed: a comma-separated list of baseline, trajectory, seq"),
        (["--tau=1"], "a whole number >= 2"),
        (["--max_speed=0.5"], "a number >= 1"),
        (["--center=mean"], "none, median"),
        (["--protocol=video"], "frame, snippet"),
        (["--predict_method=best"], "baseline, trajectory"),
    ],
)
def test_flags_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        options.parse(Settings, ["job", *(["--layout=planted"] + arguments)])


def test_flagfiles(capsys):
    demo = options.parse(Settings, ["job", f"--flagfile={FLAGS / 'seq_anomaly_demo.txt'}"])
    assert demo.layout == "planted" and len(demo.seeds) >= 5 and demo.methods == METHODS
    paper = options.parse(
        Settings, ["job", f"--flagfile={FLAGS / 'seq_anomaly_msad.txt'}", "--data_dir=d"]
    )
    assert capsys.readouterr().err == ""  # no former words
    assert (paper.num_support, paper.gamma, paper.frames_per_row) == (2, 0.1, 16)
    assert paper.alpha >= 1 and paper.layout == "index" and demo.alpha >= 1


def test_former_words(tmp_path, capsys):
    """A flagfile of a former version, as this repository's own demo was."""
    former = tmp_path / "flags.txt"
    former.write_text(
        "--layout=planted\n--encoder=mobilenet\n--center\n--window=7\n--support=3\n--episodes=30\n"
    )
    found = options.parse(Settings, ["job", f"--flagfile={former}"])
    words = (found.encoder, found.center, found.tau, found.num_support, found.steps_per_epoch)
    assert words == ("mobilenet_v2", "median", 7, 3, 30)
    assert "--window=7 is now written --tau=7" in capsys.readouterr().err
    assert options.parse(Settings, ["job", "--layout=planted", "--nocenter"]).center == "none"


def test_help(capsys):
    code, out, err = call(capsys, "--help")
    assert (code, err) == (0, "")
    assert "--flagfile=experiments/flags/seq_anomaly_msad.txt" in out
    assert "planted in it" in out and "--epochs=20\n" in out and "--tau=16\n" in out
    assert max(map(len, out.splitlines())) <= 100
