"""What a library is handed, whatever the minimum; see `served` and `soft_served`."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp

from tempalign._engine import costs
from tempalign._engine.model import LocalCost, Model
from tempalign._engine.problem import Operands
from tempalign._engine.recurrence import Prices
from tempalign._engine.shards import alike
from tempalign._types import Array

Given = TypeVar("Given", bound=Any)


class OnXla(NamedTuple):
    """What takes over where a call is lowered for another platform, or exported.

    Attributes:
        values: of a model and operands, ``[S, A, C]``.
        paths: likewise values and ``rows [S, A, C, P]``.
        marginals: likewise values, expected alignments ``[S, A, C, n, m]`` and entropies.
    """

    values: Callable[[Model, Operands], Array]
    paths: Callable[[Model, Operands], tuple[Array, Array]]
    marginals: Callable[[Model, Operands], tuple[Array, ...]]


class Library(NamedTuple):
    """Native code, or kernels.

    Attributes:
        call: see `kernels.cpu.native.call`.
        wants_costs: whether it must be given the matrices of local costs of a model and operands.
        matrix: makes those of x, y and a cost, ``[S, A, C, n, m]``.
        xla: what takes over.
    """

    call: Callable[..., list[Array]]
    wants_costs: Callable[[Model, Operands], bool]
    matrix: Callable[[Array, Array, LocalCost], Array]
    xla: OnXla


class Static(NamedTuple):
    """What a call is compiled for."""

    model: Model
    library: Library

    @property
    def xla(self) -> OnXla:
        """What takes over."""
        return self.library.xla


class Fixed(NamedTuple):
    """What has no derivatives; see `Operands`."""

    rows: Array | None
    columns: Array | None
    valid: Array | None
    mask: Array | None

    @property
    def lengths(self) -> tuple[Array, Array] | None:
        """True lengths of both sequences, ``[S, A, C]``."""
        if self.rows is None or self.columns is None:
            return None
        return self.rows, self.columns


def divided(model: Model, operands: Operands) -> tuple[Array, Array, Array | None, Fixed]:
    """The operands as the library takes them: x, y, prices ``[4]`` (weights, penalty), the rest.

    Cosines: the library is given vectors of length 1, and what lies between those and the caller's
    is differentiated by jax.
    """
    x, y, rows, columns, valid, mask, _, prices = alike(operands)
    if model.cost == "cosine":
        (x, bad_x), (y, bad_y) = costs.unit(x), costs.unit(y)
        x, y = (jnp.where(bad[..., None], jnp.nan, a) for a, bad in ((x, bad_x), (y, bad_y)))
    numbers = None
    if prices is not None:
        weights, penalty = prices
        weights = jnp.ones_like(x, shape=3) if weights is None else weights
        penalty = jnp.zeros_like(x, shape=()) if penalty is None else penalty
        numbers = jnp.concatenate([weights, penalty[None]])
        good = jnp.all((numbers >= 0) & (numbers < jnp.inf))
        valid = good if valid is None else valid & good
    return alike((x, y, numbers, Fixed(rows, columns, valid, mask)))


class Present(NamedTuple):
    """Which operands that not every call has stand behind the sequences."""

    lengths: bool
    mask: bool
    prices: bool

    @classmethod
    def of(cls, fixed: Fixed, prices: Array | None) -> "Present":
        """Those of a call."""
        return cls(fixed.lengths is not None, fixed.mask is not None, prices is not None)

    @property
    def flags(self) -> dict[str, int]:
        """As attributes of the call."""
        return {f"has_{name}": int(there) for name, there in self._asdict().items()}

    def listed(self, fixed: Fixed, prices: Array | None) -> list[Array]:
        """The operands, in the library's order."""
        every = (*(fixed.lengths or ()), fixed.mask, prices)
        return [one for one in every if one is not None]

    def taken(self, listed: Sequence[Array]) -> tuple[Fixed, Array | None, list[Array]]:
        """From the library's order back to what was listed, and what is left over."""
        rest = list(listed)
        rows, columns = (rest.pop(0), rest.pop(0)) if self.lengths else (None, None)
        mask = rest.pop(0) if self.mask else None
        prices = rest.pop(0) if self.prices else None
        return Fixed(rows, columns, None, mask), prices, rest


def moved_to(given: Given, moving: Sequence[int], moved: Sequence[Array]) -> Given:
    """Some fields of a named tuple, by their numbers, replaced."""
    return given._replace(**dict(zip((given._fields[k] for k in moving), moved, strict=True)))


def prices_of(numbers: Array | None) -> Prices | None:
    """Weights and penalty as the engine has them."""
    return None if numbers is None else Prices(numbers[:3], numbers[3])


def costs_made_outside(model: Model, operands: Operands) -> bool:
    """Whether XLA makes the matrices of local costs, which native code is then given.

    It must where the cost is a function. It should where cosines of wide features make a product of
    matrices that is smaller than the sequences: XLA multiplies faster (measured at 8 x 8 frames of
    2048 features, twice as fast).
    """
    if callable(model.cost):
        return True
    wide = operands.x.shape[-1] >= 64
    return model.cost == "cosine" and wide and matrices_are_small(model, operands.x, operands.y)


def matrices_are_small(model: Model, x: Array, y: Array) -> bool:
    """Whether matrices of local costs are small beside what else a pair would need of sequences.

    Measured of the Jacobians of soft minima: they cost more from twice the size of the matrices and
    their slopes on. What belongs to pairs that share no sequence is no larger than the sequences.
    Where the caller asks for little memory, a matrix is what shall not be made.
    """
    if model.cost == "given" or model.recompute:
        return False
    (_, a, n, features), (_, c, m, _) = x.shape, y.shape
    return a * c > max(a, c) and (n + m) * features > 4 * n * m


def matrix_by_xla(x: Array, y: Array, cost: LocalCost) -> Array:
    """Matrices of local costs ``[S, A, C, n, m]``."""
    return costs.matrix(x, y, cost).transpose(2, 3, 4, 0, 1)


def with_given_costs(
    model: Model,
    operands: Operands,
    matrix: Callable[[Array, Array, LocalCost], Array] = matrix_by_xla,
) -> tuple[Model, Operands, tuple[int, ...]]:
    """The same problem from its matrices of local costs, and its S, A and C.

    What comes of it has their product as S, and A and C of 1.
    """
    cost = matrix(operands.x, operands.y, model.cost)
    *sizes, n, m = cost.shape
    rows, columns, valid = (
        None if one is None else jnp.broadcast_to(one, sizes).reshape(-1, 1, 1)
        for one in (operands.rows, operands.columns, operands.valid)
    )
    given = operands._replace(
        x=cost.reshape(-1, 1, n, m),
        y=jnp.zeros_like(cost, shape=(math.prod(sizes), 1, 1, 1)),
        rows=rows,
        columns=columns,
        valid=valid,
        mask=None if operands.mask is None else _flat_mask(operands.mask, tuple(sizes)),
    )
    return model.replace(cost="given"), given, tuple(sizes)


def _flat_mask(mask: Array, sizes: tuple[int, ...]) -> Array:
    inner = mask.shape[-2:]
    if mask.shape[:3] == (1, 1, 1):
        return mask
    return jnp.broadcast_to(mask, sizes + inner).reshape((-1, 1, 1) + inner)
