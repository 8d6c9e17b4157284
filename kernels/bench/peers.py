"""Other libraries, for the benchmark: each at its best, in our terms.

None of them is needed: a peer is imported when the benchmark asks for it. Its inputs are brought
into its layout and dtype before the clock starts, and its result into ours after it stops.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tempalign.kernels.bench.contenders import Call, Peer, on_jax
from tempalign.kernels.bench.on_numpy import Aeon, Dtaidistance, DtwPython, Tsdistances, Tslearn
from tempalign.kernels.bench.on_torch import (
    Ddtw,
    Ddtw64,
    Pysdtw,
    Pysdtw64,
    Torchdtw,
    TslearnTorch,
    TslearnTorch64,
)
from tempalign.kernels.bench.specs import AlignmentSpec


class Ott(Peer):
    """Soft-DTW on jax: vmapped and jitted, gradients by jax."""

    name, distribution = "ott-jax", "ott-jax"
    modules = ("ott.geometry.costs",)

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Soft values and gradients."""
        if spec.gamma is None or spec.band is not None:
            return None
        costs = importlib.import_module("ott.geometry.costs")
        distance = costs.SoftDTW(gamma=spec.gamma)
        batched = jax.vmap(distance)
        if spec.all_pairs:
            batched = jax.vmap(jax.vmap(distance, (None, 0)), (0, None))
        function: Callable[..., Any] = batched
        if spec.gradient:
            function = jax.value_and_grad(lambda a, b: batched(a, b).sum(), argnums=(0, 1))
        return on_jax(function, (x, y), "jit(vmap(costs.SoftDTW))")


PEERS: tuple[type[Peer], ...] = (
    Aeon,
    Tslearn,
    TslearnTorch,
    TslearnTorch64,
    Dtaidistance,
    Tsdistances,
    Torchdtw,
    DtwPython,
    Ott,
    Pysdtw,
    Pysdtw64,
    Ddtw,
    Ddtw64,
)


def load(peers: tuple[type[Peer], ...] = PEERS) -> tuple[list[Peer], dict[str, str]]:
    """Imports what is installed.

    Returns:
        The usable peers, and for each of the others why it is not.
    """
    found, missing = [], {}
    for peer in peers:
        try:
            found.append(peer())
        except ImportError as error:
            missing[peer.name] = f"not installed ({error})"
    return found, missing
