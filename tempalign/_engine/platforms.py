"""Where a computation will run: known when it is lowered, not when it is traced.

`jax.default_backend` is the wrong question: with a GPU in the machine a call may still be placed
on the CPU, and be lowered for both. On a machine where jax has a CPU only there is no question.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax

T = TypeVar("T")


@functools.cache
def present() -> frozenset[str]:
    """The platforms of this process: "cpu", and "cuda", "rocm" or "tpu" where there is one."""
    found = {"cpu"}
    for device in jax.devices():
        kind = getattr(device, "platform", "cpu")
        if kind == "gpu":
            version = getattr(device.client, "platform_version", "")
            kind = "rocm" if "rocm" in version.lower() else "cuda"
        found.add(kind)
    return frozenset(found)


def on_cpu(cpu: Callable[..., T], elsewhere: Callable[..., T], *operands: Any) -> T:
    """`cpu(*operands)` where this is lowered for a CPU, `elsewhere(*operands)` for others."""
    if present() == {"cpu"}:
        return cpu(*operands)
    return lax.platform_dependent(*operands, cpu=cpu, default=elsewhere)


def on_cuda(cuda: Callable[..., T], elsewhere: Callable[..., T], *operands: Any) -> T:
    """`cuda(*operands)` where this is lowered for an Nvidia GPU, else `elsewhere(*operands)`."""
    return lax.platform_dependent(*operands, cuda=cuda, default=elsewhere)
