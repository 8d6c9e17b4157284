"""A folder, the store made of it, and a copy that a test may damage."""

import shutil

import pytest
from stores import make, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("made") / "folder")


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    return make(folder, tmp_path_factory.mktemp("made") / "store")


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")
