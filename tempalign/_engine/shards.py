"""Under ``shard_map``: which mesh axes a value varies over."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
from jax import lax

T = TypeVar("T")


def alike(tree: T) -> T:
    """Marks all arrays of a tree as varying over every mesh axis that one of them varies over.

    A loop's carry must not begin to vary half-way, and a function with its own derivative rule
    must get its arguments in the form that it returns cotangents in; jax then sums the gradient
    of a replicated argument over the shards. Outside of ``shard_map`` nothing happens.
    """
    axes: frozenset = frozenset().union(*(_axes(leaf) for leaf in jax.tree.leaves(tree)))
    if not axes:
        return tree
    return jax.tree.map(lambda leaf: lax.pcast(leaf, tuple(axes - _axes(leaf)), to="varying"), tree)


def _axes(array: jax.Array) -> frozenset:
    aval = jax.typeof(array)
    kind = getattr(aval, "manual_axis_type", None)  # jax 0.10 on; called vma before
    return getattr(aval, "vma", frozenset()) if kind is None else kind.varying


def varies(tree: Any) -> bool:
    """Whether an array of the tree varies over a mesh axis, and jax keeps track of that."""
    return any(_axes(leaf) for leaf in jax.tree.leaves(tree))


def like(shapes: Sequence[jax.ShapeDtypeStruct], array: jax.Array) -> list[jax.ShapeDtypeStruct]:
    """The shapes of results that vary over the mesh axes that an array varies over."""
    if not _axes(array):
        return list(shapes)
    kind = jax.typeof(array).manual_axis_type
    return [jax.ShapeDtypeStruct(s.shape, s.dtype, manual_axis_type=kind) for s in shapes]
