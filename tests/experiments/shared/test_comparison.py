import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from experiments.shared.comparison import (
    Comparison,
    MeanOf,
    accuracy_difference,
    compare,
    comparisons_note,
    comparisons_table,
    score_difference,
)


def of_items(values, differences=(), units=None, **kwargs):
    """A comparison over items; the mean over seeds of each item is given."""
    units = np.arange(len(values)) if units is None else units
    differences = differences or (float(np.mean(values)),) * 2
    return compare(differences, unit="images", units=units, statistic=MeanOf(values), **kwargs)


def made(differences, over_seeds, over_units):
    return Comparison(differences, over_seeds, over_units, "images", 10)


def test_equal_differences_of_two_seeds_are_no_claim_where_the_images_allow_any_side():
    """Two seeds of +0.10 have no deviation; images drawn anew give -0.60 to +0.75."""
    one = made((0.001, 0.001), (0.001, 0.001), (-0.006, 0.0075))
    assert one.effect is None
    assert one.sentence() == (
        "+0.10 ± 0.00 points (better with 2, worse with 0 of 2 seeds): no difference is shown, as "
        "the 95 % interval over images (-0.60 to +0.75) contains 0"
    )


def test_equal_differences_computed_from_guesses():
    labels = np.zeros(1000, int)
    better, worse = labels.copy(), labels.copy()
    better[:4], worse[4:9] = 1, 1  # one item more is right: +0.1 points, twice
    pairs = [(better, worse)] * 2
    differences = [float(np.mean(one == labels) - np.mean(two == labels)) for one, two in pairs]
    one = compare(
        differences,
        unit="images",
        units=np.arange(1000),
        statistic=accuracy_difference(labels, pairs),
    )
    assert one.over_seeds == pytest.approx((0.001, 0.001))
    low, high = one.over_units
    assert -0.007 < low < -0.003 and 0.005 < high < 0.009
    assert one.effect is None


def test_student_t_by_hand():
    # Mean 2, deviation 1 of three: 2 ± 4.3027 / sqrt(3).
    one = of_items(np.ones(20), (0.01, 0.02, 0.03))
    assert one.over_seeds == pytest.approx((0.02 - 0.024841, 0.02 + 0.024841), abs=1e-6)
    assert one.mean == pytest.approx(0.02)


def test_claims_need_both_intervals():
    yes, no = (0.01, 0.03), (-0.01, 0.05)
    minus = (-0.03, -0.01)
    assert made((0.02, 0.02), yes, yes).effect == "helps"
    assert made((-0.02, -0.02), minus, minus).effect == "hurts"
    for over_seeds, over_units in (
        (yes, no), (no, yes), (no, no), (yes, None), (None, yes), (None, None), (yes, minus),
    ):  # fmt: skip
        assert made((0.02, 0.02), over_seeds, over_units).effect is None


def test_words():
    yes, no, minus = (0.01, 0.03), (-0.01, 0.05), (-0.03, -0.01)
    three = (0.012, 0.009, 0.015)
    change = "+1.20 ± 0.30 points (better with 3, worse with 0 of 3 seeds)"
    assert made(three, yes, yes).sentence() == f"{change}: it helps here"
    assert made(three, yes, yes).sentence(rival=True) == f"{change}: it is better here"
    fewer = tuple(-value for value in three)
    assert made(fewer, minus, minus).sentence() == (
        "-1.20 ± 0.30 points (better with 0, worse with 3 of 3 seeds): it hurts here"
    )
    unshown = f"{change}: no difference is shown, as"
    assert made(three, no, yes).sentence() == (
        f"{unshown} the 95 % interval over seeds (-1.00 to +5.00) contains 0"
    )
    assert made(three, no, no).sentence() == (
        f"{unshown} the 95 % intervals over seeds (-1.00 to +5.00) and over images "
        "(-1.00 to +5.00) contain 0"
    )
    assert made(three, yes, None).sentence() == f"{unshown} the images allow no interval over them"
    assert made(three, yes, minus).sentence().endswith("point to different sides")
    assert made((0.012,), None, yes).sentence() == (
        "+1.20 points, of which one seed says nothing about chance"
    )


