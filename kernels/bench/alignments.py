"""Rows of alignments, averages and few-shot episodes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tempalign
from tempalign._types import ImplementationName
from tempalign.kernels.bench import specs
from tempalign.kernels.bench.contenders import Arrays, Call, Peer, on_jax
from tempalign.kernels.bench.limits import Kind, Work
from tempalign.kernels.bench.workload import (
    BARYCENTER,
    OBJECTIVE,
    VALUES,
    WITH_GRADIENTS,
    Workload,
    normal,
    on_gpu,
    summed_with_gradients,
)


def of_alignment(spec: specs.AlignmentSpec) -> Workload:
    """Distances between sequences, or their sum and its gradients."""

    def inputs() -> Arrays:
        frames = (spec.num_frames, spec.num_features)
        sides = normal((spec.num_x, *frames), (spec.num_y, *frames))
        return tuple(side.astype(spec.dtype) for side in sides)

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        if implementation == "xla" and not spec.on_xla:
            raise NotImplementedError("XLA would need too much memory")

        def distances(x: Any, y: Any) -> Any:
            if spec.all_pairs:
                x, y = x[:, None], y[None]
            options: dict[str, Any] = {"implementation": implementation, "band": spec.band}
            if spec.gamma is None:
                return tempalign.dtw(x, y, **options)
            return tempalign.soft_dtw(x, y, spec.gamma, **options)

        return summed_with_gradients(distances, (0, 1)) if spec.gradient else distances

    def eager(implementation: ImplementationName, arrays: Arrays) -> Call:
        return on_jax(ours(implementation), arrays, "no jit", jitted=False)

    def work() -> Work:
        kind: Kind = "hard" if spec.num_pairs > 1 else "hard one pair"
        if spec.gamma is not None:
            kind = "soft gradient" if spec.gradient else "soft"
        return Work(kind, spec.num_cells, spec.num_features, spec.num_bytes, spec.dtype)

    return Workload(
        spec.name,
        inputs,
        ours,
        lambda peer, arrays: peer.alignment(spec, *arrays),
        WITH_GRADIENTS if spec.gradient else VALUES,
        spec.long,
        work=work,
        call=eager if spec.eager else None,
    )


def of_barycenter(spec: specs.BarycenterSpec) -> Workload:
    """The average of random walks."""

    def inputs() -> Arrays:
        (steps,) = normal((spec.num_series, spec.num_frames, spec.num_features))
        return (np.cumsum(steps, axis=1) / np.float32(math.sqrt(spec.num_frames)),)

    if spec.gamma is not None:
        return _of_soft_barycenter(spec, spec.gamma, inputs)

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        return lambda series: tempalign.dba(
            series, init=series[0], num_iters=spec.num_iters, implementation=implementation
        )

    return Workload(
        spec.name,
        inputs,
        ours,
        lambda peer, arrays: peer.barycenter(spec, *arrays),
        BARYCENTER,
        work=lambda: Work("hard path", spec.num_cells, spec.num_features, spec.num_bytes),
    )


def _of_soft_barycenter(
    spec: specs.BarycenterSpec, gamma: float, inputs: Callable[[], Arrays]
) -> Workload:
    """The soft-DTW barycenter by L-BFGS, everybody from the mean and with the same tolerance.

    Compared are the objectives of what was found, not the barycenters: the minimum is flat, and
    everybody stops somewhere else.
    """

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        return lambda series: tempalign.soft_dtw_barycenter(
            series,
            gamma,
            num_iters=spec.num_iters,
            tol=specs.SOFT_BARYCENTER_TOLERANCE,
            implementation=implementation,
        )

    @jax.jit
    def objective(center: Any, series: Any) -> Any:
        return tempalign.soft_dtw(center, series, gamma, implementation="xla").mean()

    def judged(call: Call, arrays: Arrays) -> Call:
        (series,) = arrays

        def found(result: Any) -> Arrays:
            (center,) = call.arrays(result)
            return (np.asarray(objective(jnp.asarray(center, jnp.float32), series)),)

        return dataclasses.replace(call, arrays=found)

    def our_call(implementation: ImplementationName, arrays: Arrays) -> Call:
        return judged(on_jax(ours(implementation), arrays, "jit"), arrays)

    def peer(peer: Peer, arrays: Arrays) -> Call | None:
        call = peer.barycenter(spec, *arrays)
        return None if call is None else judged(call, arrays)

    def work() -> Work:
        """Of as many iterations as ours makes, one value and gradient each."""
        (series,) = inputs()
        found = tempalign.soft_dtw_barycenter(
            series,
            gamma,
            num_iters=spec.num_iters,
            tol=specs.SOFT_BARYCENTER_TOLERANCE,
            return_objective=True,
        )
        assert isinstance(found, tuple)
        made = dataclasses.replace(spec, num_iters=len(np.unique(np.asarray(found.objective))))
        return Work("soft gradient", made.num_cells, made.num_features, made.num_bytes)

    return Workload(spec.name, inputs, ours, peer, OBJECTIVE, work=work, call=our_call)


def of_episode(spec: specs.EpisodeSpec) -> Workload:
    """TAM scores of every query with every support; 8 episodes where there is no GPU."""

    def inputs() -> Arrays:
        episodes = spec.num_episodes if on_gpu() else 8
        supports = spec.num_ways * spec.num_shots
        frames = (spec.num_frames, spec.num_features)
        return normal((episodes, spec.num_queries, 1, *frames), (episodes, 1, supports, *frames))

    def ours(implementation: ImplementationName) -> Callable[..., Any]:
        def scores(query: Any, support: Any) -> Any:
            return tempalign.tam_distance(query, support, spec.gamma, implementation=implementation)

        return summed_with_gradients(scores, (0, 1)) if spec.gradient else scores

    tolerances = WITH_GRADIENTS if spec.gradient else VALUES
    return Workload(spec.name, inputs, ours, tolerances=tolerances)
