"""Devices that share the batches of a training, and may share its classes: meshes and placement.

There is one mechanism for all trainings. The devices of all processes are the rows of a mesh, of
which each takes some rows of every batch (the axis "batch"); with class shards, several devices
work on the same rows, each for some of the classes (the axis "class"). A step is written for the
rows and classes that one device has; `over` runs it on all of them, and `sum_over` adds up what
they found. With one device there is no mesh, and the step is compiled as it is written.

Batches that do not divide are filled up with rows that count nothing (`filled`), so any number of
devices gives the numbers of one, to rounding.
"""

import functools
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.shared import processes
from experiments.shared.errors import UserError

T = TypeVar("T")

BATCH, CLASS = "batch", "class"
ROWS, WHOLE = PartitionSpec(BATCH), PartitionSpec()
CLASSES = PartitionSpec(CLASS)


def mesh_of(class_shards: int = 1) -> Mesh | None:
    """Returns the mesh of all devices of all processes, or None if there is one.

    Args:
        class_shards: among how many devices the classes are divided.

    Raises:
        UserError: the devices cannot be divided so.
    """
    devices = np.array(jax.devices())
    local = jax.local_device_count()
    if len(devices) % class_shards or (local % class_shards and class_shards % local):
        processes = jax.process_count()
        each = f", {local} of each process" if processes > 1 else ""
        raise UserError(
            f"--class_shards={class_shards}: must divide the {len(devices)} devices that jax sees"
            f"{each}"
        )
    if len(devices) == 1:
        return None
    if class_shards == 1:
        return Mesh(devices, (BATCH,))
    return Mesh(devices.reshape(-1, class_shards), (BATCH, CLASS))


