"""Sets of series to average: what the barycenters are given and return."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tempalign._engine import checks
from tempalign._engine.problem import clear_padding
from tempalign._resample import resample
from tempalign._types import Array, ArrayLike

_TARGET = "leading axes and number of series"


class Barycenter(NamedTuple):
    """An average, and how it was found.

    Attributes:
        center: ``[..., length, F]``.
        objective: ``[..., num_iters + 1]``, per iteration, the start first; constant after the
            stop.
        converged: bool ``[...]``, whether the iteration stopped by itself; False where it ran out
            of iterations or had no finite objective to start from.
    """

    center: Array
    objective: Array
    converged: Array


class Sets(NamedTuple):
    """Values ``[C, N, T, F]`` (0 where ignored), lengths int32 and weights ``[C, N]``."""

    values: Array
    lengths: Array
    weights: Array


class Given(NamedTuple):
    """The sets, and the way back to the caller's leading axes.

    Attributes:
        sets: with the leading axes as one axis C.
        lead: the leading axes.
        valid: ``[C]`` whether (traced) lengths and weights are in range and no series has NaN.
        ragged: whether there are lengths at all.
    """

    sets: Sets
    lead: tuple[int, ...]
    valid: Array
    ragged: bool

    def restore(self, result: Array) -> Array:
        """Results ``[C, ...]`` on the leading axes, NaN (or False) where invalid."""
        valid = self.valid.reshape((-1,) + (1,) * (result.ndim - 1))
        nothing = False if result.dtype == bool else jnp.nan
        return jnp.where(valid, result, nothing).reshape(self.lead + result.shape[1:])

    def returned(self, found: Barycenter, details: bool) -> Array | Barycenter:
        """What the caller gets of the averages of all sets: the centers, or all there is."""
        restored = Barycenter(*map(self.restore, found))
        return restored if details else restored.center


def of_series(series: ArrayLike, lengths: ArrayLike | None, weights: ArrayLike | None) -> Given:
    """Validates series ``[..., N, T, F]`` with their lengths and weights, ``[..., N]``.

    No gradient flows through what it returns: iterations that find an average have none to give.
    """
    x = checks.sequence(series, "series")
    if x.ndim < 3 or x.shape[-3] < 1:
        raise ValueError(
            f"series must have shape [..., N, T, F] with at least one series, got {x.shape}"
        )
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    *lead, n, t, f = x.shape
    w = _weights(weights, (*lead, n)).astype(x.dtype)
    checked = checks.lengths(lengths, t, "lengths")
    full = jnp.full((), t, jnp.int32) if checked is None else checked
    full = checks.broadcast_to(full, (*lead, n), "lengths", _TARGET)
    x, _ = clear_padding(x, jnp.clip(full, 1, t), "series", "lengths")
    x = jnp.where((w > 0)[..., None, None], x, 0)
    # What a concrete call refuses is NaN where it is traced; and so is an average of what is not a
    # number.
    sound = jnp.all((w >= 0) & (w < jnp.inf), axis=-1) & (jnp.sum(w, axis=-1) > 0)
    sound &= jnp.all(checks.in_range(full, t), axis=-1)
    valid = (sound & ~jnp.any(jnp.isnan(x), axis=(-3, -2, -1))).reshape(-1)
    w = jnp.where(sound[..., None], w, 1)
    count = math.prod(lead)
    sets = Sets(
        x.reshape(count, n, t, f), jnp.clip(full, 1, t).reshape(count, n), w.reshape(count, n)
    )
    return Given(lax.stop_gradient(sets), tuple(lead), valid, checked is not None)


@partial(jax.jit, static_argnames="steps")
def mean_of(sets: Sets, steps: int) -> Array:
    """The weighted mean of the series, each resampled to `steps`, ``[C, steps, F]``."""
    resampled = resample(sets.values, steps, lengths=sets.lengths)
    total = jnp.einsum("cn,cnlf->clf", sets.weights, resampled, precision=lax.Precision.HIGHEST)
    return total / jnp.sum(sets.weights, axis=-1)[:, None, None]


def start_from(init: ArrayLike, steps: int | None, given: Given) -> Array:
    """Validates barycenters ``[..., steps, F]`` to start from, as ``[C, steps, F]``."""
    values = given.sets.values
    center = checks.sequence(init, "init").astype(values.dtype)
    expected = given.lead + (center.shape[-2] if steps is None else steps, values.shape[-1])
    if center.shape != expected:
        raise ValueError(
            f"init must have shape {expected} (leading axes of series, length, features), "
            f"got {center.shape}"
        )
    return lax.stop_gradient(center.reshape((values.shape[0],) + center.shape[-2:]))


def _weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if weights is None:
        return jnp.ones(shape)
    w = checks.floating(weights, "weights")
    w = checks.broadcast_to(w, shape, "weights", _TARGET)
    if not isinstance(w, jax.core.Tracer) and w.size:
        values = np.asarray(w)
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise ValueError("weights must be finite and >= 0, got a negative or non-finite one")
        empty = np.argwhere(values.sum(-1) == 0)
        if len(empty):
            raise ValueError(
                f"weights must not be all 0 in a set of series; they are in {len(empty)} set(s), "
                f"first at leading index {tuple(int(i) for i in empty[0])}"
            )
    return w
