"""Rows, frames and labels, and a folder of features: what is read and what is refused."""

import dataclasses
import re

import numpy as np
import pytest
import tiny_videos

from experiments.seq_anomaly import index_folder
from experiments.seq_anomaly.dataset import (
    AnomalyDataset,
    Video,
    add_motion,
    check_splits,
    check_video,
    feature_change,
    frame_scores,
    identity,
    row_labels,
    source_segments,
    split_scores,
)
from experiments.shared.errors import UserError


def test_labels_of_snippets_are_those_of_most_frames():
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 1])
    assert row_labels(labels, 4).tolist() == [1, 1, 0, 1]  # 2 of 4 even, 3 of 4, 0 of 4, 1 of 1
    np.testing.assert_array_equal(row_labels(labels, 1), labels)
    rng = np.random.default_rng(0)
    for length in (1, 15, 16, 17, 40):
        labels = rng.integers(0, 2, length)
        expected = [np.mean(labels[s : s + 16]) >= 0.5 for s in range(0, length, 16)]
        assert row_labels(labels, 16).tolist() == expected


def test_scores_of_snippets_count_for_their_frames():
    scores = np.array([0.1, 0.2, 0.3])
    assert frame_scores(scores, 37, 16).tolist() == [0.1] * 16 + [0.2] * 16 + [0.3] * 5
    assert frame_scores(scores, 3, 1).tolist() == [0.1, 0.2, 0.3]
    videos = tiny_videos.dataset().test
    parts = split_scores(np.arange(4 * 24), videos)
    assert [part[0] for part in parts] == [0, 24, 48, 72]


def test_motion_is_the_change_since_the_row_before():
    rows = np.array([[1.0, 5.0], [4.0, 1.0], [4.0, 2.0]])
    expected = [[1, 5, 3, 4], [4, 1, 3, 4], [4, 2, 0, 1]]
    assert add_motion(rows).tolist() == expected
    assert add_motion(rows[:1]).tolist() == [[1, 5, 0, 0]]
    assert feature_change(rows).tolist() == [5, 5, 1]


def video(labels, rows=4, name="v7"):
    return Video(name, np.zeros((rows, 2), np.float32), np.asarray(labels))


