"""Seeded episodes: each is a pure function of a seed and its number."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Episodes(NamedTuple):
    """A batch of B episodes, as rows of a meta split. Query i is of class ``i // queries``.

    Attributes:
        query: int32 [B, way * queries].
        support: int32 [B, way, shots], other rows than the queries.
    """

    query: jax.Array
    support: jax.Array


class Classes(NamedTuple):
    """Where the samples of each class stand in a meta split that is sorted by class.

    Attributes:
        first: int32 [C], the first row of each class.
        size: int32 [C], its number of rows.
    """

    first: jax.Array | np.ndarray
    size: jax.Array | np.ndarray


@partial(jax.jit, static_argnames=("way", "shots", "queries"))
def sample_episodes(
    seed: int | jax.Array,
    numbers: jax.Array,
    classes: Classes,
    *,
    way: int,
    shots: int,
    queries: int,
) -> Episodes:
    """Draws episodes: `way` different classes, and different samples of each.

    The first k supports of a class are the same for every ``shots >= k``, and so are the queries:
    a 1-shot episode is the 5-shot episode of that number with the other supports left out.

    Args:
        seed: of all episodes.
        numbers: int [B]; which episodes.
        classes: see `Classes`; at least `way` of them, with ``shots + queries`` samples or more.
        way: classes an episode.
        shots: support sequences a class.
        queries: query sequences a class.
    """

    def one(number: jax.Array) -> Episodes:
        key = jax.random.fold_in(jax.random.key(seed), number)
        class_key, sample_key = jax.random.split(key)
        chosen = distinct(class_key, way, jnp.asarray(classes.size).shape[0])
        counts = jnp.asarray(classes.size)[chosen]
        rows = jax.vmap(partial(distinct, count=queries + shots))(
            jax.random.split(sample_key, way), size=counts
        )
        rows = rows + jnp.asarray(classes.first)[chosen][:, None]
        return Episodes(rows[:, :queries].reshape(-1), rows[:, queries:])

    return jax.vmap(one)(numbers)


def distinct(key: jax.Array, count: int, size: int | jax.Array) -> jax.Array:
    """Draws `count` different numbers of 0..size-1 in random order, each choice equally likely.

    Takes count^2 operations whatever the size, and the first k do not depend on `count`.

    Args:
        key: random key.
        count: how many, at most `size`.
        size: may be traced.

    Returns:
        int32 [count].
    """
    size = jnp.asarray(size, jnp.int32)
    places = jnp.arange(count, dtype=jnp.int32)

    def draw(taken: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The r-th of the numbers not yet taken: r and as many as are taken at or below it.
        rank = jax.random.randint(jax.random.fold_in(key, place), (), 0, size - place)
        number = rank + jnp.sum(taken - places <= rank, dtype=jnp.int32)
        return jnp.sort(taken.at[-1].set(number)), number

    # Free places hold what no rank reaches. The last one is free until the last draw.
    taken = jnp.full(count, jnp.iinfo(jnp.int32).max, jnp.int32)
    return jax.lax.scan(draw, taken, places)[1]
