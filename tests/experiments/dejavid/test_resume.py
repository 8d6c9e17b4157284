"""A job that was killed ends as if it had not been."""

import json
import signal

import numpy as np
import pytest
import tiny_tse

from experiments.dejavid import job
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog


def run(*flags):
    with pytest.raises(SystemExit) as exit_:
        job.main("", "k400", ["k400", *flags])
    assert exit_.value.code == 0


def result(out_dir):
    """The arrays of the last checkpoint, and the epochs of the log."""
    with Checkpoints(out_dir / "checkpoints" / "full-seed0") as checkpoints:
        step, arrays, record = checkpoints.newest()
    assert step == 3
    return arrays, [
        {key: value for key, value in entry.items() if key != "seconds"}
        for entry in record["history"]
    ]


@pytest.mark.slow
def test_a_job_that_is_killed_in_the_commit_of_a_checkpoint_resumes_bit_for_bit(tmp_path):
    data_dir = tiny_tse.write(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(*tiny_tse.flags(data_dir, whole))
    done = tiny_tse.in_another_process("killed_run.py", *tiny_tse.flags(data_dir, killed))
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = {path.name for path in (killed / "checkpoints" / "full-seed0").iterdir()}
    assert "1" in names and "2" not in names and len(names) == 2  # and a torn one

    run(*tiny_tse.flags(data_dir, killed, "--resume"))
    (arrays, history), (expected, expected_history) = result(killed), result(whole)
    assert arrays.keys() == expected.keys()
    for name in expected:
        assert arrays[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(arrays[name], expected[name], err_msg=name)
    assert history == expected_history
    assert (killed / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    lines = MetricsLog(killed / "metrics.jsonl").lines()
    assert [line["epochs_done"] for line in lines if line["event"] == "run_start"] == [0, 1]
    sessions = json.loads((killed / "report.json").read_text())["sessions"]
    assert [session["epochs"] for session in sessions] == [[1, 1], [2, 3]]
