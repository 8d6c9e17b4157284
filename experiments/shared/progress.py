"""A progress bar that keeps quiet where nobody watches."""

import sys
from collections.abc import Iterable

from tqdm import tqdm


def progress(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
) -> tqdm:
    """Returns a tqdm bar over `iterable`, drawn on stderr only where that is a terminal.

    Args:
        iterable: what to go through; None for a bar that the caller moves with `update`.
        total: number of items, where `iterable` has no length.
        desc: short text before the bar.
        unit: what is counted; the bar shows its rate.
    """
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        leave=False,
        dynamic_ncols=True,
        mininterval=0.2,
        disable=not sys.stderr.isatty(),
    )
