"""Sums along paths of a hard model on XLA, with the frames of the paths gathered.

Plain code that can be differentiated any number of times, beside the loops of native code
(`served`), which cannot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from tempalign._engine import costs, hard
from tempalign._engine.model import Model
from tempalign._types import Array


class Given(NamedTuple):
    """What has derivatives.

    Attributes:
        x: as in `Operands`, for cosines of length 1.
        y: likewise.
        prices: ``[4]``, weights of the moves and penalty; None where the model is uniform.
    """

    x: Array
    y: Array
    prices: Array | None


def sizes(model: Model, given: Any) -> tuple[int, int]:
    """Numbers of rows and columns of what has an x and a y."""
    n, width = given.x.shape[2:]
    return n, width if model.cost == "given" else given.y.shape[2]


def path_cost(model: Model, rows: Array, given: Given) -> Array:
    """Sums along the paths ``rows [S, A, C, P]``; differentiable any number of times."""
    x, y, prices = given
    row = rows.transpose(3, 0, 1, 2)  # [P, S, A, C]
    position = jnp.arange(row.shape[0])[:, None, None, None]
    n, m = sizes(model, given)
    # Where there is no cell some other is read, and not counted.
    i, j = jnp.clip(row, 0, n - 1), jnp.clip(position - row, 0, m - 1)
    s, a, c = (jnp.arange(size) for size in rows.shape[:3])
    shared, of_x, of_y = s[:, None, None], a[:, None], c
    # What is not finite is on no path, and its derivative must not meet a 0.
    x, y = (jnp.where(jnp.isfinite(one), one, 0) for one in (x, y))
    if model.cost == "given":
        cost = x[shared, of_x, i, j]
    else:
        first, second = x[shared, of_x, i], y[shared, of_y, j]
        if model.cost == "cosine":
            cost = 1 - jnp.sum(first * second, axis=-1)
        elif model.cost == "manhattan":
            cost = jnp.sum(jnp.abs(first - second), axis=-1)
        else:
            cost = jnp.sum(jnp.square(first - second), axis=-1)
            cost = costs.safe_sqrt(cost) if model.cost == "euclidean" else cost
    if prices is not None:
        by_move = hard.moves_of(row)
        paid = jnp.where(by_move.begun, cost, 0)
        for k, (move, here) in enumerate(zip(model.moves, by_move[:3], strict=True)):
            price = cost * prices[k] if move.weighted else cost
            paid = paid + jnp.where(here, price + prices[3] if move.penalised else price, 0)
        cost = paid
    return jnp.sum(jnp.where(row >= 0, cost, 0), axis=0)


@dataclass(frozen=True)
class Cells:
    """Paths ``rows [S, A, C, P]`` as matrices, NaN within the lengths where there is none."""

    n: int
    m: int

    def __call__(self, rows: Array, values: Array, *lengths: Array) -> list[Array]:
        sizes = rows.shape[:3]
        flat = rows.reshape(-1, rows.shape[-1]).T
        visits = hard.on_cells(flat, self.n, self.m).transpose(2, 0, 1)
        visits = visits.reshape(*sizes, self.n, self.m).astype(values.dtype)
        return [nan_inside(visits, values, lengths)]


def nan_inside(visits: Array, values: Array, lengths: Sequence[Array] | None) -> Array:
    """Matrices ``[S, A, C, n, m]``, NaN within the lengths where a value ``[S, A, C]`` is none."""
    n, m = visits.shape[3:]
    inside: Array | bool = True
    if lengths:
        true_n, true_m = (one[..., None, None] for one in lengths)
        inside = (jnp.arange(n)[:, None] < true_n) & (jnp.arange(m) < true_m)
    return jnp.where(~jnp.isfinite(values)[..., None, None] & inside, jnp.nan, visits)
