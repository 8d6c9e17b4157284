"""Weighted L1 costs of all centroid steps and frames: a matrix product with |c - x| for c x.

``cost[m, n] = sum_k weight[m, k] |centroid[m, k] - x[n, k]|`` with rows m = (class, step) and
columns n = (frame, sample). Tiles of it stay in registers while the features go by, one rank-1
update each: a subtraction and a multiply-add for each element, and nothing of size [m, n, k].

A lane owns a block of rows and columns. Each element of the block is a vector of one number for
each lane, because of a larger array the compiler gives a thread few rows and many columns, and
then spends its loads and barriers on them. What a lane needs of a feature is read while those
before are computed: a load takes hundreds of cycles, and beside so many registers there are too
few warps to hide them.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.cost_plan import Form, Plan, plan
from tempalign.kernels.gpu.launch import WIDE

# Nearly all registers that a thread can have, so a multiprocessor holds two programs of four
# warps. In float16 form a block has two sums, of a stretch and of all: half the columns, so that
# a feature takes half as long, and is read earlier.
_SINGLE = Form(block=(8, 16), lanes=(16, 8), ahead=1, programs=2, cycles=8_800)
_HALF = Form(block=(8, 8), lanes=(16, 8), ahead=3, programs=2, cycles=5_200)
_INTERPRETED = Form(block=(4, 4), lanes=(4, 4), ahead=1, programs=2, cycles=8_800)
_STRETCH = 16  # words, of a feature (float32) or two (float16, which are summed in float16)
_MOST_TILES = 2**20 - 1  # in a row; when the compiler knows a bound it shares addresses

# The largest |centroid| and |x|, and weight, in float16 form: no difference and no sum overflows.
_MOST_HALF, _MOST_HALF_WEIGHT = 32_000.0, 2.0**-4
_MOST_EXPONENT = 120  # of a scale, which float32 must hold

Word = tuple[list[Array], list[Array], list[Array]]  # centroids, weights, videos of a block
State = tuple[list[Array], list[Word]]  # sums; words that have been read


class Layout(NamedTuple):
    """The shapes in which the kernel has its operands and result.

    Attributes:
        form: what a program computes.
        how: which program computes what.
        height: rows, padded.
        width: columns, padded.
        words: of a row or column, padded.
    """

    form: Form
    how: Plan
    height: int
    width: int
    words: int


def forward(
    x: Array, centroid: Array, weight: Array, *, interpret: bool, half: bool = False
) -> Array:
    """Costs as the recurrence reads them.

    Args:
        x: ``[A, T, F]``; float32, or bf16 and f16, which are widened.
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
    columns = x.transpose(1, 0, 2).reshape(-1, x.shape[-1]).astype(jnp.float32)
    rows = [o.reshape(-1, o.shape[-1]).astype(jnp.float32) for o in (centroid, weight)]
    sizes = rows[0].shape[0], columns.shape[0], x.shape[-1]
    form, how, height, width, words = layout(*sizes, half=half, interpret=interpret)
    scales: list[Array] = []
    if half:
        rows[1], scale = _scaled_weight(rows[1], height)
        scales = [scale]
        columns, rows[0] = (jnp.clip(o, -_MOST_HALF, _MOST_HALF) for o in (columns, rows[0]))
        columns, *rows = (_half_words(operand) for operand in (columns, *rows))
    columns = _padded(columns, width, words)
    (cost,) = launch.call(
        partial(_kernel, form=form, how=how, half=half, interpret=interpret),
        _padded(jnp.stack(rows), height, words).transpose(2, 0, 1).reshape(words, -1),
        # Kept apart from the transpose: XLA makes one slow pass of the two.
        lax.optimization_barrier(launch.as_lanes_read(columns, form.lanes[1], axis=0)).T,
        *scales,
        grid=(how.programs,),
        out_shape=[jax.ShapeDtypeStruct((how.written_bands * form.tile[0], width), jnp.float32)],
        name="weighted_cost_half" if half else "weighted_cost",
        interpret=interpret,
        num_warps=form.num_lanes // 32,
    )
    if how.parts == 1:
        return cost
    whole = how.whole_bands * form.tile[0]
    parts = cost[whole:].reshape(how.parts, height - whole, width)
    return jnp.concatenate([cost[:whole], parts.sum(0)])


