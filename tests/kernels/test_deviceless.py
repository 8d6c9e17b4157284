"""Every kernel at every full size, compiled for cards that are not here, and its machine code."""

import importlib.util
import math
import re

import index_arithmetic
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

import tempalign
from tempalign import heads
from tempalign._engine import platforms
from tempalign.kernels.gpu import deviceless, launch, on_triton, specs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None
    or importlib.util.find_spec("triton") is None,
    reason="needs the extra deviceless",
)

SHARED_BYTES = 48 * 1024  # what every card gives without being asked
LEAD = 120  # instructions: with a second warp between them, about what the second cache takes
SPILLED_BYTES = 32  # ptxas spills a few of short_path's once a pair to stay at 32 registers


def compiled_kernels(card, workload):
    """By name, none of them spilling or with more shared memory than there is."""
    kernels = {kernel.name: kernel for kernel in deviceless.report(card, workload)}
    assert kernels.keys() >= {"short_path", "path_gradient_class"}
    # The videos need no gradient here, so its kernel is dead code.
    assert "path_gradient_sample" not in kernels
    for kernel in kernels.values():
        assert kernel.spilled_bytes <= SPILLED_BYTES, kernel
        assert kernel.shared_bytes <= SHARED_BYTES, kernel
    return kernels


@pytest.mark.parametrize("card", sorted(specs.CARDS))
@pytest.mark.parametrize("name", [*specs.DEJAVID, "k400-float16-stored"])
def test_weighted_dtw(name, card):
    cost = compiled_kernels(card, f"weighted-dtw-grad-{name}")["weighted_cost"]
    assert cost.spilled_bytes == 0, cost
    # Two instructions for each element: the subtraction, and one that multiplies and adds.
    assert cost.loop["FADD"] == cost.loop["FFMA"] and "FMUL" not in cost.loop
    assert cost.arithmetic >= 0.9, cost.loop
    assert "BAR" not in cost.loop, cost.loop
    assert cost.lead >= LEAD, cost


@pytest.mark.parametrize("card", sorted(specs.CARDS))
@pytest.mark.parametrize("name", specs.DEJAVID)
def test_float16_paths(name, card):
    kernels = compiled_kernels(card, f"weighted-dtw-grad-{name}-float16-paths")
    cost = kernels["weighted_cost_half"]
    assert cost.spilled_bytes == 0
    assert "path_cost" in kernels  # the distance along the paths, in float32
    # The same loop, of which each instruction does two features.
    packed = cost.loop.get("HADD2", 0) + cost.loop.get("HFMA2", 0)
    assert packed == 512 and not {"FADD", "FFMA", "BAR"} & cost.loop.keys(), cost.loop
    assert cost.arithmetic >= 0.9, cost.loop
    assert cost.lead >= LEAD, cost


@pytest.mark.parametrize("name", [w for w in deviceless.workloads() if w.endswith("-on-xla")])
def test_where_xla_reads_fits_32_bits(name):
    """With costs fused into the shear, a pair of 4000 x 4000 read other cells: 2 % off."""
    with deviceless.dumped("h200", name) as folder:
        files = sorted(folder.glob("*no-opt.ll"))
        assert files
        for file in files:
            assert not index_arithmetic.overflows(file.read_text()), file.name