def test_one_seed_claims_nothing():
    one = of_items(np.ones(50), (0.5,))
    assert one.over_seeds is None and one.over_units == pytest.approx((1.0, 1.0))
    assert one.effect is None


def test_an_effect_that_is_there_is_claimed_either_way():
    values = np.random.default_rng(0).normal(0.1, 0.3, 400)
    assert of_items(values, (0.09, 0.1, 0.11)).effect == "helps"
    assert of_items(-values, (-0.09, -0.1, -0.11)).effect == "hurts"


def test_an_interval_that_ends_at_nothing_contains_it():
    """Sums of thirds are not exact: 1e-17 is no difference."""
    assert made((0.1, 0.2), (1e-17, 0.3), (0.1, 0.2)).effect is None
    assert made((0.1, 0.2), (0.1, 0.3), (-0.2, -1e-17)).effect is None


def test_items_of_one_unit_are_drawn_together():
    """Twenty frames of a video say what one does: the interval is that of the videos."""
    of_video = np.random.default_rng(1).normal(0.2, 1.0, 30)
    frames, units = np.repeat(of_video, 20), np.repeat(np.arange(30), 20)
    together = of_items(frames, units=units)
    assert together.num_units == 30
    assert together.over_units == pytest.approx(of_items(of_video).over_units)
    alone = of_items(frames)
    assert np.ptp(together.over_units) > 3 * np.ptp(alone.over_units)


def test_units_of_different_sizes_and_any_names():
    rng = np.random.default_rng(2)
    values, units = rng.normal(size=200), rng.choice([-5, 3, 1000, 7, 8, 9], 200)
    fast = of_items(values, units=units, n_resamples=200)
    slow = compare(
        (0.1, 0.2),
        unit="images",
        units=units,
        statistic=lambda rows: float(values[rows].mean()),
        n_resamples=200,
    )
    assert fast.over_units == pytest.approx(slow.over_units)
    assert fast.num_units == 6


