"""Rows of single videos: those that the extraction of a folder stores, bit for bit."""

import numpy as np
import pytest
from tiny_extraction import LENGTHS, MeanColours, settings, write_folder

from experiments.extract_tse import job
from experiments.extract_tse.clips import read_clips, stills
from experiments.extract_tse.manifest import Manifest
from experiments.shared.errors import UserError
from experiments.vision.encoders import open_encoder
from experiments.vision.video import read_video


@pytest.mark.parametrize("kind", ["pictures", "windows"])
def test_rows_and_their_times_are_those_of_the_folder(tmp_path, monkeypatch, kind):
    folder = write_folder(tmp_path)
    given = settings(folder)
    encoder = open_encoder("thumbnail", size=given.size) if kind == "pictures" else MeanColours()
    monkeypatch.setattr(job, "open_encoder", lambda name, **options: encoder)
    job.run(given)
    manifest = Manifest.read(folder / "tse" / "manifest.json")
    files = [folder / f"v{number}.mkv" for number in range(len(LENGTHS))]
    bad = folder / "bad.mkv"
    bad.write_bytes(b"no video")
    found = {}
    reasons = read_clips([*files, bad], manifest, encoder, found.__setitem__)
    assert list(reasons) == [3] and "cannot be decoded" in reasons[3]
    assert sorted(found) == [0, 1, 2]
    for number, clip in found.items():
        stored = np.load(folder / "tse" / "features" / f"v{number}.npy")
        times = np.load(folder / "tse" / "times" / f"v{number}.npy")
        assert clip.path == files[number] and clip.note == ""
        assert clip.rows.dtype == stored.dtype and clip.rows.tobytes() == stored.tobytes()
        np.testing.assert_allclose(clip.seconds[:, [0, 2]], times - times[0, 0], atol=1e-9)
        # Windows of 4 frames, each 2 later than the last: 0 to 3, 2 to 5, ...; the last is cut.
        expected = [(first + min(first + 3, LENGTHS[number] - 1)) // 2
                    for first in range(0, 2 * len(stored), 2)]  # fmt: skip
        assert clip.middles.tolist() == expected
        np.testing.assert_allclose(clip.seconds[:, 1], clip.middles / 5, atol=1e-3)


def test_one_video_is_decoded_without_another_process(tmp_path, monkeypatch):
    folder = write_folder(tmp_path)
    job.run(settings(folder))
    manifest = Manifest.read(folder / "tse" / "manifest.json")
    monkeypatch.setattr("experiments.extract_tse.workers._Worker", lambda: pytest.fail("a process"))
    found = {}
    encoder = manifest.open_encoder()
    assert not read_clips([folder / "v1.mkv"], manifest, encoder, found.__setitem__)
    assert len(found[0].rows) == 5


def test_stills_are_the_frames_that_were_named(tmp_path):
    folder = write_folder(tmp_path)
    frames = read_video(folder / "v1.mkv")
    found = stills(folder / "v1.mkv", [7, 2, 7], 10**6)
    assert sorted(found) == [2, 7]
    for number, picture in found.items():
        assert np.array_equal(picture, frames[number])
    with pytest.raises(UserError, match="was changed"):
        stills(folder / "v1.mkv", [7, 12], 10**6)
    with pytest.raises(UserError, match="more than 100"):
        stills(folder / "v1.mkv", [0], 100)
