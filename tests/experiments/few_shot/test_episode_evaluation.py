"""Evaluation against plain loops; the table of all distances gives the same numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_episodes
from flax import nnx

import tempalign
from experiments.few_shot import data, evaluation
from experiments.few_shot.evaluation import Accuracy, Row
from experiments.few_shot.models import TemporalMeanHead
from experiments.few_shot.sampling import sample_episodes
from tempalign.heads import FewShotHead

ROWS = [
    Row("order_blind", 0.1),
    Row("mean", 0.1),
    Row("tam", 0.1),
    Row("tam", 1.0),
    Row("dtw", 0.1),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tiny_episodes.write(tmp_path_factory.mktemp("tiny"))
    return folder, data.load(tiny_episodes.settings(folder)).test


@pytest.fixture(scope="module")
def direct(loaded):
    return run(*loaded, distance_table="never")


def run(folder, split, **changes):
    settings = tiny_episodes.settings(folder, **changes)
    encoded = evaluation.encode(FewShotHead(), split.features)
    return evaluation.evaluate(encoded, split, ROWS, settings, num_episodes=40, shots=(1, 2))


def cosine(a, b):
    return 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def aligned(row, x):
    """Distances [N, N] between all samples; the library's own functions have oracles elsewhere."""
    if row.matching == "mean":
        return np.array([[np.mean([[cosine(a, b) for b in y] for a in z]) for y in x] for z in x])
    if row.matching == "dtw":
        return np.asarray(tempalign.dtw(x[:, None], x, cost="cosine"))
    return np.asarray(tempalign.tam_distance(x[:, None], x, row.gamma))


@pytest.mark.one_in(2)
def test_accuracy_is_that_of_a_loop_over_episodes(loaded, direct):
    _, split = loaded
    x = split.features
    episodes = sample_episodes(0, jnp.arange(40), split.classes, way=3, shots=2, queries=1)
    query, support = (np.asarray(part) for part in episodes)
    tables = {row: aligned(row, x) for row in ROWS[1:]}

    def distance(row, q, supports):
        if row.matching == "order_blind":
            return cosine(x[q].mean(0), x[supports].mean(1).mean(0))
        return tables[row][q, supports].mean()

    for (row, shots), found in direct.accuracies.items():
        fractions = np.array(
            [
                np.mean(
                    [
                        np.argmin([distance(row, q, of_class[:shots]) for of_class in s]) == k
                        for k, q in enumerate(qs)
                    ]
                )
                for qs, s in zip(query, support, strict=True)
            ]
        )
        assert found.mean == pytest.approx(fractions.mean(), abs=1e-6), (row, shots)
        error = fractions.std(ddof=1) / np.sqrt(40)
        assert found.interval == pytest.approx(1.96 * error, abs=1e-6)


def test_counts_are_those_of_a_loop_over_queries(loaded, direct):
    _, split = loaded
    episodes = sample_episodes(0, jnp.arange(40), split.classes, way=3, shots=2, queries=1)
    query, support = (np.asarray(part) for part in episodes)
    row = Row("tam", 0.1)
    table = aligned(row, split.features)
    asked, right = np.zeros((2, 27), int)
    confusion = np.zeros((3, 3), int)
    for qs, s in zip(query, support, strict=True):
        for q in qs:
            guess = split.labels[s[np.argmin([table[q, of_class].mean() for of_class in s]), 0]]
            asked[q] += 1
            right[q] += guess == split.labels[q]
            confusion[split.labels[q], guess] += 1
    assert direct.asked == asked.tolist() and sum(direct.asked) == 120
    assert direct.right[row, 2] == right.tolist()
    assert direct.confusion[row, 2] == confusion.tolist()


def test_the_table_of_all_distances_changes_nothing(loaded, direct):
    assert run(*loaded, distance_table="always") == direct


def test_neither_does_the_size_of_a_batch(loaded, direct):
    assert run(*loaded, distance_table="never", eval_batch=7) == direct


def test_the_table_is_taken_where_it_is_fewer_pairs(loaded):
    folder, _ = loaded
    settings = tiny_episodes.settings(folder)  # 3 x 3 x 2 pairs an episode
    assert evaluation.use_table(settings, 27, 41, 2) and not evaluation.use_table(
        settings, 27, 40, 2
    )
    always = tiny_episodes.settings(folder, distance_table="always")
    assert evaluation.use_table(always, 10**6, 1, 1)


def test_frame_costs_of_a_batch_at_once_are_those_one_by_one(loaded, monkeypatch):
    _, split = loaded
    encoded = evaluation.encode(FewShotHead(), split.features)
    episodes = sample_episodes(0, jnp.arange(16), split.classes, way=3, shots=2, queries=1)
    one_by_one = evaluation._costs_of_episodes(encoded.frames, episodes)
    monkeypatch.setattr(evaluation.jax, "default_backend", lambda: "gpu")
    at_once = evaluation._costs_of_episodes.__wrapped__(encoded.frames, episodes)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-6)


def test_interval_of_known_numbers():
    found = Accuracy.of(np.array([0.0, 1.0, 1.0, 1.0]))
    assert found == Accuracy(0.75, pytest.approx(1.96 * 0.5 / 2))
    assert Accuracy.of(np.array([1.0])) == Accuracy(1.0, 0.0)


def test_features_that_are_not_finite_are_an_error(loaded):
    folder, split = loaded
    encoded = evaluation.encode(FewShotHead(encoder=lambda x: x / 0), split.features)
    with pytest.raises(ValueError, match="met distances that are NaN"):
        evaluation.evaluate(
            encoded, split, ROWS, tiny_episodes.settings(folder), num_episodes=40, shots=(1, 2)
        )


def test_the_order_blind_head_is_blind_to_order(rng):
    query = rng.normal(size=(3, 4, 5)).astype(np.float32)
    support = rng.normal(size=(2, 2, 4, 5)).astype(np.float32)
    head = TemporalMeanHead(encoder=nnx.Linear(5, 6, rngs=nnx.Rngs(0)))
    logits = head(query, support)
    assert logits.shape == (3, 2)
    shuffled = head(query[:, [2, 0, 3, 1]], support[:, :, ::-1])
    np.testing.assert_allclose(shuffled, logits, rtol=1e-4, atol=1e-5)
    encode = lambda x: np.asarray(head.encoder(x)).mean(-2)  # noqa: E731
    by_hand = [[-4 * cosine(q, s.mean(0)) for s in encode(support)] for q in encode(query)]
    np.testing.assert_allclose(logits, by_hand, rtol=1e-4, atol=1e-5)
