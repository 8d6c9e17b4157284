"""Every kernel at every full size, compiled for cards that are not here, and its machine code."""

import importlib.util

import pytest

from tempalign.kernels import deviceless, specs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None
    or importlib.util.find_spec("triton") is None,
    reason="needs the extra deviceless",
)

SHARED_BYTES = 48 * 1024  # what every card gives without being asked
SPILLED_BYTES = 32  # ptxas spills a few of short_path's once a pair to stay at 32 registers
KERNELS = {"weighted_cost", "short_path", "path_gradient_class"}


@pytest.mark.parametrize("card", sorted(deviceless.CARDS))
@pytest.mark.parametrize("spec", specs.DEJAVID.values(), ids=lambda spec: spec.name)
def test_weighted_dtw(spec, card):
    found = deviceless.report(card, f"weighted-dtw-grad-{spec.name}")
    kernels = {kernel.name: kernel for kernel in found}
    assert kernels.keys() >= KERNELS
    # The videos need no gradient here, so its kernel is dead code.
    assert "path_gradient_sample" not in kernels
    for kernel in found:
        assert kernel.spilled_bytes <= SPILLED_BYTES, kernel
        assert kernel.shared_bytes <= SHARED_BYTES, kernel
    cost = kernels["weighted_cost"]
    assert cost.spilled_bytes == 0
    # Two instructions for each element: the subtraction, and one that multiplies and adds.
    assert cost.loop["FADD"] == cost.loop["FFMA"] and "FMUL" not in cost.loop
    assert cost.arithmetic >= 0.75, cost.loop


def test_an_unknown_kernel_is_an_error_that_says_why():
    with pytest.raises(RuntimeError, match="does not compile for h200:[^$]*KeyError"):
        deviceless.report("h200", "no-such-workload")
