"""Options about encoders that several scripts have, each declared once."""

from typing import Any

from experiments.shared.job import OTHER
from experiments.shared.options import option

_TRUSTED = "as a pickled module does. Only for files of people you trust."


def allow_pickle(group: str) -> Any:
    """Declares `--allow_pickle` of a script that opens an encoder."""
    return option(
        False,
        group,
        f"Let a file of torch: run whatever code it names, {_TRUSTED}",
        changes_result=False,
    )


def predict_allow_pickle() -> Any:
    """Declares `--allow_pickle` of a script that opens one for `--predict` of videos alone."""
    return option(
        False,
        OTHER,
        "With --predict of videos: let an encoder torch:FILE run whatever code the file names.",
        changes_result=False,
    )


def predict_weights() -> Any:
    """Declares the weights of such an encoder."""
    return option(
        "",
        OTHER,
        "With --predict of videos: what --weights of experiments.extract_tse was.",
        changes_result=False,
        path=True,
    )
