"""The job on tiny videos: what is trained, what it leaves and says, resumption bit for bit."""

import csv
import json
import shutil

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_frames

from experiments.few_shot import job, pictures, video_training
from experiments.few_shot.models import make_model
from experiments.few_shot.training import Source, TrainState
from experiments.few_shot.video_data import load_videos, open_job_trunk, training_pictures
from experiments.few_shot.video_training import Parts, VideoRun, train_step
from experiments.shared.checkpoints import Checkpoints, named_leaves
from experiments.shared.errors import UserError

RUN = "tam-gamma0.1-seed0"
TRUNK = [f"trunk.stages.{n}.conv.{part}" for n in (0, 1) for part in ("bias", "kernel")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    classes = tiny_frames.CLASSES | {"rrg": "val", "ggb": "val", "bbr": "val"}
    return tiny_frames.write(tmp_path_factory.mktemp("videos"), classes)


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "drawings", lambda *_: [])


def run(folder, out_dir, **changes):
    return job.run(tiny_frames.settings(folder, out_dir=str(out_dir), **changes))


def checkpoint(out_dir, name=RUN):
    with Checkpoints(out_dir / "checkpoints" / name) as checkpoints:
        _, arrays, record = checkpoints.newest()
    return arrays, record["history"]


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("finished")
    text = run(folder, out_dir, train_through=("tam", "order_blind"), encoder="linear", embedding=5)
    return out_dir, text


def test_what_a_job_on_videos_leaves(finished):
    out_dir, text = finished
    report = json.loads((out_dir / "report.json").read_text())
    assert report["pictures_failed"] == []
    markdown = (out_dir / "report.md").read_text()
    for name in ("matching.png", "learning_curves.png", "alignments.png"):
        assert (out_dir / name).stat().st_size > 1000 and name in markdown
    assert "--trunk=tiny_trunk:staged, which is trained as a whole" in text
    assert "8 x 8 pixels of 9 x 9" in markdown and "6 features of a frame" in markdown
    assert [one["through"] for one in report["runs"]] == ["tam", "order_blind"]
    assert len(report["scores"]) == 3 * 3
    arrays, history = checkpoint(out_dir)
    best = {name.removeprefix("best.") for name in arrays if name.startswith("best.")}
    assert best == {*TRUNK, "head.encoder.kernel", "head.encoder.bias"}
    assert report["runs"][0]["num_parameters"] == sum(arrays[f"best.{name}"].size for name in best)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert all(np.isfinite(entry["loss"]) and "val_accuracy" in entry for entry in history)
    with open(out_dir / "predictions.csv", newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"bgr", "grb", "rbg"}


