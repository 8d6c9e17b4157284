"""Trunks behind the TIME layer: which part is trained, resumed and predicted with; 8 x 8 grids."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_clips
from command_line import never
from flax import nnx

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.metrics_log import MetricsLog
from experiments.time_layer import job, training
from experiments.time_layer.models import DepthClassifier, TrunkClassifier, make_classifier
from experiments.time_layer.settings import Settings
from experiments.vision.trunks import foreign, opening

OWN = {
    "model": "tiny_trunks:staged",
    "grids": (8,),
    "arrangements": ("spatial",),
    "baselines": (),
    "learning_rate": 0.01,
    "trunk_rate": 1.0,
}


def run_of(folder, **options):
    return job.run(tiny_clips.settings(folder, **OWN | options))


def history(out):
    (run,) = json.loads((out / "report.json").read_text())["runs"]
    return [{k: e[k] for k in e if "seconds" not in k} for e in run["history"]], run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos, and in out/ a job of two epochs on 8 x 8 grids of them."""
    folder = tiny_clips.write_folder(tmp_path_factory.mktemp("videos"))
    run_of(folder, trained="last")
    return folder


def test_only_the_last_stage_is_trained_and_counted(folder):
    entries, run = history(folder / "out")
    assert entries[1]["loss"] < entries[0]["loss"]
    assert run["num_parameters"] == (4 * 4 * 9 + 4) + (4 * 2 + 2)


