import av
import numpy as np
import pytest
import tiny_recordings

from experiments.arrow_of_time.folds import folds_of
from experiments.arrow_of_time.segments import (
    DIRECTIONS,
    Segment,
    find_shots,
    plan,
    segment_file,
    write_segments,
)
from experiments.arrow_of_time.settings import SHOTS, Settings
from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.video import read_video


@pytest.fixture
def shots(tmp_path):
    return find_shots(tiny_recordings.write_recordings(tmp_path / "shots"))


def test_segments_overlap_within_shots_and_end_with_them(shots):
    segments = plan(shots, Settings(segment_frames=8, segment_stride=4))
    of_one = [s for s in segments if s.recording == "one"]
    assert [(s.shot.stem, s.first) for s in of_one] == [
        ("00", 0), ("00", 4), ("00", 8), ("00", 12), ("00", 16), ("01", 0), ("01", 4), ("01", 8),
    ]  # fmt: skip
    assert len({s.name for s in segments}) == len(segments) == 24


def test_long_recordings_give_evenly_spaced_segments(shots):
    segments = plan(shots, Settings(segment_frames=8, segment_stride=4, most_segments=3))
    of_one = [(s.shot.stem, s.first) for s in segments if s.recording == "one"]
    assert of_one == [("00", 0), ("00", 8), ("01", 0)]


def test_the_two_directions_have_the_same_pictures_and_each_frame_by_itself(shots, tmp_path):
    segments = plan(shots, Settings(segment_frames=8, segment_stride=8))
    out = tmp_path / "segments"
    assert write_segments(segments, out) == 2 * len(segments)
    for segment in segments:
        forward, reverse = (segment_file(out, segment, way) for way in DIRECTIONS)
        source = read_video(segment.shot)[segment.first : segment.first + 8]
        np.testing.assert_array_equal(read_video(forward), source)
        np.testing.assert_array_equal(read_video(reverse), source[::-1])
        sizes = []
        for path in (forward, reverse):
            with av.open(str(path)) as container:
                packets = [p for p in container.demux(video=0) if p.size]
            assert all(packet.is_keyframe for packet in packets)
            sizes.append([packet.size for packet in packets])
        # Not even the sizes of the packets tell the direction.
        assert sizes[0] == sizes[1][::-1]


def test_what_is_written_is_not_written_again(shots, tmp_path):
    segments = plan(shots, Settings(segment_frames=8, segment_stride=8))
    write_segments(segments, tmp_path)
    gone = segment_file(tmp_path, segments[0], "reversed")
    gone.unlink()
    assert write_segments(segments, tmp_path) == 2
    assert gone.is_file()
    assert write_segments(segments, tmp_path) == 0


def test_errors_name_the_folder_or_the_flag(shots, tmp_path):
    with pytest.raises(MissingFileError, match="--shots=.*none: no such folder"):
        find_shots(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="each recording must have a folder"):
        find_shots(tmp_path / "empty")
    with pytest.raises(UserError, match="one: no shot has 25 frames; give a smaller --segment_fr"):
        plan(shots, Settings(segment_frames=25))
    copy = shots["one"][0].with_suffix(".avi")
    copy.write_bytes(b"")
    with pytest.raises(UserError, match="another shot is called 00, too"):
        find_shots(copy.parents[1])


def _segments(**sizes):
    return [Segment(name, SHOTS / "x.mp4", k, 4) for name, n in sizes.items() for k in range(n)]


def test_a_recording_is_in_one_fold_alone():
    segments = _segments(a=5, b=1, c=3, d=4)
    assert folds_of(segments, 0) == [("a",), ("d",), ("c",), ("b",)]
    assert folds_of(segments, 2) == [("a", "b"), ("d", "c")]
    for count in (0, 2, 3):
        tested = [name for part in folds_of(segments, count) for name in part]
        assert sorted(tested) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("count", "sizes"), [(3, {"a": 4, "b": 4}), (0, {"a": 9})])
def test_too_few_recordings(count, sizes):
    with pytest.raises(UserError, match="recordings; there must be two at least"):
        folds_of(_segments(**sizes), count)


def test_the_shots_of_the_repository_are_the_documented_ones():
    import hashlib

    sums = dict(reversed(line.split()) for line in (SHOTS / "sha256.txt").read_text().splitlines())
    shots = find_shots(SHOTS)
    found = {f"{name}/{path.name}": path for name, of in shots.items() for path in of}
    assert {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in found.items()} == sums
    licence = (SHOTS / "LICENSE.txt").read_text()
    readme = (SHOTS.parent / "README.md").read_text()
    for name in shots:
        assert name in licence and f"| `{name}` |" in readme
    assert len(folds_of(plan(shots, Settings()), 0)) == 7
    for path in found.values():
        with av.open(str(path)) as container:  # our encoding leaves no trace of the direction
            assert all(p.is_keyframe for p in container.demux(video=0) if p.size)
