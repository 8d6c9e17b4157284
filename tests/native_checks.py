"""What the tests of native code share: numbers beside XLA's, and programs in another process."""

import os
import subprocess
import sys

import jax
import numpy as np


def assert_alike(got, expected, **tolerance):
    """Numbers close to each other, what is not finite in the same places."""
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        np.testing.assert_allclose(one, other, **tolerance)


def in_a_process(program, **environment):
    """Runs a program in a process of its own; what it prints."""
    made = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def on_two_devices(call):
    """Runs a sharded program beside the same in one piece, value and gradients; what it prints.

    Args:
        call: an expression of ``x [A, 1, n, F]``, ``y [C, m, F]`` and ``x_lengths [A, 1]``.
    """
    flags = "--xla_force_host_platform_device_count=2"
    return in_a_process(_SHARDED.replace("CALL", call), XLA_FLAGS=flags)


_SHARDED = """
import jax, jax.numpy as jnp, numpy as np, tempalign
from jax.sharding import PartitionSpec as P
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
random = np.random.default_rng(0)
x, y = random.normal(size=(4, 6, 3)), random.normal(size=(4, 7, 3))
def run(x, y, n):
    x_lengths = n[:, None]
    def total(all_x, y):
        x = all_x[:, None]
        values = CALL
        return values.sum(), values
    return jax.value_and_grad(total, (0, 1), has_aux=True)(x, y)
n = np.array([6, 2, 5, 6])
expected = jax.jit(run)(x, y, n)
specs = dict(mesh=mesh, in_specs=(P("batch"), P(), P("batch")))
for check in (True, False):
    def mapped(x, y, n):
        (total, values), (gx, gy) = run(x, y, n)
        total = jax.lax.psum(total, "batch")
        return (total, values), (gx, gy if check else jax.lax.psum(gy, "batch"))
    out = ((P(), P("batch")), (P("batch"), P()))
    got = jax.jit(jax.shard_map(mapped, out_specs=out, check_vma=check, **specs))(x, y, n)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
print(len(jax.devices()), "devices agree")
"""
