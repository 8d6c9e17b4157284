"""Settings for the tests of the scripts."""

import pytest

from experiments.shared import progress, run


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No progress lines, which come by the clock: what a job prints must not depend on it."""
    for module in (progress, run):
        monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", float("inf"))
