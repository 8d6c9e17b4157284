"""Soft-DTW barycenters: the average of sequences under soft alignment."""

from typing import Unpack

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._descent import Descent, Units, descend
from tempalign._engine import checks, costs, evaluate, platforms
from tempalign._engine.backends import choose
from tempalign._engine.model import Model
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import PathOptions, with_path_options
from tempalign._engine.problem import Operands, of_sequences
from tempalign._engine.programs import compiled
from tempalign._series import Barycenter, Sets, mean_of, of_series, start_from
from tempalign._types import Array, ArrayLike, Cost, Implementation, ImplementationName


@in_our_modes
@with_path_options
def soft_dtw_barycenter(
    series: ArrayLike,
    gamma: ArrayLike = 1.0,
    *,
    lengths: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    length: int | None = None,
    init: ArrayLike | None = None,
    num_iters: int = 50,
    tol: float = 1e-6,
    cost: Cost = "sqeuclidean",
    return_objective: bool = False,
    checkpoint: bool = False,
    implementation: Implementation = None,
    **options: Unpack[PathOptions],
) -> Array | Barycenter:
    r"""Soft-DTW barycenter (Frechet mean), for any number of sets of series at once.

    Minimises, with ``tau_n`` the true length of series n,

    .. math::
        \sum_n \frac{w_n}{\tau_n} \, \mathrm{softdtw}_\gamma(x_n, z)

    by L-BFGS with a zoom line search (optax). Under ``"sqeuclidean"`` every step of the solution
    is a weighted mean of frames, so that averages of probabilities are probabilities. The problem
    is not convex: a large gamma smooths it, a small gamma is better started from
    ``init=tempalign.dba(series)``. The barycenter of one series is the series itself only as gamma
    goes to 0: soft-DTW is not least at ``z = x``. Under ``jax.shard_map`` optax's line search
    needs ``check_vma=False``.

    The path options are those of `tempalign.soft_dtw` between the barycenter (its x) and a series
    (its y); a mask has shape ``[..., N, length, T]``.

    Args:
        series: ``[..., N, T, F]``: N series to average, for each of the leading axes. float64
            (under ``jax_enable_x64``) stays float64; bf16 and f16 are computed in float32.
        gamma: temperature of the soft minimum, a positive scalar.
        lengths: true lengths, integers that broadcast to ``[..., N]``; frames past them (NaN and
            inf included) change nothing. None: T.
        weights: non-negative weights that broadcast to ``[..., N]``; a series of weight 0 is
            ignored (NaN and inf included). None: ones.
        length: number of steps of the barycenter. None: that of `init`, else T.
        init: ``[..., length, F]`` to start from. None: the weighted mean of the series, each
            resampled to the number of steps.
        num_iters: most iterations of L-BFGS to make, >= 1.
        tol: a set is done when an iteration lowers its objective by no more than `tol` times its
            magnitude, or that of the local costs where a temperature far above them makes the
            objective large; 0 goes on as long as it falls. In float64 less than the default pays.
        cost: see `tempalign.dtw`.
        return_objective: also return the objective per iteration and whether it converged.
        checkpoint: see `tempalign.soft_dtw`.
        implementation: see `tempalign.explain`.
        **options: filled in by `with_path_options`.

    Returns:
        ``[..., length, F]`` barycenters; no gradient flows through them. With `return_objective` a
        named tuple: ``center``, ``objective [..., num_iters + 1]`` (the start first, never
        rising, constant after the stop) and ``converged [...]``. NaN where the start has no
        finite objective, for a set with NaN inside a series, and for a traced gamma, lengths or
        weights that a concrete call would refuse.

    Raises:
        ValueError: shapes that do not fit, lengths outside 1..T, negative weights or weights
            that are all 0 in a set, a gamma that is not positive (where concrete), an unknown
            cost, a band too narrow.
        TypeError: a series that is not floating point, or counts that are not integers.

    Source:
        Cuturi and Blondel, "Soft-DTW: a Differentiable Loss Function for Time-Series", ICML 2017,
        Section 3.1; weights ``w_n / tau_n`` as in "Learning Time in Static Classifiers", 2025.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> two = jnp.array([[[0.0], [2.0], [2.0]], [[0.0], [0.0], [4.0]]])
        >>> tempalign.soft_dtw_barycenter(two, 0.01)[:, 0].round(2).tolist()
        [0.0, 1.0, 3.0]
    """
    iterations = checks.positive_int(num_iters, "num_iters")
    checks.flag(return_objective, "return_objective")
    given = of_series(series, lengths, weights)
    sets = given.sets
    steps = None if length is None else checks.positive_int(length, "length")
    temperature = checks.gamma(gamma, sets.values.dtype)
    if temperature is None:
        raise ValueError("gamma must be positive, got 0; the hard barycenter is tempalign.dba")
    if not isinstance(tol, jax.core.Tracer) and not tol >= 0:
        raise ValueError(f"tol must be >= 0, got {tol}")
    if init is None:
        center = mean_of(sets, sets.values.shape[-2] if steps is None else steps)
    else:
        center = start_from(init, steps, given)
    # What is checked of the options is checked here, with concrete lengths where there are some.
    model, operands, _ = of_sequences(
        jnp.zeros((*given.lead, 1, center.shape[1], 1), center.dtype),
        jnp.zeros((*given.lead, *sets.values.shape[1:3], 1), center.dtype),
        None,
        lengths,
        options,
        cost=cost,
        gamma=lax.stop_gradient(temperature),
        recompute=checkpoint,
        names=("barycenter", "series"),
    )
    chosen = choose("soft_dtw_barycenter", model, operands, implementation, "averages")
    found = _minimise(sets, center, operands, tol, iterations, model, chosen.backend)
    return given.returned(Barycenter(*found), return_objective)


