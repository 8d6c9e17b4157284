"""What runs start from: feature statistics, heads, and first centroids, computed once a job."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

import tempalign
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import prepare
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.batches import padded_length
from experiments.tse.dataset import TseDataset, feature_statistics, to_padded
from tempalign import heads


def make_head(
    dataset: TseDataset,
    settings: Settings,
    *,
    weight_init: str = "ones",
    seed: int = 0,
    fixed_paths: bool = False,
    num_classes: int = 0,
) -> heads.DejaVidHead:
    """Returns a head for this data, with centroids still to be set.

    Args:
        dataset: gives the numbers of classes and features.
        settings: give T_c and the moves of a path.
        weight_init: first weights, "ones" or "normal".
        seed: of normal weights.
        fixed_paths: whether copies of the parameters decide the paths.
        num_classes: of a head for some of the classes; 0: of all.
    """
    return heads.DejaVidHead(
        num_classes or dataset.num_classes,
        settings.centroid_steps,
        dataset.num_features,
        weight_init=weight_init,
        diagonal=settings.diagonal,
        fixed_paths=fixed_paths,
        path_precision=settings.path_precision,
        rngs=nnx.Rngs(seed),
    )


@functools.lru_cache(maxsize=1)
def statistics(dataset: TseDataset, settings: Settings) -> Scaling:
    """Returns the training split's statistics; those that change nothing if not `standardize`."""
    if not settings.standardize:
        return Scaling.identity(dataset.num_features)
    return feature_statistics(dataset.train)


@functools.lru_cache(maxsize=4)
def initial_centroids(dataset: TseDataset, settings: Settings, seed: int) -> np.ndarray:
    """Averages random training samples of each class by DBA, as the paper's first centroids.

    The samples are resampled to T_c steps first and averaged after that, with Manhattan costs and
    without diagonal moves.

    Args:
        dataset: the samples are from its training split.
        settings: T_c, `dba_samples`, `dba_iterations`, `standardize`, `pooling`.
        seed: of the choice of samples.

    Returns:
        float32 [C, T_c, F], in standardised units.
    """
    # All classes at once; as many as a device will have where it has a share of them. A head has
    # two at least.
    block = max(-(-dataset.num_classes // settings.class_shards), 2)
    bar = progress(total=dataset.num_classes, desc="first centroids", unit="class")
    found = []
    for first in range(0, dataset.num_classes, block):
        labels = range(first, min(first + block, dataset.num_classes))
        head = make_head(dataset, settings, num_classes=block)
        series, present = _samples(dataset, settings, seed, labels, block, bar)
        head.init_from_dba(
            jnp.asarray(series),
            lengths=jnp.full(present.shape, settings.centroid_steps),
            weights=jnp.asarray(present),
            num_iters=settings.dba_iterations,
        )
        found.append(np.asarray(head.centroids[...])[: len(labels)])
    bar.close()
    return np.concatenate(found)


def _samples(
    dataset: TseDataset,
    settings: Settings,
    seed: int,
    labels: range,
    rows: int,
    bar: tqdm,
) -> tuple[np.ndarray, np.ndarray]:
    """The samples of some classes, resampled ``[rows, N, T_c, F]``, and which there are."""
    train, steps = dataset.train, settings.centroid_steps
    shape = (rows, settings.dba_samples)
    series = np.zeros((*shape, steps, dataset.num_features), np.float32)
    present = np.zeros(shape, np.float32)
    present[len(labels) :] = 1  # what fills the block up, zeros
    # One padded shape for all classes, so that resampling is compiled once.
    longest = padded_length(int(train.lengths.max()))
    for row, label in enumerate(labels):
        members = np.flatnonzero(train.labels == label)
        count = min(len(members), settings.dba_samples)
        chosen = np.random.default_rng([seed, label]).choice(members, count, replace=False)
        x, true_lengths = to_padded(train, np.sort(chosen))
        padded = np.zeros((shape[1], longest, dataset.num_features), np.float32)
        padded[:count, : x.shape[1]] = x
        lengths = np.ones(shape[1], np.int32)
        lengths[:count] = true_lengths
        series[row] = _resampled(
            padded, lengths, statistics(dataset, settings), settings.pooling, steps
        )
        present[row, :count] = 1
        bar.update()
    return series, present


@functools.partial(jax.jit, static_argnames=("pooling", "steps"))
def _resampled(
    x: jax.Array, lengths: jax.Array, scaling: Scaling, pooling: str, steps: int
) -> jax.Array:
    x, lengths = prepare(x, lengths, scaling, pooling)
    return tempalign.resample(x, steps, lengths=lengths)
