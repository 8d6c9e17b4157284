import pickle
import random
import zipfile

import numpy as np
import pytest

from experiments.shared import archives
from experiments.shared.errors import UserError
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers


def ramp(frames, features):
    return (np.arange(frames)[:, None] + np.arange(features) / 8).astype(np.float32)


BASE = ramp(5, 3)


def load(path):
    """Reads a file of one tensor."""
    header = tensor_headers(path)
    assert isinstance(header, StoredTensor)
    return read_tensor(path, header)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contiguous", BASE),
        ("transposed", ramp(3, 5).T),
        ("slice", ramp(9, 4)[2:7, 1:]),
        ("half", BASE.astype(np.float16)),
        ("bfloat16", BASE),
        ("double", BASE.astype(np.float64)),
        ("integer", BASE.astype(np.int64)),
        ("parameter", BASE),
    ],
)
def test_tensors_of_torch_are_read(torch_files, name, expected):
    path = torch_files / f"{name}.pt"
    header = tensor_headers(path)
    assert isinstance(header, StoredTensor) and header.shape == (5, 3)
    got = read_tensor(path, header)
    assert got.dtype == expected.dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("name", "keys", "second"),
    [("dict", [7, 8], "float32"), ("ordered_dict", ["a", "b"], "float16")],
)
def test_dicts_of_tensors_are_read_one_by_one(torch_files, name, keys, second):
    path = torch_files / f"{name}.pt"
    headers = tensor_headers(path)
    assert not isinstance(headers, StoredTensor) and list(headers) == keys
    np.testing.assert_array_equal(read_tensor(path, headers[keys[0]]), BASE)
    got = read_tensor(path, headers[keys[1]])
    assert got.dtype == second
    np.testing.assert_array_equal(got, ramp(4, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("legacy", "before torch 1.6; load it and save it again"),
        ("list", "holds a list, not a tensor or a dict"),
        ("module", "'torch.nn.modules.linear.Linear'"),
    ],
)
def test_other_torch_files_are_refused(torch_files, name, message):
    with pytest.raises(ValueError, match=f"{name}.pt: .*{message}"):
        tensor_headers(torch_files / f"{name}.pt")


