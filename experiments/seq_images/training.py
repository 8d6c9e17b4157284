"""A run of SEQ on images: what its episodes are, and how the test split is classified."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.seq.results import Variant
from experiments.seq.steps import Episode, Params, Tested, in_parts
from experiments.seq.training import SeqRun
from experiments.seq_images.episodes import Sampler
from experiments.seq_images.features import Features
from experiments.seq_images.settings import Settings
from experiments.shared.scaling import Scaling

METRICS = {"image_accuracy": "test images", "sequence_accuracy": "virtual test sequences"}
"""What is measured after every epoch, and how reports name it."""

_AT_ONCE = 256  # images: one compilation for splits of every size


class ImagesRun(SeqRun):
    """A run on images.

    What it says of the test split are the classes, int32 ``[N_test]``, of the images as they are
    ("images") and of their virtual sequences, by the probabilities averaged over the frames
    ("sequences").
    """

    def __init__(
        self,
        settings: Settings,
        variant: Variant,
        seed: int,
        *,
        sampler: Sampler,
        test: Features,
        num_classes: int,
    ) -> None:
        """Prepares a run.

        Args:
            settings: see `Settings`.
            variant: what to train.
            seed: of the first weights; that of the sampler.
            sampler: of the training split.
            test: features of the test split.
            num_classes: C.
        """
        none = np.zeros(len(test.labels), np.int32)
        super().__init__(
            settings,
            variant,
            seed,
            scaling=sampler.scaling,
            num_classes=num_classes,
            untested={"images": none, "sequences": none},
        )
        self._queries, self._support = settings.queries, variant.num_support
        self._still = variant.method == "baseline"
        self._sampler, self._test = sampler, test

    def draw(self, step: int) -> Episode:
        """Returns the episode of a step."""
        support = self._support if self.spec.align else 0
        return self._sampler.draw(step, queries=self._queries, support=support, still=self._still)

    def test(self, params: Params) -> tuple[Tested, Mapping[str, float]]:
        """Classifies the test split."""
        shown = {"images": self._test.images[:, None], "sequences": self._test.sequences[:, 0]}
        found = {
            name: np.argmax(
                classify(self.spec.graphdef, params, frames, self._sampler.scaling), axis=1
            ).astype(np.int32)
            for name, frames in shown.items()
        }
        right = [float(np.mean(guesses == self._test.labels)) for guesses in found.values()]
        return found, dict(zip(METRICS, right, strict=True))


def classify(
    graphdef: nnx.GraphDef, params: Params, frames: np.ndarray, scaling: Scaling
) -> np.ndarray:
    """Returns the probabilities ``[N, C]`` of frames ``[N, T, F]``, averaged over the T."""
    return in_parts(lambda part: _probabilities(graphdef, params, part, scaling), frames, _AT_ONCE)


@partial(jax.jit, static_argnames="graphdef")
def _probabilities(
    graphdef: nnx.GraphDef, params: Params, frames: jax.Array, scaling: Scaling
) -> jax.Array:
    scores = nnx.merge(graphdef, params)(scaling.apply(frames.astype(jnp.float32)))
    return jnp.mean(jax.nn.softmax(scores), axis=1)
