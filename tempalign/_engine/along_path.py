"""DejaVid's distance: sums along the paths of a hard model, at the price of the path alone.

A path visits at most ``Tc + T - 1`` of the ``Tc * T`` cells, and only those cells have a
gradient.  The loops below walk the paths cell by cell and touch one row of features at a time:
time O(cells * F), temporary memory O(1) beyond the result. (Measured on a CPU at the Kinetics
shape: 0.7 ns per path element; gathering the rows first and scattering the gradients back took 5
to 7 ns and 600 MB per four samples.) The order of additions is fixed, so results are
deterministic.

On a GPU, where each turn of such a loop is a launch, all paths take a step at once: 40 steps in
place of 800,000 at the Kinetics shape. There additions are in no fixed order.

The loops have no derivative: `_engine.linear` joins that for tangents and that for gradients. For
derivatives of higher order the same sums are written plainly, with all frames of a path gathered.

Shapes: ``x [S, A, T, F]``, ``centroid`` and ``weight [S, C, Tc, F]``, ``rows [P, S*A*C]`` as in
`hard`, with rows of the path running over the centroid.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import platforms
from tempalign._engine.costs import absolute
from tempalign._engine.modes import in_our_modes
from tempalign._types import Array

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Operands(NamedTuple):
    """What `dist(i, j) = sum_k weight[i, k] |centroid[i, k] - x[j, k]|` is made of."""

    x: Array
    centroid: Array
    weight: Array


class Tangents(NamedTuple):
    """Of `Operands`, None for one that has none."""

    x: Array | None
    centroid: Array | None
    weight: Array | None


def path_cost(operands: Operands, rows: Array) -> Array:
    """Sum of `dist` over the cells of each path.

    Args:
        operands: see the module.
        rows: paths ``[P, S*A*C]``.

    Returns:
        ``[S*A*C]``.
    """
    return (_walk_costs if platforms.likely_cpu() else _abreast_costs)(operands, rows)


def path_tangents(operands: Operands, rows: Array, tangents: Tangents) -> Array:
    """Tangents ``[S*A*C]`` of `path_cost`.

    Args:
        operands: see the module.
        rows: paths ``[P, S*A*C]``.
        tangents: of the operands, None for those that stay as they are.

    Returns:
        What `path_cost` changes by; |.| at 0 does not change.
    """
    walk = _walk_tangents if platforms.likely_cpu() else _abreast_tangents
    return walk(operands, rows, tangents)


def path_gradients(operands: Operands, rows: Array, cotangent: Array) -> Operands:
    """Gradients of ``sum(cotangent * path_cost)``.

    Args:
        operands: see the module.
        rows: paths ``[P, S*A*C]``.
        cotangent: ``[S*A*C]``.

    Returns:
        Gradients with respect to each of the operands; 0 for |.| at 0.
    """
    walk = _walk_gradients if platforms.likely_cpu() else _abreast_gradients
    return walk(operands, rows, cotangent)


def plain_tangents(operands: Operands, rows: Array, tangents: Tangents) -> Array:
    """`path_tangents` by gathering: differentiable any number of times."""
    moving = [k for k, tangent in enumerate(tangents) if tangent is not None]

    def cost(*moved: Array) -> Array:
        given = list(operands)
        for k, one in zip(moving, moved, strict=True):
            given[k] = one
        return _plain_cost(Operands(*given), rows)

    return jax.jvp(cost, [operands[k] for k in moving], [tangents[k] for k in moving])[1]


def plain_gradients(operands: Operands, rows: Array, cotangent: Array) -> Operands:
    """`path_gradients` by gathering: differentiable any number of times."""
    return jax.vjp(lambda given: _plain_cost(given, rows), operands)[1](cotangent)[0]


def _plain_cost(operands: Operands, rows: Array) -> Array:
    """`path_cost` by gathering, ``[P, S, A, C, F]`` at once; differentiable any number of times."""
    x, centroid, weight = operands
    (s, a, t, _), (_, c, steps, _) = x.shape, centroid.shape
    row = rows.reshape(-1, s, a, c)
    frame = jnp.arange(row.shape[0])[:, None, None, None] - row
    shared = jnp.arange(s)[None, :, None, None]
    sample, of_class = jnp.arange(a)[None, None, :, None], jnp.arange(c)[None, None, None, :]
    step = jnp.clip(row, 0, steps - 1)
    difference = centroid[shared, of_class, step] - x[shared, sample, jnp.clip(frame, 0, t - 1)]
    size = jnp.sum(weight[shared, of_class, step] * absolute(difference), axis=-1)
    return jnp.sum(jnp.where(row >= 0, size, 0), axis=0).reshape(-1)


def _sequentially(function: F) -> F:
    """One batch entry after the other under `vmap`: vectorised, the loops would gather."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    @in_our_modes
    def rule(axis_size: int, in_batched: Any, *arguments: Any) -> Any:
        del axis_size
        leaves, treedef = jax.tree.flatten(arguments)
        batched = jax.tree.leaves(in_batched)
        moving = [leaf for leaf, moves in zip(leaves, batched, strict=True) if moves]
        if not moving:
            found = function(*arguments)
            return found, jax.tree.map(lambda _: False, found)

        def one(slices: list[Array]) -> Any:
            rest = iter(slices)
            given = [
                next(rest) if moves else leaf for leaf, moves in zip(leaves, batched, strict=True)
            ]
            return mapped(*jax.tree.unflatten(treedef, given))

        found = lax.map(one, moving)
        return found, jax.tree.map(lambda _: True, found)

    return mapped  # type: ignore[return-value]