def test_interval_agrees_with_the_normal_approximation():
    values = np.random.default_rng(3).normal(0.0, 1.0, 5000)
    low, high = of_items(values).over_units
    half = 1.96 * values.std() / math.sqrt(5000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_draws_of_one_class_are_left_out_and_too_many_leave_no_interval():
    rng = np.random.default_rng(4)
    units = np.repeat(np.arange(12), 10)
    scores = rng.random(120)
    some = (units >= 9).astype(int)  # 3 of 12 videos: a draw without any is rare
    statistic = score_difference(roc_auc_score, some, [(scores, 1 - scores)])
    assert math.isnan(statistic(np.arange(50)))
    both = compare((0.1, 0.2), unit="videos", units=units, statistic=statistic, n_resamples=100)
    assert both.over_units is not None and np.isfinite(both.over_units).all()

    def undefined(rows):
        return math.nan if 0 in rows else 1.0  # in about 64 % of the draws

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = compare((0.1, 0.1), unit="videos", units=units, statistic=undefined)
    assert few.over_units is None
    assert few.sentence().endswith("as the videos allow no interval over them")


@pytest.mark.parametrize("count", [1, 5, 6])
def test_a_claim_takes_six_units(count):
    """Of five, all lie on one side of 0 by chance more often than once in twenty."""
    one = of_items(np.ones(12), (0.5, 0.6, 0.7), units=np.arange(12) % count)
    assert one.num_units == count
    assert one.effect == ("helps" if count == 6 else None)
    if count < 6:
        assert one.over_units is None
        assert one.sentence().endswith(f"as of independent images there are only {count}")


@pytest.mark.parametrize("differences", [(), (0.1, math.nan), (math.inf,)])
def test_differences_must_be_numbers(differences):
    with pytest.raises(ValueError, match="finite numbers, one a seed"):
        compare(differences, unit="x", units=np.arange(3), statistic=MeanOf(np.ones(3)))


def test_items_must_be_there():
    with pytest.raises(ValueError, match="units must be"):
        compare((0.1,), unit="x", units=np.zeros(0), statistic=MeanOf(np.zeros(0)))


def test_false_claims_under_the_null_are_at_most_one_in_twenty():
    """Seeds and images both vary, and the methods do not differ."""
    rng, claims, trials = np.random.default_rng(5), 0, 400
    for trial in range(trials):
        by_item = rng.normal(0, 0.5, (1, 60)) + rng.normal(0, 0.05, (3, 1))
        by_item = by_item + rng.normal(0, 0.3, (3, 60))
        one = of_items(
            by_item.mean(0), tuple(by_item.mean(1).tolist()), n_resamples=300, seed=trial
        )
        claims += one.effect is not None
    # At a rate of 5 %, more than 30 of 400 claims happen once in a hundred times.
    assert claims <= 30
    assert claims >= 1  # a rule that never claims would pass, too


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), num_seeds=st.integers(2, 5), size=st.integers(2, 40))
def test_exchanging_the_methods_exchanges_the_sign(seed, num_seeds, size):
    rng = np.random.default_rng(seed)
    by_item = rng.integers(-1, 2, (num_seeds, size)) + rng.choice([-1.0, 0.0, 1.0])
    units = rng.integers(0, max(2, size // 2), size)

    def one(sign):
        differences = tuple((sign * by_item.mean(1)).tolist())
        return of_items(sign * by_item.mean(0), differences, units, n_resamples=100)

    this, that = one(1), one(-1)
    opposite = {"helps": "hurts", "hurts": "helps", None: None}
    assert that.effect == opposite[this.effect]
    for name in ("over_seeds", "over_units"):
        if getattr(this, name) is not None:
            low, high = getattr(this, name)
            assert getattr(that, name) == pytest.approx((-high, -low), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), size=st.integers(2, 40))
def test_the_order_of_items_and_seeds_does_not_matter(seed, size):
    rng = np.random.default_rng(seed)
    values, units = rng.normal(size=size), rng.integers(0, max(2, size // 2), size)
    differences = tuple(rng.normal(size=4).tolist())
    order = rng.permutation(size)
    this = of_items(values, differences, units, n_resamples=100)
    that = of_items(values[order], differences[::-1], units[order], n_resamples=100)
    assert that.effect == this.effect
    assert that.over_seeds == pytest.approx(this.over_seeds)
    if this.over_units is not None:
        assert that.over_units == pytest.approx(this.over_units)


def test_table_note_and_json():
    helps = made((0.012, 0.009, 0.015), (0.01, 0.03), (0.005, 0.02))
    table = comparisons_table(
        {"SEQ minus baseline": {"image": helps, "sequence": made((0.0, 0.01, -0.01), None, None)}},
        {"image": "test images", "sequence": "virtual test sequences"},
    )
    assert table.columns == (
        "points", "test images", "virtual test sequences", "seeds better (test images)",
        "95 % over seeds", "95 % over images", "shown",
    )  # fmt: skip
    assert table.rows == (
        ("SEQ minus baseline", "+1.20 ± 0.30", "+0.00 ± 1.00", "3 of 3", "+1.00 to +3.00",
         "+0.50 to +2.00", "helps"),
    )  # fmt: skip
    assert "two 95 % intervals exclude 0" in comparisons_note("images")
    assert helps.to_json() == {
        "differences": [0.012, 0.009, 0.015],
        "mean": pytest.approx(0.012),
        "over_seeds": [0.01, 0.03],
        "over_units": [0.005, 0.02],
        "unit": "images",
        "num_units": 10,
        "effect": "helps",
        "sentence": helps.sentence(),
    }
