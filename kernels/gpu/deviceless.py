"""Compiles the kernels for a GPU that is not there: ``python -m tempalign.kernels.gpu.deviceless``.

jax's CUDA plugin compiles for a described card, all the way to PTX; `ptxas` and `cuobjdump` then
say what the machine code is like: registers, spills, shared memory, the instructions of each loop.
Needs the extra ``deviceless`` and ``JAX_PLATFORMS=cpu``. Nothing here says how long a kernel takes.
"""

import argparse
import collections
import contextlib
import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

import tempalign
from tempalign._engine import platforms
from tempalign._engine.model import Model, dtw, tam
from tempalign.kernels.bench.dejavid import of_dejavid
from tempalign.kernels.gpu import hard_strips, launch, soft_strips, specs

_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {card.shared_core}
  threads_per_core_limit: 2048 core_count: {card.cores} fpus_per_core: {card.lanes}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {card.bandwidth} l2_cache_size: {card.l2} clock_rate_ghz: {card.clock_ghz}
  device_memory_size: {card.memory} shared_memory_per_block_optin: {card.shared_block}
  cuda_compute_capability {{ major: {card.capability[0]} minor: {card.capability[1]} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 7 }}
device_description_str: "{card.name}"
"""

_ARITHMETIC = ("FADD", "FMUL", "FFMA", "FMNMX", "HADD2", "HFMA2", "HMUL2")
_DUMP = "--xla_dump_emitter_re=.*"


@dataclasses.dataclass
class Kernel:
    """The machine code of one kernel.

    Attributes:
        workload: whose it is.
        name: of the kernel.
        registers: of a thread.
        spilled_bytes: stores and loads together, of a thread.
        shared_bytes: static shared memory of a block.
        loop: instructions of the loop with the most arithmetic, by name.
        lead: of the loads in it, the fewest instructions from one to the first that needs what it
            brings, be it in the next turn. Nothing else hides that memory is slow where
            registers leave no room for many warps.
    """

    workload: str
    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    loop: dict[str, int]
    lead: int

    @property
    def arithmetic(self) -> float:
        """The share of floating-point arithmetic in the loop."""
        total = sum(self.loop.values())
        return sum(self.loop.get(name, 0) for name in _ARITHMETIC) / total if total else 0.0


def mesh_of(card: str, num_devices: int = 1) -> jax.sharding.Mesh:
    """Described cards of one machine, along the axis "batch"."""
    target = _TARGET.format(card=specs.CARDS[card])
    topology = topologies.get_topology_desc(
        card, platform="cuda", target_config=target, topology=f"1x1x{num_devices}"
    )
    return jax.sharding.Mesh(np.array(topology.devices).reshape(-1), ("batch",))


def shapes_on(mesh: jax.sharding.Mesh, spec: jax.sharding.PartitionSpec, tree: Any) -> Any:
    """The shapes of a tree of arrays (or of their shapes), placed on a mesh."""
    sharding = jax.sharding.NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def compile_on(mesh: jax.sharding.Mesh, jitted: Any, *arguments: Any) -> Any:
    """Compiles a jitted function for described cards, kernels included."""
    # From jax 0.11 the lowering asks the mesh which card it lowers for.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        lowered = jitted.trace(*arguments).lower(lowering_platforms=("cuda",))
    return lowered.compile()


def inspect(workload: str, folder: pathlib.Path) -> Iterator[Kernel]:
    """The kernels whose PTX lies in a folder."""
    for ptx in sorted(folder.glob("*.ptx")):
        target = re.search(r"\.target (sm_\w+)", ptx.read_text())
        if target is None:
            continue
        cubin = ptx.with_suffix(".cubin")
        command = [_tool("ptxas"), "-v", f"-arch={target[1]}", str(ptx), "-o", str(cubin)]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        about = re.split(r"Compiling entry function '(\w+)'", usage)
        sass = subprocess.run(
            [_tool("cuobjdump"), "-sass", str(cubin)], capture_output=True, text=True, check=True
        ).stdout
        code = dict(part.strip().split("\n", 1) for part in re.split(r"\n\s*Function : ", sass)[1:])
        for name, text in zip(about[1::2], about[2::2], strict=True):
            loop = _busiest_loop(code.get(name, ""))
            yield Kernel(
                workload,
                name,
                _number(r"Used (\d+) registers", text),
                _number(r"(\d+) bytes spill stores", text)
                + _number(r"(\d+) bytes spill loads", text),
                _number(r"(\d+) bytes smem", text),
                dict(collections.Counter(name for name, _ in loop).most_common()),
                _lead(loop),
            )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _busiest_loop(code: str) -> list[tuple[str, str]]:
    """Instructions of the innermost loop with the most arithmetic: names, and what follows."""
    pattern = r"/\*([0-9a-f]{4,6})\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_]+)([^;]*);"
    lines = [(int(at, 16), name, rest) for at, name, rest in re.findall(pattern, code)]
    index = {at: i for i, (at, _, _) in enumerate(lines)}
    loops = []
    for end, (at, name, rest) in enumerate(lines):
        target = re.search(r"0x([0-9a-f]+)", rest)
        if name == "BRA" and target and int(target[1], 16) < at:
            loops.append((index[int(target[1], 16)], end))
    inner = [
        [(name, rest) for _, name, rest in lines[start : end + 1]]
        for start, end in loops
        if not any(start <= s and e < end or start < s and e <= end for s, e in loops)
    ]
    return max(inner, key=lambda loop: sum(n in _ARITHMETIC for n, _ in loop), default=[])


def _lead(loop: list[tuple[str, str]]) -> int:
    """See `Kernel.lead`; 0 where nothing is loaded."""
    leads = []
    for at, (name, rest) in enumerate(loop):
        brought = re.match(r"(\S*) R(\d+)", rest)
        if name != "LDG" or brought is None:
            continue
        width = next((bits // 32 for bits in (128, 64) if f".{bits}" in brought[1]), 1)
        registers = {f"R{int(brought[2]) + k}" for k in range(width)}
        for lead, (user, operands) in enumerate(loop[at + 1 :] + loop[: at + 1], start=1):
            used = re.findall(r"\bR\d+\b", operands)
            # The first register of most instructions is written.
            if registers & set(used if user in ("STG", "STS", "ISETP", "FSETP") else used[1:]):
                leads.append(lead)
                break
    return min(leads, default=0)


def _tool(name: str) -> str:
    """A program of the CUDA toolkit, or the copy that triton's wheel carries."""
    found = shutil.which(name)
    triton = importlib.util.find_spec("triton")
    if found is None and triton is not None and triton.origin is not None:
        inside = pathlib.Path(triton.origin).parent / "backends" / "nvidia" / "bin" / name
        found = str(inside) if inside.exists() else None
    if found is None:
        raise FileNotFoundError(f"{name}: not found; install the CUDA toolkit or triton")
    return found


