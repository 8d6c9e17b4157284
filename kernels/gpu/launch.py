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
from jax.extend.core import Primitive

from tempalign._engine.shards import alike, like
from tempalign._types import Array

_triton: Any
try:
    from jax.experimental.pallas import triton as _triton
except ImportError:  # its removal is announced
    _triton = None

# What Pallas does not offer: a vector whose elements are gathered from another by their numbers.
# Within one warp it becomes a shuffle.
_rows_of_p = Primitive("tempalign_gather")
_rows_of_p.def_abstract_eval(lambda vector, index: jax.core.ShapedArray(index.shape, vector.dtype))
_gather_missing: str | None = None
try:
    from jax._src.lib.triton import dialect as _dialect
    from jax._src.pallas.triton import lowering as _lowering

    _lowering.register_lowering(_rows_of_p)(
        lambda context, vector, index: _dialect.gather(vector, index, 0)
    )
except (ImportError, AttributeError) as error:  # private parts of jax, which may move
    _gather_missing = f"jax {jax.__version__} has no way to shuffle within a warp: {error}"


def missing() -> str | None:
    """Why kernels cannot be compiled with this jax, or None."""
    if _triton is None:
        return f"jax {jax.__version__} has no Triton backend for Pallas"
    return None


def no_shuffles() -> str | None:
    """Why the lanes of a warp cannot exchange numbers with this jax, or None."""
    return _gather_missing


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
        assert _triton is not None
        params["compiler_params"] = _triton.CompilerParams(
            num_warps=num_warps, num_stages=num_stages
        )
    given = len(operands)
    if _poison:
        initial, out_shape = (*map(_poisoned, out_shape), *initial), ()
    fresh = len(out_shape)
    out_shape = [*out_shape, *(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in initial)]
    operands = alike((*operands, *initial))
    if initial:
        params["input_output_aliases"] = {given + i: fresh + i for i in range(len(initial))}
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


LANES = 32


class Warp:
    """What the lanes of one warp can do together; vectors have 32 elements, one for each lane.

    Attributes:
        group: lanes that work on one pair side by side, a power of two.
        interpret: see `call`.
    """

    def __init__(self, group: int, interpret: bool) -> None:
        """Describes a warp; see the attributes."""
        self.group, self.interpret = group, interpret
        self.lane = jnp.arange(LANES, dtype=jnp.int32)
        self.place = self.lane & (group - 1)  # within the group
        self.first, self.last = self.place == 0, self.place == group - 1

    def full(self, number: Any, dtype: Any) -> Array:
        """The same number in every lane."""
        return jnp.full(LANES, number, dtype)

    def from_above(self, vector: Array) -> Array:
        """What the lane before has; the first of a group gets anything."""
        return self._gathered(vector, jnp.maximum(self.lane - 1, 0))

    def from_below(self, vector: Array) -> Array:
        """What the lane behind has; the last of a group gets anything."""
        return self._gathered(vector, jnp.minimum(self.lane + 1, LANES - 1))

    def _gathered(self, vector: Array, index: Array) -> Array:
        if self.group == 1:
            return vector
        return vector[index] if self.interpret else _rows_of_p.bind(vector, index)

    def multiply_add(self, a: Array, b: Array, c: Array) -> Array:
        """``a b + c``, rounded once (where it is interpreted: but for the last bit)."""
        if not self.interpret:
            return multiply_add(a, b, c, False)
        product = a * b
        (a, rest_a), (b, rest_b) = _halves(a), _halves(b)
        rounded_off = ((a * b - product) + a * rest_b + rest_a * b) + rest_a * rest_b
        return (product + c) + rounded_off

    def exp2(self, x: Array) -> Array:
        """``2^x`` to 2^-22, and 0 for what is less than the least normal number."""
        if self.interpret:
            return jnp.exp2(x)
        return _assembly("ex2.approx.ftz.f32 $0, $1;", x, constraints="=f,f", dtype=jnp.float32)

    def reciprocal(self, x: Array) -> Array:
        """``1 / x`` to 2^-23, of normal numbers."""
        if self.interpret:
            return 1 / x
        return _assembly("rcp.approx.ftz.f32 $0, $1;", x, constraints="=f,f", dtype=jnp.float32)

    def store_one(self, ref: Any, index: Array, vector: Array, lane: int, when: Array) -> None:
        """Stores the element of one lane at an index (one for each lane), or nothing."""
        if self.interpret:
            at = index[lane]
            ref[at] = jnp.where(when[lane], vector[lane], ref[at])
        else:
            _triton.store(ref.at[index], vector, mask=when & (self.lane == lane))

    def store_where(self, ref: Any, index: Array, vector: Array, when: Array) -> None:
        """Stores the elements of some lanes, at an index each."""
        if self.interpret:
            outside = jnp.where(when, index, ref.shape[0])  # what is not stored
            ref[...] = ref[...].at[outside].set(vector, mode="drop")
        else:
            _triton.store(ref.at[index], vector, mask=when)

    def written_by_others(self, ref: Any, index: Array) -> Array:
        """What another program stored, once `wait` has said so: not what a cache may hold."""
        return ref[index] if self.interpret else _triton.load(ref.at[index], volatile=True)

    def ticket(self, counts: Any, index: int) -> Array:
        """A number for this program, from 0 in the order in which programs begin.

        A program that waits for those of lower numbers waits for some that run already.
        """
        if self.interpret:
            return program(0)
        return _triton.atomic_add(counts, index, 1)

    def wait(self, counts: Any, index: Array, least: Array) -> None:
        """Waits until `tell` has said at least as much."""
        if self.interpret:  # programs run one after the other
            return
        _triton.debug_barrier()
        lax.while_loop(
            lambda seen: seen < least,
            lambda _: _triton.atomic_add(counts, index, 0),
            jnp.int32(-(2**31)),
        )
        _triton.debug_barrier()

    def tell(self, counts: Any, index: Array, count: Array) -> None:
        """Lets others know how much of this program's is stored."""
        if self.interpret:
            return
        _triton.debug_barrier()
        _triton.atomic_max(counts, index, count)


def _halves(x: Array) -> tuple[Array, Array]:
    """A number as the sum of two of 12 bits."""
    bits = lax.bitcast_convert_type(x, jnp.int32) & jnp.int32(-4096)
    high = lax.bitcast_convert_type(bits, jnp.float32)
    return high, x - high
