"""All systems on any number of devices and processes: real processes, the numbers of one device."""

import json

import cluster
import five_systems
import numpy as np
import pytest

ALL = (
    "dejavid",
    "dejavid_two_class_shards",
    "few_shot",
    "few_shot_videos",
    "seq_images",
    "seq_anomaly",
    "seq_by_frame",
    "time_layer",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return five_systems.write(tmp_path_factory.mktemp("five"))


def found(folder, names, devices, processes):
    shown = cluster.run(
        [five_systems.__file__, folder, ",".join(names)], devices=devices, processes=processes
    )
    return json.loads(shown[0][0].splitlines()[-1])


def same(one, other):
    np.testing.assert_allclose(one["losses"], other["losses"], rtol=1e-5)
    np.testing.assert_allclose(one["said"], other["said"], rtol=1e-4, atol=1e-4)


def expected_of(folder, name):
    """What one device says, that of this process."""
    alone = name.removesuffix("_two_class_shards")
    return five_systems.trained(*getattr(five_systems, alone)(folder))


@pytest.mark.slow
def test_two_processes_share_episodes(folder):
    """One system; by default, test_cluster_job.py does that of DejaVid."""
    several = found(folder, ["seq_anomaly"], devices=2, processes=2)
    same(several["seq_anomaly"], expected_of(folder, "seq_anomaly"))


@pytest.mark.slow
@pytest.mark.parametrize("devices,processes", [(2, 1), (8, 1), (4, 2)])
def test_all_systems_give_the_numbers_of_one_device(folder, devices, processes):
    several = found(folder, ALL, devices, processes)
    for name in ALL:
        same(several[name], expected_of(folder, name))
