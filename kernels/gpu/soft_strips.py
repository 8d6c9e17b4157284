"""Soft minima over matrices of local costs, and the expected alignments: kernels on strips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tempalign._engine.model import Model
from tempalign._types import Array
from tempalign.kernels.gpu import exponent, openings, strip_layout, strips, ways
from tempalign.kernels.gpu.launch import LANES, Warp
from tempalign.kernels.gpu.strip_layout import Ends, Layout
from tempalign.kernels.gpu.ways import State


@dataclass(frozen=True)
class _SoftMinimum:
    warp: Warp
    scale: exponent.Scale
    forbids: bool
    dtypes = (jnp.float32, jnp.int32)
    nowhere = (1.0, exponent.FAR)

    def begun(self, multiplicity: int) -> tuple[float, int]:
        mantissa, power = math.frexp(multiplicity)
        return 2 * mantissa, power - 1

    def extended(self, ways: list[tuple[int, State]], cost: Array) -> tuple[State, list[Array]]:
        states = [state for _, state in ways]
        return exponent.extended(states, cost, self.scale, self.warp, self.forbids)


def value(
    matrices: Array,
    gamma: Array,
    ends: Ends | None,
    *,
    model: Model,
    forbids: bool,
    visits: bool,
    interpret: bool,
) -> tuple[Array, Array | None]:
    """Soft minima of the costs of paths.

    Args:
        matrices: float32 ``[L, n, m]``; where `forbids`, inf forbids a cell. Costs over gamma are
            at most `exponent.MOST_OF_CELL`, those of whole paths `exponent.MOST_OF_PATH`.
        gamma: positive temperatures ``[L]``.
        ends: last rows and columns, int32 ``[L]``; None: those of the matrices.
        model: moves, and where paths begin and end.
        forbids: whether some costs may be infinite.
        visits: whether the expected visits are asked for.
        interpret: see `launch.call`.

    Returns:
        Values ``[L]``, inf where there is no path, and expected visits ``[L, n, m]`` or None.
    """
    layout = Layout.of(matrices, interpret)
    costs = layout.skewed(matrices)
    lasts = strip_layout.of_lanes(layout, ends)
    dtypes, shares = _SoftMinimum.dtypes, len(ways.kept(model)) if visits else 0
    cells = [jnp.float32] * shares
    out_shape = [
        *strip_layout.found(layout, dtypes, openings.sides(model.end)),
        *strip_layout.borders(layout, dtypes),
        *strip_layout.results(layout, cells, layout.turns * layout.cells * LANES),
    ]
    options: dict[str, Any] = {"interpret": interpret, "model": model, "shares": shares}
    options["ends"] = len(lasts)
    results = strip_layout.launched(
        _forward,
        layout,
        costs,
        layout.of_lanes(gamma, 1),
        *lasts,
        out_shape=out_shape,
        name="soft_strips",
        forbids=forbids,
        **options,
    )
    leaving: list[Array] = []
    if model.end.is_open:
        found, leaving = _of_open_ends(model, layout, results, gamma, ends)
    else:
        last = tuple(layout.at_ends(one, ends) for one in results[: len(dtypes)])
        found = exponent.value_of(last, gamma)
    if not visits:
        return found, None
    first = len(out_shape) - shares
    visited, *_ = strip_layout.launched(
        _backward,
        layout,
        *results[first : first + shares],
        *lasts,
        *leaving,
        out_shape=[
            *strip_layout.results(layout, [jnp.float32], layout.turns * layout.cells * LANES),
            *strip_layout.borders(layout, [jnp.float32]),
        ],
        name="soft_strips_back",
        leaves=len(leaving),
        **options,
    )
    visited = layout.straight(visited)
    if forbids:  # what rounding leaves to the last of three shares may be no way at all
        visited = jnp.where(matrices == jnp.inf, 0, visited)
    return found, visited


def _of_open_ends(
    model: Model, layout: Layout, results: Sequence[Array], gamma: Array, ends: Ends | None
) -> tuple[Array, list[Array]]:
    """The soft minima, and with what probability paths end where, as kernels read it."""
    cells = openings.listed(model, layout, ends)
    states = openings.side_by_side(model, layout, results, len(_SoftMinimum.dtypes))
    found, shares = openings.total(model, cells, states, gamma)
    return found, openings.apart(model, layout, shares)


def _forward(cost_ref, gamma_ref, *refs, layout, model, forbids, shares, ends, interpret):
    end_refs, refs = refs[:ends], refs[ends:]
    found = len(strip_layout.found(layout, _SoftMinimum.dtypes, openings.sides(model.end)))
    borders = found + len(strip_layout.borders(layout, _SoftMinimum.dtypes))
    share_refs = refs[borders : borders + shares]

    def algebra(warp: Warp, pair: Array) -> _SoftMinimum:
        return _SoftMinimum(warp, exponent.scale_of(warp.load(gamma_ref, pair), warp), forbids)

    def record(warp: Warp, turn: Array, records: list[Any]) -> None:
        at = turn * (layout.cells * LANES) + warp.lane
        for row, column, recorded in records if shares else ():
            kept = ways.codes(model, column)[:-1]
            for code, share in zip(kept, recorded, strict=True):
                ref = share_refs[ways.kept(model).index(code)]
                warp.store(ref, at, share, layout.offset(row, column))

    strips.forward(
        algebra,
        layout,
        model,
        record=record,
        cost_ref=cost_ref,
        end_refs=end_refs,
        value_refs=refs[:found],
        border_refs=refs[found:borders],
        counts_ref=refs[-1],
        interpret=interpret,
    )


def _backward(*refs, layout, model, shares, ends, leaves, interpret):
    share_refs, refs = refs[:shares], refs[shares:]
    end_refs, leaving_refs, refs = refs[:ends], refs[ends : ends + leaves], refs[ends + leaves :]
    borders = len(strip_layout.borders(layout, [jnp.float32]))
    strips.backward(
        layout,
        model,
        share_refs=share_refs,
        end_refs=end_refs,
        leaving_refs=leaving_refs,
        visits_ref=refs[0],
        border_refs=refs[1 : 1 + borders],
        counts_ref=refs[-1],
        interpret=interpret,
    )