@pytest.mark.parametrize(
    ("labels", "frames_per_row", "message"),
    [
        ([0, 1, 0], 1, "video 'v7': 3 labels, but features of 4 frames"),
        (np.zeros(64), 1, "give --protocol=snippet"),
        (
            np.zeros(65), 16,
            "video 'v7': 65 labels are 5 snippets of 16 frames, but there are features of 4",
        ),
        (np.zeros(48), 16, "48 labels are 3 snippets"),
        ([0, 1, 2, 0], 1, "video 'v7': labels must be 0 or 1, got 2 at frame 2"),
        ([0, np.nan, 1, 0], 1, "got nan at frame 1"),
        ([[0, 1, 1, 0]], 1, "must be numbers of shape [T], got int64[1, 4]"),
        (["0", "1", "1", "0"], 1, "must be numbers of shape [T]"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_the_features(labels, frames_per_row, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_video(video(labels), frames_per_row)


def test_labels_that_fit():
    check_video(video([0, 1, 1, 0]), 1)
    check_video(video([True, False, True, True]), 1)
    for count in (49, 64):  # the last snippet may be shorter
        check_video(video(np.zeros(count)), 16)


@pytest.mark.parametrize(
    ("train", "test", "tau", "message"),
    [
        ([[0, 1, 1, 0]], [[0, 0, 0, 0]], 2, "the test split has normal frames only (4 in 1 videos"),
        ([[0, 1, 1, 0]], [[1, 1, 1, 1]], 2, "the test split has anomalous frames only"),
        ([[0, 0, 0, 0]], [[0, 1, 1, 0]], 2, "the training split has normal frames only"),
        ([], [[0, 1, 1, 0]], 2, "no video in the training split"),
        ([[0, 1, 1, 0]], [], 2, "no video in the test split"),
        ([[0, 1, 1, 0]], [[0, 1, 1, 0]], 5, "shorter than --tau=5, such as 'a' with 4 rows"),
    ],
)
def test_splits_that_cannot_be_used(train, test, tau, message):
    def videos(labels):
        return tuple(video(one, name="abc"[i]) for i, one in enumerate(labels))

    with pytest.raises(ValueError, match=re.escape(message)):
        check_splits(AnomalyDataset("data", videos(train), videos(test), 1), tau)


def test_videos_of_other_features():
    odd = Video("odd", np.zeros((4, 5), np.float32), np.array([0, 1, 1, 0]))
    data = AnomalyDataset("data", (video([0, 1, 1, 0]),), (odd,), 1)
    with pytest.raises(ValueError, match="'odd': 5 features a row, but 'v7' has 2"):
        check_splits(data, 2)


def test_index_folder(tmp_path):
    found = index_folder.load(tiny_videos.write(tmp_path), frames_per_row=1)
    expected = tiny_videos.dataset()
    for ours, theirs in ((found.train, expected.train), (found.test, expected.test)):
        assert [one.id for one in ours] == [one.id for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.labels, other.labels)
            assert one.labels.dtype == np.uint8 and one.events == other.events


def test_videos_that_overlap_in_a_recording_are_one_unit():
    """Two clips of the same moments say almost the same: they are no independent evidence."""

    def clip(first=None, last=None):
        source = None if first is None else np.arange(first, last + 1)
        return Video("v", np.zeros((1, 1)), np.zeros(1), source=source)

    clips = [clip(50, 60), clip(0, 9), clip(), clip(9, 20), clip(30, 40), clip(), clip(18, 25)]
    found = source_segments(clips)
    np.testing.assert_array_equal(found == found[1], [False, True, False, True, False, False, True])
    assert len(set(found.tolist())) == 5
    # An event of time goes to and fro: what counts is the stretch.
    there_and_back = Video("v", np.zeros((1, 1)), np.zeros(1), source=np.array([5, 30, 7]))
    assert len(set(source_segments([there_and_back, clip(10, 20)]).tolist())) == 1


def test_the_identity_is_of_every_number():
    """Features of the opposite sign, under the same ids and labels, are other data."""
    data = tiny_videos.dataset()
    negated = tuple(dataclasses.replace(one, features=-one.features) for one in data.test)
    other = identity(dataclasses.replace(data, test=negated))
    assert {k for k, v in identity(data).items() if v != other[k]} == {"content"}


def write_rows(folder, *lines, columns="id,path,split,labels,frames"):
    folder.mkdir(exist_ok=True)
    np.save(folder / "f.npy", np.zeros((3, 2), np.float16))
    (folder / "index.csv").write_text("\n".join([columns, *lines, ""]))
    return folder


def test_every_way_to_give_labels_of_snippets(tmp_path):
    np.save(tmp_path / "l.npy", np.arange(40) % 2 == 0)
    for name in "bcd":
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 2)))
    write_rows(
        tmp_path,
        "a,f.npy,train,l.npy,",
        "b,b.npy,train,all,",
        "c,c.npy,train,normal,37",
        "d,d.npy,test, 3-5; 36-37 ,37",
    )
    found = index_folder.load(tmp_path, frames_per_row=16)
    a, b, c = found.train
    assert a.labels.tolist() == [1, 0] * 20
    assert b.labels.tolist() == [1] * 48
    assert c.labels.tolist() == [0] * 37
    assert np.flatnonzero(found.test[0].labels).tolist() == [3, 4, 36]
    assert "1 training videos are labelled as a whole" in found.note


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("a,f.npy,train,5-3,", ValueError, "video 'a': labels '5-3' are no interval of its 3"),
        ("a,f.npy,train,1-4,", ValueError, "labels '1-4' are no interval"),
        ("a,f.npy,train,1:3,", ValueError, "labels '1:3' are no interval"),
        ("a,f.npy,train,0-1;,", ValueError, "labels '' are no interval"),
        ("a,f.npy,train,absent.npy,", FileNotFoundError, "video 'a': no labels"),
        ("a,f.npy,train,text.npy,", ValueError, "text.npy: not a .npy file"),
        ("a,f.npy,train,long.npy,", ValueError, "video 'a': 5 labels, but features of 3 frames"),
        ("a,f.npy,train,,12.5", ValueError, "frames must be a whole number, got '12.5'"),
        ("a,f.npy,train,,48", ValueError, "frames is 48, but there are features of 3 rows of 1"),
        ("a,f.npy,train,,999999999999", ValueError, "frames is 999999999999, but"),
        ("a,f.npy,train,../l.npy,", ValueError, "video 'a': labels: path '../l.npy' leads out"),
        ("a,../f.npy,train,,", ValueError, "line 2, id 'a': path '../f.npy' leads out"),
        ("a,absent.npy,train,,", FileNotFoundError, "line 2, id 'a': no file"),
        ("a,nan.npy,train,,", ValueError, "nan.npy: 1 of 6 values are NaN"),
        ("a,f.npy,valid,,", ValueError, "line 2, id 'a': unknown split 'valid'"),
        ("a,,train,,", ValueError, "line 2, id 'a': no path"),
        ("a,f.npy,train,0-1,2-3,4", ValueError, "line 2: more values than columns"),
    ],
)
def test_rows_that_cannot_be_read(tmp_path, line, error, message):
    write_rows(tmp_path, line)
    (tmp_path / "text.npy").write_text("no")
    np.save(tmp_path / "long.npy", np.zeros(5))
    np.save(tmp_path / "nan.npy", np.array([[0, 1], [np.nan, 0], [0, 0]], np.float32))
    with pytest.raises(error, match=re.escape(message)) as caught:
        index_folder.load(tmp_path, frames_per_row=1)
    assert "index.csv: 1 problem" in str(caught.value)


