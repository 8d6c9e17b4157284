"""Decoding ahead of the encoder, in processes that may die without harm to the others.

Each worker is a process started anew (spawn) with a pipe of its own, and a thread here that hands
it one video after the other. What the threads receive goes through one queue of bounded length, so
decoding waits when the encoder is slower. The system closes the pipe of a process that dies,
whatever kills it: its video is tried once more by a new process, then it is a failure.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from experiments.extract_tse.decoding import End, Failure, Message, Task, decode

_WAITING_MESSAGES = 2  # of each worker; one has a few megabytes
_POLL_SECONDS = 0.1
_ATTEMPTS = 2


def number_of_workers(wanted: int) -> int:
    """Returns how many processes decode; -1 is one for each two cores, at most eight."""
    if wanted >= 0:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, (cores or 1) // 2))


class Decoders:
    """Decodes many videos; iterate over it within `with`, which ends the processes."""

    def __init__(self, tasks: Iterable[tuple[int, Task]], num_workers: int) -> None:
        """Takes what to do.

        Args:
            tasks: each with the number by which its messages are told from others.
            num_workers: processes; 0: a thread of this process decodes.
        """
        self._tasks, self._lock = iter(tasks), threading.Lock()
        self._stopped = threading.Event()
        self._in_process = num_workers == 0
        count = max(num_workers, 1)
        self._queue: queue.Queue = queue.Queue(count * _WAITING_MESSAGES)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        """Starts to decode."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends all processes, at once where there is more to do."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[tuple[int, Message]]:
        """Yields the messages of all videos with their numbers; those of one video in order.

        After the messages of every video there is exactly one `End` or `Failure`.
        """
        running = len(self._threads)
        while running:
            item = self._queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item

    def _run(self) -> None:
        """One thread: video after video."""
        try:
            if self._in_process:
                for number, task in self._next_tasks():
                    for message in decode(task):
                        self._put((number, message))
            else:
                self._supervise()
            self._put(None)
        except _Stopped:
            pass
        except BaseException as error:  # a mistake of ours: the main thread tells of it
            self._put_last(error)

    def _supervise(self) -> None:
        worker: _Worker | None = None
        if hasattr(signal, "pthread_sigmask"):
            # Ctrl-C is for the main thread; processes that are started here inherit that. The
            # helper of multiprocessing would undo it when it starts.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            for number, task in self._next_tasks():
                for attempt in range(1, _ATTEMPTS + 1):
                    if worker is None:
                        worker = _Worker()
                    try:
                        for message in worker.messages(task, self._stopped):
                            self._put((number, message))
                        break
                    except (EOFError, OSError):
                        died = worker.end()
                        worker = None
                        if attempt == _ATTEMPTS:
                            what = f"the process that decoded it died, {_ATTEMPTS} times ({died})"
                            self._put((number, Failure(what)))
        finally:
            if worker is not None:
                worker.end()

    def _next_tasks(self) -> Iterator[tuple[int, Task]]:
        while not self._stopped.is_set():
            with self._lock:
                try:
                    task = next(self._tasks)
                except StopIteration:
                    return
            yield task

    def _put(self, item: object) -> None:
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        raise _Stopped

    def _put_last(self, error: BaseException) -> None:
        try:
            self._put(error)
        except _Stopped:
            pass


class _Stopped(Exception):
    """Nobody reads the queue any longer."""


class _Worker:
    """A process that decodes what it is sent."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that reading ends when the process does

    def messages(self, task: Task, stopped: threading.Event) -> Iterator[Message]:
        """Yields the messages of one video; raises EOFError or OSError if the process dies."""
        self._connection.send(task)
        while True:
            while not self._connection.poll(_POLL_SECONDS):
                if stopped.is_set():
                    raise _Stopped
            message = self._connection.recv()
            yield message
            if isinstance(message, (End, Failure)):
                return

    def end(self) -> str:
        """Ends the process; returns how it ended."""
        self._connection.close()
        self._process.join(_POLL_SECONDS)  # one that died by itself shall say of what
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        code = self._process.exitcode or 0
        self._process.close()
        if code < 0:
            return f"signal {-code}, {signal.strsignal(-code)}"
        return f"exit code {code}"


def _work(connection: Connection) -> None:
    """The life of a worker: decode what comes, until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked before
    try:
        while True:
            for message in decode(connection.recv()):
                connection.send(message)
    except (EOFError, OSError):
        return
