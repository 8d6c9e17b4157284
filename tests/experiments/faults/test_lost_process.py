"""One of several processes is lost: the others stop with a word, and the job resumes."""

import functools
import signal

import cluster
import pytest
import slow_job


def hurry():
    """Lets processes miss each other after seconds, not minutes."""
    import jax

    jax.distributed.initialize = functools.partial(
        jax.distributed.initialize, heartbeat_timeout_seconds=10
    )


def start_two(start, *flags):
    """Starts a job of two processes."""
    joined = (f"--coordinator_address=localhost:{cluster.free_port()}", "--num_processes=2")
    return [start(*flags, *joined, f"--process_id={number}", spoil=(hurry,)) for number in (0, 1)]


def test_of_two_processes_the_first_alone_writes(start, whole, tmp_path):
    (code, said), (other_code, other_said) = [job.end() for job in start_two(start)]
    assert (code, other_code) == (0, 0), said + other_said
    # The library that sends says in each that it has begun.
    assert "\nSums\n====\n" in said and "Sums" not in other_said
    assert slow_job.result(tmp_path / "out") == whole


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_lost_process_stops_the_others_and_the_job_resumes(start, whole, tmp_path, lost):
    jobs = start_two(start, "--pause=0.05")
    assert jobs[0].until(lambda: slow_job.saved_epochs(tmp_path / "out") >= 2)
    jobs[lost].send(signal.SIGKILL)
    code, said = jobs[1 - lost].end()
    assert code == 3 and "another process of this job has stopped or cannot be reached" in said
    assert "start all of them again with --resume" in said
    assert slow_job.saved_epochs(tmp_path / "out") < slow_job.EPOCHS
    for job in start_two(start, "--resume"):
        code, said = job.end()
        assert code == 0, said
    assert slow_job.result(tmp_path / "out") == whole


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_process_that_is_stopped_stops_the_others(start, tmp_path, stopped):
    jobs = start_two(start, "--pause=0.05")
    assert jobs[0].until(lambda: slow_job.saved_epochs(tmp_path / "out") >= 2)
    jobs[stopped].send(signal.SIGTERM)
    ends = [job.end() for job in jobs]
    assert [ends[stopped][0], ends[1 - stopped][0]] == [143, 3], ends
    assert "terminated; " in ends[stopped][1] and "--resume" in ends[stopped][1]
    assert "another process of this job has stopped" in ends[1 - stopped][1]
