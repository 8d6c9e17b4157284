from pathlib import Path

import numpy as np
import pytest

from experiments.arrow_of_time.folds import Item
from experiments.arrow_of_time.report import verdict
from experiments.arrow_of_time.results import Method, Mirrored, mirrored
from experiments.arrow_of_time.segments import DIRECTIONS, Segment


def _items(folder, rows, others):
    items = []
    for number, pair in enumerate(zip(rows, others, strict=True)):
        for direction, array in zip(DIRECTIONS, pair, strict=True):
            path = folder / f"{number}_{direction}.npy"
            np.save(path, array)
            segment = Segment("one", Path("00.mkv"), number, 4)
            items.append(Item(path.stem, path, segment, direction))
    return items


def test_mirrored_rows_are_found_exactly(tmp_path):
    rows = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float16)
    found = mirrored(_items(tmp_path, rows, rows[:, ::-1]))
    assert found == Mirrored(3, 3, 0.0) and found.is_exact
    assert "bit for bit" in found.sentence()


@pytest.mark.parametrize("shifted", [0.0, 0.25])
def test_rows_that_are_not_mirrored_are_told(tmp_path, shifted):
    rows = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    others = rows[:, ::-1] + np.float32(shifted) if shifted else rows[:, ::-1][:, 1:]
    found = mirrored(_items(tmp_path, rows, others))
    assert not found.is_exact and found.identical == 0
    assert found.largest == (shifted or np.inf)
    assert "not exactly" in found.sentence()


RECORDINGS = np.repeat(np.arange(8), 10)


def _compared(right):
    return Method("m", np.atleast_2d(right), False).over_chance(RECORDINGS, 3)


def test_a_claim_needs_seeds_and_recordings():
    always, half = np.ones(80, bool), np.tile([True, False], 40)
    assert _compared(always).effect == "helps"
    assert _compared(~always).effect == "hurts"
    assert _compared(half).effect is None
    # Of one recording alone: others drawn from these may lack it.
    assert _compared(np.where(RECORDINGS == 0, always, half)).effect is None
    # One seed of three.
    assert _compared(np.stack([always, half, half])).effect is None


def test_the_verdict_says_what_is_not_shown():
    half = np.tile([True, False], 40)[None]
    blind, chance = Method("the mean", half, True), Method("a chance", half, False)
    right = Method("a good one", np.ones((1, 80), bool), False)

    def told(*methods):
        seeing = {m.name: m.over_chance(RECORDINGS, 3) for m in methods if not m.is_blind}
        return verdict(methods, seeing, Mirrored(40, 40, 0.0))

    assert "No method is shown to be better than chance" in told(blind, chance)
    text = told(blind, chance, right)
    assert "never trained on: a good one. Not shown to be: a chance." in text
    assert "The best is a good one (100.00 %" in text