def test_a_number_beyond_32_bits_is_found():
    """What XLA wrote for that pair, in short."""
    llvm = """define ptx_kernel void @fused(ptr %0) {
  %1 = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x(), !range !0
  %2 = urem i32 %1, 1000
  %3 = mul i32 %2, FACTOR
  %4 = add i32 %3, %1
  %5 = udiv i32 %4, 8000000
}
!0 = !{i32 0, i32 7996000}
"""
    assert not index_arithmetic.overflows(llvm.replace("FACTOR", "31996"))
    assert index_arithmetic.overflows(llvm.replace("FACTOR", "31996000")) == [
        "fused: %5 = udiv i32 %4, 8000000"
    ]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_vmap_lengths_and_every_gradient(monkeypatch, precision):
    """As many centroid steps as there may be, diagonal moves, and sizes that fill no tile."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))

    def total(x, c, w, lengths):
        def distances(x, c, w, lengths):
            return tempalign.weighted_dtw(
                *(x[:, None], c, w),
                diagonal=True,
                path_from=(c, w),
                path_precision=precision,
                x_lengths=lengths[:, None],
                implementation="pallas",
            )

        return jax.vmap(distances)(x, c, w, lengths).sum()

    classes = jax.ShapeDtypeStruct((2, 7, 16, 33), jnp.float32)
    videos = jax.ShapeDtypeStruct((2, 5, 9, 33), jnp.bfloat16)
    shapes = (videos, classes, classes, jax.ShapeDtypeStruct((2, 5), jnp.int32))
    mesh = deviceless.mesh_of("h200")
    text = deviceless.compile_on(
        mesh,
        jax.jit(jax.grad(total, (0, 1, 2))),
        *deviceless.shapes_on(mesh, PartitionSpec(), shapes),
    ).as_text()
    for kernel in ("weighted_cost", "short_path", "path_gradient_class", "path_gradient_sample"):
        assert kernel in text


@pytest.mark.parametrize("options", [{}, {"band": 5, "diagonal": False}], ids=str)
@pytest.mark.parametrize("card", sorted(specs.CARDS))
def test_dtw_and_soft_dtw(monkeypatch, card, options):
    """Several strips of the soft minimum, one of the hard one, lengths, and every gradient."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))

    def total(x, y, lengths):
        own = {"x_lengths": lengths, "implementation": "pallas", **options}
        soft = tempalign.soft_dtw(x, y, 0.5, **own)
        own |= {"x_lengths": jnp.minimum(lengths, 90), "band": 99}
        hard = tempalign.dtw(x[:, :90], y, **own)
        return soft.sum() + hard.sum()

    frames = jax.ShapeDtypeStruct((3, 300, 5), jnp.float32)
    shapes = (frames, frames, jax.ShapeDtypeStruct((3,), jnp.int32))
    mesh = deviceless.mesh_of(card)
    text = deviceless.compile_on(
        mesh,
        jax.jit(jax.grad(total, (0, 1))),
        *deviceless.shapes_on(mesh, PartitionSpec(), shapes),
    ).as_text()
    costs = {"frame_cost", "frame_cost_gradient"}
    for kernel in costs | {"soft_strips", "soft_strips_back", "hard_strips", "hard_strips_walk"}:
        assert kernel in text


