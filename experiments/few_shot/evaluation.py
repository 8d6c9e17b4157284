"""Accuracy over thousands of episodes, in batched calls from features that are encoded once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.few_shot.data import Samples
from experiments.few_shot.models import TemporalMeanHead, make_head, mean_distances
from experiments.few_shot.sampling import Episodes, sample_episodes
from experiments.few_shot.settings import ORDER_BLIND, Settings
from experiments.shared.errors import UserError
from experiments.shared.progress import progress
from tempalign.heads import FewShotHead

_ENCODED_AT_ONCE = 256
_TABLE_PAIRS = 2**17  # pairs of sequences whose frame costs are held at a time


class Row(NamedTuple):
    """How queries and supports are compared.

    Attributes:
        matching: one of `settings.MATCHINGS`, or `ORDER_BLIND`.
        gamma: temperature; read by the two TAM matchings only.
    """

    matching: str
    gamma: float


class Encoded(NamedTuple):
    """All samples of a meta split, as they take part in episodes.

    Attributes:
        frames: [N, T, D] of length 1, see `FewShotHead.encode`.
        means: [N, D], see `TemporalMeanHead.means`.
    """

    frames: jax.Array
    means: jax.Array


@dataclass(frozen=True)
class Accuracy:
    """The mean over episodes of the fraction of queries classified correctly.

    Attributes:
        mean: in [0, 1].
        interval: half the width of its 95 % interval, 1.96 standard errors; 0 for one episode.
    """

    mean: float
    interval: float

    @classmethod
    def of(cls, fractions: np.ndarray) -> "Accuracy":
        """Summarises the fractions [E] of E episodes."""
        fractions = np.asarray(fractions, np.float64)
        error = fractions.std(ddof=1) / math.sqrt(len(fractions)) if len(fractions) > 1 else 0.0
        return cls(float(fractions.mean()), float(1.96 * error))


@dataclass(frozen=True)
class Evaluation:
    """What came of several ways of matching on the same episodes.

    Attributes:
        accuracies: by row and number of shots.
        asked: [N], how often each sample of the meta split was a query.
        right: likewise, how often it was classified rightly: [N] for each row and number of shots.
        confusion: [C][C], how often a query of the first class was taken for the second.
    """

    accuracies: dict[tuple[Row, int], Accuracy]
    asked: list[int]
    right: dict[tuple[Row, int], list[int]]
    confusion: dict[tuple[Row, int], list[list[int]]]


def encode(model: FewShotHead, features: np.ndarray) -> Encoded:
    """Encodes the sequences [N, T, F] of a meta split, on the device and once for all episodes."""
    head = FewShotHead(encoder=model.encoder)
    parts = [
        _encode(head, jnp.asarray(features[start : start + _ENCODED_AT_ONCE]))
        for start in range(0, len(features), _ENCODED_AT_ONCE)
    ]
    return Encoded(*(jnp.concatenate(part) for part in zip(*parts, strict=True)))


def _encode(head: FewShotHead, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return head.encode(x), TemporalMeanHead(encoder=head.encoder).means(x)


def evaluate(
    encoded: Encoded,
    split: Samples,
    rows: Sequence[Row],
    settings: Settings,
    *,
    num_episodes: int,
    shots: Sequence[int],
    desc: str = "episodes",
) -> Evaluation:
    """Evaluates several ways of matching on the same episodes.

    Args:
        encoded: the samples of `split`, see `encode`.
        split: whose classes and samples the episodes are of.
        rows: what to evaluate.
        settings: say way and queries of the episodes, their seed and how to compute.
        num_episodes: the episodes 0 .. num_episodes - 1 of `settings.episode_seed`.
        shots: support samples a class, one result each.
        desc: text of the progress bar.

    Raises:
        UserError: a distance that is NaN.
    """
    batch = min(settings.eval_batch, num_episodes)
    tables = None
    if use_table(settings, len(split.ids), num_episodes, max(shots)):
        tables = distance_tables(encoded.frames, rows, settings.boundary, desc)
    parts = []
    bar = progress(total=num_episodes, desc=desc, unit=" episodes")
    for start in range(0, num_episodes, batch):
        # The last batch goes on past the end, for it to have the shape of the others.
        episodes = sample_episodes(
            settings.episode_seed,
            np.arange(start, start + batch, dtype=np.int32),
            split.classes,
            way=settings.way,
            shots=max(shots),
            queries=settings.queries,
        )
        found = _classified(encoded, episodes, rows, tables, settings.boundary, tuple(shots))
        parts.append((*found, np.asarray(episodes.query), np.asarray(episodes.support[..., 0])))
        bar.update(min(batch, num_episodes - start))
    bar.close()
    fractions, guesses = (
        np.concatenate([part[k] for part in parts], axis=2)[:, :, :num_episodes] for k in (0, 1)
    )
    query, support = (np.concatenate([part[k] for part in parts])[:num_episodes] for k in (2, 3))
    if not np.isfinite(fractions).all():
        raise UserError(
            "an evaluation met distances that are NaN: the encoder gives no finite features; start "
            "anew with a smaller --learning_rate, in another --out_dir"
        )
    keys = [(i, j, (row, k)) for i, row in enumerate(rows) for j, k in enumerate(shots)]
    tables_of = {key: _counts(guesses[i, j], query, support, split) for i, j, key in keys}
    return Evaluation(
        {key: Accuracy.of(fractions[i, j]) for i, j, key in keys},
        np.bincount(query.ravel(), minlength=len(split.ids)).tolist(),
        {key: right.tolist() for key, (right, _) in tables_of.items()},
        {key: confusion.tolist() for key, (_, confusion) in tables_of.items()},
    )


def _counts(
    guesses: np.ndarray, query: np.ndarray, support: np.ndarray, split: Samples
) -> tuple[np.ndarray, np.ndarray]:
    """What guesses come to, all episodes together.

    Args:
        guesses: [E, Q], the place in its episode of the class that a query was taken for.
        query: [E, Q], rows of the split.
        support: [E, way], a row of each class of an episode.
        split: whose rows these are.

    Returns:
        (how often each sample was classified rightly [N], the confusion of classes [C, C]).
    """
    labels, count = split.labels, len(split.class_names)
    truth, taken = labels[query], np.take_along_axis(labels[support], guesses, axis=1)
    right = np.bincount(query[truth == taken], minlength=len(split.ids))
    pairs = np.bincount((truth * count + taken).ravel(), minlength=count**2)
    return right, pairs.reshape(count, count)


def use_table(settings: Settings, num_samples: int, num_episodes: int, shots: int) -> bool:
    """Whether the distances between all samples are fewer than those in the episodes."""
    if settings.distance_table != "auto":
        return settings.distance_table == "always"
    pairs = settings.way**2 * settings.queries * shots * num_episodes
    return num_samples**2 <= pairs


def distance_tables(
    frames: jax.Array, rows: Sequence[Row], boundary: str, desc: str = "distances"
) -> dict[Row, jax.Array]:
    """Returns the distances [N, N] of all samples, queries by supports, of each aligned row.

    Args:
        frames: see `Encoded`.
        rows: what to compute; `ORDER_BLIND` has no table.
        boundary: of TAM.
        desc: text of the progress bar.
    """
    size = len(frames)
    block = max(1, min(size, _TABLE_PAIRS // size))
    parts: dict[Row, list[jax.Array]] = {row: [] for row in _aligned(rows)}
    bar = progress(total=size * bool(parts), desc=f"{desc}: distances", unit=" sequences")
    for start in range(0, size * bool(parts), block):
        costs = _costs_to_all(frames, np.minimum(np.arange(start, start + block), size - 1))
        for row, blocks in parts.items():
            blocks.append(_match(row.matching, boundary, row.gamma, costs).block_until_ready())
        bar.update(min(block, size - start))
    bar.close()
    return {row: jnp.concatenate(blocks)[:size] for row, blocks in parts.items()}


def _classified(
    encoded: Encoded,
    episodes: Episodes,
    rows: Sequence[Row],
    tables: dict[Row, jax.Array] | None,
    boundary: str,
    shots: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Classifies the queries of B episodes.

    Returns:
        (fractions that are right [rows, shots, B], NaN where a distance is; the places in their
        episodes of the classes that queries are taken for [rows, shots, B, Q]).
    """
    costs = None
    if tables is None and _aligned(rows):
        costs = _costs_of_episodes(encoded.frames, episodes)
    found = []
    for row in rows:
        if row.matching == ORDER_BLIND:
            found.append(_by_means(encoded.means, episodes, shots))
        elif tables is not None:
            found.append(_by_table(tables[row], episodes, shots))
        else:
            found.append(_by_distances(_match(row.matching, boundary, row.gamma, costs), shots))
    fractions, guesses = zip(*found, strict=True)
    return np.stack([np.asarray(one) for one in fractions]), np.stack(guesses)


