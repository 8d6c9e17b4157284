"""`--predict` of videos: by runs on frames, and by runs on features whose encoder is known."""

import csv
import json
import shutil

import command_line
import numpy as np
import pytest
import tiny_episodes
import tiny_frames
from matplotlib.image import imread

from experiments.extract_tse import job as extraction
from experiments.extract_tse.manifest import KEPT
from experiments.extract_tse.settings import Settings as Extraction
from experiments.few_shot import job, matched, pictures, readers
from experiments.few_shot.settings import Settings
from experiments.shared.prediction import open_run

NO_PICTURES = "--predict_pictures=0"
TRUNK = ["--trunk=tiny_trunk:staged"]  # code, which a run folder cannot ask for


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Videos, a run on their frames, their rows, and a run on those."""
    root = tmp_path_factory.mktemp("videos")
    folder = tiny_frames.write(root / "data")
    common = {"epochs": 1, "episodes": 4, "matchings": ("tam",)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "drawings", lambda *_: [])
        frames = {"train_through": ("order_blind", "tam"), "encoder": "linear", "embedding": 4}
        job.run(tiny_frames.settings(folder, out_dir=str(root / "frames"), **common, **frames))
        extraction.run(
            Extraction(
                videos=str(folder / "videos.csv"), out_dir=str(root / "tse"), encoder="thumbnail",
                size=8, window="1", stride="1", batch_size=4, workers=0,
            )
        )  # fmt: skip
        splits = tiny_episodes.write_splits(root / "splits.csv", tiny_frames.CLASSES)
        stored = tiny_episodes.settings(
            root / "tse", class_splits=str(splits), sampling="middle", standardize=True,
            num_segments=3, out_dir=str(root / "stored"), shots=(1,), **common,
        )  # fmt: skip
        job.run(stored)
    for name in ("bgr", "grb", "rbg"):
        for number in (0, 1)[: 1 + (name != "grb")]:
            target = root / "support" / name / f"{number}.mkv"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name / f"{number}.mkv", target)
        (root / "new").mkdir(exist_ok=True)
        shutil.copy(folder / name / "2.mkv", root / "new" / f"{name}.mkv")
    return root


def call(capsys, made, *arguments, run="frames", support="support"):
    def main(argv):
        job.main("", argv)

    trunk = [] if any("--trunk" in one for one in arguments) else TRUNK
    given = (f"--out_dir={made / run}", f"--predict_support={made / support}", *trunk)
    return command_line.call(capsys, main, *given, *arguments)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest(folder, pattern):
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("run", ["frames", "stored"])
def test_a_video_is_classified_and_drawn(made, capsys, run):
    code, out, err = call(capsys, made, f"--predict={made / 'new' / 'bgr.mkv'}", run=run)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "one of 3 classes of 1 to 2 labelled sequences, by tam seed 0, epoch 1" in lines[0]
    assert lines[2].split() == ["class", "probability", "distance"]
    distances = [float(line.split()[2]) for line in lines[4:7]]
    assert distances == sorted(distances)
    if run == "stored":
        assert lines[4].split()[0] == "bgr"
    picture = newest(made / run, "matched-bgr*.png")
    assert str(picture) in lines[-1] and imread(picture).std() > 0.05


def test_a_run_on_features_says_of_videos_what_it_says_of_their_features(made, capsys):
    stored = made / "tse" / "features"
    for name in ("bgr", "grb", "rbg"):
        target = made / "features" / name
        target.mkdir(parents=True, exist_ok=True)
        for number in range(1 + (name != "grb")):
            shutil.copy(stored / name / f"{number}.npy", target)
    for name in ("bgr", "grb"):
        query = f"--predict={stored / name / '2.npy'}"
        code, expected, _ = call(capsys, made, query, run="stored", support="features")
        assert code == 0
        video = f"--predict={made / 'new' / name}.mkv"
        code, out, _ = call(capsys, made, video, NO_PICTURES, run="stored")
        assert code == 0 and out.splitlines()[1:] == expected.splitlines()[1:]


def test_logits_are_those_of_the_frames_by_hand(made, capsys):
    arguments = (f"--predict={made / 'new'}", "--predict_method=order_blind", NO_PICTURES)
    assert call(capsys, made, *arguments)[0] == 0
    rows = {row["id"]: row for row in rows_of(newest(made / "frames", "predicted*.csv"))}
    request = Settings(
        out_dir=str(made / "frames"),
        predict=".",
        predict_support=".",
        predict_method="order_blind",
        trunk="tiny_trunk:staged",
    )
    run = open_run(
        request,
        methods=lambda s: s.train_through,
        run_name=lambda s, through, seed: f"{through}-gamma0.1-seed{seed}",
    )
    reader = readers.open_reader(request, run)

    def means(paths):
        samples = {}
        assert reader.read(list(paths), samples.__setitem__) == {}
        features = np.stack([samples[n].features for n in range(len(samples))])
        kernel, bias = (run.arrays[f"best.head.encoder.{p}"] for p in ("kernel", "bias"))
        return (features @ kernel + bias).mean(1)

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    names = ("bgr", "grb", "rbg")
    protos = [means(sorted((made / "support" / name).iterdir())).mean(0) for name in names]
    for name in names:
        query = means([made / "new" / f"{name}.mkv"])
        distances = 3 * (1 - unit(query) @ unit(np.stack(protos)).T)[0]
        row = rows[f"{name}.mkv"]
        found = [float(row[f"distance {other}"]) for other in names]
        np.testing.assert_allclose(found, distances, atol=2e-5)
        assert row["class"] == names[int(np.argmin(distances))]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("method", ["tam", "order_blind"])
def test_the_picture_is_of_the_nearest_sample_and_the_frames_that_were_seen(
    made, capsys, monkeypatch, method
):
    seen = []
    draw = matched.draw_matches

    def spy(*arguments):
        seen.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr("experiments.few_shot.prediction.draw_matches", spy)
    video = f"--predict={made / 'new' / 'rbg.mkv'}"
    code, _, err = call(capsys, made, video, f"--predict_method={method}")
    assert (code, err) == (0, "")
    ((title, query, (first, second)),) = seen
    length = len(tiny_frames.clip("rbg", 2))
    assert title == "rbg.mkv" and query.frames.tolist() == [
        length // 6,
        length // 2,
        5 * length // 6,
    ]
    np.testing.assert_allclose(query.seconds, query.frames / 5, atol=0.01)
    assert first.distance <= second.distance
    assert first.costs.shape == (3, 3) and (first.costs >= -1e-6).all()
    assert first.support.shown.path.parent.name == first.class_name
    if method == "tam":
        assert first.path.max() == pytest.approx(1, abs=1e-5) and first.path.min() >= -1e-6
        # The mean over the samples of the class decides, and the nearest of them is drawn.
        assert first.pair <= first.distance + 1e-6
    else:
        assert first.path is None


def test_a_table_of_supports_and_one_of_queries(made, capsys):
    table = made / "support.csv"
    lines = [f"support/{name}/0.mkv,{name.upper()}" for name in ("bgr", "grb")]
    table.write_text("\n".join(["path,label", *lines]) + "\n")
    queries = made / "queries.csv"
    queries.write_text("id,path\nmine,new/bgr.mkv\n")
    arguments = (f"--predict={queries}", NO_PICTURES)
    code, out, _ = call(capsys, made, *arguments, support="support.csv")
    assert code == 0 and out.startswith("mine: one of 2 classes of 1 labelled")


def test_bad_queries_are_listed_and_bad_supports_are_errors(made, capsys, tmp_path):
    queries = shutil.copytree(made / "new", tmp_path / "new")
    (queries / "ünd broken.mp4").write_bytes(b"no video" * 40)
    code, out, _ = call(capsys, made, f"--predict={queries}", NO_PICTURES)
    assert code == 0 and "1 of 4 videos could not be used" in out
    (row,) = rows_of(newest(made / "frames", "predicted_failed*.csv"))
    assert row["id"] == "ünd broken.mp4" and "cannot be decoded" in row["reason"]
    code, _, err = call(capsys, made, f"--predict={queries / 'ünd broken.mp4'}")
    assert code == 2 and "ünd broken.mp4: " in err
    support = shutil.copytree(made / "support", tmp_path / "support")
    (support / "bgr" / "0.mkv").write_bytes(b"")
    code, _, err = call(capsys, made, f"--predict={made / 'new'}", support=support)
    assert code == 2 and "--predict_support" in err and "bgr/0.mkv" in err


def test_what_a_run_has_no_use_for(made, capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 6), np.float32))
    code, _, err = call(capsys, made, f"--predict={tmp_path / 'x.npy'}")
    assert code == 2 and "the run was trained on videos" in err
    copy = shutil.copytree(made / "stored", tmp_path / "stored")
    (copy / KEPT).unlink()
    code, _, err = call(capsys, made, f"--predict={made / 'new'}", run=copy)
    assert code == 2 and "whose encoder is not known" in err


def test_a_run_folder_cannot_run_code_or_name_files(made, capsys, tmp_path):
    copy = shutil.copytree(made / "frames", tmp_path / "frames")
    path = copy / "settings.json"
    content = json.loads(path.read_text())
    content["settings"]["trunk"] = "planted:trunk"
    path.write_text(json.dumps(content))
    trap = tmp_path / "was_imported"
    (tmp_path / "planted.py").write_text(f"open({str(trap)!r}, 'w')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        code, _, err = call(capsys, made, f"--predict={made / 'new'}", run=copy)
    assert code == 2 and "add --trunk=planted:trunk" in err and not trap.exists()
    content["settings"] |= {"trunk": "tiny_trunk:staged", "trunk_weights": "/etc/hostname"}
    path.write_text(json.dumps(content))
    arguments = (f"--predict={made / 'new'}", "--trunk=tiny_trunk:staged")
    code, _, err = call(capsys, made, *arguments, run=copy)
    assert code == 2 and "add --trunk_weights=/etc/hostname" in err
    content["settings"]["trunk_weights"] = ""
    content["data"]["trunk"]["source"] = "another"
    path.write_text(json.dumps(content))
    code, _, err = call(capsys, made, *arguments, run=copy)
    assert code == 2 and "source: was another, now" in err
