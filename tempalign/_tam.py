"""TAM / OTAM: the open-ended alignment score of few-shot video classification."""

import numbers
from typing import Literal

from tempalign import _checks, _costs, _dispatch
from tempalign._problem import Problem, of_cost_matrix, of_sequences
from tempalign._recurrence import Moves
from tempalign._types import Array, ArrayLike, Cost, Implementation

Boundary = Literal["paper", "edge"]

# The columns, padding included, in which a path may move along the query; the last one always.
_MOVES = {
    "paper": Moves(row_columns=(0,)),
    "edge": Moves(row_columns=(0, 1)),
}


def tam_distance(
    query: ArrayLike,
    support: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    cost: Cost = "cosine",
    cosine_damping: float = 0.0,
    boundary: Boundary = "paper",
    symmetric: bool = False,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    r"""The temporal alignment module's score: every support frame finds its place in the query.

    The support gets a free column at each end, so that a path may begin and end anywhere in the
    query. Within the support it moves to the next frame at every step, in the query by one frame
    or none: exactly m local costs are summed, and scores of different pairs compare.

    .. math::
        R(i, 0) &= 0 \\
        R(i, j) &= D(i, j) + \mathrm{softmin}_\gamma\{R(i-1, j-1), R(i, j-1)\}, \; 1 \le j \le m \\
        R(i, m+1) &= \mathrm{softmin}_\gamma\{R(i-1, m), R(i-1, m+1), R(i, m)\}

    The score is ``R(n, m+1)``. Computed like `tempalign.soft_dtw`: it cannot overflow at any
    length or temperature, and is differentiable any number of times. Its gradient in the local
    costs (of `tam_distance_from_cost`) is the expected alignment; its columns sum to 1.

    Args:
        query: ``[..., n, F]`` sequence (rows). float64 stays float64; bf16 and f16 are computed
            in float32.
        support: ``[..., m, F]`` sequence (columns); leading axes broadcast like NumPy:
            ``tam_distance(queries[:, None], supports)`` is ``[num_queries, num_supports]``.
        gamma: temperature of the soft minimum, a positive scalar (the paper's lambda). A static 0
            selects the hard minimum; a traced value <= 0 gives NaN.
        cost: see `tempalign.dtw`. The paper's is ``"cosine"``, 1 - cosine similarity.
        cosine_damping: added to the product of norms in the cosine's denominator, >= 0; the
            common few-shot code has 0.01. Only with ``cost="cosine"``.
        boundary: ``"paper"``: as above. ``"edge"``: as in the common few-shot code, which also
            lets a path move along the query in the support's first column; the same under the
            hard minimum, up to 0.75 apart at gamma 1.
        symmetric: add the score with query and support exchanged, as that code does.
        x_lengths: true lengths of `query`, integers that broadcast against the leading axes;
            frames past them (NaN and inf included) change nothing. None: n.
        y_lengths: likewise for `support`. None: m.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` scores: float64 for float64 input, else float32. Traced lengths outside 1..n
        give NaN.

    Raises:
        ValueError: see `tempalign.soft_dtw`; an unknown boundary, a damping that is negative or
            not for the cosine.
        TypeError: see `tempalign.dtw`; `symmetric` that is not a bool.

    Source:
        Cao et al., "Few-Shot Video Classification via Temporal Alignment", CVPR 2020, Eq. 5 and 6.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> moments = jnp.eye(5)                    # 5 frames, all different
        >>> clip = moments[1:4]                     # the 3 in the middle
        >>> float(tempalign.tam_distance(moments, clip, 0.0))  # the clip occurs in the query
        0.0
        >>> float(tempalign.dtw(moments, clip, cost="cosine"))  # but does not fill it
        2.0
    """
    _dispatch.select("tam_distance", implementation)
    _checks.choice(boundary, "boundary", tuple(_MOVES))
    _checks.flag(symmetric, "symmetric")
    local = _local_cost(cost, cosine_damping)
    moves = _MOVES[boundary]
    names = ("query", "support")
    problem = of_sequences(query, support, x_lengths, y_lengths, local, moves, names=names)
    score = _score(problem, gamma)
    if symmetric:
        names = ("support", "query")
        back = of_sequences(support, query, y_lengths, x_lengths, local, moves, names=names)
        score = score + _score(back, gamma)
    return score


def tam_distance_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    boundary: Boundary = "paper",
    symmetric: bool = False,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """TAM's score on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs, query frames by support frames; ``inf`` forbids a
            cell.
        gamma: see `tam_distance`.
        boundary: see `tam_distance`.
        symmetric: see `tam_distance`.
        x_lengths: see `tempalign.dtw_from_cost`.
        y_lengths: see `tempalign.dtw_from_cost`.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` scores; the gradient is the expected alignment, columns summing to 1 (and rows
        as well, in the second half of a symmetric score).

    Raises:
        ValueError: see `tam_distance`.
        TypeError: see `tam_distance`.

    Source:
        Cao et al., CVPR 2020, Eq. 5 and 6.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> cost = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> float(tempalign.tam_distance_from_cost(cost, 0.0))  # column by column, downwards
        1.0
    """
    _dispatch.select("tam_distance_from_cost", implementation)
    _checks.choice(boundary, "boundary", tuple(_MOVES))
    _checks.flag(symmetric, "symmetric")
    moves = _MOVES[boundary]
    costs = _checks.cost_matrix(cost_matrix)
    score = _score(of_cost_matrix(costs, x_lengths, y_lengths, moves), gamma)
    if symmetric:
        back = of_cost_matrix(costs.mT, y_lengths, x_lengths, moves)
        score = score + _score(back, gamma)
    return score


def _score(problem: Problem, gamma: ArrayLike) -> Array:
    temperature = _checks.gamma(gamma, problem.dtype)
    return problem.value() if temperature is None else problem.soft_value(temperature)


def _local_cost(cost: Cost, damping: float) -> Cost:
    if not isinstance(damping, numbers.Real) or not 0 <= damping < float("inf"):
        raise ValueError(f"cosine_damping must be a finite number >= 0, got {damping!r}")
    if damping == 0:
        return cost
    if cost != "cosine":
        raise ValueError(f'cosine_damping is for cost="cosine", got cost={cost!r}')
    return _costs.DampedCosine(float(damping))
