"""Settings for the tests of the scripts."""

import signal
import sys
from pathlib import Path

import pytest

from experiments.shared import progress, run


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines, which come by the clock: what a job prints must not depend on it."""
    for module in (progress, run):
        monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", float("inf"))


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as Python has it: where the suite itself runs in the background, it is ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(autouse=True)
def own_modules(tmp_path_factory):
    """What a test wrote and imported is forgotten: the next one may write another of that name."""
    before, written = set(sys.modules), tmp_path_factory.getbasetemp()
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and written in Path(file).parents:
            del sys.modules[name]
