"""Alignments put to use: everything about one at once, warped series, and matches in a long one."""

from typing import NamedTuple, Unpack

import jax.numpy as jnp
from jax import lax

from tempalign._engine import checks, derivative, evaluate, hard
from tempalign._engine.backends import choose
from tempalign._engine.evaluate import Alignment
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import PathOptions, with_path_options
from tempalign._engine.problem import Operands, of_sequences
from tempalign._engine.programs import compiled
from tempalign._engine.recurrence import Ends, exit_cell, exits, sweep
from tempalign._types import Array, ArrayLike, Cost, Implementation


@in_our_modes
@with_path_options
def align(
    x: ArrayLike,
    y: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    cost: Cost = "sqeuclidean",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Alignment:
    """Value, alignment and entropy at once, for little more than the alignment alone.

    Args:
        x: see `soft_dtw`.
        y: see `soft_dtw`.
        gamma: see `soft_dtw`; a static 0 gives the path of `dtw`.
        cost: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: see `soft_dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        A named tuple: ``value [...]`` as `soft_dtw` (or `dtw`) gives it, ``alignment [..., n, m]``
        as `soft_dtw_alignment` (or `dtw_alignment`), and ``entropy [...]`` of the distribution
        over paths in nats, which is minus the derivative of the value in gamma. Differentiable.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Mensch and Blondel, "Differentiable Dynamic Programming for Structured Prediction and
        Attention", ICML 2018.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> found = tempalign.align(jnp.zeros((2, 1)), jnp.zeros((2, 1)))  # three paths alike
        >>> round(float(jnp.exp(found.entropy)), 3), jnp.rint(3 * found.alignment).tolist()
        (3.0, [[3.0, 1.0], [1.0, 3.0]])
    """
    problem = of_sequences(
        x, y, x_lengths, y_lengths, options, cost=cost, gamma=gamma, recompute=checkpoint
    )
    return evaluate.marginals("align", problem, implementation)


@in_our_modes
@with_path_options
def warp(
    x: ArrayLike,
    y: ArrayLike,
    gamma: ArrayLike = 0.0,
    *,
    cost: Cost = "sqeuclidean",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """The series x on the time axis of y: at each frame of y the mean of x aligned with it.

    Args:
        x: ``[..., n, F]``, the series to warp.
        y: ``[..., m, F]``, what it is aligned with; leading axes broadcast like NumPy.
        gamma: temperature, see `soft_dtw`: the mean is then over the expected alignment. The
            default, a static 0, takes the path of `dtw`.
        cost: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: see `soft_dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., m, F]``; NaN at frames of y that nothing is aligned with (which open ends allow),
        0 past the lengths. Differentiable in x for a given alignment, and through it if soft.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Sakoe and Chiba, IEEE TASSP 1978; as in dtw-python's and dtaidistance's ``warp``.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x, y = jnp.array([[0.0], [1.0], [5.0]]), jnp.array([[0.0], [0.0], [1.0], [5.0]])
        >>> tempalign.warp(x, y)[:, 0].tolist()
        [0.0, 0.0, 1.0, 5.0]
    """
    problem = of_sequences(
        x, y, x_lengths, y_lengths, options, cost=cost, gamma=gamma, recompute=checkpoint
    )
    visits = evaluate.alignment("warp", problem, implementation)
    values = checks.sequence(x, "x").astype(visits.dtype)
    if x_lengths is not None:
        inside = jnp.arange(values.shape[-2]) < jnp.asarray(x_lengths)[..., None]
        values = jnp.where(inside[..., None], values, 0)
    total = jnp.einsum("...nm,...nf->...mf", visits, values, precision=lax.Precision.HIGHEST)
    mass = jnp.sum(visits, axis=-2)[..., None]
    warped = jnp.where(mass == 0, jnp.nan, total / jnp.where(mass == 0, 1, mass))
    if y_lengths is None:
        return warped
    frames = jnp.arange(warped.shape[-2])[:, None]
    past = frames >= jnp.asarray(y_lengths)[..., None, None]
    return jnp.where(past & ~jnp.isnan(mass), 0, warped)


class Matches(NamedTuple):
    """Where a query occurs in a series, the best first.

    Attributes:
        start: int32 ``[..., k]``, first frame; -1 where there are fewer than k.
        end: int32 ``[..., k]``, last frame, inclusive; -1 likewise.
        distance: ``[..., k]``, `dtw` of the query and the frames start..end; inf likewise. NaN,
            all of them, where there is NaN within the lengths.
    """

    start: Array
    end: Array
    distance: Array


@in_our_modes
@with_path_options
def subsequence_matches(
    query: ArrayLike,
    series: ArrayLike,
    k: int = 1,
    *,
    cost: Cost = "sqeuclidean",
    query_lengths: ArrayLike | None = None,
    series_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Matches:
    """The k best matches of a query in a long series that do not overlap.

    The best match is that of ``dtw(query, series, open_begin="y", open_end="y")``. The next is the
    best of those that share no frame with it, and so on: for every frame of the series the best
    match that ends there is known from one pass, and the matches are chosen from these. A match
    that would only be the best without the frames that a better one took is not looked for.
    ``open_begin`` and ``open_end`` are ``"y"`` here, and cannot be chosen.

    Args:
        query: ``[..., n, F]``.
        series: ``[..., m, F]``; leading axes broadcast like NumPy.
        k: how many matches to return, >= 1.
        cost: see `tempalign.dtw`.
        query_lengths: true lengths of `query`, see `tempalign.dtw`.
        series_lengths: true lengths of `series`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        A named tuple of ``start``, ``end`` (inclusive) and ``distance``, each ``[..., k]``, by
        distance. No gradient flows through it.

    Raises:
        ValueError: see `tempalign.dtw`; a count below 1, open ends.
        TypeError: see `tempalign.dtw`.

    Source:
        Mueller, "Information Retrieval for Music and Motion", 2007, Section 4.4; as in
        dtaidistance's subsequence search.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> series = jnp.array([9.0, 1, 2, 9, 9, 1, 2.5, 9])[:, None]
        >>> found = tempalign.subsequence_matches(jnp.array([[1.0], [2.0]]), series, 2)
        >>> found.start.tolist(), found.end.tolist(), found.distance.tolist()
        ([1, 5], [2, 6], [0.0, 0.25])
    """
    count = checks.positive_int(k, "k")
    for name in ("open_begin", "open_end"):
        if options.get(name) is not None:
            raise ValueError(f'{name} is "y" in subsequence_matches, got {options[name]!r}')
    options = {**options, "open_begin": "y", "open_end": "y"}
    problem = of_sequences(
        query,
        series,
        query_lengths,
        series_lengths,
        options,
        cost=cost,
        names=("query", "series"),
    )
    choose("subsequence_matches", problem.model, problem.operands, implementation, "matches")
    found = _matches(problem.model, problem.operands, count)
    return Matches(*(problem.pairs.restore(one) for one in found))


@compiled("model", "count")
def _matches(model: Model, operands: Operands, count: int) -> tuple[Array, Array, Array]:
    operands = lax.stop_gradient(operands)
    lanes = evaluate.to_lanes(model, operands)
    n, m, size = lanes.cost.shape
    ends = lanes.ends
    if ends is None:
        ends = Ends(*(jnp.full(size, last - 1, jnp.int32) for last in (n, m)))
    algebra = hard.MinimumWithStart()
    swept = sweep(model, lanes.cost, lanes.ends, algebra, lanes.prices)
    distance, start = swept.last  # [P, L], of the places on the last row
    # One frame that is not a number, and nothing is known about the series.
    distance = derivative.sealed(lanes, distance)
    distance = jnp.where(jnp.any(jnp.isnan(distance), axis=0), jnp.nan, distance)
    assert exits(model.end) == 1
    row, p = exit_cell(model.end, ends, jnp.arange(distance.shape[0])[:, None])
    end = p - row
    start = start.astype(jnp.int32)

    def choose_next(left: Array, _: None) -> tuple[Array, tuple[Array, ...]]:
        best = jnp.argmin(left, axis=0)[None]
        at = [jnp.take_along_axis(one, best, axis=0)[0] for one in (left, start, end)]
        possible = jnp.isfinite(at[0])
        overlaps = (start <= at[2]) & (end >= at[1])
        chosen = (
            jnp.where(possible, at[1], -1),
            jnp.where(possible, at[2], -1),
            at[0],
        )
        return jnp.where(overlaps, jnp.inf, left), chosen

    _, chosen = lax.scan(choose_next, distance, None, length=count)
    sizes = (*operands.x.shape[:2], operands.y.shape[1], count)
    starts, stops, distances = (one.T.reshape(sizes) for one in chosen)
    return starts, stops, distances
