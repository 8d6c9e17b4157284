"""Files and flags of anyone, damaged at random: whatever is wrong is told in one of our errors.

A few examples by default, always the same; `--hypothesis-profile=thorough` draws many.
"""

import json
import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest
import slow_job
from fuzzing import JSON, MANY, damaged, told
from hypothesis import given
from hypothesis import strategies as st

from experiments.dejavid.settings import Settings as DejaVidSettings
from experiments.extract_tse.ledger import Ledger
from experiments.extract_tse.listing import read_list
from experiments.extract_tse.manifest import Manifest
from experiments.few_shot.frame_counts import FrameCounts
from experiments.few_shot.settings import Settings as FewShotSettings
from experiments.seq.cache import kept
from experiments.seq_images.settings import Settings as SeqSettings
from experiments.shared.command import main
from experiments.shared.csv_index import column_names, read_rows, stream_rows
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.shared.job import read_job
from experiments.shared.labels import read_classes
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.options import parse
from experiments.time_layer.settings import Settings as TimeSettings
from experiments.tse import index_folder, ts_folder
from experiments.tse.npy_file import open_npy, read_array, read_npy
from experiments.tse.plain_pickle import load_plain_pickle
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers
from experiments.vision.trunks.weights import Weights

SETTINGS = (DejaVidSettings, FewShotSettings, SeqSettings, TimeSettings)
COLUMNS = ("id", "path", "label")
INDEX = (
    b"id,path,label,split\na,a.npy,0,train\nb,b.npy,1,train\nc,sub/c.npy,0,test\n"
    b'"d ""d""",d.npy,1,validation\n'
)


