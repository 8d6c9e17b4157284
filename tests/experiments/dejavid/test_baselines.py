import json

import numpy as np
import pytest
import tiny_tse
from sklearn import config_context

from experiments.dejavid import baselines
from experiments.dejavid.baselines import check_logit_blocks, run_baseline
from experiments.shared.errors import UserError
from experiments.shared.scaling import Scaling
from experiments.tse.dataset import TseDataset, TseSplit

ALIGNING = ("dtw_1nn", "dba_centroid")
BLIND = ("mean_1nn", "mean_logistic")


def make_dataset(sequence, num_classes=2, train=20, test=40):
    """A data set of `sequence(rng, label)`, balanced."""

    def split(name, per_class, seed):
        rng = np.random.default_rng(seed)
        labels = np.tile(np.arange(num_classes), per_class)
        series = [np.asarray(sequence(rng, label), np.float32) for label in labels]
        ids = tuple(f"{name}{i}" for i in range(len(labels)))
        return TseSplit(ids, labels, np.array([len(x) for x in series]), series)

    splits = split("train", train, 0), split("test", test, 1)
    names = tuple(f"c{k}" for k in range(num_classes))
    return TseDataset("toy", *splits, names, splits[0].source.num_features)


def order_only(rng, label):
    """A ramp, forward or backward: the bag of frames has the same distribution."""
    time = np.linspace(-1, 1, rng.choice((6, 11)))[:, None]
    x = time * [1.0, 2.0, -1.0] + 0.3 * rng.normal(size=(len(time), 3))
    return x if label == 0 else x[::-1]


def order_free(rng, label):
    """Noise about a level of the class."""
    return 3.0 * label + rng.normal(size=(rng.choice((6, 11)), 3))


def run(dataset, names, **settings):
    """The results of baselines, by name."""
    settings = tiny_tse.settings(baselines=names, **settings)
    return {name: run_baseline(name, dataset, settings) for name in names}


def test_where_order_is_the_only_signal_alignment_wins_and_means_guess():
    results = run(make_dataset(order_only), (*BLIND, *ALIGNING), standardize=True)
    for name in BLIND:
        assert 0.3 < results[name]["top1"] < 0.7
    for name in ALIGNING:
        assert results[name]["top1"] > 0.95


def test_where_order_does_not_matter_the_means_know_all():
    results = run(make_dataset(order_free), (*BLIND, *ALIGNING))
    for name in (*BLIND, *ALIGNING):
        assert results[name]["top1"] > 0.95


def test_pooled_first_centroids_see_no_order():
    pooled = run(make_dataset(order_only), ("dba_centroid",), pooling="mean")["dba_centroid"]
    assert 0.3 < pooled["top1"] < 0.7
    assert pooled["num_parameters"] == 2 * 1 * 3


def test_results_have_what_a_report_needs():
    dataset = make_dataset(order_free, num_classes=6, train=4, test=2)
    results = run(dataset, (*BLIND, *ALIGNING), num_steps=4)
    parameters = {name: result["num_parameters"] for name, result in results.items()}
    assert parameters == {
        "mean_1nn": None, "mean_logistic": 6 * 4, "dtw_1nn": None, "dba_centroid": 6 * 4 * 3
    }  # fmt: skip
    for result in results.values():
        assert result["top5"] >= result["top1"]
        right = np.array(result["predictions"]) == dataset.test.labels
        assert right.mean() == pytest.approx(result["top1"])
    assert json.loads(json.dumps(results)) == results  # the log keeps them


def test_runs_are_repeatable_and_take_the_first_seed():
    dataset = make_dataset(order_only, test=5)
    first = run(dataset, (*BLIND, *ALIGNING), seeds=(3, 4))
    assert run(dataset, (*BLIND, *ALIGNING), seeds=(3,)) == first


