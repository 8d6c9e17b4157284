import collections
import io
import os
import pickle
import random
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.shared.errors import UserError
from experiments.tse.plain_pickle import PlainUnpickler, checked_load, load_plain_pickle

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    LEAVES | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
    max_leaves=10,
)


def loads(data: bytes):
    return checked_load(PlainUnpickler(io.BytesIO(data)), "here.pkl")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PLAIN, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(value, protocol):
    assert loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_scalars_become_python_values(protocol):
    table = {"i": np.int64(-7), "f": np.float32(0.5), "b": np.bool_(True), "s": np.str_("añb")}
    got = loads(pickle.dumps(collections.OrderedDict(table), protocol))
    assert got == {"i": -7, "f": 0.5, "b": True, "s": "añb"}
    assert [type(v) for v in got.values()] == [int, float, bool, str]


def test_big_endian_scalars_are_read_as_such():
    scalar = np.array(258, ">i4")[()]
    data = pickle.dumps(np.dtype(">i4"))
    assert b">" in data and np.dtype(">i4") == pickle.loads(data)
    assert loads(pickle.dumps(scalar)) == 258


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch {}",), f"{os.system.__module__}.system"),
        (eval, ("open({!r}, 'w')",), ".*builtin.*eval"),
        (getattr, ({}, "items"), ".*builtin.*getattr"),
        (np.load, ("x",), "numpy.load"),
        (collections.Counter, (), "collections.Counter"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused_by_name_and_not_run(tmp_path, function, args, name, protocol):
    target = tmp_path / "run"
    args = tuple(a.format(str(target)) if isinstance(a, str) else a for a in args)
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"id": Call(function, *args)}, protocol))
    with pytest.raises(ValueError, match=f"bad.pkl.*{name}'.*was not run"):
        load_plain_pickle(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"ccollections\nOrderedDict\n}Vx\nVy\nsb.",  # BUILD with a dict
        b"ccollections\nOrderedDict\n(N}Vx\nVy\nstb.",  # BUILD with slots
        b"cnumpy\ndtype\n(VO\ntR.",
        b"cnumpy\ndtype\n(Vi4,O\ntR.",
        b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
        b"P1\n.",  # a persistent id
        b"cos.path\njoin\n.",
    ],
)
def test_tricks_are_refused(data):
    with pytest.raises(ValueError, match="^here.pkl: not a readable pickle"):
        loads(data)


@pytest.mark.parametrize(
    "text", ["Isecret\n.", "ca secret\nb c\n.", "secret:x:0", "\x80\x02secret", "Vsecret"]
)
def test_what_is_in_a_foreign_file_is_not_told(tmp_path, text):
    path = tmp_path / "shadow"
    path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match="shadow: not a readable pickle") as caught:
        load_plain_pickle(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02Nr\xff\xff\xff\x0f.",  # a place of the memory gigabytes away
        b"Np268435455\n.",
        b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b"x.",
    ],
)
def test_a_few_bytes_do_not_take_gigabytes(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="not a readable pickle"):
        loads(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # kilobytes


def test_damaged_pickles_give_a_clear_error():
    good = pickle.dumps({f"video{i}": (i, "train", np.int32(i)) for i in range(20)})
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            loads(bytes(data))
        except UserError as error:
            assert str(error).startswith("here.pkl: ")
    for cut in range(len(good)):
        with pytest.raises(ValueError, match="^here.pkl: "):
            loads(good[:cut])


def test_a_missing_pickle_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pkl: no such file"):
        load_plain_pickle(tmp_path / "none.pkl")
