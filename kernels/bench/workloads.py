"""What the benchmark times: each shape of `specs` with its inputs, our functions and the peers'."""

import dataclasses
import math
from collections.abc import Callable, Sequence
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
from tempalign.kernels import specs, weighted_cost
from tempalign.kernels.contenders import Arrays, Call, Peer, on_jax

# Largest differences from ours, of ours' largest entry, for each result. Gradients have room
# because some peers compute them in float32 and lose precision as sequences grow; a barycenter,
# because one frame aligned otherwise shows.
VALUES = (1e-4,)
WITH_GRADIENTS = (1e-4, 1e-2, 1e-2)
BARYCENTER = (1e-3,)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the benchmark.

    Attributes:
        name: what ``--only`` looks at.
        inputs: makes the seeded float32 inputs.
        function: the public function that is timed, as `tempalign.explain` knows it, or None if
            it has one implementation only.
        ours: for the name of an implementation, the function of the inputs.
        peer: what a peer would run on the inputs, or None if it cannot.
        tolerances: for each result, the largest difference allowed.
        long: only on a GPU, or when asked for.
        instructions: float32 instructions that the work cannot do without, where they bound it.
        call: for an implementation and the inputs, what is timed of ours.
    """

    name: str
    inputs: Callable[[], Arrays]
    function: str | None
    ours: Callable[[ImplementationName], Callable[..., Any]]
    peer: Callable[[Peer, Arrays], Call | None] = lambda peer, inputs: None
    tolerances: tuple[float, ...] = VALUES
    long: bool = False
    instructions: Callable[[], int] | None = None
    call: Callable[[ImplementationName, Arrays], Call] | None = None

    def our_call(self, implementation: ImplementationName, inputs: Arrays) -> Call:
        """What is timed of ours."""
        if self.call is not None:
            return self.call(implementation, inputs)
        return on_jax(self.ours(implementation), inputs, "jit")


def of_alignment(spec: specs.AlignmentSpec) -> Workload:
    """Distances between sequences, or their sum and its gradients."""

    def inputs() -> Arrays:
        frames = (spec.num_frames, spec.num_features)
        return _normal((spec.num_x, *frames), (spec.num_y, *frames))

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def distances(x: Any, y: Any) -> Any:
            if spec.all_pairs:
                x, y = x[:, None], y[None]
            if spec.gamma is None:
                return tempalign.dtw(x, y, implementation=implementation)
            return tempalign.soft_dtw(x, y, spec.gamma, implementation=implementation)

        return _summed_with_gradients(distances, (0, 1)) if spec.gradient else distances

    return Workload(
        spec.name,
        inputs,
        "dtw" if spec.gamma is None else "soft_dtw",
        ours,
        lambda peer, arrays: peer.alignment(spec, *arrays),
        WITH_GRADIENTS if spec.gradient else VALUES,
        spec.long,
    )


def of_barycenter(spec: specs.BarycenterSpec) -> Workload:
    """DBA of random walks, from the first one on."""

    def inputs() -> Arrays:
        (steps,) = _normal((spec.num_series, spec.num_frames, spec.num_features))
        return (np.cumsum(steps, axis=1) / np.float32(math.sqrt(spec.num_frames)),)

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        return lambda series: tempalign.dba(series, init=series[0], num_iters=spec.num_iters)

    return Workload(
        spec.name,
        inputs,
        None,
        ours,
        lambda peer, arrays: peer.barycenter(spec, *arrays),
        BARYCENTER,
    )


def of_episode(spec: specs.EpisodeSpec) -> Workload:
    """TAM scores of every query with every support; 8 episodes where there is no GPU."""

    def inputs() -> Arrays:
        episodes = spec.num_episodes if _on_gpu() else 8
        supports = spec.num_ways * spec.num_shots
        frames = (spec.num_frames, spec.num_features)
        return _normal((episodes, spec.num_queries, 1, *frames), (episodes, 1, supports, *frames))

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def scores(query: Any, support: Any) -> Any:
            return tempalign.tam_distance(query, support, spec.gamma, implementation=implementation)

        return _summed_with_gradients(scores, (0, 1)) if spec.gradient else scores

    tolerances = WITH_GRADIENTS if spec.gradient else VALUES
    return Workload(spec.name, inputs, "tam_distance", ours, tolerances=tolerances)


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

        return _summed_with_gradients(distances, (1, 2))

    return Workload(
        f"weighted-dtw-grad-{spec.name}" + (f"-{path_precision}-paths" if half else ""),
        partial(_videos_and_centroids, spec),
        "weighted_dtw",
        ours,
        # Where two paths are about as short, gradients go along one or the other.
        tolerances=(1e-4, 0.2, 0.2) if half else WITH_GRADIENTS,
        instructions=None if half else lambda: _on_this_batch(spec).cost_instructions,
    )


def of_costs(spec: specs.DejaVidSpec) -> Workload:
    """The weighted L1 costs of DejaVid alone, as their kernel lays them out."""

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def costs(x: Any, centroid: Any, weight: Any) -> Any:
            rows, frames = centroid.shape[0] * centroid.shape[1], x.shape[0] * x.shape[2]
            x = x[:, 0]
            if implementation != "xla":
                interpret = implementation == "pallas_interpret"
                cost = weighted_cost.forward(x, centroid, weight, interpret=interpret)
                return cost[:rows, :frames]
            cost = local_costs.weighted_manhattan(x[None], centroid[None], weight[None])
            return cost[:, :, 0].transpose(3, 0, 1, 2).reshape(rows, frames)

        return costs

    return Workload(
        f"weighted-cost-{spec.name}",
        partial(_videos_and_centroids, spec),
        "weighted_dtw",
        ours,
        instructions=lambda: _on_this_batch(spec).cost_instructions,
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
        steps = _STEPS if _on_gpu() else 1

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
        "weighted_dtw",
        lambda implementation: lambda *inputs: None,
        instructions=lambda: spec.steps_per_epoch * spec.cost_instructions,
        call=call,
        long=True,
    )


def _on_this_batch(spec: specs.DejaVidSpec) -> specs.DejaVidSpec:
    """The whole batch on a GPU, and four videos of it elsewhere."""
    return spec if _on_gpu() else dataclasses.replace(spec, batch=min(4, spec.batch))


def _videos_and_centroids(spec: specs.DejaVidSpec) -> Arrays:
    centroids = (spec.num_classes, spec.num_steps, spec.num_features)
    videos = (_on_this_batch(spec).batch, 1, spec.num_frames, spec.num_features)
    x, centroid, log_weight = _normal(videos, centroids, centroids)
    return x, centroid, np.exp(log_weight)


WORKLOADS = (
    *map(of_alignment, specs.ALIGNMENTS),
    *map(of_barycenter, specs.BARYCENTERS),
    *map(of_episode, specs.EPISODES),
    *map(of_costs, specs.DEJAVID.values()),
    *map(of_dejavid, specs.DEJAVID.values()),
    *(of_dejavid(spec, "float16") for spec in specs.DEJAVID.values()),
    *map(of_training, specs.DEJAVID.values()),
)


def select(only: Sequence[str], workloads: Sequence[Workload] = WORKLOADS) -> list[Workload]:
    """The workloads that ``--only`` means.

    Args:
        only: parts of names; none means everything that suits the machine.
        workloads: to choose from.

    Returns:
        The matches of all parts. A part that matches shorter ones leaves the long ones to a GPU.

    Raises:
        ValueError: a part of no name.
    """
    wanted: set[str] = set()
    for part in only or [""]:
        matches = [workload for workload in workloads if part in workload.name]
        if not matches:
            names = ", ".join(workload.name for workload in workloads)
            raise ValueError(f"--only {part!r} matches no workload; there are {names}")
        short = [workload for workload in matches if not workload.long]
        wanted.update(workload.name for workload in (matches if _on_gpu() else short or matches))
    return [workload for workload in workloads if workload.name in wanted]


def _summed_with_gradients(
    function: Callable[..., Any], argnums: tuple[int, ...]
) -> Callable[..., Any]:
    return jax.value_and_grad(lambda *arrays: function(*arrays).sum(), argnums)


def _normal(*shapes: tuple[int, ...]) -> Arrays:
    """Seeded float32 noise."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def _on_gpu() -> bool:
    return jax.default_backend() == "gpu"
