"""Ctrl-C and SIGTERM: they stop a job, but never in the middle of a checkpoint."""

import atexit
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM: what batch systems send before they kill."""


def install() -> None:
    """Makes SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt.

    A second one, while the process tidies up to end, ends it at once and without a word.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
        atexit.unregister(_let_go)
        atexit.register(_let_go)


@contextmanager
def held() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait until the block has ended; of several the first one counts.

    If the block raises, that is what is told, and a signal that came meanwhile is forgotten.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    waiting: list[tuple[int, FrameType | None]] = []
    handlers = {int(number): signal.getsignal(number) for number in _SIGNALS}
    former = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in former:  # one that is not Python's cannot be put back
        signal.signal(number, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    for number, frame in waiting[:1]:
        handler = former[number]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(number)


def _let_go() -> None:
    """Else a traceback of whatever library is just tidying up would be printed."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
