"""Real processes of one job, each with devices of its own; all on this machine's CPU."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
# The tiny data of all rooms, here and in the processes.
sys.path += [str(room) for room in (ROOT / "tests" / "experiments").iterdir() if room.is_dir()]


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def start(arguments, *, devices=1, processes=1, each=(), variables=None):
    """Starts Python with arguments, with `processes` processes of `devices` devices each.

    `each` has further arguments of each process; `variables` those of the environment by which they
    find each other, for flags.
    """
    kept = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    port, started = free_port(), []
    for number in range(processes):
        joined = [
            f"--coordinator_address=localhost:{port}",
            f"--num_processes={processes}",
            f"--process_id={number}",
        ]
        started.append(
            subprocess.Popen(
                [
                    sys.executable,
                    *map(str, arguments),
                    *joined * (processes > 1 and variables is None),
                    *map(str, each[number] if each else ()),
                ],
                cwd=ROOT,
                env={**os.environ, **kept, **(variables or [{}] * processes)[number]},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def ended(started, timeout=300):
    """Waits; returns (exit code, stdout, stderr) of each, by number."""
    try:
        said = [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(started, said, strict=True)]


def run(arguments, *, devices=1, processes=1, code=0):
    """Runs to the end, where each must have the exit code; returns what each printed."""
    found = ended(start(arguments, devices=devices, processes=processes))
    for number, (status, _, error) in enumerate(found):
        assert status == code, f"process {number}: {status}\n{error}"
    return [(out, error) for _, out, error in found]
