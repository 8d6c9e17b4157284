"""weighted_dtw: the suite for each implementation, and what is only true of one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite import PRECISIONS, WeightedDtwSuite, jitted_value_and_grads, problem

import tempalign
from tempalign.kernels.gpu import launch, specs


class TestXla(WeightedDtwSuite):
    implementation = "xla"
    SLOW = ("test_the_papers_shapes_in_small", "test_padding_with_fixed_paths")


class TestNative(WeightedDtwSuite):
    implementation = ("native", "xla")  # where there is no compiler it is XLA once more


class KernelSuite(WeightedDtwSuite):
    """What is only true of kernels."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def poisoned(cls):
        """Every result is full of NaN before a kernel writes it."""
        with launch.poison():
            yield

    def test_poison_changes_nothing(self):
        """And the plain call, which nobody else here makes, is right."""
        arrays = problem(3, 5, 9, 33, seed=0)
        poisoned = self.value_and_grads(*arrays, path_from=arrays[1:])
        gradients = jax.grad(lambda *a: self.distance(*a, path_from=a[1:]).sum(), (0, 1, 2))
        with launch.poison(False):
            values = jax.jit(self.distance)(*arrays)  # traced here, as nobody else traces it
            plain = jax.jit(gradients)(*arrays)
        np.testing.assert_allclose(values, poisoned[0], rtol=1e-6)
        chex.assert_trees_all_close(plain, poisoned[1:], rtol=1e-6)

    @pytest.mark.usefixtures("x64")
    def test_float32_while_float64_is_on(self):
        arrays = problem(3, 5, 9, 33, seed=1)
        options = {"diagonal": True, "path_from": arrays[1:], "x_lengths": np.array([9, 1, 4])}
        expected = jitted_value_and_grads(*arrays, implementation="xla", **options)
        for precision in PRECISIONS:
            found = self.value_and_grads(*arrays, path_precision=precision, **options)
            assert all(array.dtype == np.float32 for array in found)
            chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


class TestPallasInterpreted(KernelSuite):
    implementation = ("pallas_interpret", "xla")  # float64 and empty batches are XLA's
    # A kernel is compiled for each shape, and interpreted: what the others below say as well.
    SLOW = (
        "test_any_leading_axes",
        "test_fixed_paths_equal_the_loop_with_gradients",
        "test_float16_paths_are_about_as_short",
        "test_float16_paths_of_any_scale",
        "test_float32_while_float64_is_on",
        "test_half_precision_is_computed_in_float32",
        "test_padding_changes_nothing",
        "test_jit_vmap_and_grad_agree",
        "test_padding_with_fixed_paths",
        "test_paths_from_the_live_pair_change_nothing",
        "test_stored_halves_are_taken_as_they_are",
        "test_the_papers_shapes_in_small",
        "test_ties",
    )


@pytest.mark.gpu
class TestPallas(KernelSuite):
    implementation = ("pallas", "xla")


def test_poison_shows_what_is_not_written():
    def nothing(source_ref, result_ref):
        del source_ref, result_ref

    shape = jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.int32)
    with launch.poison():
        for one in shape:
            (result,) = launch.call(
                nothing, jnp.ones(4), grid=(1,), out_shape=[one], name="nothing", interpret=True
            )
            worst = np.nan if one.dtype == jnp.float32 else np.iinfo(np.int32).min
            np.testing.assert_array_equal(result, np.full(4, worst, one.dtype))


def memory_formula(s, a, c, t, tc, f):
    """The bound that the docstring of weighted_dtw states, in bytes."""
    pairs = s * a * c
    return 4 * (3 * pairs * tc * (tc + t) + 2 * f * s * (a * t + 2 * c * tc))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("spec", [specs.K400, specs.SSV2, specs.HMDB51], ids=lambda s: s.name)
def test_memory_at_the_papers_shapes(spec, fixed):
    x = jax.ShapeDtypeStruct((spec.batch, spec.num_frames, spec.num_features), jnp.float32)
    shape = (spec.num_classes, spec.num_steps, spec.num_features)
    c = jax.ShapeDtypeStruct(shape, jnp.float32)

    def loss(x, c, w, c0, w0):
        path_from = (c0, w0) if fixed else None
        return tempalign.weighted_dtw(x[:, None], c, w, path_from=path_from).sum()

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(x, c, c, c, c).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    bound = memory_formula(
        1, spec.batch, spec.num_classes, spec.num_frames, spec.num_steps, spec.num_features
    )
    assert temporary <= bound
    assert bound <= 1e9


def test_pairs_never_meet_features():
    """No intermediate holds both the pairs and the features, at any size."""
    b, k, tc, t, f = 7, 11, 3, 13, 17

    def loss(x, c, w):
        return tempalign.weighted_dtw(x[:, None], c, w, path_from=(c, w)).sum()

    arrays = jnp.ones((b, t, f)), jnp.ones((k, tc, f)), jnp.ones((k, tc, f))
    for derivative in (
        jax.grad(loss, (0, 1, 2)),
        lambda *arrays: jax.jvp(lambda *a: loss(*a), arrays, arrays),
    ):
        # Lowered: a derivative is one operation of the jaxpr, whatever is in it.
        text = jax.jit(derivative).lower(*arrays).as_text()
        assert f"x{t}x{f}xf32>" in text  # the search below looks for the right notation
        for shape in (f"{b}x{k}x{tc}x{t}x{f}", f"{b}x{k}x{tc}x{f}", f"{b * k}x{tc}x{f}"):
            assert f"<{shape}xf32>" not in text


def test_who_serves_whom():
    x, c = jnp.ones((2, 5, 3)), jnp.ones((2, 4, 3))
    said = tempalign.explain("weighted_dtw", x, c, implementation=("pallas_interpret", "xla"))
    assert said == "weighted_dtw runs on pallas_interpret: asked for."
    wide = jax.ShapeDtypeStruct((2, 17, 3), jnp.float32)
    said = tempalign.explain("weighted_dtw", x, wide, implementation=("pallas_interpret", "xla"))
    assert "runs on xla: pallas_interpret: the kernels take at most 16 centroid steps" in said
    said = tempalign.explain("weighted_dtw", x[:0], c[:0], implementation=("pallas", "xla"))
    assert "runs on xla" in said
    with pytest.raises(NotImplementedError, match="at most 16 centroid steps, not 17"):
        tempalign.weighted_dtw(x, jnp.ones((2, 17, 3)), implementation="pallas_interpret")


@pytest.mark.usefixtures("x64")
def test_float64_is_left_to_xla():
    x = jnp.ones((5, 3), jnp.float64)
    said = tempalign.explain("weighted_dtw", x, x, implementation=("pallas_interpret", "xla"))
    assert "the kernels compute in float32, not float64" in said
    with pytest.raises(NotImplementedError, match="float64"):
        tempalign.weighted_dtw(x, x, implementation="pallas_interpret")


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_kernels_need_a_gpu():
    with pytest.raises(NotImplementedError, match="it needs a GPU, and jax runs on cpu"):
        tempalign.explain("weighted_dtw", implementation="pallas")
    assert "pallas: it needs a GPU" in tempalign.explain("weighted_dtw")
