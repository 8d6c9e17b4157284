"""How kernels are launched: the only file that names a Pallas backend.

Kernels themselves use refs, `jax.numpy` and `fori_loop` only. They are lowered by the Triton
backend of Pallas (Ampere and later), or interpreted on any device.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from tempalign._engine.shards import alike, like
from tempalign._types import Array

_triton: Any
try:
    from jax.experimental.pallas import triton as _triton
except ImportError:  # its removal is announced
    _triton = None


def missing() -> str | None:
    """Why kernels cannot be compiled with this jax, or None."""
    if _triton is None:
        return f"jax {jax.__version__} has no Triton backend for Pallas"
    return None


_OLDEST_CARD = 8.0  # compute capability: Ampere


def too_old() -> str | None:
    """Why kernels cannot run on the Nvidia GPUs of this process, or None."""
    try:
        devices = jax.devices("cuda")
    except RuntimeError:  # compiled for, but not there
        return None
    for device in devices:
        found = str(getattr(device, "compute_capability", ""))
        if found.replace(".", "", 1).isdigit() and float(found) < _OLDEST_CARD:
            return f"it needs compute capability {_OLDEST_CARD}, and {device} has {found}"
    return None


_CORES = 132  # of an H100 or H200, where no card says how many it has


def cores() -> int:
    """Multiprocessors of the GPU, as far as this process knows."""
    try:
        return int(getattr(jax.devices("cuda")[0], "core_count", _CORES))
    except RuntimeError:  # compiled for, but not there
        return _CORES


def call(
    kernel: Callable[..., None],
    *operands: Array,
    grid: tuple[int, ...],
    out_shape: Sequence[jax.ShapeDtypeStruct],
    name: str,
    interpret: bool,
    num_warps: int = 4,
    num_stages: int = 1,
) -> Sequence[Array]:
    """Runs a kernel once for every point of a grid.

    Args:
        kernel: takes a ref of each whole operand, then of each whole result.
        *operands: arrays.
        grid: numbers of programs; `program` tells a kernel where it stands.
        out_shape: of the results.
        name: of the kernel, for profiles.
        interpret: run it as plain jax on whatever device there is.
        num_warps: warps of a program.
        num_stages: of the software pipeline.

    Returns:
        The results.
    """
    params: dict[str, Any] = {}
    if not interpret:
        assert _triton is not None
        params["compiler_params"] = _triton.CompilerParams(
            num_warps=num_warps, num_stages=num_stages
        )
    operands = alike(operands)
    if _poison:
        given = len(operands)
        operands += tuple(_poisoned(shape) for shape in out_shape)
        params["input_output_aliases"] = {given + i: i for i in range(len(out_shape))}
        kernel = _without(kernel, given, len(operands))
    shapes = tuple(like(out_shape, operands[0]))
    return pl.pallas_call(
        kernel, grid=grid, out_shape=shapes, interpret=interpret, name=name, **params
    )(*operands)


_poison = False


@contextlib.contextmanager
def poison(on: bool = True) -> Iterator[None]:
    """For tests: results of kernels traced inside are full of NaN before the kernels write them."""
    global _poison
    before, _poison = _poison, on
    try:
        yield
    finally:
        _poison = before


def _poisoned(shape: jax.ShapeDtypeStruct) -> Array:
    worst = jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else jnp.iinfo(shape.dtype).min
    return jnp.full(shape.shape, worst, shape.dtype)


def _without(kernel: Callable[..., None], start: int, stop: int) -> Callable[..., None]:
    """The kernel, not shown some of the refs."""
    return lambda *refs: kernel(*refs[:start], *refs[stop:])


def program(axis: int) -> Array:
    """Where in the grid this program stands."""
    return pl.program_id(axis)


def block(start: Array, size: int) -> Any:
    """An index: `size` elements from `start` on."""
    return pl.ds(start, size)


def multiply_add(a: Array, b: Array, total: Array, interpret: bool) -> Array:
    """``a * b + total`` in one instruction: the Triton backend does not contract the two."""
    if interpret:
        return a * b + total
    return _assembly(
        "fma.rn.f32 $0, $1, $2, $3;", a, b, total, constraints="=f,f,f,f", dtype=jnp.float32
    )


def add_distances(w: Array, c: Array, x: Array, total: Array, *, interpret: bool) -> Array:
    """``total + w |c - x|`` in float32: two instructions."""
    return multiply_add(w, jnp.abs(c - x), total, interpret)


def is_positive(x: Array, interpret: bool) -> Array:
    """1 for x > 0, 0 for x < 0, and 1/2 for 0: half of sign(x) + 1, in one instruction."""
    if interpret:
        return jnp.where(x > 0, 1.0, jnp.where(x < 0, 0.0, 0.5))
    steep = jnp.full(x.shape, 2.0**126, jnp.float32)
    return _assembly(
        "fma.rn.sat.f32 $0, $1, $2, $3;",
        *(x, steep, jnp.full_like(x, 0.5)),
        constraints="=f,f,f,f",
        dtype=jnp.float32,
    )


def add_half_distances(w: Array, c: Array, x: Array, total: Array, *, interpret: bool) -> Array:
    """``total + w |c - x|`` for the two float16 numbers in each int32: two instructions."""
    if interpret:
        w2, c2, x2, t2 = (lax.bitcast_convert_type(v, jnp.float16) for v in (w, c, x, total))
        weight, distance, before = (v.astype(jnp.float32) for v in (w2, jnp.abs(c2 - x2), t2))
        after = weight * distance + before  # an exact product: a multiply-add rounds once
        return lax.bitcast_convert_type(after.astype(jnp.float16), jnp.int32)
    return _assembly(
        "{ .reg .b32 d; sub.f16x2 d, $2, $3; abs.f16x2 d, d; fma.rn.f16x2 $0, $1, d, $4; }",
        *(w, c, x, total),
        constraints="=r,r,r,r,r",
        dtype=jnp.int32,
    )


def add_halves(pair: Array, total: Array, interpret: bool) -> Array:
    """``total`` plus both float16 numbers of each int32, in float32."""
    if interpret:
        return total + lax.bitcast_convert_type(pair, jnp.float16).astype(jnp.float32).sum(-1)
    return _assembly(
        "{ .reg .f16 a, b; .reg .f32 c, d; mov.b32 {a, b}, $1; cvt.f32.f16 c, a; "
        "cvt.f32.f16 d, b; add.f32 c, c, d; add.f32 $0, c, $2; }",
        *(pair, total),
        constraints="=f,r,f",
        dtype=jnp.float32,
    )


def _assembly(instruction: str, *args: Array, constraints: str, dtype: Any) -> Array:
    assert _triton is not None
    shape = jnp.broadcast_shapes(*(arg.shape for arg in args))
    (result,) = _triton.elementwise_inline_asm(
        instruction,
        args=[jnp.broadcast_to(arg, shape) for arg in args],
        constraints=constraints,
        pack=1,
        result_shape_dtypes=[jax.ShapeDtypeStruct(shape, dtype)],
    )
    return result
