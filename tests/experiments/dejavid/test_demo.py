"""The README's demo, whole: what it says about itself must be so."""

import json
import math
import pathlib

import pytest

from experiments.dejavid import job
from experiments.dejavid.settings import Settings
from experiments.shared import options

FLAGS = pathlib.Path(__file__).parents[3] / "experiments" / "flags"


@pytest.mark.slow
def test_the_demo_beats_what_ignores_order(tmp_path):
    argv = ["k400", f"--flagfile={FLAGS / 'demo.txt'}", f"--out_dir={tmp_path / 'demo'}"]
    job.run(options.parse(Settings, argv))
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    top1 = {row["name"]: row["top1"] for row in report["baselines"]}
    full = [run["history"][-1]["test_top1"] for run in report["runs"] if run["method"] == "full"]
    mean = math.fsum(full) / len(full)
    assert len(full) == 3
    assert mean >= 0.975
    order_blind = [top1[name] for name in top1 if name.startswith("temporal mean + ")]
    assert len(order_blind) == 2
    assert mean >= max(order_blind) + 0.015
