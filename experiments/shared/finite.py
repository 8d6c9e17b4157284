"""Training that no longer computes numbers: it stops, and says in which batch that began."""

import collections
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from experiments.shared.errors import UserError

STEPS_AHEAD = 4  # how many steps the host may be ahead of the device: bounds their memory


class Ahead:
    """Lets the host run a few steps ahead of the device, and no further."""

    def __init__(self) -> None:
        """Begins."""
        self._waiting: collections.deque[Any] = collections.deque()

    def add(self, result: Any) -> None:
        """Takes what a step will have computed, and waits for that of an earlier one."""
        self._waiting.append(result)
        if len(self._waiting) > STEPS_AHEAD:
            self.look(self._waiting.popleft())

    def look(self, result: Any) -> None:
        """Waits for the result of the next step."""
        result.block_until_ready()


class Watch(Ahead):
    """The same, and stops at the first step whose loss is not finite.

    It looks at results that are ready, so watching takes no time from the device.
    """

    def __init__(self, name: str, epoch: int, steps: int) -> None:
        """Begins an epoch.

        Args:
            name: of the run, for the message.
            epoch: its number, from 1.
            steps: how many it has.
        """
        super().__init__()
        self._name, self._epoch, self._steps = name, epoch, steps
        self._seen = 0

    def look(self, result: Any) -> None:
        """Looks at the next step: its loss, or sums of all steps so far.

        Raises:
            UserError: it is not finite.
        """
        self._seen += 1
        if not np.isfinite(np.asarray(result)).all():
            refuse_batch(self._name, self._epoch, self._seen, self._steps)

    def end(self) -> None:
        """Looks at the last steps; raises as `look`."""
        while self._waiting:
            self.look(self._waiting.popleft())


def check_losses(name: str, epoch: int, losses: Any) -> None:
    """Raises for the losses ``[steps]`` of an epoch, one of which is not finite.

    Raises:
        UserError: names the epoch and the first such step.
    """
    bad = np.flatnonzero(~np.isfinite(np.asarray(losses)))
    if len(bad):
        refuse_batch(name, epoch, int(bad[0]) + 1, len(losses))


def refuse_batch(name: str, epoch: int, batch: int, steps: int) -> NoReturn:
    """Raises for the first batch of an epoch whose loss is not finite."""
    refuse(f"{name}: epoch {epoch}, batch {batch} of {steps}: the loss is not finite")


def refuse_names(name: str, epoch: int, wrong: Sequence[str]) -> NoReturn:
    """Raises for what is not finite after an epoch, of which the first few are named."""
    more = ", ..." if len(wrong) > 5 else ""
    refuse(f"{name}: after epoch {epoch} these are not finite: {', '.join(wrong[:5])}{more}")


def refuse(what: str) -> NoReturn:
    """Raises a UserError that begins so, and says what can be done.

    The last checkpoint is of an epoch before, and stays.
    """
    raise UserError(
        f"{what}. Nothing of that epoch was saved, and --resume would take the same steps again: "
        "start anew with a smaller --learning_rate, in another --out_dir."
    )
