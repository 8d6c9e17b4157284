"""What the lanes of a warp do together: each backend has a subclass, and this class interprets."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from tempalign._types import Array

LANES = 32


class Warp:
    """What the lanes of one warp can do together; here, as plain jax.

    Vectors have one element for each lane. A backend whose programs are several warps has them all
    in its vectors, each with a number of its own.

    Attributes:
        group: lanes that work on one pair side by side, a power of two.
        lane: of each element.
        place: of each within its group.
        first: whether it is the first of its group.
        last: whether it is the last one.
    """

    def __init__(self, group: int) -> None:
        """Describes a warp; see the attributes."""
        self.group, self.lane = group, self._lanes()
        self.place = self.lane & (group - 1)
        self.first, self.last = self.place == 0, self.place == group - 1

    def _lanes(self) -> Array:
        return jnp.arange(LANES, dtype=jnp.int32)

    def full(self, number: Any, dtype: Any) -> Array:
        """The same number in every lane."""
        return jnp.full(self.lane.shape, number, dtype)

    def program(self, count: int) -> Array:
        """Which of `count` programs this is; where there are more warps, some do the same."""
        del count
        return pl.program_id(0)

    def ticket(self, counts: Any, count: int) -> Array:
        """A number below `count` for this program, in the order in which programs begin.

        A program that waits for those of lower numbers waits for some that run already. How many
        have begun stands behind the `count` numbers that `tell` writes.
        """
        del counts
        return self.program(count)

    def from_above(self, vector: Array) -> Array:
        """What the lane before has; the first of a group gets anything."""
        return vector[jnp.maximum(self.lane - 1, 0)]

    def from_below(self, vector: Array) -> Array:
        """What the lane behind has; the last of a group gets anything."""
        return vector[jnp.minimum(self.lane + 1, LANES - 1)]

    def multiply_add(self, a: Array, b: Array, c: Array) -> Array:
        """``a b + c``, rounded once (where it is interpreted: but for the last bit)."""
        product = a * b
        (a, rest_a), (b, rest_b) = _halves(a), _halves(b)
        rounded_off = ((a * b - product) + a * rest_b + rest_a * b) + rest_a * rest_b
        return (product + c) + rounded_off

    def exp2(self, x: Array) -> Array:
        """``2^x`` to 2^-22, and 0 for what is less than the least normal number."""
        return jnp.exp2(x)

    def reciprocal(self, x: Array) -> Array:
        """``1 / x`` to 2^-23, of normal numbers."""
        return 1 / x

    def load(self, ref: Any, index: Array, offset: int = 0) -> Array:
        """The elements at an index (one for each lane) and so many behind it."""
        return ref[index + offset] if offset else ref[index]

    def store(self, ref: Any, index: Array, vector: Array, offset: int = 0) -> None:
        """Stores the elements at an index (one for each lane) and so many behind it."""
        ref[index + offset if offset else index] = vector

    def store_one(self, ref: Any, index: Array, vector: Array, lane: int, when: Array) -> None:
        """Stores the element of one lane at an index (one for each lane), or nothing."""
        at = index[lane]
        ref[at] = jnp.where(when[lane], vector[lane], ref[at])

    def store_where(self, ref: Any, index: Array, vector: Array, when: Array) -> None:
        """Stores the elements of some lanes, at an index each."""
        outside = jnp.where(when, index, ref.shape[0])  # what is not stored
        ref[...] = ref[...].at[outside].set(vector, mode="drop")

    def written_by_others(self, ref: Any, index: Array) -> Array:
        """What another program stored, once `wait` has said so: not what a cache may hold.

        Args:
            ref: where.
            index: the same one for all lanes.
        """
        return ref[jnp.broadcast_to(index, self.lane.shape)]

    def wait(self, counts: Any, index: Array, least: Array) -> None:
        """Waits until `tell` has said at least as much."""
        # Interpreted programs run one after the other.

    def tell(self, counts: Any, index: Array, count: Array) -> None:
        """Lets others know how much of this program's is stored."""


def _halves(x: Array) -> tuple[Array, Array]:
    """A number as the sum of two of 12 bits."""
    bits = lax.bitcast_convert_type(x, jnp.int32) & jnp.int32(-4096)
    high = lax.bitcast_convert_type(bits, jnp.float32)
    return high, x - high
