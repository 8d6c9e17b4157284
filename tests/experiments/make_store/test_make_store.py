"""Stores: written, read as the folder they were made of, taken apart, and every damage found."""

import json
import os
import shutil
from functools import partial

import command_line
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from experiments.make_store import job, writing
from experiments.make_store.benchmark import _random_rows
from experiments.make_store.settings import Settings
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests, dataset_identity
from experiments.shared.remembered import Remembered
from experiments.tse import index_folder, store, store_format
from experiments.tse.batches import epoch_batches
from experiments.tse.dataset import TseSplit, check_finite
from experiments.tse.rows import Rows
from experiments.tse.sources import ArraySource
from experiments.tse.store_format import npy_start
from tempalign.kernels.gpu import specs

FEATURES = 700
# Some records are longer than one or two of Riegeli's blocks of 64 KiB, others begin in their ends.
LENGTHS = (40, 40, 100, 1, 46, 93, 2, 60, 13, 45)
SPLITS = ("train",) * 6 + ("val", "test", "test", "val")


def write_folder(folder, dtypes=("f2",) * 10, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    lines = ["id,path,label,split"]
    for row, (length, split, dtype) in enumerate(zip(LENGTHS, SPLITS, dtypes, strict=True)):
        np.save(folder / f"{row}.npy", rng.normal(size=(length, FEATURES)).astype(dtype))
        lines.append(f"é{row},{row}.npy,{'ba'[row % 2]},{split}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("b\na\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("made") / "folder")


def make(data_dir, out_dir, shard_bytes=150_000, **kwargs):
    rows = index_folder.load_rows(data_dir)
    writing.write_store(rows, out_dir, shard_bytes=shard_bytes, **kwargs)
    return out_dir


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    return make(folder, tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def run(**settings):
    return job.run(Settings(**{name: str(value) for name, value in settings.items()}))


def verify(data_dir):
    return job.run(Settings(data_dir=str(data_dir), verify=True))


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


# Damage. Each returns what the message must name.


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_in_record(folder):
    opened = store.Store(folder)
    flip(opened.shards[opened.table.shard[4]], int(opened.table.offset[4]) + 5)
    return "record 'é4': not what was written"


def flip_beside_record(folder):
    """In what array_record needs alone: the header of a record's chunk."""
    opened = store.Store(folder)
    flip(opened.shards[opened.table.shard[4]], int(opened.table.offset[4]) - 140)
    return "record 'é4': array_record does not read"


def truncate(folder):
    opened = store.Store(folder)
    path = opened.shards[opened.table.shard[9]]
    os.truncate(path, int(opened.table.offset[9]) + 10)
    return "record 'é9': the file ends before it"


def remove(folder):
    path = store.Store(folder).shards[1]
    path.unlink()
    return f"{path.name}, record 'é[0-9]': no such file"


def swap_shards(folder):
    """Two files of one size, as two made with the same lengths have."""
    opened = store.Store(folder)
    whole = write_folder(folder.parent / "other", seed=1)
    other = store.Store(make(whole, folder.parent / "other-store"))
    assert opened.shards[0].stat().st_size == other.shards[0].stat().st_size
    shutil.copyfile(other.shards[0], opened.shards[0])
    return "record 'é0': not what was written"


def swap_records(folder):
    """Two records of one shape, in one file: array_record finds nothing wrong."""
    path = store.Store(folder).shards[0]
    first, second, *rest = ArrayRecordReader(str(path)).read_all()
    assert len(first) == len(second)
    writer = ArrayRecordWriter(str(path), store_format.WRITER_OPTIONS)
    for content in (second, first, *rest):
        writer.write(content)
    writer.close()
    return "(?s)record 'é0': not what was written.*record 'é1': not what was written"


def exchange_rows(folder):
    path = folder / "records" / "offset.npy"
    column = np.load(path)
    column[[0, 1]] = column[[1, 0]]
    np.save(path, column)
    return "offset.npy: not what was written"


def change_labels(folder):
    path = folder / "records" / "label.npy"
    np.save(path, np.load(path)[::-1].copy())
    return "label.npy: not what was written"


def lose_a_column(folder):
    (folder / "records" / "length.npy").unlink()
    return "length.npy: no such file"


def change_manifest(folder):
    path = folder / "store.json"
    path.write_text(path.read_text().replace('"a"', '"c"'))
    return "store.json: was changed"


def cut_manifest(folder):
    os.truncate(folder / "store.json", 100)
    return "store.json: not a JSON file"


DAMAGE = [flip_in_record, flip_beside_record, truncate, remove, swap_shards, swap_records]
DAMAGE += [exchange_rows, change_labels, lose_a_column, change_manifest, cut_manifest]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__)
def test_every_damage_is_found_and_named(copied, damage):
    assert verify(copied).endswith("all 10 records in 4 files are right")
    message = damage(copied)
    with pytest.raises(UserError, match=message):
        verify(copied)


def test_each_byte_of_a_record_counts(copied):
    """A sample of places in the numbers, also on both sides of the gaps between blocks."""
    opened = store.Store(copied)
    row = 2  # over three blocks
    path, start = opened.shards[opened.table.shard[row]], int(opened.table.offset[row])
    gap = (start // 65536 + 1) * 65536
    content = path.read_bytes()
    for place in (start, gap - 1, gap + 24, gap + 25, gap + 65536 - 1, gap + 65536 + 24):
        flip(path, place)
        with pytest.raises(UserError, match="1 of 10 records.*\n.*'é2': not what was written"):
            verify(copied)
        path.write_bytes(content)
    verify(copied)


def test_opening_a_store_finds_shards_that_are_not_whole(copied):
    truncate(copied)
    remove(copied)
    with pytest.raises(UserError, match="(?s)2 problems.*no such file.*bytes, but"):
        index_folder.load(copied)


def test_a_damaged_record_is_found_before_training_and_not_looked_for_again(copied, tmp_path):
    facts = tmp_path / "files.json"
    for shard in store.Store(copied).shards:
        os.utime(shard, ns=(10**18, 10**18))

    def checked():
        known = Remembered(facts)
        data = index_folder.load(copied, known=known)
        left = [split.source.unchecked().size for split in data.splits.values()]
        for split in data.splits.values():
            check_finite(split)
        data.remember(known)
        known.save()
        return left

    assert checked() == [6, 2, 2]
    assert checked() == [0, 0, 0]
    flip_in_record(copied)  # which changes the time of the shard
    with pytest.raises(UserError, match="record 'é4': not what was written"):
        checked()
    with pytest.raises(UserError, match="record 'é4'"):
        checked()
    facts.write_text(json.dumps({str(store.Store(copied).shards[0]): [1, 2, "no fact"]}))
    with pytest.raises(UserError, match="record 'é4'"):
        checked()


def test_what_was_not_checked_is_when_it_is_read(tmp_path):
    """A store whose digests are right may still hold NaN, if another program wrote it."""
    x = [np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32)]
    samples = TseSplit(("a", "b"), np.array([0, 1]), np.array([2, 2]), [x[0], x[0]])
    object.__setattr__(samples.source, "arrays", tuple(x))
    out = tmp_path / "store"
    writing.write_store(Rows(samples, ("x", "y"), ("train",) * 2, "", ""), out, shard_bytes=99)
    source = index_folder.load_rows(out).samples.source
    source[0]
    with pytest.raises(UserError, match="record 'b': 6 of 6 values are NaN"):
        source[1]


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
