import io
import re

import pytest

from experiments.shared import progress as module
from experiments.shared.progress import progress


class Clock:
    """Time as the test wants it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)

    def passing(self, items, seconds=1.0):
        for item in items:
            yield item
            self.now += seconds


@pytest.fixture(autouse=True)
def quiet():
    """Lines as they come: they are what is tested here."""


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_what_is_quick_is_quiet(capfd):
    assert list(progress(range(3), desc="items")) == [0, 1, 2]
    with progress(total=4) as bar:
        bar.update(4)
    assert capfd.readouterr() == ("", "")


def test_a_line_every_ten_seconds_with_the_time_left(clock, capfd):
    bar = progress(total=60, desc="full-seed0", unit="samples")
    for second in range(60):
        bar.set_postfix_str(f"epoch {second}")
        clock.now += 1
        bar.update(1)
    bar.close()
    out, told = capfd.readouterr()
    lines = told.splitlines()
    assert out == "" and "\r" not in told and 5 <= len(lines) <= 6
    assert re.fullmatch(
        r"full-seed0: 17 %, 10 of 60 samples, 1.00 samples/s, 00:50 left, epoch 9", lines[0]
    )
    assert "33 %, 20 of 60" in lines[1] and "00:40 left" in lines[1]


def test_an_iterable_is_shown_like_a_count(clock, capfd):
    items = [None] * 25
    for _ in progress(items, unit="file"):
        clock.now += 1
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2 and told[0].startswith("40 %, 10 of 25 file")


def test_an_iterable_without_length(clock, capfd):
    assert list(progress(clock.passing(range(25)), desc="reading", unit="file")) == [*range(25)]
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2
    assert re.fullmatch(r"reading: 1\d file, 1.\d\d file/s, 00:1\d so far", told[0])
    list(progress(clock.passing(range(25)), total=25))
    assert "%" in capfd.readouterr().err


def test_a_generator_that_raises(clock, capfd):
    def items():
        yield 1
        raise RuntimeError("damaged")

    seen = []
    with pytest.raises(RuntimeError, match="damaged"):
        for item in progress(items()):
            seen.append(item)
    assert seen == [1] and capfd.readouterr() == ("", "")
    assert list(progress(range(2))) == [0, 1]


def test_one_long_step_is_one_line(clock, capfd):
    bar = progress(total=2, desc="slow")
    clock.now += 500
    bar.update(1)
    assert capfd.readouterr().err.splitlines() == ["slow: 50 %, 1 of 2 it, 0.00 it/s, 08:20 left"]


def test_a_clock_that_is_put_back_is_no_matter(clock, monkeypatch, capfd):
    for _ in progress([None] * 25, unit="file"):
        clock.now += 1
        monkeypatch.setattr("tqdm.std.time", lambda: -clock.now)
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 2 and "00:15 left" in told[0]


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    with progress(total=4, desc="training", unit=" samples") as bar:
        bar.update(2)
        bar.refresh()
    assert "training" in terminal.getvalue() and "samples/s" in terminal.getvalue()
