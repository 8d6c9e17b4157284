"""Soft-DTW barycenters: the average of sequences under soft alignment."""

from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import lax

from tempalign._engine import checks, evaluate, platforms
from tempalign._engine.backends import choose
from tempalign._engine.model import Model
from tempalign._engine.options import PathOptions, with_path_options
from tempalign._engine.problem import Operands, of_sequences
from tempalign._resample import resample
from tempalign._series import Barycenter, Sets, of_series, start_from
from tempalign._types import Array, ArrayLike, Cost, Implementation


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
            stays float64; bf16 and f16 are computed in float32.
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
            magnitude; 0 goes on as long as it falls. In float64 less than the default pays.
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
        ImportError: optax is not installed.

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
        center = _mean(sets, sets.values.shape[-2] if steps is None else steps)
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
    choose("soft_dtw_barycenter", model, operands, implementation)
    _optax()  # says so if it is missing, also where the computation is already compiled
    found = _minimise(sets, center, operands, tol, iterations, model)
    return given.returned(Barycenter(*found), return_objective)


@partial(jax.jit, static_argnames="steps")
def _mean(sets: Sets, steps: int) -> Array:
    """The weighted mean of the series, each resampled to `steps`, ``[C, steps, F]``."""
    resampled = resample(sets.values, steps, lengths=sets.lengths)
    total = jnp.einsum("cn,cnlf->clf", sets.weights, resampled, precision=lax.Precision.HIGHEST)
    return total / jnp.sum(sets.weights, axis=-1)[:, None, None]


class _State(NamedTuple):
    """One barycenter in the midst of the minimisation."""

    iteration: Array
    center: Array  # [L, F]
    objective: Array  # [], of `center`
    gradient: Array  # [L, F], of the objective at `center`
    memory: Any  # optax's
    done: Array
    history: Array  # [num_iters + 1]


@partial(jax.jit, static_argnames=("num_iters", "model"))
def _minimise(
    sets: Sets, center: Array, paths: Operands, tol: float, num_iters: int, model: Model
) -> tuple[Array, Array, Array]:
    """L-BFGS on every set.

    Returns:
        Barycenters, objectives ``[C, num_iters + 1]``, and whether the stop rule was met.
    """
    optax = _optax()
    rounds = jnp.arange(num_iters + 1)
    # optax takes a step that raises the objective by up to this part of it where the slope says
    # that it falls; its own 1e-6 would end a float64 run early, since here no step may rise.
    slack = 8 * jnp.finfo(center.dtype).eps
    solver = optax.lbfgs(
        linesearch=optax.scale_by_zoom_linesearch(
            max_linesearch_steps=20, initial_guess_strategy="one", approx_dec_rtol=slack
        )
    )

    def solve(one: Sets, start: Array, mask: Array | None) -> tuple[Array, Array, Array]:
        values, lengths, weights = one

        def objective_of(center: Array) -> Array:
            distances = _distances(model, paths._replace(mask=mask), values, center, lengths)
            # Not a dot product: 0 * NaN would be NaN for a series that is ignored.
            return jnp.sum(jnp.where(weights > 0, weights / lengths * distances, 0))

        def again(state: _State) -> Array:
            return (state.iteration < num_iters) & ~state.done

        def iterate(state: _State) -> _State:
            # A set that is done waits for the others: without a slope its line search is short.
            gradient = jnp.where(state.done, 0, state.gradient)
            update, memory = solver.update(
                gradient,
                state.memory,
                state.center,
                value=state.objective,
                grad=gradient,
                value_fn=objective_of,
            )
            objective, ahead = memory[-1].value, memory[-1].grad
            lower = objective < state.objective  # False for NaN
            enough = state.objective - objective > tol * jnp.abs(state.objective)
            objective = jnp.where(lower, objective, state.objective)
            # The tail repeats the current value, which then stands if this is the last iteration.
            history = jnp.where(rounds > state.iteration, objective, state.history)
            return _State(
                state.iteration + 1,
                jnp.where(lower, state.center + update, state.center),
                objective,
                jnp.where(lower, ahead, state.gradient),
                memory,
                ~(lower & enough),
                history,
            )

        objective, gradient = jax.value_and_grad(objective_of)(start)
        end = lax.while_loop(
            again,
            iterate,
            _State(
                iteration=jnp.zeros((), jnp.int32),
                center=start,
                objective=objective,
                gradient=gradient,
                memory=solver.init(start),
                done=~jnp.isfinite(objective),
                history=jnp.full(num_iters + 1, objective),
            ),
        )
        possible = jnp.isfinite(objective)
        center = jnp.where(possible, end.center, jnp.nan)
        return center, jnp.where(possible, end.history, jnp.nan), end.done & possible

    masks = None if paths.mask is None else _of_sets(paths.mask, center.shape[0])

    # Under vmap each line search computes both of its branches and waits for the slowest set. That
    # pays where lanes come free (on a CPU one set after the other is 4 to 7 times faster).
    if platforms.likely_cpu() or center.shape[0] == 1:
        return lax.map(lambda one: solve(*one), (sets, center, masks))
    return jax.vmap(solve)(sets, center, masks)


def _distances(
    model: Model, paths: Operands, values: Array, center: Array, lengths: Array
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
    return evaluate.values(model, operands).reshape(-1)


def _of_sets(mask: Array, count: int) -> Array:
    """``[C, 1, N, L, T]`` or ``[1, 1, 1, L, T]``, with an axis for what each set is given."""
    return jnp.broadcast_to(mask, (count, *mask.shape[1:]))[:, None]


def _optax() -> Any:
    try:
        import optax
    except ImportError as error:
        raise ImportError(
            "soft_dtw_barycenter needs optax, which is not installed: pip install optax"
        ) from error
    return optax
