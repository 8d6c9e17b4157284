"""`--predict` of videos: the encoder of the training data again, and the moments it found."""

import csv
import json
import shutil
from functools import partial

import av
import command_line
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_tse import flags
from video_files import write_video

import tempalign
from experiments.dejavid import job, prediction
from experiments.dejavid.moments import Moment, draw_moments
from experiments.extract_tse import job as extraction
from experiments.extract_tse import manifest as manifests
from experiments.extract_tse.clips import Clip
from experiments.extract_tse.settings import Settings as Extraction
from experiments.shared.errors import UserError

COLOURS = {"r": (220, 20, 20), "g": (20, 220, 20), "b": (20, 20, 220)}
RATE = 5
CLASSES = {"rising": "rgb", "falling": "bgr"}
NO_PICTURES = "--predict_pictures=0"
LENGTHS = ((3, 4, 5), (5, 4, 3), (4, 2, 6), (2, 6, 4), (6, 3, 3))


def write_clip(path, order, lengths):
    """A video without loss whose frames have one colour each, `lengths` frames of every colour."""
    shades = [COLOURS[one] for one, n in zip(order, lengths, strict=True) for _ in range(n)]
    frames = np.broadcast_to(np.array(shades, np.uint8)[:, None, None], (len(shades), 16, 16, 3))
    return write_video(path, np.ascontiguousarray(frames), rate=RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Videos of two classes, their rows (one a frame), and a run that was trained on those."""
    folder = tmp_path_factory.mktemp("videos")
    lines = ["path,label,split"]
    for label, order in CLASSES.items():
        for number, lengths in enumerate(LENGTHS):
            name = f"{label}{number}.mkv"
            write_clip(folder / name, order, lengths)
            lines.append(f"{name},{label},{'test' if number == 4 else 'train'}")
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    extraction.run(
        Extraction(
            videos=str(folder / "videos.csv"), out_dir=str(folder / "tse"), encoder="thumbnail",
            size=8, window="1", stride="1", batch_size=4, workers=0,
        )
    )  # fmt: skip
    assert train(folder / "tse", folder / "run") == 0
    return folder


def train(data_dir, out_dir, *more):
    arguments = flags(data_dir, out_dir, "--num_steps=3", "--epochs=1", *more)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr("experiments.dejavid.pictures.drawings", lambda *_: [])
        job.main("", "k400", ["job", *arguments])
    return exit_.value.code


@pytest.fixture
def run_folder(made, tmp_path):
    return shutil.copytree(made / "run", tmp_path / "run")


def call(capsys, run_folder, *arguments):
    main = partial(job.main, "", "k400")
    return command_line.call(capsys, main, f"--out_dir={run_folder}", *arguments)


def change(run_folder, part, **values):
    """Changes the kept manifest."""
    path = run_folder / manifests.KEPT
    content = json.loads(path.read_text())
    content[part] |= values
    path.write_text(json.dumps(content))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_video_gets_the_answer_of_its_stored_features(made, run_folder, capsys):
    for label in CLASSES:
        stored = made / "tse" / "features" / f"{label}4.npy"
        code, expected, err = call(capsys, run_folder, f"--predict={stored}")
        assert (code, err) == (0, "")
        code, out, err = call(capsys, run_folder, f"--predict={made / f'{label}4.mkv'}")
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert "12 windows, by full seed 0, epoch 1" in lines[0]
        assert lines[4].split()[0] == label
        assert lines[1:6] == expected.splitlines()[1:6]  # digit by digit
        picture = run_folder / f"moments-{label}4.png"
        assert str(picture) in lines[-1]
        assert imread(picture).std() > 0.05
    before = picture.read_bytes()
    _, out, _ = call(capsys, run_folder, f"--predict={made / f'{label}4.mkv'}")
    assert str(run_folder / f"moments-{label}4-2.png") in out
    assert picture.read_bytes() == before


def test_each_step_finds_its_moment(made, run_folder, capsys, monkeypatch):
    clip_path = write_clip(made / "new" / "new.mkv", "rgb", (2, 7, 3))
    seen, inputs = [], []
    draw = prediction.draw_moments

    def spy(*arguments):
        seen.append(arguments)
        figure, picture = draw(*arguments)
        seen.append([ax for sub in figure.subfigs for ax in sub.axes])
        return figure, picture

    monkeypatch.setattr(prediction, "draw_moments", spy)
    monkeypatch.setattr(prediction._Classifier, "logits", recorded(inputs))
    code, _, err = call(capsys, run_folder, f"--predict={clip_path}")
    assert (code, err) == (0, "")
    (title, clip, names, found, _), axes = seen
    assert title == "new.mkv" and names == ["rising", "falling"]
    winner, runner_up = found
    assert len(winner) == len(runner_up) == 3
    for one, first, last in zip(winner, (0, 2, 9), (1, 8, 11), strict=True):
        assert first <= one.frame <= last
        assert one.seconds == pytest.approx(one.frame / RATE, abs=0.01)
        # Without diagonal moves neighbours on the path share a frame.
        assert one.begin == pytest.approx(first / RATE, abs=1.01 / RATE)
        assert one.end == pytest.approx(last / RATE, abs=1.01 / RATE)
    # What the steps cost is the distance that decides.
    ((classifier, x),) = inputs
    params = classifier._params
    distances = tempalign.weighted_dtw(
        x.astype(np.float32), params["centroids"], np.exp(params["log_weights"])
    )
    for row, distance in zip(found, np.sort(distances), strict=True):
        assert sum(one.cost for one in row) == pytest.approx(distance, rel=1e-4)
    # Six stills, the predicted class in the first row, then the times.
    drawn = [ax.images[0].get_array()[0, 0] for ax in axes if ax.images]
    assert [tuple(colour) for colour in drawn[:3]] == [COLOURS[name] for name in "rgb"]
    assert len(drawn) == 6 and len(axes) == 7
    assert axes[0].get_title().startswith("step 1: 0.")


def recorded(inputs):
    logits = prediction._Classifier.logits

    def wrapper(self, x, what):
        inputs.append((self, x))
        return logits(self, x, what)

    return wrapper


def test_a_folder_of_clips_unicode_names_and_one_that_is_broken(made, run_folder, capsys):
    folder = run_folder.parent / "clips"
    clips = {"späte Röte 赤.mkv": "falling", "sub/a b.mkv": "rising", "z.mkv": "rising"}
    for name, label in clips.items():
        write_clip(folder / name, CLASSES[label], (4, 4, 4))
    (folder / "broken.mp4").write_bytes(b"this is no video" * 50)
    (folder / "notes.txt").write_text("nor is this")
    code, out, _ = call(capsys, run_folder, f"--predict={folder}", "--predict_pictures=3")
    assert code == 0
    found = {row["id"]: row["class"] for row in rows_of(run_folder / "predicted.csv")}
    assert found == clips
    (failed,) = rows_of(run_folder / "predicted_failed.csv")
    assert failed["id"] == "broken.mp4" and "cannot be decoded" in failed["reason"]
    assert "1 of 4 videos could not be used" in out and "predicted_failed.csv" in out
    pictures = {path.name for path in run_folder.glob("moments-*.png")}
    assert pictures == {"moments-späte_Röte_赤.png", "moments-a_b.png"}  # and the broken one
    # Sequences of a folder go first, as before there were videos.
    shutil.copy(made / "tse" / "features" / "rising0.npy", folder)
    code, out, _ = call(capsys, run_folder, f"--predict={folder}")
    assert code == 0 and out.startswith("rising0.npy: 12 steps")


def test_videos_that_cannot_be_used_are_an_error(made, run_folder, capsys):
    bad = run_folder / "bad.mp4"
    bad.write_bytes(b"")
    code, _, err = call(capsys, run_folder, f"--predict={bad}")
    assert code == 2 and "bad.mp4: " in err and "cannot be decoded as video" in err
    assert not list(run_folder.glob("predicted*")) and not list(run_folder.glob("moments*"))


def test_a_video_that_ends_early_is_used_as_far_as_it_goes(made, run_folder, capsys):
    whole = made / "rising4.mkv"
    (run_folder / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    code, out, err = call(capsys, run_folder, f"--predict={run_folder / 'cut.mkv'}", NO_PICTURES)
    assert (code, err) == (0, "")
    assert "seconds of the 2.40 that its header names" in out and "12 windows" not in out


def test_a_run_without_alignment_draws_none(made, run_folder, capsys):
    path = run_folder / "settings.json"
    content = json.loads(path.read_text())
    content["settings"]["pooling"] = "mean"
    path.write_text(json.dumps(content))
    assert call(capsys, run_folder, f"--predict={made / 'rising4.mkv'}")[0] == 0
    assert not list(run_folder.glob("moments*"))


def test_many_steps_go_on_below(made):
    numbers = np.arange(12)
    seconds = np.repeat(numbers[:, None] / RATE, 3, axis=1)
    clip = Clip(made / "rising4.mkv", np.zeros((12, 1)), numbers, seconds, "")
    found = [[Moment(step, step / RATE, 0.0, 1.0, 2.0) for step in range(10)]]
    figure, picture = draw_moments("title", clip, ["only"], found, 10**6)
    only, times = figure.subfigs
    shown = [ax for ax in only.axes if ax.get_visible()]
    assert len(shown) == 10 and len({ax.get_gridspec().ncols for ax in shown}) == 1
    assert shown[0].get_gridspec().nrows == 2 and len(times.axes) == 1
    assert "distance 20.00" in only.get_suptitle()
    assert "smaller distance wins" in picture.caption


def test_another_encoder_is_refused_and_told(made, run_folder, capsys):
    video = f"--predict={made / 'rising4.mkv'}"
    code, _, err = call(capsys, run_folder, video, "--encoder=mobilenet_v2")
    assert code == 2 and "encoder: was thumbnail, now mobilenet_v2" in err
    assert call(capsys, run_folder, video, "--encoder=thumbnail", NO_PICTURES)[0] == 0
    change(run_folder, "encoder", cells="4 x 4")
    code, _, err = call(capsys, run_folder, video)
    assert code == 2 and "cells: was 4 x 4, now 8 x 8" in err and manifests.KEPT in err


def test_other_versions_are_told_and_go_on(made, run_folder, capsys):
    change(run_folder, "decoder", PyAV="0.1")
    video = f"--predict={made / 'falling4.mkv'}"
    code, out, err = call(capsys, run_folder, video, NO_PICTURES)
    assert code == 0 and f"PyAV: was 0.1, now {av.__version__}" in err
    assert out.splitlines()[4].split()[0] == "falling"


def test_a_run_folder_cannot_run_code_or_name_files(made, run_folder, capsys, monkeypatch):
    folder = run_folder.parent
    trap = folder / "was_imported"
    (folder / "planted.py").write_text(f"open({str(trap)!r}, 'w')\ndef encode(frames): ...\n")
    monkeypatch.syspath_prepend(folder)
    video = f"--predict={made / 'rising4.mkv'}"
    for name in ("planted:encode", "torch:model.pt", "onnx:model.onnx"):
        change(run_folder, "encoder", encoder=name)
        code, _, err = call(capsys, run_folder, video)
        assert code == 2 and f"add --encoder={name}" in err
    assert not trap.exists()
    change(run_folder, "encoder", encoder="thumbnail")
    change(run_folder, "settings", **{"--weights": "/etc/hostname", "--allow_pickle": True})
    code, _, err = call(capsys, run_folder, video)
    assert code == 2 and "unknown settings allow_pickle, weights" in err


def test_without_a_manifest_it_is_said_how_to_extract(made, run_folder, capsys):
    (run_folder / manifests.KEPT).unlink()
    code, _, err = call(capsys, run_folder, f"--predict={made / 'rising4.mkv'}")
    assert code == 2 and "whose encoder is not known" in err and ".npy [T, F]" in err
    # A run from before manifests were kept learns of it, and is not refused.
    assert train(made / "tse", run_folder, "--resume") == 0
    assert call(capsys, run_folder, f"--predict={made / 'rising4.mkv'}", NO_PICTURES)[0] == 0
    assert not list(run_folder.glob("moments*"))


def test_what_is_kept_is_content_of_this_job(made, tmp_path, capsys):
    source, kept = made / "tse" / "manifest.json", tmp_path / "run" / manifests.KEPT
    kept.parent.mkdir()
    manifests.keep_manifest(source.parent, kept.parent, is_new=True)
    content = json.loads(kept.read_text())
    assert content == json.loads(source.read_text())
    assert str(made) not in kept.read_text()
    other = tmp_path / "other"
    other.mkdir()
    manifests.keep_manifest(other, kept.parent, is_new=False)
    assert kept.exists()  # the same data, copied without its manifest
    manifests.keep_manifest(other, kept.parent, is_new=True)
    assert not kept.exists()
    for text in ("{}", "[]", '{"format": 1, "encoder": {}, "settings": {}}'):
        (other / "manifest.json").write_text(text)
        manifests.keep_manifest(other, kept.parent, is_new=True)
        assert not kept.exists() and "not a manifest" in capsys.readouterr().err


def test_encoders_of_ones_own_are_opened_with_what_they_had(made, tmp_path, monkeypatch):
    """Size and frames were asked for once; nobody need remember them."""
    (tmp_path / "own_encoders.py").write_text(
        "import numpy as np\n"
        "def plain(pictures):\n"
        "    return pictures.mean(axis=(2, 3)).reshape(len(pictures), -1)\n"
        "def factory(frames=0):\n"
        "    return lambda pictures: pictures.mean(axis=(1, 2, 3)) * (frames or 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, options in (("plain", {"size": 8, "frames": 3}), ("plain", {}), ("factory", {})):
        given = Extraction(
            videos="-", encoder=f"own_encoders:{name}", window="4", stride="2", **options
        )
        encoder = extraction.open_encoder(given.encoder, **options)
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifests.manifest_of(given, encoder)))
        again = manifests.Manifest.read(path).open_encoder(given.encoder)
        assert (again.spec.size, again.spec.frames) == (encoder.spec.size, encoder.spec.frames)
        assert again.spec.num_features == encoder.spec.num_features
    content = json.loads(path.read_text())
    content["encoder"]["source"] = "another"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="source: was another, now"):
        manifests.Manifest.read(path).open_encoder(given.encoder)
