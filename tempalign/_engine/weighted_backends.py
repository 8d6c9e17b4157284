"""Who finds the paths of DejaVid's distance and walks along them: XLA, GPU kernels, native code.

Each finds distances ``[S*A*C]`` and paths in a form of its own, makes tangents and gradients from
those, and gives them as ``rows [P, S*A*C]`` to the plain sums that autodiff can go through.
`weighted` joins them to one distance with one derivative rule.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from tempalign._engine import backends, costs, derivative, platforms
from tempalign._engine.along_path import (
    Operands,
    Tangents,
    path_cost,
    path_gradients,
    path_tangents,
    plain_tangents,
)
from tempalign._engine.backends import Choice
from tempalign._engine.derivative import Lanes
from tempalign._engine.model import Model
from tempalign._engine.recurrence import Ends
from tempalign._engine.shards import alike
from tempalign._types import Array
from tempalign.kernels.cpu import native

Decides = tuple[Array, Array] | None
Asked = tuple[bool, ...]
Paths = tuple[Array, ...]
T = TypeVar("T")


class Static(NamedTuple):
    """What a call is compiled for."""

    model: Model
    choice: Choice


class Backend(Protocol):
    """What the distance needs; nothing of it is differentiated."""

    def finite(self, arrays: T) -> T:
        """Arrays as the walks take them."""

    def distances(self, operands: Operands, decides: Decides, ends: Ends | None) -> Array:
        """Distances ``[S*A*C]``."""

    def paths(self, operands: Operands, decides: Decides, ends: Ends | None) -> tuple[Array, Paths]:
        """Distances, and paths as this backend has them."""

    def tangents(self, operands: Operands, paths: Paths, moved: Tangents) -> Array:
        """Of the distances."""

    def gradients(
        self, operands: Operands, paths: Paths, cotangent: Array, asked: Asked
    ) -> tuple[Array | None, ...]:
        """Of the operands; anything for one that nobody asked for."""

    def rows(self, operands: Operands, paths: Paths) -> Array:
        """Paths as ``rows [P, S*A*C]``."""


def backend_of(static: Static) -> Backend:
    """The one that a call chose."""
    name = static.choice.backend
    if name == "xla":
        return _Xla(static.model)
    return _Native(static.model) if name == "native" else _Kernels(*static)


@dataclass(frozen=True)
class _Xla:
    model: Model

    def finite(self, arrays: T) -> T:
        return arrays

    def distances(self, operands: Operands, decides: Decides, ends: Ends | None) -> Array:
        if decides is None:  # no path is needed
            return derivative.value(self.model, self._lanes(wide(operands), ends))
        return self.paths(operands, decides, ends)[0]

    def paths(self, operands: Operands, decides: Decides, ends: Ends | None) -> tuple[Array, Paths]:
        live = wide(operands)
        chooser = live if decides is None else wide(Operands(operands.x, *decides))
        value, rows = derivative.path(self.model, self._lanes(chooser, ends))
        return (value if decides is None else path_cost(live, rows)), (rows,)

    def _lanes(self, operands: Operands, ends: Ends | None) -> Lanes:
        cost = costs.weighted_manhattan(*operands)
        return Lanes(cost.reshape(cost.shape[:2] + (-1,)), ends, None, None, None)

    def tangents(self, operands: Operands, paths: Paths, moved: Tangents) -> Array:
        return path_tangents(wide(operands), paths[0], moved)

    def gradients(
        self, operands: Operands, paths: Paths, cotangent: Array, asked: Asked
    ) -> Operands:
        del asked  # what is not used is dead code that the compiler drops
        return path_gradients(wide(operands), paths[0], cotangent)

    def rows(self, operands: Operands, paths: Paths) -> Array:
        del operands
        return paths[0]


@dataclass(frozen=True)
class _Kernels:
    """Pallas kernels for GPUs; where XLA may take over, the platform of the lowering decides."""

    model: Model
    choice: Choice

    @property
    def kernels(self) -> Any:
        return backends.kernels_for(self.model)

    @property
    def interpret(self) -> bool:
        return self.choice.backend == "pallas_interpret"

    def finite(self, arrays: T) -> T:
        return _finite(arrays)

    def distances(self, operands: Operands, decides: Decides, ends: Ends | None) -> Array:
        return self.paths(operands, decides, ends)[0]

    def paths(self, operands: Operands, decides: Decides, ends: Ends | None) -> tuple[Array, Paths]:
        on_xla = _Xla(self.model).paths

        def as_ranges(operands: Operands, value: Array, paths: Paths) -> tuple[Array, Any]:
            return self.kernels.paths_as_ranges(operands, value, *paths)

        value, found = self._either(
            partial(self.kernels.forward, self.model, interpret=self.interpret),
            lambda *given: as_ranges(given[0], *on_xla(*given)),
            (operands, decides, ends),
        )
        return value, tuple(found)

    def tangents(self, operands: Operands, paths: Paths, moved: Tangents) -> Array:
        # There is no kernel for it, and one lane after the other is no way for a GPU.
        arguments = wide(operands), self.rows(operands, paths), moved
        return self._either(plain_tangents, path_tangents, arguments)

    def gradients(
        self, operands: Operands, paths: Paths, cotangent: Array, asked: Asked
    ) -> Operands:
        del asked

        def on_xla(operands: Operands, paths: Paths, cotangent: Array) -> Operands:
            return path_gradients(wide(operands), self.rows(operands, paths), cotangent)

        backward = partial(self.kernels.backward, interpret=self.interpret)
        return self._either(backward, on_xla, (operands, self.kernels.Paths(*paths), cotangent))

    def rows(self, operands: Operands, paths: Paths) -> Array:
        return self.kernels.ranges_as_rows(operands, self.kernels.Paths(*paths))

    def _either(self, kernels: Any, xla: Any, arguments: tuple[Any, ...]) -> Any:
        if self.choice.or_xla:
            return platforms.on_cuda(kernels, xla, *arguments)
        return kernels(*arguments)


@dataclass(frozen=True)
class _Native:
    """Native code for CPUs; paths are ``rows [S, A, C, P]``."""

    model: Model

    def finite(self, arrays: T) -> T:
        return arrays  # lanes that are spoiled are walked to no end, and seen by nobody

    def distances(self, operands: Operands, decides: Decides, ends: Ends | None) -> Array:
        return self._call("weighted_value", operands, decides, ends)[0].reshape(-1)

    def paths(self, operands: Operands, decides: Decides, ends: Ends | None) -> tuple[Array, Paths]:
        value, rows = self._call("weighted_path", operands, decides, ends)
        return value.reshape(-1), (rows,)

    def tangents(self, operands: Operands, paths: Paths, moved: Tangents) -> Array:
        given, (rows,), moved = alike((wide(operands), paths, moved))
        asked = tuple(one is not None for one in moved)
        found = native.call(
            "weighted_push",
            self.model,
            [*given, rows, *(one for one in moved if one is not None)],
            [(rows.shape[:3], given.x.dtype)],
            _PushOnXla(asked),
            asked=native.bits(asked),
            has_decides=0,
            has_lengths=0,
        )
        return found[0].reshape(-1)

    def gradients(
        self, operands: Operands, paths: Paths, cotangent: Array, asked: Asked
    ) -> tuple[Array | None, ...]:
        given, (rows,), cotangent = alike((wide(operands), paths, cotangent))
        _, a, c = rows.shape[:3]
        # Centroid and weight come together.
        asked = asked[0], *(asked[1] or asked[2],) * 2
        found = iter(
            native.call(
                "weighted_pull",
                self.model,
                [*given, rows, cotangent.reshape(rows.shape[:3])],
                [(o.shape, o.dtype) for o, wanted in zip(given, asked, strict=True) if wanted],
                _PullOnXla(asked),
                asked=native.bits(asked),
                pairs_a=a,
                pairs_c=c,
                has_decides=0,
                has_lengths=0,
            )
        )
        return tuple(next(found) if wanted else None for wanted in asked)

    def rows(self, operands: Operands, paths: Paths) -> Array:
        del operands
        return _flat(paths[0])

    def _call(
        self, operation: str, operands: Operands, decides: Decides, ends: Ends | None
    ) -> list[Array]:
        dtype = wide_dtype(*operands)
        given, decides, ends = alike((wide(operands), decides, ends))
        s, a, t, _ = given.x.shape
        c, tc = given.centroid.shape[1:3]
        results: list[tuple[tuple[int, ...], Any]] = [((s, a, c), dtype)]
        if operation == "weighted_path":
            results.append(((s, a, c, tc + t - 1), jnp.int32))
        lengths = () if ends is None else tuple(one.reshape(s, a, c) + 1 for one in ends)
        others = () if decides is None else tuple(one.astype(dtype) for one in decides)
        decided, ragged = decides is not None, ends is not None
        on_xla = _FindOnXla(self.model, decided, ragged, rows=operation == "weighted_path")
        return native.call(
            operation,
            self.model,
            [*given, *others, *lengths],
            results,
            on_xla,
            has_decides=int(decided),
            has_lengths=int(ragged),
        )


@dataclass(frozen=True)
class _FindOnXla:
    """What takes the place of a call where it is lowered for another platform."""

    model: Model
    decided: bool
    lengths: bool
    rows: bool

    def __call__(self, *given: Array) -> list[Array]:
        rest = list(given[3:])
        decides = (rest.pop(0), rest.pop(0)) if self.decided else None
        ends = Ends(*(one.reshape(-1) - 1 for one in rest)) if self.lengths else None
        operands = Operands(*given[:3])
        sizes = *operands.x.shape[:2], operands.centroid.shape[1]
        value, (rows,) = _Xla(self.model).paths(operands, decides, ends)
        found = [value.reshape(sizes)]
        return [*found, rows.T.reshape(*sizes, -1)] if self.rows else found


@dataclass(frozen=True)
class _PushOnXla:
    asked: Asked

    def __call__(self, *given: Array) -> list[Array]:
        rows, rest = given[3], iter(given[4:])
        moved = Tangents(*(next(rest) if wanted else None for wanted in self.asked))
        return [path_tangents(Operands(*given[:3]), _flat(rows), moved).reshape(rows.shape[:3])]


@dataclass(frozen=True)
class _PullOnXla:
    asked: Asked

    def __call__(self, *given: Array) -> list[Array]:
        rows, cotangent = given[3:]
        found = path_gradients(Operands(*given[:3]), _flat(rows), cotangent.reshape(-1))
        return [one for one, wanted in zip(found, self.asked, strict=True) if wanted]


def _flat(rows: Array) -> Array:
    """``rows [S, A, C, P]`` as ``[P, S*A*C]``."""
    return rows.reshape(-1, rows.shape[-1]).T


def _finite(arrays: T) -> T:
    """0 for what is not finite: all lanes are walked, and 0 times that must not spread."""
    return jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0), arrays)


def wide_dtype(*arrays: Array) -> Any:
    """What is computed in: float32, or float64 if one of the arrays is."""
    return jnp.result_type(jnp.float32, *arrays)


def wide(operands: Operands) -> Operands:
    """The operands in the dtype that is computed in."""
    dtype = wide_dtype(*operands)
    return Operands(*(operand.astype(dtype) for operand in operands))