def test_no_top5_for_five_classes_or_fewer():
    results = run(make_dataset(order_free, num_classes=5, train=2, test=1), BLIND)
    assert all(result["top5"] is None for result in results.values())


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_nearest_means_in_float32_are_those_of_float64(offset):
    """Far from zero, where the fast formula for distances cancels, and in several chunks."""

    def sequence(rng, label):
        return offset + rng.normal(size=(rng.choice((2, 3)), 20)) + 0.3 * (label == 1)

    dataset = make_dataset(sequence, num_classes=3, train=40, test=40)
    scaling = Scaling(np.full(20, 0.5, np.float32), np.full(20, 2.0, np.float32))
    with config_context(working_memory=0.01):  # MB: ten rows of 120 distances
        scores, num_parameters = baselines._mean_nearest_neighbour(dataset, scaling)

    def means(split):
        frames = [x.astype(np.float64).mean(axis=0) for x in split.source]
        return (np.array(frames) - 0.5) / 2.0

    distances = np.linalg.norm(means(dataset.test)[:, None] - means(dataset.train)[None], axis=-1)
    nearest = [distances[:, dataset.train.labels == label].min(axis=1) for label in range(3)]
    np.testing.assert_allclose(-scores, np.stack(nearest, axis=1), rtol=1e-4)
    np.testing.assert_array_equal(scores.argmax(axis=1), np.argmin(nearest, axis=0))
    assert num_parameters is None and scores.dtype == np.float32


def dtw_by_loops(x, y):
    total = np.full((len(x) + 1, len(y) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            before = min(total[i, j], total[i, j + 1], total[i + 1, j])
            total[i + 1, j + 1] = np.sum((x[i] - y[j]) ** 2) + before
    return total[-1, -1]


def test_dtw_scores_are_the_distances_to_the_nearest_of_each_class(monkeypatch):
    # Tiles of 4 over 18 and 15 sequences: full tiles, a partial one, and filler rows.
    monkeypatch.setattr(baselines, "_TILE", 4)
    dataset = make_dataset(
        lambda rng, label: rng.normal(size=(rng.integers(1, 9), 2)), 3, train=6, test=5
    )
    scaling = Scaling(np.array([0.5, -1.0]), np.array([2.0, 0.5]))
    scores, _ = baselines._dtw_nearest_neighbour(dataset, scaling)

    def scaled(split):
        return [(x.astype(float) - scaling.mean) / scaling.std for x in split.source]

    distances = np.array(
        [[dtw_by_loops(x, y) for y in scaled(dataset.train)] for x in scaled(dataset.test)]
    )
    for label in range(3):
        nearest = distances[:, dataset.train.labels == label].min(axis=1)
        np.testing.assert_allclose(-scores[:, label], nearest, rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 2])
def test_encoder_logits_are_the_end_of_every_block_summed_over_blocks(blocks):
    # A block is [2 embeddings, 3 logits]. The embeddings shout for the wrong class.
    def sequence(rng, label):
        x = rng.normal(size=(4, blocks, 5))
        x[..., 0] += 100 * (label + 1)
        x[:, -1, 2 + label] += 5  # only the last block's logits know
        return x.reshape(4, -1)

    results = run(
        make_dataset(sequence, num_classes=3, train=1, test=8),
        ("encoder_logits",),
        encoder_logits=blocks,
    )
    assert results["encoder_logits"]["top1"] == 1.0
    assert results["encoder_logits"]["num_parameters"] is None


@pytest.mark.parametrize("blocks", [2, 3])
def test_features_that_are_not_blocks_of_logits_are_refused(blocks):
    settings = tiny_tse.settings(baselines=("encoder_logits",), encoder_logits=blocks)
    with pytest.raises(UserError, match=f"--encoder_logits={blocks}: the 3 features"):
        check_logit_blocks(make_dataset(order_only), settings)
    check_logit_blocks(make_dataset(order_only), tiny_tse.settings(encoder_logits=blocks))
