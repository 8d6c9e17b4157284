"""From what a caller passes to what the recurrence wants.

A public distance checks its sequences, computes their local costs and hands the recurrence one
array of costs with all pairs on the last axis. That trip is the same for every distance, so it
is written here: :func:`inputs` (validated, promoted, padding cleared, leading axes grouped) and
:class:`Problem` (lanes, ends, band).
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from tempalign import _band, _checks, _costs, _hard, _soft
from tempalign._pairs import Pairs
from tempalign._recurrence import Ends
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
) -> Inputs:
    """Validates and groups two batches of sequences; see `Inputs`."""
    x, y = _checks.sequence(x, names[0]), _checks.sequence(y, names[1])
    _checks.same_features(x, y, *names)
    # bf16 and f16 are storage formats here: sums over features and paths need float32.
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    x, checked_x = clear_padding(x.astype(dtype), x_lengths, names[0], "x_lengths")
    y, checked_y = clear_padding(y.astype(dtype), y_lengths, names[1], "y_lengths")
    pairs = Pairs.of(x.shape[:-2], y.shape[:-2], *names)
    return Inputs(pairs.x_rows(x, 2), pairs.y_rows(y, 2), pairs, checked_x, checked_y)


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


@dataclasses.dataclass(frozen=True)
class Problem:
    """Local costs of all pairs in the form of the recurrence, and the way back.

    Attributes:
        cost: ``[n, m, L]``, a lane for each pair.
        ends: the last cell of each lane, or None.
        pairs: the leading axes.
        checked: the lengths with their upper bounds, for `nan_where_invalid`.
        diagonal: whether diagonal moves are allowed.
    """

    cost: Array
    ends: Ends | None
    pairs: Pairs
    checked: tuple[tuple[Array | None, int], ...]
    diagonal: bool

    @classmethod
    def of(
        cls,
        cost: Array,
        pairs: Pairs,
        row_lengths: Array | None,
        column_lengths: Array | None,
        *,
        diagonal: bool,
        band: int | None = None,
    ) -> "Problem":
        """The problem of local costs.

        Args:
            cost: ``[S, A, C, n, m]``.
            pairs: the leading axes.
            row_lengths: broadcast over the leading axes, or None.
            column_lengths: likewise.
            diagonal: whether diagonal moves are allowed.
            band: Sakoe-Chiba radius or None.
        """
        n, m = cost.shape[-2:]
        lanes = to_lanes(cost)
        ends = lane_ends(row_lengths, column_lengths, n, m, pairs)
        radius = _checks.band(band)
        if radius is not None:
            rows = n if row_lengths is None else row_lengths
            columns = m if column_lengths is None else column_lengths
            _band.check(rows, columns, radius, diagonal)
            if ends is not None:
                rows, columns = ends.row + 1, ends.column + 1
            lanes = _band.forbid_outside(lanes, rows, columns, radius)
        checked = ((row_lengths, n), (column_lengths, m))
        return cls(lanes, ends, pairs, checked, diagonal)

    def value(self) -> Array:
        """Minimal path costs ``[...]``; NaN where a traced length is out of range."""
        return self.finish(_hard.value(self.cost, self.ends, self.diagonal))

    def path(self) -> tuple[Array, Array]:
        """Minimal path costs ``[L]`` and paths, rows by anti-diagonal ``[P, L]``."""
        return _hard.path(self.cost, self.ends, self.diagonal)

    def alignment(self) -> Array:
        """Paths as 0/1 matrices ``[..., n, m]``."""
        n, m, _ = self.cost.shape
        _, rows = self.path()
        matrix = _hard.alignment(rows, n, m).astype(self.cost.dtype)
        return self.restore(matrix.transpose(2, 0, 1))

    def soft_value(self, gamma: Array) -> Array:
        """Soft minima of the path costs ``[...]``; NaN also where gamma is not positive."""
        values = _soft.value(self.cost, gamma, self.ends, self.diagonal)
        return jnp.where(gamma > 0, self.finish(values), jnp.nan)

    def soft_alignment(self, gamma: Array) -> Array:
        """Expected alignments ``[..., n, m]``; NaN where gamma is not positive."""
        expected = _soft.alignment(self.cost, gamma, self.ends, self.diagonal).expected
        return jnp.where(gamma > 0, self.restore(expected.transpose(2, 0, 1)), jnp.nan)

    def finish(self, values: Array) -> Array:
        """Lane values ``[L]`` as the caller's ``[...]``, NaN where a length is out of range."""
        return _checks.nan_where_invalid(self.restore(values), *self.checked)

    def restore(self, values: Array) -> Array:
        """Lane values ``[L, ...]`` as the caller's ``[..., ...]``."""
        return self.pairs.restore(values.reshape(self.pairs.sizes + values.shape[1:]))


def of_sequences(
    x: ArrayLike,
    y: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    cost: Cost,
    diagonal: bool,
    band: int | None,
) -> Problem:
    """The problem of two batches of sequences and a local cost."""
    given = inputs(x, y, x_lengths, y_lengths)
    costs = _costs.matrix(given.x, given.y, cost)
    return Problem.of(
        costs, given.pairs, given.x_lengths, given.y_lengths, diagonal=diagonal, band=band
    )


def of_cost_matrix(
    cost_matrix: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    diagonal: bool,
    band: int | None,
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
    costs = jnp.broadcast_to(costs, lead + (n, m)).reshape((-1, 1, 1, n, m))
    return Problem.of(costs, Pairs(lead, lead), rows, columns, diagonal=diagonal, band=band)


def to_lanes(cost: Array) -> Array:
    """``[S, A, C, n, m]`` as ``[n, m, L]``."""
    return cost.reshape((-1,) + cost.shape[-2:]).transpose(1, 2, 0)


def lane_ends(
    row_lengths: Array | None, column_lengths: Array | None, n: int, m: int, pairs: Pairs
) -> Ends | None:
    """The last cell of each lane, None where all lengths are full."""
    if row_lengths is None and column_lengths is None:
        return None
    return Ends(
        _lane_lengths(row_lengths, n, pairs) - 1, _lane_lengths(column_lengths, m, pairs) - 1
    )


def _lane_lengths(lengths: Array | None, size: int, pairs: Pairs) -> Array:
    full = jnp.asarray(size, jnp.int32) if lengths is None else lengths
    # Out-of-range lengths only exist under tracing; the result is NaN, the walk must stay inside.
    return pairs.pair_rows(jnp.clip(full, 1, size)).reshape(-1)
