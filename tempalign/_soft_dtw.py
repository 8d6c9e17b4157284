"""Soft-DTW: the soft minimum over alignments, its expected alignment and its divergence."""

import jax.numpy as jnp

from tempalign import _checks, _dispatch, _long
from tempalign._problem import of_cost_matrix, of_sequences
from tempalign._recurrence import Moves
from tempalign._types import Array, ArrayLike, Cost, Implementation


def soft_dtw(
    x: ArrayLike,
    y: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    cost: Cost = "sqeuclidean",
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
) -> Array:
    r"""Soft-DTW: the soft minimum of the total costs of all monotone paths.

    .. math::
        -\gamma \log \sum_\pi \exp\Big(-\frac{1}{\gamma} \sum_{(i, j) \in \pi} d(x_i, y_j)\Big)

    May be negative, and ``soft_dtw(x, x)`` is not 0; see `soft_dtw_divergence`. Differentiable
    any number of times, forward and reverse, in the sequences and in gamma (whose derivative is
    minus the entropy of the path distribution). Values are re-centred on every anti-diagonal, so
    that precision does not decay with length, and gamma divides differences only, so that large
    costs cannot overflow.

    Args:
        x: ``[..., n, F]`` sequence. float64 stays float64; bf16 and f16 are computed in float32.
        y: ``[..., m, F]`` sequence; leading axes broadcast like NumPy.
        gamma: temperature of the soft minimum, a positive scalar. A static 0 selects the hard
            minimum (`tempalign.dtw`); a traced value <= 0 gives NaN.
        cost: see `tempalign.dtw`.
        diagonal: see `tempalign.dtw`.
        band: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        checkpoint: for long sequences: the matrix is worked on by blocks of rows, and again for
            the gradient. Temporary memory for about ``B (n + m) sqrt(n + m)`` numbers instead of
            ``B n m``, for about 1.3 times the time of one long pair. Needs gamma > 0.
        implementation: see `tempalign.explain`.

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
    _dispatch.select("soft_dtw", implementation)
    problem = of_sequences(x, y, x_lengths, y_lengths, cost, Moves(diagonal), band)
    temperature = _checks.gamma(gamma, problem.dtype)
    _checks.flag(checkpoint, "checkpoint")
    if checkpoint:
        if temperature is None:
            raise ValueError("checkpoint needs gamma > 0, got gamma=0 (the hard minimum)")
        return _long.soft_value(problem, cost, temperature)
    return problem.value() if temperature is None else problem.soft_value(temperature)


def soft_dtw_from_cost(
    cost_matrix: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """Soft-DTW on given local costs.

    Args:
        cost_matrix: ``[..., n, m]`` local costs; ``inf`` forbids a cell.
        gamma: see `soft_dtw`.
        diagonal: see `tempalign.dtw`.
        band: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw_from_cost`.
        y_lengths: see `tempalign.dtw_from_cost`.
        implementation: see `tempalign.explain`.

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
    _dispatch.select("soft_dtw_from_cost", implementation)
    problem = of_cost_matrix(cost_matrix, x_lengths, y_lengths, Moves(diagonal), band)
    temperature = _checks.gamma(gamma, problem.dtype)
    return problem.value() if temperature is None else problem.soft_value(temperature)


def soft_dtw_alignment(
    x: ArrayLike,
    y: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    cost: Cost = "sqeuclidean",
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """The expected alignment: the probability that a path visits each cell.

    Equals the gradient of `soft_dtw` in the cost matrix: within [0, 1], 1 at both corners, every
    row and column sums to at least 1; tends to `tempalign.dtw_alignment` as gamma goes to 0. Its
    sum is the expected length of a path. Differentiable itself.

    Args:
        x: see `soft_dtw`.
        y: see `soft_dtw`.
        gamma: see `soft_dtw`.
        cost: see `tempalign.dtw`.
        diagonal: see `tempalign.dtw`.
        band: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        implementation: see `tempalign.explain`.

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
    _dispatch.select("soft_dtw_alignment", implementation)
    problem = of_sequences(x, y, x_lengths, y_lengths, cost, Moves(diagonal), band)
    temperature = _checks.gamma(gamma, problem.dtype)
    return problem.alignment() if temperature is None else problem.soft_alignment(temperature)


def soft_dtw_divergence(
    x: ArrayLike,
    y: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    cost: Cost = "sqeuclidean",
    diagonal: bool = True,
    band: int | None = None,
    x_lengths: ArrayLike | None = None,
    y_lengths: ArrayLike | None = None,
    implementation: Implementation = None,
) -> Array:
    """``soft_dtw(x, y) - (soft_dtw(x, x) + soft_dtw(y, y)) / 2``.

    Under ``"sqeuclidean"`` it is non-negative, and 0 with zero gradient at ``x = y``.

    Args:
        x: see `soft_dtw`.
        y: see `soft_dtw`.
        gamma: see `soft_dtw`.
        cost: see `tempalign.dtw`.
        diagonal: see `tempalign.dtw`.
        band: see `tempalign.dtw`.
        x_lengths: see `tempalign.dtw`.
        y_lengths: see `tempalign.dtw`.
        implementation: see `tempalign.explain`.

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
    _dispatch.select("soft_dtw_divergence", implementation)

    def between(a: ArrayLike, b: ArrayLike, *lengths: ArrayLike | None) -> Array:
        return soft_dtw(
            a,
            b,
            gamma,
            cost=cost,
            diagonal=diagonal,
            band=band,
            x_lengths=lengths[0],
            y_lengths=lengths[1],
        )

    cross = between(x, y, x_lengths, y_lengths)
    own = between(x, x, x_lengths, x_lengths) + between(y, y, y_lengths, y_lengths)
    return cross - jnp.asarray(0.5, cross.dtype) * own
