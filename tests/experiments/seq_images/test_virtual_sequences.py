"""Virtual sequences: what is drawn, how it goes in time, what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.seq_images import virtual_sequences as virtual

COUNT = 600
SIZE = 12

render = jax.jit(virtual.render)


@pytest.fixture(scope="module")
def ends():
    keys = jax.vmap(lambda draw: virtual.sequence_key(3, 0, draw))(jnp.arange(COUNT))
    return [np.asarray(part) for part in jax.vmap(virtual.draw_ends)(keys)]


@pytest.fixture
def images(rng):
    return rng.uniform(size=(2, SIZE, SIZE, 3)).astype(np.float32)


def sequences(images, numbers, seed=0, **options):
    return np.asarray(virtual.virtual_sequences(images, np.asarray(numbers), seed, **options))


def test_operations_are_chosen_as_the_paper_has_it(ends):
    start, end, chosen = ends
    assert chosen.any(axis=1).all()  # at least one
    # Each with 1/2, and a sixth of the 1/64 that would have none: 0.5026.
    np.testing.assert_allclose(chosen.mean(axis=0), 0.5026, atol=4 * 0.5 / np.sqrt(COUNT))
    assert (chosen.sum(axis=1) == 1).any() and chosen.all(axis=1).any()
    operation = [virtual._TABLE[name][0] for name in virtual.PARAMETERS]
    for column, name in enumerate(operation):
        on = chosen[:, virtual.OPERATIONS.index(name)]
        np.testing.assert_array_equal(end[~on, column], virtual.NEUTRAL[column])
        assert (end[on, column] != virtual.NEUTRAL[column]).all()
    np.testing.assert_array_equal(start, np.tile(virtual.NEUTRAL, (COUNT, 1)))


def test_ranges_are_the_papers(ends):
    _, end, chosen = ends
    expected = {
        "rotation": (-180, 180), "zoom": (0.8, 1.2), "shear_x": (-0.5, 0.5),
        "shear_y": (-0.5, 0.5), "translate_x": (-0.2, 0.2), "translate_y": (-0.2, 0.2),
        "brightness": (0.7, 1.3), "contrast": (0.7, 1.3), "saturation": (0.95, 1.05),
        "hue": (-0.05, 0.05),
    }  # fmt: skip
    for name, (low, high) in expected.items():
        operation = virtual.OPERATIONS.index(virtual._TABLE[name][0])
        values = end[chosen[:, operation], virtual.PARAMETERS.index(name)]
        assert low <= values.min() <= low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) <= values.max() <= high


def test_parameters_go_in_a_straight_line():
    start, end = np.arange(11.0), np.linspace(-3, 5, 11)
    found = virtual.interpolate(jnp.asarray(start), jnp.asarray(end), 7)
    for t in range(1, 8):
        np.testing.assert_allclose(found[t - 1], start + (t - 1) / 6 * (end - start), atol=1e-5)
    np.testing.assert_array_equal(found[0], start.astype(np.float32))
    np.testing.assert_array_equal(found[-1], end.astype(np.float32))
    np.testing.assert_allclose(virtual.interpolate(start, end, 1), end[None])
    with pytest.raises(ValueError, match="tau must be at least 1"):
        virtual.interpolate(start, end, 0)


def test_neutral_parameters_leave_the_image(images):
    found = render(images[0], jnp.asarray(virtual.NEUTRAL))
    np.testing.assert_allclose(found, images[0], atol=2e-6)


def test_a_sequence_is_its_parameters_rendered(images):
    found = sequences(images, [5, 9], seed=4, num_draws=2, tau=3)
    assert found.shape == (2, 2, 3, SIZE, SIZE, 3)
    assert found.min() >= 0 and found.max() <= 1 + 1e-5
    begin, end, _ = virtual.draw_ends(virtual.sequence_key(4, 9, 1))
    for t, row in enumerate(virtual.interpolate(begin, end, 3)):
        np.testing.assert_allclose(found[1, 1, t], render(images[1], row), atol=1e-5)
    np.testing.assert_allclose(found[:, :, 0], np.stack([images] * 2, 1), atol=2e-6)


def test_a_sequence_depends_on_seed_number_and_draw_alone(images):
    options = {"num_draws": 2, "tau": 3}
    found = sequences(images, [5, 9], **options)
    np.testing.assert_array_equal(sequences(images[::-1], [9, 5], **options), found[::-1])
    same = np.stack([images[0], images[0]])
    by_number = sequences(same, [5, 6], **options)
    np.testing.assert_array_equal(by_number[0], found[0])
    assert np.abs(by_number[0] - by_number[1]).max() > 0.01
    assert np.abs(found[0, 0] - found[0, 1]).max() > 0.01
    assert np.abs(sequences(images, [5, 9], seed=1, **options) - found).max() > 0.01


def test_a_random_start():
    begin, end, chosen = virtual.draw_ends(jax.random.key(0), start="random")
    changed = chosen[virtual._OPERATION_OF]
    np.testing.assert_array_equal(begin != virtual.NEUTRAL, changed)
    np.testing.assert_array_equal(begin != end, changed)
    assert ((begin >= virtual.LOW) & (begin <= virtual.HIGH)).all()
    with pytest.raises(ValueError, match="start must be one of image, random, got 'end'"):
        virtual.draw_ends(jax.random.key(0), start="end")
