"""The benchmark end to end on tiny shapes; nothing here asserts a time."""

import dataclasses
import json
from typing import get_args

import numpy as np
import oracles
import pytest

from tempalign.kernels import benchmark
from tempalign.kernels.bench import (
    alignments,
    command,
    contenders,
    dejavid,
    limits,
    peers,
    report,
    specs,
    timing,
    workloads,
)
from tempalign.kernels.cpu import native
from tempalign.kernels.gpu.specs import CARDS, HMDB51

PAIRS = specs.AlignmentSpec("tiny-pairs", 3, 2, 5, 2, all_pairs=True)
SOFT = specs.AlignmentSpec("tiny-soft", 2, 2, 4, 3, 1.0, gradient=True)
CENTER = specs.BarycenterSpec("tiny-dba", 4, 6, 2, 3)
SOFT_CENTER = specs.BarycenterSpec("tiny-soft-barycenter", 4, 6, 2, 3, 1.0)
EPISODE = dataclasses.replace(specs.TAM_GRAD, num_features=3)
DEJAVID = dataclasses.replace(HMDB51, num_classes=3, num_features=5, num_frames=6)


class Right(contenders.Peer):
    """Does pairs, in plain NumPy."""

    name, distribution, modules = "right", "numpy", ("numpy",)
    factor = 1.0

    def alignment(self, spec, x, y):
        costs = [[oracles.local_cost(a, b, "sqeuclidean") for b in y] for a in x]

        def run():
            return [[oracles.loop_dtw(cost, True)[0] for cost in row] for row in costs]

        return contenders.Call(
            run, lambda rows: (self.factor * np.asarray(rows),), "float64", "a plain loop"
        )


class Wrong(Right):
    """Has another convention."""

    name = "wrong"
    factor = 1.001


class OtherShape(Right):
    """Returns something else."""

    name = "other-shape"

    def alignment(self, spec, x, y):
        call = super().alignment(spec, x, y)
        return dataclasses.replace(call, arrays=lambda rows: (np.zeros(3),))


class Undefined(Right):
    """Returns NaN."""

    name = "undefined"
    factor = float("nan")


class Broken(Right):
    """Cannot."""

    name = "broken"

    def alignment(self, spec, x, y):
        raise RuntimeError("no such kernel")


class Absent(Right):
    """Is not there."""

    name, modules = "absent", ("no_such_library",)


ALL = (Right, Wrong, OtherShape, Undefined, Broken, Absent)


def entries_of(*kinds):
    usable, _ = peers.load(kinds)
    found = timing.measure(alignments.of_alignment(PAIRS), usable, rounds=2)
    return {entry.name: entry for entry in found}


def test_runs_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "load", lambda: peers.load(ALL))
    file = tmp_path / "out.json"
    rows = (alignments.of_alignment(PAIRS), alignments.of_barycenter(CENTER))
    benchmark.main(["--quick", "--json", str(file)], rows)
    shown = capsys.readouterr().out
    written = json.loads(file.read_text())

    about = written["about"]
    for key in ("date", "tempalign", "cpu", "device", "system", "python", "jax", "right"):
        assert about[key] and f"{key}: {about[key]}" in shown
    assert "OMP_NUM_THREADS" in about
    assert about["absent"].startswith("not installed")

    assert shown.startswith(
        f"Command: `python -m tempalign.kernels.benchmark --quick --json {file}"
    )
    assert "- right: a plain loop" in shown
    assert list(written["workloads"]) == ["tiny-pairs", "tiny-dba"]
    fields = {field.name for field in dataclasses.fields(timing.Entry)}
    for entries in written["workloads"].values():
        assert all(set(entry) == fields for entry in entries)
    entries = {entry["name"]: entry for entry in written["workloads"]["tiny-pairs"]}
    assert ("tempalign/native" in entries) == (native.missing() is None)
    ours, right = entries["tempalign/xla"], entries["right"]
    assert (ours["name"], ours["ours"], ours["state"]) == ("tempalign/xla", True, "timed")
    assert ours["samples"] == right["samples"] == timing.QUICK_ROUNDS
    assert ours["temp_bytes"] >= 0 and ours["first_seconds"] > 0 and ours["differences"] == [0.0]
    low, high = ours["quartile_seconds"]
    assert 0 < low <= ours["median_seconds"] <= high
    assert ours["ratio"] == right["median_seconds"] / ours["median_seconds"]
    assert right["dtype"] == "float64" and right["how"] == "a plain loop"
    assert right["ratio"] is None and right["temp_bytes"] is None
    # Nobody else averages: the row has no ratio.
    alone, *native_too = written["workloads"]["tiny-dba"]
    assert alone["state"] == "timed" and alone["ratio"] is None
    assert all(entry["ratio"] for entry in native_too)  # over XLA