@jax.jit
@_sequentially
def _walk_costs(operands: Operands, rows: Array) -> Array:
    x, centroid, weight = operands
    walk = _Walk(x.shape, centroid.shape)
    x, centroid, weight = walk.flatten(operands)

    def lane_cost(lane: Array) -> Array:
        def add_cell(p: Array, total: Array) -> Array:
            row, frame, visited = walk.cell(rows, p, lane)
            here = _row(weight, row) * jnp.abs(_row(centroid, row) - _row(x, frame))
            return total + jnp.where(visited, here, 0)

        # Feature by feature over the path, then across features once: vector code throughout.
        return jnp.sum(lax.fori_loop(0, rows.shape[0], add_cell, jnp.zeros_like(x[:1])))

    lanes = rows.shape[1]
    return lax.map(lane_cost, jnp.arange(lanes)) if lanes else jnp.zeros_like(x, shape=0)


@jax.jit
@_sequentially
def _walk_tangents(operands: Operands, rows: Array, tangents: Tangents) -> Array:
    walk = _Walk(operands.x.shape, operands.centroid.shape)
    x, centroid, weight = walk.flatten(operands)
    d_x, d_centroid, d_weight = walk.flatten(tangents)

    def lane_tangent(lane: Array) -> Array:
        def add_cell(p: Array, total: Array) -> Array:
            row, frame, visited = walk.cell(rows, p, lane)
            difference = _row(centroid, row) - _row(x, frame)
            here = jnp.zeros_like(total)
            if d_centroid is not None:
                here += _row(d_centroid, row)
            if d_x is not None:
                here -= _row(d_x, frame)
            here *= _row(weight, row) * jnp.sign(difference)
            if d_weight is not None:
                here += _row(d_weight, row) * jnp.abs(difference)
            return total + jnp.where(visited, here, 0)

        return jnp.sum(lax.fori_loop(0, rows.shape[0], add_cell, jnp.zeros_like(x[:1])))

    lanes = rows.shape[1]
    return lax.map(lane_tangent, jnp.arange(lanes)) if lanes else jnp.zeros_like(x, shape=0)


@jax.jit
@_sequentially
def _walk_gradients(operands: Operands, rows: Array, cotangent: Array) -> Operands:
    walk = _Walk(operands.x.shape, operands.centroid.shape)
    x, centroid, weight = walk.flatten(operands)

    def slopes(lane: Array, p: Array) -> tuple[Array, Array, Array, Array]:
        """Row, frame and there d cost / d centroid (unweighted) and d cost / d weight, [1, F]."""
        row, frame, visited = walk.cell(rows, p, lane)
        scale = jnp.where(visited, cotangent[lane], 0)
        difference = _row(centroid, row) - _row(x, frame)
        sign = jnp.where(difference > 0, scale, jnp.where(difference < 0, -scale, 0))
        return row, frame, sign, scale * jnp.abs(difference)

    def class_cell(lane: Array, p: Array, totals: tuple[Array, Array]) -> tuple[Array, Array]:
        to_centroid, to_weight = totals
        row, _, sign, size = slopes(lane, p)
        return _add(to_centroid, row, sign), _add(to_weight, row, size)

    def sample_cell(lane: Array, p: Array, to_x: Array) -> Array:
        row, frame, sign, _ = slopes(lane, p)
        return _add(to_x, frame, -sign * _row(weight, row))

    # Two loops: when x is data, its loop is dead code and the compiler drops it. A lane that
    # nobody asks about is not walked: what is not finite there must not reach the others.
    asked = cotangent != 0
    to_centroid, to_weight = walk.cells(
        rows, class_cell, (jnp.zeros_like(centroid), jnp.zeros_like(weight)), asked
    )
    to_x = walk.cells(rows, sample_cell, jnp.zeros_like(x), asked)
    to_centroid = jnp.where(to_centroid == 0, 0, to_centroid * weight)
    gradients = (to_x, to_centroid, to_weight)
    return Operands(*(g.reshape(o.shape) for g, o in zip(gradients, operands, strict=True)))


@jax.jit
def _abreast_costs(operands: Operands, rows: Array) -> Array:
    walk = _Walk(operands.x.shape, operands.centroid.shape)
    x, centroid, weight = walk.flatten(operands)

    def step(total: Array, p: Array) -> tuple[Array, None]:
        row, frame, visited = walk.abreast(rows, p)
        here = jnp.sum(weight[row] * jnp.abs(centroid[row] - x[frame]), axis=-1)
        return total + jnp.where(visited, here, 0), None

    return lax.scan(step, jnp.zeros_like(x, shape=rows.shape[1]), jnp.arange(rows.shape[0]))[0]


