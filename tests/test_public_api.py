"""A lint of the public API: everything documented, options keyword-only, examples that run."""

import ast
import doctest
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import tempalign

ROOT = pathlib.Path(__file__).parents[1]
FUNCTIONS = [getattr(tempalign, name) for name in tempalign.__all__ if name != "__version__"]
LIBRARY = [*(ROOT / "tempalign").glob("*.py"), *(ROOT / "tempalign" / "heads").glob("*.py")]
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "tempalign").with_suffix("").parts)
    for path in LIBRARY
    if path.stem != "__init__"
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_documented(function):
    text = inspect.getdoc(function)
    sections = ["Args:", "Returns:", "Raises:", "Example:"]
    if function is not tempalign.explain:
        sections.append("Source:")
    for section in sections:
        assert section in text, f"{function.__name__} has no {section}"
    for name, parameter in inspect.signature(function).parameters.items():
        assert f"{name}:" in text, f"{function.__name__} does not document {name}"
        if parameter.default is not inspect.Parameter.empty and name not in ("weight", "gamma"):
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{name} has a default"


@pytest.mark.parametrize("module", [*MODULES, "kernels.specs"])
def test_doctests(module):
    result = doctest.testmod(importlib.import_module(f"tempalign.{module}"))
    assert result.failed == 0


# Who may import whom: each file only what stands before it. The README's picture of the house.
FLOORS = [
    {"_version", "_types", "_shards"},
    {"_checks", "_costs", "_recurrence", "_hard", "_soft", "_band", "_pairs", "_path_cost"},
    {"_problem", "_tse", "_series", "_long"},
    {"kernels"},
    {"_dispatch"},
    {
        "_dtw",
        "_soft_dtw",
        "_tam",
        "_weighted_dtw",
        "_barycenter",
        "_soft_barycenter",
        "_seq",
        "_time_layer",
    },
    {"heads", "plot", "__init__"},
    {"tools"},
]
# Of kernels; nothing imports them.
TOOLS = {"benchmark", "workloads", "contenders", "peers", "deviceless"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name):
    return next(i for i, floor in enumerate(FLOORS) if name in floor)


def test_nothing_in_the_library_imports_upward():
    files = [*LIBRARY, *(ROOT / "kernels").glob("*.py")]
    assert len(files) > 10
    for path in files:
        house = path.parent.name
        own = floor_of(house if house in ("kernels", "heads") else path.stem)
        if house == "kernels" and path.stem in TOOLS:
            own = floor_of("tools")
        for name in imports(path):
            top, *rest = name.split(".")
            assert top not in ("experiments", "tests", "kernels"), f"{path} imports {name}"
            if top == "tempalign" and rest and any(rest[0] in floor for floor in FLOORS):
                assert floor_of(rest[0]) <= own, f"{path} imports upward: {name}"


# Rooms side by side share a floor and do not know each other.
EXPERIMENT_FLOORS = [
    {"shared"},
    {"tse"},
    {"vision"},
    {"dejavid", "episodes", "grids", "seq", "anomaly"},
]


def test_nothing_in_the_experiments_imports_upward():
    for number, floor in enumerate(EXPERIMENT_FLOORS):
        below = set().union(*EXPERIMENT_FLOORS[:number])
        for room in floor:
            for path in (ROOT / "experiments" / room).glob("*.py"):
                for name in imports(path):
                    parts = name.split(".")
                    assert parts[0] != "tests"
                    if parts[0] == "experiments" and len(parts) > 1:
                        assert parts[1] in below | {room}, f"{path} imports {name}"


def test_the_library_needs_only_jax_numpy_and_flax():
    allowed = {"__future__", "jax", "jaxlib", "numpy", "flax", "tempalign", "matplotlib", "optax"}
    for path in [*LIBRARY, *(ROOT / "kernels").glob("*.py")]:
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