def test_val_is_evaluated_on_where_there_is_no_test(tmp_path):
    for name in "bc":
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 2), np.float32))
    lines = ["a,f.npy,train,0-1,", "b,b.npy,validation,1-2,"]
    found = index_folder.load(write_rows(tmp_path, *lines), frames_per_row=1)
    assert [video.id for video in found.test] == ["b"]
    assert "Evaluated on the rows of index.csv with split 'val'" in found.note
    write_rows(tmp_path, *lines, "c,c.npy,test,2-3,")
    found = index_folder.load(tmp_path, frames_per_row=1)
    assert [video.id for video in found.test] == ["c"]
    assert "1 videos of the split 'val' are not used" in found.note


def test_a_file_in_two_splits_is_refused(tmp_path):
    write_rows(tmp_path, "a,f.npy,train,0-1,", "b,f.npy,test,0-1,")
    message = "line 3, id 'b' ('test') and line 2 ('train') name the same file"
    with pytest.raises(UserError, match=re.escape(message)):
        index_folder.load(tmp_path, frames_per_row=1)


def test_an_index_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold an index.csv"):
        index_folder.load(tmp_path, frames_per_row=1)
    write_rows(tmp_path, columns="id,path,label")
    with pytest.raises(ValueError, match="no column split, labels; the first line must name"):
        index_folder.load(tmp_path, frames_per_row=1)
    write_rows(tmp_path)
    with pytest.raises(ValueError, match="has no rows"):
        index_folder.load(tmp_path, frames_per_row=1)
    write_rows(tmp_path, "a,f.npy,train,,", "a,f.npy,test,,")
    with pytest.raises(ValueError, match="'a'"):
        index_folder.load(tmp_path, frames_per_row=1)
