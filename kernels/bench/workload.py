"""What a row of the benchmark is: its inputs, our functions and the peers'."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tempalign._types import ImplementationName
from tempalign.kernels.bench.contenders import Arrays, Call, Peer, in_float64, on_jax
from tempalign.kernels.bench.limits import Work

# Largest differences from ours, of ours' largest entry, for each result. Gradients have room
# because some peers compute them in float32 and lose precision as sequences grow; a barycenter,
# because one frame aligned otherwise shows; what L-BFGS finds, because everybody stops elsewhere.
VALUES = (1e-4,)
WITH_GRADIENTS = (1e-4, 1e-2, 1e-2)
BARYCENTER = (1e-3,)
OBJECTIVE = (1e-2,)

#: Ours; the first that serves is whom all are compared with.
_OURS: tuple[ImplementationName, ...] = ("xla", "native", "pallas")


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the benchmark.

    Attributes:
        name: what ``--only`` looks at.
        inputs: makes the seeded inputs.
        ours: for the name of an implementation, the function of the inputs; it raises
            NotImplementedError, at once or when it is traced, where the implementation does not
            serve.
        peer: what a peer would run on the inputs, or None if it cannot.
        tolerances: for each result, the largest difference allowed.
        long: only on a GPU, or when asked for.
        instructions: float32 instructions that the work cannot do without on a card, where they
            bound it.
        work: what it cannot do without on a CPU, where that is known.
        call: for an implementation and the inputs, what is timed of ours.
    """

    name: str
    inputs: Callable[[], Arrays]
    ours: Callable[[ImplementationName], Callable[..., Any]]
    peer: Callable[[Peer, Arrays], Call | None] = lambda peer, inputs: None
    tolerances: tuple[float, ...] = VALUES
    long: bool = False
    instructions: Callable[[], int] | None = None
    work: Callable[[], Work] | None = None
    call: Callable[[ImplementationName, Arrays], Call] | None = None

    def our_call(self, implementation: ImplementationName, inputs: Arrays) -> Call:
        """What is timed of ours."""
        if self.call is not None:
            return self.call(implementation, inputs)
        return on_jax(self.ours(implementation), inputs, "jit")

    def implementations(self, inputs: Arrays) -> list[ImplementationName]:
        """Those of ours that serve here, found by tracing them."""
        found: list[ImplementationName] = []
        for name in _OURS:
            if name == "native" and on_gpu():
                continue  # it would be lowered to XLA
            try:
                with in_float64(any(array.dtype == np.float64 for array in inputs)):
                    jax.eval_shape(self.ours(name), *inputs)
            except NotImplementedError:
                continue
            found.append(name)
        return found


def summed_with_gradients(
    function: Callable[..., Any], argnums: tuple[int, ...]
) -> Callable[..., Any]:
    """Its sum, and the gradients of that."""
    return jax.value_and_grad(lambda *arrays: function(*arrays).sum(), argnums)


def normal(*shapes: tuple[int, ...]) -> Arrays:
    """Seeded float32 noise."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


def on_gpu() -> bool:
    """Whether jax computes on one unless told otherwise."""
    return jax.default_backend() == "gpu"
