"""The house: each file imports only what stands on floors below, and stays readable."""

import pathlib

import pytest
from house import imports

ROOT = pathlib.Path(__file__).parents[1]

# From the ground up. A file may import from its own floor and from those below; `_engine.x` is a
# file of the engine's room, "_engine" any other of its files (there are none); `kernels.cpu` and
# `kernels.gpu` are rooms of kernels.
FLOORS = [
    {"_version", "_types"},
    {"_engine.arrays", "_engine.chunks", "_engine.integers", "_engine.modes", "_engine.platforms"}
    | {"_engine.shards"},
    {"_engine.model", "_engine.linear"},
    {"_engine.checks", "_engine.programs", "_engine.rule"},
    {"_engine.pairs", "_engine.costs", "_engine.windows", "_engine.options"},
    {"_engine.recurrence"},
    {"_engine.soft_minimum"},
    {"_engine.hard", "_engine.soft"},
    {"_engine.derivative", "_engine.along_path", "_engine.problem", "_engine.gathered"},
    {"_engine.long", "_engine.handed"},
    {"_engine.soft_plain"},
    {"kernels", "kernels.cpu", "kernels.gpu"},
    {"_engine.backends"},
    {"_engine.served", "_engine.soft_served", "_engine.weighted_backends"},
    {"_engine.evaluate", "_engine.weighted"},
    {"_ragged", "_resample"},
    {"_descent", "_series"},
    {"_align", "_dtw", "_soft_dtw", "_tam", "_weighted_dtw", "_barycenter", "_soft_barycenter"},
    {"_seq", "_time_layer"},
    {"heads", "plot", "__init__"},
    {"tools"},
]
# Of kernels; the library imports none of them.
TOOLS = {("bench",), ("benchmark",), ("gpu", "deviceless")}

LIBRARY = [
    path
    for path in sorted((ROOT / "tempalign").rglob("*.py"))
    if "kernels" not in path.relative_to(ROOT).parts
]
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))


def room_of(path):
    """What a file is called in `FLOORS`."""
    if path.is_relative_to(ROOT / "kernels"):
        return room("kernels", *path.relative_to(ROOT / "kernels").with_suffix("").parts)
    return room(*path.relative_to(ROOT / "tempalign").with_suffix("").parts)


def room(*parts):
    """The room of a module, by the parts of its name below `tempalign`."""
    if parts[0] == "_engine":
        return ".".join(parts[:2])
    if parts[0] != "kernels":
        return parts[0]
    if any(parts[1 : 1 + len(tool)] == tool for tool in TOOLS):
        return "tools"
    return ".".join(parts[:2]) if parts[1:2] in (("cpu",), ("gpu",)) else "kernels"


def floor_of(room):
    for number, floor in enumerate(FLOORS):
        if room in floor:
            return number
    return None


def imported_rooms(path):
    """The rooms of the library that a file imports from."""
    for name in imports(path):
        top, *rest = name.split(".")
        if top != "tempalign" or not rest:
            continue
        found = room(*rest)
        if floor_of(found) is not None:
            yield found


@pytest.mark.parametrize("path", [*LIBRARY, *KERNELS], ids=lambda p: "/".join(p.parts[-2:]))
def test_nothing_imports_upward(path):
    name_of_room = room_of(path)
    if name_of_room == "_engine.__init__":
        return
    own = floor_of(name_of_room)
    assert own is not None, (
        f"{path} has no floor yet: add {name_of_room!r} to FLOORS above all that it imports and "
        "below all that imports it"
    )
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in ("experiments", "tests", "kernels"), (
            f"{path} imports {name}: the library knows nothing of scripts and tests, and its "
            "kernels are tempalign.kernels"
        )
    for other in imported_rooms(path):
        assert floor_of(other) <= own, (
            f"{path} imports upward, from {other}: move what it needs to a lower file, or hand it "
            "in as an argument"
        )


@pytest.mark.parametrize("path", [*LIBRARY, *KERNELS], ids=lambda p: "/".join(p.parts[-2:]))
def test_no_file_is_too_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{path} has {lines} lines: it does more than one thing, divide it"


# Rooms side by side share a floor and do not know each other.
EXPERIMENT_FLOORS = [
    {"shared"},
    {"tse"},
    {"vision"},
    {"seq"},
    {"extract_tse"},
    {"dejavid", "few_shot", "time_layer", "seq_images", "seq_anomaly", "make_list", "make_store"},
    {"arrow_of_time", "sizing"},
]


def test_every_room_of_the_experiments_has_a_floor():
    rooms = {path.parent.name for path in (ROOT / "experiments").glob("*/*.py")} - {"data"}
    known = set().union(*EXPERIMENT_FLOORS)
    assert rooms == known, (
        f"add {sorted(rooms - known)} to EXPERIMENT_FLOORS above what it imports (or take "
        f"{sorted(known - rooms)} out)"
    )


def test_nothing_in_the_experiments_imports_upward():
    for number, floor in enumerate(EXPERIMENT_FLOORS):
        below = set().union(*EXPERIMENT_FLOORS[:number])
        for room in floor:
            for path in (ROOT / "experiments" / room).glob("*.py"):
                for name in imports(path):
                    parts = name.split(".")
                    assert parts[0] != "tests"
                    if parts[0] == "experiments" and len(parts) > 1:
                        assert parts[1] in below | {room}, (
                            f"{path} imports {name}: rooms side by side share what they have in "
                            "common through experiments/shared"
                        )
