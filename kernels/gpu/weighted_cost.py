"""Weighted L1 costs of all centroid steps and frames: a matrix product with |c - x| for c x.

``cost[m, n] = sum_k weight[m, k] |centroid[m, k] - x[n, k]|`` with rows m = (class, step) and
columns n = (frame, sample). Tiles of it stay in registers while the features go by, one rank-1
update each: a subtraction and a multiply-add for each element, and nothing of size [m, n, k].

A lane owns a block of rows and columns. Each element of the block is a vector of one number a
lane, because of a larger array the compiler gives a thread few rows and many columns, and then
spends its loads and barriers on them. What a lane needs of a feature is read while the feature
before is computed: a load takes hundreds of cycles, and beside so many registers there are too
few warps to hide them.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._types import Array
from tempalign.kernels.gpu import launch
from tempalign.kernels.gpu.cost_plan import Form, Plan, plan

# Nearly all registers that a thread can have, so a multiprocessor holds two programs of four
# warps. In float16 form a block has two sums, of 32 features and of all: half the columns.
_SINGLE = Form(block=(8, 16), lanes=(16, 8), programs=2, cycles=1_100)
_HALF = Form(block=(8, 8), lanes=(16, 8), programs=2, cycles=5_200)
_INTERPRETED = Form(block=(4, 4), lanes=(4, 4), programs=2, cycles=1_100)  # any is as right
_WIDE = 4  # neighbours that one load brings
_CHUNK = 32  # features that are summed in float16

# When the compiler knows that an address cannot overflow, loads share it.
_MOST_TILES, _MOST_TURNS = 2**20 - 1, 2**20 - 1

# The largest |centroid| and |x|, and weight, in float16 form: no difference and no chunk overflows.
_MOST_HALF, _MOST_HALF_WEIGHT = 32_000.0, 2.0**-4
_MOST_EXPONENT = 120  # of a scale, which float32 must hold


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
    form = _INTERPRETED if interpret else _HALF if half else _SINGLE
    tiles = -(-rows[0].shape[0] // form.tile[0]), -(-columns.shape[0] // form.tile[1])
    height, width = tiles[0] * form.tile[0], tiles[1] * form.tile[1]
    scale: list[Array] = []
    if half:
        rows[1], factor = _scaled_weight(rows[1], height)
        scale = [factor]
        columns, rows[0] = (jnp.clip(o, -_MOST_HALF, _MOST_HALF) for o in (columns, rows[0]))
        columns, *rows = (_half_words(operand) for operand in (columns, *rows))
    turn = _CHUNK // 2 if half else 2  # words of a turn: what is not divided
    how = plan(form, tiles, -(-columns.shape[1] // turn), launch.cores())
    words = how.turns * turn + 1  # one more than is used, which is read ahead
    (cost,) = launch.call(
        partial(_kernel, form=form, how=how, half=half, interpret=interpret),
        _padded(jnp.stack(rows), height, words).transpose(2, 0, 1).reshape(-1),
        _of_lanes(_padded(columns, width, words), form).T.reshape(-1),
        *scale,
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


def too_many(num_rows: int, num_columns: int) -> bool:
    """Whether a matrix of so many unpadded rows and columns is more than `forward` can address."""
    sizes = [
        [-(-size // tile) * tile for size, tile in zip((num_rows, num_columns), form.tile)]
        for form in (_SINGLE, _HALF)
    ]
    return any(h * w > 2**31 - 1 or max(h, w) > _MOST_TILES for h, w in sizes)


def _padded(operand: Array, size: int, words: int) -> Array:
    """``[..., rows, words]``, filled with zeros, which contribute 0."""
    fill = [(0, 0)] * (operand.ndim - 2)
    fill += [(0, new - old) for new, old in zip((size, words), operand.shape[-2:], strict=True)]
    return jnp.pad(operand, fill)


def _of_lanes(columns: Array, form: Form) -> Array:
    """``[N, words]`` in the order in which lanes read.

    A lane has every ``form.lanes[1]``-th column of a tile, so that lanes write neighbours. Here
    the columns of a lane are neighbours, `_WIDE` of them.
    """
    split = columns.reshape(-1, _WIDE, form.lanes[1], columns.shape[-1]).transpose(0, 2, 1, 3)
    # Kept apart from the transpose that follows: of the two in one XLA makes a slow pass.
    return lax.optimization_barrier(split.reshape(columns.shape))


def _half_words(operand: Array) -> Array:
    """Two float16 features in each word, an int32; of ``[rows, F]``, ``[rows, ceil(F / 2)]``."""
    pairs = jnp.pad(operand.astype(jnp.float16), ((0, 0), (0, operand.shape[1] % 2)))
    pairs = pairs.reshape(*pairs.shape[:1], -1, 2)
    return lax.bitcast_convert_type(pairs, jnp.int32)


def _scaled_weight(weight: Array, size: int) -> tuple[Array, Array]:
    """Each row of the weights by a power of two that lets float16 hold it, and the inverses."""
    largest = jnp.max(jnp.abs(weight), axis=1)
    usable = (largest > 0) & jnp.isfinite(largest)
    _, exponent = jnp.frexp(jnp.where(usable, largest, 1))
    exponent = jnp.clip(exponent, -_MOST_EXPONENT, _MOST_EXPONENT)
    scale = jnp.ldexp(jnp.float32(1 / _MOST_HALF_WEIGHT), exponent)
    return weight / scale[:, None], jnp.pad(scale, (0, size - scale.shape[0]))


Operands = tuple[list[Array], list[Array], list[Array]]
State = tuple[list[Array], Operands]


def _kernel(
    rows_ref,
    columns_ref,
    *refs,  # of the scales, in float16 form, and the costs
    form: Form,
    how: Plan,
    half: bool,
    interpret: bool,
):
    (band, place), part, turns = _task(how)
    below, beside = (range(size) for size in form.block)
    lane = jnp.arange(form.num_lanes, dtype=jnp.int32)
    y, x = lane // form.lanes[1], lane % form.lanes[1]
    height, width = how.bands * form.tile[0], how.across * form.tile[1]
    first_row = band * form.tile[0] + y * form.block[0]
    first_column = place * form.tile[1] + x * _WIDE

    early = sorted(
        {
            _WIDE * (g % (len(beside) // _WIDE)) * len(below) + _WIDE * (g % (len(below) // _WIDE))
            for g in range(len(below) * len(beside) // _WIDE**2)
        }
    )
    late = [at for at in range(len(below) * len(beside)) if at not in early]

    def read(word: Array) -> Operands:
        """Centroids, weights and videos of a lane's block."""
        row = word * (2 * height) + first_row
        column = word * width + first_column
        return (
            _neighbours(rows_ref, row, _WIDE, len(below)),
            _neighbours(rows_ref, row + height, _WIDE, len(below)),
            _neighbours(columns_ref, column, form.lanes[1] * _WIDE, len(beside)),
        )

    def add(operands: Operands, sums: list[Array], which: Sequence[int]) -> list[Array]:
        """Adds a word to some of the sums, which lie column by column."""
        centroid, weight, videos = operands
        one = launch.add_half_distances if half else launch.add_distances
        sums = list(sums)
        for at in which:
            j, i = divmod(at, len(below))
            sums[at] = one(weight[i], centroid[i], videos[j], sums[at], interpret=interpret)
        return sums

    def two_words(word: Array, state: State) -> State:
        sums, now = state
        ahead = read(word + 1)
        sums = add(now, sums, late)
        now = read(word + 2)
        sums = add(ahead, sums, early + late)
        return add(now, sums, early), now

    def zeros(dtype) -> list[Array]:
        return [jnp.zeros(form.num_lanes, dtype)] * (len(early) + len(late))

    def chunk(index: Array, state: State) -> State:
        totals, now = state
        word = index * (_CHUNK // 2)
        state = zeros(jnp.int32), now
        sums, now = lax.fori_loop(0, _CHUNK // 4, lambda i, s: two_words(word + 2 * i, s), state)
        return add_halves(sums, totals), now

    def add_halves(sums: list[Array], totals: list[Array]) -> list[Array]:
        return [launch.add_halves(*pair, interpret) for pair in zip(sums, totals, strict=True)]

    now = read(turns[0] * (_CHUNK // 2 if half else 2))
    totals = add(now, zeros(jnp.int32 if half else jnp.float32), early)
    if half:
        totals = add_halves(totals, zeros(jnp.float32))
    # Of any other part, the part before has added it.
    totals = [jnp.where(part == 0, total, 0.0) for total in totals]
    if half:
        totals, _ = lax.fori_loop(*turns, chunk, (totals, now))
    else:
        totals, _ = lax.fori_loop(*turns, lambda i, s: two_words(2 * i, s), (totals, now))
    *scale_refs, cost_ref = refs
    below_whole = part * ((how.bands - how.whole_bands) * form.tile[0])
    column = place * form.tile[1] + x
    for i in below:
        scales = [ref[first_row + i] for ref in scale_refs]
        for j in beside:
            total = totals[j * len(below) + i]
            at = first_row + below_whole + i, column + j * form.lanes[1]
            cost_ref[at] = scales[0] * total if scales else total


def _task(how: Plan) -> tuple[tuple[Array, Array], Array, tuple[Array, Array]]:
    """The tile of this program, the part of its sums, and the first turn and the end of it."""
    program = launch.program(0)
    rest = jnp.maximum(program - how.whole, 0)
    divided = program >= how.whole
    tile, part = program, jnp.zeros_like(program)
    start, stop = part, jnp.full_like(program, how.turns)
    if how.divided and how.parts > 1:
        part = rest // how.divided
        tile = jnp.where(divided, how.whole + rest % how.divided, program)
        start = jnp.minimum(part * how.part_turns, _MOST_TURNS)
        stop = jnp.where(divided, jnp.minimum(start + how.part_turns, how.turns), how.turns)
    band, place = tile // how.across, tile % how.across
    return (jnp.minimum(band, _MOST_TILES), jnp.minimum(place, _MOST_TILES)), part, (start, stop)


def _neighbours(ref, start: Array, step: int, count: int) -> list[Array]:
    """`count` numbers for each lane: every `step`, `_WIDE` neighbours, which are one load."""
    found: list[Array] = []
    for i in range(0, count, _WIDE):
        wide = ref[(start + i // _WIDE * step)[:, None] + jnp.arange(_WIDE, dtype=jnp.int32)]
        parts = lax.split(wide, (1,) * _WIDE, axis=1)
        found += [each.reshape(start.shape) for each in parts]
    return found
