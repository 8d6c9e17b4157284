"""TAM / OTAM: the open-ended alignment score of few-shot video classification."""

import numbers
from typing import Literal, NamedTuple, get_args

from tempalign._engine import checks, costs, evaluate, model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import renamed
from tempalign._engine.problem import Problem, of_cost_matrix, of_sequences
from tempalign._types import Array, ArrayLike, Cost, Implementation

Boundary = Literal["paper", "edge"]

_NAMES = ("query", "support")


@in_our_modes
@renamed(x_lengths="query_lengths", y_lengths="support_lengths")
def tam_distance(
    query: ArrayLike,
    support: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    cost: Cost = "cosine",
    cosine_damping: float = 0.0,
    boundary: Boundary = "paper",
    symmetric: bool = False,
    query_lengths: ArrayLike | None = None,
    support_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
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
        query: ``[..., n, F]`` sequence (rows). float64 (under ``jax_enable_x64``) stays
            float64; bf16 and f16 are computed in float32.
        support: ``[..., m, F]`` sequence (columns); leading axes broadcast like NumPy:
            ``tam_distance(queries[:, None], supports)`` is ``[num_queries, num_supports]``.
        gamma: temperature of the soft minimum, a positive scalar (the paper's lambda). A static 0
            selects the hard minimum, a traced 0 gives NaN.
        cost: see `tempalign.dtw`. The paper's is ``"cosine"``, 1 - cosine similarity.
        cosine_damping: added to the product of norms in the cosine's denominator, >= 0; the
            common few-shot code has 0.01. Only with ``cost="cosine"``.
        boundary: ``"paper"``: as above. ``"edge"``: as in the common few-shot code, which also
            lets a path move along the query in the support's first column; the same under the
            hard minimum, up to 0.75 apart at gamma 1.
        symmetric: add the score with query and support exchanged, as that code does.
        query_lengths: true lengths of `query`, integers that broadcast to its leading axes;
            frames past them (NaN and inf included) change nothing. None: n.
        support_lengths: likewise for `support`. None: m.
        checkpoint: see `tempalign.soft_dtw`.
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
    checks.flag(symmetric, "symmetric")
    options = _Options(boundary, cost, cosine_damping, gamma, checkpoint)
    problem = options.problem(query, support, query_lengths, support_lengths, _NAMES)
    score = evaluate.value("tam_distance", problem, implementation)
    if symmetric:
        back = options.problem(support, query, support_lengths, query_lengths, _NAMES[::-1])
        score = score + evaluate.value("tam_distance", back, implementation)
    return score


@in_our_modes
@renamed(x_lengths="query_lengths", y_lengths="support_lengths")
def tam_distance_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    boundary: Boundary = "paper",
    symmetric: bool = False,
    query_lengths: ArrayLike | None = None,
    support_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
) -> Array:
    """TAM's score on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs, query frames by support frames; ``inf`` forbids a
            cell.
        gamma: see `tam_distance`.
        boundary: see `tam_distance`.
        symmetric: see `tam_distance`.
        query_lengths: see `tempalign.dtw_from_cost`.
        support_lengths: see `tempalign.dtw_from_cost`.
        checkpoint: see `tempalign.soft_dtw`; the costs themselves are there anyway.
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
    checks.flag(symmetric, "symmetric")
    options = _Options(boundary, "given", 0.0, gamma, checkpoint)
    matrix = checks.cost_matrix(cost_matrix)
    problem = options.given(matrix, query_lengths, support_lengths, _NAMES)
    score = evaluate.value("tam_distance_from_cost", problem, implementation)
    if symmetric:
        back = options.given(matrix.mT, support_lengths, query_lengths, _NAMES[::-1])
        score = score + evaluate.value("tam_distance_from_cost", back, implementation)
    return score


@in_our_modes
def tam_alignment(
    query: ArrayLike,
    support: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    cost: Cost = "cosine",
    cosine_damping: float = 0.0,
    boundary: Boundary = "paper",
    query_lengths: ArrayLike | None = None,
    support_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
) -> Array:
    """Where TAM finds the frames of the support in the query: its expected alignment.

    The gradient of `tam_distance` in the local costs: the probability that a query frame (row) is
    matched with a support frame (column). Under ``boundary="paper"`` each column sums to 1.

    Args:
        query: see `tam_distance`.
        support: see `tam_distance`.
        gamma: see `tam_distance`; a static 0 gives a path of zeros and ones.
        cost: see `tam_distance`.
        cosine_damping: see `tam_distance`.
        boundary: see `tam_distance`.
        query_lengths: see `tam_distance`.
        support_lengths: see `tam_distance`.
        checkpoint: see `tam_distance`.
        implementation: see `tempalign.explain`.

    Returns:
        ``[..., n, m]``, 0 past the lengths.

    Raises:
        ValueError: see `tam_distance`.
        TypeError: see `tam_distance`.

    Source:
        Cao et al., CVPR 2020, Eq. 5 and 6.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> moments = jnp.eye(4)
        >>> tempalign.tam_alignment(moments, moments[1:3], 0.0).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1], [0, 0]]
    """
    options = _Options(boundary, cost, cosine_damping, gamma, checkpoint)
    problem = options.problem(query, support, query_lengths, support_lengths, _NAMES)
    return evaluate.alignment("tam_alignment", problem, implementation)


@in_our_modes
def tam_alignment_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 0.1,
    *,
    boundary: Boundary = "paper",
    query_lengths: ArrayLike | None = None,
    support_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
) -> Array:
    """The expected alignment of `tam_distance_from_cost`.

    Args:
        cost_matrix: see `tam_distance_from_cost`.
        gamma: see `tam_distance`.
        boundary: see `tam_distance`.
        query_lengths: see `tempalign.dtw_from_cost`.
        support_lengths: see `tempalign.dtw_from_cost`.
        checkpoint: see `tam_distance_from_cost`.
        implementation: see `tempalign.explain`.

    Returns:
        ``[..., n, m]``, see `tam_alignment`.

    Raises:
        ValueError: see `tam_distance`.
        TypeError: see `tam_distance`.

    Source:
        Cao et al., CVPR 2020, Eq. 5 and 6.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> cost = jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> tempalign.tam_alignment_from_cost(cost, 0.0).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1]]
    """
    options = _Options(boundary, "given", 0.0, gamma, checkpoint)
    problem = options.given(cost_matrix, query_lengths, support_lengths, _NAMES)
    return evaluate.alignment("tam_alignment_from_cost", problem, implementation)


class _Options(NamedTuple):
    """What makes TAM's problem, as the caller gave it."""

    boundary: Boundary
    cost: model.LocalCost
    cosine_damping: float
    gamma: ArrayLike
    checkpoint: bool

    def problem(
        self,
        query: ArrayLike,
        support: ArrayLike,
        query_lengths: ArrayLike | None,
        support_lengths: ArrayLike | None,
        names: tuple[str, str],
    ) -> Problem:
        """That of two batches of sequences."""
        return of_sequences(
            query,
            support,
            query_lengths,
            support_lengths,
            self._model(),
            cost=_local_cost(self.cost, self.cosine_damping),
            gamma=self.gamma,
            recompute=self.checkpoint,
            names=names,
        )

    def given(
        self,
        cost_matrix: ArrayLike,
        query_lengths: ArrayLike | None,
        support_lengths: ArrayLike | None,
        names: tuple[str, str],
    ) -> Problem:
        """That of given local costs."""
        return of_cost_matrix(
            cost_matrix,
            query_lengths,
            support_lengths,
            self._model(),
            gamma=self.gamma,
            recompute=self.checkpoint,
            names=names,
        )

    def _model(self) -> model.Model:
        checks.choice(self.boundary, "boundary", get_args(Boundary))
        return model.tam(self.boundary)


def _local_cost(cost: model.LocalCost, damping: float) -> model.LocalCost:
    if not isinstance(damping, numbers.Real) or not 0 <= damping < float("inf"):
        raise ValueError(f"cosine_damping must be a finite number >= 0, got {damping!r}")
    if damping == 0:
        return cost
    if cost != "cosine":
        raise ValueError(f'cosine_damping is for cost="cosine", got cost={cost!r}')
    return costs.DampedCosine(float(damping))
