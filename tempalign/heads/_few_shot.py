"""TAM: few-shot classification of sequences by their temporal alignment with a few examples."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from tempalign._dtw import dtw_from_cost
from tempalign._engine import checks
from tempalign._engine.costs import unit
from tempalign._engine.modes import in_our_modes
from tempalign._tam import Boundary, tam_distance_from_cost
from tempalign._types import Array, ArrayLike, Implementation

Matching = Literal["min", "mean", "diagonal", "dtw", "tam", "tam_symmetric"]

MATCHINGS: tuple[Matching, ...] = get_args(Matching)


class Temperature(nnx.Variable):
    """A temperature that is set from outside and not trained."""


class FewShotHead(nnx.Module):
    r"""Classifies queries by their distance to a few support sequences of each class.

    An episode has `way` classes with `shot` support sequences each, and Q queries of these
    classes. With ``D`` the ``[n, m]`` cosine distances (Eq. 1) between the n frames of a query
    and the m frames of a support sequence, the distance of the two is, by `matching` (Table 2),

    - ``"min"``: the smallest entry of ``D``;
    - ``"mean"``: the mean of all entries (these two are blind to the order of the frames);
    - ``"diagonal"``: the mean of ``D[i, i]``; needs n = m;
    - ``"dtw"``: `tempalign.dtw_from_cost` with steps right, down and diagonal ("plain DTW"): the
      sum along the best path, not divided by its length, under the hard minimum;
    - ``"tam"``: `tempalign.tam_distance_from_cost`: exactly m entries are summed;
    - ``"tam_symmetric"``: that with query and support exchanged added.

    Logits are the negated distances, for several shots their mean:
    ``-mean_s distance(query, support[class, s])``.

    Attributes:
        encoder: what frames go through first, None for nothing.
        matching: see above.
        gamma: temperature of the soft minimum of the two TAM distances, the paper's lambda. As a
            number it is a constant that programs are compiled for. To anneal it, make the head
            with an array, ``gamma=jnp.asarray(0.1)``: it is then held in a `Temperature`, a
            variable, and ``head.gamma = value`` compiles nothing anew.
        boundary: of the two TAM distances, see `tempalign.tam_distance`.
        implementation: see `tempalign.explain`.

    Source:
        Cao et al., "Few-Shot Video Classification via Temporal Alignment", CVPR 2020, Sec. 3.2
        and 4.5.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from tempalign import heads
        >>> head = heads.FewShotHead(encoder=nnx.Linear(6, 4, rngs=nnx.Rngs(0)))
        >>> support = jax.random.normal(jax.random.key(0), (5, 2, 8, 6))  # 5-way 2-shot
        >>> query = support[:, 0] + 0.1  # one query a class
        >>> head(query, support).shape
        (5, 5)
        >>> head(query, support).argmax(-1).tolist()
        [0, 1, 2, 3, 4]
        >>> bool(head.loss(query, support, jnp.arange(5)) < jnp.log(5))
        True
    """

    @in_our_modes
    def __init__(
        self,
        *,
        matching: Matching = "tam",
        gamma: ArrayLike = 0.1,
        boundary: Boundary = "paper",
        encoder: Callable[[Array], Array] | None = None,
        implementation: Implementation = None,
    ):
        """Makes a head; only its encoder, if it has one, has parameters.

        Args:
            matching: how two sequences are compared, see the class.
            gamma: temperature of TAM's soft minimum, > 0; the number 0 for the hard minimum. A
                number, or an array (which may be traced) to be changed later, see the class.
            boundary: ``"paper"`` or ``"edge"``, see `tempalign.tam_distance`.
            encoder: an NNX module, or any function, from frames ``[..., T, F]`` to frames
                ``[..., T', D]``: a learnable projection is ``nnx.Linear(F, D, rngs=rngs)``.
            implementation: see `tempalign.explain`.

        Raises:
            ValueError: an unknown matching or boundary, a gamma that is negative or not finite.
        """
        checks.choice(matching, "matching", MATCHINGS)
        checks.choice(boundary, "boundary", get_args(Boundary))
        self.encoder = encoder
        self.temperature: ArrayLike | Temperature
        self.matching = matching
        self.gamma = gamma
        self.boundary = boundary
        self.implementation = implementation

    @property
    def gamma(self) -> ArrayLike:
        """The temperature: a number, or an array if it was made with one."""
        held = self.temperature
        return held[...] if isinstance(held, Temperature) else held

    @gamma.setter
    def gamma(self, value: ArrayLike | Temperature) -> None:
        given = value[...] if isinstance(value, Temperature) else value
        checks.gamma(given, jnp.dtype(jnp.float32))
        held: ArrayLike | Temperature | None = getattr(self, "temperature", None)
        if isinstance(held, Temperature):
            held[...] = jnp.asarray(given, jnp.float32)
        elif isinstance(given, (jax.Array, np.ndarray)):
            self.temperature = nnx.data(Temperature(jnp.asarray(given, jnp.float32)))
        else:
            self.temperature = given

    @in_our_modes
    def encode(self, frames: ArrayLike) -> Array:
        """Returns what is compared: encoded frames ``[..., T, D]`` of length 1.

        Encode sequences once and give `frame_costs` what this returns, where they take part in
        many episodes. A frame of zeros stays one: its cosine to any frame is 0. A frame with NaN
        or inf in it is NaN: it costs NaN against every frame.

        Args:
            frames: ``[..., T, F]``; bf16 and f16 are computed in float32.

        Raises:
            ValueError: a wrong shape.
            TypeError: frames that are not floating point.
        """
        x = checks.sequence(frames, "frames")
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.encoder is not None:
            x = checks.sequence(self.encoder(x), "the encoder's output")
        direction, bad = unit(x)
        return jnp.where(bad[..., None], jnp.nan, direction)

    @in_our_modes
    def frame_costs(self, query: ArrayLike, support: ArrayLike) -> Array:
        """Cosine distances between all frames of each query and each support sequence.

        One matrix product of frames of length 1: nothing larger than the result is made.

        Args:
            query: ``[..., Q, n, D]`` as `encode` returns it.
            support: ``[..., way, shot, m, D]`` likewise, with the same leading axes.

        Returns:
            ``[..., Q, way, shot, n, m]``.

        Raises:
            ValueError: shapes that are not those of episodes, or do not go together.
            TypeError: sequences that are not floating point.
        """
        query, support = _episode(query, support)
        # Set apart: in the product, 0 times NaN would reach the gradients of other sequences.
        bad_query, bad_support = (jnp.any(jnp.isnan(one), axis=-1) for one in (query, support))
        query = jnp.where(bad_query[..., None], 0, query)
        support = jnp.where(bad_support[..., None], 0, support)
        product = jnp.einsum(
            "...qnf,...wsmf->...qwsnm", query, support, precision=lax.Precision.HIGHEST
        )
        bad = bad_query[..., None, None, :, None] | bad_support[..., None, :, :, None, :]
        return jnp.where(bad, jnp.nan, 1 - product)

    @in_our_modes
    def match(self, costs: ArrayLike) -> Array:
        """Distances ``[...]`` of pairs of sequences from their frames' distances ``[..., n, m]``.

        Raises:
            ValueError: a wrong shape, or n != m for the diagonal.
            TypeError: costs that are not floating point.
        """
        costs = checks.cost_matrix(costs)
        if self.matching == "min":
            return jnp.min(costs, axis=(-2, -1))
        if self.matching == "mean":
            return jnp.mean(costs, axis=(-2, -1))
        if self.matching == "diagonal":
            if costs.shape[-2] != costs.shape[-1]:
                raise ValueError(
                    'matching="diagonal" needs queries and supports of equally many frames, got '
                    f"{costs.shape[-2]} and {costs.shape[-1]}; see tempalign.resample"
                )
            return jnp.mean(jnp.diagonal(costs, axis1=-2, axis2=-1), axis=-1)
        if self.matching == "dtw":
            return dtw_from_cost(costs, implementation=self.implementation)
        return tam_distance_from_cost(
            costs,
            self.gamma,
            boundary=self.boundary,
            symmetric=self.matching == "tam_symmetric",
            implementation=self.implementation,
        )

    @in_our_modes
    def distances(self, query: ArrayLike, support: ArrayLike) -> Array:
        """Distances ``[..., Q, way, shot]`` of each query to each support sequence.

        Args:
            query: ``[..., Q, n, F]``.
            support: ``[..., way, shot, m, F]``, with the same leading axes.

        Raises:
            ValueError: shapes that are not those of episodes, or do not go together.
            TypeError: sequences that are not floating point.
        """
        query, support = _episode(query, support)
        return self.match(self.frame_costs(self.encode(query), self.encode(support)))

    @in_our_modes
    def __call__(self, query: ArrayLike, support: ArrayLike) -> Array:
        """Class logits ``[..., Q, way]``; arguments as for `distances`."""
        return -jnp.mean(self.distances(query, support), axis=-1)

    @in_our_modes
    def loss(self, query: ArrayLike, support: ArrayLike, labels: ArrayLike) -> Array:
        r"""The paper's loss, Eq. 8, averaged over all queries.

        .. math::
            -\log \frac{\exp(-\phi(q, \hat s))}{\sum_{s} \exp(-\phi(q, s))}

        with the support sequence :math:`\hat s` of the query's class; with several shots the mean
        distance to a class stands for :math:`\phi`. This is the cross-entropy of the logits.

        Args:
            query: see `distances`.
            support: see `distances`.
            labels: integers that broadcast to ``[..., Q]``: which of the episode's classes each
                query is of, 0..way-1.

        Returns:
            A scalar. NaN where a traced label lies outside 0..way-1.

        Raises:
            ValueError: see `distances`; labels that do not broadcast or lie outside 0..way-1.
            TypeError: labels that are not integers.
        """
        logits = self(query, support)
        given = checks.integers(labels, "labels")
        if not isinstance(given, jax.core.Tracer):
            checks.classes(np.asarray(given), logits.shape[-1], "labels")
        classes = checks.broadcast_to(given, logits.shape[:-1], "labels", "the queries")
        log_probabilities = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(log_probabilities, classes[..., None], -1, mode="fill")
        # Negative indices count from the end: a plausible number for a wrong label.
        return -jnp.mean(jnp.where(classes < 0, jnp.nan, chosen[..., 0]))


def _episode(query: ArrayLike, support: ArrayLike) -> tuple[Array, Array]:
    """Checks the shapes of an episode, or of a batch of them."""
    q, s = checks.sequence(query, "query"), checks.sequence(support, "support")
    if q.ndim < 3 or s.ndim != q.ndim + 1 or q.shape[:-3] != s.shape[:-4] or 0 in s.shape:
        raise ValueError(
            "query must have shape [..., Q, T, F] and support [..., way, shot, T, F] with the "
            f"same leading axes and at least one sequence, got {q.shape} and {s.shape}"
        )
    checks.same_features(q, s, "query", "support")
    return q, s
