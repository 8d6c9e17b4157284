"""A training step as it is compiled, of sizes that the sizing script is asked about."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dejavid.settings import Settings as TrainingSettings
from experiments.dejavid.steps import StepSpec, init_state, split_head
from experiments.shared.scaling import Scaling
from experiments.sizing.settings import Settings
from experiments.tse.batches import Batch
from experiments.tse.dataset import TseDataset, TseSplit
from tempalign import heads

PARAMETERS = ("centroids", "log_weights")


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def settings(**changes) -> Settings:
    """Small sizes, none of them a whole number of tiles or blocks."""
    values = {"classes": 5, "steps": 4, "features": 300, "frames": 9, "batch": 6, "videos": 20}
    return Settings(**(values | changes))


def arguments(of: Settings, implementation: str | None = None):
    """Returns what `train_step` of one device takes, as shapes."""
    step = of.step

    def head():
        return heads.DejaVidHead(
            *(step.classes, step.steps, step.features),
            path_precision=of.path_precision,
            implementation=implementation,
        )

    graphdef = split_head(jax.eval_shape(head))[0]
    arrays = {name: shape(step.classes, step.steps, step.features) for name in PARAMETERS}
    paths = {f"path_{name}": array for name, array in arrays.items()}
    spec = StepSpec(graphdef, PARAMETERS, "none", 0.0)
    state = jax.eval_shape(lambda params, paths: init_state(spec, params, paths), arrays, paths)
    videos = step.videos
    batch = Batch(
        shape(videos, step.frames, step.features, dtype=of.dtype),
        shape(videos, dtype=jnp.int32),
        shape(videos, dtype=jnp.int32),
        shape(videos),
    )
    rates = {name: shape() for name in PARAMETERS}
    scaling = Scaling(shape(step.features), shape(step.features))
    return spec, (state, shape(3), batch, rates, scaling)


def dataset_and_settings():
    """Returns data and settings of a training: 3 classes, 4 features, 6 and 3 videos."""

    def split(name: str, per_class: int) -> TseSplit:
        labels = np.tile(np.arange(3), per_class)
        series = [np.full((5, 4), label, np.float32) for label in labels]
        ids = tuple(f"{name}{index}" for index in range(len(labels)))
        return TseSplit(ids, labels, np.full(len(labels), 5), series)

    data = TseDataset("tiny", split("train", 2), split("test", 1), ("a", "b", "c"), 4)
    return data, TrainingSettings(layout="spoken_digits", num_steps=4)
