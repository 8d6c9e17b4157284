"""Strict modes of jax (the whole suite runs in two of them, see conftest) and symbolic sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import tempalign
from tempalign import heads

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 7, 3)).astype(np.float32)
Y = RNG.normal(size=(5, 3)).astype(np.float32)
SUPPORT = RNG.normal(size=(2, 2, 5, 3)).astype(np.float32)
EXEMPLARS = np.full((3, 5, 3), 1 / 3, np.float32)
HEAD = heads.DejaVidHead(3, 4, 3)
FEW_SHOT = heads.FewShotHead(matching="tam_symmetric")
SEQ = heads.SeqClassifier(3, 3, rngs=nnx.Rngs(0))

FUNCTIONS = {
    "dtw": lambda x: tempalign.dtw(x, Y),
    "dtw_all_pairs": lambda x: tempalign.dtw(x[:, None], x[None, :, :5], cost="cosine"),
    "dtw_lengths": lambda x: tempalign.dtw(x, Y, x_lengths=3, penalty=0.1),
    "soft_dtw": lambda x: tempalign.soft_dtw(x, Y),
    "soft_dtw_gradient": jax.grad(lambda x: tempalign.soft_dtw(x, Y).sum()),
    "soft_dtw_hessian_product": lambda x: jax.jvp(
        jax.grad(lambda x: tempalign.soft_dtw(x, Y).sum()), (x,), (x,)
    )[1],
    "dtw_gradient": jax.grad(lambda x: tempalign.dtw(x, Y, cost="euclidean").sum()),
    "cosine_gradient": jax.grad(lambda x: tempalign.tam_distance(x, Y).sum()),
    "weighted_dtw": lambda x: tempalign.weighted_dtw(x, Y),
    "weighted_dtw_gradient": jax.grad(lambda x: tempalign.weighted_dtw(x, Y).sum()),
    "weighted_dtw_tangent": lambda x: jax.jvp(lambda x: tempalign.weighted_dtw(x, Y), (x,), (x,)),
    "align": lambda x: tempalign.align(x, Y),
    "dtw_path": lambda x: tempalign.dtw_path(x, Y),
    "warp": lambda x: tempalign.warp(x, Y),
    "subsequence_matches": lambda x: tempalign.subsequence_matches(Y[:2], x, 2),
    "smoothness": tempalign.smoothness,
    "seq_loss": lambda x: tempalign.seq_loss(x, 0, EXEMPLARS),
    "DejaVidHead": lambda x: HEAD(x),
    "FewShotHead": lambda x: FEW_SHOT(x, SUPPORT),
    "SeqClassifier": lambda x: SEQ(x),
}
FIXED_FRAMES = {
    "dtw_band": lambda x: tempalign.dtw(x, Y, band=2),
    "dtw_slope": lambda x: tempalign.dtw(x, Y, max_slope=3),
    "soft_dtw_checkpoint": lambda x: tempalign.soft_dtw(x, Y, checkpoint=True),
    "soft_dtw_divergence": lambda x: tempalign.soft_dtw_divergence(x, Y),
    "resample": lambda x: tempalign.resample(x, 3),
    "dba": lambda x: tempalign.dba(jnp.stack([x, 2 * x], 1)),
    "soft_dtw_barycenter": lambda x: tempalign.soft_dtw_barycenter(
        jnp.stack([x, 2 * x], 1), num_iters=2
    ),
}


def exported(function, shape):
    given = jax.ShapeDtypeStruct(export.symbolic_shape(shape), jnp.float32)
    return export.export(jax.jit(function))(given).call(X)


# What the others are made of; all of them are tested where there is time.
QUICKLY = (
    "dtw", "soft_dtw_gradient", "weighted_dtw_gradient", "cosine_gradient", "align", "dba",
    "seq_loss", "DejaVidHead", "FewShotHead",
)  # fmt: skip


def some(names):
    return [
        name if name in QUICKLY else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", some([*FUNCTIONS, *FIXED_FRAMES]))
def test_a_symbolic_batch_is_exported(name):
    function = {**FUNCTIONS, **FIXED_FRAMES}[name]
    found, expected = exported(function, "b, 7, 3"), function(X)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_videos_of_a_symbolic_batch_are_exported():
    head = heads.TimeClassifier(lambda images: images.mean((1, 2)), 2, num_frames=2)
    videos = RNG.normal(size=(3, 9, 4, 4, 2)).astype(np.float32)
    given = jax.ShapeDtypeStruct(export.symbolic_shape("b, 9, 4, 4, 2"), jnp.float32)
    found = export.export(jax.jit(lambda x: head(x)))(given).call(videos)
    np.testing.assert_allclose(found, head(videos), rtol=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", some(name for name in FUNCTIONS if name != "dtw_all_pairs"))
def test_a_symbolic_number_of_frames_is_exported(name):
    found, expected = exported(FUNCTIONS[name], "b, t, 3"), FUNCTIONS[name](X)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FIXED_FRAMES)
def test_where_the_number_of_frames_must_be_known(name):
    with pytest.raises(NotImplementedError, match="cannot be exported with these symbolic sizes"):
        exported(FIXED_FRAMES[name], "b, t, 3")


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", [*FUNCTIONS, *FIXED_FRAMES])
def test_no_mode_of_the_caller_changes_anything(name):
    function = {**FUNCTIONS, **FIXED_FRAMES}[name]
    expected = function(X)
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
        jax.debug_infs(True),
    ):
        found = function(X)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
