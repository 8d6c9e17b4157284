"""The Python side of the native kernels: loads the library, says what it serves, and calls it.

A call is a primitive of jax. Lowered for a CPU it is a call of the library; lowered for another
platform, or to be exported (a program that is loaded elsewhere must not need our library), it is
what XLA does in its place. Everything works where there is no library: `missing` says why.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from tempalign._engine.model import Model
from tempalign._types import Array
from tempalign.kernels.placed import Call, for_export, lower_on_xla, primitive

_HERE = pathlib.Path(__file__).parent
OPERATIONS = (
    *("value", "path", "cells", "push", "pull"),
    *("soft_value", "soft_jacobian"),
    *("weighted_value", "weighted_path", "weighted_push", "weighted_pull"),
)
# In the order of the library's `Cost`. Cosines are made of vectors of length 1.
COSTS = ("sqeuclidean", "euclidean", "manhattan", "cosine", "given")
_ALLOWED = ("everywhere", "first_column", "never")


def sources_digest() -> str:
    """What the library should have been built from; `setup.py` computes the same."""
    found = [path for path in _HERE.iterdir() if path.suffix in (".h", ".cpp")]
    names = sorted(
        (p for p in found if not p.name.startswith("driver")), key=lambda path: path.name
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in names)).hexdigest()[:16]


def framework_version() -> int | None:
    """The version of XLA's FFI that the installed jaxlib speaks (1000 major + minor)."""
    try:
        text = pathlib.Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    except OSError:
        return None
    found = [re.search(rf"define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    major, minor = (None if one is None else int(one[1]) for one in found)
    return None if major is None or minor is None else 1000 * major + minor


@functools.cache
def missing() -> str | None:
    """Why there is no native code, or None once it is loaded and registered."""
    if os.environ.get("TEMPALIGN_NATIVE") == "0":
        return "TEMPALIGN_NATIVE=0 switches it off"
    path = _HERE / "_native.so"
    if not path.exists():
        return "it was not built: install with a C++ compiler at hand (GCC 12, Clang 14 or newer)"
    try:
        library = ctypes.CDLL(str(path))
        library.tempalign_sources.restype = ctypes.c_char_p
        built_from = library.tempalign_sources().decode()
        speaks = library.tempalign_ffi_version()
    except (OSError, AttributeError) as error:
        return f"its library does not load: {error}"
    if built_from != sources_digest():
        return "it was built from other sources: install again"
    framework = framework_version()
    # jax would refuse the handlers, and with them its whole CPU backend.
    if framework is None or not framework // 1000 * 1000 <= speaks <= framework:
        return f"it speaks version {speaks} of XLA's interface, and this jaxlib {framework}"
    for operation in OPERATIONS:
        handler = jax.ffi.pycapsule(getattr(library, f"tempalign_{operation}"))
        jax.ffi.register_ffi_target(f"tempalign_{operation}", handler, platform="cpu")
    return None


def refuses(model: Model, operands: Any = None) -> str | None:
    """Why native code cannot serve a model and operands, or None."""
    of_function = callable(model.cost)  # its matrix is made by XLA, and given
    weighted = model.cost == "weighted_manhattan"  # which has operations of its own
    if model.cost not in COSTS and not of_function and not weighted:
        return f"it computes named costs and takes given ones, not {model.cost}"
    if any(move.array for move in model.moves):
        return "it knows one array of local costs"
    others = model.column, model.diagonal
    if any(move.allowed == "first_column" for move in others):
        return "it does not know these moves"
    slope = model.window.slope
    if slope is not None and max(slope.numerator, slope.denominator) >= 2**31:
        return "its slopes are fractions of 32 bits"
    band, skipped = model.window.band, (model.begin.x, model.begin.y, model.end.x, model.end.y)
    if any(number is not None and number >= 2**31 for number in (band, *skipped)):
        return "it counts frames in 32 bits"
    if operands is None:
        return missing()
    sizes = (size for one in jax.tree.leaves(operands) for size in one.shape)
    if not all(isinstance(size, int) for size in sizes):
        return "it needs sizes that are known, and jax.export was given symbolic ones"
    if operands.x.dtype not in (jnp.float32, jnp.float64) and not weighted:
        return f"it computes in float32 and float64, not {operands.x.dtype}"
    other = operands.centroid if weighted else operands.y
    if max(*operands.x.shape[2:], *other.shape[2:]) >= 2**30:
        return "it counts frames in 31 bits"
    return missing()


def attributes(call: Call) -> dict[str, np.int32]:
    """The attributes of a call of the library, one for each tag of the model."""
    model = call.model
    found: dict[str, int] = dict(call.flags)
    for name, move in zip(("row", "column", "diagonal"), model.moves, strict=True):
        found[f"{name}_allowed"] = _ALLOWED.index(move.allowed)
        found[f"{name}_weighted"] = move.weighted
        found[f"{name}_penalised"] = move.penalised
    for name, opening in (("begin", model.begin), ("end", model.end)):
        for axis, limit in (("x", opening.x), ("y", opening.y)):
            found[f"{name}_{axis}"] = -1 if limit is None else limit
        found[f"{name}_paths"] = opening.multiplicity
    window = model.window
    found["band"] = -1 if window.band is None else window.band
    found["slope_up"] = 0 if window.slope is None else window.slope.numerator
    found["slope_by"] = 0 if window.slope is None else window.slope.denominator
    if model.cost in COSTS:
        found["cost"] = COSTS.index(str(model.cost))
    return {name: np.int32(number) for name, number in found.items()}


def bits(asked: Sequence[bool]) -> int:
    """Which of several things are asked for, as a number."""
    return sum(wanted << k for k, wanted in enumerate(asked))


def call(
    operation: str,
    model: Model,
    operands: Sequence[Array],
    results: Sequence[tuple[tuple[int, ...], Any]],
    xla: Callable[..., Sequence[Array]],
    **flags: int,
) -> list[Array]:
    """Calls the library.

    Args:
        operation: one of `OPERATIONS`.
        model: of the problem.
        operands: as `handlers.cpp` reads them, `shards.alike`.
        results: shapes and dtypes.
        xla: see `Call`.
        **flags: further attributes.

    Returns:
        The results; they have no derivative.
    """
    made = Call.of(operation, model, operands, results, xla, flags)
    return native_p.bind(*operands, call=made)


def _lower(context: Any, *operands: Any, call: Call) -> Any:
    if for_export(context):
        return lower_on_xla(context, *operands, call=call)
    lower = jax.ffi.ffi_lowering(f"tempalign_{call.operation}")
    return lower(context, *operands, **attributes(call))


native_p = primitive("tempalign_native")
mlir.register_lowering(native_p, _lower, platform="cpu")