def workloads() -> dict[str, tuple[Callable[..., Any], list[jax.ShapeDtypeStruct]]]:
    """What is compiled, by name: weighted DTW at full size, strips, and long alignments on XLA."""
    found = {}
    for spec in specs.DEJAVID.values():
        classes = (spec.num_classes, spec.num_steps, spec.num_features)
        x = (spec.batch, 1, spec.num_frames, spec.num_features)
        for precision in ("float32", "float16"):
            work = of_dejavid(spec, precision)
            shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (x, classes, classes)]
            found[work.name] = work.ours("pallas"), shapes
    function, (videos, *centroids) = found["weighted-dtw-grad-k400"]
    stored = jax.ShapeDtypeStruct(videos.shape, np.float16)
    found["weighted-dtw-grad-k400-float16-stored"] = function, [stored, *centroids]
    for name, sizes in _ON_XLA.items():
        shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in sizes]
        found[f"dtw-{name}-on-xla"] = partial(tempalign.dtw, implementation="xla"), shapes
        found[f"soft-dtw-grad-{name}-on-xla"] = _soft_gradients_on_xla, shapes
    for name, (model, pairs, *size) in _STRIPS.items():
        costs, gammas = (jax.ShapeDtypeStruct((pairs, *one), np.float32) for one in (size, ()))
        found[f"soft-strips-{name}"] = partial(_soft_strips, model), [costs, gammas]
        found[f"hard-strips-{name}"] = partial(_hard_strips, model), [costs]
    return found


