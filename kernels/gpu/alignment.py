"""What `tempalign` calls for its distances where there is a GPU: kernels on strips of given costs.

Matrices of local costs are made first (`local_costs`), then handed to these kernels.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import chunks, windows
from tempalign._engine.handed import Present
from tempalign._engine.model import Model, Window
from tempalign._types import Array
from tempalign.kernels.gpu import calls, exponent, hard_strips, launch, soft_strips, ways
from tempalign.kernels.gpu.strip_layout import Layout
from tempalign.kernels.placed import Call, on_xla

_MOST_CELLS = 2**31 - 1  # that an int32 counts
# Cells that kernels work on at once: what is kept of them takes a dozen bytes each.
_AT_ONCE = 2**28
_VALUES, _CELLS = 1, 16  # what a soft minimum is asked for: bits of `soft_plain`
_SERVED = ("value", "path", "soft_value", "soft_jacobian")


def refuses(model: Model, operands: Any = None) -> str | None:
    """Why the kernels cannot serve a model and operands, or None."""
    if (missing := ways.refused(model)) is not None:
        return missing
    if model.recompute:
        return "the kernels keep what XLA would compute again"
    if launch.no_warps() is not None:
        return launch.no_warps()
    if operands is None:
        return None
    sizes = (size for one in jax.tree.leaves(operands) for size in one.shape)
    if not all(isinstance(size, int) for size in sizes):
        return "the kernels need sizes that are known, and jax.export was given symbolic ones"
    if operands.x.dtype != jnp.float32:
        return f"the kernels compute in float32, not {operands.x.dtype}"
    n = operands.x.shape[2]
    m = operands.x.shape[3] if model.cost == "given" else operands.y.shape[2]
    if 0 in operands.x.shape or 0 in operands.y.shape:
        return "there is nothing to compute"
    if Layout(1, n, m).size > _MOST_CELLS:
        return f"{n} x {m} cells are too many"
    return None


def call(
    operation: str,
    model: Model,
    operands: Sequence[Array],
    results: Sequence[tuple[tuple[int, ...], Any]],
    xla: Callable[..., Sequence[Array]],
    *,
    interpret: bool,
    **flags: int,
) -> list[Array]:
    """Calls the kernels; arguments as for `native.call`, and `interpret` as for `launch.call`.

    What there are no kernels for (sums along paths, entropies) is computed by XLA.
    """
    asked = flags.get("asked", 0)
    if operation not in _SERVED or asked & ~(_VALUES | _CELLS):
        return list(xla(*operands))
    return calls.bind(operation, model, operands, results, xla, interpret=interpret, **flags)


class _Problem(NamedTuple):
    """Matrices of local costs, without batch axes.

    Attributes:
        costs: ``[L, n, m]``.
        lengths: true numbers of rows and columns, ``[L]`` each, or None.
        mask: bool ``[L or 1, n, m]``, cells allowed, or None.
        gamma: ``[L]``, None under the hard minimum.
    """

    costs: Array
    lengths: tuple[Array, Array] | None
    mask: Array | None
    gamma: Array | None


def _on_kernels(*operands: Array, call: Call) -> list[Array]:
    """What a call computes, all batch axes together."""
    problem, batch = _flattened(operands, call)
    if problem.gamma is not None:
        fits = _fits(call.model, problem)
        usable = problem._replace(
            costs=jnp.where(fits[:, None, None], problem.costs, 0),
            gamma=jnp.where(fits, problem.gamma, 1),
        )
    else:
        usable = problem
    found = _by_chunk(partial(_solved, call), usable)
    found = [
        one.reshape(batch + shape) for one, (shape, _) in zip(found, call.results, strict=True)
    ]
    if problem.gamma is None:
        return found

    def with_others(*operands: Array) -> list[Array]:
        """XLA takes the pairs that do not fit; what a pair gives does not depend on the others."""
        others = _one_by_one(*operands, call=call)
        here = fits.reshape(others[0].shape)
        return [
            jnp.where(here.reshape(here.shape + (1,) * (one.ndim - here.ndim)), one, other)
            for one, other in zip(found, others, strict=True)
        ]

    return lax.cond(jnp.all(fits), lambda *_: found, with_others, *operands)


for _operation in _SERVED:
    calls.serves(_operation)(_on_kernels)


def _one_by_one(*operands: Array, call: Call) -> list[Array]:
    """What a call computes, on XLA, pair by pair.

    It is hardly ever run, but the memory that it would take is taken in any case.
    """
    count = operands[0].shape[0]
    if call.batch_of(operands) or count == 1:
        return on_xla(*operands, call=call)
    moves = [
        rank > 1 and one.shape[0] == count for one, rank in zip(operands, call.ranks, strict=True)
    ]

    def of_pair(pair: list[Array]) -> list[Array]:
        rest = iter(pair)
        given = (
            next(rest)[None] if moving else one for one, moving in zip(operands, moves, strict=True)
        )
        return [one[0] for one in call.xla(*given)]

    return lax.map(of_pair, [one for one, moving in zip(operands, moves, strict=True) if moving])


def _flattened(operands: Sequence[Array], call: Call) -> tuple[_Problem, tuple[int, ...]]:
    """The problem of operands as `handed` lists them, and the batch axes in front of them."""
    (batch, (x, _, *others)), flags = call.merged(operands), dict(call.flags)
    count = len(x)
    present = Present(*(bool(flags[f"has_{name}"]) for name in Present._fields))
    fixed, _, rest = present.taken(others)
    n, m = x.shape[-2:]
    costs = x.reshape(-1, n, m)
    lengths = fixed.lengths
    if lengths is not None:
        lengths = lengths[0].reshape(-1), lengths[1].reshape(-1)
    mask = fixed.mask
    if mask is not None:  # [count, L / count or 1, 1, 1, n, m]
        shared = count == 1 and mask.shape[1] == 1
        mask = mask if shared else jnp.broadcast_to(mask, (*x.shape[:2], 1, 1, n, m))
        mask = mask.reshape(-1, n, m)
    gamma = jnp.repeat(rest[0], costs.shape[0] // count) if rest else None
    return _Problem(costs, lengths, mask, gamma), batch


def _fits(model: Model, problem: _Problem) -> Array:
    """Of which pairs costs over gamma are such as the exponents hold, bool ``[L]``."""
    costs, gamma = problem.costs, problem.gamma
    assert gamma is not None
    finite = jnp.isfinite(costs)
    if _forbids(model, problem):
        finite |= costs == jnp.inf
    largest = jnp.max(jnp.where(jnp.isfinite(costs), jnp.abs(costs), 0), axis=(1, 2))
    largest = largest * (math.log2(math.e) / gamma)
    longest = costs.shape[1] + costs.shape[2]
    small = (largest < exponent.MOST_OF_CELL) & (largest * longest < exponent.MOST_OF_PATH)
    return small & jnp.all(finite, axis=(1, 2))


def _forbids(model: Model, problem: _Problem) -> bool:
    """Whether some cells of the matrices may be infinite."""
    return problem.mask is not None or model.window != Window()


def _solved(call: Call, problem: _Problem) -> list[Array]:
    """The results of a call, ``[L, ...]``; under the soft minimum of costs that fit."""
    model, interpret = call.model, calls.interpreted(call)
    costs, (_, n, m) = problem.costs, problem.costs.shape
    ends = None
    if problem.lengths is not None:
        last_row, last_column = ends = problem.lengths[0] - 1, problem.lengths[1] - 1
        row = jnp.arange(n, dtype=jnp.int32)[None, :, None]
        column = jnp.arange(m, dtype=jnp.int32)[None, None]
        inside = (row <= last_row[:, None, None]) & (column <= last_column[:, None, None])
        costs = jnp.where(inside, costs, 0)
    if _forbids(model, problem):
        costs = windows.forbid(
            model.window,
            costs.transpose(1, 2, 0)[..., None, None],
            None if problem.mask is None else problem.mask[:, None, None],
            jnp.arange(n, dtype=jnp.int32),
            n if problem.lengths is None else problem.lengths[0],
            m if problem.lengths is None else problem.lengths[1],
            (n, m),
        ).transpose(2, 0, 1)
    if model.soft:
        assert problem.gamma is not None
        found, visits = soft_strips.value(
            costs,
            problem.gamma,
            ends,
            model=_plain(model),
            forbids=_forbids(model, problem),
            visits=call.operation == "soft_jacobian",
            interpret=interpret,
        )
        return [found] if visits is None else [found, visits]
    bad = jnp.any(jnp.isnan(costs), axis=(1, 2))
    costs = jnp.where(bad[:, None, None], 0, costs)
    paths = call.operation == "path"
    found, rows = hard_strips.value(
        costs, ends, model=_plain(model), paths=paths, interpret=interpret
    )
    found = jnp.where(bad, jnp.nan, found)
    if rows is None:
        return [found]
    return [found, jnp.where(jnp.isfinite(found)[:, None], rows.T, -1)]


def _plain(model: Model) -> Model:
    """Moves and openings alone: what the kernels are compiled for."""
    return Model(*model.moves, begin=model.begin, end=model.end)


def _by_chunk(solve: Callable[[_Problem], list[Array]], problem: _Problem) -> list[Array]:
    """What `solve` makes of the pairs, no more of them at once than memory holds."""
    pairs, n, m = problem.costs.shape
    chunk = chunks.even(pairs, max(1, _AT_ONCE // Layout(1, n, m).size))
    if chunk == pairs:
        return solve(problem)
    shared = problem.mask is not None and problem.mask.shape[0] == 1
    mask, problem = problem.mask, problem._replace(mask=None if shared else problem.mask)

    def of_chunk(part: _Problem) -> list[Array]:
        return solve(part._replace(mask=mask) if shared else part)

    parts = jax.tree.map(lambda array: chunks.split(array, 0, chunk), problem)
    mapped = lax.map(of_chunk, parts)
    return [one.reshape(-1, *one.shape[2:])[:pairs] for one in mapped]
