"""Several processes that do one job together: how they find each other, and which one writes.

Each process reads its own copy of the data, or a part of it, and drives the devices of its machine.
Process 0 alone owns the output folder: it writes, reads checkpoints and tells the others what is
there, so that the folder need not be shared. Alone, a process pays nothing for any of this.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option

T = TypeVar("T")

CLUSTER = "Several processes, on one machine or more"

_PATIENCE_MS = 30 * 24 * 3600 * 1000  # as long as one may read, draw or write while others wait
_TEXT_BYTES = 2048  # of an error that others are told
_SMALLEST = 1024  # bytes sent at once, so that few sizes are compiled


@dataclasses.dataclass(frozen=True)
class ClusterOptions(Options):
    """The settings by which processes find each other; those of a job are a subclass.

    Raises:
        UserError: a value that its flag does not allow, or some of the three without the others.
    """

    distributed: bool = option(
        False,
        CLUSTER,
        "This is one of several processes that are started alike. What the three flags below do "
        "not say is found by jax in the environment of SLURM, Open MPI, Kubernetes or Cloud TPU, "
        "or read from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or from "
        "MASTER_ADDR, MASTER_PORT, WORLD_SIZE and RANK.",
        changes_result=False,
    )
    coordinator_address: str = option(
        "",
        CLUSTER,
        "HOST:PORT of process 0, the port free there. Given, --distributed is true.",
        changes_result=False,
    )
    num_processes: int = option(
        0, CLUSTER, "How many processes there are; 0: see --distributed.", minimum=0,
        changes_result=False,
    )  # fmt: skip
    process_id: int = option(
        -1, CLUSTER, "The number of this one, from 0; -1: see --distributed.", minimum=-1,
        changes_result=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if (self.num_processes or self.process_id >= 0) and not self.is_cluster:
            raise UserError(
                "--num_processes and --process_id: only with --coordinator_address or --distributed"
            )
        if self.num_processes and self.process_id >= self.num_processes:
            raise UserError(
                f"--process_id={self.process_id}: must be from 0 to {self.num_processes - 1}, with "
                f"--num_processes={self.num_processes}"
            )

    @property
    def is_cluster(self) -> bool:
        """Whether there are other processes."""
        return self.distributed or bool(self.coordinator_address)


class OtherProcessError(UserError):
    """What ended another process, and with it this one; all of them know."""


class _Cluster:
    """What this process knows of the others.

    Attributes:
        is_joined: whether there are any.
        meetings: how often they have met: each place has a name of its own.
    """

    is_joined = False
    meetings = 0


def initialize(options: ClusterOptions) -> None:
    """Joins the other processes, where there are any; must come before jax touches a device.

    Args:
        options: of this process. A second call does nothing.

    Raises:
        UserError: they are not found; says which flags to give.
    """
    if not options.is_cluster or _Cluster.is_joined:
        return
    import jax  # here, as below: not every script that has these options needs it otherwise

    # It would take SIGTERM for itself, by which jobs are stopped (experiments.shared.interrupts).
    jax.config.update("jax_enable_preemption_service", False)
    found = _found(options)
    try:
        jax.distributed.initialize(
            **found,
            cluster_detection_method=None if None in found.values() else "deactivate",
        )
    except (ValueError, TypeError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--distributed: the processes do not find each other ({line}); give "
            "--coordinator_address=HOST:PORT, --num_processes=N and --process_id=K, or start them "
            "by srun or mpirun"
        ) from error
    _Cluster.is_joined = True


def count() -> int:
    """Returns how many processes there are; touches no device where there is one."""
    if not _Cluster.is_joined:
        return 1
    import jax

    return jax.process_count()


def number() -> int:
    """Returns which process this is, from 0."""
    if not _Cluster.is_joined:
        return 0
    import jax

    return jax.process_index()


def is_first() -> bool:
    """Returns whether this process is the one that writes."""
    return number() == 0


def on_first(function: Callable[[], T]) -> T:
    """Calls a function in process 0 alone, which the others wait for, and returns its result.

    Every process must come here, in the same order.

    Args:
        function: its result is of JSON's types.

    Returns:
        The result, in every process.

    Raises:
        OtherProcessError: in the others, where process 0 raised a UserError.
        UserError: that one, in process 0.
    """
    if count() == 1:
        return function()
    result: Any = None
    failure: UserError | None = None
    if number() == 0:
        try:
            result = function()
        except UserError as error:
            failure = error
    told = _from_first_text(json.dumps([str(failure) if failure else None, result]))
    if failure is not None:
        raise failure
    error_text, result = json.loads(told)
    if error_text is not None:
        raise OtherProcessError(f"process 0 stopped: {error_text}")
    return result


def in_each(function: Callable[[], T]) -> T:
    """Calls a function in every process; where it raises in one, all of them stop.

    Returns:
        The result, each process its own.

    Raises:
        OtherProcessError: another process raised a UserError; says which, and what.
        UserError: this one raised it.
    """
    if count() == 1:
        return function()
    failure: UserError | None = None
    result: Any = None
    try:
        result = function()
    except UserError as error:
        failure = error
    meet()
    text = str(failure).encode()[:_TEXT_BYTES] if failure else b""
    texts = _of_all(np.frombuffer(text.ljust(_TEXT_BYTES, b"\0"), np.uint8))
    if failure is not None:
        raise failure
    for number, row in enumerate(texts):
        if row.any():
            told = row.tobytes().rstrip(b"\0").decode(errors="replace")
            raise OtherProcessError(f"process {number} stopped: {told}")
    return result


def meet() -> None:
    """Waits until all processes are here, however long that is.

    What sends arrays among CPUs waits for half a minute only, and jax at the end of a process for
    five minutes.

    Raises:
        OtherProcessError: one has ended before.
    """
    if count() == 1:
        return
    import jax
    from orbax.checkpoint import multihost

    _Cluster.meetings += 1
    try:
        multihost.get_barrier_sync_fn()(
            key=f"tempalign-{_Cluster.meetings}", timeout_ms=_PATIENCE_MS
        )
    except jax.errors.JaxRuntimeError as error:
        raise OtherProcessError(lost(error)) from error


def from_first(tree: Any) -> Any:
    """Returns a pytree of arrays as process 0 has it, to the bit.

    Args:
        tree: in the others, arrays of the same shapes and dtypes.
    """
    import jax

    if count() == 1:
        return tree
    meet()
    return jax.tree.map(lambda leaf: _leaf_from_first(np.asarray(leaf)), tree)


def to_host(tree: Any) -> Any:
    """Returns a pytree of arrays as NumPy has it, whole in every process.

    What lies in parts on devices of several processes is sent to all of them, one array after the
    other: every device must have room for the largest.
    """
    import jax
    from jax.experimental import multihost_utils

    def whole(leaf: Any) -> np.ndarray:
        is_here = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
        if is_here or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(whole, tree)


def _found(options: ClusterOptions) -> dict[str, Any]:
    """What is known of the processes without asking jax; None for the rest."""
    variables = os.environ
    address = options.coordinator_address or variables.get("JAX_COORDINATOR_ADDRESS", "")
    if not address and {"MASTER_ADDR", "MASTER_PORT"} <= variables.keys():
        address = f"{variables['MASTER_ADDR']}:{variables['MASTER_PORT']}"
    if address and not address.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator_address={address}: must be HOST:PORT, such as node1:8476")
    return {
        "coordinator_address": address or None,
        "num_processes": options.num_processes or _variable("JAX_NUM_PROCESSES", "WORLD_SIZE"),
        "process_id": (
            options.process_id if options.process_id >= 0 else _variable("JAX_PROCESS_ID", "RANK")
        ),
    }


def _variable(*names: str) -> int | None:
    """The first of some variables of the environment that is set."""
    for name in names:
        if text := os.environ.get(name):
            if not text.isdecimal():
                raise UserError(f"--distributed: {name}={text} must be a whole number")
            return int(text)
    return None


def is_lost(error: Exception) -> bool:
    """Returns whether an error of jax is that of sending something to another process."""
    import jax

    # What is sent with Gloo fails as a ValueError where the sum is taken on the host.
    return isinstance(error, (jax.errors.JaxRuntimeError, ValueError)) and any(
        word in str(error) for word in ("Gloo", "NCCL", "coordination", "UNAVAILABLE")
    )


def lost(error: Exception) -> str:
    """Returns what to say when other processes do not answer."""
    line = str(error).strip().partition("\n")[0]
    return (
        f"another process of this job has stopped or cannot be reached ({line[:200]}); what it "
        "said itself tells why. What was saved is kept: start all of them again with --resume"
    )


def _from_first_text(text: str) -> str:
    """A text of process 0."""
    meet()
    content = text.encode() if number() == 0 else b""
    size = int(_leaf_from_first(np.array(len(content), np.int64)))
    room = _SMALLEST
    while room < size:
        room *= 2
    sent = np.frombuffer(content.ljust(room, b"\0"), np.uint8)
    return _leaf_from_first(sent).tobytes()[:size].decode()


def _leaf_from_first(array: np.ndarray) -> np.ndarray:
    """An array of process 0, sent as bytes: jax would make float32 of float64."""
    from jax.experimental import multihost_utils

    array = np.ascontiguousarray(array).reshape(array.shape)
    sent = np.frombuffer(array.tobytes(), np.uint8)
    if not sent.size:
        return array
    found = np.asarray(multihost_utils.broadcast_one_to_all(sent))
    return np.frombuffer(found.tobytes(), array.dtype).reshape(array.shape)


def _of_all(array: np.ndarray) -> np.ndarray:
    """An array of each process, one after the other."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array))