def layout(
    num_rows: int,
    num_columns: int,
    num_features: int,
    *,
    half: bool,
    interpret: bool = False,
    cores: int | None = None,
) -> Layout:
    """How `forward` lays out a matrix of unpadded rows and columns, on so many multiprocessors."""
    form = _INTERPRETED if interpret else _HALF if half else _SINGLE
    tiles = -(-num_rows // form.tile[0]), -(-num_columns // form.tile[1])
    stretches = -(-(-(-num_features // 2) if half else num_features) // _STRETCH)
    return Layout(
        form,
        plan(form, tiles, stretches, launch.cores() if cores is None else cores),
        tiles[0] * form.tile[0],
        tiles[1] * form.tile[1],
        stretches * _STRETCH + form.ahead,  # the last are read, but zero
    )


def too_many(num_rows: int, num_columns: int) -> bool:
    """Whether a matrix of so many unpadded rows and columns is more than `forward` can address."""
    tile = _SINGLE.tile  # no form has a larger one
    tiles = -(-num_rows // tile[0]), -(-num_columns // tile[1])
    return tiles[0] * tile[0] * tiles[1] * tile[1] > 2**31 - 1 or 2 * max(tiles) > _MOST_TILES


def _padded(operand: Array, size: int, words: int) -> Array:
    """``[..., size, words]``, filled with zeros, which contribute 0."""
    fill = [new - old for new, old in zip((size, words), operand.shape[-2:], strict=True)]
    return jnp.pad(operand, [(0, 0)] * (operand.ndim - 2) + [(0, more) for more in fill])


def _half_words(operand: Array) -> Array:
    """Two float16 features in each word, an int32; ``[rows, F]`` as ``[rows, ceil(F / 2)]``."""
    pairs = jnp.pad(operand.astype(jnp.float16), ((0, 0), (0, operand.shape[1] % 2)))
    return lax.bitcast_convert_type(pairs.reshape(pairs.shape[0], -1, 2), jnp.int32)


def _scaled_weight(weight: Array, size: int) -> tuple[Array, Array]:
    """Each row of the weights by a power of two that lets float16 hold it, and the inverses."""
    largest = jnp.max(jnp.abs(weight), axis=1)
    usable = (largest > 0) & jnp.isfinite(largest)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 1))
    exponent = jnp.clip(exponent, -_MOST_EXPONENT, _MOST_EXPONENT)
    scale = jnp.ldexp(jnp.float32(1 / _MOST_HALF_WEIGHT), exponent)
    return weight / scale[:, None], jnp.pad(scale, (0, size - scale.shape[0]))


def _kernel(rows_ref, columns_ref, *other_refs, form: Form, how: Plan, half: bool, interpret: bool):
    """`other_refs`: scales, in float16 form only, and costs. Sums of a block: column by column."""
    *scale_refs, cost_ref = other_refs
    tile_row, tile_column, part, stretches = _task(how)
    lane = jnp.arange(form.num_lanes, dtype=jnp.int32)
    y, x = lane // form.lanes[1], lane % form.lanes[1]
    height, block = how.bands * form.tile[0], form.block
    first_row = tile_row * form.tile[0] + y * block[0]
    first_column = tile_column * form.tile[1] + x * WIDE
    early = sorted(j * block[0] + i for i, j in launch.needed_first(*block))
    late = [at for at in range(block[0] * block[1]) if at not in early]

    def read(word: Array) -> Word:
        return (
            launch.neighbours(rows_ref, word, first_row, block[0]),
            launch.neighbours(rows_ref, word, first_row + height, block[0]),
            launch.neighbours(columns_ref, word, first_column, block[1], WIDE * form.lanes[1]),
        )

    def add(operands: Word, sums: list[Array], which: Sequence[int]) -> list[Array]:
        centroids, weights, videos = operands
        one = launch.add_half_distances if half else launch.add_distances
        sums = list(sums)
        for at in which:
            j, i = divmod(at, block[0])
            sums[at] = one(weights[i], centroids[i], videos[j], sums[at], interpret=interpret)
        return sums

    def turn(word: Array, state: State) -> State:
        """As many words as are held at once, so that none changes its registers."""
        sums, held = state
        for i in range(form.ahead + 1):
            held = [*held, read(word + form.ahead + i)]
            sums = add(held[0], sums, late)
            held = held[1:]
            sums = add(held[0], sums, early)
        return sums, held

    def stretch(index: Array, state: State) -> State:
        sums, held = state
        # A loop of known length from a bounded start: the compiler then keeps few addresses.
        word = (index & (2 ** how.stretches.bit_length() - 1)) * _STRETCH
        per_turn = form.ahead + 1
        now, held = lax.fori_loop(
            *(0, _STRETCH // per_turn),
            lambda i, state: turn(word + i * per_turn, state),
            (zeros(jnp.int32) if half else sums, held),
        )
        return (add_halves(now, sums) if half else now), held

    def zeros(dtype) -> list[Array]:
        return [jnp.zeros(form.num_lanes, dtype)] * (block[0] * block[1])

    def add_halves(sums: list[Array], totals: list[Array]) -> list[Array]:
        return [launch.add_halves(*pair, interpret) for pair in zip(sums, totals, strict=True)]

    held = [read(stretches[0] * _STRETCH + i) for i in range(form.ahead)]
    sums = add(held[0], zeros(jnp.int32 if half else jnp.float32), early)
    totals = add_halves(sums, zeros(jnp.float32)) if half else sums
    # Of any other part, the part before has added them.
    totals = [jnp.where(part == 0, total, 0.0) for total in totals]
    totals, _ = lax.fori_loop(*stretches, stretch, (totals, held))

    below = part * ((how.bands - how.whole_bands) * form.tile[0])
    column = tile_column * form.tile[1] + x
    for i in range(block[0]):
        factors = [ref[first_row + i] for ref in scale_refs]
        for j in range(block[1]):
            total = totals[j * block[0] + i]
            at = first_row + below + i, column + j * form.lanes[1]
            cost_ref[at] = factors[0] * total if half else total


def _task(how: Plan) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """Row and column of this program's tile, the part of its sums, first stretch and end of it."""
    program = launch.program(0)
    tile, part = program, jnp.zeros_like(program)
    first, end = part, jnp.full_like(program, how.stretches)
    if how.parts > 1:
        rest = jnp.maximum(program - how.whole, 0)
        divided = program >= how.whole
        tile = jnp.where(divided, how.whole + rest % how.divided, program)
        part = rest // how.divided
        first = part * how.part_stretches
        end = jnp.where(divided, jnp.minimum(first + how.part_stretches, end), end)
    row, column = (
        jnp.minimum(index, _MOST_TILES) for index in (tile // how.across, tile % how.across)
    )
    return row, column, part, (first, end)
