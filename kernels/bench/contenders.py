"""Whoever takes part in the benchmark: what can be timed, and a library to compare with."""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempalign.kernels.bench.specs import AlignmentSpec, BarycenterSpec

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """Something that can be timed.

    Attributes:
        run: does the work, to its end, and returns whatever it returns.
        arrays: turns what `run` returned into our terms: distances without a square root, or
            their sum and its gradients ``[B, T, F]``, or a barycenter ``[T, F]``.
        dtype: what it computes in.
        how: what is called, in words.
        temp_bytes: what it allocates while running, beyond inputs and outputs; None: not known.
        scale: how many such calls a row of the table is the time of.
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], Arrays]
    dtype: str
    how: str
    temp_bytes: Callable[[], int | None] = lambda: None
    scale: float = 1.0


class Peer:
    """A library to compare with; what it does not offer is None.

    Attributes:
        name: as the table shows it.
        distribution: as ``pip install`` calls it.
        modules: what must be importable.
    """

    name: str
    distribution: str
    modules: tuple[str, ...]

    def __init__(self) -> None:
        """Imports the library; ImportError where it is missing or not usable."""
        for module in self.modules:
            importlib.import_module(module)

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.distribution)

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Distances between ``x [num_x, T, F]`` and ``y [num_y, T, F]``, both of `spec.dtype`."""
        return None

    def barycenter(self, spec: BarycenterSpec, series: np.ndarray) -> Call | None:
        """The average of ``series [N, T, F]``; see `BarycenterSpec.gamma`."""
        return None


def on_jax(function: Callable[..., Any], inputs: Arrays, how: str, jitted: bool = True) -> Call:
    """A function of arrays, its inputs on the device and waited for, in the inputs' dtype."""
    wide = any(array.dtype == np.float64 for array in inputs)
    with in_float64(wide):
        placed = [jnp.asarray(array) for array in inputs]
    compiled = jax.jit(function)
    called = compiled if jitted else function

    def run() -> Any:
        result = called(*placed)
        # Walking a tree costs more than a short call.
        is_one = isinstance(result, jax.Array)
        return result.block_until_ready() if is_one else jax.block_until_ready(result)

    def run_wide() -> Any:
        with in_float64(True):
            return run()

    def temp_bytes() -> int | None:
        with in_float64(wide):
            memory = compiled.lower(*placed).compile().memory_analysis()
        return None if memory is None else int(memory.temp_size_in_bytes)

    return Call(
        run_wide if wide else run,
        lambda result: tuple(np.asarray(leaf) for leaf in jax.tree.leaves(result)),
        "float64" if wide else "float32",
        how,
        temp_bytes,
    )


def in_float64(wide: bool) -> contextlib.AbstractContextManager[Any]:
    """Where jax has float64; does nothing if not `wide`."""
    return jax.enable_x64(True) if wide else contextlib.nullcontext()


def threads() -> dict[str, str]:
    """Who uses how many threads, as far as it can be told; jax takes all cores it may use."""
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "XLA_FLAGS")
    found = {name: os.environ.get(name, "not set") for name in names}
    for library in ("numba", "torch"):
        if library in sys.modules:
            found[f"{library} threads"] = str(sys.modules[library].get_num_threads())
    return found
