import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.shared.interrupts import Terminated, held, install

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers():
    """As `command.main` has them; those of pytest afterwards."""
    former = [signal.getsignal(number) for number in BOTH]
    install()
    yield
    for number, handler in zip(BOTH, former, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_waits_for_the_end_of_the_block(number, error):
    before = [signal.getsignal(one) for one in BOTH]
    done = []
    with pytest.raises(KeyboardInterrupt) as caught:
        with held():
            signal.raise_signal(number)
            done.append("saved")
        done.append("more")
    assert done == ["saved"] and type(caught.value) is error
    assert [signal.getsignal(one) for one in BOTH] == before
    with pytest.raises(error):
        signal.raise_signal(number)


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ((signal.SIGINT, signal.SIGINT), KeyboardInterrupt),
        ((signal.SIGINT, signal.SIGTERM), KeyboardInterrupt),
        ((signal.SIGTERM, signal.SIGINT), Terminated),
    ],
)
def test_of_several_the_first_counts(numbers, error):
    done = []
    with pytest.raises(KeyboardInterrupt) as caught, held():
        for number in numbers:
            signal.raise_signal(number)
        done.append("saved")
    assert done == ["saved"] and type(caught.value) is error


def test_blocks_in_blocks():
    done = []
    with pytest.raises(Terminated), held():
        with held():
            signal.raise_signal(signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_an_error_in_the_block_is_told_and_signals_work_again():
    before = [signal.getsignal(one) for one in BOTH]
    with pytest.raises(OSError, match="full"), held():
        signal.raise_signal(signal.SIGINT)
        raise OSError("full")
    assert [signal.getsignal(one) for one in BOTH] == before


def test_what_is_ignored_stays_ignored():
    """As of a job that is started with nohup, or in the background by a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_in_another_thread_nothing_is_touched():
    before = [signal.getsignal(one) for one in BOTH]
    seen = []

    def work():
        install()
        with held():
            seen.append([signal.getsignal(one) for one in BOTH])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


ENDING = """
import atexit, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments.shared import interrupts

def tidy():
    print("tidying", flush=True)
    time.sleep(60)

atexit.register(tidy)
interrupts.install()
"""


@pytest.mark.parametrize("number", BOTH)
def test_a_second_one_ends_the_process_at_once_and_without_a_word(number):
    with subprocess.Popen(
        [sys.executable, "-c", ENDING],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"tidying\n"
        process.send_signal(number)
        assert process.communicate(timeout=60) == (b"", b"") and process.returncode == -number
