"""TimeClassifier: the layer, the classifier, the average."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tempalign
from tempalign import heads


def corner(images):
    """A "classifier" that reads one pixel of each quarter."""
    half = images.shape[1] // 2
    return images[:, ::half, ::half, 0].reshape(len(images), -1)


def test_scores_are_the_mean_over_grids(rng):
    videos = rng.normal(size=(2, 9, 8, 8, 3)).astype(np.float32)
    head = heads.TimeClassifier(corner, 2, num_frames=2, arrangement="temporal")
    grids = tempalign.time_layer(videos, 2, num_frames=2, arrangement="temporal")
    expected = np.mean([corner(grids[:, t]) for t in range(2)], axis=0)
    np.testing.assert_allclose(head(videos), expected, rtol=1e-6)
    np.testing.assert_allclose(head(videos[0]), expected[0], rtol=1e-6)


def test_one_cell_is_blind_to_order_and_more_are_not(rng):
    videos = rng.normal(size=(3, 4, 8, 8, 1)).astype(np.float32)
    blind = heads.TimeClassifier(corner, 1, num_frames=4)
    np.testing.assert_allclose(blind(videos), blind(videos[:, ::-1]), rtol=1e-5, atol=1e-6)
    sees = heads.TimeClassifier(corner, 2, num_frames=1)
    assert np.abs(sees(videos) - sees(videos[:, ::-1])).max() > 0.1


def test_lengths(rng):
    videos = rng.normal(size=(2, 6, 4, 4, 1)).astype(np.float32)
    head = heads.TimeClassifier(corner, 2, num_frames=1)
    expected = head(videos[:, :4])
    videos[:, 4:] = np.nan
    np.testing.assert_allclose(head(videos, lengths=np.array([4, 4])), expected, rtol=1e-6)


def test_a_module_inside_is_trained():
    head = heads.TimeClassifier(
        nnx.Sequential(jnp.ravel, nnx.Linear(16, 2, rngs=nnx.Rngs(0))), 2, num_frames=1
    )
    assert len(nnx.state(head, nnx.Param)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be"),
        ({"num_frames": 0}, "num_frames must be"),
        ({"arrangement": "diagonal"}, "arrangement must be"),
        ({"n": 3, "size": (8, 9)}, r"size must be divisible by n=3, got \(8, 9\)"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        heads.TimeClassifier(corner, **{"n": 2, "num_frames": 1} | options)