def filled(mesh: Mesh | None, rows: int) -> int:
    """Returns how many rows a batch has when it is filled up to divide among the devices."""
    return rows if mesh is None else -(-rows // mesh.shape[BATCH]) * mesh.shape[BATCH]


def class_shards(mesh: Mesh | None) -> int:
    """Returns among how many devices the classes are divided."""
    return 1 if mesh is None else mesh.shape.get(CLASS, 1)


def share(mesh: Mesh | None) -> tuple[int, int]:
    """Returns which part of each batch this process needs: (K, N), the K-th of N equal parts."""
    if mesh is None or jax.process_count() == 1:
        return 0, 1
    own = jax.process_index()
    mine = [row for row, devices in enumerate(_rows_of(mesh)) if any(
        device.process_index == own for device in devices
    )]  # fmt: skip
    return mine[0] // len(mine), mesh.shape[BATCH] // len(mine)


class Reading(TypedDict):
    """What a reader of batches is told of the devices that it reads for.

    Attributes:
        process_index: which part of each batch this process needs.
        process_count: how many equal parts there are.
        filled: rows that filler makes of each batch.
    """

    process_index: int
    process_count: int
    filled: int


def reading(mesh: Mesh | None, rows: int) -> Reading:
    """Returns what the reader of batches of so many rows is told, as its keyword arguments."""
    index, count = share(mesh)
    return {"process_index": index, "process_count": count, "filled": filled(mesh, rows)}


def place_rows(mesh: Mesh | None, tree: T) -> T:
    """Returns arrays, each row on the devices that work on it.

    Args:
        mesh: of the devices; None returns what is given.
        tree: NumPy arrays of the rows that this process needs (see `share`), which are as many as
            its devices can divide.
    """
    if mesh is None:
        return tree
    sharding, (_, parts) = NamedSharding(mesh, ROWS), share(mesh)
    if parts == 1:
        return _placed(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        local = np.asarray(leaf)
        shape = (parts * local.shape[0], *local.shape[1:])
        return jax.make_array_from_process_local_data(sharding, local, shape)

    return jax.tree.map(placed, tree)


def place_filled(mesh: Mesh | None, tree: T, filler: int = 0) -> T:
    """Returns arrays that every process has whole, filled up and divided by rows."""
    if mesh is None:
        return tree

    def full(leaf: Any) -> np.ndarray:
        missing = filled(mesh, len(leaf)) - len(leaf)
        rest = ((0, missing), *((0, 0),) * (np.ndim(leaf) - 1))
        return np.pad(leaf, rest, constant_values=filler)

    return _placed(jax.tree.map(full, tree), NamedSharding(mesh, ROWS))


def place_whole(mesh: Mesh | None, tree: T) -> T:
    """Returns what each device needs whole, on all of them."""
    return tree if mesh is None else _placed(tree, NamedSharding(mesh, WHOLE))


def copied(mesh: Mesh | None, tree: T) -> T:
    """Returns copies of arrays on every device: a step may take their buffers for its result."""
    if mesh is None:
        return jax.tree.map(jnp.array, tree)
    return place_whole(mesh, jax.tree.map(np.array, tree))


def on_host(mesh: Mesh | None, tree: T) -> T:
    """Returns what all devices have as NumPy arrays, for work of this process alone."""
    return tree if mesh is None else processes.to_host(tree)


def place(mesh: Mesh | None, tree: T, specs: Any) -> T:
    """Returns arrays, which every process has whole, placed by a tree of specs."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf, spec: _placed(leaf, NamedSharding(mesh, spec)), tree, specs)


def over(
    mesh: Mesh | None, function: Callable, in_specs: Any, out_specs: Any, *, checked: bool = True
) -> Callable:
    """Returns the function, on each device's share where there are several.

    Args:
        mesh: of the devices.
        function: of arrays; what it differentiates and is the same on several devices has the sum
            of their gradients, by jax.
        in_specs: of its arguments: ROWS, WHOLE, CLASSES or trees of them.
        out_specs: of its result; WHOLE for what is the same everywhere, such as sums.
        checked: False for what jax cannot follow, such as loops of optax: no gradient may pass it.
    """
    if mesh is None:
        return function
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=checked
    )


def sum_over(mesh: Mesh | None, value: T) -> T:
    """Returns the sum over all rows of what each device found for its own, within `over`.

    Devices that share the classes of the same rows must have found the same: it counts once.
    """
    if mesh is None:
        return value
    if CLASS not in mesh.shape:
        return jax.tree.map(lambda leaf: jax.lax.psum(leaf, BATCH), value)
    speaks = jax.lax.axis_index(CLASS) == 0

    def total(leaf: jax.Array) -> jax.Array:
        return jax.lax.psum(jnp.where(speaks, leaf, jnp.zeros_like(leaf)), (BATCH, CLASS))

    return jax.tree.map(total, value)


def all_classes(mesh: Mesh | None, scores: jax.Array, count: int) -> jax.Array:
    """Returns scores ``[..., count]`` of all classes, of each device's share, within `over`."""
    if class_shards(mesh) == 1:
        return scores
    gathered = jax.lax.all_gather(scores, CLASS, axis=scores.ndim - 1, tiled=True)
    return gathered[..., :count]


def once(mesh: Mesh | None, loss: jax.Array) -> jax.Array:
    """Returns a loss to differentiate, within `over`: devices that share classes have it once."""
    if class_shards(mesh) == 1:
        return loss
    return jnp.where(jax.lax.axis_index(CLASS) == 0, loss, jnp.zeros_like(loss))


def valid_rows(mesh: Mesh | None, count: int) -> jax.Array:
    """Returns 1 for each of this device's rows that is one of the first `count`, within `over`."""
    if mesh is None:
        return jnp.ones(count, jnp.float32)
    own = filled(mesh, count) // mesh.shape[BATCH]
    rows = jax.lax.axis_index(BATCH) * own + jnp.arange(own)
    return (rows < count).astype(jnp.float32)


def everywhere(mesh: Mesh | None, value: Any) -> Any:
    """Returns an array with all of it on every device, within `jax.jit`: all processes read it."""
    if mesh is None:
        return value
    return jax.lax.with_sharding_constraint(value, NamedSharding(mesh, WHOLE))


def _placed(tree: T, sharding: NamedSharding) -> T:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # `jax.device_put` would first compare what all processes have.
    def placed(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(placed, tree)


@functools.lru_cache(maxsize=8)
def _rows_of(mesh: Mesh) -> tuple[tuple[jax.Device, ...], ...]:
    """The devices of each row."""
    return tuple(tuple(row) for row in mesh.devices.reshape(mesh.shape[BATCH], -1))
