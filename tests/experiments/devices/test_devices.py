"""How processes find each other, and how devices are divided; without starting any."""

import cluster
import jax
import numpy as np
import pytest

from experiments.shared import devices, options, processes
from experiments.shared.errors import UserError
from experiments.shared.processes import ClusterOptions

VARIABLES = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "RANK",
)


@pytest.fixture
def asked(monkeypatch):
    """What jax is asked to join, without doing so."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    found = []
    monkeypatch.setattr(processes._Cluster, "is_joined", False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **values: found.append(values))
    return found


def parsed(*flags):
    return options.parse(ClusterOptions, ["", *flags])


def test_alone_nothing_is_asked(asked, monkeypatch):
    monkeypatch.setenv("RANK", "1")  # such as of a shell in which something else was started
    processes.initialize(parsed())
    assert not asked and processes.count() == 1 and processes.is_first()
    assert processes.on_first(lambda: 3) == processes.in_each(lambda: 3) == 3


def test_flags_come_before_the_environment(asked, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    processes.initialize(parsed("--distributed", "--process_id=2"))
    assert asked == [
        {
            "coordinator_address": "node1:29500",
            "num_processes": 4,
            "process_id": 2,
            "cluster_detection_method": "deactivate",
        }
    ]
    processes.initialize(parsed("--distributed"))  # a job within a job
    assert len(asked) == 1


def test_what_is_not_known_jax_finds(asked):
    processes.initialize(parsed("--distributed"))
    assert asked[0] == {
        "coordinator_address": None,
        "num_processes": None,
        "process_id": None,
        "cluster_detection_method": None,
    }


def test_that_nothing_is_found_is_told(asked, monkeypatch):
    def fails(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fails)
    with pytest.raises(UserError, match="do not find each other.*give --coordinator_address"):
        processes.initialize(parsed("--distributed"))
    assert processes.count() == 1


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--num_processes=2"], "only with --coordinator_address"),
        (["--process_id=0"], "only with --coordinator_address"),
        (
            ["--coordinator_address=a:1", "--num_processes=2", "--process_id=2"],
            "--process_id=2: must be from 0 to 1",
        ),
    ],
)
def test_flags_that_do_not_go_together(flags, message):
    with pytest.raises(UserError, match=message):
        parsed(*flags)


def test_what_is_wrong_is_named(asked, monkeypatch):
    with pytest.raises(UserError, match="--coordinator_address=node1: must be HOST:PORT"):
        processes.initialize(parsed("--coordinator_address=node1"))
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(UserError, match="RANK=one must be a whole number"):
        processes.initialize(parsed("--distributed"))


MEET = """
from experiments.shared import options, processes
processes.initialize(options.parse(processes.ClusterOptions, ["", "--distributed"]))
print("found", processes.on_first(lambda: [processes.number(), processes.count()]))
processes.meet()
"""


def of_slurm(number):
    return {
        "SLURM_JOB_ID": str(cluster.free_port()),  # decides the port
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
    }


def of_torchrun(number):
    return {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(cluster.free_port()),
        "WORLD_SIZE": "2",
        "RANK": str(number),
    }


@pytest.mark.parametrize("of", [of_slurm, of_torchrun])
def test_processes_find_each_other_in_the_environment(of):
    first = of(0)
    second = first | {name: value for name, value in of(1).items() if value == "1"}
    started = cluster.start(["-c", MEET], processes=2, variables=[first, second])
    for code, said, error in cluster.ended(started, timeout=120):
        assert code == 0, error
        assert "found [0, 2]" in said


def test_one_device_needs_no_mesh():
    assert devices.mesh_of() is None and devices.filled(None, 7) == 7
    batch = {"x": np.zeros(3)}
    for place in (devices.place_rows, devices.place_filled, devices.place_whole):
        assert place(None, batch) is batch


def test_classes_that_devices_cannot_divide():
    with pytest.raises(UserError, match="--class_shards=2: must divide the 1 devices"):
        devices.mesh_of(2)
