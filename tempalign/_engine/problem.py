"""From what a caller passes to what the engine works on.

A public distance checks its arrays, promotes them, clears what lies past their lengths and groups
their leading axes. That trip is the same for every distance, so it is written here; what comes
out is a :class:`Problem`.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine import checks, costs, windows
from tempalign._engine.model import LocalCost, Model
from tempalign._engine.options import PathOptions, Paths, resolve
from tempalign._engine.pairs import Pairs
from tempalign._engine.recurrence import Prices
from tempalign._engine.shards import alike
from tempalign._types import Array, ArrayLike

Names = tuple[str, str]


class Operands(NamedTuple):
    """All that is traced about a problem, grouped by pairs; see `pairs.Pairs` for S, A and C.

    Attributes:
        x: ``[S, A, n, F]`` with frames past the lengths set to 0; or given local costs
            ``[L, 1, n, m]``.
        y: ``[S, C, m, F]`` likewise; ``[L, 1, 1, 1]`` and not looked at beside given local costs.
        rows: int32 ``[S, A, C]``, true lengths of x, within 1..n; None where all are full.
        columns: likewise of y.
        valid: bool ``[S, A, C]``: whether the (traced) lengths were in range; None if known.
        mask: bool ``[S, A, C, n, m]`` or ``[1, 1, 1, n, m]``, cells allowed; None for all.
        gamma: ``[]``, temperature; None under the hard minimum.
        prices: of the moves; None where the model is uniform.
    """

    x: Array
    y: Array
    rows: Array | None
    columns: Array | None
    valid: Array | None
    mask: Array | None
    gamma: Array | None
    prices: Prices | None


class Problem(NamedTuple):
    """Pairs to align, and the way back to the caller's leading axes.

    Attributes:
        model: what is static.
        operands: what is traced.
        pairs: the leading axes.
    """

    model: Model
    operands: Operands
    pairs: Pairs

    @property
    def dtype(self) -> jnp.dtype:
        """That of costs and results."""
        return self.operands.x.dtype


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
    names: Names = ("x", "y"),
    keep_half: bool = False,
) -> Inputs:
    """Validates and groups two batches of sequences; see `Inputs`.

    bf16 and f16 are storage formats here: sums over features and paths need float32. With
    `keep_half` the caller widens them.
    """
    x, y = checks.sequence(x, names[0]), checks.sequence(y, names[1])
    checks.same_features(x, y, *names)
    dtype = jnp.result_type(x, y, jnp.float32)
    x, y = (stored(a, dtype) if keep_half else a.astype(dtype) for a in (x, y))
    x, checked_x = clear_padding(x, x_lengths, names[0], f"{names[0]}_lengths")
    y, checked_y = clear_padding(y, y_lengths, names[1], f"{names[1]}_lengths")
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
        lengths: integers that broadcast to the leading axes, or None.
        name: of `x`, for messages.
        lengths_name: of `lengths`, for messages.

    Returns:
        ``x`` and the checked lengths. A sequence whose (traced) length is out of range keeps all
        its frames: its result is NaN, and so shall be its gradient.
    """
    checked = checks.lengths(lengths, x.shape[-2], lengths_name)
    if checked is None:
        return x, None
    lead = checks.broadcast_shapes({name: x.shape[:-2], lengths_name: checked.shape})
    if lead != x.shape[:-2]:
        raise ValueError(
            f"{lengths_name} must broadcast to the leading axes of {name}, {x.shape[:-2]}, got "
            f"{checked.shape}: they may not add to them. Lengths go with the axes of their own "
            f"sequence, e.g. {lengths_name}=lengths[:, None] for {name}[:, None]"
        )
    frames = x.shape[-2]
    inside = jnp.arange(frames) < checks.usable_lengths(jnp.asarray(checked), frames)[..., None]
    return jnp.where(inside[..., None], x, 0), checked


def of_sequences(
    x: ArrayLike,
    y: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    paths: PathOptions | Model,
    *,
    cost: LocalCost,
    gamma: ArrayLike = 0,
    recompute: bool = False,
    names: Names = ("x", "y"),
) -> Problem:
    """The problem of two batches of sequences and a local cost.

    Args:
        x: ``[..., n, F]``.
        y: ``[..., m, F]``.
        x_lengths: of `x`.
        y_lengths: of `y`.
        paths: options of the caller, or a model with moves and openings.
        cost: the local cost.
        gamma: temperature; a static 0 selects the hard minimum.
        recompute: see `Model`.
        names: of `x` and `y`, for messages.
    """
    if not callable(cost):
        checks.choice(cost, "cost", costs.NAMES)
    given = inputs(x, y, x_lengths, y_lengths, names=names)
    sizes = given.x.shape[2], given.y.shape[2]
    lengths = given.x_lengths, given.y_lengths
    return _problem(given.x, given.y, given.pairs, lengths, sizes, paths, cost, gamma, recompute)


