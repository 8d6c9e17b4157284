"""Episodes: which images, and which of their sequences, are query and support in a step."""

import numpy as np

from experiments.seq.steps import Episode
from experiments.seq_images.features import Features
from experiments.shared.scaling import Scaling


class Sampler:
    """Draws episodes from the training images of one seed.

    An episode is a pure function of (seed, step). Methods of a seed see the same query images, and
    those with sequences the same sequences, whatever their N.

    Attributes:
        scaling: of the features of the seed's training images and their sequences.
    """

    def __init__(
        self, features: Features, rows: np.ndarray, *, seed: int, classes_per_episode: int = 0
    ) -> None:
        """Takes the features of all training images, and the rows that this seed trains on."""
        self._features, self._seed = features, seed
        labels = features.labels[rows]
        self._rows = [rows[labels == label] for label in np.unique(labels)]
        self._per_episode = classes_per_episode or len(self._rows)
        # Image by image: the features of all of them may fill the memory.
        self.scaling = Scaling.fit(
            part for row in rows for part in (features.images[row][None], features.sequences[row])
        )

    def draw(self, step: int, *, queries: int, support: int, still: bool = False) -> Episode:
        """Returns the episode of a step; features as they are stored.

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
