"""The job on tiny videos: end to end, resumed, refused."""

import json

import jax
import jax.numpy as jnp
import pytest
import tiny_clips
from flax import nnx

from experiments.grids import job, training
from experiments.grids.models import make_classifier
from experiments.grids.settings import Settings
from experiments.shared.metrics_log import MetricsLog


@nnx.jit
def scored(classifier, images):
    return classifier(images)


@pytest.fixture
def folder(tmp_path):
    return tiny_clips.write_folder(tmp_path)


def report_of(folder):
    return json.loads((folder / "out" / "report.json").read_text())


def results(folder):
    """What a job found, without the times."""
    keep = ("epoch", "loss", "train_accuracy", "test_accuracy")
    return [
        (run["variant"], run["seed"], [{k: e[k] for k in keep} for e in run["history"]])
        for run in report_of(folder)["runs"]
    ]


def test_end_to_end_and_resumed(folder, monkeypatch):
    few = {"grids": (2,), "baselines": ("single_frame",)}
    shown = job.run(tiny_clips.settings(folder, **few))
    out = folder / "out"
    for name in ("single frame", "TIME N=2, spatial"):
        assert name in shown
    for file in ("report.md", "grids.png", "accuracy.png", "confusion.png", "metrics.jsonl"):
        assert (out / file).stat().st_size > 0
    straight = results(folder)
    assert [variant["name"] for variant, _, _ in straight][0] == "single frame"
    assert all(len(history) == 2 for _, _, history in straight)
    with pytest.raises(ValueError, match="already holds a job"):
        job.run(tiny_clips.settings(folder, **few))
    with pytest.raises(ValueError, match="--learning_rate: was 0.002, now 0.1"):
        job.run(tiny_clips.settings(folder, **few, learning_rate=0.1, resume=True))

    # Stopped in the midst of the second run, after its first epoch is saved.
    (folder / "again").mkdir()
    out.rename(folder / "straight")
    write, lines = MetricsLog.write, []

    def stop(self, event, **values):
        lines.append(event)
        if len(lines) == 3:
            raise KeyboardInterrupt
        write(self, event, **values)

    monkeypatch.setattr(MetricsLog, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        job.run(tiny_clips.settings(folder, **few))
    monkeypatch.setattr(MetricsLog, "write", write)
    job.run(tiny_clips.settings(folder, **few, resume=True))
    assert results(folder) == straight


def test_variants():
    def names(**options):
        made = Settings(task="camera", **options)
        return [variant.name for variant in training.variants(made)]

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


@pytest.mark.parametrize(("model", "channels"), [("resnet", "rgb"), ("vit", "depth")])
def test_classifiers(model, channels):
    made = Settings(task="camera", model=model, input=channels, side=16, width=4)
    classifier = make_classifier(made, 5, seed=0)
    images = jnp.ones((2, 16, 16, made.channels)) * jnp.arange(16)[:, None]
    scores = scored(classifier, images)
    assert scores.shape == (2, 5) and jnp.isfinite(scores).all()
    # The brightness of the whole picture says nothing.
    assert jnp.allclose(scored(classifier, images + 50), scores, atol=1e-4)
    again = scored(make_classifier(made, 5, seed=0), images)
    assert jax.numpy.array_equal(scores, again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "videos"}, "--data_dir: needed with --task=videos"),
        ({"task": "camera", "source_frames": 8}, "--source_frames=8: must be odd"),
        ({"task": "camera", "warmup": 1.0}, "--warmup=1.0: must be less than 1"),
        ({"task": "camera", "grids": (3,)}, "--side=32: must be divisible by .* got 3"),
        ({"task": "camera", "seeds": ()}, "must each name at least one"),
        ({"task": "camera", "model": "mlp"}, "--model"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_vit_needs_patches():
    made = Settings(task="camera", model="vit", side=20, grids=(2,))
    with pytest.raises(ValueError, match="--side=20: must be divisible by 8 with --model=vit"):
        make_classifier(made, 3, seed=0)
