"""A run that was killed ends as if it had not been, and nothing that was saved is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import training
from experiments.dejavid.initial import initial_centroids
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]


def train(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    with MetricsLog(folder / "metrics.jsonl") as log:
        return training.train_run(
            tiny_tse.dataset(), tiny_tse.settings(**changes), "full", 0, folder / "run", log
        )


def arrays(folder):
    with Checkpoints(folder / "run") as checkpoints:
        return checkpoints.read(checkpoints.latest())[0]


def steps_saved(folder):
    return sorted(int(path.name) for path in (folder / "run").iterdir() if path.name.isdigit())


def without_seconds(history):
    return [{key: entry[key] for key in entry if key != "seconds"} for entry in history]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return train(folder), arrays(folder)


def assert_same(folder, resumed, uninterrupted):
    result, expected = uninterrupted
    found = arrays(folder)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert without_seconds(resumed.history) == without_seconds(result.history)
    np.testing.assert_array_equal(resumed.test_logits, result.test_logits)


# 60 samples in batches of 8 are 8 steps an epoch.
@pytest.mark.parametrize(
    ("where", "saved"),
    [
        ("step:5", []),  # in the first epoch: nothing is saved yet
        ("step:13", [1]),  # in the second
        ("arrays:2", [1]),
        ("commit:2", [1]),
    ],
)
def test_killed_run_resumes_bit_for_bit(tmp_path, uninterrupted, where, saved):
    centroids = tmp_path / "centroids.npy"
    np.save(centroids, initial_centroids(tiny_tse.dataset(), tiny_tse.settings(), 0))
    killed = subprocess.run(
        [sys.executable, str(HERE / "killed_run.py"), str(tmp_path), where, str(centroids)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert steps_saved(tmp_path) == saved
    torn = [path.name for path in (tmp_path / "run").iterdir() if not path.name.isdigit()]
    assert bool(torn) == (not where.startswith("step"))
    assert_same(tmp_path, train(tmp_path), uninterrupted)
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        starts = [line["epochs_done"] for line in log.lines() if line["event"] == "run_start"]
    assert starts == [0, len(saved)]


def test_interruption_between_epochs(tmp_path, uninterrupted, monkeypatch):
    save, saved = Checkpoints.save, []

    def save_twice(self, step, *args):
        save(self, step, *args)
        saved.append(step)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save_twice)
        train(tmp_path)
    assert saved == [1, 2]
    assert_same(tmp_path, train(tmp_path), uninterrupted)


def test_finished_run_is_read_not_repeated(tmp_path, uninterrupted, monkeypatch):
    first = train(tmp_path)

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_step", never)
    monkeypatch.setattr(training, "initial_centroids", never)
    again = train(tmp_path)
    assert again.history == first.history and again.seconds == first.seconds
    for name in ("test_logits", "centroids", "log_weights", "feature_mean", "feature_std"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


# Orbax leaves threads that report to an event loop which has ended with the failed read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoint_is_named_and_the_one_before_goes_on(tmp_path, uninterrupted):
    train(tmp_path)
    newest = tmp_path / "run" / "3"
    for path in newest.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="is damaged") as error:
        train(tmp_path)
    assert str(newest) in str(error.value)
    assert "Delete that folder; --resume then goes on from step 2" in str(error.value)
    assert steps_saved(tmp_path) == [2, 3]
    subprocess.run(["rm", "-r", str(newest)], check=True)
    assert_same(tmp_path, train(tmp_path), uninterrupted)


def test_checkpoint_of_another_shape_lists_the_arrays(tmp_path):
    train(tmp_path)
    before = arrays(tmp_path)
    with pytest.raises(ValueError, match="is of another model than this one") as error:
        train(tmp_path, num_steps=6)
    assert "state.params.centroids: float32[3, 4, 4], expected float32[3, 6, 4]" in str(error.value)
    with pytest.raises(ValueError, match="state.paths.*: unknown"):
        train(tmp_path, fixed_epoch_paths=False)
    jax.tree.map(np.testing.assert_array_equal, arrays(tmp_path), before)


def test_two_devices_share_every_batch(tmp_path):
    expected = train(tmp_path / "one", epochs=2)
    done = subprocess.run(
        [sys.executable, str(HERE / "two_devices.py"), str(tmp_path)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "--batch_size must be a multiple of 2, the devices that jax sees, got 7" in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("loss", "train_accuracy", "test_top1"):
        np.testing.assert_allclose(
            [entry[name] for entry in found["history"]],
            [entry[name] for entry in expected.history],
            rtol=1e-4,
        )
    np.testing.assert_allclose(found["logits"], expected.test_logits, rtol=1e-3, atol=1e-3)
