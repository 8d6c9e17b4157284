"""Settings for the tests of the scripts."""

import pytest

from tempalign._engine import modes


@pytest.fixture(autouse=True, scope="module")
def modes_of_optax():
    """The scripts train with optax, whose optimizers are not written for strict dtypes."""
    with modes.our_modes():
        yield