# Each of these is compiled once for all rows, encoders and temperatures that it can serve.


@jax.jit
def _costs_of_episodes(frames: jax.Array, episodes: Episodes) -> jax.Array:
    """Frame costs [B, Q, way, shots, T, T]."""
    head = FewShotHead()

    def costs(one: Episodes) -> jax.Array:
        return head.frame_costs(frames[one.query], frames[one.support])

    # XLA's matrix product on a CPU is several times faster for one episode after the other.
    if jax.default_backend() == "cpu":
        return jax.lax.map(costs, episodes)
    return jax.vmap(costs)(episodes)


@jax.jit
def _costs_to_all(frames: jax.Array, rows: np.ndarray) -> jax.Array:
    """Frame costs [len(rows), N, T, T]."""
    return FewShotHead().frame_costs(frames[rows], frames[None])[:, 0]


@partial(jax.jit, static_argnames=("matching", "boundary"))
def _match(matching: str, boundary: str, gamma: float, costs: jax.Array) -> jax.Array:
    return make_head(matching, gamma, boundary).match(costs)


@partial(jax.jit, static_argnames="shots")
def _by_distances(distances: jax.Array, shots: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Classifies by distances [B, Q, way, max shots]; see `_nearest`, shots come first."""
    return _nearest([jnp.mean(distances[..., :k], axis=-1) for k in shots])


@partial(jax.jit, static_argnames="shots")
def _by_table(
    table: jax.Array, episodes: Episodes, shots: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    distances = table[episodes.query[:, :, None, None], episodes.support[:, None]]
    return _by_distances(distances, shots)


@partial(jax.jit, static_argnames="shots")
def _by_means(
    means: jax.Array, episodes: Episodes, shots: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    query, support = means[episodes.query], means[episodes.support]
    return _nearest([mean_distances(query, support[:, :, :k]) for k in shots])


def _nearest(scores: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Classifies by the smallest of scores [B, Q, way], one array for each number of shots.

    Returns:
        (fractions that are right [shots, B], the class of each query int32 [shots, B, Q]).
    """
    found = []
    for one in scores:
        truth = jnp.arange(one.shape[-1]).repeat(one.shape[-2] // one.shape[-1])
        guess = jnp.argmin(one, axis=-1)
        right = (guess == truth[None]).astype(jnp.float32)
        share = jnp.mean(jnp.where(jnp.isnan(one).any(-1), jnp.nan, right), axis=-1)
        found.append((share, guess.astype(jnp.int32)))
    shares, guesses = zip(*found, strict=True)
    return jnp.stack(shares), jnp.stack(guesses)


def _aligned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.matching != ORDER_BLIND]
