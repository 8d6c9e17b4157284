"""Products of sizes that must not wrap: jax's integers have 32 bits unless asked for more."""

import jax.numpy as jnp
from jax import lax

from tempalign._types import Array

_LIMIT = 2**31


def multiply_divide(
    a: Array | int, b: Array | int, divisor: Array | int, largest: tuple[int, int]
) -> tuple[Array, Array]:
    """``(a * b) // divisor`` and the remainder, exact where the product passes 32 bits.

    Args:
        a: int32, 0 <= a <= largest[0].
        b: int32, 0 <= b <= largest[1].
        divisor: int32, >= 1; the quotient must fit into 31 bits.
        largest: static bounds, which decide how it is computed.

    Returns:
        int32 quotient and remainder, of the arguments' common shape.
    """
    a, b, divisor = (jnp.asarray(value, jnp.int32) for value in (a, b, divisor))
    if largest[0] * largest[1] < _LIMIT:
        product = a * b
        quotient = product // divisor
        return quotient, product - quotient * divisor
    # Schoolbook: bit after bit of b from the top, doubling quotient and remainder so far. The
    # remainder stays below the divisor, so twice it plus one still fits into 32 unsigned bits.
    whole = a // divisor
    part = (a - whole * divisor).astype(jnp.uint32)
    by = divisor.astype(jnp.uint32)

    def step(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        quotient, remainder = state
        bit = (b >> (30 - k)) & 1
        doubled, carried = reduced(remainder + remainder)
        added, again = reduced(jnp.where(bit == 1, doubled + part, doubled))
        return 2 * quotient + bit * whole + carried + again, added

    def reduced(number: Array) -> tuple[Array, Array]:
        over = number >= by
        return jnp.where(over, number - by, number), over.astype(jnp.int32)

    shape = jnp.broadcast_shapes(a.shape, b.shape, divisor.shape)
    start = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.uint32)
    quotient, remainder = lax.fori_loop(0, 31, step, start)
    return quotient, remainder.astype(jnp.int32)
