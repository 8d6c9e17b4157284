"""SEQ: a static classifier that learns from time, in the space of its predictions."""

from typing import cast

import jax
from flax import nnx
from jax import lax

from tempalign._engine import checks
from tempalign._engine.modes import in_our_modes
from tempalign._seq import SeqLoss, seq_loss
from tempalign._soft_barycenter import soft_dtw_barycenter
from tempalign._types import Array, ArrayLike


class SeqClassifier(nnx.Module):
    """One linear layer over frozen features of single frames, trained by the SEQ loss.

    It stays a static classifier: time enters by the loss only. An episode has, for each class, N
    support sequences whose predictions are averaged to the exemplar of the class, and queries
    whose predictions are aligned with the exemplar of theirs.

    Attributes:
        linear: the layer, F features to C scores.

    Source:
        "Learning Time in Static Classifiers", AAAI 2026 (arXiv 2511.12321).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from tempalign import heads
        >>> head = heads.SeqClassifier(5, 3, rngs=nnx.Rngs(0))
        >>> support = jax.random.normal(jax.random.key(0), (3, 4, 7, 5))  # 4 sequences a class
        >>> exemplars = head.exemplars(support, gamma=0.1)
        >>> exemplars.shape
        (3, 7, 3)
        >>> loss = head.loss(support[:, 0], jnp.arange(3), exemplars)
        >>> bool(loss.total > 0)
        True
    """

    @in_our_modes
    def __init__(self, num_features: int, num_classes: int, *, rngs: nnx.Rngs):
        """Makes a head with random weights.

        Args:
            num_features: F, of a frame.
            num_classes: C, at least 2.
            rngs: random streams for the weights.

        Raises:
            ValueError: a count below its minimum.
        """
        features = checks.positive_int(num_features, "num_features")
        classes = checks.positive_int(num_classes, "num_classes")
        if classes < 2:
            raise ValueError(f"num_classes must be >= 2, got {num_classes}")
        self.linear = nnx.Linear(features, classes, rngs=rngs)

    @in_our_modes
    def __call__(self, x: ArrayLike) -> Array:
        """Scores ``[..., C]`` of frames ``[..., F]``, before the softmax.

        Raises:
            ValueError: frames of another number of features.
            TypeError: frames that are not floating point.
        """
        frames = checks.floating(x, "x")
        features = self.linear.in_features
        if frames.ndim == 0 or frames.shape[-1] != features:
            raise ValueError(f"x must have shape [..., {features}], got {frames.shape}")
        return self.linear(frames)

    @in_our_modes
    def exemplars(
        self,
        support: ArrayLike,
        *,
        gamma: ArrayLike = 0.1,
        lengths: ArrayLike | None = None,
        num_iters: int = 20,
    ) -> Array:
        """Exemplars of the classes: soft-DTW barycenters of the support's predictions.

        Args:
            support: ``[C, N, tau, F]``, N sequences of each class.
            gamma: temperature, see `tempalign.soft_dtw_barycenter`.
            lengths: true lengths ``[C, N]``, or None.
            num_iters: most iterations of L-BFGS.

        Returns:
            ``[C, tau, C]`` probabilities; constants, no gradient flows through them.

        Raises:
            ValueError: see `tempalign.soft_dtw_barycenter`.
            TypeError: see `tempalign.soft_dtw_barycenter`.
        """
        probabilities = jax.nn.softmax(lax.stop_gradient(self(support)))
        found = soft_dtw_barycenter(probabilities, gamma, lengths=lengths, num_iters=num_iters)
        return cast(Array, found)

    @in_our_modes
    def loss(
        self,
        query: ArrayLike,
        labels: ArrayLike,
        exemplars: ArrayLike,
        *,
        alpha: ArrayLike = 0.1,
        beta: ArrayLike = 0.1,
        gamma: ArrayLike = 0.1,
        sequence_labels: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> SeqLoss:
        """The SEQ loss of query sequences ``[..., tau, F]``; see `tempalign.seq_loss`."""
        return seq_loss(
            self(query),
            labels,
            exemplars,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            sequence_labels=sequence_labels,
            query_lengths=lengths,
        )
