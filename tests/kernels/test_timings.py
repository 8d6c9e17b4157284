"""The tables of RESULTS.md have the numbers that others compute with."""

import re
from pathlib import Path

from tempalign.kernels.gpu import timings
from tempalign.kernels.gpu.specs import CARDS, DEJAVID

RESULTS = (Path(__file__).parents[2] / "kernels" / "RESULTS.md").read_text()


def test_what_was_measured():
    """The row of every workload on GPUs, and the sentence on calls that follow each other."""
    gpu = RESULTS[RESULTS.index("\n## GPU") :]
    assert f"One H200 (driver 580.159, CUDA 13), {timings.MEASURED_ON}" in gpu
    rows, name = {}, ""
    for line in gpu.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) > 2 and cells[1].startswith("tempalign/"):
            name = cells[0] or name
            rows[name, cells[1].removeprefix("tempalign/")] = cells[2]
    for row in timings.MEASURED:
        assert row.card == "h200" and float(rows[row.workload, row.who]) == row.median_ms
    known = {(row.workload, row.who) for row in timings.MEASURED}
    assert {key for key in rows if key[0].startswith("weighted-")} == known
    costs = timings.measured("weighted-cost-k400", "h200")
    whole = timings.measured("weighted-dtw-grad-k400", "h200")
    told = (
        f"calls that follow each other took {costs.following_ms} ms for the costs of K400 (52 % of "
        f"the limit), {whole.following_ms} ms for the costs and gradients "
        f"({whole.following_half_ms} ms with float16 paths)"
    )
    assert told in " ".join(gpu.split())


def test_what_is_predicted():
    part = RESULTS[RESULTS.index("### What the compiled code predicts") :]
    rows = {
        cells[1].split(":")[0].strip(): [float(cell) for cell in cells[2:5]]
        for cells in (line.split("|") for line in part.splitlines())
        if len(cells) == 6 and re.fullmatch(r" *\d+\.\d+ *", cells[2])
    }
    for index, name in enumerate(DEJAVID):
        step = timings.Step.of_dejavid(name)
        of = timings.predicted(step, CARDS["h200"])
        half = timings.predicted(step, CARDS["h200"], half=True)
        of["the same with float16 paths"] = half["weighted_cost"]
        assert rows.keys() == of.keys()
        for kernel, seconds in of.items():
            assert rows[kernel][index] == round(1e3 * seconds, 2), (name, kernel)


def test_a_smaller_card_is_slower():
    step = timings.Step.of_dejavid("k400")
    fast, slow = (timings.predicted(step, CARDS[card]) for card in ("h200", "a100"))
    for kernel, seconds in fast.items():
        assert slow[kernel] > 2 * seconds
    assert timings.slower_than_predicted("a100") is None
