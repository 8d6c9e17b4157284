"""Products of sizes past 32 bits, lengths wider than them, and no pairs at all."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tested_models

import tempalign
from tempalign._engine import windows
from tempalign._engine.integers import multiply_divide
from tempalign._engine.model import Window


def test_multiply_divide_is_exact():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 2**31 - 1, (2, 1000))
    divisor = np.maximum(random.integers(1, 2**31 - 1, 1000), np.minimum(a, b) + 1)
    a[:3], b[:3], divisor[:3] = (2**31 - 1, 0, 7), (2**31 - 1, 5, 3), (2**31 - 1, 1, 7)
    quotient, rest = multiply_divide(a, b, divisor, (2**31 - 1, 2**31 - 1))
    exact = [divmod(int(x) * int(y), int(d)) for x, y, d in zip(a, b, divisor, strict=True)]
    np.testing.assert_array_equal(quotient, [q for q, _ in exact])
    np.testing.assert_array_equal(rest, [r for _, r in exact])


@pytest.mark.parametrize("window", [Window(band=7), Window(slope=Fraction(3, 2))], ids=str)
@pytest.mark.parametrize("sizes", [(50_000, 50_000), (70_000, 40_000), (5, 900_000_000)])
def test_windows_of_long_sequences(window, sizes):
    """Against the definition, in fractions."""
    n, m = sizes
    rows = np.unique(np.linspace(0, n - 1, 23).astype(np.int32))
    found = windows.ranges(window, jnp.asarray(rows), n, m, sizes)
    slant = Fraction(m - 1, n - 1)
    for row, first, last in zip(rows.tolist(), *map(np.asarray, found), strict=True):
        middle = row * slant
        if window.band is not None:
            reach = Fraction(window.band * min(n - 1, m - 1), n - 1)
            low, high = middle - reach, middle + reach
        else:
            steep = window.slope
            back = (n - 1 - row) * slant
            low = max(middle / steep, m - 1 - back * steep)
            high = min(middle * steep, m - 1 - back / steep)
        assert first == max(-(-low.numerator // low.denominator), 0)
        assert last == min(high.numerator // high.denominator, m - 1)


def test_resampling_many_frames():
    series = np.arange(50_000, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(tempalign.resample(series, 50_000), series)
    np.testing.assert_allclose(tempalign.resample(series, 99_999)[::2], series, rtol=1e-6)


@pytest.mark.parametrize("band", [300, 10_000_000, 2**40])
def test_a_band_wider_than_the_sequences_allows_everything(band):
    random = np.random.default_rng(1)
    x, y = (random.normal(size=(n, 1)).astype(np.float32) for n in (300, 200))
    np.testing.assert_allclose(tempalign.dtw(x, y, band=band), tempalign.dtw(x, y), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_wide_traced_lengths_do_not_wrap():
    x = np.ones((3, 1), np.float32)
    call = jax.jit(lambda n: tempalign.dtw(x, x, x_lengths=n))
    assert np.isnan(call(jnp.asarray(2**32 + 3)))
    assert np.isnan(call(jnp.asarray(-(2**32) + 2)))
    assert call(jnp.asarray(3)) == 0
    assert np.isnan(call(jnp.asarray(2**31, jnp.uint32)))
    assert call(jnp.asarray(2, jnp.uint8)) == 0


@pytest.mark.parametrize("name", tested_models.MODELS)
def test_no_pairs_at_all(name):
    """An empty batch has empty answers of the right shapes; nothing is compiled."""
    sizes = 7, 4
    numbers = tested_models.given_numbers(name, 0.75, (0.5, 2, 1.5), np.ones(sizes, bool))
    for soft in (False, True):

        def total(cost, soft=soft):
            return tested_models.from_cost(name, soft, "value", cost, 1.0, **numbers).sum()

        assert jax.eval_shape(jax.grad(total), jnp.zeros((0, *sizes))).shape == (0, *sizes)
