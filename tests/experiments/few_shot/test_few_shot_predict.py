"""`--predict`: new sequences by a few labelled ones, with an encoder that was trained."""

import csv
import shutil

import numpy as np
import pytest
import tiny_episodes

from experiments.few_shot import data, job
from experiments.few_shot.settings import Settings
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.errors import MissingFileError, UserError
from tempalign import tam_distance

SHOTS = {"fall": 1, "dip": 2, "early": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of data, one of a job with two encoders, one of labelled sequences."""
    root = tmp_path_factory.mktemp("predict")
    folder = tiny_episodes.write(root / "data")
    settings = tiny_episodes.settings(
        folder,
        out_dir=str(root / "job"),
        shots=(1,),
        matchings=("tam",),
        train_through=("order_blind", "tam"),
        epochs=1,
        standardize=True,
    )
    job.run(settings)
    for name, shots in SHOTS.items():
        for number in range(shots):
            target = root / "support" / name / f"take{number}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / f"{name}{number}.npy", target)
    for name in SHOTS:
        (root / "queries" / name).mkdir(parents=True)
        shutil.copy(folder / f"{name}7.npy", root / "queries" / name / "new.npy")
    return root, settings


def request(root, **changes):
    values = {
        "out_dir": str(root / "job"),
        "predict": str(root / "queries"),
        "predict_support": str(root / "support"),
    }
    return Settings(**(values | changes))


def logits_by_hand(root, settings, through):
    """The mean distance to the supports of a class, from the parameters in the checkpoint."""
    with Checkpoints(root / "job" / "checkpoints" / f"{through}-gamma0.1-seed0") as checkpoints:
        _, arrays, _ = checkpoints.newest()
    scaling = data.load(settings).scaling

    def encoded(path):
        x = data.to_segments(np.load(path), 4, "linear", "none")
        x = (x - scaling.mean) / scaling.std
        return x @ arrays["best.encoder.kernel"] + arrays["best.encoder.bias"]

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def distance(query, supports):
        if through == "order_blind":
            return 4 * (1 - unit(query.mean(0)) @ unit(np.mean(supports, (0, 1))))
        return np.mean([tam_distance(query, support, 0.1) for support in supports])

    supports = {
        name: np.stack([encoded(path) for path in sorted((root / "support" / name).iterdir())])
        for name in sorted(SHOTS)
    }
    return {
        name: [
            -distance(encoded(root / "queries" / name / "new.npy"), of) for of in supports.values()
        ]
        for name in SHOTS
    }


@pytest.mark.one_in(3)
@pytest.mark.parametrize("through", ["tam", "order_blind"])
def test_probabilities_are_those_of_the_loss(world, through):
    root, settings = world
    before = set((root / "job").glob("predicted*.csv"))
    text = job.run(request(root, predict_method=through))
    (path,) = set((root / "job").glob("predicted*.csv")) - before
    assert f"by {through} seed 0, epoch 1" in text and str(path) in text
    with open(path, newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for name, logits in logits_by_hand(root, settings, through).items():
        expected = np.exp(logits) / np.exp(logits).sum()
        row = rows[f"{name}/new.npy"]
        found = [float(row[label]) for label in sorted(SHOTS)]
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert row["class"] == sorted(SHOTS)[int(np.argmax(expected))]


def test_one_file_by_sequences_that_a_table_names(world, tmp_path):
    root, _ = world
    table = root / "support.csv"
    lines = [f"support/{name}/take0.npy,{name.upper()}" for name in SHOTS]
    table.write_text("\n".join(["path,label", *lines]) + "\n")
    queries = root / "queries.csv"
    queries.write_text("id,path\nmine,data/fall0.npy\n")
    text = job.run(request(root, predict=str(queries), predict_support=str(table)))
    assert text.startswith("mine: ")
    assert "by tam seed 0" in text and "3 classes of 1 labelled sequence" in text
    # It is itself among the labelled ones; a distance of 0 in all segments is not surpassed.
    assert text.split("\n\n")[1].splitlines()[2].startswith("FALL")


def test_what_is_wrong_is_said(world, tmp_path):
    root, settings = world
    with pytest.raises(UserError, match="--predict_support: needed with --predict"):
        request(root, predict_support="")
    with pytest.raises(MissingFileError, match="--predict_support=.*absent: no such"):
        job.run(request(root, predict_support=str(tmp_path / "absent")))
    with pytest.raises(UserError, match="of 0 classes; two or more"):
        job.run(request(root, predict_support=str(tmp_path)))
    np.save(tmp_path / "loose.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match="loose.npy is in no class folder"):
        job.run(request(root, predict_support=str(tmp_path)))
    np.save(tmp_path / "wide.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(UserError, match="wide.npy: has 5 features a frame, .* trained on 4"):
        job.run(request(root, predict=str(tmp_path / "wide.npy")))
    outside = root / "support" / "outside.csv"
    outside.write_text("path,label\n../data/fall0.npy,fall\ndip/take0.npy,dip\n")
    with pytest.raises(UserError, match="--outside_paths"):
        job.run(request(root, predict_support=str(outside)))
    outside.unlink()
    with pytest.raises(MissingFileError, match="trained were order_blind seed 0, tam seed 0"):
        job.run(request(root, predict_method="dtw"))


def test_a_job_without_an_encoder_has_nothing_to_predict_with(world, tmp_path):
    root, _ = world
    settings = tiny_episodes.settings(
        root / "data", out_dir=str(tmp_path), shots=(1,), encoder="none", matchings=("min",)
    )
    job.run(settings)
    with pytest.raises(UserError, match="--encoder=none, so nothing was trained"):
        job.run(request(root, out_dir=str(tmp_path)))
