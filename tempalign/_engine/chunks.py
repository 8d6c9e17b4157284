"""Batches that are worked on part by part."""

import jax.numpy as jnp

from tempalign._types import Array


def even(count: int, most: int) -> int:
    """How many of `count` are worked on at once: about `most`, all where those are little more.

    Chunks are as large as each other, because what fills up the last one is work, too.
    """
    if count <= 1.5 * most:
        return count
    return -(-count // -(-count // most))


def split(array: Array, axis: int, chunk: int) -> Array:
    """Cuts an axis into chunks, on a new first axis; the last is filled with repetitions."""
    count = array.shape[axis]
    chunks = -(-count // chunk)
    fill = [(0, chunks * chunk - count if k == axis else 0) for k in range(array.ndim)]
    array = jnp.pad(array, fill, mode="edge")
    shape = array.shape[:axis] + (chunks, chunk) + array.shape[axis + 1 :]
    return jnp.moveaxis(array.reshape(shape), axis, 0)
