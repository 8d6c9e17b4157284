import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import baselines
from experiments.dejavid.baselines import NAMES, run_baselines, top_k_accuracy
from experiments.dejavid.steps import Statistics
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


def top1(dataset, names, **settings):
    results = run_baselines(dataset, tiny_tse.settings(baselines=names, **settings))
    assert [result.name for result in results] == [NAMES[name] for name in names]
    return dict(zip(names, results, strict=True))


def test_where_order_is_the_only_signal_alignment_wins_and_means_guess():
    results = top1(make_dataset(order_only), (*BLIND, *ALIGNING), standardize=True)
    for name in BLIND:
        assert 0.3 < results[name].top1 < 0.7
    for name in ALIGNING:
        assert results[name].top1 > 0.95


def test_where_order_does_not_matter_the_means_know_all():
    results = top1(make_dataset(order_free), (*BLIND, *ALIGNING))
    for name in (*BLIND, *ALIGNING):
        assert results[name].top1 > 0.95


def test_pooled_first_centroids_see_no_order():
    pooled = top1(make_dataset(order_only), ("dba_centroid",), pooling="mean")["dba_centroid"]
    assert 0.3 < pooled.top1 < 0.7
    assert pooled.num_parameters == 2 * 1 * 3


def test_results_are_in_the_order_of_the_report_with_parameters_and_times():
    dataset = make_dataset(order_free, num_classes=6, train=4, test=2)
    wanted = ("dba_centroid", "mean_1nn", "dtw_1nn", "mean_logistic")
    results = run_baselines(dataset, tiny_tse.settings(baselines=wanted, num_steps=4))
    assert [result.name for result in results] == [
        NAMES[name] for name in ("mean_1nn", "mean_logistic", "dtw_1nn", "dba_centroid")
    ]
    assert [result.num_parameters for result in results] == [None, 6 * 4, None, 6 * 4 * 3]
    assert all(result.seconds > 0 for result in results)
    assert all(result.top5 is not None and result.top5 >= result.top1 for result in results)


def test_runs_are_repeatable_and_none_can_be_asked_for():
    dataset = make_dataset(order_only, test=5)
    settings = tiny_tse.settings(baselines=(*BLIND, *ALIGNING), seeds=(3, 4))
    first, second = (
        [(result.name, result.top1) for result in run_baselines(dataset, settings)]
        for _ in range(2)
    )
    assert first == second
    assert run_baselines(dataset, tiny_tse.settings(baselines=())) == []


def test_no_top5_for_five_classes_or_fewer():
    results = top1(make_dataset(order_free, num_classes=5, train=2, test=1), BLIND)
    assert all(result.top5 is None for result in results.values())


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
    scaling = Statistics(np.array([0.5, -1.0]), np.array([2.0, 0.5]))
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

    results = top1(
        make_dataset(sequence, num_classes=3, train=1, test=8),
        ("encoder_logits",),
        encoder_logits=blocks,
    )
    assert results["encoder_logits"].top1 == 1.0
    assert results["encoder_logits"].num_parameters is None


@pytest.mark.parametrize("blocks", [2, 3])
def test_features_that_are_not_blocks_of_logits_are_refused(blocks):
    settings = tiny_tse.settings(baselines=("encoder_logits",), encoder_logits=blocks)
    with pytest.raises(ValueError, match=f"--encoder_logits={blocks}: the 3 features"):
        run_baselines(make_dataset(order_only), settings)


def test_top_k_counts_by_hand():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    labels = np.array([2, 0, 0])
    assert top_k_accuracy(scores, labels, 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, labels, 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, labels, 3) == 1


def test_ties_go_to_the_smaller_class_and_nan_is_last():
    tied = np.zeros((3, 3))
    labels = np.arange(3)
    assert [top_k_accuracy(tied, labels, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    broken = np.array([[np.nan, -5.0]])
    assert top_k_accuracy(broken, np.array([1]), 1) == 1
    assert top_k_accuracy(broken, np.array([0]), 1) == 0
