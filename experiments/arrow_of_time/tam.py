"""TAM without training: a segment is compared with all that are labelled."""

import jax
import jax.numpy as jnp
import numpy as np

import tempalign
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.dataset import TseDataset, TseSplit

RULES = ("TAM, nearest segment", "TAM, mean over a class")
"""The nearest neighbour, as with DTW; and the rule of the paper for several shots."""

_AT_ONCE = 16  # queries, each with all supports: bounds memory


def classify(dataset: TseDataset, scaling: Scaling, gamma: float) -> dict[str, np.ndarray]:
    """Returns the guesses by each of `RULES`, int ``[N_test]``; of equals the first class.

    Args:
        dataset: sequences of one length.
        scaling: what the features are standardised with.
        gamma: temperature of the soft minimum.
    """
    support = jnp.asarray(_read(dataset.train, scaling))
    queries, labels = _read(dataset.test, scaling), dataset.train.labels
    starts = progress(range(0, len(queries), _AT_ONCE), desc="TAM", unit="batch")
    found = []
    for start in starts:
        rows = (start + np.arange(_AT_ONCE)) % len(queries)  # one shape, one compilation
        found.append(np.asarray(_distances(queries[rows], support, jnp.float32(gamma))))
    distances = np.concatenate(found)[: len(queries)]
    classes = [distances[:, labels == number] for number in range(dataset.num_classes)]
    scores = (
        np.stack([of_class.min(axis=1) for of_class in classes], axis=1),
        np.stack([of_class.mean(axis=1, dtype=np.float64) for of_class in classes], axis=1),
    )
    return {rule: np.argmin(of, axis=1) for rule, of in zip(RULES, scores, strict=True)}


def _read(split: TseSplit, scaling: Scaling) -> np.ndarray:
    return np.stack([scaling.apply(split.source[number]) for number in range(len(split))])


@jax.jit
def _distances(queries: jax.Array, support: jax.Array, gamma: jax.Array) -> jax.Array:
    return tempalign.tam_distance(queries[:, None], support[None], gamma)
