"""What both experiments can be told, and how a job grows by sweeps."""

import pytest
import tiny_seq

from experiments.seq.settings import SWEEPS, SeqOptions
from experiments.shared import options
from experiments.shared.errors import UserError


def parsed(*arguments):
    return options.parse(SeqOptions, ["job", *arguments])


def test_sweeps_add_up():
    """A later --sweep keeps the earlier ones, with their values."""
    first = parsed("--sweep=alpha", "--sweep_alpha=0.1,1")
    later = options.merge(first, parsed("--sweep=gamma"))
    assert later.swept == ("gamma", "alpha")
    assert later.sweep_alpha == (0.1, 1.0) and later.sweep_gamma == SWEEPS["gamma"]
    more = options.merge(later, parsed("--sweep=alpha", "--sweep_alpha=7"))
    assert more.sweep_alpha == (0.1, 1.0, 7.0) and more.swept == later.swept
    none = options.merge(more, parsed())
    assert none.swept == later.swept and none.sweep_alpha == more.sweep_alpha
    # A job without a sweep has no values that a later one would have to train.
    plain = options.merge(parsed(), parsed("--sweep=num_support", "--sweep_num_support=1,2"))
    assert plain.sweep_num_support == (1, 2) and plain.sweep_gamma == ()


def test_all_of_them():
    assert parsed("--sweep=all").swept == tuple(SWEEPS)
    assert parsed("--sweep=all").sweep_num_support == (1, 2, 3, 4, 5)
    assert parsed("--sweep=").swept == ()
    assert parsed("--sweep=num_support").largest_support == 5
    assert parsed().largest_support == parsed().num_support


def test_settings_survive_json():
    found = parsed("--sweep=alpha", "--gamma=0.3333333333333333")
    assert SeqOptions.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ()}, "--methods and --seeds must each name at least one"),
        ({"seeds": ()}, "--methods and --seeds must each name at least one"),
        ({"methods": ("baseline",), "sweep": ("gamma",)}, "--sweep=gamma: needs seq among"),
        ({"sweep": ("beta",)}, "--sweep=beta: allowed: .*num_support, gamma, alpha, all"),
        ({"gamma": 0.0}, "--gamma=0: allowed: a number > 0"),
    ],
)
def test_options_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_seq.options(**changes)
