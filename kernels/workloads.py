"""What the benchmark times: each shape of `specs` with its inputs, our functions and the peers'."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import tempalign
from tempalign._types import ImplementationName
from tempalign.kernels import specs
from tempalign.kernels.contenders import Arrays, Call, Peer

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
    """

    name: str
    inputs: Callable[[], Arrays]
    function: str | None
    ours: Callable[[ImplementationName], Callable[..., Any]]
    peer: Callable[[Peer, Arrays], Call | None] = lambda peer, inputs: None
    tolerances: tuple[float, ...] = VALUES
    long: bool = False


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


def of_dejavid(spec: specs.DejaVidSpec) -> Workload:
    """A DejaVid step without its optimiser; 4 videos where there is no GPU."""

    def inputs() -> Arrays:
        batch = spec.batch if _on_gpu() else 4
        centroids = (spec.num_classes, spec.num_steps, spec.num_features)
        x, centroid, log_weight = _normal(
            (batch, 1, spec.num_frames, spec.num_features), centroids, centroids
        )
        return x, centroid, np.exp(log_weight)

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def distances(x: Any, centroid: Any, weight: Any) -> Any:
            return tempalign.weighted_dtw(x, centroid, weight, implementation=implementation)

        return _summed_with_gradients(distances, (1, 2))

    name = f"weighted-dtw-grad-{spec.name}"
    return Workload(name, inputs, "weighted_dtw", ours, tolerances=WITH_GRADIENTS)


WORKLOADS = (
    *map(of_alignment, specs.ALIGNMENTS),
    *map(of_barycenter, specs.BARYCENTERS),
    *map(of_episode, specs.EPISODES),
    *map(of_dejavid, specs.DEJAVID.values()),
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
