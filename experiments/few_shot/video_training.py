"""Meta-training from frames: a trunk and what is on top of it, through the alignment (Eq. 8)."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from experiments.few_shot.models import episodes_loss, make_model
from experiments.few_shot.settings import Settings
from experiments.few_shot.training import (
    EpisodeRun,
    Params,
    Source,
    TrainState,
    checkpoint_bytes,
)
from experiments.few_shot.video_data import (
    VideoData,
    VideoSplit,
    middle_pictures,
    open_job_trunk,
    training_pictures,
)
from experiments.shared import devices
from experiments.shared.devices import ROWS, WHOLE
from experiments.shared.errors import UserError
from experiments.shared.finite import refuse_batch
from experiments.shared.optimizers import adamw
from experiments.shared.progress import progress
from experiments.shared.run import Advance, Entry
from experiments.shared.scaling import Scaling
from experiments.vision.trunks import Trunk, trained_filter
from tempalign.heads import FewShotHead


class FrameModel(nnx.Module):
    """A trunk, which makes features of frames, and the head that compares sequences of them."""

    def __init__(self, trunk: Trunk, head: FewShotHead) -> None:
        """Takes the two."""
        self.trunk, self.head = trunk, head

    def features(self, pictures: jax.Array) -> jax.Array:
        """Features float32 ``[..., F]`` of pictures uint8 ``[..., side, side, 3]``."""
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        found = self.trunk(flat.astype(jnp.float32) / 255)
        return found.astype(jnp.float32).reshape(*pictures.shape[:-3], -1)


@dataclass(frozen=True)
class VideoSpec:
    """What a compiled step is compiled for.

    Attributes:
        graphdef: the `FrameModel` without its arrays.
        total_steps: of the whole run, for the learning rates.
        learning_rate: the first of what is on top.
        trunk_learning_rate: the first of the trunk.
        weight_decay: AdamW's.
        way: classes an episode.
        shots: supports a class.
        queries: queries a class.
        at_once: episodes whose gradients are computed together; 0: all of a step.
        episodes: of a step.
        mesh: of the devices that share them, or None for one device.
    """

    graphdef: nnx.GraphDef
    total_steps: int
    learning_rate: float
    trunk_learning_rate: float
    weight_decay: float
    way: int
    shots: int
    queries: int
    at_once: int
    episodes: int
    mesh: Mesh | None = None

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """AdamW of the trunk and of what is on top, each rate a cosine to 0."""
        rates = {"trunk": self.trunk_learning_rate, "head": self.learning_rate}
        made = {
            name: adamw(
                optax.cosine_decay_schedule(rate, self.total_steps), weight_decay=self.weight_decay
            )
            for name, rate in rates.items()
        }
        return optax.partition(made, lambda params: {name: name for name in params})


@partial(jax.jit, static_argnames="spec", donate_argnames="state")
def train_step(
    spec: VideoSpec, state: TrainState, frozen: Params, pictures: jax.Array, gamma: float
) -> tuple[TrainState, jax.Array]:
    """Takes a step on the loss of Eq. 8.

    Args:
        spec: what to compile.
        state: the state so far; its buffers are reused.
        frozen: what is not trained.
        pictures: uint8 ``[episodes, way * (queries + shots), T, side, side, 3]``: the queries of an
            episode, class by class, then its supports; behind the episodes of the step perhaps
            some that fill them up.
        gamma: temperature.

    Returns:
        (the new state, the mean loss of the episodes).
    """
    step = devices.over(
        spec.mesh, partial(_value_and_gradients, spec), (WHOLE, WHOLE, ROWS, WHOLE), (WHOLE, WHOLE)
    )
    value, gradients = step(state.params, frozen, pictures, gamma)
    updates, optimizer = spec.optimizer.update(gradients, state.optimizer, state.params)
    return TrainState(optax.apply_updates(state.params, updates), optimizer), value


def _value_and_gradients(
    spec: VideoSpec, params: Params, frozen: Params, pictures: jax.Array, gamma: jax.Array
) -> tuple[jax.Array, Params]:
    """The loss and its gradients, of the episodes that one device has; see `train_step`."""
    labels = jnp.arange(spec.way).repeat(spec.queries)
    count = spec.at_once or len(pictures)
    if spec.mesh is not None:
        count = math.gcd(count, len(pictures))
    parts = pictures.reshape(-1, count, *pictures.shape[1:])
    shares = devices.valid_rows(spec.mesh, spec.episodes) / spec.episodes

    def loss(params: Params, part: jax.Array, shares: jax.Array) -> jax.Array:
        model = nnx.merge(spec.graphdef, params, frozen)
        model.head.gamma = gamma
        features = model.features(part)
        query, support = jnp.split(features, [len(labels)], axis=1)
        support = support.reshape(count, spec.way, spec.shots, *support.shape[2:])
        return episodes_loss(spec.mesh, model.head, query, support, labels, shares)

    value_and_gradient = jax.value_and_grad(loss)
    if len(parts) == 1:
        total = value_and_gradient(params, parts[0], shares)
    else:

        def add(total: tuple, part: tuple) -> tuple[tuple, None]:
            return jax.tree.map(jnp.add, total, value_and_gradient(params, *part)), None

        # A zero of each device's own, as the losses are; gradients are of all devices at once.
        zeros = (0 * jnp.sum(shares), jax.tree.map(jnp.zeros_like, params))
        total, _ = jax.lax.scan(add, zeros, (parts, shares.reshape(-1, count)))
        if spec.mesh is None:
            total = jax.tree.map(lambda x: x / len(parts), total)
    value, gradients = total
    return devices.sum_over(spec.mesh, value), gradients


@partial(jax.jit, static_argnames="graphdef")
def _features(
    graphdef: nnx.GraphDef, params: Params, frozen: Params, pictures: jax.Array
) -> jax.Array:
    return nnx.merge(graphdef, params, frozen).features(pictures)


class Parts:
    """A model in the parts that are trained and those that are not.

    Attributes:
        graphdef: without its arrays.
        params: what is trained, the first ones: of "trunk" and "head", where they have any.
        frozen: the rest.
    """

    def __init__(self, settings: Settings, trunk: Trunk, head: FewShotHead) -> None:
        """Divides a model.

        Raises:
            UserError: the trunk has not so many stages.
        """
        model = FrameModel(trunk, head)
        try:
            chosen = trained_filter(
                trunk,
                settings.train_trunk,  # type: ignore[arg-type]
                settings.trunk_stages,
                at=("trunk",),
            )
        except UserError as error:
            raise UserError(f"--trunk_stages={settings.trunk_stages}: {error}") from error
        self.graphdef: nnx.GraphDef
        self.graphdef, *states = nnx.split(model, chosen, ...)
        self.params: Params
        self.frozen: Params
        self.params, self.frozen = map(nnx.to_pure_dict, states)

    def features(self, params: Params, pictures: np.ndarray) -> np.ndarray:
        """Features ``[N, T, F]`` of pictures uint8 ``[N, T, side, side, 3]``."""
        return np.asarray(_features(self.graphdef, params, self.frozen, jnp.asarray(pictures)))

    def head(self, params: Params) -> FewShotHead:
        """Returns the head with these parameters."""
        whole = nnx.merge(self.graphdef, jax.tree.map(jnp.asarray, params), self.frozen)
        return whole.head

    def of_split(self, params: Params, split: VideoSplit, settings: Settings) -> np.ndarray:
        """Features ``[N, T, F]`` of what testing sees of all videos of a split.

        Raises:
            UserError: features that are not finite, or a video that can no longer be decoded.
        """
        params = jax.tree.map(jnp.asarray, params)
        found = []
        bar = progress(total=len(split.ids), desc="videos through the trunk", unit="video")
        with contextlib.closing(middle_pictures(split, settings)) as batches:
            for count, pictures in batches:
                found.append(self.features(params, pictures)[:count])
                bar.update(count)
        bar.close()
        features = np.concatenate(found)
        bad = [split.ids[row] for row in np.flatnonzero(~np.isfinite(features).all((1, 2)))]
        if bad:
            raise UserError(
                f"--trunk={settings.trunk}: features of {len(bad)} videos are not finite, such as "
                f"{bad[0]}"
            )
        return features


class VideoRun(EpisodeRun):
    """A trunk and what is on top of it, trained on frames."""

    unit = "steps"

    def __init__(self, data: VideoData, settings: Settings, source: Source) -> None:
        """Prepares a run, see `EpisodeRun`."""
        trunk = open_job_trunk(settings, seed=source.seed)
        head = make_model(settings, source.through, trunk.num_features, seed=source.seed)
        self.parts = Parts(settings, trunk, head)
        self.steps = settings.steps_per_epoch
        scaling = Scaling.identity(trunk.num_features)
        super().__init__(data, settings, source, self.parts.params, scaling)
        self._spec = VideoSpec(
            graphdef=self.parts.graphdef,
            total_steps=settings.steps_per_epoch * settings.epochs,
            learning_rate=settings.learning_rate,
            trunk_learning_rate=settings.trunk_learning_rate,
            weight_decay=settings.weight_decay,
            way=settings.way,
            shots=settings.train_shots,
            queries=settings.queries,
            at_once=settings.episodes_at_once,
            episodes=settings.batch_episodes,
            mesh=devices.mesh_of(),
        )
        self._train = data.train
        self._frozen = devices.place_whole(self.mesh, self.parts.frozen)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Of the trunk and of what is on top."""
        return self._spec.optimizer

    @property
    def mesh(self) -> Mesh | None:
        """Of all devices."""
        return self._spec.mesh

    def train_steps(
        self, state: TrainState, epoch: int, advance: Advance
    ) -> tuple[TrainState, Entry]:
        """Takes the steps of an epoch; the videos of the next one are read meanwhile."""
        source, losses, waited = self._source, [], 0.0
        reading = training_pictures(
            self._train,
            self._settings,
            seed=source.seed,
            epoch=epoch,
            **devices.reading(self.mesh, self._spec.episodes),
        )
        with contextlib.closing(reading) as steps:
            for _ in range(self.steps):
                began = time.monotonic()
                pictures = next(steps)
                waited += time.monotonic() - began
                placed = devices.place_rows(self.mesh, pictures)
                state, loss = train_step(
                    self._spec, state, self._frozen, jnp.asarray(placed), source.gamma
                )
                losses.append(loss)
                # Without this the steps, which are only queued, would all hold their pictures.
                loss.block_until_ready()
                if not np.isfinite(loss):
                    refuse_batch(self.name, epoch + 1, len(losses), self.steps)
                advance(1)
        return state, {"loss": float(jnp.mean(jnp.stack(losses))), "seconds_waiting": waited}

    def with_params(self, params: Params) -> FewShotHead:
        """Returns the head with these parameters."""
        return self.parts.head(params)

    def features(self, params: Params, split: VideoSplit) -> np.ndarray:
        """Returns the features that the trunk with these parameters makes of a meta split."""
        return self.parts.of_split(params, split, self._settings)


