"""Weighted L1 costs of all centroid steps and frames: a matrix product with |c - x| for c x.

``cost[m, n] = sum_k weight[m, k] |centroid[m, k] - x[n, k]|`` with rows m = (class, step) and
columns n = (frame, sample). Tiles of it stay in registers while the features go by, one rank-1
update each: a subtraction and a multiply-add for each element, and nothing of size [m, n, k].

A tile is made of pieces of one element for each thread, because the compiler gives a thread few
rows and many columns of a larger array, and then spends its loads and barriers on them.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch

ROWS, COLUMNS = 32, 128  # of a tile, and a program
_WARPS = 2
_PIECE = 4, 16  # 8 x 8 of them make a tile
_WORDS = 2  # a turn of the loop, of one feature (float32) or two (float16) each
_CHUNK = 32  # features that are summed in float16
_MOST_TILES = 2**20 - 1  # in a row; when the compiler knows a bound it shares addresses

# The largest |centroid| and |x|, and weight, in float16 form: no difference and no chunk overflows.
_MOST_HALF, _MOST_HALF_WEIGHT = 32_000.0, 2.0**-4
_MOST_EXPONENT = 120  # of a scale, which float32 must hold


def forward(
    x: Array, centroid: Array, weight: Array, *, interpret: bool, half: bool = False
) -> Array:
    """Costs as the recurrence reads them.

    Args:
        x: ``[A, T, F]``; float32, or bf16 and f16, which are widened as they are read.
        centroid: ``[C, Tc, F]``.
        weight: ``[C, Tc, F]``.
        interpret: see `launch.call`.
        half: compute in float16, two features at a time, and sum every 32 of them in float32:
            1e-4 to 5e-4 off (relative, root mean square), not for values.

    Returns:
        float32 ``[M, N]``: the cost of step i of class c and frame j of sample a at
        ``[c * Tc + i, j * A + a]``. Padded to whole tiles.
    """
    # Frames outermost: neighbouring lanes of the recurrence then read neighbouring numbers.
    columns = x.transpose(1, 0, 2).reshape(-1, x.shape[-1])
    rows = [o.reshape(-1, o.shape[-1]).astype(jnp.float32) for o in (centroid, weight)]
    shape = -(-rows[0].shape[0] // ROWS) * ROWS, -(-columns.shape[0] // COLUMNS) * COLUMNS
    scale = jnp.ones(shape[0], jnp.float32)
    if half:
        rows[1], scale = _scaled_weight(rows[1], shape[0])
        columns, rows[0] = (jnp.clip(o, -_MOST_HALF, _MOST_HALF) for o in (columns, rows[0]))
        to_words = _half_words
    else:
        to_words = _words
    (cost,) = launch.call(
        partial(_kernel, half=half, interpret=interpret),
        jnp.stack([to_words(operand, shape[0]) for operand in rows], axis=2),
        to_words(columns, shape[1]),
        scale,
        grid=(shape[0] // ROWS, shape[1] // COLUMNS),
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32)],
        name="weighted_cost_half" if half else "weighted_cost",
        interpret=interpret,
        num_warps=_WARPS,
    )
    return cost


def too_many(num_rows: int, num_columns: int) -> bool:
    """Whether a matrix of so many unpadded rows and columns is more than `forward` can address."""
    tiles = -(-num_rows // ROWS), -(-num_columns // COLUMNS)
    return tiles[0] * ROWS * tiles[1] * COLUMNS > 2**31 - 1 or max(tiles) > _MOST_TILES


def _words(operand: Array, size: int) -> Array:
    """``[rows, F]`` as ``[turns, size, _WORDS]``, filled with zeros, which contribute 0."""
    fill = size - operand.shape[0], -operand.shape[1] % _WORDS
    whole = jnp.pad(operand, ((0, fill[0]), (0, fill[1])))
    return whole.reshape(size, -1, _WORDS).transpose(1, 0, 2)


def _half_words(operand: Array, size: int) -> Array:
    """Likewise with two float16 features in each word, an int32; whole chunks."""
    fill = -operand.shape[1] % _CHUNK
    pairs = jnp.pad(operand.astype(jnp.float16), ((0, 0), (0, fill)))
    pairs = pairs.reshape(*pairs.shape[:1], -1, 2)
    return _words(lax.bitcast_convert_type(pairs, jnp.int32), size)


def _scaled_weight(weight: Array, size: int) -> tuple[Array, Array]:
    """Each row of the weights by a power of two that lets float16 hold it, and the inverses."""
    largest = jnp.max(jnp.abs(weight), axis=1)
    usable = (largest > 0) & jnp.isfinite(largest)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 1))
    exponent = jnp.clip(exponent, -_MOST_EXPONENT, _MOST_EXPONENT)
    scale = jnp.ldexp(jnp.float32(1 / _MOST_HALF_WEIGHT), exponent)
    return weight / scale[:, None], jnp.pad(scale, (0, size - scale.shape[0]))


def _kernel(rows_ref, columns_ref, scale_ref, cost_ref, *, half, interpret):
    row = jnp.minimum(launch.program(0), _MOST_TILES) * ROWS
    column = jnp.minimum(launch.program(1), _MOST_TILES) * COLUMNS
    piece = (ROWS, COLUMNS) if interpret else _PIECE  # of any size the result is the same
    row_pieces = [launch.block(row + i, piece[0]) for i in range(0, ROWS, piece[0])]
    column_pieces = [launch.block(column + j, piece[1]) for j in range(0, COLUMNS, piece[1])]

    def turn(add: Callable[..., Array], index: Array, totals: tuple[Array, ...]):
        """Adds `_WORDS` words to the total of every piece."""
        xs = [list(_each_word(columns_ref[index, block, :])) for block in column_pieces]
        after = []
        for i, block in enumerate(row_pieces):
            words = list(_each_word(rows_ref[index, block, :, :]))
            for j, x in enumerate(xs):
                total = totals[i * len(xs) + j]
                for pair, x_word in zip(words, x, strict=True):
                    centroid, weight = _each_word(pair)
                    total = add(weight[:, None], centroid[:, None], x_word[None], total)
                after.append(total)
        return tuple(after)

    def zeros(dtype):
        return tuple(jnp.zeros(piece, dtype) for _ in row_pieces for _ in column_pieces)

    def single(weight, centroid, x, total):
        distance = jnp.abs(centroid - x.astype(jnp.float32))
        return launch.multiply_add(weight, distance, total, interpret)

    def chunk(index, totals):
        turns = _CHUNK // (2 * _WORDS)
        add = partial(launch.add_half_distances, interpret=interpret)
        sums = lax.fori_loop(
            index * turns, (index + 1) * turns, partial(turn, add), zeros(jnp.int32)
        )
        return tuple(
            launch.add_halves(s, total, interpret) for s, total in zip(sums, totals, strict=True)
        )

    if half:
        chunks = rows_ref.shape[0] * 2 * _WORDS // _CHUNK
        totals = lax.fori_loop(0, chunks, chunk, zeros(jnp.float32))
    else:
        totals = lax.fori_loop(0, rows_ref.shape[0], partial(turn, single), zeros(jnp.float32))
    for i, block in enumerate(row_pieces):
        for j, columns in enumerate(column_pieces):
            total = totals[i * len(column_pieces) + j]
            cost_ref[block, columns] = scale_ref[block][:, None] * total if half else total


def _each_word(words: Array) -> Iterator[Array]:
    """The two parts of a last axis: neighbours in memory that one load brings."""
    yield from (
        part.reshape(words.shape[:-1]) for part in lax.split(words, (1, 1), axis=words.ndim - 1)
    )
