"""Accuracy over thousands of episodes, in batched calls from features that are encoded once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.episodes.data import MetaSplit
from experiments.episodes.models import TemporalMeanHead, make_head, mean_distances
from experiments.episodes.sampling import Episodes, sample_episodes
from experiments.episodes.settings import ORDER_BLIND, Settings
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
    split: MetaSplit,
    rows: Sequence[Row],
    settings: Settings,
    *,
    num_episodes: int,
    shots: Sequence[int],
    desc: str = "episodes",
) -> dict[tuple[Row, int], Accuracy]:
    """Evaluates several ways of matching on the same episodes.

    Args:
        encoded: the samples of `split`, see `encode`.
        split: whose classes and samples the episodes are of.
        rows: what to evaluate.
        settings: of the job; gives way, queries, the seed and how to compute.
        num_episodes: the episodes 0 .. num_episodes - 1 of `settings.episode_seed`.
        shots: support samples a class, one result each.
        desc: text of the progress bar.

    Returns:
        The accuracy of each row with each number of shots.

    Raises:
        ValueError: a distance that is NaN.
    """
    batch = min(settings.eval_batch, num_episodes)
    tables = None
    if use_table(settings, len(split.ids), num_episodes, max(shots)):
        tables = distance_tables(encoded.frames, rows, settings.boundary)
    found = []
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
        found.append(_fractions(encoded, episodes, rows, tables, settings.boundary, tuple(shots)))
        bar.update(min(batch, num_episodes - start))
    bar.close()
    fractions = np.concatenate(found, axis=-1)[..., :num_episodes]
    if not np.isfinite(fractions).all():
        raise ValueError(
            "an evaluation met distances that are NaN: the encoder gives no finite features; a "
            "smaller --learning_rate may help"
        )
    return {
        (row, k): Accuracy.of(fractions[i, j])
        for i, row in enumerate(rows)
        for j, k in enumerate(shots)
    }


def use_table(settings: Settings, num_samples: int, num_episodes: int, shots: int) -> bool:
    """Whether the distances between all samples are fewer than those in the episodes."""
    if settings.distance_table != "auto":
        return settings.distance_table == "always"
    pairs = settings.way**2 * settings.queries * shots * num_episodes
    return num_samples**2 <= pairs


def distance_tables(frames: jax.Array, rows: Sequence[Row], boundary: str) -> dict[Row, jax.Array]:
    """Returns the distances [N, N] of all samples, queries by supports, of each aligned row.

    Args:
        frames: see `Encoded`.
        rows: what to compute; `ORDER_BLIND` has no table.
        boundary: of TAM.
    """
    size = len(frames)
    block = max(1, min(size, _TABLE_PAIRS // size))
    parts: dict[Row, list[jax.Array]] = {row: [] for row in _aligned(rows)}
    for start in range(0, size, block):
        costs = _costs_to_all(frames, np.minimum(np.arange(start, start + block), size - 1))
        for row, blocks in parts.items():
            blocks.append(_match(row.matching, boundary, row.gamma, costs))
    return {row: jnp.concatenate(blocks)[:size] for row, blocks in parts.items()}


def _fractions(
    encoded: Encoded,
    episodes: Episodes,
    rows: Sequence[Row],
    tables: dict[Row, jax.Array] | None,
    boundary: str,
    shots: tuple[int, ...],
) -> np.ndarray:
    """Fractions of queries classified correctly, [rows, shots, B]; NaN where a distance is."""
    costs = None
    if tables is None and _aligned(rows):
        costs = _costs_of_episodes(encoded.frames, episodes)
    found = []
    for row in rows:
        if row.matching == ORDER_BLIND:
            found.append(_right_blind(encoded.means, episodes, shots))
        elif tables is not None:
            found.append(_right_by_table(tables[row], episodes, shots))
        else:
            found.append(_right(_match(row.matching, boundary, row.gamma, costs), shots))
    return np.stack([np.asarray(one) for one in found])


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
def _right(distances: jax.Array, shots: tuple[int, ...]) -> jax.Array:
    """Fractions [shots, B] from distances [B, Q, way, max shots]."""
    return jnp.stack([_share(jnp.mean(distances[..., :k], axis=-1)) for k in shots])


@partial(jax.jit, static_argnames="shots")
def _right_by_table(table: jax.Array, episodes: Episodes, shots: tuple[int, ...]) -> jax.Array:
    distances = table[episodes.query[:, :, None, None], episodes.support[:, None]]
    return _right(distances, shots)


@partial(jax.jit, static_argnames="shots")
def _right_blind(means: jax.Array, episodes: Episodes, shots: tuple[int, ...]) -> jax.Array:
    query, support = means[episodes.query], means[episodes.support]
    return jnp.stack([_share(mean_distances(query, support[:, :, :k])) for k in shots])


def _share(scores: jax.Array) -> jax.Array:
    """Fraction [B] of queries whose smallest score [B, Q, way] is that of their own class."""
    truth = jnp.arange(scores.shape[-1]).repeat(scores.shape[-2] // scores.shape[-1])
    right = (jnp.argmin(scores, axis=-1) == truth).astype(jnp.float32)
    return jnp.mean(jnp.where(jnp.isnan(scores).any(-1), jnp.nan, right), axis=-1)


def _aligned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.matching != ORDER_BLIND]
