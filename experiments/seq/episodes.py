"""Episodes: which images, and which of their sequences, are query and support in a step."""

from typing import NamedTuple

import numpy as np

from experiments.seq.features import Features


class Episode(NamedTuple):
    """The arrays of one step; features as they are stored.

    Attributes:
        query: ``[K * Q, T, F]``: of each of K classes Q sequences, or images where T is 1.
        labels: int32 ``[K * Q]``.
        support: ``[K, N, tau, F]``; N is 0 where no exemplar is wanted.
        classes: int32 ``[K]``, the classes of the episode.
    """

    query: np.ndarray
    labels: np.ndarray
    support: np.ndarray
    classes: np.ndarray


class Sampler:
    """Draws episodes from the training images of one seed.

    An episode is a pure function of (seed, step). Methods of a seed see the same query images, and
    those with sequences the same sequences, whatever their N.

    Attributes:
        mean: float32 ``[F]``, of the features of the seed's training images and their sequences.
        std: float32 ``[F]``, their deviation; 1 for a feature that never changes.
    """

    def __init__(
        self, features: Features, rows: np.ndarray, *, seed: int, classes_per_episode: int = 0
    ) -> None:
        """Takes the features of all training images, and the rows that this seed trains on."""
        self._features, self._seed = features, seed
        labels = features.labels[rows]
        self._rows = [rows[labels == label] for label in np.unique(labels)]
        self._per_episode = classes_per_episode or len(self._rows)
        self.mean, self.std = _statistics(features, rows)

    def draw(self, step: int, *, queries: int, support: int, still: bool = False) -> Episode:
        """Returns the episode of a step.

        Args:
            step: its number.
            queries: Q, of each class.
            support: N, of each class, other images than the queries; 0 for none.
            still: the images themselves are the queries, not their sequences.
        """
        rng = np.random.default_rng([self._seed, 2, step])
        classes = np.sort(rng.permutation(len(self._rows))[: self._per_episode])
        orders = [rng.permutation(self._rows[label]) for label in classes]
        # Drawn for all rows of a class: the same draw whatever queries and support are.
        draws = [rng.integers(self._features.sequences.shape[1], size=len(o)) for o in orders]
        asked = np.concatenate([order[:queries] for order in orders])
        if still:
            query = self._features.images[asked][:, None]
        else:
            query = self._features.sequences[asked, np.concatenate([d[:queries] for d in draws])]
        behind = slice(queries, queries + support)
        return Episode(
            query,
            np.repeat(classes, queries).astype(np.int32),
            self._features.sequences[
                np.stack([order[behind] for order in orders]),
                np.stack([draw[behind] for draw in draws]),
            ],
            classes.astype(np.int32),
        )


def _statistics(features: Features, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every feature, image by image: the features may fill the memory."""
    size = features.images.shape[1]
    total, squares, count = np.zeros(size), np.zeros(size), 0
    for row in rows:
        frames = np.concatenate(
            [features.images[row][None], features.sequences[row].reshape(-1, size)]
        ).astype(np.float64)
        total, squares = total + frames.sum(axis=0), squares + np.square(frames).sum(axis=0)
        count += len(frames)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    std[std < 1e-6] = 1  # float16 features differ by more, or not at all
    return mean.astype(np.float32), std.astype(np.float32)