def test_who_disagrees_is_reported_and_not_timed():
    found = entries_of(Wrong, Right, OtherShape, Undefined, Broken)
    assert found["right"].state == found["tempalign/xla"].state == "timed"
    assert found["right"].differences[0] < 1e-6
    for name in ("wrong", "other-shape", "undefined"):
        assert found[name].state == "differs" and found[name].median_seconds is None
        assert "differs from ours" in found[name].note
    assert found["wrong"].differences == [pytest.approx(1e-3, rel=0.01)]
    assert found["undefined"].differences == [None]
    assert found["broken"].state == "failed" and "no such kernel" in found["broken"].note
    # The ratio is against those who agree.
    expected = found["right"].median_seconds / found["tempalign/xla"].median_seconds
    assert found["tempalign/xla"].ratio == expected


def test_our_own_failure_ends_the_run():
    def broken(implementation):
        raise ValueError("ours")

    row = dataclasses.replace(alignments.of_alignment(PAIRS), ours=broken)
    with pytest.raises(ValueError, match="ours"):
        timing.measure(row, [], rounds=1)


def test_missing_peers_are_named():
    usable, missing = peers.load((Absent, Right))
    assert [peer.name for peer in usable] == ["right"]
    assert list(missing) == ["absent"] and "no_such_library" in missing["absent"]


def test_costs_alone_are_the_same_rows_and_columns():
    row = dejavid.of_costs(DEJAVID)
    inputs = row.inputs()
    interpreted, xla = (row.ours(name)(*inputs) for name in ("pallas_interpret", "xla"))
    np.testing.assert_allclose(interpreted, xla, rtol=1e-5)


def test_the_limit_of_a_card_is_what_its_instructions_take(monkeypatch):
    row = dejavid.of_dejavid(DEJAVID)
    card = dataclasses.replace(CARDS["h200"], name="slow", cores=1, lanes=1, clock_ghz=1e-3)
    monkeypatch.setitem(CARDS, "slow", card)
    device = type("Device", (), {"platform": "gpu", "device_kind": "slow"})
    monkeypatch.setattr(timing.jax, "devices", lambda: [device])
    instructions = 2 * (3 * 8) * (4 * 6) * 5  # four videos without a GPU
    assert timing.limit_of(row) == limits.Limit(instructions / 1e6, "arithmetic")
    device.device_kind = "unknown"
    assert timing.limit_of(row) is None


@pytest.mark.skipif(limits.missing() is not None, reason=f"limits: {limits.missing()}")
def test_the_limit_of_this_machine(monkeypatch):
    monkeypatch.setattr(limits, "_SECONDS", 1e-4)
    monkeypatch.setattr(limits, "_STREAM_BYTES", 1 << 16)
    for dtype in ("float32", "float64"):
        for kind in get_args(limits.Kind):
            assert 1e6 < limits.peak.__wrapped__(kind, 3, dtype) < 1e13, kind
    monkeypatch.setattr(limits, "stream", lambda: 1e3)
    monkeypatch.setattr(limits, "peak", lambda kind, features, dtype: {"soft": 10, "hard": 2}[kind])
    assert limits.of(limits.Work("soft", 20, 1, 8)) == limits.Limit(2.0, "arithmetic")
    assert limits.of(limits.Work("hard", 20, 1, 30_000)) == limits.Limit(30.0, "memory")
    monkeypatch.setattr(timing.limits, "of", lambda work: limits.Limit(0.5, "memory"))
    entries = timing.measure(alignments.of_alignment(PAIRS), [Right()], rounds=1)
    assert entries[0].of_limit == 0.5 / entries[0].median_seconds and entries[0].bound == "memory"
    assert entries[-1].name == "right" and entries[-1].of_limit is None