def untrained_features(data: VideoData, settings: Settings) -> Callable[[], np.ndarray]:
    """Returns what makes the features of the meta-test videos by the trunk as it is."""

    def made() -> np.ndarray:
        parts = Parts(settings, data.trunk, FewShotHead())
        return parts.of_split(parts.params, data.test, settings)

    return made


def video_num_bytes(data: VideoData, settings: Settings) -> int:
    """Returns about how many bytes the checkpoints of the whole job take at most.

    What else a job takes is printed: memory of the pictures of a step.
    """
    episode = settings.way * (settings.train_shots + settings.queries)
    one = data.sampling.segments * data.sampling.side**2 * 3
    videos = settings.batch_episodes * episode
    if not settings.trained:
        return 0
    print(
        f"A step reads {videos:,} videos, {videos * one / 1e6:,.0f} MB of pictures, and as many "
        f"ahead; gradients are of {(settings.episodes_at_once or settings.batch_episodes)} "
        f"episodes at once, {settings.num_segments * episode} pictures each.",
        flush=True,
    )
    sizes = {}
    for through in settings.train_through:
        head = make_model(settings, through, data.trunk.num_features, seed=0)
        params: Any = Parts(settings, data.trunk, head).params
        sizes[through] = sum(leaf.size for leaf in jax.tree.leaves(params))
    return checkpoint_bytes(settings, sizes)
