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


def likely_cpu() -> bool:
    """Whether the work is likely to run on a CPU; only speed may hang on it.

    Both ways could be traced and one chosen when it is lowered (`on_cuda`), but what is kept for a
    gradient would then be kept twice.
    """
    chosen = getattr(jax.config, "jax_default_device", None)
    if chosen is None:
        return jax.default_backend() == "cpu"
    return (chosen if isinstance(chosen, str) else chosen.platform) == "cpu"


def on_cuda(cuda: Callable[..., T], elsewhere: Callable[..., T], *operands: Any) -> T:
    """`cuda(*operands)` where this is lowered for an Nvidia GPU, else `elsewhere(*operands)`.

    Not for autodiff to go through: a function with its own derivative rule calls it in both passes.
    """
    return lax.platform_dependent(*operands, cuda=cuda, default=elsewhere)