@MANY
@given(st.data())
def test_tables(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    for name in "abd":
        np.save(folder / f"{name}.npy", np.ones((2, 3), np.float32))
    (folder / "sub").mkdir()
    np.save(folder / "sub" / "c.npy", np.ones((2, 3), np.float32))
    path = folder / "index.csv"
    path.write_bytes(data.draw(damaged(INDEX)))
    told(lambda: read_rows(path, required=COLUMNS, unique="id", files="path"))
    told(column_names, path)
    told(lambda: list(stream_rows(path, required=("id", "split"))))
    told(read_list, path)
    told(read_classes, path)
    told(index_folder.load, folder)


@MANY
@given(st.data())
def test_paths_stay_in_their_folder(tmp_path_factory, data):
    """Whatever a table calls a file: it is in the folder of the table, or it is refused."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True) / "data"
    (folder / "sub").mkdir(parents=True)
    (folder.parent / "secret.npy").write_bytes(b"")
    (folder / "out").symlink_to(folder.parent)
    (folder / "link.npy").symlink_to(folder.parent / "secret.npy")
    part = st.sampled_from(
        [
            "..",
            ".",
            "",
            "sub",
            "out",
            "secret.npy",
            "link.npy",
            "/",
            "~",
            "C:",
            "\\",
            "\\..\\",
            "\0",
        ]
    )
    text = "/".join(data.draw(st.lists(part, max_size=5)))
    quoted = text.replace('"', '""')
    (folder / "index.csv").write_text(f'path\n"{quoted}"\n')
    rows = told(
        lambda: read_rows(
            folder / "index.csv", required=("path",), splits=False, files="path", must_exist=False
        )
    )
    for row in rows or ():
        assert row.path.resolve().is_relative_to(folder.resolve()), text


def _npy(array):
    import io

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@MANY
@given(st.data())
def test_arrays(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "a.npy"
    path.write_bytes(data.draw(damaged(_npy(np.arange(6, dtype=np.float32).reshape(2, 3)))))
    for read in (read_npy, read_array, open_npy):
        told(read, path)


SHAPE = st.one_of(
    st.text("0123456789,()L -", max_size=20),
    st.lists(st.integers(-1, 2**63), max_size=3).map(lambda sides: str(tuple(sides))),
)


@MANY
@given(SHAPE, st.sampled_from(["<f4", "<f2", "|O", "<U9", "(9,9)f4", "<M8[ns]", "f", "V999999"]))
def test_headers_that_ask_for_anything(tmp_path_factory, shape, dtype):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(24))
    for read in (read_npy, read_array, open_npy):
        told(read, path)


PICKLED = {"a": [1, 2.5, "x", b"y", None, True], 7: ({1, 2}, (3,)), "n": np.float32(1)}


@MANY
@given(st.data(), st.integers(0, 5))
def test_pickles(tmp_path_factory, data, protocol):
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "a.pkl"
    path.write_bytes(data.draw(damaged(pickle.dumps(PICKLED, protocol))))
    told(load_plain_pickle, path)


class Bomb:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _fails(*_):
    raise AssertionError("it was run")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [_fails, eval, __import__, getattr, open, np.load])
def test_pickles_that_call(tmp_path, function, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": Bomb(function, "os")}, protocol))
    with pytest.raises(UserError, match=r"a\.pkl: .*not plain data and was not run"):
        load_plain_pickle(path)


def _torch_file(path, pickled, storage):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", storage)


@MANY
@given(st.data())
def test_torch_files(tmp_path_factory, data):
    from pathlib import Path

    good = Path(__file__).parents[1] / "tse" / "fixtures" / "dict.pt"
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    path = folder / "a.pt"
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(good.read_bytes())))
    else:  # a good archive with a damaged pickle
        with zipfile.ZipFile(good) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            _torch_file(path, data.draw(damaged(archive.read(name))), bytes(64))
    headers = told(tensor_headers, path)
    if isinstance(headers, dict):
        for header in headers.values():
            if isinstance(header, StoredTensor):
                told(read_tensor, path, header)


@MANY
@given(st.data())
def test_weights_and_caches(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    np.savez(folder / "good.npz", a=np.ones(3), key=np.array('{"k": 1}'))
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    safe = struct.pack("<Q", len(header)) + header + bytes(8)
    (folder / "a.npz").write_bytes(data.draw(damaged((folder / "good.npz").read_bytes())))
    (folder / "a.safetensors").write_bytes(data.draw(damaged(safe)))
    for name in ("a.npz", "a.safetensors"):
        weights = told(Weights, folder / name, "model")
        if weights is not None:
            told(weights.take, "a", (2,))
    assert kept(folder / "a.npz", {"k": 1}, lambda: {"a": np.zeros(1)})["a"].ndim == 1


@MANY
@given(st.data(), st.sampled_from(SETTINGS))
def test_settings_of_a_run_folder(tmp_path_factory, data, kind):
    """Settings that were written, some of them replaced by anything, then the text damaged."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    needed = {"class_splits": "c"} if kind is FewShotSettings else {}
    values = kind(data_dir="d", **needed).to_json()
    names = st.one_of(st.sampled_from(sorted(values)), st.text(max_size=5))
    changed = data.draw(st.dictionaries(names, JSON, max_size=3))
    job = {"settings": {**values, **changed}, "data": data.draw(JSON)}
    text = json.dumps(data.draw(st.one_of(st.just(job), JSON)))
    if data.draw(st.booleans()):
        text = data.draw(damaged(text.encode())).decode("latin1")
    (folder / "settings.json").write_text(text, encoding="utf-8")
    told(read_job, folder, kind)


@MANY
@given(st.data())
def test_files_that_only_save_time(tmp_path_factory, data):
    """Digests and numbers of frames that are damaged are forgotten; nothing is said."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    file = folder / "a.npy"
    file.write_bytes(b"x")
    os.utime(file, ns=(10**18, 10**18))
    # What is drawn must not depend on how long the name of the folder is.
    content = data.draw(damaged(json.dumps({"PATH": [1, 10**18, "0" * 32]}).encode()))
    path = folder / "known.json"
    path.write_bytes(content.replace(b"PATH", str(file.resolve()).encode()))
    digests = Digests(path)
    assert re.fullmatch("[0-9a-f]*", digests.of_file(file)) or b"0" * 32 not in path.read_bytes()
    digests.save()
    counts = FrameCounts(path)
    assert counts.get(file) is None
    counts.save(path)


LEDGER = json.dumps(
    {
        "event": "done", "id": "a", "key": "0" * 20, "path": "a.mp4", "source": [1, 2, "x"],
        "frames": 3, "shape": [2, 3], "note": "", "features": [1, "x"], "times": [1, "x"],
    }
).encode()  # fmt: skip


@MANY
@given(st.data())
def test_logs_and_ledgers(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    (folder / "own").mkdir()
    void = b'{"event": "void", "keys": ["1"]}'
    content = b"\n".join([LEDGER, data.draw(damaged(LEDGER)), data.draw(damaged(void)), b""])
    (folder / "own" / "ledger.jsonl").write_bytes(content)
    ledger = told(Ledger, folder, "own")
    if ledger is not None:
        ledger.new_key("a")
    log = b'{"event": "epoch", "time": "x", "loss": 1.5}\n'
    (folder / "metrics.jsonl").write_bytes(log + data.draw(damaged(log)))
    told(MetricsLog, folder / "metrics.jsonl")
    told(Manifest.read, folder / "metrics.jsonl")


SERIES = b"@problemName x\n@timestamps false\n@classLabel true a b\n@data\n1,2:3,4:a\n5,6:7,8:b\n"


@MANY
@given(st.data())
def test_archives_of_time_series(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    (folder / "x_TRAIN.ts").write_bytes(data.draw(damaged(SERIES)))
    (folder / "x_TEST.ts").write_bytes(SERIES)
    told(ts_folder.load, folder)


WORD = st.one_of(
    st.sampled_from(["--seeds=0,1", "--epochs", "--nope", "--noresume", "--flagfile=", "--", "-"]),
    st.text(max_size=8),
    st.tuples(
        st.sampled_from(["seeds", "epochs", "resume", "out_dir", "methods", "learning_rate"]),
        st.one_of(st.text(max_size=6), st.sampled_from(["", "-1", "1e999", "nan", "9" * 5000])),
    ).map(lambda pair: f"--{pair[0]}={pair[1]}"),
)


@MANY
@given(st.lists(WORD, max_size=4), st.sampled_from(SETTINGS))
def test_flags(words, kind):
    told(parse, kind, ["job", *words])


@pytest.mark.parametrize("line", [b"--flagfile=\0", b"--out_dir=a\0b", b"--epochs=\xff"])
def test_a_flagfile_with_bytes_that_are_no_text(tmp_path, line):
    path = tmp_path / "flags.txt"
    path.write_bytes(line + b"\n")
    with pytest.raises(UserError, match="flags.txt: not a text file|allowed: a text"):
        parse(slow_job.Settings, ["job", f"--flagfile={path}"])


def test_a_flag_that_is_endless(tmp_path):
    flag, path = "--" + "x" * 5000, tmp_path / "flags.txt"
    path.write_text(flag)
    for words in ([flag], [f"--flagfile={path}"]):
        with pytest.raises(UserError, match="no flag has so long a name") as told:
            parse(slow_job.Settings, ["job", *words])
        assert len(str(told.value)) < 200


@MANY
@given(st.data(), st.sampled_from(SETTINGS))
def test_flagfiles(tmp_path_factory, data, kind):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    good = b"# comment\n--seeds=0,1\n--epochs=3\n--out_dir=x\n\n--flagfile=other.txt\n"
    path = folder / "flags.txt"
    path.write_bytes(data.draw(damaged(good)))
    told(parse, kind, ["job", f"--flagfile={path}"])


def test_a_flagfile_that_names_itself_ends(tmp_path, capsys):
    path = tmp_path / "flags.txt"
    path.write_text(f"--flagfile={path}\n--pause=1\n")
    with pytest.raises(SystemExit) as ended:
        main(
            "",
            slow_job.Settings,
            lambda settings: f"{settings.pause}",
            ["job", f"--flagfile={path}"],
        )
    assert ended.value.code in (0, 2)
