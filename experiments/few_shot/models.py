"""What is trained and evaluated: the library's head, its order-blind rival, their encoders."""

from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import ArrayLike

from experiments.few_shot.settings import ORDER_BLIND, Settings
from tempalign.heads import FewShotHead


class TemporalMeanHead(FewShotHead):
    """Order-blind: cosine of a query's temporal mean to the mean of a class's temporal means.

    This is the paper's baseline TSN++ on given frame features. A distance counts T times, for T
    frames: as much as TAM's sum of T distances, so that the two losses have one scale.
    """

    def __call__(self, query: ArrayLike, support: ArrayLike) -> jax.Array:
        """Class logits ``[..., Q, way]``; arguments as for `FewShotHead.distances`."""
        distances = mean_distances(self.means(query), self.means(support))
        return -jnp.shape(query)[-2] * distances

    def means(self, frames: ArrayLike) -> jax.Array:
        """Temporal means ``[..., D]`` of encoded frames ``[..., T, F]``."""
        x = jnp.asarray(frames)
        return jnp.mean(x if self.encoder is None else self.encoder(x), axis=-2)


def mean_distances(query: jax.Array, support: jax.Array) -> jax.Array:
    """Cosine distances of vectors to class means.

    Args:
        query: ``[..., Q, D]``.
        support: ``[..., way, shot, D]``.

    Returns:
        ``[..., Q, way]``.
    """
    # A head without an encoder gives vectors the length 1, as it does with frames.
    direction = FewShotHead().encode
    query, prototypes = direction(query), direction(jnp.mean(support, axis=-2))
    return 1 - jnp.einsum("...qf,...wf->...qw", query, prototypes)


class Mlp(nnx.Module):
    """A projection with one hidden layer."""

    def __init__(self, num_features: int, hidden: int, embedding: int, *, rngs: nnx.Rngs):
        """Makes random weights."""
        self.first = nnx.Linear(num_features, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, embedding, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Encodes frames ``[..., F]``."""
        return self.second(nnx.gelu(self.first(x)))


def make_model(settings: Settings, through: str, num_features: int, *, seed: int) -> FewShotHead:
    """Returns a head with a freshly initialised encoder, at the temperature of the results.

    Args:
        settings: of the job; where its encoder is "none", the head has none.
        through: what it is trained through, one of `settings.train_through`.
        num_features: of a frame.
        seed: of the first weights.
    """
    rngs, kind = nnx.Rngs(seed), settings.encoder_of(through)
    encoder: nnx.Module | None = None
    if kind == "linear":
        encoder = nnx.Linear(num_features, settings.embedding, rngs=rngs)
    elif kind == "mlp":
        encoder = Mlp(num_features, settings.hidden, settings.embedding, rngs=rngs)
    if through == ORDER_BLIND:
        return TemporalMeanHead(encoder=encoder)
    return make_head(through, settings.gamma, settings.boundary, encoder)


def make_head(
    matching: str, gamma: float | jax.Array, boundary: str, encoder: nnx.Module | None = None
) -> FewShotHead:
    """Returns the library's head, its options as the flags have them; gamma may be traced."""
    return FewShotHead(
        matching=matching,  # type: ignore[arg-type]
        gamma=gamma,
        boundary=boundary,  # type: ignore[arg-type]
        encoder=encoder,
    )


def episodes_loss(
    mesh: Mesh | None,
    head: FewShotHead,
    query: jax.Array,
    support: jax.Array,
    labels: jax.Array,
    shares: jax.Array,
) -> jax.Array:
    """Returns the loss of Eq. 8 of several episodes.

    Args:
        mesh: of the devices that share them.
        head: compares them.
        query: ``[E, Q, T, F]``.
        support: ``[E, way, shots, T, F]``.
        labels: of the queries, alike in all episodes.
        shares: ``[E]``, what each episode counts where devices share them: the sum over all is
            then the mean. One device alone returns the mean.
    """
    if mesh is None:
        return head.loss(query, support, labels)
    losses = jax.vmap(lambda q, s: head.loss(q, s, labels))(query, support)
    return jnp.sum(losses * shares)


def num_parameters(model: nnx.Module) -> int:
    """Returns how many numbers a model learns."""
    return sum(cast(jax.Array, leaf).size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
