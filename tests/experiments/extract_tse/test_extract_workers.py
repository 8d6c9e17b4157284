"""Processes that decode, and what becomes of videos whose process dies."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
from tiny_extraction import frames_of, write_video

from experiments.extract_tse import workers as module
from experiments.extract_tse.decoding import Begin, End, Failure, Pictures, Task
from experiments.extract_tse.windows import Windows
from experiments.extract_tse.workers import Decoders, number_of_workers

# Pictures that are scaled up: more than fits into the pipe and the queue, from a tiny file.
FRAMES, SIZE = 130, (256, 256)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{k}.mkv", frames_of(FRAMES, seed=k)) for k in range(2)]
    return [
        (number, Task(str(path), Windows.parse("4", (), "4"), None, SIZE, "center", 10**6, 10**9))
        for number, path in enumerate(paths)
    ]


def kill_the_only_child():
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize("times", [1, 2])
def test_the_video_of_a_killed_process_is_tried_once_more(videos, times):
    found, kills = {0: [], 1: []}, 0
    with Decoders(videos, 1) as decoders:
        for number, message in decoders:
            found[number].append(message)
            if isinstance(message, Begin) and number == 0 and kills < times:
                kills += 1
                kill_the_only_child()
    assert sum(isinstance(message, Begin) for message in found[0]) == 2
    assert isinstance(found[1][-1], End) and len(found[1][-1].seconds) == FRAMES
    if times == 1:
        assert isinstance(found[0][-1], End)
        begin = max(k for k, message in enumerate(found[0]) if isinstance(message, Begin))
        count = sum(len(message.pictures) for message in found[0][begin + 1 : -1])
        assert count == FRAMES
    else:
        reason = found[0][-1].reason
        assert "died, 2 times (signal 9, Killed)" in reason
        assert sum(isinstance(message, (End, Failure)) for message in found[0]) == 1
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_leaving_early_ends_everything(videos, num_workers):
    with Decoders(videos, num_workers) as decoders:
        next(iter(decoders))
    assert not multiprocessing.active_children()
    assert not any(thread.is_alive() for thread in decoders._threads)


def test_decoding_waits_for_the_reader(videos, monkeypatch):
    sent = []

    def decode(task):
        for number in range(50):
            sent.append(number)
            yield Pictures(np.zeros(1))
        yield Failure("end")

    monkeypatch.setattr(module, "decode", decode)
    with Decoders(videos, 0) as decoders:
        waiting = iter(decoders)
        next(waiting)
        time.sleep(0.3)
        assert len(sent) <= 1 + module._WAITING_MESSAGES + 1
        assert len(list(waiting)) == 2 * 51 - 1
    assert len(sent) == 100


def test_a_mistake_of_ours_is_told(videos, monkeypatch):
    def decode(task):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "decode", decode)
    with pytest.raises(ZeroDivisionError), Decoders(videos, 0) as decoders:
        list(decoders)


def test_the_number_of_workers(monkeypatch):
    for cores, expected in ((1, 1), (2, 1), (8, 4), (100, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False)
        assert number_of_workers(-1) == expected
    assert number_of_workers(0) == 0 and number_of_workers(5) == 5
