"""Progress: a bar on a terminal; elsewhere a line every ten seconds, with the time that is left."""

import sys
from collections.abc import Iterable, Sized
from time import monotonic
from typing import Any

from tqdm import tqdm

from experiments.shared import processes

SECONDS_BETWEEN_LINES = 10.0


def progress(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
) -> tqdm:
    """Returns a tqdm display over `iterable`, on stderr; of several processes the first one shows.

    Args:
        iterable: what to go through; None for a display that the caller moves with `update`.
        total: number of items, where `iterable` has no length.
        desc: short text before the numbers.
        unit: what is counted; the display shows its rate.
    """
    if not processes.is_first():
        return tqdm(iterable, total=total, disable=True)
    if sys.stderr.isatty():
        return _steady(
            tqdm(
                iterable, total=total, desc=desc, unit=unit, leave=False, dynamic_ncols=True,
                mininterval=0.2,
            )
        )  # fmt: skip
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    form = "{desc}: " if desc else ""
    if total is None:
        form += "{n_fmt}{unit}, {rate_noinv_fmt}, {elapsed} so far{postfix}"
    else:
        form += "{percentage:.0f} %, {n_fmt} of {total_fmt}{unit}, {rate_noinv_fmt}, "
        form += "{remaining} left{postfix}"
    return _steady(
        _Lines(
            iterable, total=total, desc=desc, unit=f" {unit.strip()}", leave=False, file=sys.stderr,
            mininterval=SECONDS_BETWEEN_LINES, maxinterval=SECONDS_BETWEEN_LINES, miniters=1,
            bar_format=form,
        )
    )  # fmt: skip


def _steady(display: tqdm) -> tqdm:
    """Lets a display go by a clock that nobody sets: put back, tqdm's own would stop it."""
    display._time = monotonic
    display.start_t = display.last_print_t = monotonic()
    return display


class _Lines(tqdm):
    """A display that writes lines; nothing at the start and the end, so what is quick is quiet."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._started = False
        super().__init__(*args, **kwargs)
        self._started = True

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self._started and msg is None:
            print(" ".join(str(self).split()), file=self.fp, flush=True)
        return True

    def close(self) -> None:
        """Ends the display without a trace: tqdm would go back to the beginning of the line."""
        self.delay = float("inf")  # until when tqdm believes that it has shown nothing
        super().close()

    def clear(self, nolock: bool = False) -> None:
        """A line that is written stays."""

    def set_postfix_str(self, s: str = "", refresh: bool = False) -> None:
        """Sets what the next line ends in, without a line for it alone."""
        super().set_postfix_str(s, refresh=False)
