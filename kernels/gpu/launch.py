"""How kernels are launched: the only file that names the backends of Pallas, and chooses one.

Kernels themselves use refs, `jax.numpy` and `fori_loop` only. They are lowered by the Triton
backend of Pallas (Ampere and later), or interpreted on any device. Kernels whose programs are a
warp each, which use what `warp.Warp` offers, are lowered by Mosaic GPU too: where jax has no Triton
backend any more, or where somebody asks for it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from tempalign._engine.shards import alike, like
from tempalign._types import Array
from tempalign.kernels.gpu import on_mosaic, on_triton
from tempalign.kernels.gpu.warp import LANES as LANES
from tempalign.kernels.gpu.warp import Warp as Warp

Backend = Literal["triton", "mosaic"]
BACKENDS: tuple[Backend, ...] = ("triton", "mosaic")
VARIABLE = "TEMPALIGN_GPU_BACKEND"  # asks for a backend of kernels of warps
_asked: Backend | None = None


@contextlib.contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Kernels of warps that are lowered inside are lowered by this backend."""
    global _asked
    before, _asked = _asked, name
    try:
        yield
    finally:
        _asked = before


def backend_of_warps() -> Backend:
    """What lowers kernels of warps: what is asked for, or Triton, or Mosaic where that is missing.

    Raises:
        ValueError: the environment asks for another one.
    """
    asked = _asked or os.environ.get(VARIABLE)
    if asked is None:
        return "mosaic" if on_triton.no_shuffles() and not on_mosaic.missing() else "triton"
    for name in BACKENDS:
        if name == asked:
            return name
    raise ValueError(f"{VARIABLE} is {asked!r}; it may be one of {', '.join(BACKENDS)}")


def missing() -> str | None:
    """Why no kernels at all can be compiled with this jax, or None."""
    return None if no_tiles() is None or no_warps() is None else no_tiles()


def no_tiles() -> str | None:
    """Why kernels of larger programs than a warp cannot be compiled with this jax, or None."""
    return on_triton.missing()


def no_warps() -> str | None:
    """Why kernels of warps cannot be compiled with this jax and for these GPUs, or None."""
    if backend_of_warps() == "mosaic":
        return on_mosaic.missing() or _older(on_mosaic.OLDEST_CARD)
    return on_triton.no_shuffles()


def warp(group: int, interpret: bool) -> Warp:
    """Describes a warp.

    Args:
        group: lanes that work on one pair side by side, a power of two.
        interpret: see `call`.
    """
    if interpret:
        return Warp(group)
    return (on_mosaic if backend_of_warps() == "mosaic" else on_triton).Warp(group)


_OLDEST_CARD = 8.0  # compute capability: Ampere


def too_old() -> str | None:
    """Why kernels cannot run on the Nvidia GPUs of this process, or None."""
    return _older(_OLDEST_CARD)


