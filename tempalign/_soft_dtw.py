"""Soft-DTW: the soft minimum over alignments, its expected alignment and its divergence."""

from typing import Unpack

import jax.numpy as jnp
import numpy as np

from tempalign._engine import evaluate
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import PathOptions, with_path_options
from tempalign._engine.problem import of_cost_matrix, of_sequences
from tempalign._types import Array, ArrayLike, Cost, Implementation


@in_our_modes
@with_path_options
def soft_dtw(
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
) -> Array:
    r"""Soft-DTW: the soft minimum of the costs of all paths; hard at a static ``gamma=0``.

    .. math::
        -\gamma \log \sum_\pi \exp\Big(-\frac{1}{\gamma} \sum_{(i, j) \in \pi} d(x_i, y_j)\Big)

    May be negative, and ``soft_dtw(x, x)`` is not 0; see `soft_dtw_divergence`. Differentiable
    any number of times, forward and reverse, in the sequences and in gamma (whose derivative is
    minus the entropy of the path distribution). Values are re-centred on every anti-diagonal, so
    that precision does not decay with length, and gamma divides differences only, so that large
    costs cannot overflow.

    Args:
        x: ``[..., n, F]`` sequence. float64 (under ``jax_enable_x64``) stays float64; bf16 and f16
            are computed in float32.
        y: ``[..., m, F]`` sequence; leading axes broadcast like NumPy.
        gamma: temperature of the soft minimum, a positive scalar. A static 0 selects the hard
            minimum (`tempalign.dtw`); a traced 0 does not: like all else that a concrete call
            refuses it gives NaN.
        cost: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: for long sequences: the matrix is worked on by blocks of rows, and again for
            the gradient. Temporary memory for about ``B (n + m) sqrt(n + m)`` numbers instead of
            ``B n m``, for about 1.3 times the time of one long pair. Needs gamma > 0.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[...]``: float64 for float64 input, else float32. Traced lengths outside 1..n give NaN.

    Raises:
        ValueError: see `tempalign.dtw`; a gamma that is negative, not finite or not a scalar.
        TypeError: see `tempalign.dtw`.

    Source:
        Cuturi and Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series", ICML 2017,
        Eq. 2; derivatives as in Mensch and Blondel, "Differentiable Dynamic Programming for
        Structured Prediction and Attention", ICML 2018.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x, y = jnp.zeros((10, 8)), jnp.ones((12, 8))
        >>> round(float(tempalign.soft_dtw(x, y)), 3)
        91.981
    """
    problem = of_sequences(
        x, y, x_lengths, y_lengths, options, cost=cost, gamma=gamma, recompute=checkpoint
    )
    return evaluate.value("soft_dtw", problem, implementation)


@in_our_modes
@with_path_options
def soft_dtw_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """Soft-DTW on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs; ``inf`` forbids a cell.
        gamma: see `soft_dtw`.
        x_lengths: see `tempalign.dtw_from_cost`.
        y_lengths: see `tempalign.dtw_from_cost`.
        checkpoint: see `soft_dtw`; the costs themselves are there anyway.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[...]`` soft minima; the gradient is the expected alignment.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Cuturi and Blondel, ICML 2017.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> count = -tempalign.soft_dtw_from_cost(jnp.zeros((3, 3)))  # log of the number of paths
        >>> round(float(jnp.exp(count)))
        13
    """
    problem = of_cost_matrix(
        cost_matrix, x_lengths, y_lengths, options, gamma=gamma, recompute=checkpoint
    )
    return evaluate.value("soft_dtw_from_cost", problem, implementation)


@in_our_modes
@with_path_options
def soft_dtw_alignment(
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
) -> Array:
    """The expected alignment: the probability that a path visits each cell.

    Equals the gradient of `soft_dtw` in the cost matrix (but for the weights, with
    `move_weights`): within [0, 1]; 1 at both corners and at least 1 in the sum of every row and
    column, unless ends are open. It tends to `tempalign.dtw_alignment` as gamma goes to 0, and its
    sum is the expected length of a path. Differentiable itself.

    Args:
        x: see `soft_dtw`.
        y: see `soft_dtw`.
        gamma: see `soft_dtw`.
        cost: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: see `soft_dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., n, m]``, 0 past the lengths.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Cuturi and Blondel, ICML 2017, Algorithm 2.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x = jnp.zeros((2, 1))
        >>> tempalign.soft_dtw_alignment(x, x).round(3).tolist()
        [[1.0, 0.3330000042915344], [0.3330000042915344, 1.0]]
    """
    problem = of_sequences(
        x, y, x_lengths, y_lengths, options, cost=cost, gamma=gamma, recompute=checkpoint
    )
    return evaluate.alignment("soft_dtw_alignment", problem, implementation)


@in_our_modes
@with_path_options
def soft_dtw_alignment_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array:
    """The expected alignment of `soft_dtw_from_cost`.

    Args:
        cost_matrix: see `soft_dtw_from_cost`.
        gamma: see `soft_dtw`.
        x_lengths: see `tempalign.dtw_from_cost`.
        y_lengths: see `tempalign.dtw_from_cost`.
        checkpoint: see `soft_dtw_alignment`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., n, m]``, see `soft_dtw_alignment`.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Cuturi and Blondel, ICML 2017, Algorithm 2.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> tempalign.soft_dtw_alignment_from_cost(jnp.zeros((2, 2)), diagonal=False).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    problem = of_cost_matrix(
        cost_matrix, x_lengths, y_lengths, options, gamma=gamma, recompute=checkpoint
    )
    return evaluate.alignment("soft_dtw_alignment_from_cost", problem, implementation)


@in_our_modes
@with_path_options
def soft_dtw_divergence(
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
) -> Array:
    """``soft_dtw(x, y) - (soft_dtw(x, x) + soft_dtw(y, y)) / 2``.

    Under ``"sqeuclidean"``, with diagonal steps and closed ends, it is non-negative, and 0 with
    zero gradient at ``x = y``. Without them it need not be. A window (``band``, ``max_slope``, a
    ``mask``, which must be square) holds for all three terms.

    Args:
        x: see `soft_dtw`.
        y: see `soft_dtw`.
        gamma: see `soft_dtw`.
        cost: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: see `soft_dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[...]`` divergences.

    Raises:
        ValueError: see `soft_dtw`.
        TypeError: see `soft_dtw`.

    Source:
        Blondel, Mensch and Vert, "Differentiable Divergences Between Time Series", AISTATS 2021.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> x = jnp.arange(6.0).reshape(3, 2)
        >>> float(tempalign.soft_dtw_divergence(x, x))
        0.0
    """
    mask = options.get("mask")
    if mask is not None and np.shape(mask)[-2:-1] != np.shape(mask)[-1:]:
        raise ValueError(
            "mask must be square for soft_dtw_divergence, which compares x with x and y with y by "
            f"the same mask, got shape {np.shape(mask)}; see band and max_slope"
        )

    def between(
        a: ArrayLike, b: ArrayLike, a_lengths: ArrayLike | None, b_lengths: ArrayLike | None
    ) -> Array:
        problem = of_sequences(
            a, b, a_lengths, b_lengths, options, cost=cost, gamma=gamma, recompute=checkpoint
        )
        return evaluate.value("soft_dtw_divergence", problem, implementation)

    cross = between(x, y, x_lengths, y_lengths)
    own = between(x, x, x_lengths, x_lengths) + between(y, y, y_lengths, y_lengths)
    return cross - jnp.asarray(0.5, cross.dtype) * own
