"""DejaVid: a classifier over temporal sequences of embeddings."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from tempalign._barycenter import dba
from tempalign._engine import checks
from tempalign._engine.costs import safe_sqrt
from tempalign._engine.modes import in_our_modes
from tempalign._resample import resample
from tempalign._types import Array, ArrayLike, Implementation
from tempalign._weighted_dtw import PATH_PRECISIONS, weighted_dtw


class PathCopy(nnx.Variable):
    """State of a head that decides warping paths and is refreshed, not trained."""


class DejaVidHead(nnx.Module):
    """DejaVid: one centroid and one weight tensor per class, compared by time-weighted DTW.

    Logits are the negated distances, standardised over the classes:
    ``(z - mean(z)) / (std(z) + eps)`` with the unbiased standard deviation (the paper's
    "LayerNorm before the softmin"). Of two classes they would be +-0.707 whatever the distances:
    there the negated distances themselves are the logits (see `standardize`).

    Attributes:
        centroids: parameter ``[C, Tc, F]``, zero until `init_from_dba` or assignment.
        log_weights: parameter ``[C, Tc, F]``; the weights are ``exp(log_weights)``.
        path_centroids: frozen copy that decides the paths, None without `fixed_paths`.
        path_log_weights: likewise.

    Source:
        Ho and Madden, DejaVid, CVPR 2025, Sec. 3.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from tempalign import heads
        >>> head = heads.DejaVidHead(num_classes=3, num_steps=4, num_features=5)
        >>> head.init_from_dba(jnp.ones((3, 10, 12, 5)) * jnp.arange(3.0)[:, None, None, None])
        >>> videos = jnp.ones((2, 20, 5))
        >>> head(videos).argmax(-1).tolist()
        [1, 1]
    """

    @in_our_modes
    def __init__(
        self,
        num_classes: int,
        num_steps: int,
        num_features: int,
        *,
        weight_init: str = "ones",
        diagonal: bool = False,
        fixed_paths: bool = True,
        path_precision: str = "float32",
        standardize: bool | None = None,
        eps: float = 1e-6,
        rngs: nnx.Rngs | None = None,
        implementation: Implementation = None,
    ):
        """Makes a head with zero centroids.

        Args:
            num_classes: C, at least 2.
            num_steps: Tc, steps of a centroid (8 in the paper).
            num_features: F.
            weight_init: ``"ones"`` (log-weights 0) or ``"normal"`` (log-weights N(0, 1), needs
                `rngs`).
            diagonal: whether warping paths may step diagonally.
            fixed_paths: whether frozen copies decide the paths ("fixed epoch centroids and
                weights"); call `refresh_paths` at the start of every epoch.
            path_precision: see `tempalign.weighted_dtw`.
            standardize: whether logits are standardised over the classes, as in the paper; not
                possible for two, whose standardised logits would be constant and have no gradient.
                None: for three classes or more.
            eps: added to the standard deviation.
            rngs: random streams, for ``weight_init="normal"``.
            implementation: see `tempalign.explain`.

        Raises:
            ValueError: a count below its minimum, an unknown `weight_init` or `path_precision`,
                missing `rngs`, `standardize` for two classes.
            TypeError: an option of the wrong kind.
        """
        shape = tuple(
            checks.positive_int(value, name)
            for value, name in (
                (num_classes, "num_classes"),
                (num_steps, "num_steps"),
                (num_features, "num_features"),
            )
        )
        if num_classes < 2:
            raise ValueError(f"num_classes must be >= 2, got {num_classes}")
        if standardize is None:
            standardize = num_classes > 2
        checks.flag(standardize, "standardize")
        if standardize and num_classes == 2:
            raise ValueError(
                "standardize must be False or None for num_classes=2: standardised logits of two "
                "classes are +-0.707 whatever the distances, and nothing would be learned"
            )
        checks.choice(weight_init, "weight_init", ("ones", "normal"))
        checks.choice(path_precision, "path_precision", PATH_PRECISIONS)
        log_weights = jnp.zeros(shape)
        if weight_init == "normal":
            if rngs is None:
                raise ValueError('weight_init="normal" needs rngs, e.g. rngs=nnx.Rngs(0)')
            log_weights = jax.random.normal(rngs.params(), shape)
        self.centroids = nnx.Param(jnp.zeros(shape))
        self.log_weights = nnx.Param(log_weights)
        # Copies, not aliases: a train step that donates its buffers must not find one twice.
        self.path_centroids = PathCopy(jnp.zeros(shape)) if fixed_paths else None
        self.path_log_weights = PathCopy(jnp.array(log_weights)) if fixed_paths else None
        self.diagonal = diagonal
        self.path_precision = path_precision
        self.standardize = bool(standardize)
        self.eps = eps
        self.implementation = implementation

    @in_our_modes
    def init_from_dba(
        self,
        series: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        num_iters: int = 100,
    ) -> None:
        """Sets the centroids to class barycenters of training samples and refreshes the paths.

        As in the paper's code: the samples are resampled to Tc steps first, then averaged by DBA
        under the Manhattan cost without diagonal moves.

        Args:
            series: ``[C, N, T, F]``, N samples of each class (50 random ones in the paper).
            lengths: true lengths ``[C, N]``, or None.
            weights: ``[C, N]``, 0 for a sample that is absent, or None.
            num_iters: most DBA iterations.

        Raises:
            ValueError: a series that does not fit the head, or what `tempalign.dba` refuses.
        """
        samples = checks.sequence(series, "series")
        classes, steps, features = self.centroids.shape
        if samples.ndim != 4 or (samples.shape[0], samples.shape[3]) != (classes, features):
            raise ValueError(
                f"series must have shape [{classes}, N, T, {features}] (classes, samples, "
                f"frames, features), got {samples.shape}"
            )
        samples = resample(samples, steps, lengths=lengths)
        self.centroids[...] = dba(
            samples, weights=weights, num_iters=num_iters, diagonal=False, cost="manhattan"
        )
        self.refresh_paths()

    @in_our_modes
    def refresh_paths(self) -> None:
        """Copies the live centroids and weights into those that decide the paths."""
        if self.path_centroids is not None and self.path_log_weights is not None:
            self.path_centroids[...] = jnp.array(self.centroids[...])
            self.path_log_weights[...] = jnp.array(self.log_weights[...])

    @in_our_modes
    def distances(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Weighted DTW distances to all classes.

        Args:
            x: ``[..., T, F]`` sequences.
            lengths: true lengths that broadcast against the leading axes, or None.

        Returns:
            ``[..., C]``, float32 (float64 for float64 input).

        Raises:
            ValueError: see `tempalign.weighted_dtw`.
            TypeError: see `tempalign.weighted_dtw`.
        """
        x = checks.sequence(x, "x")
        path_from = None
        if self.path_centroids is not None and self.path_log_weights is not None:
            path_from = (self.path_centroids[...], jnp.exp(self.path_log_weights[...]))
        return weighted_dtw(
            x[..., None, :, :],
            self.centroids[...],
            jnp.exp(self.log_weights[...]),
            diagonal=self.diagonal,
            path_from=path_from,
            path_precision=self.path_precision,
            x_lengths=None if lengths is None else jnp.asarray(lengths)[..., None],
            implementation=self.implementation,
        )

    @in_our_modes
    def __call__(self, x: ArrayLike, *, lengths: ArrayLike | None = None) -> Array:
        """Class logits ``[..., C]``; arguments as for `distances`."""
        return self.logits(self.distances(x, lengths=lengths))

    @in_our_modes
    def logits(self, distances: ArrayLike) -> Array:
        """Class logits of distances that are known, such as those of several heads put together.

        Args:
            distances: ``[..., C]``, to all classes.

        Raises:
            TypeError: distances that are not floating point.
        """
        scores = -checks.floating(distances, "distances")
        return _standardized(scores, self.eps) if self.standardize else scores


def _standardized(scores: Array, eps: float) -> Array:
    """Scores ``[..., C]`` by their mean and standard deviation over the classes.

    A standard deviation below the rounding of the scores, as in a fresh head where all are equal,
    counts as that, and as constant: standardised, rounding would look like logits. (The slope of
    `jnp.std` is NaN there.)
    """
    centered = scores - jnp.mean(scores, axis=-1, keepdims=True)
    variance = jnp.sum(jnp.square(centered), axis=-1, keepdims=True) / (scores.shape[-1] - 1)
    largest = lax.stop_gradient(jnp.max(jnp.abs(scores), axis=-1, keepdims=True))
    rounding = 8 * jnp.finfo(scores.dtype).eps * largest
    return centered / (jnp.maximum(safe_sqrt(variance), rounding) + eps)
