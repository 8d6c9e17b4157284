import csv
import json

import numpy as np
import pytest
import tiny_recordings

from experiments.arrow_of_time import job, tam
from experiments.arrow_of_time.settings import Settings
from experiments.shared.errors import UserError
from experiments.shared.scaling import Scaling
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.sources import ArraySource


def _split(name, arrays, labels):
    ids = tuple(f"{name} {number}" for number in range(len(arrays)))
    source = ArraySource(list(arrays), ids)
    return TseSplit(ids, np.array(labels), source.lengths, source)


def test_tam_tells_rising_from_falling():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 1.5, 6)
    rising = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    train = [rising + 0.05 * rng.normal(size=(6, 2)).astype(np.float32) for _ in range(4)]
    both = [way for x in train for way in (x, x[::-1])]
    test = [rising, rising[::-1]] * 10  # more than are compared at once
    labels = [0, 1]
    train_split, test_split = _split("train", both, labels * 4), _split("test", test, labels * 10)
    dataset = TseDataset("x", train_split, test_split, ("f", "r"), 2, "", None)
    found = tam.classify(dataset, Scaling.identity(2), 0.1)
    assert tuple(found) == tam.RULES
    for guesses in found.values():
        assert guesses.tolist() == labels * 10


@pytest.mark.slow
def test_from_shots_to_the_report(tmp_path, capsys):
    """All shots grow brighter: whoever sees the order is right in recordings never seen."""
    shots = tiny_recordings.write_recordings(tmp_path / "shots", shots=(8, 8, 8))
    flags = tiny_recordings.write_flags(tmp_path / "flags.txt")
    settings = Settings(
        shots=str(shots),
        segment_frames=8,
        encoder="thumbnail",
        size=0,
        window="2",
        workers=0,
        dejavid_flags=str(flags),
        out_dir=str(tmp_path / "out"),
    )
    text = job.run(settings)
    shown = capsys.readouterr().err
    for script in ("make_list", "extract_tse", "k400"):
        assert f"$ python -m experiments.{script} --" in shown
    out = tmp_path / "out"
    report = json.loads((out / "report.json").read_text())
    accuracy = {row[0]: row[2]["values"] for row in report["tables"]["Results"]["rows"]}
    assert accuracy["temporal mean + 1-NN"] == [0.5]
    assert accuracy["1-NN DTW"] == accuracy[tam.RULES[0]] == accuracy[tam.RULES[1]] == [1.0]
    assert accuracy["nearest DBA centroid"] == accuracy["DejaVid full"] == [1.0, 1.0]
    assert report["mirrored"]["identical"] == report["mirrored"]["pairs"] == 9
    assert [sorted(part) for part in report["folds"]] == [["one"], ["three"], ["two"]]
    assert not report["pictures_failed"] and (out / "arrow_of_time.png").is_file()
    for number, tested in enumerate(report["folds"], 1):
        with open(out / "folds" / str(number) / "index.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            assert (row["split"] == "test") == (row["id"].split("/")[2] in tested)
    # The same command again changes nothing.
    written = {path: path.stat().st_mtime_ns for path in (out / "segments").rglob("*.mkv")}
    assert job.run(settings) == text
    assert "18 of 18 videos were done before" in capsys.readouterr().err
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    with pytest.raises(UserError, match="--out_dir: .* was made with other settings"):
        job.run(Settings(**{**settings.to_json(), "segment_stride": 4}))
