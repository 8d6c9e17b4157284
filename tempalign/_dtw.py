"""Dynamic time warping: minimal path cost and its alignment."""

from tempalign import _dispatch
from tempalign._problem import of_cost_matrix, of_sequences
from tempalign._recurrence import Moves
from tempalign._types import Array, ArrayLike, Cost, Implementation


def dtw(
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: Cost = "sqeuclidean",
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    r"""Dynamic time warping: the smallest total cost of a monotone path.

    .. math::
        \min_{\pi} \sum_{(i, j) \in \pi} d(x_i, y_j)

    over all paths from the first to the last cell with steps (1, 0), (0, 1) and, if `diagonal`,
    (1, 1). No square root is taken. The gradient is the one along the path found
    (`dtw_alignment`); forward and reverse mode are supported.

    Args:
        x: ``[..., n, F]`` sequence. float64 stays float64; bf16 and f16 are computed in float32.
        y: ``[..., m, F]`` sequence. Leading axes of `x` and `y` broadcast like NumPy:
            ``dtw(x[:, None], y[None])`` compares all pairs.
        cost: local cost: ``"sqeuclidean"``, ``"euclidean"``, ``"manhattan"``, ``"cosine"``
            (1 - cosine similarity), or a function ``(x [n, F], y [m, F]) -> [n, m]``.
        diagonal: whether the step (1, 1) is allowed.
        band: Sakoe-Chiba radius around the slope-adjusted diagonal, in frames of the longer
            sequence: cells with ``|i (m-1) - j (n-1)| <= band min(n-1, m-1)`` are allowed, n and
            m being the true lengths. None: all cells.
        x_lengths: true lengths of `x`, integers that broadcast against the leading axes; frames
            past them (NaN and inf included) change nothing and get gradient 0. None: n.
        y_lengths: likewise for `y`.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` distances: float64 for float64 input, else float32. Traced lengths outside
        1..n give NaN.

    Raises:
        ValueError: shapes that do not fit, a length outside 1..n, a band through which no path
            leads (for concrete lengths), an unknown cost or implementation.
        TypeError: sequences that are not floating point, lengths that are not integers.

    Source:
        Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word
        recognition", IEEE TASSP 1978.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x = jnp.array([[0.0], [1.0], [2.0]])
        >>> y = jnp.array([[0.0], [1.0], [1.0], [2.0]])
        >>> float(tempalign.dtw(x, y))
        0.0
    """
    _dispatch.select("dtw", implementation)
    return of_sequences(x, y, x_lengths, y_lengths, cost, Moves(diagonal), band).value()


def dtw_from_cost(
    cost_matrix: ArrayLike,
    *,
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """Dynamic time warping on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs; ``inf`` forbids a cell.
        diagonal: see `dtw`.
        band: see `dtw`.
        x_lengths: true numbers of rows, integers that broadcast against the leading axes; cells
            past them change nothing and get gradient 0. None: n.
        y_lengths: likewise for columns.
        implementation: see `tempalign.explain`.

    Returns:
        ``[...]`` smallest total cost of a path; its gradient is the 0/1 alignment.

    Raises:
        ValueError: see `dtw`.
        TypeError: see `dtw`.

    Source:
        Sakoe and Chiba, IEEE TASSP 1978.

    Example:
        >>> import jax, jax.numpy as jnp, tempalign
        >>> cost = jnp.array([[1.0, 5.0], [5.0, 1.0]])
        >>> float(tempalign.dtw_from_cost(cost)), float(
        ...     tempalign.dtw_from_cost(cost, diagonal=False))
        (2.0, 7.0)
    """
    _dispatch.select("dtw_from_cost", implementation)
    return of_cost_matrix(cost_matrix, x_lengths, y_lengths, Moves(diagonal), band).value()


def dtw_alignment(
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: Cost = "sqeuclidean",
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """The path of `dtw` as a 0/1 matrix: the subgradient of `dtw` in the cost matrix.

    Ties are decided going back from the last cell: the step (1, 1) is taken unless another is
    strictly smaller; between the others the step in `x` only if strictly smaller than that in
    `y`.

    Args:
        x: see `dtw`.
        y: see `dtw`.
        cost: see `dtw`.
        diagonal: see `dtw`.
        band: see `dtw`.
        x_lengths: see `dtw`.
        y_lengths: see `dtw`.
        implementation: see `tempalign.explain`.

    Returns:
        ``[..., n, m]`` of the distance's dtype, 1 on the path and 0 elsewhere (also past the
        lengths). No gradient flows through it.

    Raises:
        ValueError: see `dtw`.
        TypeError: see `dtw`.

    Source:
        Sakoe and Chiba, IEEE TASSP 1978.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x, y = jnp.array([[0.0], [2.0]]), jnp.array([[0.0], [0.1], [2.0]])
        >>> tempalign.dtw_alignment(x, y).astype(int).tolist()
        [[1, 1, 0], [0, 0, 1]]
    """
    _dispatch.select("dtw_alignment", implementation)
    return of_sequences(x, y, x_lengths, y_lengths, cost, Moves(diagonal), band).alignment()