@pytest.mark.parametrize("card", sorted(specs.CARDS))
def test_tam_and_open_ends(monkeypatch, card):
    """Of short pairs side by side in a warp, and of a short series anywhere in a long one."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))

    def total(x, y):
        tam = tempalign.tam_distance(x[:, :8], y[:, :8], implementation="pallas", symmetric=True)
        own = {"open_begin": "y", "open_end": "y", "implementation": "pallas"}
        anywhere = tempalign.soft_dtw(x[:, :20], y, **own)
        return tam.sum() + anywhere.sum() + tempalign.dtw(x[:, :20], y, **own).sum()

    mesh, frames = deviceless.mesh_of(card), jax.ShapeDtypeStruct((3, 300, 5), jnp.float32)
    shapes = deviceless.shapes_on(mesh, PartitionSpec(), (frames, frames))
    text = deviceless.compile_on(mesh, jax.jit(jax.grad(total, (0, 1))), *shapes).as_text()
    for kernel in {"soft_strips", "soft_strips_back", "hard_strips", "hard_strips_walk"}:
        assert kernel in text


CELLS = 16  # of a lane in a turn
# Instructions of the loop a cell: soft minimum, forward and backward, and hard minimum with paths.
MOST = {"triton": (34.0, 16.5, 14.0), "mosaic": (32.5, 14.0, 13.0)}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", ["several", "one", "short", "tam"])
@pytest.mark.parametrize("backend", launch.BACKENDS)
def test_strips(monkeypatch, backend, name):
    monkeypatch.setenv(launch.VARIABLE, backend)
    soft, hard = (
        [k for k in deviceless.report("h200", f"{kind}-strips-{name}") if k.loop]
        for kind in ("soft", "hard")
    )
    assert len(soft) == len(hard) == 2
    for kernel in soft + hard:
        assert ("mosaic_gpu" in kernel.name) == (backend == "mosaic")
        assert kernel.spilled_bytes == 0 and kernel.registers <= 128, kernel
    # By what they do: jax 0.10 has no name for what writes over an operand.
    backward, forward = sorted(soft, key=lambda kernel: kernel.loop.get("MUFU", 0))
    strips = max(hard, key=lambda kernel: kernel.arithmetic)
    for kernel, most in zip((forward, backward, strips), MOST[backend], strict=True):
        assert sum(kernel.loop.values()) <= most * CELLS, kernel
        assert kernel.lead >= LEAD and "BAR" not in kernel.loop, kernel


def test_mosaic_serves_alone(monkeypatch):
    """On two cards too; XLA makes the costs then."""
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))
    monkeypatch.setattr(on_triton, "missing", lambda: "no Triton")
    monkeypatch.delenv(launch.VARIABLE, raising=False)
    assert launch.missing() is None and launch.no_tiles() == "no Triton"
    mesh = deviceless.mesh_of("h200", 2)

    def total(x, y):
        own = {"implementation": "pallas"}
        found = tempalign.soft_dtw(x, y, 0.5, **own).sum() + tempalign.dtw(x, y, **own).sum()
        return jax.lax.psum(found, "batch")

    halves = PartitionSpec("batch")
    shared = jax.shard_map(total, mesh=mesh, in_specs=(halves, halves), out_specs=PartitionSpec())
    frames = jax.ShapeDtypeStruct((6, 300, 5), jnp.float32)
    shapes = deviceless.shapes_on(mesh, halves, (frames, frames))
    jax.clear_caches()  # what was traced for Triton
    text = deviceless.compile_on(mesh, jax.jit(jax.grad(shared, (0, 1))), *shapes).as_text()
    jax.clear_caches()
    assert "mosaic_gpu" in text and "triton" not in text and "frame_cost" not in text


def training_step(spec, mesh):
    """The compiled step of the experiments at the size of a data set, sharded over a mesh."""
    from experiments.dejavid import steps  # a machine with a GPU may lack what they need
    from experiments.shared.scaling import Scaling
    from experiments.tse.batches import Batch

    head = nnx.eval_shape(
        lambda: heads.DejaVidHead(spec.num_classes, spec.num_steps, spec.num_features)
    )
    graphdef, params, paths = steps.split_head(head)
    shared = mesh if mesh.size > 1 else None
    step = steps.StepSpec(graphdef, ("centroids", "log_weights"), "none", 0.01, shared)
    state = jax.eval_shape(lambda *arrays: steps.init_state(step, *arrays), params, paths)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    features = jax.ShapeDtypeStruct((spec.num_features,), jnp.float32)
    batch = Batch(
        x=jax.ShapeDtypeStruct((spec.batch, spec.num_frames, spec.num_features), jnp.float16),
        lengths=jax.ShapeDtypeStruct((spec.batch,), jnp.int32),
        labels=jax.ShapeDtypeStruct((spec.batch,), jnp.int32),
        valid=jax.ShapeDtypeStruct((spec.batch,), jnp.float32),
    )

    def whole(tree):
        return deviceless.shapes_on(mesh, PartitionSpec(), tree)

    compiled = deviceless.compile_on(
        mesh,
        steps.train_step,
        step,
        whole(state),
        whole(jax.ShapeDtypeStruct((3,), jnp.float32)),
        deviceless.shapes_on(mesh, PartitionSpec("batch"), batch),
        whole({"centroids": number, "log_weights": number}),
        whole(Scaling(features, features)),
    )
    # All of the state is donated: its bytes are written where they were read.
    donated = compiled.memory_analysis().alias_size_in_bytes
    assert donated == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return compiled.as_text()


def collectives(text):
    """(name, elements) of each collective of a compiled program."""
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    for line in text.splitlines():
        if found := re.search(rf"= (.*?) ({names})(?:-start)?\(", line):
            shape = re.search(r"f32\[([\d,]*)\]", found[1])[1]
            sizes = [int(size) for size in shape.split(",") if size]
            yield found[2], math.prod(sizes)


@pytest.mark.parametrize("num_devices", [1, 8])
def test_training_step(monkeypatch, num_devices):
    monkeypatch.setattr(platforms, "present", lambda: frozenset({"cpu", "cuda"}))
    jax.clear_caches()  # what was traced for this machine's CPU
    spec = specs.K400
    text = training_step(spec, deviceless.mesh_of("h200", num_devices))
    jax.clear_caches()
    for kernel in ("weighted_cost", "short_path", "path_cost", "path_gradient_class"):
        assert kernel in text
    found = list(collectives(text))
    if num_devices == 1:
        assert not found
        return
    # The gradients of both parameters, and three numbers: samples, loss and correct ones.
    assert {name for name, _ in found} == {"all-reduce"}
    gradient = spec.num_classes * spec.num_steps * spec.num_features
    assert sum(size for _, size in found) == 2 * gradient + 3


def test_an_unknown_kernel_is_an_error_that_says_why():
    with pytest.raises(RuntimeError, match="does not compile for h200:[^$]*KeyError"):
        deviceless.report("h200", "no-such-workload")