@compiled("num_iters", "model", "backend")
def _minimise(
    sets: Sets,
    center: Array,
    paths: Operands,
    tol: float,
    num_iters: int,
    model: Model,
    backend: ImplementationName,
) -> Descent:
    """L-BFGS on every set."""

    def solve(one: Sets, start: Array, mask: Array | None) -> Descent:
        values, lengths, weights = one

        def objective_of(center: Array) -> Array:
            given = paths._replace(mask=mask)
            distances = _distances(model, backend, given, values, center, lengths)
            # Not a dot product: 0 * NaN would be NaN for a series that is ignored.
            return jnp.sum(jnp.where(weights > 0, weights / lengths * distances, 0))

        return descend(objective_of, start, _units(model, one, start), tol, num_iters)

    masks = None if paths.mask is None else _of_sets(paths.mask, center.shape[0])

    # Under vmap each line search computes both of its branches and waits for the slowest set. That
    # pays where lanes come free (on a CPU one set after the other is 4 to 7 times faster).
    if platforms.likely_cpu() or center.shape[0] == 1:
        return lax.map(lambda one: solve(*one), (sets, center, masks))
    return jax.vmap(solve)(sets, center, masks)


def _units(model: Model, one: Sets, start: Array) -> Units:
    """The size of the data around the start, and of the objective there.

    The objective is of the order of the local costs; what a temperature adds to it is none of it.
    """
    values, lengths, weights = one
    num_series, frames, _ = values.shape
    inside = (jnp.arange(frames) < lengths[:, None]) & (weights > 0)[:, None]
    middle = jnp.mean(start, axis=0)
    spread = jnp.max(jnp.where(inside[..., None], jnp.abs(values - middle), 0))
    # A sample of the frames says it well enough.
    rows, columns = (slice(None, None, -(-count // _SAMPLE)) for count in (len(start), frames))
    local = costs.matrix(start[None, None, rows], values[None, :, columns], model.cost)
    local = local.reshape((*local.shape[:2], num_series))
    counted = inside[:, columns].T & (local < jnp.inf)  # False for NaN
    mean = jnp.mean(jnp.abs(local), axis=(0, 1), where=counted)
    total = jnp.sum(jnp.where(weights > 0, weights * mean, 0))
    return Units.near(jnp.maximum(spread, jnp.max(jnp.abs(start - middle))), total)


# As many frames of each sequence are looked at for the size of the costs.
_SAMPLE = 32


def _distances(
    model: Model,
    backend: ImplementationName,
    paths: Operands,
    values: Array,
    center: Array,
    lengths: Array,
) -> Array:
    """Soft minima ``[N]`` between the series of a set and a barycenter."""
    rows = jnp.full_like(lengths, center.shape[0])
    operands = paths._replace(
        x=center[None, None],
        y=values[None],
        rows=rows[None, None],
        columns=lengths[None, None],
        valid=None,
    )
    return evaluate.values_by(backend, model, operands).reshape(-1)


def _of_sets(mask: Array, count: int) -> Array:
    """``[C, 1, N, L, T]`` or ``[1, 1, 1, L, T]``, with an axis for what each set is given."""
    return jnp.broadcast_to(mask, (count, *mask.shape[1:]))[:, None]
