"""How two batches of sequences meet: leading axes that broadcast, without repeating the data.

``x [..., n, F]`` and ``y [..., m, F]`` broadcast over their leading axes. An axis that only one of
them has makes an outer product; an axis both have pairs them up. :class:`Pairs` sorts the axes
into those three groups, so that everything below sees ``x [S, A, n, F]``, ``y [S, C, m, F]`` and
results ``[S, A, C]``: S is shared, A is x's own, C is y's own. An all-pairs call then is one
matrix-product-like cost of ``A n`` by ``C m``, not ``A C`` copies of the sequences.
"""

import dataclasses
import math

import jax.numpy as jnp

from tempalign._engine import checks
from tempalign._types import Array


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The three groups of leading axes of a broadcasting pair (static, hashable).

    Attributes:
        x_shape: leading shape of x, with 1s put in front.
        y_shape: leading shape of y, with 1s put in front.
    """

    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]

    @classmethod
    def of(cls, x: tuple[int, ...], y: tuple[int, ...], x_name: str, y_name: str) -> "Pairs":
        """The pairing of leading shapes `x` and `y`."""
        rank = len(checks.broadcast_shapes({x_name: x, y_name: y}))
        return cls((1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y)

    @property
    def shape(self) -> tuple[int, ...]:
        """The broadcast leading shape, in the caller's order."""
        return tuple(b if a == 1 else a for a, b in zip(self.x_shape, self.y_shape, strict=True))

    @property
    def _groups(self) -> tuple[list[int], list[int], list[int]]:
        shared: list[int] = []
        own_x: list[int] = []
        own_y: list[int] = []
        for axis, (a, b) in enumerate(zip(self.x_shape, self.y_shape, strict=True)):
            (shared if a == b else own_y if a == 1 else own_x).append(axis)
        return shared, own_x, own_y

    @property
    def sizes(self) -> tuple[int, int, int]:
        """S, A and C."""
        shape = self.shape
        s, a, c = (math.prod(shape[axis] for axis in group) for group in self._groups)
        return s, a, c

    def x_rows(self, x: Array, trailing: int) -> Array:
        """Regroups x (or something of its leading shape) as ``[S, A, ...]``."""
        shared, own_x, own_y = self._groups
        x = x.reshape(self.x_shape + x.shape[x.ndim - trailing :])
        return _regroup(x, (shared, own_x + own_y), trailing)

    def y_rows(self, y: Array, trailing: int) -> Array:
        """Regroups y (or something of its leading shape) as ``[S, C, ...]``."""
        shared, own_x, own_y = self._groups
        y = y.reshape(self.y_shape + y.shape[y.ndim - trailing :])
        return _regroup(y, (shared, own_y + own_x), trailing)

    def pair_rows(self, values: Array) -> Array:
        """Broadcasts values over the leading axes and regroups them as ``[S, A, C]``."""
        return _regroup(jnp.broadcast_to(values, self.shape), self._groups, 0)

    def pair_matrices(self, matrices: Array) -> Array:
        """Matrices ``[..., n, m]`` as ``[S, A, C, n, m]``; one for all as ``[1, 1, 1, n, m]``."""
        inner = matrices.shape[-2:]
        if matrices.size == math.prod(inner):
            return matrices.reshape((1, 1, 1, *inner))
        return _regroup(jnp.broadcast_to(matrices, self.shape + inner), self._groups, 2)

    def restore(self, values: Array) -> Array:
        """Brings ``[S, A, C, ...]`` results back to the caller's leading axes."""
        order = [axis for group in self._groups for axis in group]
        rest = values.shape[3:]
        values = values.reshape(tuple(self.shape[axis] for axis in order) + rest)
        inverse = [order.index(axis) for axis in range(len(order))]
        return values.transpose(inverse + list(range(len(order), values.ndim)))


def _regroup(array: Array, groups: tuple[list[int], ...], trailing: int) -> Array:
    rank = array.ndim - trailing
    sizes = tuple(math.prod(array.shape[axis] for axis in group) for group in groups)
    order = [axis for group in groups for axis in group]
    array = array.transpose(order + list(range(rank, array.ndim)))
    return array.reshape(sizes + array.shape[rank:])
