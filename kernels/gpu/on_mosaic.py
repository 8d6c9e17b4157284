"""The Mosaic GPU backend of Pallas: kernels of warps, and what a warp does together there.

A program of Mosaic is at least four warps, so vectors have 128 elements, of which each thread has
one; `warp.Warp.program` tells every warp a number of its own. No warp waits for those beside it.
What Pallas has no operation for is written in MLIR, inline. Beware: what ``jnp.where(condition,
constant, integers)`` gives is taken for unsigned afterwards (jax 0.10 to 0.12): `Warp.full` it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from tempalign._types import Array
from tempalign.kernels.gpu import warp

_THREADS = 128
WARPS = _THREADS // warp.LANES  # of a program

_missing: str | None = None
try:
    from jax.experimental.mosaic import gpu as _mgpu
    from jax.experimental.pallas import mosaic_gpu as _plgpu
    from jaxlib.mlir import ir as _ir
    from jaxlib.mlir.dialects import arith as _arith
    from jaxlib.mlir.dialects import llvm as _llvm
    from jaxlib.mlir.dialects import nvvm as _nvvm
    from jaxlib.mlir.dialects import vector as _vector

    _LAYOUT = _plgpu.Layout.WG_STRIDED((_THREADS,), vec_size=1)
    _SHAPES = {
        jnp.dtype(kind): _plgpu.ShapeDtypeStruct((_THREADS,), kind, layout=_LAYOUT)
        for kind in (jnp.float32, jnp.int32)
    }
except (ImportError, AttributeError) as error:  # an experimental part of jax, which may move
    _missing = f"jax {jax.__version__} has no Mosaic GPU backend for Pallas that we know: {error}"


def missing() -> str | None:
    """Why kernels of warps cannot be compiled by this backend, or None."""
    return _missing


OLDEST_CARD = 9.0  # compute capability: Hopper. jax 0.10 stops the process for older ones


_GRID = "program"


def call(
    kernel: Callable[..., None],
    operands: Sequence[Array],
    *,
    programs: int,
    out_shape: Sequence[jax.ShapeDtypeStruct],
    initial: Sequence[Array],
    name: str,
) -> list[Array]:
    """Runs a kernel of warps; arguments as for `launch.call_warps`."""
    # Not `plgpu.kernel`, inside of whose rule for vmap jax 0.10 loses what is written over.
    run = pl.kernel(
        lambda *refs: kernel(*_in_order(refs, len(operands), len(initial))),
        list(out_shape),
        mesh=_plgpu.Mesh(grid=(-(-programs // WARPS),), grid_names=(_GRID,), kernel_name=name),
        name=name,
        compiler_params=_plgpu.CompilerParams(
            lowering_semantics=_plgpu.LoweringSemantics.Lane, unsafe_no_auto_barriers=True
        ),
    )
    changed = [jax.new_ref(one) for one in initial]
    found = run(*operands, *changed)
    return [*found, *(ref[...] for ref in changed)]


def _in_order(refs: Sequence[Any], operands: int, initial: int) -> list[Any]:
    """Results that are written over come last."""
    begun = operands + initial
    return [*refs[:operands], *refs[begun:], *refs[operands:begun]]


class Warp(warp.Warp):
    """See `warp.Warp`."""

    def _lanes(self) -> Array:
        thread = _plgpu.broadcasted_iota(jnp.int32, (_THREADS,), 0, layout=_LAYOUT)
        self._warp = thread >> (warp.LANES.bit_length() - 1)
        return thread & (warp.LANES - 1)

    def full(self, number: Any, dtype: Any) -> Array:
        """See `warp.Warp`."""
        return _plgpu.layout_cast(jnp.full(_THREADS, number, dtype), _LAYOUT)

    def program(self, count: int) -> Array:
        """See `warp.Warp`."""
        return jnp.minimum(lax.axis_index(_GRID) * WARPS + self._warp, count - 1)

    def ticket(self, counts: Any, count: int) -> Array:
        """See `warp.Warp`."""
        number = _with_memory(
            "{ .reg .pred p; .reg .b32 n; setp.eq.s32 p, $2, 0; mov.b32 n, 0; "
            "@p atom.global.relaxed.gpu.add.u32 n, [$1], 1; "
            "shfl.sync.idx.b32 $0, n, 0, 31, 0xffffffff; }",
            "=r,l,r,~{memory}",
            *(counts, self.full(count, jnp.int32), self.lane),
            returns=jnp.int32,
        )
        return jnp.minimum(number, count - 1)

    def from_above(self, vector: Array) -> Array:
        """See `warp.Warp`."""
        return self._shuffled(vector, "up", 0)

    def from_below(self, vector: Array) -> Array:
        """See `warp.Warp`."""
        return self._shuffled(vector, "down", warp.LANES - 1)

    def _shuffled(self, vector: Array, kind: str, clamp: int) -> Array:
        if self.group == 1:
            return vector

        def body(element: Any) -> Any:
            word, given = _ir.IntegerType.get_signless(32), element.type
            every, one, most = (_mgpu.utils.c(number, word) for number in (-1, 1, clamp))
            bits = element if given == word else _arith.bitcast(word, element)
            got = _nvvm.shfl_sync(every, bits, one, most, getattr(_nvvm.ShflKind, kind))
            return got if given == word else _arith.bitcast(given, got)

        return _elementwise(body, vector.dtype, vector)

    def multiply_add(self, a: Array, b: Array, c: Array) -> Array:
        """See `warp.Warp`."""
        return _instruction("fma.rn.f32 $0, $1, $2, $3;", a, b, c)

    def exp2(self, x: Array) -> Array:
        """See `warp.Warp`."""
        return _instruction("ex2.approx.ftz.f32 $0, $1;", x)

    def reciprocal(self, x: Array) -> Array:
        """See `warp.Warp`."""
        return _instruction("rcp.approx.ftz.f32 $0, $1;", x)

    def load(self, ref: Any, index: Array, offset: int = 0) -> Array:
        """See `warp.Warp`."""
        return _loaded(ref, index, offset, volatile=False)

    def written_by_others(self, ref: Any, index: Array) -> Array:
        """See `warp.Warp`."""
        return _loaded(ref, index, 0, volatile=True)

    def store(self, ref: Any, index: Array, vector: Array, offset: int = 0) -> None:
        """See `warp.Warp`."""

        @_plgpu.inline_mgpu(arg_types=(_plgpu.RefType(), _LAYOUT, _LAYOUT))
        def store(context: Any, ref: Any, index: Any, vector: Any) -> None:
            element = _element(vector)
            at = _address(ref, _element(index), offset, element.type)
            _llvm.store(element, at, alignment=4)

        store(ref, _spread(index), _spread(vector))

    def store_one(self, ref: Any, index: Array, vector: Array, lane: int, when: Array) -> None:
        """See `warp.Warp`."""
        self.store_where(ref, index, vector, when & (self.lane == lane))

    def store_where(self, ref: Any, index: Array, vector: Array, when: Array) -> None:
        """See `warp.Warp`."""
        letter = "f" if vector.dtype == jnp.float32 else "r"
        _with_memory(
            "@$2 st.global.b32 [$0], $1;", f"l,{letter},b,~{{memory}}", ref, index, vector, when
        )

    def wait(self, counts: Any, index: Array, least: Array) -> None:
        """See `warp.Warp`."""
        _with_memory(
            "{ .reg .pred p; .reg .b32 n;\n"
            "again_${:uid}: ld.acquire.gpu.global.b32 n, [$0]; setp.lt.s32 p, n, $1;\n"
            "@p bra again_${:uid};\nbar.warp.sync 0xffffffff; }",
            "l,r,~{memory}",
            *(counts, index, least),
        )

    def tell(self, counts: Any, index: Array, count: Array) -> None:
        """See `warp.Warp`."""
        _with_memory(
            "bar.warp.sync 0xffffffff; st.release.gpu.global.b32 [$0], $1;",
            "l,r,~{memory}",
            *(counts, index, count),
        )


def _spread(vector: Array) -> Array:
    """A number or a vector, one element a thread."""
    return _plgpu.layout_cast(jnp.broadcast_to(vector, (_THREADS,)), _LAYOUT)


def _element(fragmented: Any) -> Any:
    """This thread's element of a vector, in MLIR."""
    first = _ir.DenseI64ArrayAttr.get([0])
    return _vector.extract(fragmented.registers.flat[0], dynamic_position=[], static_position=first)


