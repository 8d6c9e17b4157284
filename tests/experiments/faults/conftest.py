"""A job in a folder, and what it comes to where nothing happens to it."""

import pytest
import slow_job


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return slow_job.write_data(tmp_path_factory.mktemp("faults") / "data")


@pytest.fixture(scope="session")
def whole(data_dir, tmp_path_factory):
    """The result of a job that was not disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    flags = (f"--data_dir={data_dir}", f"--out_dir={folder / 'out'}")
    code, said = slow_job.Started(folder / "said", *flags).end()
    assert code == 0, said
    return slow_job.result(folder / "out")


@pytest.fixture
def start(data_dir, tmp_path):
    """Starts a job of the same settings, in tmp_path/out."""
    started = []

    def start(*flags, spoil=None, data=data_dir):
        given = (f"--data_dir={data}", f"--out_dir={tmp_path / 'out'}", *flags)
        started.append(slow_job.Started(tmp_path / f"said{len(started)}", *given, spoil=spoil))
        return started[-1]

    yield start
    for one in started:
        if one._process.is_alive():
            one._process.kill()
