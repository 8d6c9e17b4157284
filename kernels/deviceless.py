"""Compiles the kernels for a GPU that is not there: ``python -m tempalign.kernels.deviceless``.

jax's CUDA plugin compiles for a described card, all the way to PTX; `ptxas` and `cuobjdump` then
say what the machine code is like: registers, spills, shared memory, the instructions of each loop.
Needs the extra ``deviceless`` and ``JAX_PLATFORMS=cpu``. Nothing here says how long a kernel takes.
"""

import argparse
import collections
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
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies

from tempalign import _dispatch
from tempalign.kernels import specs
from tempalign.kernels.workloads import of_dejavid

_CARD = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {smem_core}
  threads_per_core_limit: 2048 core_count: {cores} fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {l2} clock_rate_ghz: {clock}
  device_memory_size: {memory} shared_memory_per_block_optin: {smem_optin}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 7 }}
device_description_str: "{name}"
"""

CARDS = {
    "h200": _CARD.format(
        name="NVIDIA H200",
        major=9,
        minor=0,
        cores=132,
        fpus=128,
        clock=1.98,
        bandwidth=4_800_000_000_000,
        memory=150_754_820_096,
        l2=52_428_800,
        smem_core=233_472,
        smem_optin=232_448,
    ),
    "a100": _CARD.format(
        name="NVIDIA A100-SXM4-80GB",
        major=8,
        minor=0,
        cores=108,
        fpus=64,
        clock=1.41,
        bandwidth=2_039_000_000_000,
        memory=85_899_345_920,
        l2=41_943_040,
        smem_core=167_936,
        smem_optin=166_912,
    ),
}

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
    """

    workload: str
    name: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    loop: dict[str, int]

    @property
    def arithmetic(self) -> float:
        """The share of floating-point arithmetic in the loop."""
        total = sum(self.loop.values())
        return sum(self.loop.get(name, 0) for name in _ARITHMETIC) / total if total else 0.0


def compile_for(
    card: str, function: Callable[..., Any], shapes: Sequence[jax.ShapeDtypeStruct]
) -> Any:
    """Compiles a function of arrays for one described card, kernels included."""
    topology = topologies.get_topology_desc(
        card, platform="cuda", target_config=CARDS[card], topology="1x1x1"
    )
    mesh = jax.sharding.Mesh(np.array(topology.devices).reshape(-1), ("device",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    placed = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole) for s in shapes]
    # From jax 0.11 the lowering asks the mesh which card it lowers for.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        lowered = jax.jit(function).trace(*placed).lower(lowering_platforms=("cuda",))
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
            yield Kernel(
                workload,
                name,
                _number(r"Used (\d+) registers", text),
                _number(r"(\d+) bytes spill stores", text)
                + _number(r"(\d+) bytes spill loads", text),
                _number(r"(\d+) bytes smem", text),
                _busiest_loop(code.get(name, "")),
            )


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def _busiest_loop(code: str) -> dict[str, int]:
    """Instructions of the innermost loop with the most arithmetic."""
    pattern = r"/\*([0-9a-f]{4,6})\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_]+)([^;]*);"
    lines = [(int(at, 16), name, rest) for at, name, rest in re.findall(pattern, code)]
    index = {at: i for i, (at, _, _) in enumerate(lines)}
    loops = []
    for end, (at, name, rest) in enumerate(lines):
        target = re.search(r"0x([0-9a-f]+)", rest)
        if name == "BRA" and target and int(target[1], 16) < at:
            loops.append((index[int(target[1], 16)], end))
    inner = [
        (start, end)
        for start, end in loops
        if not any(start <= s and e < end or start < s and e <= end for s, e in loops)
    ]
    counts = [
        dict(collections.Counter(name for _, name, _ in lines[start : end + 1]).most_common())
        for start, end in inner
    ]
    return max(counts, key=lambda c: sum(c.get(n, 0) for n in _ARITHMETIC), default={})


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
    """What is compiled: every workload that has kernels, at full size, by name."""
    found = {}
    for spec in specs.DEJAVID.values():
        work = of_dejavid(spec)
        classes = (spec.num_classes, spec.num_steps, spec.num_features)
        x = (spec.batch, 1, spec.num_frames, spec.num_features)
        shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in (x, classes, classes)]
        found[work.name] = work.ours("pallas"), shapes
    return found


def _compile_here(card: str, name: str) -> None:
    """In the process whose dump folder was set: compiles one workload."""
    _dispatch.platform = lambda: "gpu"
    function, shapes = workloads()[name]
    compile_for(card, function, shapes)


def report(card: str, name: str) -> list[Kernel]:
    """Compiles a workload in a process of its own and inspects what came out.

    Raises:
        RuntimeError: it does not compile; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} {_DUMP}"
        environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
        code = f"from {__spec__.name} import _compile_here; _compile_here({card!r}, {name!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"{name} does not compile for {card}:\n{done.stderr[-4000:]}")
        return list(inspect(name, pathlib.Path(folder)))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tempalign.kernels.deviceless",
        description="Compiles the kernels for a GPU that is not there and shows the machine code.",
    )
    parser.add_argument("--card", choices=sorted(CARDS), default="h200")
    parser.add_argument("--only", default="", metavar="PART", help="part of a workload's name")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything there")
    options = parser.parse_args(arguments)
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
            f"loop {100 * kernel.arithmetic:.0f} % arithmetic ({loop})"
        )
    if options.json is not None:
        plain = [dataclasses.asdict(kernel) for kernel in kernels]
        options.json.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
