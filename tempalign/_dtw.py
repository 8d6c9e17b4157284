"""Dynamic time warping: minimal path cost, its alignment, and the path itself."""

from typing import NamedTuple, Unpack

import jax.numpy as jnp

from tempalign._engine import evaluate
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import PathOptions, with_path_options
from tempalign._engine.problem import of_cost_matrix, of_sequences
from tempalign._types import Array, ArrayLike, Cost, Implementation


@in_our_modes
@with_path_options
def dtw(
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: Cost = "sqeuclidean",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    r"""Dynamic time warping: the smallest total cost of a monotone path.

    .. math::
        \min_{\pi} \sum_{(i, j) \in \pi} d(x_i, y_j)

    over all paths from the first to the last cell with steps (1, 0), (0, 1) and, if `diagonal`,
    (1, 1). No square root is taken. The gradient is the one along the path found
    (`dtw_alignment`); forward and reverse mode are supported, to any order.

    Args:
        x: ``[..., n, F]`` sequence. float64 stays float64 if ``jax_enable_x64`` is set, else it is
            rounded to float32 (with a warning where that matters); bf16 and f16 are computed in
            float32.
        y: ``[..., m, F]`` sequence. Leading axes of `x` and `y` broadcast like NumPy:
            ``dtw(x[:, None], y[None])`` compares all pairs.
        cost: local cost: ``"sqeuclidean"``, ``"euclidean"``, ``"manhattan"``, ``"cosine"``
            (1 - cosine similarity), or a function ``(x [n, F], y [m, F]) -> [n, m]``. Each
            function is compiled for: define it once, not as a lambda inside a loop.
        x_lengths: true lengths of `x`, integers that broadcast to its leading axes; frames
            past them (NaN and inf included) change nothing and get gradient 0. None: n.
        y_lengths: likewise for `y`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[...]`` distances: float64 for float64 input, else float32. What a concrete call would
        refuse is NaN where it is traced, value and gradient; so is a sequence with NaN inside its
        length. ``inf`` where traced data leave no path.

    Raises:
        ValueError: shapes that do not fit, a length outside 1..n, a window through which no path
            leads (where concrete), an unknown cost or implementation, an option out of range.
        TypeError: sequences that are not floating point, lengths that are not integers, an option
            of the wrong kind.

    Source:
        Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word
        recognition", IEEE TASSP 1978; Itakura, IEEE TASSP 1975 (`max_slope`); Herrmann and Webb,
        "Amercing: an intuitive and effective constraint for dynamic time warping", Pattern
        Recognition 2023 (`penalty`).

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x = jnp.array([[0.0], [1.0], [2.0]])
        >>> y = jnp.array([[0.0], [1.0], [1.0], [2.0]])
        >>> float(tempalign.dtw(x, y)), float(tempalign.dtw(x, y, penalty=0.5))
        (0.0, 0.5)
        >>> float(tempalign.dtw(x[1:2], y, open_begin="y", open_end="y"))  # x occurs in y
        0.0
    """
    problem = of_sequences(x, y, x_lengths, y_lengths, options, cost=cost)
    return evaluate.value("dtw", problem, implementation)


@in_our_modes
@with_path_options
def dtw_from_cost(
    cost_matrix: ArrayLike,
    *,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """Dynamic time warping on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs; ``inf`` forbids a cell.
        x_lengths: true numbers of rows, integers that broadcast against the leading axes; cells
            past them change nothing and get gradient 0. None: n.
        y_lengths: likewise for columns.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

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
        >>> float(tempalign.dtw_from_cost(cost, move_weights=(1, 1, 2)))  # symmetric form
        3.0
    """
    problem = of_cost_matrix(cost_matrix, x_lengths, y_lengths, options)
    return evaluate.value("dtw_from_cost", problem, implementation)


@in_our_modes
@with_path_options
def dtw_alignment(
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: Cost = "sqeuclidean",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """The path of `dtw` as a 0/1 matrix.

    It is the subgradient of `dtw` in the cost matrix (with `move_weights` times the weights).
    Ties are decided going back from the last cell: the step (1, 1) is taken unless another is
    strictly smaller; between the others the step in `x` only if strictly smaller than that in
    `y`. Of equally good places to end the earliest counts, and a path begins where it may unless
    coming from somewhere is strictly smaller.

    Args:
        x: see `dtw`.
        y: see `dtw`.
        cost: see `dtw`.
        x_lengths: see `dtw`.
        y_lengths: see `dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., n, m]`` of the distance's dtype, 1 on the path and 0 elsewhere (also past the
        lengths); NaN where there is no path. No gradient flows through it.

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
    problem = of_sequences(x, y, x_lengths, y_lengths, options, cost=cost)
    return evaluate.alignment("dtw_alignment", problem, implementation)


@in_our_modes
@with_path_options
def dtw_alignment_from_cost(
    cost_matrix: ArrayLike,
    *,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """The path of `dtw_from_cost` as a 0/1 matrix; ties as in `dtw_alignment`.

    Args:
        cost_matrix: see `dtw_from_cost`.
        x_lengths: see `dtw_from_cost`.
        y_lengths: see `dtw_from_cost`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., n, m]``, see `dtw_alignment`.

    Raises:
        ValueError: see `dtw`.
        TypeError: see `dtw`.

    Source:
        Sakoe and Chiba, IEEE TASSP 1978.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> cost = jnp.array([[9.0, 0.0, 9.0], [9.0, 9.0, 0.0]])
        >>> tempalign.dtw_alignment_from_cost(cost, open_begin="y").astype(int).tolist()
        [[0, 1, 0], [0, 0, 1]]
    """
    problem = of_cost_matrix(cost_matrix, x_lengths, y_lengths, options)
    return evaluate.alignment("dtw_alignment_from_cost", problem, implementation)


class Path(NamedTuple):
    """A warping path, cell by cell.

    Attributes:
        pairs: int32 ``[..., n + m - 1, 2]``, the frames of x and y that are matched, in order;
            -1 past `num_pairs`.
        num_pairs: int32 ``[...]``, how many there are; 0 where there is no path.
    """

    pairs: Array
    num_pairs: Array


@in_our_modes
@with_path_options
def dtw_path(
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: Cost = "sqeuclidean",
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Path:
    """The path of `dtw` as pairs of frames; ties as in `dtw_alignment`.

    Args:
        x: see `dtw`.
        y: see `dtw`.
        cost: see `dtw`.
        x_lengths: see `dtw`.
        y_lengths: see `dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        `Path`: ``pairs [..., n + m - 1, 2]`` and ``num_pairs [...]``. No gradient flows through
        it.

    Raises:
        ValueError: see `dtw`.
        TypeError: see `dtw`.

    Source:
        Sakoe and Chiba, IEEE TASSP 1978.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x, y = jnp.array([[0.0], [2.0]]), jnp.array([[0.0], [0.1], [2.0]])
        >>> path = tempalign.dtw_path(x, y)
        >>> path.pairs[: path.num_pairs].tolist()
        [[0, 0], [0, 1], [1, 2]]
    """
    problem = of_sequences(x, y, x_lengths, y_lengths, options, cost=cost)
    _, rows = evaluate.path("dtw_path", problem, implementation)
    # The cells stand on their anti-diagonals, with gaps; closed up they are in order.
    visited = rows >= 0
    position = jnp.arange(rows.shape[-1])
    pairs = jnp.where(visited[..., None], jnp.stack([rows, position - rows], axis=-1), -1)
    order = jnp.argsort(~visited, axis=-1, stable=True)
    pairs = jnp.take_along_axis(pairs, order[..., None], axis=-2)
    return Path(pairs, jnp.sum(visited, axis=-1, dtype=jnp.int32))
