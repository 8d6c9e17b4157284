"""Soft minima over matrices of local costs, and the expected alignments: kernels on strips."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tempalign._types import Array
from tempalign.kernels.gpu import exponent, strip_layout, strips
from tempalign.kernels.gpu.launch import LANES, Warp
from tempalign.kernels.gpu.strip_layout import Ends, Layout
from tempalign.kernels.gpu.strips import State


@dataclass(frozen=True)
class _SoftMinimum:
    warp: Warp
    scale: exponent.Scale
    forbids: bool
    dtypes = (jnp.float32, jnp.int32)
    nowhere = (1.0, exponent.FAR)
    origin = (1.0, 0)

    def extended(self, ways: list[State], cost: Array) -> tuple[State, list[Array]]:
        return exponent.extended(ways, cost, self.scale, self.warp, self.forbids)


def value(
    matrices: Array,
    gamma: Array,
    ends: Ends | None,
    *,
    diagonal: bool,
    forbids: bool,
    visits: bool,
    interpret: bool,
) -> tuple[Array, Array | None]:
    """Soft minima of the costs of paths from the first cell to the last.

    Args:
        matrices: float32 ``[L, n, m]``; where `forbids`, inf forbids a cell. Costs over gamma are
            at most `exponent.MOST_OF_CELL`, those of whole paths `exponent.MOST_OF_PATH`.
        gamma: positive temperatures ``[L]``.
        ends: last rows and columns, int32 ``[L]``; None: those of the matrices.
        diagonal: whether there are moves along the diagonal.
        forbids: whether some costs may be infinite.
        visits: whether the expected visits are asked for.
        interpret: see `launch.call`.

    Returns:
        Values ``[L]``, inf where there is no path, and expected visits ``[L, n, m]`` or None.
    """
    layout = Layout.of(matrices, interpret)
    costs = layout.skewed(matrices)
    lasts = strip_layout.of_lanes(layout, ends)
    dtypes, shares = _SoftMinimum.dtypes, (2 if diagonal else 1) if visits else 0
    out_shape = [
        *strip_layout.results(layout, dtypes, LANES),
        *strip_layout.borders(layout, dtypes),
        *strip_layout.results(layout, [jnp.float32] * shares, layout.turns * layout.cells * LANES),
    ]
    options: dict[str, Any] = {"interpret": interpret, "diagonal": diagonal, "shares": shares}
    options["ends"] = len(lasts)
    mantissa, power, *rest = strip_layout.launched(
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
    found = exponent.value_of((layout.at_ends(mantissa, ends), layout.at_ends(power, ends)), gamma)
    if not visits:
        return found, None
    first = len(strip_layout.borders(layout, dtypes))
    visited, *_ = strip_layout.launched(
        _backward,
        layout,
        *rest[first : first + shares],
        *lasts,
        out_shape=[
            *strip_layout.results(layout, [jnp.float32], layout.turns * layout.cells * LANES),
            *strip_layout.borders(layout, [jnp.float32]),
        ],
        name="soft_strips_back",
        **options,
    )
    visited = layout.straight(visited)
    if forbids:  # what rounding leaves to the last of three shares may be no way at all
        visited = jnp.where(matrices == jnp.inf, 0, visited)
    return found, visited


def _forward(cost_ref, gamma_ref, *refs, layout, diagonal, forbids, shares, ends, interpret):
    end_refs, refs = refs[:ends], refs[ends:]
    borders = len(strip_layout.borders(layout, _SoftMinimum.dtypes))
    value_refs, border_refs = refs[:2], refs[2 : 2 + borders]
    share_refs = refs[2 + borders : 2 + borders + shares]

    def algebra(warp: Warp, pair: Array) -> _SoftMinimum:
        return _SoftMinimum(warp, exponent.scale_of(gamma_ref[pair], warp), forbids)

    def record(warp: Warp, turn: Array, records: list[Any]) -> None:
        at = turn * (layout.cells * LANES) + warp.lane
        for row, column, recorded in records:
            for ref, share in zip(share_refs, recorded, strict=False):
                ref[at + (row * layout.wide + column) * LANES] = share

    strips.forward(
        algebra,
        layout,
        diagonal=diagonal,
        record=record,
        cost_ref=cost_ref,
        end_refs=end_refs,
        value_refs=value_refs,
        border_refs=border_refs,
        counts_ref=refs[-1],
        interpret=interpret,
    )


def _backward(*refs, layout, diagonal, shares, ends, interpret):
    share_refs, end_refs, refs = refs[:shares], refs[shares : shares + ends], refs[shares + ends :]
    borders = len(strip_layout.borders(layout, [jnp.float32]))
    strips.backward(
        layout,
        diagonal=diagonal,
        share_refs=share_refs,
        end_refs=end_refs,
        visits_ref=refs[0],
        border_refs=refs[1 : 1 + borders],
        counts_ref=refs[-1],
        interpret=interpret,
    )
