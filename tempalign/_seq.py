"""The loss of Support-Exemplar-Query (SEQ) learning, and its smoothness term."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempalign._engine import checks
from tempalign._engine.modes import in_our_modes
from tempalign._engine.options import renamed
from tempalign._engine.problem import clear_padding
from tempalign._soft_dtw import soft_dtw
from tempalign._types import Array, ArrayLike, Implementation


class SeqLoss(NamedTuple):
    """The loss of a batch and its terms before weighting, scalars (means over the batch).

    Attributes:
        total: ``align + alpha * cross_entropy + beta * smooth``.
        align: soft-DTW between the probabilities and the exemplar of the class.
        cross_entropy: of the probabilities and the labels.
        smooth: `tempalign.smoothness` of the probabilities.
    """

    total: Array
    align: Array
    cross_entropy: Array
    smooth: Array


@in_our_modes
@renamed(lengths="query_lengths")
def seq_loss(
    query_logits: ArrayLike,
    query_labels: ArrayLike,
    exemplars: ArrayLike,
    *,
    alpha: ArrayLike = 0.1,
    beta: ArrayLike = 0.1,
    gamma: ArrayLike = 0.1,
    sequence_labels: ArrayLike | None = None,
    query_lengths: ArrayLike | None = None,
    exemplar_lengths: ArrayLike | None = None,
    checkpoint: bool = False,
    implementation: Implementation = None,
) -> SeqLoss:
    r"""The SEQ loss of a batch of queries: align, classify, change smoothly.

    With ``p = softmax(query_logits)``, each term a mean over the queries,

    .. math::
        \mathrm{softdtw}_\gamma(p, \mathrm{exemplar}_y)
        + \alpha \, \mathrm{CE} + \beta \, \mathrm{smoothness}(p)

    under squared Euclidean costs. Classification: CE is ``-log mean_t p[t, y]``, the cross-entropy
    of the temporal mean of the probabilities. Sequence tasks (`sequence_labels` given): CE is
    the mean over the query's frames of ``-log p[t, y_t]``. The align term may be negative, as
    `tempalign.soft_dtw`; gradients reach the logits and the exemplars.

    The exemplar of a class is the soft-DTW barycenter of the probabilities of its N support
    sequences, see the example: ``[C, N, tau, C]`` logits give ``[C, L, C]``.

    Args:
        query_logits: ``[..., tau, C]`` scores of C classes, frame by frame, before the softmax.
            float64 (under ``jax_enable_x64``) stays float64; bf16 and f16 are computed in float32.
        query_labels: integers that broadcast to the leading axes, the class of each query.
        exemplars: ``[K, L, C]`` probabilities; row k is the exemplar of label k. K is C, except
            with `sequence_labels`, where `query_labels` only pick the exemplar.
        alpha: weight of the cross-entropy, >= 0. The paper's best: about 0.1 for images, 1 and
            more for video anomaly detection.
        beta: weight of the smoothness, >= 0. The paper's value is not known to us; the default
            is that of `alpha`.
        gamma: temperature of the alignment, see `tempalign.soft_dtw`. The paper's best: about 0.1.
        sequence_labels: integers that broadcast to ``[..., tau]``, the class of each frame, or
            None for classification. What stands past the lengths is ignored.
        query_lengths: true lengths of the queries, integers that broadcast to the leading axes;
            frames past them (NaN and inf included) change nothing. None: tau.
        exemplar_lengths: likewise of the exemplars, integers that broadcast to ``[K]``. None: L.
        checkpoint: of the alignment, see `tempalign.soft_dtw`.
        implementation: of the alignment, see `tempalign.explain`.

    Returns:
        `SeqLoss`: the total and the three terms, scalars. Traced labels or lengths out of range
        give NaN.

    Raises:
        ValueError: shapes that do not fit, labels or lengths out of range (where concrete), a
            weight that is negative or not a scalar, a gamma that `tempalign.soft_dtw` refuses.
        TypeError: logits or exemplars that are not floating point, labels or lengths that are
            not integers.

    Source:
        "Learning Time in Static Classifiers", AAAI 2026 (arXiv 2511.12321).

    Example:
        >>> import jax, jax.numpy as jnp, tempalign
        >>> support = 3 * jnp.eye(2)[:, None, None] * jnp.ones((2, 3, 4, 2))  # 3 a class
        >>> exemplars = tempalign.soft_dtw_barycenter(jax.nn.softmax(support), 0.1)
        >>> exemplars.shape
        (2, 4, 2)
        >>> loss = tempalign.seq_loss(support[:, 0], jnp.array([0, 1]), exemplars)
        >>> round(float(loss.cross_entropy), 3), float(loss.smooth)
        (0.049, 0.0)
    """
    logits = checks.sequence(query_logits, "query_logits")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    *lead, num_frames, num_classes = logits.shape
    shape = tuple(lead)
    if 0 in shape:
        raise ValueError(f"query_logits must hold at least one query, got shape {logits.shape}")
    prototypes = checks.sequence(exemplars, "exemplars")
    rows = prototypes.shape[0]
    per_class = sequence_labels is None
    if (
        prototypes.ndim != 3
        or prototypes.shape[-1] != num_classes
        or (per_class and rows != num_classes)
    ):
        first = num_classes if per_class else "K"
        raise ValueError(
            f"exemplars must have shape ({first}, L, {num_classes}) (label, frames, classes of "
            f"query_logits), got {prototypes.shape}"
        )
    alpha = _term_weight(alpha, "alpha", logits.dtype)
    beta = _term_weight(beta, "beta", logits.dtype)
    label = _labels(query_labels, shape, rows, "query_labels")
    checked = checks.lengths(query_lengths, num_frames, "query_lengths")
    if checked is not None:
        checked = checks.broadcast_to(checked, shape, "query_lengths", "queries")
    own_lengths = checks.lengths(exemplar_lengths, prototypes.shape[1], "exemplar_lengths")
    if own_lengths is not None:
        own_lengths = checks.broadcast_to(own_lengths, (rows,), "exemplar_lengths", "exemplars")[
            label.row
        ]

    logits, _ = clear_padding(logits, checked, "query_logits", "query_lengths")
    log_probabilities = jax.nn.log_softmax(logits)
    probabilities = jnp.exp(log_probabilities)
    align = soft_dtw(
        probabilities,
        prototypes[label.row],
        gamma,
        x_lengths=checked,
        y_lengths=own_lengths,
        checkpoint=checkpoint,
        implementation=implementation,
    )
    count = jnp.full(shape, num_frames) if checked is None else checked
    entropy = _cross_entropy(log_probabilities, label, sequence_labels, count)
    smooth = smoothness(probabilities, lengths=checked)
    valid = label.valid & (count >= 1) & (count <= num_frames)
    align, entropy, smooth = (
        jnp.mean(checks.refuse(~valid, term)) for term in (align, entropy, smooth)
    )
    return SeqLoss(align + alpha * entropy + beta * smooth, align, entropy, smooth)


@in_our_modes
def smoothness(probs: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
    r"""The mean squared change from frame to frame; 0 for a single frame.

    .. math::
        \frac{1}{\tau - 1} \sum_{t = 2}^{\tau} \lVert p_t - p_{t-1} \rVert^2

    Args:
        probs: ``[..., tau, C]`` sequences. float64 (under ``jax_enable_x64``) stays float64;
            bf16 and f16 are computed in float32.
        lengths: true lengths, integers that broadcast against the leading axes; frames past them
            (NaN and inf included) change nothing. None: tau.

    Returns:
        ``[...]``. Traced lengths outside 1..tau give NaN.

    Raises:
        ValueError: a wrong shape, or lengths outside 1..tau.
        TypeError: sequences that are not floating point, or lengths that are not integers.

    Source:
        "Learning Time in Static Classifiers", AAAI 2026 (arXiv 2511.12321), the smoothness
        regularisation.

    Example:
        >>> import jax.numpy as jnp, tempalign
        >>> float(tempalign.smoothness(jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])))
        1.0
    """
    p = checks.sequence(probs, "probs")
    p = p.astype(jnp.promote_types(p.dtype, jnp.float32))
    num_frames = p.shape[-2]
    p, checked = clear_padding(p, lengths, "probs", "lengths")
    squared = jnp.sum(jnp.square(jnp.diff(p, axis=-2)), axis=-1)
    full = jnp.asarray(num_frames if checked is None else checked)
    last = checks.usable_lengths(full, num_frames)[..., None] - 1
    changes = jnp.where(jnp.arange(num_frames - 1) < last, squared, 0)
    total = jnp.sum(changes, axis=-1) / jnp.maximum(last[..., 0], 1)
    return checks.nan_where_invalid(total, (checked, num_frames))


class _Labels(NamedTuple):
    """Labels as rows that exist, and whether the labels were in range."""

    row: Array
    valid: Array


def _labels(
    value: ArrayLike, shape: tuple[int, ...], count: int, name: str, counted: Array | None = None
) -> _Labels:
    """Checks labels 0..count-1 on `shape`; those not `counted` may be anything."""
    labels = checks.clipped(checks.integers(value, name), count)
    labels = checks.broadcast_to(labels, shape, name, "of query_logits")
    if counted is not None:
        labels = jnp.where(counted, labels, 0)
    if not any(isinstance(one, jax.core.Tracer) for one in (value, counted)):
        known = np.asarray(value)
        if counted is not None:
            known = np.broadcast_to(known, shape)[np.asarray(counted)]
        checks.classes(known, count, name)
    return _Labels(jnp.clip(labels, 0, count - 1), (labels >= 0) & (labels < count))


def _cross_entropy(
    log_probabilities: Array, label: _Labels, sequence_labels: ArrayLike | None, count: Array
) -> Array:
    """Cross-entropies ``[...]`` over the first `count` frames."""
    inside = jnp.arange(log_probabilities.shape[-2]) < count[..., None]
    if sequence_labels is None:
        of_label = jnp.take_along_axis(log_probabilities, label.row[..., None, None], axis=-1)
        summed = jax.nn.logsumexp(of_label[..., 0], axis=-1, where=inside)
        return jnp.log(count.astype(summed.dtype)) - summed
    classes = log_probabilities.shape[-1]
    frame = _labels(sequence_labels, inside.shape, classes, "sequence_labels", inside)
    of_label = jnp.take_along_axis(log_probabilities, frame.row[..., None], axis=-1)
    entropy = -jnp.sum(jnp.where(inside, of_label[..., 0], 0), axis=-1) / count
    return checks.refuse(~jnp.all(frame.valid, axis=-1), entropy)


def _term_weight(value: ArrayLike, name: str, dtype: jnp.dtype) -> Array:
    array = checks.real_scalar(value, name, dtype)
    if not isinstance(value, jax.core.Tracer) and not 0 <= float(np.asarray(value)) < np.inf:
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return array
