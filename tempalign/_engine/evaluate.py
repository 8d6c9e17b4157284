"""Problems to results: block by block, so that neither cache nor memory overflows.

Everything a call is compiled for is in its model and in the shapes of its operands, so that a
second call of the same shapes, eager ones included, compiles nothing.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import (
    chunks,
    costs,
    derivative,
    long,
    platforms,
    served,
    soft_served,
    windows,
)
from tempalign._engine.backends import choose
from tempalign._engine.derivative import Lanes
from tempalign._engine.handed import (
    Library,
    OnXla,
    costs_made_outside,
    matrix_by_xla,
    with_given_costs,
)
from tempalign._engine.model import Model
from tempalign._engine.problem import Operands, Problem
from tempalign._engine.programs import compiled
from tempalign._engine.recurrence import Ends
from tempalign._engine.shards import alike
from tempalign._types import Array, Implementation, ImplementationName
from tempalign.kernels.cpu import native


class Alignment(NamedTuple):
    """How sequences align.

    Attributes:
        value: ``[...]``, the (soft) minimum of the path costs.
        alignment: ``[..., n, m]``, the expected alignment: the probability that a path visits the
            cell. Under the hard minimum the path, 1 on its cells and 0 elsewhere.
        entropy: ``[...]`` of the distribution over paths, in nats: minus the derivative of the
            value in gamma; 0 under the hard minimum.
    """

    value: Array
    alignment: Array
    entropy: Array


def value(function: str, problem: Problem, implementation: Implementation) -> Array:
    """(Soft) minima of the path costs ``[...]``; `function` is who asks, for messages."""
    model, operands, pairs = problem
    backend = choose(function, model, operands, implementation).backend
    return pairs.restore(values_by(backend, model, operands))


def values_by(backend: ImplementationName, model: Model, operands: Operands) -> Array:
    """(Soft) minima ``[S, A, C]``; for who has chosen already."""
    library = _library(backend)
    if library is None:
        return values(model, operands)
    return _served(model).value(model, operands, library)


def aligned_sums(
    backend: ImplementationName, model: Model, operands: Operands, frames: Array, weights: Array
) -> tuple[Array, Array]:
    """Hard distances, and what their paths align with the frames of x; see `served`."""
    library = _library(backend)
    if library is not None:
        return served.aligned_sums(model, operands, frames, weights, library)
    lanes = to_lanes(model, operands)
    found = derivative.marginals(model, lanes, moves=not model.uniform)
    counted = derivative.slope(model, lanes, found)
    share = counted.reshape(*counted.shape[:2], *weights.shape)
    share = jnp.where(weights > 0, share * weights, 0)  # [n, m, S, A, C]
    by_frame = frames.transpose(2, 0, 1, 3)  # [m, S, C, G]
    total = jnp.einsum("nmsac,mscg->sang", share, by_frame, precision=lax.Precision.HIGHEST)
    return found.value.reshape(weights.shape), total


def alignment(function: str, problem: Problem, implementation: Implementation) -> Array:
    """The path or expected alignment ``[..., n, m]``."""
    model, operands, pairs = problem
    library = _library(choose(function, model, operands, implementation).backend)
    if library is not None:
        return pairs.restore(_served(model).alignment(model, operands, library, False)[1])
    found = _recomputed if model.recompute else _marginals
    return pairs.restore(found(model, operands, False)[1])


def marginals(function: str, problem: Problem, implementation: Implementation) -> Alignment:
    """Value, alignment and entropy."""
    model, operands, pairs = problem
    library = _library(choose(function, model, operands, implementation).backend)
    if library is not None:
        found = _served(model).alignment(model, operands, library, True)
    else:
        found = _alignments(model, operands)
    return Alignment(*map(pairs.restore, found))


def path(function: str, problem: Problem, implementation: Implementation) -> tuple[Array, Array]:
    """Minimal costs ``[...]`` and shortest paths as ``rows [..., P]``, see `hard`."""
    model, operands, pairs = problem
    library = _library(choose(function, model, operands, implementation).backend)
    if library is None:
        found, rows = _paths(model, operands)
    else:
        found, rows = served.path(model, operands, library)
    return pairs.restore(found), pairs.restore(rows)


def _served(model: Model) -> Any:
    """Who calls a library for a minimum."""
    return soft_served if model.soft else served


@functools.cache
def _library(backend: ImplementationName) -> Library | None:
    """The library that a backend is, None for XLA."""
    if backend == "xla":
        return None
    if backend == "native":
        return Library(native.call, costs_made_outside, matrix_by_xla, _ON_XLA)
    kernels = importlib.import_module("tempalign.kernels.gpu.alignment")
    made = importlib.import_module("tempalign.kernels.gpu.local_costs")
    call, matrix = (
        functools.partial(function, interpret=backend == "pallas_interpret")
        for function in (kernels.call, made.matrix)
    )
    return Library(call, lambda model, operands: model.cost != "given", matrix, _ON_XLA)


def values(model: Model, operands: Operands) -> Array:
    """(Soft) minima of the path costs ``[S, A, C]``."""
    return long.value(model, operands) if model.recompute else _values(model, operands)


@compiled("model")
def _values(model: Model, operands: Operands) -> Array:
    return _by_block(model, operands, lambda lanes: derivative.value(model, lanes))


@compiled("model", "entropy")
def _marginals(model: Model, operands: Operands, entropy: bool) -> tuple[Array, ...]:
    def of_lanes(lanes: Lanes) -> tuple[Array, ...]:
        found = derivative.marginals(model, lanes, entropy=entropy)
        visits = found.visits.transpose(2, 0, 1)
        if not model.soft:
            visits = lax.stop_gradient(visits)
        return (
            (found.value, visits) if found.entropy is None else (found.value, visits, found.entropy)
        )

    return _by_block(model, operands, of_lanes)


@compiled("model")
def _paths(model: Model, operands: Operands) -> tuple[Array, Array]:
    def of_lanes(lanes: Lanes) -> tuple[Array, Array]:
        found = derivative.path(model, alike(lanes))
        bad = ~jnp.isfinite(found.value)
        return found.value, jnp.where(bad, -1, found.rows).T

    return _by_block(model, operands, of_lanes)


def _alignments(model: Model, operands: Operands) -> tuple[Array, ...]:
    """Values, expected alignments and entropies."""
    return (_recomputed if model.recompute else _marginals)(model, operands, True)


_ON_XLA = OnXla(values, _paths, _alignments)


@compiled("model", "entropy")
def _recomputed(model: Model, operands: Operands, entropy: bool) -> tuple[Array, ...]:
    """The same from derivatives of the value in the cost matrix and in gamma."""
    of_given, given, sizes = with_given_costs(model, operands)
    n, m = given.x.shape[-2:]
    gamma = operands.gamma
    assert gamma is not None

    def of(x: Array, gamma: Array) -> Array:
        return long.value(of_given, given._replace(x=x, gamma=gamma)).reshape(sizes)

    found, push = jax.vjp(lambda x: of(x, gamma), given.x)
    (visits,) = push(jnp.ones_like(found))
    visits = jnp.where(
        jnp.isfinite(found)[..., None, None], visits.reshape((*sizes, n, m)), jnp.nan
    )
    if not entropy:
        return found, visits
    of_gamma = jax.jvp(lambda gamma: of(given.x, gamma), (gamma,), (jnp.ones_like(gamma),))[1]
    return found, visits, -of_gamma


def to_lanes(model: Model, operands: Operands) -> Lanes:
    """Pairs side by side, costs outside of the window forbidden."""
    cost = costs.matrix(operands.x, operands.y, model.cost)
    n, m = cost.shape[:2]
    rows: Array | int = n
    columns: Array | int = m
    ends = None
    if operands.rows is not None and operands.columns is not None:
        rows, columns = operands.rows.reshape(-1), operands.columns.reshape(-1)
        ends = Ends(rows - 1, columns - 1)
    row = jnp.arange(n, dtype=jnp.int32)
    cost = windows.forbid(model.window, cost, operands.mask, row, rows, columns, (n, m))
    valid = None if operands.valid is None else operands.valid.reshape(-1)
    return Lanes(cost, ends, valid, operands.gamma, operands.prices)


# Matrix cells that one pass of the recurrence should work on: on a CPU what its cache holds,
# elsewhere what keeps every core busy.
_CELLS_AT_ONCE = {"cpu": 2**19, "other": 2**28}
# Matrix cells whose alignments may be kept for a backward pass (2 GB of float32).
_CELLS_KEPT = 2**29


def _by_block(model: Model, operands: Operands, evaluate: Callable[[Lanes], Any]) -> Any:
    """What `evaluate` makes of the pairs, ``[L, ...]`` a block, as ``[S, A, C, ...]``."""
    at_once = _CELLS_AT_ONCE["cpu" if platforms.likely_cpu() else "other"]
    s, a, n = operands.x.shape[:3]
    c = operands.y.shape[1]
    m = operands.x.shape[3] if model.cost == "given" else operands.y.shape[2]

    def of_block(block: Operands) -> Any:
        sizes = *block.x.shape[:2], block.y.shape[1]
        made = evaluate(to_lanes(model, block))
        return jax.tree.map(lambda one: one.reshape(sizes + one.shape[1:]), made)

    if not all(isinstance(size, int) for size in (s, a, c)):
        return of_block(operands)  # `jax.export` with a symbolic batch: how many is not known
    # The longest of the three axes is cut.
    axis = max(range(3), key=lambda k: (s, a, c)[k])
    count = (s, a, c)[axis]
    cells = s * a * c * n * m
    chunk = chunks.even(count, max(1, at_once * count // max(cells, 1)))
    if chunk == count:
        return of_block(operands)
    if cells > _CELLS_KEPT:
        # Otherwise autodiff keeps the alignments of all blocks.
        of_block = jax.checkpoint(of_block)
    # Which axis of an operand that is, where it has it.
    axes = {"rows": axis, "columns": axis, "valid": axis}
    axes |= ({"x": 0, "y": 0}, {"x": 1}, {"y": 1})[axis]
    if operands.mask is not None and operands.mask.shape[axis] > 1:
        axes["mask"] = axis
    parts = {
        name: chunks.split(getattr(operands, name), at, chunk)
        for name, at in axes.items()
        if getattr(operands, name) is not None
    }
    mapped = lax.map(lambda part: of_block(operands._replace(**part)), parts)

    def joined(blocks: Array) -> Array:
        """``[K, S, A, C, ...]``, one of them a chunk, as one array."""
        blocks = jnp.moveaxis(blocks, 0, axis)
        shape = blocks.shape[:axis] + (-1,) + blocks.shape[axis + 2 :]
        return lax.slice_in_dim(blocks.reshape(shape), 0, count, axis=axis)

    return jax.tree.map(joined, mapped)
