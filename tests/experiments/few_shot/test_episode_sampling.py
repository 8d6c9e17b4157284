"""Episodes: right shape, no sample twice, the same ones again, every choice equally likely."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from experiments.few_shot.sampling import Classes, distinct, sample_episodes

CLASSES = Classes(np.array([0, 7, 11, 20], np.int32), np.array([7, 4, 9, 6], np.int32))
LABELS = np.repeat(np.arange(4), CLASSES.size)


def draw(numbers, *, shots=2, queries=2, way=3, seed=5):
    episodes = sample_episodes(
        seed, jnp.asarray(numbers), CLASSES, way=way, shots=shots, queries=queries
    )
    return np.asarray(episodes.query), np.asarray(episodes.support)


def test_an_episode_is_n_way_k_shot_without_repetition():
    query, support = draw(range(50))
    assert query.shape == (50, 6) and support.shape == (50, 3, 2)
    for q, s in zip(query, support, strict=True):
        assert len(set(q) | set(s.ravel())) == 6 + 6
        classes = LABELS[s]
        assert (classes == classes[:, :1]).all() and len(set(classes[:, 0])) == 3
        np.testing.assert_array_equal(LABELS[q], classes[:, 0].repeat(2))


def test_an_episode_is_a_function_of_seed_and_number():
    query, support = draw(range(50))
    again = draw([17, 3] * 25)
    np.testing.assert_array_equal(again[0][:2], query[[17, 3]])
    np.testing.assert_array_equal(again[1][:2], support[[17, 3]])
    assert (draw(range(50), seed=6)[0] != query).any()
    assert len({tuple(q) + tuple(s.ravel()) for q, s in zip(query, support, strict=True)}) > 40


def test_fewer_shots_are_the_first_of_more():
    query, support = draw(range(50), shots=2)
    fewer = draw(range(50), shots=1)
    np.testing.assert_array_equal(fewer[0], query)
    np.testing.assert_array_equal(fewer[1], support[..., :1])


def test_every_choice_is_equally_likely():
    """Chi-square of all ordered choices of 3 of 5: 59 degrees of freedom, 99.9 % below 98.3."""
    keys = jax.random.split(jax.random.key(1), 12_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: distinct(key, 3, 5)))(keys))
    counts = Counter(map(tuple, drawn.tolist()))
    choices = list(itertools.permutations(range(5), 3))
    assert counts.keys() == set(choices)
    expected = len(keys) / len(choices)
    assert sum((counts[c] - expected) ** 2 / expected for c in choices) < 98.3


def test_all_of_them_is_a_permutation():
    drawn = np.asarray(distinct(jax.random.key(0), 6, 6))
    assert sorted(drawn) == list(range(6))
