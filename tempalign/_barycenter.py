"""DTW barycenter averaging: the average of sequences under alignment."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tempalign import _checks, _costs, _hard
from tempalign._pairs import Pairs
from tempalign._problem import lane_ends, of_sequences, to_lanes
from tempalign._recurrence import Moves
from tempalign._series import Sets, of_series, start_from
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
    given = of_series(series, lengths, weights)
    steps = None if length is None else _checks.positive_int(length, "length")
    if init is None:
        center = _medoid(given.sets, given.ragged, steps, diagonal, cost)
    else:
        center = start_from(init, steps, given)
    center, objective = _average(given.sets, center, given.ragged, iterations, diagonal, cost)
    center, objective = given.restore(center), given.restore(objective)
    return (center, objective) if return_objective else center


@partial(jax.jit, static_argnames=("ragged", "steps", "diagonal", "cost"))
def _medoid(sets: Sets, ragged: bool, steps: int | None, diagonal: bool, cost: Cost) -> Array:
    """The series of least summed distance in each set, ``[C, length, F]``."""
    values, lengths, weights = sets
    if steps is not None:
        values = resample(values, steps, lengths=lengths)
    own = (lengths[:, :, None], lengths[:, None]) if ragged and steps is None else (None, None)
    pairs = of_sequences(values[:, :, None], values[:, None], own[0], own[1], cost, Moves(diagonal))
    # Not a dot product: 0 * inf would be NaN for a series that is ignored.
    given = weights[:, None] > 0
    summed = jnp.sum(jnp.where(given, weights[:, None] * pairs.value(), 0), axis=-1)
    best = jnp.argmin(jnp.where(weights > 0, summed, jnp.inf), axis=-1)[:, None]
    medoid = jnp.take_along_axis(values, best[..., None, None], axis=1)[:, 0]
    if steps is not None:
        return medoid
    return resample(
        medoid, values.shape[2], lengths=jnp.take_along_axis(lengths, best, axis=1)[:, 0]
    )


class _State(NamedTuple):
    """The barycenters of all sets in the midst of the averaging."""

    iteration: Array
    center: Array  # [C, L, F]
    objective: Array  # [C], of `center`
    update: Array  # [C, L, F], the next candidate: the means that `center`'s alignment leads to
    done: Array  # [C]
    history: Array  # [num_iters + 1, C]


@partial(jax.jit, static_argnames=("ragged", "num_iters", "diagonal", "cost"))
def _average(
    sets: Sets, center: Array, ragged: bool, num_iters: int, diagonal: bool, cost: Cost
) -> tuple[Array, Array]:
    """Iterates to the fixed point; returns barycenters and objectives ``[C, num_iters + 1]``."""
    descends = cost == "sqeuclidean"
    count, rounds = center.shape[0], jnp.arange(num_iters + 1)[:, None]

    def again(state: _State) -> Array:
        return (state.iteration <= num_iters) & ~jnp.all(state.done)

    def iterate(state: _State) -> _State:
        objective, update = _align(sets, state.update, ragged, diagonal, cost)
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
        objective=jnp.zeros_like(center, shape=count),
        update=center,
        done=jnp.zeros_like(center, shape=count, dtype=bool),
        history=jnp.zeros_like(center, shape=(num_iters + 1, count)),
    )
    end = lax.while_loop(again, iterate, start)
    return end.center, end.history.T


def _align(
    sets: Sets, center: Array, ragged: bool, diagonal: bool, cost: Cost
) -> tuple[Array, Array]:
    """Objectives ``[C]`` of the barycenters, and the means of the frames aligned to each step."""
    values, lengths, weights = sets
    count, n, t, _ = values.shape
    steps = center.shape[1]
    costs = to_lanes(_costs.matrix(center[:, None], values, cost))
    pairs = Pairs((count, 1), (count, n))
    ends = lane_ends(None, lengths if ragged else None, steps, t, pairs)
    distance, rows = _hard.path(costs, ends, Moves(diagonal))
    present = weights > 0
    objective = jnp.sum(jnp.where(present, weights * distance.reshape(count, n), 0), axis=-1)
    path = _hard.alignment(rows, steps, t).reshape(steps, t, count, n)
    share = jnp.where(path, weights, 0)
    # Sums of frames and of weights in one matrix product: the weights stand as a feature of ones.
    frames = jnp.concatenate([values, jnp.ones_like(values[..., :1])], axis=-1)
    frames = frames.transpose(2, 1, 0, 3)
    total = jnp.einsum("ltcn,tncf->clf", share, frames, precision=lax.Precision.HIGHEST)
    return objective, total[..., :-1] / total[..., -1:]