def test_without_a_compiler_there_is_no_limit(monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setattr(limits, "_library", limits._library.__wrapped__)
    assert "/bin/false" in limits.missing()
    assert limits.of(limits.Work("soft", 20, 1, 8)) is None
    assert limits.about()["limits"].startswith("not measured: /bin/false")


@pytest.mark.parametrize(("band", "frames"), [(None, 5), (0, 5), (2, 7), (9, 4)])
def test_cells_of_a_band(band, frames):
    spec = dataclasses.replace(PAIRS, band=band, num_frames=frames)
    cells = [(i, j) for i in range(frames) for j in range(frames)]
    inside = [1 for i, j in cells if band is None or abs(i - j) <= band]
    assert spec.num_cells == 6 * len(inside)


def test_float64_rows_are_for_float64():
    row = alignments.of_alignment(specs.in_float64(PAIRS))
    assert {array.dtype for array in row.inputs()} == {np.dtype("float64")}
    entries = timing.measure(row, [Right()], rounds=1)
    assert {entry.dtype for entry in entries} == {"float64"}
    assert all(max(entry.differences) < 1e-12 for entry in entries)


def test_without_native_code_its_rows_are_left_out(monkeypatch):
    monkeypatch.setattr(native, "missing", lambda: "it is not there")
    row = alignments.of_alignment(dataclasses.replace(PAIRS, on_xla=False))
    (entry,) = timing.measure(row, [Right()], rounds=1)
    assert entry.note == "only native code does this: it is not there"
    lines = report.notes([("one", [entry])])
    assert lines == [f"one, tempalign/native: {entry.note}"]


def test_who_is_slow_has_fewer_turns(monkeypatch):
    seconds = {"quick": 0.1, "slow": 0.6, "slowest": 60.0}
    monkeypatch.setattr(timing, "_seconds", lambda call, times: seconds[call.how])
    ready = [
        (timing.Entry(name, ours=False), contenders.Call(tuple, tuple, "float32", name))
        for name in seconds
    ]
    timing.take_turns(ready, 5)
    timing.take_turns(ready[2:], 2)
    assert [entry.samples for entry, _ in ready] == [5, 3, 2]
    assert [entry.median_seconds for entry, _ in ready] == [0.1, 0.6, 60.0]


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("our_modes")  # a training step is optax's too
@pytest.mark.parametrize(
    ("row", "results"),
    [
        (alignments.of_alignment(SOFT), 3),
        (alignments.of_barycenter(CENTER), 1),
        pytest.param(alignments.of_barycenter(SOFT_CENTER), 1, marks=pytest.mark.slow),
        (alignments.of_alignment(dataclasses.replace(PAIRS, eager=True)), 1),
        pytest.param(
            alignments.of_alignment(dataclasses.replace(PAIRS, band=2)), 1, marks=pytest.mark.slow
        ),
        (alignments.of_episode(EPISODE), 3),
        (dejavid.of_costs(DEJAVID), 1),
        (dejavid.of_dejavid(DEJAVID), 3),
        pytest.param(dejavid.of_dejavid(DEJAVID, "float16"), 3, marks=pytest.mark.slow),
        pytest.param(dejavid.of_training(DEJAVID), 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_kind_of_row(row, results):
    again = zip(row.inputs(), row.inputs(), strict=True)
    assert all(a.dtype == np.float32 and np.array_equal(a, b) for a, b in again)
    for entry in timing.measure(row, [], rounds=1):
        assert entry.state == "timed" and len(entry.differences) == results == len(row.tolerances)
        assert entry.temp_bytes >= 0 and entry.samples == 1


def test_table():
    def entry(**known):
        return timing.Entry(**{"name": "peer", "ours": False, "state": "timed"} | known)

    ours = entry(
        name="tempalign/xla",
        ours=True,
        median_seconds=0.0015,
        quartile_seconds=(0.001, 0.002),
        first_seconds=1.234,
        temp_bytes=3 * 2**20,
        differences=[0.0],
        ratio=2.5,
        of_limit=0.7,
        bound="memory",
        dtype="float32",
    )
    other = entry(state="differs", first_seconds=0.5, differences=[0.25, None], note="not timed")
    broken = entry(name="third", state="failed", note="no")
    lines = report.table([("one", [ours, other]), ("two", [broken])]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:3] == ["workload", "who", "dtype"]
    assert set("".join(cells[1])) == {"-", ":"}
    figures = ["1.50", "1.00 .. 2.00", "1.23", "3.0", "0e+00", "2.5", "70 % memory"]
    assert cells[2] == ["one", "tempalign/xla", "float32", *figures]
    assert cells[3] == ["", "peer", "-", "differs", "-", "0.50", "-", "nan", "-", "-"]
    assert cells[4] == ["two", "third", "-", "failed", *6 * ["-"]]
    assert len({len(line) for line in lines}) == 1  # the columns stand under each other
    assert report.notes([("one", [ours, other]), ("two", [broken])]) == [
        "one, peer: not timed",
        "two, third: no",
    ]


def test_list_and_only(capsys):
    benchmark.main(["--list"])
    names = capsys.readouterr().out.split()
    assert names == [row.name for row in workloads.WORKLOADS] and len(set(names)) == len(names)
    benchmark.main(["--list", "--only", "dba", "--only", "dtw-one"])
    shown = capsys.readouterr().out.split()
    assert shown == [name for name in names if name.startswith(("dba", "dtw-one"))]
    benchmark.main(["--list", "--only", "dtw-one-t1000"])
    assert capsys.readouterr().out.split() == ["dtw-one-t1000"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "--only 'nothing' matches no workload; there are dtw-pairs"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert message in capsys.readouterr().err


def test_long_rows_wait_for_a_gpu(monkeypatch):
    def names(*only):
        return [row.name for row in workloads.select(only)]

    every = [row.name for row in workloads.WORKLOADS]
    long = [row.name for row in workloads.WORKLOADS if row.long]
    assert len(long) == 5 and names() == [name for name in every if name not in long]
    assert not set(names("soft-grad")) & set(long)
    assert names("long") == long[:2] and names("epoch") == long[2:]
    assert names(long[0]) == long[:1]
    monkeypatch.setattr(workloads, "on_gpu", lambda: True)
    assert names() == every


# numba compiles for up to a minute. Without the extra `peers` there is nothing to do.
@pytest.mark.slow
@pytest.mark.parametrize("kind", peers.PEERS, ids=lambda kind: kind.name)
def test_installed_peers_agree(kind):
    usable, missing = peers.load((kind,))
    if missing:
        pytest.skip(missing[kind.name])
    rows = [
        *(
            alignments.of_alignment(spec)
            for spec in (
                PAIRS,
                SOFT,
                dataclasses.replace(PAIRS, num_features=1),
                dataclasses.replace(PAIRS, gamma=1.0),
                specs.AlignmentSpec("tiny-one", 1, 1, 7, 1),
            )
        ),
        alignments.of_barycenter(CENTER),
    ]
    found = [timing.measure(row, usable, rounds=1)[1:] for row in rows]
    took_part = [entry for entries in found for entry in entries]
    assert took_part and all(entry.state == "timed" for entry in took_part), took_part