def of_cost_matrix(
    cost_matrix: ArrayLike,
    x_lengths: ArrayLike | None,
    y_lengths: ArrayLike | None,
    paths: PathOptions | Model,
    *,
    gamma: ArrayLike = 0,
    recompute: bool = False,
    names: Names = ("x", "y"),
) -> Problem:
    """The problem of given local costs ``[..., n, m]``; other arguments as for `of_sequences`."""
    given = checks.cost_matrix(cost_matrix)
    n, m = given.shape[-2:]
    rows = checks.lengths(x_lengths, n, f"{names[0]}_lengths")
    columns = checks.lengths(y_lengths, m, f"{names[1]}_lengths")
    lead = checks.broadcast_shapes(
        {
            "cost_matrix": given.shape[:-2],
            f"{names[0]}_lengths": () if rows is None else rows.shape,
            f"{names[1]}_lengths": () if columns is None else columns.shape,
        }
    )
    given, rows, columns = alike((given, rows, columns))
    given = jnp.broadcast_to(given, lead + (n, m))
    for number, size, true in ((jnp.arange(n)[:, None], n, rows), (jnp.arange(m), m, columns)):
        if true is not None:
            last = checks.usable_lengths(jnp.asarray(true), size)[..., None, None]
            given = jnp.where(number < last, given, 0)
    given = given.reshape((math.prod(lead), 1, n, m))
    nothing = jnp.zeros_like(given, shape=(given.shape[0], 1, 1, 1))
    pairs = Pairs(lead, lead)
    return _problem(
        given, nothing, pairs, (rows, columns), (n, m), paths, "given", gamma, recompute
    )


def _problem(
    x: Array,
    y: Array,
    pairs: Pairs,
    lengths: tuple[Array | None, Array | None],
    sizes: tuple[int, int],
    paths: PathOptions | Model,
    cost: LocalCost,
    gamma: ArrayLike,
    recompute: bool,
) -> Problem:
    n, m = sizes
    chosen = Paths(paths, None, None, None) if isinstance(paths, Model) else resolve(paths, x.dtype)
    temperature = checks.gamma(gamma, x.dtype)
    checks.flag(recompute, "checkpoint")
    if recompute and temperature is None:
        raise ValueError("checkpoint needs gamma > 0, got gamma=0 (the hard minimum)")
    model = chosen.model.replace(cost=cost, soft=temperature is not None, recompute=bool(recompute))
    rows = columns = valid = None
    if any(given is not None for given in lengths):
        rows, columns = (
            pair_lengths(size if given is None else given, size, pairs)
            for given, size in zip(lengths, sizes, strict=True)
        )
        for given, size in zip(lengths, sizes, strict=True):
            if isinstance(given, jax.core.Tracer):
                within = pairs.pair_rows(checks.in_range(given, size))
                valid = within if valid is None else valid & within
    mask = _checked_mask(chosen.mask, pairs, sizes)
    true_n, true_m = (
        size if given is None else given for given, size in zip(lengths, sizes, strict=True)
    )
    known = mask if isinstance(mask, np.ndarray) else None
    windows.check(model, true_n, true_m, known, sizes)
    grouped = None if mask is None else pairs.pair_matrices(jnp.asarray(mask))
    prices = None if model.uniform else Prices(chosen.weights, chosen.penalty)
    operands = Operands(x, y, rows, columns, valid, grouped, temperature, prices)
    return Problem(model, operands, pairs)


def pair_lengths(lengths: Array | int, size: int, pairs: Pairs) -> Array:
    """Lengths ``[S, A, C]`` of all pairs."""
    return pairs.pair_rows(checks.usable_lengths(jnp.asarray(lengths, jnp.int32), size))


def _checked_mask(
    mask: Array | np.ndarray | None, pairs: Pairs, sizes: tuple[int, int]
) -> Array | np.ndarray | None:
    if mask is None:
        return None
    if mask.shape[-2:] != sizes:
        raise ValueError(
            f"mask must have shape [..., {sizes[0]}, {sizes[1]}] (frames of both sequences), got "
            f"{mask.shape}"
        )
    lead = checks.broadcast_shapes({"mask": mask.shape[:-2], "the pairs": pairs.shape})
    if lead != pairs.shape:
        raise ValueError(
            f"mask must broadcast to the leading axes of the pairs, {pairs.shape}, got "
            f"{mask.shape[:-2]}"
        )
    return mask