def test_a_resumed_job_equals_an_uninterrupted_one(folder, tmp_path, without_pictures, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(folder, whole, cache_mb=0)
    steps = VideoRun.train_steps

    def killed(self, state, epoch, advance):
        if epoch == 1:
            raise KeyboardInterrupt
        return steps(self, state, epoch, advance)

    monkeypatch.setattr(VideoRun, "train_steps", killed)
    with pytest.raises(KeyboardInterrupt):
        run(folder, cut)
    monkeypatch.setattr(VideoRun, "train_steps", steps)
    run(folder, cut, resume=True, num_threads=1)
    (one, history), (other, resumed) = checkpoint(whole), checkpoint(cut)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for entry, again in zip(history, resumed, strict=True):
        assert entry["loss"] == again["loss"]
        assert entry["val_accuracy"] == again["val_accuracy"]
    scores = [json.loads((out / "report.json").read_text())["scores"] for out in (whole, cut)]
    assert scores[0] == scores[1]


def test_a_loss_that_is_not_finite_names_its_batch(folder, tmp_path, monkeypatch):
    losses = iter([1.0, 1.0, 1.0, float("nan")])
    monkeypatch.setattr(
        video_training, "train_step", lambda _, state, *__: (state, jnp.float32(next(losses)))
    )
    with pytest.raises(UserError, match=f"{RUN}: epoch 2, batch 2 of 2: the loss is not finite"):
        run(folder, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints" / RUN).iterdir()] == ["1"]


def test_changed_videos_are_refused(folder, tmp_path, without_pictures):
    copy = shutil.copytree(folder, tmp_path / "copy")
    run(copy, tmp_path / "out", epochs=1)
    shutil.copy(copy / "rgb" / "0.mkv", copy / "gbr" / "1.mkv")
    with pytest.raises(UserError, match="data content: was"):
        run(copy, tmp_path / "out", epochs=2, resume=True)
    with pytest.raises(UserError, match="--train_trunk: was all, now last"):
        run(folder, tmp_path / "out", resume=True, train_trunk="last")


def step_of(folder, through="tam", **changes):
    """A model, its first state, and a batch of pictures."""
    settings = tiny_frames.settings(folder, **changes)
    data = load_videos(settings)
    one = VideoRun(data, settings, Source(through, 0.1, 0))
    state = one.start().state
    batch = next(training_pictures(data.train, settings, seed=0, epoch=0))
    return one, state, batch


def taken(one, state, batch):
    copied = jax.tree.map(lambda x: x.copy(), state)
    return train_step(one._spec, copied, one.parts.frozen, batch, 0.1)


@pytest.mark.parametrize(("which", "expected"), [("none", []), ("last", TRUNK[2:]), ("all", TRUNK)])
def test_what_is_trained(folder, which, expected):
    one, state, batch = step_of(folder, train_trunk=which, encoder="linear")
    after, _ = taken(one, state, batch)
    was, now = named_leaves(state.params), named_leaves(after.params)
    assert set(was) == {*expected, "head.encoder.kernel", "head.encoder.bias"}
    assert all((was[name] != now[name]).any() for name in was)


def test_the_trunk_has_a_rate_of_its_own(folder):
    one, state, batch = step_of(
        folder, encoder="linear", trunk_learning_rate=1e-4, weight_decay=0.0
    )
    after, _ = taken(one, state, batch)
    was, now = named_leaves(state.params), named_leaves(after.params)
    for name in was:  # the first step of AdamW is the learning rate
        rate = 1e-4 if name.startswith("trunk") else 1e-2
        assert np.abs(now[name] - was[name]).max() == pytest.approx(rate, rel=0.02), name


@pytest.mark.one_in(2)
@pytest.mark.parametrize("through", ["tam", "order_blind"])
def test_the_loss_is_that_of_the_head_on_the_features_of_the_trunk(folder, through):
    one, state, batch = step_of(folder, through, queries=2)
    _, loss = taken(one, state, batch)
    settings = one._settings
    trunk = open_job_trunk(settings, seed=0)
    head = make_model(settings, through, trunk.num_features, seed=0)
    losses = []
    for episode in batch:
        features = trunk(episode.reshape(-1, 8, 8, 3) / np.float32(255)).reshape(-1, 3, 6)
        support = features[6:].reshape(3, 1, 3, 6)
        losses.append(head.loss(features[:6], support, np.arange(3).repeat(2)))
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_episode_after_episode_is_the_same_gradient(folder):
    one, state, batch = step_of(folder)
    parted, _, _ = step_of(folder, episodes_at_once=1)
    (after, loss), (again, other) = taken(one, state, batch), taken(parted, state, batch)
    assert float(loss) == pytest.approx(float(other), rel=1e-5)
    first, second = (named_leaves(s.optimizer) for s in (after, again))
    for name, leaf in first.items():
        np.testing.assert_allclose(leaf, second[name], atol=1e-6, err_msg=name)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "changes", [{"remat": True}, {"remat": True, "train_trunk": "last"}, {"precision": "bfloat16"}]
)
def test_less_memory_for_about_the_same_loss(folder, changes):
    one, state, batch = step_of(folder, train_trunk=changes.get("train_trunk", "all"))
    other, _, _ = step_of(folder, **changes)
    (_, loss), (after, again) = taken(one, state, batch), taken(other, state, batch)
    tolerance = 1e-5 if "remat" in changes else 0.05
    assert float(again) == pytest.approx(float(loss), rel=tolerance)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {np.dtype("float32")}


def test_features_do_not_depend_on_how_many_are_encoded_at_once(folder):
    settings = tiny_frames.settings(folder)
    data = load_videos(settings)
    found = []
    for count in (4, 9):
        other = tiny_frames.settings(folder, videos_at_once=count)
        found.append(video_training.untrained_features(data, other)())
    assert found[0].shape == (9, 3, 6)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_features_that_are_not_finite_are_told(folder):
    settings = tiny_frames.settings(folder)
    data = load_videos(settings)
    parts = Parts(settings, data.trunk, make_model(settings, "tam", 6, seed=0))
    params = jax.tree.map(lambda x: x * np.nan, parts.params)
    with pytest.raises(UserError, match="features of 9 videos are not finite, such as bgr/0"):
        parts.of_split(params, data.test, settings)


@pytest.mark.slow
def test_nothing_trained_is_an_evaluation(folder, tmp_path, without_pictures):
    text = run(folder, tmp_path, train_trunk="none", trunk="tiny_trunk:colours")
    assert "untrained features" in text and "trained through" not in text
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.slow
def test_left_out_videos_are_listed(folder, tmp_path, without_pictures):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "rgb" / "2.mkv").write_bytes(b"")
    out_dir = tmp_path / "out"
    text = run(copy, out_dir, skip_bad=True, epochs=1, encoder="linear", train_trunk="none")
    assert "1 video is left out" in (out_dir / "report.md").read_text() + text
    with open(out_dir / "failed.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"].endswith("rgb/2.mkv") and "cannot be decoded" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--standardize"], "--standardize: is about stored features"),
        (["--data_dir=x"], "--data_dir: is about stored features"),
        (["--sampling=linear"], "--sampling: is about stored features"),
        (["--episodes_at_once=3", "--batch_episodes=4"], "must divide --batch_episodes=4"),
        (["--side=64", "--scaled_side=32"], "--scaled_side=32: must be at least --side=64"),
        (["--train_crop=any"], "--train_crop"),
        (["--train_through="], "--train_through"),
    ],
)
def test_flags_that_do_not_go_together(capsys, arguments, message):
    def main(argv):
        job.main("", argv)

    code, _, err = command_line.call(capsys, main, "--videos=v.csv", *arguments)
    assert code == 2 and message in err


def test_stages_that_a_trunk_has_not(folder, tmp_path):
    with pytest.raises(UserError, match="--trunk_stages=3: the last 3 stages"):
        run(folder, tmp_path, train_trunk="last", trunk_stages=3)


def test_the_state_has_nothing_that_is_not_trained(folder):
    one, state, _ = step_of(folder, train_trunk="last")
    assert isinstance(state, TrainState)
    assert set(named_leaves(one.parts.params)) == set(TRUNK[2:])
    assert set(TRUNK[:2]) <= set(named_leaves(one.parts.frozen))
