"""The Triton backend of Pallas: what a warp does together there, and inline assembly."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive

from tempalign._types import Array
from tempalign.kernels.gpu import warp

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
    return missing() or _gather_missing


def parameters(num_warps: int, num_stages: int) -> Any:
    """What `pallas_call` is told."""
    assert _triton is not None
    return _triton.CompilerParams(num_warps=num_warps, num_stages=num_stages)


def assembly(instruction: str, *args: Array, constraints: str, dtype: Any) -> Array:
    """An instruction of the machine, for each element."""
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


def multiply_add(a: Array, b: Array, total: Array) -> Array:
    """``a * b + total`` in one instruction: the Triton backend does not contract the two."""
    return assembly(
        "fma.rn.f32 $0, $1, $2, $3;", a, b, total, constraints="=f,f,f,f", dtype=jnp.float32
    )


class Warp(warp.Warp):
    """See `warp.Warp`."""

    def from_above(self, vector: Array) -> Array:
        """See `warp.Warp`."""
        return self._gathered(vector, jnp.maximum(self.lane - 1, 0))

    def from_below(self, vector: Array) -> Array:
        """See `warp.Warp`."""
        return self._gathered(vector, jnp.minimum(self.lane + 1, warp.LANES - 1))

    def _gathered(self, vector: Array, index: Array) -> Array:
        return vector if self.group == 1 else _rows_of_p.bind(vector, index)

    def multiply_add(self, a: Array, b: Array, c: Array) -> Array:
        """See `warp.Warp`."""
        return multiply_add(a, b, c)

    def exp2(self, x: Array) -> Array:
        """See `warp.Warp`."""
        return assembly("ex2.approx.ftz.f32 $0, $1;", x, constraints="=f,f", dtype=jnp.float32)

    def reciprocal(self, x: Array) -> Array:
        """See `warp.Warp`."""
        return assembly("rcp.approx.ftz.f32 $0, $1;", x, constraints="=f,f", dtype=jnp.float32)

    def store_one(self, ref: Any, index: Array, vector: Array, lane: int, when: Array) -> None:
        """See `warp.Warp`."""
        self.store_where(ref, index, vector, when & (self.lane == lane))

    def store_where(self, ref: Any, index: Array, vector: Array, when: Array) -> None:
        """See `warp.Warp`."""
        _triton.store(ref.at[index], vector, mask=when)

    def written_by_others(self, ref: Any, index: Array) -> Array:
        """See `warp.Warp`."""
        return _triton.load(ref.at[jnp.broadcast_to(index, self.lane.shape)], volatile=True)

    def ticket(self, counts: Any, count: int) -> Array:
        """See `warp.Warp`."""
        return _triton.atomic_add(counts, count, 1)

    def wait(self, counts: Any, index: Array, least: Array) -> None:
        """See `warp.Warp`."""
        _triton.debug_barrier()
        lax.while_loop(
            lambda seen: seen < least,
            lambda _: _triton.atomic_add(counts, index, 0),
            jnp.int32(-(2**31)),
        )
        _triton.debug_barrier()

    def tell(self, counts: Any, index: Array, count: Array) -> None:
        """See `warp.Warp`."""
        _triton.debug_barrier()
        _triton.atomic_max(counts, index, count)