def _older(oldest: float) -> str | None:
    try:
        devices = jax.devices("cuda")
    except RuntimeError:  # compiled for, but not there
        return None
    for device in devices:
        found = str(getattr(device, "compute_capability", ""))
        if found.replace(".", "", 1).isdigit() and float(found) < oldest:
            return f"it needs compute capability {oldest}, and {device} has {found}"
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
    initial: Sequence[Array] = (),
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
        initial: what stands in further results when the kernel begins; the kernel takes a ref of
            each behind all others.
        num_warps: warps of a program.
        num_stages: of the software pipeline.

    Returns:
        The results.
    """
    params: dict[str, Any] = {}
    if not interpret:
        params["compiler_params"] = on_triton.parameters(num_warps, num_stages)
    given = len(operands)
    initial, out_shape = _begun(out_shape, initial)
    placed = alike((*operands, *initial))
    fresh = len(out_shape)
    if initial:
        params["input_output_aliases"] = {given + i: fresh + i for i in range(len(initial))}
        kernel = _without(kernel, given, given + len(initial))
    shapes = tuple(like([*out_shape, *map(_shape, initial)], placed[0]))
    return pl.pallas_call(
        kernel, grid=grid, out_shape=shapes, interpret=interpret, name=name, **params
    )(*placed)


def call_warps(
    kernel: Callable[..., None],
    *operands: Array,
    programs: int,
    out_shape: Sequence[jax.ShapeDtypeStruct],
    name: str,
    interpret: bool,
    initial: Sequence[Array] = (),
) -> Sequence[Array]:
    """Runs a kernel of warps; arguments and results as for `call`.

    Args:
        kernel: does everything by what `warp` offers.
        *operands: arrays.
        programs: how many there are, a warp each.
        out_shape: of the results.
        name: of the kernel.
        interpret: run it as plain jax.
        initial: what stands in further results.
    """
    if interpret or backend_of_warps() == "triton":
        return call(
            kernel,
            *operands,
            grid=(programs,),
            out_shape=out_shape,
            name=name,
            interpret=interpret,
            initial=initial,
            num_warps=1,
        )
    initial, out_shape = _begun(out_shape, initial)
    operands = alike(operands)
    # What is written over must not vary (jax 0.11): it is each device's own all the same.
    return on_mosaic.call(
        kernel,
        operands,
        programs=programs,
        out_shape=like(out_shape, operands[0]),
        initial=initial,
        name=name,
    )


def _begun(
    out_shape: Sequence[jax.ShapeDtypeStruct], initial: Sequence[Array]
) -> tuple[Sequence[Array], Sequence[jax.ShapeDtypeStruct]]:
    """What is written over, and what is not."""
    return ((*map(_poisoned, out_shape), *initial), ()) if _poison else (initial, out_shape)


def _shape(array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


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


def divided(a: Array, by: int) -> tuple[Array, Array]:
    """Quotient and remainder of numbers that are not negative."""
    divisor = jnp.full_like(a, by)
    return lax.div(a, divisor), lax.rem(a, divisor)


WIDE = 4  # neighbours that one load brings


def neighbours(ref: Any, row: Array, start: Array, count: int, step: int = WIDE) -> list[Array]:
    """`count` numbers of a row for each lane, four neighbours at a time, which are one load.

    Args:
        ref: of a matrix.
        row: its row.
        start: the first column of each lane.
        count: a multiple of four.
        step: from one four to the next.
    """
    found: list[Array] = []
    for k in range(count // WIDE):
        at = (start + k * step)[:, None] + jnp.arange(WIDE, dtype=jnp.int32)[None]
        parts = lax.split(ref[row, at], (1,) * WIDE, axis=1)
        found += [each.reshape(start.shape) for each in parts]
    return found


def as_lanes_read(columns: Array, across: int, axis: int) -> Array:
    """Columns in another order, for lanes of which each has every `across`-th column of a tile.

    Then lanes write neighbours. In this order the columns of a lane are neighbours, `WIDE` of
    them, and those of the lane beside it come next: so `neighbours` reads them.
    """
    shape = columns.shape
    split = columns.reshape(*shape[:axis], -1, WIDE, across, *shape[axis + 1 :])
    return split.swapaxes(axis + 1, axis + 2).reshape(shape)


def needed_first(rows: int, columns: int) -> list[tuple[int, int]]:
    """Of a lane's sums, by row and column, some that need all that its loads bring.

    Who adds to these before all others keeps the compiler from moving a load, whose numbers are
    not used in the same turn of the loop, to the end of the turn, just before their use in the
    next.
    """
    rows, columns = rows // WIDE, columns // WIDE
    each = range(max(rows, columns))
    return [(k % rows * WIDE, k % columns * WIDE) for k in each]


def multiply_add(a: Array, b: Array, total: Array, interpret: bool) -> Array:
    """``a * b + total`` in one instruction: the Triton backend does not contract the two."""
    if interpret:
        return a * b + total
    return on_triton.multiply_add(a, b, total)


def add_distances(w: Array, c: Array, x: Array, total: Array, *, interpret: bool) -> Array:
    """``total + w |c - x|`` in float32: two instructions."""
    return multiply_add(w, jnp.abs(c - x), total, interpret)


def is_positive(x: Array, interpret: bool) -> Array:
    """1 for x > 0, 0 for x < 0, and 1/2 for 0: half of sign(x) + 1, in one instruction."""
    if interpret:
        return jnp.where(x > 0, 1.0, jnp.where(x < 0, 0.0, 0.5))
    steep = jnp.full(x.shape, 2.0**126, jnp.float32)
    return on_triton.assembly(
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
    return on_triton.assembly(
        "{ .reg .b32 d; sub.f16x2 d, $2, $3; abs.f16x2 d, d; fma.rn.f16x2 $0, $1, d, $4; }",
        *(w, c, x, total),
        constraints="=r,r,r,r,r",
        dtype=jnp.int32,
    )


def add_halves(pair: Array, total: Array, interpret: bool) -> Array:
    """``total`` plus both float16 numbers of each int32, in float32."""
    if interpret:
        return total + lax.bitcast_convert_type(pair, jnp.float16).astype(jnp.float32).sum(-1)
    return on_triton.assembly(
        "{ .reg .f16 a, b; .reg .f32 c, d; mov.b32 {a, b}, $1; cvt.f32.f16 c, a; "
        "cvt.f32.f16 d, b; add.f32 c, c, d; add.f32 $0, c, $2; }",
        *(pair, total),
        constraints="=f,r,f",
        dtype=jnp.float32,
    )