def rewrite(source, target, **members):
    """Copies a torch file with other contents of some members (None leaves one out)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = members.get(info.filename.split("/")[-1].replace(".", "_"), old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    return target


def test_a_malicious_pickle_is_not_run(torch_files, tmp_path):
    target = tmp_path / "run"
    data = f"cos\nsystem\n(Vtouch {target}\ntR.".encode()
    path = rewrite(torch_files / "contiguous.pt", tmp_path / "evil.pt", data_pkl=data)
    with pytest.raises(ValueError, match="evil.pt: .*'os.system'.*was not run"):
        tensor_headers(path)
    assert not target.exists()


def test_the_byte_order_of_the_file_counts(torch_files, tmp_path):
    source = torch_files / "contiguous.pt"
    swapped = BASE.astype(">f4").tobytes()
    members = {"0": swapped, "byteorder": b"big"}
    path = rewrite(source, tmp_path / "big.pt", **members)
    np.testing.assert_array_equal(load(path), BASE)
    old = rewrite(source, tmp_path / "old.pt", byteorder=None)  # before torch 2.1
    np.testing.assert_array_equal(load(old), BASE)


def tensor_pickle(numel="I15\n", offset="I0\n", shape="(I5\nI3\nt", strides="(I3\nI1\nt", rest=""):
    storage = f"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n{numel}tQ"
    call = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}{shape}{strides}I00\n}}{rest}tR."
    return call.encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(numel="I16\n"), "has 60 bytes, 64 are needed"),
        (dict(offset="I1\n"), r"shape \(5, 3\) leaves its storage"),
        (dict(offset="I-1\n"), "leaves its storage"),
        (dict(strides="(I-3\nI1\nt"), "leaves its storage"),
        (dict(strides="(I3\nI2\nt"), "leaves its storage"),
        (dict(strides="(I3\nt"), "leaves its storage"),
        (dict(shape="(I5\nVx\nt"), "TypeError"),
        (dict(numel="F15.5\n"), "TypeError"),
        (dict(strides="(I0\nI1\nt", shape="(I6\nI3\nt"), "more elements than its storage"),
        (dict(strides="(I0\nI0\nt", shape="(I99999999\nI99999999\nt"), "save its clone"),
        (dict(strides="(I1\nI1\nt", shape="(I6\nI3\nt"), "more elements than its storage"),
        (dict(rest="}Vconj\nI01\ns"), "metadata"),
    ],
)
def test_views_outside_their_storage_are_refused(torch_files, tmp_path, change, message):
    source = torch_files / "contiguous.pt"
    good = rewrite(source, tmp_path / "good.pt", data_pkl=tensor_pickle())
    np.testing.assert_array_equal(load(good), BASE)
    bad = rewrite(source, tmp_path / "bad.pt", data_pkl=tensor_pickle(**change))
    with pytest.raises(ValueError, match=f"bad.pt: .*{message}"):
        tensor_headers(bad)


@pytest.mark.parametrize("state", ["}Voffset\nI99\ns", "(N}Voffset\nI99\nst"])
def test_a_pickle_cannot_change_a_header(torch_files, tmp_path, state):
    data = tensor_pickle()[:-1] + state.encode() + b"b."
    path = rewrite(torch_files / "contiguous.pt", tmp_path / "bad.pt", data_pkl=data)
    with pytest.raises(ValueError, match="bad.pt"):
        tensor_headers(path)


def test_a_file_that_shrank_since_is_noticed(torch_files, tmp_path):
    source = torch_files / "contiguous.pt"
    header = tensor_headers(source)
    assert isinstance(header, StoredTensor)
    path = rewrite(source, tmp_path / "new.pt", **{"0": b"\0" * 20})
    with pytest.raises(ValueError, match="new.pt: changed since"):
        read_tensor(path, header)


def test_tensors_that_share_numbers_are_read_where_they_fit(torch_files, tmp_path):
    change = dict(shape="(I3\nI3\nt", strides="(I1\nI1\nt")
    path = rewrite(
        torch_files / "contiguous.pt", tmp_path / "a.pt", data_pkl=tensor_pickle(**change)
    )
    flat = BASE.reshape(-1)
    np.testing.assert_array_equal(load(path), [flat[0:3], flat[1:4], flat[2:5]])


def test_a_storage_that_is_no_whole_number_of_elements_is_read(torch_files, tmp_path):
    path = rewrite(
        torch_files / "contiguous.pt", tmp_path / "a.pt", **{"0": BASE.tobytes() + b"ab"}
    )
    np.testing.assert_array_equal(load(path), BASE)


def test_files_that_grow_when_they_are_read_are_refused(torch_files, tmp_path, monkeypatch):
    path = tmp_path / "bomb.pt"
    zeros = bytes(2_000_000)
    with zipfile.ZipFile(torch_files / "contiguous.pt") as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, zeros if name.endswith("data/0") else data)
    load(path)  # a small one is fine
    monkeypatch.setattr(archives, "_MOST_EXPANDED", 1_000_000)
    for read in (tensor_headers, load):
        with pytest.raises(UserError, match=r"bomb.pt: compressed: .* 2,000,\d+.*1,000,000"):
            read(path)


def test_truncated_and_foreign_files_are_named(torch_files, tmp_path):
    good = (torch_files / "contiguous.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for cut in range(0, len(good), 7):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match="cut.pt"):
            tensor_headers(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="cut.pt: not a file of torch.save"):
        tensor_headers(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "text")
    with pytest.raises(ValueError, match="no data.pkl in it"):
        tensor_headers(path)
    path.write_text("root:secret\n" * 9)
    with pytest.raises(UserError, match="cut.pt: not a file of torch.save") as caught:
        tensor_headers(path)
    assert "secret" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="none.pt"):
        tensor_headers(tmp_path / "none.pt")


def test_damaged_files_give_a_clear_error_or_the_numbers(torch_files, tmp_path):
    good = (torch_files / "contiguous.pt").read_bytes()
    path = tmp_path / "damaged.pt"
    rng = random.Random(0)
    num_errors = 0
    for _ in range(300):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            got = load(path)
        except UserError as error:
            assert "damaged.pt" in str(error)
            num_errors += 1
        else:
            assert got.shape == (5, 3)
            np.testing.assert_array_equal(got, BASE)  # the zip checksum saw all that matters
    assert num_errors > 20
