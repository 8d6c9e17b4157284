import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.shared.errors import MissingFileError, UserError
from experiments.tse.npy_file import open_npy, read_array, read_npy

GOOD = np.arange(15, dtype=np.float32).reshape(5, 3)


def as_bytes(array, **kwargs):
    file = io.BytesIO()
    np.save(file, array, **kwargs)
    return file.getvalue()


def with_header(text):
    header = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + GOOD.tobytes()


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["<f2", "<f4", ">f2", ">f4", "<f8", ">f8"]),
    st.booleans(),
)
def test_any_tse_comes_back(tmp_path_factory, frames, features, dtype, fortran):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    array = np.random.default_rng(frames).normal(size=(frames, features)).astype(dtype)
    np.save(path, np.asfortranarray(array) if fortran else array)
    stored, found = array.dtype.newbyteorder("="), open_npy(path)
    assert (found.length, found.num_features, found.stored) == (frames, features, str(stored))
    read_as = np.float16 if stored == np.float16 else np.float32
    got = read_npy(path)
    assert got.dtype == read_as
    np.testing.assert_array_equal(got, array.astype(read_as))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7) % 2 == 0,
        np.zeros((0, 4), np.int8),
        np.arange(24).reshape(2, 3, 4),
        np.float64(3),
        np.arange(6, dtype=">u2"),
    ],
)
def test_any_array_of_numbers_comes_back(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    got = read_array(tmp_path / "a.npy")
    assert got.dtype == np.asarray(array).dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_the_format_are_read(tmp_path, version):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, GOOD, version)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), GOOD)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }",
        '{"shape": (5L, 3L), "fortran_order": False, "descr": "<f4"}  \n',
        "{'shape':(5,3,),'descr':'<f4','fortran_order':False}",
    ],
)
def test_headers_of_other_writers_are_read(tmp_path, text):
    path = tmp_path / "a.npy"
    path.write_bytes(with_header(text))
    np.testing.assert_array_equal(read_npy(path), GOOD)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), ",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (15), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, -3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5,, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ", 3), }",
        "{'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'descr': '<f4', 'shape': (5, 3), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (5, 3), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (5, 3), }",
        "(" * 9000,
        "",
    ],
)
def test_other_headers_are_refused(tmp_path, text):
    path = tmp_path / "a.npy"
    path.write_bytes(with_header(text))
    with pytest.raises(UserError, match="a.npy: its header is damaged, or not that of an array"):
        read_array(path)


@pytest.mark.parametrize("shape", ["(999999999999999999, 999999999999999999)", "(10000000000, 3)"])
def test_a_huge_shape_takes_no_memory(tmp_path, shape):
    path = tmp_path / "a.npy"
    path.write_bytes(with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"))
    for read in (read_npy, open_npy, read_array):
        with pytest.raises(UserError, match="a.npy: truncated: .* bytes, expected"):
            read(path)


def test_more_axes_than_numpy_has_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    shape = "(15," + "1," * 70 + ")"
    path.write_bytes(with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"))
    with pytest.raises(UserError, match="a.npy: cannot be read as an array"):
        read_array(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["text"]), "must hold numbers, got <U4"),
        (np.array(["2024"], "M8[s]"), "not that of an array of numbers"),
        (np.zeros(3, np.complex64), "must hold numbers, got complex64"),
        (np.array([None]), "got objects"),
    ],
)
def test_what_is_not_numbers_is_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=f"a.npy: .*{message}"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .npy file"),
        (b"secret:x:0:0", "not a .npy file"),
        (b"\x93NUMPY", "not a .npy file"),
        (b"\x93NUMPY\x07\x00", "a .npy file of the unknown version 7"),
        (b"\x93NUMPY\x01\x00\xff", "truncated, or its header is damaged"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "truncated, or its header is damaged"),
        (as_bytes(GOOD) + b"\0", "longer than its header says"),
        (b"PK\x03\x04" + as_bytes(GOOD), "not a .npy file"),
    ],
)
def test_foreign_and_cut_files_are_refused_without_their_text(tmp_path, data, message):
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"a.npy: {message}") as caught:
        read_npy(path)
    assert "secret" not in str(caught.value)
    with pytest.raises(MissingFileError, match="none.npy: no such file"):
        read_npy(tmp_path / "none.npy")


def test_a_damaged_file_is_a_message_or_an_array(tmp_path):
    good = as_bytes(GOOD)
    start = len(good) - GOOD.nbytes
    path = tmp_path / "a.npy"
    rng = random.Random(0)
    cases = [(place, rng.randrange(256)) for place in range(start) for _ in range(24)]
    num_errors = 0
    for place, value in cases:
        path.write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
        try:
            got = read_npy(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            num_errors += 1
        else:
            assert got.shape == GOOD.shape
    assert len(cases) >= 3000 and num_errors > 1000
    for cut in range(len(good)):
        path.write_bytes(good[:cut])
        with pytest.raises(UserError, match="a.npy: "):
            read_npy(path)
