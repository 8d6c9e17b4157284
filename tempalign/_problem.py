"""From what a caller passes to what the recurrence wants.

A public distance checks its sequences, computes their local costs and hands the recurrence one
array of costs with all pairs on the last axis. That trip is the same for every distance, so it
is written here: :func:`inputs` (validated, promoted, padding cleared, leading axes grouped) and
:class:`Problem` (lanes, ends, band; block by block where there are many pairs, so that neither
cache nor memory overflows).
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign import _band, _checks, _costs, _hard, _soft
from tempalign._pairs import Pairs
from tempalign._recurrence import Ends, Moves
from tempalign._shards import alike
from tempalign._types import Array, ArrayLike, Cost


class Inputs(NamedTuple):
    """Two validated batches of sequences.

    Attributes:
        x: ``[S, A, n, F]`` with frames past the lengths set to 0.
        y: ``[S, C, m, F]`` likewise.
        pairs: how S, A and C come from the leading axes.
        x_lengths: int32 ``[...]`` that broadcasts over the leading axes, or None for n.
        y_lengths: likewise, or None for m.
    """

    x: Array
    y: Array
    pairs: Pairs
    x_lengths: Array | None
    y_lengths: Array | None


def inputs(
    x: ArrayLike,
    y: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    *,
    names: tuple[str, str] = ("x", "y"),
    keep_half: bool = False,
) -> Inputs:
    """Validates and groups two batches of sequences; see `Inputs`.

    bf16 and f16 are storage formats here: sums over features and paths need float32. With
    `keep_half` the caller widens them.
    """
    x, y = _checks.sequence(x, names[0]), _checks.sequence(y, names[1])
    _checks.same_features(x, y, *names)
    dtype = jnp.result_type(x, y, jnp.float32)
    x, y = (stored(a, dtype) if keep_half else a.astype(dtype) for a in (x, y))
    x, checked_x = clear_padding(x, x_lengths, names[0], "x_lengths")
    y, checked_y = clear_padding(y, y_lengths, names[1], "y_lengths")
    x, y, checked_x, checked_y = alike((x, y, checked_x, checked_y))
    pairs = Pairs.of(x.shape[:-2], y.shape[:-2], *names)
    return Inputs(pairs.x_rows(x, 2), pairs.y_rows(y, 2), pairs, checked_x, checked_y)


def stored(array: Array, dtype: Any) -> Array:
    """The array in the dtype that is computed in, or as it is if it takes half of float32."""
    return array if array.dtype.itemsize == 2 and dtype == jnp.float32 else array.astype(dtype)


def clear_padding(
    x: Array, lengths: ArrayLike | None, name: str, lengths_name: str
) -> tuple[Array, Array | None]:
    """Sets the frames past the lengths to 0, so that what stands there can do no harm.

    Args:
        x: ``[..., T, F]``.
        lengths: integers that broadcast against the leading axes, or None.
        name: of `x`, for messages.
        lengths_name: of `lengths`, for messages.

    Returns:
        ``x`` (with its leading axes broadcast to those of the lengths) and the checked lengths.
    """
    checked = _checks.lengths(lengths, x.shape[-2], lengths_name)
    if checked is None:
        return x, None
    lead = _checks.broadcast_shapes({name: x.shape[:-2], lengths_name: checked.shape})
    x = jnp.broadcast_to(x, lead + x.shape[-2:])
    inside = jnp.arange(x.shape[-2]) < checked[..., None]
    return jnp.where(inside[..., None], x, 0), checked


class Block(NamedTuple):
    """A block of pairs: what one pass of the recurrence works on.

    Attributes:
        x: ``[S, A, n, F]`` (local costs ``[S, 1, n, m]`` where those are given).
        y: ``[S, C, m, F]`` (a placeholder where local costs are given).
        rows: int32 ``[S, A, C]`` true lengths, or None where all are full.
        columns: likewise.
    """

    x: Array
    y: Array
    rows: Array | None
    columns: Array | None


@dataclasses.dataclass(frozen=True)
class Problem:
    """Pairs to align, and the way back to the caller's leading axes.

    Attributes:
        block: all pairs.
        cost: ``(x, y) -> [n, m, S, A, C]``.
        size: (n, m).
        pairs: the leading axes.
        checked: the lengths with their upper bounds, for `nan_where_invalid`.
        moves: the steps allowed. Where steps along the rows are restricted to some columns
            (TAM), each matrix gets a column of zeros before and after it.
        band: Sakoe-Chiba radius or None.
    """

    block: Block
    cost: Callable[[Array, Array], Array]
    size: tuple[int, int]
    pairs: Pairs
    checked: tuple[tuple[Array | None, int], ...]
    moves: Moves
    band: int | None

    @property
    def dtype(self) -> jnp.dtype:
        """That of costs and results."""
        return self.block.x.dtype

    def value(self) -> Array:
        """Minimal path costs ``[...]``; NaN where a traced length is out of range."""
        return self._checked(self._by_block(lambda cost, ends: _hard.value(cost, ends, self.moves)))

    def alignment(self) -> Array:
        """Paths as 0/1 matrices ``[..., n, m]``."""

        def matrices(cost: Array, ends: Ends | None) -> Array:
            _, rows = _hard.path(cost, ends, self.moves)
            return _from_lanes(_hard.alignment(rows, *self.size).astype(self.dtype))

        return self._by_block(matrices)

    def soft_value(self, gamma: Array) -> Array:
        """Soft minima of the path costs ``[...]``; NaN also where gamma is not positive."""
        values = self._by_block(
            lambda cost, ends: _soft.value(cost, gamma, ends, self.moves),
        )
        return self._checked(jnp.where(gamma > 0, values, jnp.nan))

    def soft_alignment(self, gamma: Array) -> Array:
        """Expected alignments ``[..., n, m]``; NaN where gamma is not positive."""
        expected = self._by_block(
            lambda cost, ends: _from_lanes(_soft.alignment(cost, gamma, ends, self.moves).expected),
        )
        return jnp.where(gamma > 0, expected, jnp.nan)

    def _checked(self, values: Array) -> Array:
        return _checks.nan_where_invalid(values, *self.checked)

    def _lanes(self, block: Block) -> tuple[Array, Ends | None]:
        """Costs ``[n, m, L]`` and last cells of the pairs in a block."""
        cost = to_lanes(self.cost(block.x, block.y))
        rows: Array | int
        columns: Array | int
        rows, columns, ends = *self.size, None
        if block.rows is not None and block.columns is not None:
            rows, columns = block.rows.reshape(-1), block.columns.reshape(-1)
            ends = Ends(rows - 1, columns - 1)
        if self.moves.row_columns is not None:
            padded = jnp.pad(cost, ((0, 0), (1, 1), (0, 0)))
            after = jnp.arange(padded.shape[1])[:, None] > columns
            cost = jnp.where(after, 0, padded)
            ends = None if ends is None else ends._replace(column=ends.column + 2)
        if self.band is not None:
            cost = _band.forbid_outside(cost, rows, columns, self.band)
        return cost, ends

    def _by_block(self, evaluate: Callable[[Array, Ends | None], Array]) -> Array:
        """What `evaluate` makes of each pair, ``[L, ...]`` a block, as ``[..., ...]``."""
        s, a, c = self.pairs.sizes

        def of_block(block: Block) -> Array:
            made = evaluate(*self._lanes(block))
            return made.reshape(block.x.shape[:2] + (c,) + made.shape[1:])

        count = max(s, a)
        cells = s * a * c * math.prod(self.size)
        chunk = max(1, _CELLS_AT_ONCE[_platform()] * count // max(cells, 1))
        if count <= 1.5 * chunk:
            return self.pairs.restore(of_block(self.block))
        if cells > _CELLS_KEPT:
            # Otherwise autodiff keeps the alignments of all blocks.
            of_block = jax.checkpoint(of_block)
        if s >= a:
            blocks = jax.tree.map(partial(_split, axis=0, chunk=chunk), self.block)
            mapped = lax.map(of_block, blocks)
            return self.pairs.restore(mapped.reshape((-1,) + mapped.shape[2:])[:s])
        x, y, rows, columns = self.block
        parts = jax.tree.map(partial(_split, axis=1, chunk=chunk), (x, rows, columns))
        mapped = lax.map(lambda part: of_block(Block(part[0], y, part[1], part[2])), parts)
        mapped = jnp.moveaxis(mapped, 0, 1)
        return self.pairs.restore(mapped.reshape((s, -1) + mapped.shape[3:])[:, :a])


# Matrix cells that one pass of the recurrence should work on: on a CPU what its cache holds,
# elsewhere what keeps every core busy.
_CELLS_AT_ONCE = {"cpu": 2**19, "other": 2**28}
# Matrix cells whose alignments may be kept for a backward pass (2 GB of float32).
_CELLS_KEPT = 2**29


def _platform() -> str:
    return "cpu" if jax.default_backend() == "cpu" else "other"


def _split(array: Array, axis: int, chunk: int) -> Array:
    """Cuts an axis into chunks, on a new first axis; the last is filled with repetitions."""
    count = array.shape[axis]
    chunks = -(-count // chunk)
    fill = [(0, chunks * chunk - count if k == axis else 0) for k in range(array.ndim)]
    array = jnp.pad(array, fill, mode="edge")
    shape = array.shape[:axis] + (chunks, chunk) + array.shape[axis + 1 :]
    return jnp.moveaxis(array.reshape(shape), axis, 0)


def of_sequences(
    x: ArrayLike,
    y: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    cost: Cost,
    moves: Moves,
    band: int | None = None,
    *,
    names: tuple[str, str] = ("x", "y"),
) -> Problem:
    """The problem of two batches of sequences and a local cost."""
    given = inputs(x, y, x_lengths, y_lengths, names=names)
    checked = (given.x_lengths, given.x.shape[2]), (given.y_lengths, given.y.shape[2])
    costs = partial(_costs.matrix, cost=cost)
    return _problem(given.x, given.y, costs, given.pairs, checked, moves, band)


def of_cost_matrix(
    cost_matrix: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    moves: Moves,
    band: int | None = None,
) -> Problem:
    """The problem of given local costs ``[..., n, m]``."""
    costs = _checks.cost_matrix(cost_matrix)
    n, m = costs.shape[-2:]
    rows = _checks.lengths(x_lengths, n, "x_lengths")
    columns = _checks.lengths(y_lengths, m, "y_lengths")
    lead = _checks.broadcast_shapes(
        {
            "cost_matrix": costs.shape[:-2],
            "x_lengths": () if rows is None else rows.shape,
            "y_lengths": () if columns is None else columns.shape,
        }
    )
    costs, rows, columns = alike((costs, rows, columns))
    costs = jnp.broadcast_to(costs, lead + (n, m)).reshape((-1, 1, n, m))
    nothing = jnp.zeros_like(costs, shape=(costs.shape[0], 1, 1, 1))
    checked = (rows, n), (columns, m)
    as_given = Pairs(lead, lead)
    return _problem(costs, nothing, _cost_as_given, as_given, checked, moves, band)


def _problem(
    x: Array,
    y: Array,
    cost: Callable[[Array, Array], Array],
    pairs: Pairs,
    checked: tuple[tuple[Array | None, int], tuple[Array | None, int]],
    moves: Moves,
    band: int | None,
) -> Problem:
    (row_lengths, n), (column_lengths, m) = checked
    rows = columns = None
    if row_lengths is not None or column_lengths is not None:
        rows = _pair_lengths(row_lengths, n, pairs)
        columns = _pair_lengths(column_lengths, m, pairs)
    radius = _checks.band(band)
    if radius is not None:
        _band.check(
            n if row_lengths is None else row_lengths,
            m if column_lengths is None else column_lengths,
            radius,
            moves.diagonal,
        )
    return Problem(Block(x, y, rows, columns), cost, (n, m), pairs, checked, moves, radius)


def _cost_as_given(x: Array, _: Array) -> Array:
    return x.transpose(2, 3, 0, 1)[..., None]


def to_lanes(cost: Array) -> Array:
    """``[n, m, S, A, C]`` as ``[n, m, L]``."""
    return cost.reshape(cost.shape[:2] + (-1,))


def _from_lanes(matrices: Array) -> Array:
    """``[n, m, L]`` as ``[L, n, m]``."""
    return matrices.transpose(2, 0, 1)


def lane_ends(
    row_lengths: Array | None, column_lengths: Array | None, n: int, m: int, pairs: Pairs
) -> Ends | None:
    """The last cell of each lane, None where all lengths are full."""
    if row_lengths is None and column_lengths is None:
        return None
    return Ends(
        _pair_lengths(row_lengths, n, pairs).reshape(-1) - 1,
        _pair_lengths(column_lengths, m, pairs).reshape(-1) - 1,
    )


def _pair_lengths(lengths: Array | None, size: int, pairs: Pairs) -> Array:
    """Lengths ``[S, A, C]`` of all pairs."""
    full = jnp.asarray(size, jnp.int32) if lengths is None else lengths
    # Out-of-range lengths only exist under tracing; the result is NaN, the walk must stay inside.
    return pairs.pair_rows(jnp.clip(full, 1, size))
