"""A function that is linear in some of its arguments, with a transposition of its own.

A gradient that is made by a loop over paths cannot be found by transposing the loop that makes the
tangent: autodiff would gather every row that the loop reads. `jax.custom_vjp` has both loops, but
no forward mode; `jax.custom_derivatives.linear_call` has that too, but no `vmap`. So here is a
primitive that has all of it: the tangent of a distance is `linear` in the tangents of its
arguments, forward mode calls it, reverse mode transposes it, and what comes of that is `linear`
again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tempalign._engine.modes import in_our_modes
from tempalign._types import Array

Function = Callable[[Any, Sequence[Array]], Sequence[Array]]


class Form(NamedTuple):
    """One function of residuals and of what it is linear in, written in two ways.

    Both take ``(residuals, arguments)`` and return a sequence of arrays, and are compared and
    hashed as what they do: programs are kept for them.

    Attributes:
        fast: what is run; never differentiated.
        plain: the same, differentiable any number of times, for the derivative in the residuals.
    """

    fast: Function
    plain: Function


def linear(there: Form, back: Form, residuals: Any, arguments: Sequence[Array]) -> list[Array]:
    """``there(residuals, arguments)``, whose transposition is `back`.

    Args:
        there: what to compute.
        back: cotangents of the arguments, in their shapes and dtypes, from those of the results.
        residuals: arrays in any containers.
        arguments: what the results are linear in.

    Returns:
        The results.
    """
    known, tree = jax.tree.flatten(residuals)
    return linear_p.bind(*known, *arguments, there=there, back=back, tree=tree)


def whole(function: Function, arguments: Any) -> list[Array]:
    """``function(arguments, ())`` in one piece, for arguments that have no tangents.

    Otherwise autodiff of a loop around it would divide it into what varies over the loop and what
    does not, and keep all that the two have in common (for costs, each feature by itself).
    """
    form = Form(function, function)
    return linear(form, form, arguments, ())


@dataclass(frozen=True)
class _Batched:
    """A function over a batch, whose axis is the first where an array has one.

    Attributes:
        function: of one entry.
        known: the axis of each residual, 0 or None.
        arguments: the axis of each argument, or of all.
        summed: of which results the sum over the batch is wanted; empty: of none.
    """

    function: Function
    known: tuple[int | None, ...]
    arguments: tuple[int | None, ...] | int
    summed: tuple[bool, ...] = ()

    def __call__(self, residuals: Any, arguments: Sequence[Array]) -> Sequence[Array]:
        known, tree = jax.tree.flatten(residuals)

        def one(known: list[Array], arguments: tuple[Array, ...]) -> Sequence[Array]:
            return tuple(self.function(jax.tree.unflatten(tree, known), arguments))

        over = jax.vmap(one, in_axes=(list(self.known), self.arguments))
        found = over(known, tuple(arguments))
        summed = self.summed or (False,) * len(found)
        return [
            jnp.sum(result, axis=0) if total else result
            for result, total in zip(found, summed, strict=True)
        ]


def _compute(*given: Array, there: Form, back: Form, tree: Any) -> list[Array]:
    del back
    size = tree.num_leaves
    return list(there.fast(jax.tree.unflatten(tree, given[:size]), given[size:]))


# Traced once, for its shapes, and lowered as that.
_program = jax.jit(in_our_modes(_compute), static_argnames=("there", "back", "tree"))


def _shapes(*given: Any, **params: Any) -> list[Any]:
    """Abstract evaluation: with mesh axes and symbolic sizes, as tracing finds them."""
    return list(jax.make_jaxpr(partial(_program, **params))(*given).out_avals)


def _jvp(
    primals: Sequence[Array], tangents: Sequence[Any], *, there: Form, back: Form, tree: Any
) -> tuple[list[Array], list[Any]]:
    size = tree.num_leaves
    known, arguments = primals[:size], primals[size:]
    d_known, d_arguments = tangents[:size], tangents[size:]
    call = partial(linear_p.bind, there=there, back=back, tree=tree)
    found = call(*primals)
    parts = []
    if not all(map(_is_zero, d_arguments)):
        parts.append(call(*known, *map(ad.instantiate_zeros, d_arguments)))
    moving = [k for k, tangent in enumerate(d_known) if not _is_zero(tangent)]
    if moving:

        def plain(*moved: Array) -> list[Array]:
            given = list(known)
            for k, one in zip(moving, moved, strict=True):
                given[k] = one
            return list(there.plain(jax.tree.unflatten(tree, given), arguments))

        _, pushed = jax.jvp(plain, [known[k] for k in moving], [d_known[k] for k in moving])
        parts.append(pushed)
    if not parts:
        return found, [ad.Zero(jax.typeof(one).to_tangent_aval()) for one in found]
    return found, [sum(of_one[1:], start=of_one[0]) for of_one in zip(*parts, strict=True)]


def _transpose(
    cotangents: Sequence[Any], *given: Any, there: Form, back: Form, tree: Any
) -> list[Any]:
    size = tree.num_leaves
    asked = [ad.is_undefined_primal(one) for one in given]
    if all(map(_is_zero, cotangents)):
        return [
            ad.Zero(one.aval) if wants else None for one, wants in zip(given, asked, strict=True)
        ]
    pulled = linear_p.bind(
        *given[:size], *map(ad.instantiate_zeros, cotangents), there=back, back=there, tree=tree
    )
    # An argument that is a constant may stand among them: nobody asks for its cotangent.
    found = [one if wants else None for one, wants in zip(pulled, asked[size:], strict=True)]
    return [None] * size + found


def _batch(
    given: Sequence[Array], axes: Sequence[int | None], *, there: Form, back: Form, tree: Any
) -> tuple[list[Array], list[int]]:
    given = [
        one if axis is None else jnp.moveaxis(one, axis, 0)
        for one, axis in zip(given, axes, strict=True)
    ]
    first = tuple(None if axis is None else 0 for axis in axes)
    known, arguments = first[: tree.num_leaves], first[tree.num_leaves :]
    summed = tuple(axis is None for axis in arguments)
    found = linear_p.bind(
        *given,
        there=Form(*(_Batched(one, known, arguments) for one in there)),
        back=Form(*(_Batched(one, known, 0, summed) for one in back)),
        tree=tree,
    )
    return found, [0] * len(found)


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero


linear_p = Primitive("tempalign_linear")
linear_p.multiple_results = True
linear_p.def_impl(_program)
linear_p.def_abstract_eval(in_our_modes(_shapes))
ad.primitive_jvps[linear_p] = in_our_modes(_jvp)
ad.primitive_transposes[linear_p] = in_our_modes(_transpose)
batching.primitive_batchers[linear_p] = in_our_modes(_batch)
mlir.register_lowering(linear_p, mlir.lower_fun(_program, multiple_results=True))