def _vector_of(element: Any, dtype: Any) -> Any:
    """The vector of which this thread has an element."""
    registers = np.empty((1,), dtype=object)
    registers[0] = _vector.broadcast(_ir.VectorType.get((1,), element.type), element)
    return _mgpu.FragmentedArray(
        _registers=registers,
        _layout=_LAYOUT.to_mgpu(),
        _is_signed=True if jnp.issubdtype(dtype, jnp.integer) else None,
    )


def _elementwise(body: Callable[..., Any], dtype: Any, *args: Array) -> Array:
    """What MLIR says of each thread's own elements."""

    @_plgpu.inline_mgpu(arg_types=(_LAYOUT,) * len(args), return_type=_SHAPES[jnp.dtype(dtype)])
    def inline(context: Any, *fragmented: Any) -> Any:
        return _vector_of(body(*map(_element, fragmented)), dtype)

    return inline(*map(_spread, args))


def _instruction(text: str, *args: Array) -> Array:
    """An instruction on float32."""

    def body(*elements: Any) -> Any:
        constraints = ",".join(["=f"] + ["f"] * len(elements))
        return _llvm.inline_asm(elements[0].type, list(elements), text, constraints)

    return _elementwise(body, jnp.float32, *args)


def _with_memory(
    text: str, constraints: str, ref: Any, index: Array, *args: Array, returns: Any = None
) -> Any:
    """Instructions on the address of an element, and further operands."""
    dtype = jax.typeof(ref).dtype
    result = None if returns is None else _SHAPES[jnp.dtype(returns)]

    @_plgpu.inline_mgpu(
        arg_types=(_plgpu.RefType(), *(_LAYOUT,) * (1 + len(args))), return_type=result
    )
    def inline(context: Any, ref: Any, index: Any, *fragmented: Any) -> Any:
        kind = _mgpu.utils.dtype_to_ir_type(jnp.dtype(dtype))
        operands = [_address(ref, _element(index), 0, kind), *map(_element, fragmented)]
        void = _ir.Type.parse("!llvm.void")
        gives = void if returns is None else _mgpu.utils.dtype_to_ir_type(jnp.dtype(returns))
        got = _llvm.inline_asm(gives, operands, text, constraints, has_side_effects=True)
        return None if returns is None else _vector_of(got, returns)

    return inline(ref, *map(_spread, (index, *args)))


def _loaded(ref: Any, index: Array, offset: int, volatile: bool) -> Array:
    dtype = jax.typeof(ref).dtype

    @_plgpu.inline_mgpu(
        arg_types=(_plgpu.RefType(), _LAYOUT), return_type=_SHAPES[jnp.dtype(dtype)]
    )
    def load(context: Any, ref: Any, index: Any) -> Any:
        kind = _mgpu.utils.dtype_to_ir_type(jnp.dtype(dtype))
        at = _address(ref, _element(index), offset, kind)
        return _vector_of(_llvm.load(kind, at, alignment=4, volatile_=volatile), dtype)

    return load(ref, _spread(index))


def _address(ref: Any, index: Any, offset: int, kind: Any) -> Any:
    """That of an element; offsets that are constant stand in the instruction that uses it."""
    pointer = _mgpu.utils.memref_ptr(ref)
    wide = _arith.extui(_ir.IntegerType.get_signless(64), index)
    dynamic, none = -(2**31), _llvm.GEPNoWrapFlags.none
    at = _llvm.getelementptr(pointer.type, pointer, [wide], [dynamic], kind, none)
    return _llvm.getelementptr(pointer.type, at, [], [offset], kind, none) if offset else at
