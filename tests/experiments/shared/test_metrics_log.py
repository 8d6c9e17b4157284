import json

import pytest

from experiments.shared.metrics_log import MetricsLog


def test_lines_survive_and_a_torn_one_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write("epoch", epoch=1, loss=0.5)
        log.write("epoch", epoch=2, loss=0.25)
        assert path.read_text().count("\n") == 2  # on disk before the file is closed
    with open(path, "a") as file:
        file.write('{"event": "epoch", "epo')
    with MetricsLog(path) as log:
        assert [line["epoch"] for line in log.lines()] == [1, 2]
        log.write("epoch", epoch=3)
        assert [line.get("loss") for line in log.lines()] == [0.5, 0.25, None]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_only_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"eve')
    with MetricsLog(path) as log:
        assert log.lines() == []


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        MetricsLog(tmp_path / "absent" / "metrics.jsonl")
