"""A job of several processes: who writes, what others say, and going on with another number."""

import json
import signal
import time

import cluster
import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import job
from experiments.shared.checkpoints import Checkpoints

SCRIPT = ("-m", "experiments.k400")
RUN = "full-seed0"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_tse.write(tmp_path_factory.mktemp("data"))


def flags(data, out_dir, *more):
    return tiny_tse.flags(data, out_dir, "--standardize", "--baselines=dba_centroid", *more)


def in_this_process(*arguments):
    with pytest.raises(SystemExit) as exit_:
        job.main("", "k400", ["k400", *arguments])
    assert exit_.value.code == 0


def losses(out_dir):
    with Checkpoints(out_dir / "checkpoints" / RUN) as checkpoints:
        _, _, record = checkpoints.newest()
    return [entry["loss"] for entry in record["history"]]


def test_two_processes_leave_what_one_does_which_goes_on(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    shown = cluster.run(
        [*SCRIPT, *flags(data, two, "--epochs=1", "--class_shards=2")], devices=2, processes=2
    )
    assert "DejaVid on data" in shown[0][0] and "DejaVid" not in shown[1][0]
    assert shown[1][1] == ""  # progress is that of the first
    in_this_process(*flags(data, one, "--epochs=1"))
    names = [{str(path.relative_to(out)) for path in out.rglob("*.*")} for out in (one, two)]
    assert {n for n in names[0] ^ names[1] if "checkpoints" not in n} == set()
    report = json.loads((two / "report.json").read_text())
    assert report["sessions"][0]["devices"] == 4 and report["sessions"][0]["processes"] == 2
    assert "4 x cpu in 2 processes" in (two / "report.md").read_text()
    for out in (one, two):
        in_this_process(*flags(data, out, "--epochs=2", "--resume"))
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    assert (two / "predictions.csv").read_bytes() == (one / "predictions.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4])
def test_a_job_goes_on_with_any_number_of_devices_and_processes(data, tmp_path, shards):
    """On one device, on 2 processes of 4, and on 8 devices."""
    one, changing = tmp_path / "one", tmp_path / "changing"
    for epochs, devices, processes in ((1, 1, 1), (2, 4, 2), (3, 8, 1)):
        more = [f"--epochs={epochs}", "--resume"]
        in_this_process(*flags(data, one, *more))
        divided = shards if devices > 1 else 1
        cluster.run(
            [*SCRIPT, *flags(data, changing, *more, f"--class_shards={divided}")],
            devices=devices,
            processes=processes,
        )
    np.testing.assert_allclose(losses(changing), losses(one), rtol=1e-5)
    assert (changing / "predictions.csv").read_bytes() == (one / "predictions.csv").read_bytes()
    with Checkpoints(changing / "checkpoints" / RUN) as checkpoints:
        _, arrays, record = checkpoints.newest()
    assert [session["devices"] for session in record["sessions"]] == [1, 8, 8]
    assert arrays["state.params.centroids"].shape == (3, 4, tiny_tse.NUM_FEATURES)


@pytest.mark.slow
def test_what_one_process_cannot_do_all_are_told(data, tmp_path):
    started = cluster.start(
        [*SCRIPT, *flags(data, tmp_path / "out")],
        processes=2,
        each=([], [f"--data_dir={tmp_path / 'nowhere'}"]),
    )
    first, second = cluster.ended(started, timeout=120)
    assert second[0] == 2 and "nowhere/index.csv: no such file" in second[2]
    assert first[0] == 3 and "error: process 1 stopped: " in first[2]
    assert "nowhere/index.csv: no such file" in first[2]
    assert not (tmp_path / "out").exists()

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text("{}")
    started = cluster.start([*SCRIPT, *flags(data, tmp_path / "out")], processes=2)
    first, second = cluster.ended(started, timeout=120)
    assert first[0] == 2 and "settings.json: not the settings of a job" in first[2]
    assert second[0] == 3 and "error: process 0 stopped: " in second[2]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_lost_ends_the_others_with_a_word_and_the_job_goes_on(
    data, tmp_path, killed
):
    out = tmp_path / "out"
    started = cluster.start(
        [*SCRIPT, *flags(data, out, "--epochs=2000", "--baselines=")], processes=2
    )
    until = time.monotonic() + 200
    while not (out / "checkpoints" / RUN / "2").exists():
        assert time.monotonic() < until and started[0].poll() is None
        time.sleep(0.1)
    started[killed].kill()
    found = cluster.ended(started, timeout=120)
    assert found[killed][0] == -signal.SIGKILL
    code, _, error = found[1 - killed]
    # jax itself may be the first to notice, and ends the process.
    assert code == 3 or (code == -signal.SIGABRT and "another task died" in error)
    assert "another process of this job has stopped" in error or code != 3
    done = len(losses(out))
    cluster.run([*SCRIPT, *flags(data, out, f"--epochs={done + 1}", "--baselines=", "--resume")])
