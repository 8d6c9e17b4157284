"""DTW barycenter averaging: the average of sequences under alignment."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tempalign import _checks, _costs, _hard
from tempalign._pairs import Pairs
from tempalign._problem import clear_padding, lane_ends, to_lanes
from tempalign._tse import resample
from tempalign._types import Array, ArrayLike, Cost


def dba(
    series: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    length: int | None = None,
    init: ArrayLike | None = None,
    num_iters: int = 100,
    diagonal: bool = True,
    cost: Cost = "sqeuclidean",
    return_objective: bool = False,
) -> Array | tuple[Array, Array]:
    r"""DTW barycenter averaging, for any number of sets of series at once.

    Starts from the medoid and repeats: align every series with the barycenter, then move each
    step of the barycenter to the (weighted) mean of the frames aligned with it. Stops at a fixed
    point. Under ``"sqeuclidean"`` the mean is the minimiser, and the objective

    .. math::
        \sum_n w_n \, \mathrm{dtw}(z, x_n)

    never rises: a step that does not lower it is not taken. Under another cost the mean update is
    a heuristic (DejaVid's, with ``cost="manhattan", diagonal=False``) and the objective may rise.

    Args:
        series: ``[..., N, T, F]``: N series to average, for each of the leading axes. bf16 and
            f16 are computed in float32.
        lengths: true lengths, integers that broadcast to ``[..., N]``; frames past them (NaN and
            inf included) change nothing. None: T.
        weights: non-negative weights that broadcast to ``[..., N]``; a series of weight 0 is
            ignored (NaN and inf included). None: ones.
        length: number of steps of the barycenter. None: that of `init`, else T. The series
            themselves are aligned as given; to average resampled series, resample them first, as
            DejaVid does.
        init: ``[..., length, F]`` to start from. None: the medoid, the series with the least
            summed distance to the others (of the series resampled to `length` where one is asked
            for), resampled to `length` if it has another.
        num_iters: most updates to make, >= 1.
        diagonal: whether the alignment may step diagonally.
        cost: local cost, see `tempalign.dtw`.
        return_objective: also return the objective per iteration.

    Returns:
        ``[..., length, F]`` barycenters; no gradient flows through them. With `return_objective`
        also ``[..., num_iters + 1]`` objectives, the start first, constant after the stop.
        Traced lengths outside 1..T give NaN.

    Raises:
        ValueError: shapes that do not fit, lengths outside 1..T, negative weights or weights
            that are all 0 in a set (where concrete), an unknown cost.
        TypeError: a series that is not floating point, or counts that are not integers.

    Source:
        Petitjean, Ketterlin and Gancarski, "A global averaging method for dynamic time warping",
        Pattern Recognition 2011.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> two = jnp.array([[[0.0], [2.0], [2.0]], [[0.0], [0.0], [4.0]]])
        >>> tempalign.dba(two)[:, 0].tolist()
        [0.0, 1.0, 3.0]
    """
    iterations = _checks.positive_int(num_iters, "num_iters")
    classes, lead, valid = _classes(series, lengths, weights)
    steps = None if length is None else _checks.positive_int(length, "length")
    if init is not None:
        center = _checks.sequence(init, "init").astype(classes.values.dtype)
        expected = lead + (center.shape[-2] if steps is None else steps, classes.values.shape[-1])
        if center.shape != expected:
            raise ValueError(
                f"init must have shape {expected} (leading axes of series, length, features), "
                f"got {center.shape}"
            )
        center = center.reshape((-1,) + center.shape[-2:])
    else:
        center = _medoid(classes, steps, diagonal, cost)
    center, objective = _average(classes, center, iterations, diagonal, cost)
    center = jnp.where(valid[:, None, None], center, jnp.nan)
    center = lax.stop_gradient(center.reshape(lead + center.shape[-2:]))
    if not return_objective:
        return center
    return center, lax.stop_gradient(objective.T.reshape(lead + (iterations + 1,)))


class _Classes(NamedTuple):
    """Sets of series: values ``[C, N, T, F]``, lengths int32 and weights ``[C, N]``."""

    values: Array
    lengths: Array
    weights: Array


def _classes(
    series: ArrayLike, lengths: ArrayLike | None, weights: ArrayLike | None
) -> tuple[_Classes, tuple[int, ...], Array]:
    """The sets of series, their leading axes, and whether (traced) lengths are in range."""
    x = _checks.sequence(series, "series")
    if x.ndim < 3 or x.shape[-3] < 1:
        raise ValueError(
            f"series must have shape [..., N, T, F] with at least one series, got {x.shape}"
        )
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    *lead, n, t, f = x.shape
    w = _weights(weights, (*lead, n)).astype(x.dtype)
    checked = _checks.lengths(lengths, t, "lengths")
    full = jnp.full((), t, jnp.int32) if checked is None else checked
    _must_fit(full.shape, (*lead, n), "lengths")
    full = jnp.broadcast_to(full, (*lead, n))
    x, _ = clear_padding(x, jnp.clip(full, 1, t), "series", "lengths")
    x = jnp.where((w > 0)[..., None, None], x, 0)
    valid = jnp.all((full >= 1) & (full <= t), axis=-1).reshape(-1)
    count = math.prod(lead)
    classes = _Classes(
        x.reshape(count, n, t, f), jnp.clip(full, 1, t).reshape(count, n), w.reshape(count, n)
    )
    return classes, tuple(lead), valid


def _weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if weights is None:
        return jnp.ones(shape)
    w = _checks.floating(weights, "weights")
    _must_fit(w.shape, shape, "weights")
    w = jnp.broadcast_to(w, shape)
    if not isinstance(w, jax.core.Tracer) and w.size:
        values = np.asarray(w)
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ValueError("weights must be finite and >= 0, got a negative or non-finite one")
        empty = np.argwhere(values.sum(-1) == 0)
        if len(empty):
            raise ValueError(
                f"weights must not be all 0 in a set of series; they are in {len(empty)} set(s), "
                f"first at leading index {tuple(int(i) for i in empty[0])}"
            )
    return w


def _must_fit(shape: tuple[int, ...], target: tuple[int, ...], name: str) -> None:
    if _checks.broadcast_shapes({name: shape, "series[..., 0, 0]": target}) != target:
        raise ValueError(
            f"{name} must broadcast to {target} (leading axes and number of series), got {shape}"
        )


@partial(jax.jit, static_argnames=("steps", "diagonal", "cost"))
def _medoid(classes: _Classes, steps: int | None, diagonal: bool, cost: Cost) -> Array:
    """The series of least summed distance in each set, ``[C, length, F]``."""
    values, lengths, weights = classes
    if steps is not None:
        values = resample(values, steps, lengths=lengths)
        lengths = jnp.full_like(lengths, steps)
    sets, n, t, _ = values.shape
    pairs = Pairs((sets, 1), (sets, n))

    def summed_distance(index: Array) -> Array:
        # One series against its set at a time: all pairs at once would be [C, N, N, T, T].
        one = lax.dynamic_slice_in_dim(values, index, 1, axis=1)
        one_length = lax.dynamic_slice_in_dim(lengths, index, 1, axis=1)
        costs = to_lanes(_costs.matrix(one, values, cost))
        ends = lane_ends(one_length, lengths, t, t, pairs)
        distance = _hard.value(costs, ends, diagonal).reshape(sets, n)
        # Not a dot product: 0 * inf would be NaN for a series that is ignored.
        return jnp.sum(jnp.where(weights > 0, weights * distance, 0), axis=-1)

    summed = lax.map(summed_distance, jnp.arange(n)).T
    best = jnp.argmin(jnp.where(weights > 0, summed, jnp.inf), axis=-1)[:, None]
    medoid = jnp.take_along_axis(values, best[..., None, None], axis=1)[:, 0]
    if steps is not None:
        return medoid
    return resample(medoid, t, lengths=jnp.take_along_axis(lengths, best, axis=1)[:, 0])


class _State(NamedTuple):
    """The barycenters of all sets in the midst of the averaging."""

    iteration: Array
    center: Array  # [C, L, F]
    objective: Array  # [C], of `center`
    update: Array  # [C, L, F], the next candidate: the means that `center`'s alignment leads to
    done: Array  # [C]
    history: Array  # [num_iters + 1, C]


@partial(jax.jit, static_argnames=("num_iters", "diagonal", "cost"))
def _average(
    classes: _Classes, center: Array, num_iters: int, diagonal: bool, cost: Cost
) -> tuple[Array, Array]:
    """Iterates to the fixed point; returns barycenters and objectives ``[num_iters + 1, C]``."""
    descends = cost == "sqeuclidean"
    sets, rounds = center.shape[0], jnp.arange(num_iters + 1)[:, None]

    def again(state: _State) -> Array:
        return (state.iteration <= num_iters) & ~jnp.all(state.done)

    def iterate(state: _State) -> _State:
        objective, update = _align(classes, state.update, diagonal, cost)
        first = state.iteration == 0  # the start is its own candidate and always taken
        moved = jnp.any(state.update != state.center, axis=(-2, -1))
        take = ~state.done & (first | moved)
        if descends:
            take &= first | (objective < state.objective)
        objective = jnp.where(take, objective, state.objective)
        # The tail repeats the current value, which then stands if this is the last iteration.
        history = jnp.where(rounds >= state.iteration, objective, state.history)
        kept = take[:, None, None]
        center = jnp.where(kept, state.update, state.center)
        update = jnp.where(kept, update, state.update)
        return _State(state.iteration + 1, center, objective, update, ~take, history)

    start = _State(
        iteration=jnp.zeros((), jnp.int32),
        center=center,
        objective=jnp.zeros(sets, center.dtype),
        update=center,
        done=jnp.zeros(sets, bool),
        history=jnp.zeros((num_iters + 1, sets), center.dtype),
    )
    end = lax.while_loop(again, iterate, start)
    return end.center, end.history


def _align(classes: _Classes, center: Array, diagonal: bool, cost: Cost) -> tuple[Array, Array]:
    """Objectives ``[C]`` of the barycenters, and the means of the frames aligned to each step."""
    values, lengths, weights = classes
    sets, n, t, _ = values.shape
    steps = center.shape[1]
    costs = to_lanes(_costs.matrix(center[:, None], values, cost))
    ends = lane_ends(None, lengths, steps, t, Pairs((sets, 1), (sets, n)))
    distance, rows = _hard.path(costs, ends, diagonal)
    present = weights > 0
    objective = jnp.sum(jnp.where(present, weights * distance.reshape(sets, n), 0), axis=-1)
    path = _hard.alignment(rows, steps, t).reshape(steps, t, sets, n)
    share = jnp.where(path, weights, 0)
    total = jnp.einsum("ltcn,cntf->clf", share, values, precision=lax.Precision.HIGHEST)
    return objective, total / jnp.sum(share, axis=(1, 3)).T[..., None]
