"""A lint of the public API: everything documented, options keyword-only, examples that run."""

import doctest
import importlib
import inspect
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from house import imports

import tempalign
from tempalign._engine import options

ROOT = pathlib.Path(__file__).parents[1]
FUNCTIONS = [
    getattr(tempalign, name)
    for name in tempalign.__all__
    if inspect.isfunction(getattr(tempalign, name))
]
LIBRARY = [
    path
    for path in sorted((ROOT / "tempalign").rglob("*.py"))
    if "kernels" not in path.relative_to(ROOT).parts
]
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "tempalign").with_suffix("").parts)
    for path in LIBRARY
    if path.stem != "__init__"
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_documented(function):
    text = inspect.getdoc(function)
    sections = ["Args:", "Returns:", "Raises:", "Example:"]
    if function.__name__ not in ("explain", "pad", "select_frames", "unpad"):
        sections.append("Source:")
    for section in sections:
        assert section in text, f"{function.__name__} has no {section}"
    for name, parameter in inspect.signature(function).parameters.items():
        assert f"{name}:" in text, f"{function.__name__} does not document {name}"
        has_default = parameter.default is not inspect.Parameter.empty
        if has_default and name not in ("weight", "gamma", "k"):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{name} has a default"


@pytest.mark.parametrize("module", [*MODULES, "kernels.gpu.specs"])
def test_doctests(module):
    result = doctest.testmod(importlib.import_module(f"tempalign.{module}"))
    assert result.failed == 0


SHARED = [f for f in FUNCTIONS if "move_weights" in inspect.signature(f).parameters]


@pytest.mark.parametrize("function", SHARED, ids=lambda f: f.__name__)
def test_shared_options_are_told_once_and_everywhere(function):
    """The same defaults and the same words, and nothing of how they are filled in."""
    parameters, text = inspect.signature(function).parameters, inspect.getdoc(function)
    assert parameters.keys() >= options.ARGS.keys()
    for name in options.ARGS:
        assert parameters[name].default == options.DEFAULTS[name]
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert "**options" not in text
    assert max(map(len, text.splitlines())) <= 100
    with pytest.raises(TypeError, match="unexpected keyword argument 'penalties'"):
        function(np.ones((3, 2), np.float32), penalties=1)


def test_who_takes_which_options():
    names = {f.__name__ for f in SHARED}
    families = {"dtw", "soft_dtw"}
    expected = {f"{name}{kind}" for name in families for kind in ("", "_from_cost")}
    expected |= {f"{name}_alignment{kind}" for name in families for kind in ("", "_from_cost")}
    expected |= {"soft_dtw_divergence", "align", "dtw_path", "warp", "subsequence_matches"}
    assert names == expected | {"dba", "soft_dtw_barycenter"}
    for function in FUNCTIONS:
        parameters = inspect.signature(function).parameters
        if function.__name__ not in (
            *("explain", "pad", "resample", "select_frames", "smoothness", "time_layer", "unpad"),
        ):
            assert "implementation" in parameters, function.__name__
        if "gamma" in parameters:
            assert "checkpoint" in parameters, function.__name__


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tempalign.tam_distance(x, x, x_lengths=3), "write query_lengths="),
        (lambda x: tempalign.tam_distance(x, x, y_lengths=3), "write support_lengths="),
        (lambda x: tempalign.tam_distance_from_cost(x, x_lengths=3), "write query_lengths="),
        (lambda x: tempalign.weighted_dtw(x, x, y_lengths=3), "write centroid_lengths="),
        (lambda x: tempalign.seq_loss(x, 0, x[None], lengths=3), "write query_lengths="),
        (lambda x: tempalign.resample(x, length=3), "write num_frames="),
    ],
)
def test_old_names_say_the_new_one(call, message):
    with pytest.raises(TypeError, match=message):
        call(np.ones((3, 3), np.float32))


def test_the_library_needs_only_jax_numpy_and_flax():
    allowed = {"__future__", "jax", "jaxlib", "numpy", "flax", "tempalign", "matplotlib", "optax"}
    for path in [*LIBRARY, *(ROOT / "kernels").rglob("*.py")]:
        for name in imports(path):
            assert name.split(".")[0] in allowed | sys.stdlib_module_names, f"{path} imports {name}"


def test_importing_the_library_is_light():
    """Pictures and Flax only where they are asked for."""
    heavy = ("flax", "matplotlib", "optax")
    code = f"import sys, tempalign; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert shown.stdout.strip() == "[]"


def test_the_readmes_example_runs():
    example = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len(example.strip().splitlines()) <= 17
    names = {}
    exec(example, names)
    assert names["logits"].shape == (48, 10)
    assert names["to_weights"].shape == (10, 8, 64)
    assert names["paths"].shape == (33, 33)