@jax.jit
def _abreast_tangents(operands: Operands, rows: Array, tangents: Tangents) -> Array:
    walk = _Walk(operands.x.shape, operands.centroid.shape)
    x, centroid, weight = walk.flatten(operands)
    d_x, d_centroid, d_weight = walk.flatten(tangents)

    def step(total: Array, p: Array) -> tuple[Array, None]:
        row, frame, visited = walk.abreast(rows, p)
        difference = centroid[row] - x[frame]
        here = jnp.zeros_like(difference)
        if d_centroid is not None:
            here += d_centroid[row]
        if d_x is not None:
            here -= d_x[frame]
        here *= weight[row] * jnp.sign(difference)
        if d_weight is not None:
            here += d_weight[row] * jnp.abs(difference)
        return total + jnp.where(visited, jnp.sum(here, axis=-1), 0), None

    return lax.scan(step, jnp.zeros_like(x, shape=rows.shape[1]), jnp.arange(rows.shape[0]))[0]


@jax.jit
def _abreast_gradients(operands: Operands, rows: Array, cotangent: Array) -> Operands:
    walk = _Walk(operands.x.shape, operands.centroid.shape)
    x, centroid, weight = walk.flatten(operands)
    totals = tuple(jnp.zeros_like(one) for one in (x, centroid, weight))

    def step(totals: tuple[Array, ...], p: Array) -> tuple[tuple[Array, ...], None]:
        row, frame, visited = walk.abreast(rows, p)
        scale = jnp.where(visited, cotangent, 0)[:, None]
        difference = centroid[row] - x[frame]
        # A lane that nobody asks about adds nothing, whatever stands there.
        sign = jnp.where(difference > 0, scale, jnp.where(difference < 0, -scale, 0))
        size = jnp.where(scale == 0, 0, scale * jnp.abs(difference))
        back = jnp.where(sign == 0, 0, -sign * weight[row])
        to_x, to_centroid, to_weight = totals
        return (
            to_x.at[frame].add(back),
            to_centroid.at[row].add(sign),
            to_weight.at[row].add(size),
        ), None

    (to_x, to_centroid, to_weight), _ = lax.scan(step, totals, jnp.arange(rows.shape[0]))
    to_centroid = jnp.where(to_centroid == 0, 0, to_centroid * weight)
    gradients = (to_x, to_centroid, to_weight)
    return Operands(*(g.reshape(o.shape) for g, o in zip(gradients, operands, strict=True)))


def _row(array: Array, index: Array) -> Array:
    return lax.dynamic_slice_in_dim(array, index, 1)


def _add(total: Array, index: Array, row: Array) -> Array:
    # Slices, not `.at[].add`: a scatter here made the loop two times slower.
    return lax.dynamic_update_slice_in_dim(total, _row(total, index) + row, index, 0)


class _Walk(NamedTuple):
    """Where the cells of a lane lie in the flattened operands."""

    x_shape: tuple[int, ...]
    centroid_shape: tuple[int, ...]

    def flatten(self, operands: Any) -> tuple[Any, Any, Any]:
        """Operands or their tangents as ``[rows, F]``."""
        x, centroid, weight = (
            None if one is None else one.reshape(-1, one.shape[-1]) for one in operands
        )
        return x, centroid, weight

    def cells(
        self, rows: Array, visit: Callable[[Array, Array, T], T], start: T, asked: Array
    ) -> T:
        """Folds `visit(lane, p, total)` over the anti-diagonals of all lanes asked for."""

        def lane(index: Array, total: T) -> T:
            count = jnp.where(asked[index], rows.shape[0], 0)
            return lax.fori_loop(0, count, lambda p, t: visit(index, p, t), total)

        # A loop over no lanes would still be traced, and could not be: there is no cell to read.
        return lax.fori_loop(0, rows.shape[1], lane, start) if rows.shape[1] else start

    def abreast(self, rows: Array, p: Array) -> tuple[Array, Array, Array]:
        """The cells of all lanes on diagonal p; see `cell`."""
        lane = jnp.arange(rows.shape[1], dtype=rows.dtype)
        return self._cell(lax.dynamic_index_in_dim(rows, p, keepdims=False), p, lane)

    def cell(self, rows: Array, p: Array, lane: Array) -> tuple[Array, Array, Array]:
        """(row of the centroids, frame of x, whether the path has a cell on diagonal p)."""
        return self._cell(lax.dynamic_slice(rows, (p, lane), (1, 1))[0, 0], p, lane)

    def _cell(self, i: Array, p: Array, lane: Array) -> tuple[Array, Array, Array]:
        _, a, t, _ = self.x_shape
        _, c, tc, _ = self.centroid_shape
        visited = i >= 0
        i = jnp.maximum(i, 0)
        # A skipped diagonal reads some cell that exists; its share is multiplied by 0.
        j = jnp.clip(p - i, 0, t - 1)
        i = jnp.minimum(i, tc - 1)
        sample, of_class = lane // c, lane // (a * c) * c + lane % c
        return of_class * tc + i, sample * t + j, visited