# Models, pairs, rows and columns.
_DTW = Model(*dtw(True))
_STRIPS = {
    "several": (_DTW, 32, 512, 512),
    "one": (_DTW, 32, 100, 100),
    "short": (_DTW, 4096, 8, 8),
    "tam": (tam("paper"), 8, 200, 300),
}


def _soft_strips(model: Model, costs: Any, gammas: Any) -> Any:
    return soft_strips.value(
        costs, gammas, None, model=model, forbids=False, visits=True, interpret=False
    )


def _hard_strips(model: Model, costs: Any) -> Any:
    return hard_strips.value(costs, None, model=model, paths=True, interpret=False)


# The number of features decides what XLA fuses the costs with.
_ON_XLA = {
    "one": ((1, 4000, 1), (1, 4000, 1)),
    "several": ((7, 1500, 4), (7, 1700, 4)),
    "many-features": ((1, 3968, 64), (1, 4000, 64)),
}


def _soft_gradients_on_xla(x: Any, y: Any) -> Any:
    def total(x: Any, y: Any) -> Any:
        return tempalign.soft_dtw(x, y, 1.0, implementation="xla").sum()

    return jax.grad(total, (0, 1))(x, y)


def _compile_here(card: str, name: str) -> None:
    """In the process whose dump folder was set: compiles one workload."""
    platforms.present = lambda: frozenset({"cpu", "cuda"})  # type: ignore[assignment]
    platforms.likely_cpu = lambda: False
    function, shapes = workloads()[name]
    mesh = mesh_of(card)
    compile_on(mesh, jax.jit(function), *shapes_on(mesh, jax.sharding.PartitionSpec(), shapes))


@contextlib.contextmanager
def dumped(card: str, name: str) -> Iterator[pathlib.Path]:
    """Compiles a workload in a process of its own; a folder of the IR and PTX that came out.

    Raises:
        RuntimeError: it does not compile; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} {_DUMP}"
        environment = os.environ | {
            "XLA_FLAGS": flags.strip(),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # as users have it, whoever asks
            "MOSAIC_GPU_DUMP_TO": folder,
        }
        code = f"from {__spec__.name} import _compile_here; _compile_here({card!r}, {name!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"{name} does not compile for {card}:\n{done.stderr[-4000:]}")
        yield pathlib.Path(folder)


def report(card: str, name: str) -> list[Kernel]:
    """Compiles a workload and inspects its kernels; errors as for `dumped`."""
    with dumped(card, name) as folder:
        return list(inspect(name, folder))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tempalign.kernels.gpu.deviceless",
        description="Compiles the kernels for a GPU that is not there and shows the machine code.",
    )
    parser.add_argument("--card", choices=sorted(specs.CARDS), default="h200")
    parser.add_argument(
        "--backend", choices=launch.BACKENDS, help="of the strips; else as where there is a GPU"
    )
    parser.add_argument("--only", default="", metavar="PART", help="part of a workload's name")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything there")
    options = parser.parse_args(arguments)
    if options.backend is not None:
        os.environ[launch.VARIABLE] = options.backend
    kernels = [
        kernel
        for name in workloads()
        if options.only in name
        for kernel in report(options.card, name)
        if kernel.loop
    ]
    for kernel in kernels:
        loop = ", ".join(f"{count} {name}" for name, count in list(kernel.loop.items())[:8])
        print(
            f"{kernel.workload} {kernel.name}: {kernel.registers} registers, "
            f"{kernel.spilled_bytes} bytes spilled, {kernel.shared_bytes} bytes shared, "
            f"loop of {sum(kernel.loop.values())} instructions, "
            f"{100 * kernel.arithmetic:.0f} % arithmetic ({loop}), "
            f"loads {kernel.lead} instructions ahead"
        )
    if options.json is not None:
        plain = [dataclasses.asdict(kernel) for kernel in kernels]
        options.json.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
