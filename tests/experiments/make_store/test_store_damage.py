"""Stores: every damage is found, before training or when it is read."""

import json
import os
import shutil

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from stores import make, verify, write_folder

from experiments.make_store import writing
from experiments.shared.errors import UserError
from experiments.shared.remembered import Remembered
from experiments.tse import index_folder, store, store_format
from experiments.tse.dataset import TseSplit, check_finite
from experiments.tse.rows import Rows

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


def test_a_shard_that_changes_while_it_is_open(copied):
    """What is left of it is read on; a record that is another one is named."""
    opened = store.Store(copied)
    source = opened.rows().samples.source
    kept = [np.array(source[index]) for index in (3, 4)]
    flip_in_record(copied)
    np.testing.assert_array_equal(source[3], kept[0])
    with pytest.raises(UserError, match="record 'é4': not what was written"):
        source[4]
    os.utime(opened.shards[0])  # touched, and still what it was
    np.testing.assert_array_equal(source[0], store.Store(copied).rows().samples.source[0])


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
