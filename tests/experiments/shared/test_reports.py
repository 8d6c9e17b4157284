import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option
from experiments.shared.pictures import Picture
from experiments.shared.reports import Report, sessions_of
from experiments.shared.tables import Table, percent


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    epochs: int = option(3, "training", "epochs")


MACHINE = {
    "tempalign": "0.1", "jax": "0.10.2", "flax": "0.12", "numpy": "2.3", "python": "3.11.9",
    "platform": "Linux", "cores": 16, "devices": 2, "device": "NVIDIA H100",
}  # fmt: skip
SESSIONS = sessions_of(
    [
        SimpleNamespace(
            name="full-seed0",
            sessions=[
                {"epochs": [1, 2], "seconds": 100.0, **MACHINE},
                {"epochs": [3, 3], "seconds": 40.0, **MACHINE, "device": "cpu"},
            ],
        ),
        SimpleNamespace(
            name="full-seed1", sessions=[{"epochs": [1, 3], "seconds": 200.5, **MACHINE}]
        ),
    ]
)


def make_report(**kwargs):
    values = {
        "title": "A title",
        "verdict": "It helps.",
        "tables": {
            "Results": Table(("method", "top-1"), (("a", percent([1 / 3])),)),
            "More": Table(("x", "y"), (("1", "2"),)),
        },
        "settings": Settings(),
        "notes": ["A note."],
        "about_data": "made up.",
        "facts": {"Data": "tiny"},
        "numbers": {"runs": [{"loss": np.float32(0.5), "nan": float("nan"), "a": np.arange(2)}]},
    }
    return Report(**(values | kwargs))


def drawing():
    return Figure(figsize=(1, 1)), Picture("x.png", "A picture", "How to read it.")


def test_markdown_json_and_text(tmp_path):
    text = make_report(drawings=[("a.png", drawing)]).write(tmp_path)
    assert text.startswith("A title\n=======\n\nmethod")
    assert "\nMore\n\n" in text and "* A note." in text and "About the data: Made up." in text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for part in (
        "# A title\n\nIt helps.\n", "## More", "- A note.", "![A picture](a.png)",
        "How to read it.", "- Data: tiny", "- Report written on: ", "--epochs=3",
    ):  # fmt: skip
        assert part in markdown
    assert "## Results" not in markdown
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["tables"]["Results"]["rows"][0][1] == {"text": "33.33", "values": [1 / 3]}
    assert content["runs"] == [{"loss": 0.5, "nan": None, "a": [0, 1]}]
    assert content["verdict"] == "It helps." and content["settings"] == {"epochs": 3}
    assert content["pictures"] == [
        {"file": "a.png", "title": "A picture", "caption": "How to read it."}
    ]


def test_reports_are_on_disk_before_pictures_are_drawn(tmp_path):
    seen = []

    def looks():
        seen.append((tmp_path / "report.md").read_text(encoding="utf-8"))
        seen.append(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")))
        raise KeyboardInterrupt  # as killed while it draws

    with pytest.raises(KeyboardInterrupt):
        make_report(drawings=[("a.png", looks)]).write(tmp_path)
    assert "It helps." in seen[0] and seen[1]["verdict"] == "It helps."
    assert "a.png" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_picture_that_fails_is_named_in_the_report(tmp_path, capsys):
    def bad():
        raise ValueError("$\\foo$")

    text = make_report(drawings=[("bad.png", bad), ("a.png", drawing)]).write(tmp_path)
    said = r"Bad.png could not be drawn (ValueError: $\foo$)."
    assert said in text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert said in markdown and "(a.png)" in markdown and "](bad.png)" not in markdown
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert len(content["pictures_failed"]) == 1
    assert "bad.png" in capsys.readouterr().err


def test_finished_pictures_are_shown(tmp_path):
    drawn = Figure(figsize=(1, 1)), Picture("old.png", "Old", "A caption.")
    make_report(drawings=[("old.png", lambda: drawn)]).write(tmp_path)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "![Old](old.png)\n\nA caption." in markdown


def test_who_trained_is_told_from_who_wrote(tmp_path):
    make_report(sessions=SESSIONS).write(tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["facts"]
    assert list(facts) == ["Data", "Trained on (1 of 2)", "Trained on (2 of 2)",
                           "Report written on"]  # fmt: skip
    assert facts["Trained on (1 of 2)"] == (
        "2 x NVIDIA H100, 16 CPU cores, Linux; tempalign 0.1, jax 0.10.2, flax 0.12, numpy 2.3, "
        "Python 3.11.9: 2 runs, 5 epochs, 300 s"
    )
    assert facts["Trained on (2 of 2)"].endswith(": 1 run, 1 epoch, 40.0 s")
    assert "H100" not in facts["Report written on"]
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["sessions"] == SESSIONS


def test_one_machine_is_one_fact_and_sessions_need_no_names(tmp_path):
    sessions = [{"epochs": [1, 2], "seconds": 1.0, **MACHINE}]
    make_report(sessions=sessions).write(tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["facts"]
    assert facts["Trained on"].endswith("Python 3.11.9: 2 epochs, 1.0 s")


def test_a_folder_that_cannot_be_written_leaves_the_earlier_report(tmp_path, monkeypatch):
    make_report(verdict="Before.").write(tmp_path)
    with pytest.raises(UserError, match="report.json"):
        make_report().write(tmp_path / "missing")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        make_report(verdict="After.").write(tmp_path)
    monkeypatch.undo()
    assert "Before." in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