def test_a_killed_job_ends_as_one_that_was_not(folder, tmp_path, monkeypatch):
    given = {"trained": "last", "out_dir": str(tmp_path / "out")}
    write = MetricsLog.write

    def stop(self, event, **values):
        write(self, event, **values)
        if event == "epoch":
            raise KeyboardInterrupt

    monkeypatch.setattr(MetricsLog, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        run_of(folder, **given)
    monkeypatch.setattr(MetricsLog, "write", write)
    with pytest.raises(UserError, match="--trained: was last, now all"):
        run_of(folder, **given | {"trained": "all"}, resume=True)
    run_of(folder, **given, resume=True)
    assert history(tmp_path / "out")[0] == history(folder / "out")[0]


def test_a_prediction(folder):
    request = {"out_dir": str(folder / "out"), "predict": str(folder / "test1.mkv")}
    shown = job.run(Settings(**request, model=OWN["model"]))
    assert "4 frames, by TIME_N8_spatial seed 0, epoch 2" in shown


def test_a_run_folder_cannot_ask_for_code(folder, monkeypatch):
    monkeypatch.setattr(foreign, "open_foreign", never)
    monkeypatch.setattr(opening, "open_foreign", never)
    request = {"out_dir": str(folder / "out"), "predict": str(folder / "test1.mkv")}
    for model in ("resnet", "tiny_trunks:of_file"):
        with pytest.raises(UserError, match="where you trust it, add --model=tiny_trunks:staged"):
            job.run(Settings(**request, model=model))


def test_weights_of_other_content_are_another_job(tmp_path):
    folder = tiny_clips.write_folder(tmp_path / "videos")
    given = {"epochs": 1, "grids": (2,), "model": "tiny_trunks:of_file"}
    for value in (1, 2):
        np.save(tmp_path / f"{value}.npy", np.full((3, 4), value, np.float32))
    run_of(folder, **given, weights=str(tmp_path / "1.npy"))
    with pytest.raises(UserError, match="data trunk: was"):
        run_of(folder, **given, weights=str(tmp_path / "2.npy"), resume=True)
    shutil.move(tmp_path / "1.npy", tmp_path / "moved.npy")
    run_of(folder, **given, weights=str(tmp_path / "moved.npy"), resume=True)
    # A prediction takes what was trained from the checkpoint; this factory wants a file for shapes.
    request = {"out_dir": str(folder / "out"), "predict": str(folder / "test1.mkv")}
    with pytest.raises(UserError, match=r"add --model=tiny_trunks:of_file --weights=.*1.npy"):
        job.run(Settings(**request))
    request["model"] = given["model"]
    shown = job.run(Settings(**request, weights=str(tmp_path / "moved.npy")))
    assert shown == job.run(Settings(**request, weights=str(tmp_path / "2.npy")))


@pytest.mark.parametrize("which", ["all", "last", "none"])
def test_what_is_not_trained_stays_as_it_was(which, tmp_path):
    settings = tiny_clips.settings(tmp_path, **OWN, trained=which, input="luminance")
    spec, params, frozen = training.make_spec(settings, training.methods(settings)[0], 2)
    sizes = {"all": 112 + 148 + 10, "last": 148 + 10, "none": 10}
    assert training.count(params) == sizes[which]
    assert training.count(params) + training.count(frozen) == sizes["all"]
    before = jax.tree.map(np.array, (params, frozen))
    state = training.TrainState(params, spec.optimizer.init(params), frozen)
    videos = np.random.default_rng(0).integers(0, 256, (4, 64, 16, 16, 1), dtype=np.uint8)
    ones = np.ones(4, np.int32)
    batch = training.Batch(videos, 64 * ones, np.arange(4) % 2, ones.astype(np.float32))
    state, _ = training.train_step(spec, state, batch)
    for a, b in zip(jax.tree.leaves(before[1]), jax.tree.leaves(state.frozen), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(before[0]), jax.tree.leaves(state.params), strict=True):
        assert np.abs(a - b).max() > 0


def test_the_trunk_learns_more_slowly(tmp_path):
    def change(rate):
        settings = tiny_clips.settings(tmp_path, **OWN | {"trunk_rate": rate, "warmup": 0.0})
        spec, params, frozen = training.make_spec(settings, training.methods(settings)[0], 2)
        before = jax.tree.map(np.array, params)
        state = training.TrainState(params, spec.optimizer.init(params), frozen)
        videos = np.random.default_rng(0).integers(0, 256, (2, 64, 16, 16, 3), dtype=np.uint8)
        ones = np.ones(2, np.int32)
        batch = training.Batch(videos, 64 * ones, np.arange(2), ones.astype(np.float32))
        after = training.train_step(spec, state, batch)[0].params
        found = jax.tree.map(lambda a, b: np.asarray(b) - a, before, after)["classifier"]
        return found["trunk"]["stages"][0]["kernel"][...], found["scores"]["kernel"][...]

    (fast, head), (slow, same) = change(1.0), change(0.25)
    np.testing.assert_allclose(slow, fast / 4, rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(head, same)


def test_pictures_reach_a_trunk_in_zero_to_one_and_three_channels():
    seen = []

    class Spy(nnx.Module):
        num_features, stages = 3, ()

        def __call__(self, images):
            seen.append(images)
            return images.mean((1, 2))

    grey = jnp.full((1, 4, 4, 1), 51, jnp.uint8)
    made = TrunkClassifier(Spy(), 4, False, 2, rngs=nnx.Rngs(0))
    made(grey)
    assert seen[0].shape == (1, 4, 4, 3)
    np.testing.assert_allclose(seen[0], 0.2, rtol=1e-6)
    # Of depth a hole of a quarter changes nothing, one of three quarters is a hole.
    grids = np.zeros((1, 4, 4, 2), np.uint16)
    grids[..., 0], grids[..., 1] = 13107, 65535
    grids[0, 0, 0], grids[0, 1, 1] = (9830, 49151), (3277, 16384)
    DepthClassifier(made)(jnp.asarray(grids))
    expected = np.full((1, 4, 4, 3), 0.2)
    expected[0, 1, 1] = 0
    np.testing.assert_allclose(seen[1], expected, atol=1e-4)


def test_all_places_tell_where_something_is():
    given = {"layout": "camera", "model": "tiny_trunks:staged", "side": 16}
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[0, 4:6, 4:6], images[1, 10:12, 10:12] = 255, 255
    for pooling, same in (("mean", True), ("places", False)):
        made = make_classifier(Settings(**given, pooling=pooling), 3, seed=0)
        scores = np.asarray(made(jnp.asarray(images)))
        assert np.allclose(scores[0], scores[1], atol=1e-5) is same
    with pytest.raises(UserError, match="--pooling=places: this --model has no map"):
        make_classifier(
            Settings(**given | {"model": "tiny_trunks:of_file"}, pooling="places"), 3, 0
        )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"model": "vit_b16", "side": 40}, UserError, "side of at least 16, and a multiple of 16"),
        (
            {"model": "resnet50", "side": 32, "weights": "none.pth"},
            MissingFileError,
            "none.pth: no",
        ),
        ({"trained": "last", "last_stages": 3}, UserError, "the last 3 stages .* has 2"),
        ({"model": "no_module:here"}, UserError, "no_module:here: cannot be imported"),
    ],
)
def test_what_is_wrong_with_a_trunk_is_said_before_videos_are_read(tmp_path, given, error, message):
    (tmp_path / "videos.csv").write_text("this is not read")
    with pytest.raises(error, match=message):
        run_of(tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "bfloat16"}, "--precision: goes with a trunk .* not with --model=resnet"),
        ({"model": "vit", "weights": "w.pth"}, "--weights: goes with a trunk"),
        ({"model": "vit_b16", "pooling": "places"}, "vit_b16 has one token"),
        ({"model": "resnet18"}, "--model=resnet18: allowed: resnet, vit, mobilenet_v2, resnet50"),
        ({"model": "mobilenet_v2", "side": 100, "grids": (8,)}, "must be divisible .* got 8"),
    ],
)
def test_flags_that_do_not_go_together(given, message):
    with pytest.raises(UserError, match=message):
        Settings(**{"layout": "camera"} | given)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mobilenet_v2", "resnet50", "vit_b16"])
def test_the_usual_size_takes_grids_of_eight(model):
    """Shapes alone: a step of each on 224 / 8 = 28 pixels a cell, in bfloat16 with remat."""
    settings = Settings(
        layout="camera", model=model, side=224, grids=(8,), precision="bfloat16", remat=True
    )
    method = training.methods(settings)[-1]
    spec, params, frozen = training.make_spec(settings, method, 6, shapes_only=True)
    optimizer = jax.eval_shape(spec.optimizer.init, params)
    ones = np.ones(1, np.int32)
    videos = np.zeros((1, 128, 28, 28, 3), np.uint8)
    batch = training.Batch(videos, 128 * ones, ones, ones.astype(np.float32))
    state = training.TrainState(params, optimizer, frozen)
    after, _ = jax.eval_shape(lambda s, b: training.train_step(spec, s, b), state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {jnp.dtype("float32")}
