"""Episodes: who is in one, and what it depends on."""

import numpy as np
import pytest

from experiments.seq_images.episodes import Sampler
from experiments.seq_images.features import Features

CLASSES, EACH, DRAWS, TAU, SIZE = 4, 7, 3, 2, 5


@pytest.fixture(scope="module")
def features():
    """Feature 0 is the number of the image, feature 1 that of the draw (-1: none), 2 the class."""
    count = CLASSES * EACH
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, SIZE)).astype(np.float16)
    sequences = rng.normal(size=(count, DRAWS, TAU, SIZE)).astype(np.float16)
    labels = np.repeat(np.arange(CLASSES), EACH).astype(np.int32)
    images[:, 0], images[:, 1], images[:, 2], images[:, 4] = np.arange(count), -1, labels, 3
    sequences[..., 0] = np.arange(count)[:, None, None]
    sequences[..., 1] = np.arange(DRAWS)[:, None]
    sequences[..., 2] = labels[:, None, None]
    sequences[..., 4] = 3
    return Features(images, sequences, labels)


@pytest.fixture(scope="module")
def sampler(features):
    return Sampler(features, np.arange(len(features.labels)), seed=1)


def test_an_episode(sampler):
    episode = sampler.draw(3, queries=2, support=3)
    assert episode.query.shape == (8, TAU, SIZE) and episode.support.shape == (4, 3, TAU, SIZE)
    np.testing.assert_array_equal(episode.classes, np.arange(CLASSES))
    np.testing.assert_array_equal(episode.labels, np.repeat(np.arange(CLASSES), 2))
    np.testing.assert_array_equal(episode.query[:, 0, 2], episode.labels)
    np.testing.assert_array_equal(
        episode.support[..., 0, 2], np.repeat(np.arange(4)[:, None], 3, 1)
    )
    for label in range(CLASSES):
        asked = episode.query[episode.labels == label, 0, 0]
        together = np.concatenate([asked, episode.support[label, :, 0, 0]])
        assert len(set(together.tolist())) == 5  # no image is query and support


def test_it_is_a_function_of_seed_and_step(features, sampler):
    one, same = (sampler.draw(3, queries=2, support=3) for _ in range(2))
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (sampler.draw(4, queries=2, support=3).query != one.query).any()
    other = Sampler(features, np.arange(len(features.labels)), seed=2)
    assert (other.draw(3, queries=2, support=3).query != one.query).any()


def test_methods_see_the_same_queries(sampler):
    with_support = sampler.draw(3, queries=2, support=3)
    for support in (0, 1, 5):
        episode = sampler.draw(3, queries=2, support=support)
        np.testing.assert_array_equal(episode.query, with_support.query)
        assert episode.support.shape == (4, support, TAU, SIZE)
    fewer = sampler.draw(3, queries=2, support=1).support
    np.testing.assert_array_equal(fewer, with_support.support[:, :1])
    still = sampler.draw(3, queries=2, support=0, still=True)
    assert still.query.shape == (8, 1, SIZE) and (still.query[..., 1] == -1).all()
    np.testing.assert_array_equal(still.query[:, 0, 0], with_support.query[:, 0, 0])


def test_every_image_and_draw_gets_its_turn(sampler):
    steps = [sampler.draw(step, queries=2, support=3) for step in range(60)]
    frames = np.concatenate([step.query[:, 0] for step in steps])
    assert len(set(frames[:, 0].tolist())) == CLASSES * EACH
    assert set(frames[:, 1].tolist()) == set(range(DRAWS))


def test_few_classes_an_episode_and_few_rows(features):
    rows = np.flatnonzero(np.arange(len(features.labels)) % EACH < 4)
    sampler = Sampler(features, rows, seed=0, classes_per_episode=2)
    seen = set()
    for step in range(30):
        episode = sampler.draw(step, queries=1, support=3)
        assert len(episode.classes) == 2 and episode.query.shape[0] == 2
        np.testing.assert_array_equal(episode.query[:, 0, 2], episode.classes)
        used = np.concatenate([episode.query[:, 0, 0], episode.support[..., 0, 0].ravel()])
        assert set(used.astype(int)) <= set(rows)
        seen |= set(episode.classes.tolist())
    assert seen == set(range(CLASSES))


def test_statistics_are_of_the_rows_and_their_sequences(features):
    rows = np.array([0, 3, 8, 9, 15, 22])
    sampler = Sampler(features, rows, seed=0)
    frames = np.concatenate(
        [features.images[rows], features.sequences[rows].reshape(-1, SIZE)]
    ).astype(np.float64)
    np.testing.assert_allclose(sampler.scaling.mean, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sampler.scaling.std[:4], frames.std(axis=0)[:4], rtol=1e-5)
    assert sampler.scaling.std[4] == 1  # a feature that never changes
