"""Throughput: how fast the training step is on random data of a real data set's shapes."""

import platform
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import StepSpec, init_state, split_head, train_step
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.shared.tables import Table
from experiments.tse.batches import Batch
from tempalign import heads
from tempalign.kernels.gpu import specs

_POOL = 4  # different batches, gone through again and again
_SECONDS = 60.0  # to measure for, where --synthetic_steps does not say how many steps
_FEWEST_STEPS = 3


def measure_throughput(settings: Settings) -> str:
    """Times steps of training, on one device, at the shapes that `settings.synthetic` names.

    Both parameters are learned, weights start normal; paths, moves and weight decay are the
    settings'. Shapes, batch and learning rate are those of the data set, not of the settings. The
    data is made once and stays on the device: what is timed is the step, not the reading.

    Args:
        settings: `synthetic`, `synthetic_steps`, and the ablations of the step.

    Returns:
        A table to print.
    """
    shapes = specs.DEJAVID[settings.synthetic]
    head = heads.DejaVidHead(
        shapes.num_classes,
        shapes.num_steps,
        shapes.num_features,
        weight_init="normal",
        diagonal=settings.diagonal,
        fixed_paths=settings.fixed_epoch_paths,
        path_precision=settings.path_precision,
        rngs=nnx.Rngs(0),
    )
    graphdef, params, paths = split_head(head)
    spec = StepSpec(graphdef, ("centroids", "log_weights"), "none", settings.weight_decay)
    state, totals = init_state(spec, params, paths), jnp.zeros(3)
    del head, params, paths  # the state has copies: on a GPU their memory is wanted
    scaling = jax.tree.map(jnp.asarray, Scaling.identity(shapes.num_features))
    rate = shapes.log_weight_lr
    rates = {"centroids": np.float32(rate / 3), "log_weights": np.float32(rate)}
    pool = [_random_batch(shapes, seed) for seed in range(_POOL)]

    def step(index: int) -> None:
        nonlocal state, totals
        state, totals = train_step(spec, state, totals, pool[index % _POOL], rates, scaling)

    began = time.perf_counter()
    step(0)
    totals.block_until_ready()
    compile_seconds = time.perf_counter() - began

    num_steps = settings.synthetic_steps
    if not num_steps:
        began = time.perf_counter()
        step(1)
        totals.block_until_ready()
        num_steps = max(_FEWEST_STEPS, int(_SECONDS / (time.perf_counter() - began)))

    began = time.perf_counter()
    for index in progress(range(num_steps), desc=f"synthetic {settings.synthetic}", unit="step"):
        step(index)
        if index % _POOL == 0:
            totals.block_until_ready()  # else the bar would show how fast steps are queued
    totals.block_until_ready()
    step_seconds = (time.perf_counter() - began) / num_steps

    device = jax.devices()[0]
    rows = (
        (
            "shapes",
            f"batch {shapes.batch} x T {shapes.num_frames} x N_f {shapes.num_features}, "
            f"centroids {shapes.num_classes} x {shapes.num_steps}",
        ),
        ("measured on", f"1 of {jax.device_count()} x {device.device_kind} ({device.platform})"),
        ("that batch", "all on this device (a job divides --batch_size among its devices)"),
        ("versions", f"Python {platform.python_version()}, jax {jax.__version__}"),
        ("compilation and first step", f"{compile_seconds:.1f} s"),
        ("steps timed", f"{num_steps}"),
        ("steps/s", f"{1 / step_seconds:.4g}"),
        ("samples/s", f"{shapes.batch / step_seconds:.4g}"),
        (
            "seconds per epoch, extrapolated",
            f"{shapes.steps_per_epoch * step_seconds:.4g} ({shapes.steps_per_epoch} steps, without "
            "reading and evaluation)",
        ),
        (
            "paper, seconds per epoch",
            f"{shapes.paper_epoch_seconds:g} (on 8 H100, 48 samples each in its code)",
        ),
    )
    return Table((f"synthetic {settings.synthetic}", ""), rows).to_text()


def _random_batch(shapes: specs.DejaVidSpec, seed: int) -> Batch:
    """A full batch on the device: normal features in float16, as they are stored."""
    rng = np.random.default_rng(seed)
    shape = (shapes.batch, shapes.num_frames, shapes.num_features)
    batch = Batch(
        x=rng.standard_normal(shape, np.float32).astype(np.float16),
        lengths=np.full(shapes.batch, shapes.num_frames, np.int32),
        labels=rng.integers(0, shapes.num_classes, shapes.batch, np.int32),
        valid=np.ones(shapes.batch, np.float32),
    )
    return jax.device_put(batch)
