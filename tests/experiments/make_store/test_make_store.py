"""Stores: written, read as the folder they were made of, taken apart."""

import json
import resource
import shutil
from functools import partial

import command_line
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from stores import FEATURES, LENGTHS, make, run, verify, write_folder

from experiments.make_store import job, writing
from experiments.make_store.benchmark import _random_rows
from experiments.make_store.settings import Settings
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests, dataset_identity
from experiments.tse import index_folder, store, store_format
from experiments.tse.batches import epoch_batches
from experiments.tse.dataset import TseSplit
from experiments.tse.rows import Rows
from experiments.tse.sources import ArraySource
from experiments.tse.store_format import npy_start
from tempalign.kernels.gpu import specs


def batches(split, **kwargs):
    return list(epoch_batches(split, 4, **{"seed": 3, "epoch": 2, **kwargs}))


def assert_same_batches(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.x.dtype == b.x.dtype
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_store_is_read_as_the_folder_it_was_made_of(folder, made):
    ours, theirs = index_folder.load(made), index_folder.load(folder)
    assert len(store.Store(made).shards) > 2
    assert ours.class_names == theirs.class_names == ("b", "a")
    assert list(ours.splits) == list(theirs.splits) == ["train", "val", "test"]
    for name, split in ours.splits.items():
        other = theirs.splits[name]
        assert split.ids == other.ids
        for threads in (0, 2):
            assert_same_batches(
                batches(split, num_threads=threads), batches(other, num_threads=threads)
            )
    found, expected = (
        dataset_identity(data.contents(Digests()), data.class_names) for data in (ours, theirs)
    )
    assert found == expected  # so that a job that was begun on one goes on with the other
    assert ours.note == theirs.note.replace("index.csv", "store.json")


@pytest.mark.parametrize("dtypes", [("f4",) * 10, ("f2", "f4") * 5, ("f8", ">f2") * 5])
def test_types_are_those_of_each_sequence(tmp_path, dtypes):
    folder = write_folder(tmp_path / "folder", dtypes)
    ours = index_folder.load_rows(make(folder, tmp_path / "store")).samples
    theirs = index_folder.load_rows(folder).samples
    assert ours.source.dtype == theirs.source.dtype
    for row in range(len(ours)):
        x, y = ours.source[row], theirs.source[row]
        assert x.dtype == y.dtype and x.tobytes() == y.tobytes()
    assert_same_batches(batches(ours), batches(theirs))


def test_a_store_is_taken_apart_into_the_same_files(folder, made, tmp_path):
    told = run(data_dir=made, out_dir=tmp_path / "back", to="index")
    assert "10 sequences (6 train, 2 val, 2 test) of 2 classes, 1 to 100 frames" in told
    back = index_folder.load_rows(tmp_path / "back")
    assert back.samples.ids == index_folder.load_rows(folder).samples.ids
    assert back.class_names == ("b", "a")
    assert back.samples.labels.tolist() == [0, 1] * 5
    files = sorted((tmp_path / "back" / "features").iterdir())
    assert [file.name for file in files] == [f"{row:08d}.npy" for row in range(10)]  # é is not ours
    for row, file in enumerate(files):
        assert file.read_bytes() == (folder / f"{row}.npy").read_bytes()
    again = make(tmp_path / "back", tmp_path / "again")
    for name in ("digest", "length", "offset", "label", "split", "id_bytes"):
        path = f"records/{name}.npy"
        assert (again / path).read_bytes() == (made / path).read_bytes()


def test_files_are_named_by_ids_that_can_be_names(tmp_path):
    x = [np.ones((2, 3), np.float32)] * 2
    for ids, names in (
        (("a", "b.c"), ("a.npy", "b.c.npy")),
        (("a", "A"), None),
        (("a", ".."), None),
    ):
        samples = TseSplit(ids, np.array([0, 1]), np.array([2, 2]), x)
        out = tmp_path / "-".join(ids).replace(".", "_")
        writing.write_store(Rows(samples, ("x", "y"), ("train",) * 2, "", ""), out, shard_bytes=99)
        run(data_dir=out, out_dir=f"{out}-back", to="index")
        found = sorted(path.name for path in (tmp_path / f"{out.name}-back/features").iterdir())
        assert tuple(found) == (names or ("00000000.npy", "00000001.npy"))


def test_array_record_reads_records_that_are_npy_files(folder, made):
    found = []
    for shard in store.Store(made).shards:
        found += ArrayRecordReader(str(shard)).read_all()
    assert found == [(folder / f"{row}.npy").read_bytes() for row in range(10)]


def test_the_manifest_says_what_there_is(folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "folder")
    extraction = {"encoder": {"encoder": "thumbnail"}, "settings": {"--window": "16"}}
    (folder / "manifest.json").write_text(json.dumps(extraction))
    run(data_dir=folder, out_dir=tmp_path / "store")
    content = json.loads((tmp_path / "store" / "store.json").read_text())
    expected = {
        "version": 1,
        "records": 10,
        "features": FEATURES,
        "dtype": "float16",
        "splits": {"train": 6, "val": 2, "test": 2},
        "encoder": {"encoder": "thumbnail"},
        "windows": {"--window": "16"},
        "class_names": ["b", "a"],
    }
    assert {name: content[name] for name in expected} == expected
    assert json.loads((tmp_path / "store" / "manifest.json").read_text()) == extraction


# Writing.


def test_a_store_appears_whole_and_is_gone_on_with(folder, tmp_path, monkeypatch):
    out, write = tmp_path / "store", writing._write_shard
    written = []

    def dies(rows, chosen, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(rows, chosen, path)

    monkeypatch.setattr(writing, "_write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        make(folder, out)
    assert not out.exists()
    monkeypatch.setattr(writing, "_write_shard", write)
    assert writing.write_store(index_folder.load_rows(folder), out, shard_bytes=150_000) == 2
    verify(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_shards_of_other_data_are_not_gone_on_with(folder, tmp_path, monkeypatch):
    out, write = tmp_path / "store", writing.write_table
    monkeypatch.setattr(writing, "write_table", command_line.never)
    with pytest.raises(AssertionError):
        make(folder, out)
    monkeypatch.setattr(writing, "write_table", write)
    changed = shutil.copytree(folder, tmp_path / "changed")
    np.save(changed / "0.npy", np.zeros((LENGTHS[0], FEATURES), np.float16))
    assert writing.write_store(index_folder.load_rows(changed), out, shard_bytes=150_000) == 0
    assert not store.load_rows(out).samples.source[0].any()


def test_a_sequence_that_cannot_be_used_is_named(folder, tmp_path):
    bad = shutil.copytree(folder, tmp_path / "bad")
    x = np.load(bad / "5.npy")
    x[3, 4] = np.inf
    np.save(bad / "5.npy", x)
    with pytest.raises(UserError, match="5.npy: 1 of .* at frame 3, feature 4"):
        make(bad, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_full_disk_leaves_nothing_under_the_name(folder, tmp_path):
    """Files that may not grow fail where those on a full disk do; then there is room again."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (50_000, 170_000, 196_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
        try:
            with pytest.raises(UserError, match="array_record: cannot be written"):
                make(folder, tmp_path / "store")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not (tmp_path / "store").exists()
    verify(make(folder, tmp_path / "store"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verify"], "--data_dir: needed"),
        (["--data_dir=d"], "--out_dir: needed"),
        (["--data_dir=d", "--verify", "--benchmark"], "two different jobs"),
        (["--data_dir=d", "--verify", "--out_dir=o"], "--out_dir: nothing is written"),
        (["--data_dir={folder}", "--out_dir={folder}"], "is there already"),
        (["--data_dir={folder}", "--verify"], "store.json: no such file"),
        (["--data_dir=/nowhere", "--out_dir=o"], "index.csv: no such file"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_message(folder, capsys, arguments, message):
    words = [argument.format(folder=folder) for argument in arguments]
    code, out, err = command_line.call(capsys, partial(job.main, "About."), *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and message in err


def test_a_column_that_says_what_cannot_be_is_refused(copied):
    """Whoever changes a digest too may still not have us read beyond a file."""
    opened = store.Store(copied)
    manifest = {name: value for name, value in opened.manifest.items() if name != "digest"}
    for name, row, value in (
        ("label", 0, 3), ("split", 1, 3), ("length", 0, 0), ("length", 3, 2**30), ("shard", 0, 9),
        ("itemsize", 0, 8), ("offset", 2, -1), ("offset", 2, 2**62), ("offset", 2, 65536),
        ("id_ends", 3, 10**6), ("id_ends", 9, 1), ("shard", 0, 1),
    ):  # fmt: skip
        column = getattr(opened.table, name).copy()
        column[row] = value
        table = store_format.Table(
            **{key: getattr(opened.table, key) for key in store_format.COLUMNS} | {name: column}
        )
        store_format.write_table(copied, table, manifest)
        with pytest.raises(UserError, match="records: .*; make the store again"):
            index_folder.load(copied)


@pytest.mark.parametrize("name", ["data-00001-of-00004.array_record", "records/length.npy"])
def test_links_that_lead_out_need_a_word(copied, tmp_path, name):
    (copied / name).rename(tmp_path / "elsewhere")
    (copied / name).symlink_to(tmp_path / "elsewhere")
    for read in (index_folder.load, verify):
        with pytest.raises(UserError, match="link that leads out of the folder.*--outside_paths"):
            read(copied)
    assert len(index_folder.load_rows(copied, outside_paths=True).samples) == 10
    job.run(Settings(data_dir=str(copied), verify=True, outside_paths=True))


def test_a_manifest_that_names_other_files_is_refused(copied):
    opened = store.Store(copied)
    manifest = {name: value for name, value in opened.manifest.items() if name != "digest"}
    for change in (
        {"shards": [{**manifest["shards"][0], "file": "../elsewhere.array_record"}]},
        {"shards": {}},
        {"class_names": [1]},
        {"features": True},
        {"features": -1},
    ):
        store_format.write_table(copied, opened.table, manifest | change)
        with pytest.raises(UserError, match="store.json: not the manifest of a store"):
            index_folder.load(copied)
    (copied / "store.json").write_text('{"format": "tempalign store", "version": 2}')
    with pytest.raises(UserError, match="of version 2"):
        index_folder.load(copied)
    (copied / "store.json").unlink()
    with pytest.raises(MissingFileError, match="index.csv"):
        index_folder.load(copied)


def test_what_a_record_begins_with_is_what_numpy_writes(tmp_path):
    for shape, dtype in (((1, 1), "f2"), ((33, 1808), "f2"), ((12345, 6328), "f4")):
        np.save(tmp_path / "a.npy", np.broadcast_to(np.zeros((), dtype), shape)[:1, :1])
        start = npy_start(*shape, np.dtype(dtype).itemsize)
        assert len(start) % 64 == 0 and start[:8] == (tmp_path / "a.npy").read_bytes()[:8]


@pytest.mark.parametrize(
    "count",
    [1, pytest.param(2, marks=pytest.mark.slow)],  # processes of their own start slowly
)
def test_the_benchmark_tells_what_a_fast_epoch_needs(made, count):
    told = job.run(
        Settings(benchmark=True, data_dir=str(made), processes=(count,), repeats=1, batch_size=2)
    )
    assert "cores for 30,054/s" in told and "padding of an epoch" in told
    assert len([line for line in told.splitlines() if line.startswith(f"{count}  ")]) == 2


def test_random_data_has_the_shape_that_is_named():
    rows = _random_rows(specs.K400, 70)
    assert isinstance(rows.samples.source, ArraySource)
    assert rows.samples.source[69].shape == (33, 1808)
    assert rows.samples.source[69].dtype == np.float16
