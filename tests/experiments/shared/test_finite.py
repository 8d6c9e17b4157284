import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shared.errors import UserError
from experiments.shared.finite import Ahead, Watch, check_losses


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch", [1, 3, 9, 10])
def test_the_first_bad_batch_is_named(batch, bad):
    """Sums stay bad once they are."""
    watch = Watch("run", 7, 10)
    with pytest.raises(UserError, match=rf"run: epoch 7, batch {batch} of 10: the loss is not fin"):
        for number in range(1, 11):
            watch.add(jnp.array([1.0, bad if number >= batch else 2.0]))
        watch.end()


def test_a_bad_batch_stops_an_epoch_before_its_end():
    watch, steps = Watch("run", 1, 1000), 0
    with pytest.raises(UserError, match="batch 2 of 1000"):
        for steps in range(1000):
            watch.add(np.array(np.nan if steps else 0.0))
    assert steps < 10


def test_good_batches_pass():
    watch = Watch("run", 1, 9)
    for number in range(9):
        watch.add(jnp.array([number, 1e38]))
    watch.end()
    check_losses("run", 1, jnp.arange(4.0))
    with pytest.raises(UserError, match="run: epoch 2, batch 3 of 4"):
        check_losses("run", 2, jnp.array([0, 1, jnp.inf, jnp.nan]))


def test_the_host_waits_for_the_device():
    class Result:
        waited = 0

        def block_until_ready(self):
            Result.waited += 1

    ahead = Ahead()
    for _ in range(10):
        ahead.add(Result())
    assert 5 <= Result.waited < 10
