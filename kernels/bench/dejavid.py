"""DejaVid's rows: costs alone, a step without its optimiser, and training."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import tempalign
from tempalign import heads
from tempalign._engine import costs as local_costs
from tempalign._types import ImplementationName
from tempalign.kernels.bench.contenders import Arrays, Call
from tempalign.kernels.bench.limits import Work
from tempalign.kernels.bench.workload import (
    Workload,
    normal,
    on_gpu,
    summed_with_gradients,
)
from tempalign.kernels.gpu import specs, weighted_cost


def of_dejavid(spec: specs.DejaVidSpec, path_precision: str = "float32") -> Workload:
    """A DejaVid step without its optimiser; 4 videos where there is no GPU."""
    half = path_precision != "float32"

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def distances(x: Any, centroid: Any, weight: Any) -> Any:
            return tempalign.weighted_dtw(
                *(x, centroid, weight),
                path_precision=path_precision,
                implementation=implementation,
            )

        return summed_with_gradients(distances, (1, 2))

    return Workload(
        f"weighted-dtw-grad-{spec.name}" + (f"-{path_precision}-paths" if half else ""),
        partial(_videos_and_centroids, spec),
        ours,
        # Where two paths are about as short (sums of 6328 features round), gradients go along one
        # or the other.
        tolerances=(1e-4, 0.2, 0.2),
        instructions=None if half else lambda: _on_this_batch(spec).cost_instructions,
        work=partial(_work, spec, 2),
    )


def of_costs(spec: specs.DejaVidSpec) -> Workload:
    """The weighted L1 costs of DejaVid alone, as their kernel lays them out."""

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        if implementation == "native":
            raise NotImplementedError("it has no function that computes costs alone")

        def costs(x: Any, centroid: Any, weight: Any) -> Any:
            rows, frames = centroid.shape[0] * centroid.shape[1], x.shape[0] * x.shape[2]
            x = x[:, 0]
            if implementation != "xla":
                tempalign.explain("weighted_dtw", implementation=implementation)  # or it refuses
                interpret = implementation == "pallas_interpret"
                cost = weighted_cost.forward(x, centroid, weight, interpret=interpret)
                return cost[:rows, :frames]
            cost = local_costs.weighted_manhattan(x[None], centroid[None], weight[None])
            return cost[:, :, 0].transpose(3, 0, 1, 2).reshape(rows, frames)

        return costs

    return Workload(
        f"weighted-cost-{spec.name}",
        partial(_videos_and_centroids, spec),
        ours,
        instructions=lambda: _on_this_batch(spec).cost_instructions,
        work=partial(_work, spec, 1),
    )


_STEPS = 30  # of training in a call: 330 in eleven rounds


def of_training(spec: specs.DejaVidSpec) -> Workload:
    """An epoch of DejaVid's training, extrapolated from `_STEPS` steps with fixed epoch paths.

    From stored batches to new parameters: distances, cross-entropy, gradients and AdamW in one
    compiled step with donated buffers. The batches are on the device already.
    """

    def call(implementation: ImplementationName, inputs: Arrays) -> Call:
        head = heads.DejaVidHead(*inputs[1].shape, implementation=implementation)
        head.centroids[...], head.log_weights[...] = inputs[1], np.log(inputs[2])
        head.refresh_paths()
        graphdef, *(params, paths) = nnx.split(head, nnx.Param, heads.PathCopy)
        optimizer = optax.adamw(spec.log_weight_lr)
        labels = jnp.arange(len(inputs[0])) % spec.num_classes
        x = jnp.asarray(inputs[0][:, 0], jnp.float16)
        steps = _STEPS if on_gpu() else 1

        @partial(jax.jit, donate_argnums=0)
        def step(state: Any, paths: Any, x: Any, labels: Any) -> Any:
            def loss(params: Any) -> Any:
                logits = nnx.merge(graphdef, params, paths)(x)
                return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

            value, gradients = jax.value_and_grad(loss)(state[0])
            updates, moments = optimizer.update(gradients, state[1], state[0])
            return (optax.apply_updates(state[0], updates), moments), value

        state = params, optimizer.init(params)

        def run() -> Any:
            nonlocal state
            values = []
            for _ in range(steps):
                state, value = step(state, paths, x, labels)
                values.append(value)
            return jax.block_until_ready(values)

        def temp_bytes() -> int | None:
            memory = step.lower(state, paths, x, labels).compile().memory_analysis()
            return None if memory is None else int(memory.temp_size_in_bytes)

        return Call(
            run,
            lambda values: (np.asarray(values[0]),),  # later ones depend on whose turn it is
            "float32",
            "jit",
            temp_bytes,
            scale=_on_this_batch(spec).steps_per_epoch / steps,
        )

    return Workload(
        f"dejavid-epoch-{spec.name}",
        partial(_videos_and_centroids, spec),
        of_dejavid(spec).ours,
        instructions=lambda: spec.steps_per_epoch * spec.cost_instructions,
        call=call,
        long=True,
    )


def _on_this_batch(spec: specs.DejaVidSpec) -> specs.DejaVidSpec:
    """The whole batch on a GPU, and four videos of it elsewhere."""
    return spec if on_gpu() else dataclasses.replace(spec, batch=min(4, spec.batch))


def _work(spec: specs.DejaVidSpec, passes: int) -> Work:
    """Terms of the costs; what is read of all and, in a second of the `passes`, written."""
    spec = _on_this_batch(spec)
    rows, columns = spec.num_classes * spec.num_steps, spec.batch * spec.num_frames
    numbers = (2 * passes * rows + columns) * spec.num_features
    return Work("weighted", rows * columns * spec.num_features, 1, 4 * numbers)


def _videos_and_centroids(spec: specs.DejaVidSpec) -> Arrays:
    centroids = (spec.num_classes, spec.num_steps, spec.num_features)
    videos = (_on_this_batch(spec).batch, 1, spec.num_frames, spec.num_features)
    x, centroid, log_weight = normal(videos, centroids, centroids)
    return x, centroid, np.exp(log_weight)
