"""All rows of the benchmark, and how they are chosen."""

from collections.abc import Sequence

from tempalign.kernels.bench import specs
from tempalign.kernels.bench.alignments import of_alignment, of_barycenter, of_episode
from tempalign.kernels.bench.dejavid import of_costs, of_dejavid, of_training
from tempalign.kernels.bench.workload import Workload, on_gpu
from tempalign.kernels.gpu.specs import DEJAVID

WORKLOADS = (
    *map(of_alignment, specs.ALIGNMENTS),
    *map(of_barycenter, specs.BARYCENTERS),
    *map(of_episode, specs.EPISODES),
    *map(of_costs, DEJAVID.values()),
    *map(of_dejavid, DEJAVID.values()),
    *(of_dejavid(spec, "float16") for spec in DEJAVID.values()),
    *map(of_training, DEJAVID.values()),
)


def select(only: Sequence[str], workloads: Sequence[Workload] = WORKLOADS) -> list[Workload]:
    """The workloads that ``--only`` means.

    Args:
        only: parts of names, or whole names, which mean themselves alone; none means everything
            that suits the machine.
        workloads: to choose from.

    Returns:
        The matches of all parts. A part that matches shorter ones leaves the long ones to a GPU.

    Raises:
        ValueError: a part of no name.
    """
    wanted: set[str] = set()
    for part in only or [""]:
        matches = [workload for workload in workloads if workload.name == part]
        matches = matches or [workload for workload in workloads if part in workload.name]
        if not matches:
            names = ", ".join(workload.name for workload in workloads)
            raise ValueError(f"--only {part!r} matches no workload; there are {names}")
        short = [workload for workload in matches if not workload.long]
        wanted.update(workload.name for workload in (matches if on_gpu() else short or matches))
    return [workload for workload in workloads if workload.name in wanted]
