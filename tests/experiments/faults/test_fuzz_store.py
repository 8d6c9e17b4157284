"""Stores of anyone, damaged at random: see test_fuzz.py."""

import dataclasses
import shutil

import numpy as np
import pytest
from fuzzing import JSON, MANY, damaged, told
from hypothesis import given
from hypothesis import strategies as st

from experiments.make_store.writing import write_store
from experiments.shared.errors import UserError
from experiments.tse import index_folder, store, store_format


@pytest.fixture(scope="module")
def made_store(data_dir, tmp_path_factory):
    """A store of the sequences."""
    folder = tmp_path_factory.mktemp("store") / "made"
    write_store(index_folder.load_rows(data_dir), folder, shard_bytes=1000)
    return folder


def read_all(folder):
    samples = store.load_rows(folder).samples
    for row in range(len(samples.labels)):
        told(samples.source.check, row)
        told(samples.source.__getitem__, row)


@MANY
@given(st.data())
def test_stores(made_store, tmp_path_factory, data):
    """Any of the files of a store is damaged."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True) / "store"
    shutil.copytree(made_store, folder)
    path = data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    told(read_all, folder)


@MANY
@given(st.data())
def test_stores_whose_digests_are_right(made_store, tmp_path_factory, data):
    """Whoever damages a store on purpose writes digests that fit."""
    folder = tmp_path_factory.mktemp("fuzz", numbered=True) / "store"
    shutil.copytree(made_store, folder)
    manifest = store_format.read_manifest(folder)
    table = store_format.read_table(folder, manifest)
    for name in ("digest", "table", "format", "version"):
        del manifest[name]
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(manifest)), JSON, max_size=2))
    shards = [dict(shard) for shard in manifest["shards"]]
    shards[0] |= data.draw(
        st.dictionaries(st.sampled_from(["file", "bytes", "records"]), JSON, max_size=1)
    )
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(table)]))
    column = getattr(table, name).copy()
    number = data.draw(st.integers(-(2**31), 2**31))
    column.reshape(-1)[data.draw(st.integers(0, column.size - 1))] = np.array(number).astype(
        column.dtype
    )
    cut = data.draw(st.sampled_from([None, None, -1, 0]))
    table = dataclasses.replace(table, **{name: column[:cut]})
    try:
        store_format.write_table(folder, table, {**manifest, "shards": shards, **changed})
    except (UserError, ValueError, OverflowError):
        return  # what cannot be written as JSON
    told(read_all, folder)
