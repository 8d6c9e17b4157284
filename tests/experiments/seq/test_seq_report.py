"""What reports say: comparisons by the one rule, sweeps, pictures."""

import numpy as np
import pytest
from tiny_seq import result

from experiments.seq.report import PAIRS, Results, method_names
from experiments.seq.results import by_value
from experiments.shared.charts import Panel
from experiments.shared.comparison import MeanOf
from experiments.shared.pictures import draw

ITEMS = 200


def results(runs, units=None):
    def statistic(pairs):
        return MeanOf(np.mean([a.tested["right"] - b.tested["right"] for a, b in pairs], axis=0))

    return Results(
        runs,
        names=method_names("baseline (plain)"),
        metrics={"accuracy": "test items"},
        unit="test items",
        units=np.arange(ITEMS) if units is None else units,
        statistic={"accuracy": statistic},
    )


def runs_of(method, counts):
    """Runs whose first so many items are right."""
    made = []
    for seed, count in enumerate(counts):
        right = (np.arange(ITEMS) < count).astype(float)
        made.append(result(method, seed, right.mean(), right))
    return made


def effect(ours, theirs, **kwargs):
    found = results([*runs_of("seq", ours), *runs_of("trajectory", theirs)], **kwargs)
    text = found.verdict("accuracy", "{method} has {percent} %")
    comparison = found.comparisons["seq", "trajectory"]["accuracy"]
    assert ("it helps here" in text, "it hurts here" in text) == (
        comparison.effect == "helps", comparison.effect == "hurts",
    )  # fmt: skip
    assert comparison.sentence() in text
    return comparison.effect


def test_helps_or_hurts_only_beyond_both_kinds_of_chance():
    assert effect((150, 151, 152), (120, 121, 122)) == "helps"
    assert effect((120, 121, 122), (150, 151, 152)) == "hurts"
    assert effect((130, 160, 140), (120, 158, 141)) is None  # the seeds vary
    assert effect((150,), (120,)) is None  # one seed says nothing


def test_equal_differences_of_few_items_are_no_effect():
    """+0.10 ± 0.00 of two seeds: no spread over seeds, but what if other items had been drawn?"""
    assert effect((121, 121), (120, 120)) is None


def test_what_is_not_independent_is_no_evidence():
    """The same numbers, where all items are pieces of one recording."""
    ours, theirs = (150, 151, 152), (120, 121, 122)
    assert effect(ours, theirs) == "helps"
    assert effect(ours, theirs, units=np.zeros(ITEMS, int)) is None


def test_seeds_are_paired_whatever_the_order_of_the_runs():
    runs = [*runs_of("seq", (150, 120)), *reversed(runs_of("trajectory", (140, 110)))]
    difference = results(runs).comparisons["seq", "trajectory"]["accuracy"]
    assert difference.differences == pytest.approx((0.05, 0.05))


def test_numbers_and_tables():
    runs = [run for method in dict.fromkeys(sum(PAIRS, ())) for run in runs_of(method, (120, 130))]
    found = results(runs)
    numbers = found.numbers()
    assert len(numbers["runs"]) == 10
    assert [(d["method"], d["other"]) for d in numbers["differences"]] == list(PAIRS)
    assert numbers["differences"][0]["accuracy"]["num_units"] == ITEMS
    table = found.tables()["Differences with the same seeds"]
    assert len(table.rows) == 5 and "95 % over test items" in table.columns
    assert found.row("seq")[:2] == ("+ feature trajectory + SEQ", "62.50 ± 3.54")
    assert [session["run"] for session in found.sessions()][0] == runs[0].trained.name


def test_a_sweep_has_the_jobs_own_value_and_no_other_sweeps():
    swept = [
        result("seq", 0, 0.5),
        result("seq", 0, 0.5, num_support=1, swept="num_support"),
        result("seq", 0, 0.5, gamma=1.0, swept="gamma"),
    ]
    assert list(by_value(swept, "num_support")) == [1, 2]
    assert list(by_value(swept, "gamma")) == [0.1, 1.0]
    assert "SEQ by temperature gamma" in results(swept).tables()


def test_pictures(tmp_path):
    """Lines of a sweep's picture have names, those across it too."""
    runs = [
        *runs_of("trajectory", (120, 130)),
        *runs_of("seq", (120, 130)),
        result("seq", 0, 0.7, gamma=1.0, swept="gamma"),
        result("seq", 1, 0.6, gamma=1.0, swept="gamma"),
    ]
    found = results(runs)
    ((name, drawing),) = found.sweeps()
    figure, picture = drawing()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["SEQ, test items", "+ feature trajectory, test items"]
    assert name == picture.file == "sweep_gamma.png"
    curves = found.learning_curves([Panel("cross_entropy", "Training", "loss")], "Curves.")
    drawn = draw(tmp_path, [(name, drawing), ("learning_curves.png", curves)])
    assert drawn.failed == () and len(drawn.pictures) == 2


def test_a_report_is_about_seq_or_the_last_method():
    assert results(runs_of("baseline", (120,))).shown == "baseline"
    assert results([*runs_of("seq", (120,)), *runs_of("baseline", (120,))]).shown == "seq"
