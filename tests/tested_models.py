"""The models that are tested, as options of the public functions, and how one is asked for."""

import numpy as np

import tempalign

MASKED = {"mask": np.ones((1, 1), bool)}  # tests pass masks of their own
OPTIONS = {"penalty": 0.75, "move_weights": (0.5, 2, 1.5)}
MODELS = {
    "plain": {},
    "no_diagonal": {"diagonal": False},
    "penalty": {"penalty": 0.75},
    "odd_weights": {"move_weights": (0.5, 2, 1.5)},
    "ends_apart": {"open_begin": "y", "open_end": "x"},
    "begin_both": {"open_begin": "both"},
    "end_both": {"open_end": "both"},
    "subsequence": {"open_begin": "y", "open_end": "y"},
    "counted": {"open_begin": (2, 1), "open_end": 1},
    "no_diagonal_open": {"diagonal": False, "open_begin": 2, "open_end": "both", "penalty": 0.75},
    "band": {"band": 2},
    "slope": {"max_slope": 2.25},
    "mask": MASKED,
    "windows": {"band": 3, "max_slope": 3.0, **MASKED, "open_end": (None, 2)},
    "windows_open": {"band": 2, "open_begin": "x", "open_end": "y", "penalty": 0.75},
    "everything": {**OPTIONS, **MASKED, "open_begin": (1, None), "open_end": "both"},
    "tam_paper": {"boundary": "paper"},
    "tam_edge": {"boundary": "edge"},
}
# Whose hard values have their gradients in all numbers checked as well.
HARD = ("plain", "counted", "windows", "everything", "tam_edge")


def given_numbers(name, penalty, weights, mask):
    """The path options of a model with other (traced) numbers in them."""
    options = dict(MODELS[name])
    values = {"penalty": penalty, "move_weights": weights, "mask": mask}
    return {key: values.get(key, value) for key, value in options.items()}


def from_cost(name, soft, what, cost, gamma, n=None, m=None, **options):
    """A public function on given costs; `what` is "value" or "alignment"."""
    tam = "boundary" in options
    first, second = ("query", "support") if tam else ("x", "y")
    if n is not None:
        options |= {f"{first}_lengths": n, f"{second}_lengths": m}
    kind = "tam" if tam else "soft_dtw" if soft else "dtw"
    end = {"value": "_distance" if tam else "", "alignment": "_alignment"}[what]
    function = getattr(tempalign, f"{kind}{end}_from_cost")
    if tam or soft:
        return function(cost, gamma if soft else 0.0, **options)
    return function(cost, **options)
