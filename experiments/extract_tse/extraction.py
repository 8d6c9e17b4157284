"""Decoding, encoding and writing, all at the same time: what happens to each video of a shard."""

import time
from typing import Protocol

import numpy as np

from experiments.extract_tse.batches import Batches, collect, rows_are_independent
from experiments.extract_tse.decoding import Begin, End, Failure, Message, Pictures, Task
from experiments.extract_tse.listing import Video
from experiments.extract_tse.settings import Settings
from experiments.extract_tse.windows import Plan
from experiments.extract_tse.workers import Decoders, number_of_workers
from experiments.shared.progress import progress
from experiments.vision.encoders import Encoder


class Sink(Protocol):
    """Where videos go when they are done: see `experiments.extract_tse.store.Store`."""

    def copy_labels(self, video: Video, /) -> str:
        """Copies a file of labels; returns why it cannot be read, or nothing."""
        ...

    def save(self, video: Video, rows: np.ndarray, times: np.ndarray, end: End, /) -> None:
        """Takes the rows of a video, ``[T, F]`` as they are stored, and their times."""
        ...

    def fail(self, video: Video, reason: str, /) -> None:
        """Takes the reason why a video cannot be used."""
        ...


class _Work:
    """A video on its way, since its decoder began, or began again.

    Attributes:
        end: what the decoder said when all was sent.
        reason: why the video cannot be used; or empty.
        is_decoded: whether no more messages will come of it.
    """

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._collected = None if plan is None else collect(plan)
        self.end: End | None = None
        self.reason = ""
        self.is_decoded = False

    def take(self, features: np.ndarray) -> None:
        """Takes the next features, float32 ``[n, F]``."""
        if not np.isfinite(features).all():
            self.reason = "the encoder's features of it are not finite (NaN or infinite)"
        if self._collected is not None and not self.reason:
            self._collected.add(features)

    def result(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns rows float32 ``[T, F]`` and times float64 ``[T, 2]``; None while some lack."""
        if self._collected is None or self._plan is None or self.end is None:
            return None
        rows = self._collected.rows()
        return None if rows is None else (rows, self.end.seconds[self._plan.shared_ends()])


class Extraction:
    """Extracts the videos of a shard that are not done."""

    def __init__(self, settings: Settings, encoder: Encoder, store: Sink) -> None:
        """Takes the settings, the encoder and where the rows go."""
        self._settings, self._store, self._spec = settings, store, encoder.spec
        self._encoder, self._batches = encoder, Batches(encoder, settings.batch_size)
        self._videos: list[Video] = []
        self._open: dict[int, _Work] = {}
        self._num_saved, self._decoding = 0, 0.0

    def run(self, videos: list[Video]) -> str:
        """Extracts; returns a sentence on the time it took.

        Raises:
            UserError: a file cannot be written, or the encoder is not fit.
        """
        began = time.perf_counter()
        self._videos = videos
        num_workers = min(number_of_workers(self._settings.workers), len(videos))
        tasks = ((number, self._task(video)) for number, video in enumerate(videos))
        shown = progress(total=len(videos), desc="extracting", unit="video")
        with shown, Decoders(tasks, num_workers) as decoders:
            # While the first videos are decoded: it has the encoder compiled, too.
            independent = rows_are_independent(self._encoder, self._settings.batch_size)
            self._batches.shared = independent
            for number, message in decoders:
                self._handle(number, message)
                shown.update(self._close())
            self._batches.flush()
            shown.update(self._close())
        if self._open:
            raise RuntimeError(f"{len(self._open)} videos were never finished")
        seconds = time.perf_counter() - began
        return (
            f"{self._num_saved} videos extracted in {seconds:.1f} s, "
            f"{self._num_saved / seconds:.2f} a second: {self._decoding:.1f} s of decoding by "
            f"{max(num_workers, 1)} workers, {self._batches.seconds:.1f} s of encoding"
        )

    def _task(self, video: Video) -> Task:
        settings, spec = self._settings, self._spec
        return Task(
            str(video.path),
            settings.layout,
            spec.frames,
            spec.size,
            settings.crop,
            settings.max_pixels,
            settings.max_memory * 1_000_000,
            settings.allow_truncated,
        )

    def _handle(self, number: int, message: Message) -> None:
        if isinstance(message, Begin):
            if number in self._open:
                self._batches.forget(self._open[number].take)
            plan = Plan.of(self._settings.layout, message.length, self._spec.frames)
            self._open[number] = _Work(plan)
            return
        work = self._open.setdefault(number, _Work(None))
        if isinstance(message, Pictures):
            if not work.reason:
                self._batches.add(work.take, message.pictures)
            return
        work.is_decoded = True
        if isinstance(message, Failure):
            work.reason = message.reason
            self._batches.forget(work.take)
        elif isinstance(message, End):
            work.end = message
            self._decoding += message.busy
            if not self._batches.shared:
                self._batches.flush(work.take)

    def _close(self) -> int:
        """Writes the videos that are complete; returns how many, those that fail among them."""
        count = 0
        for number, work in list(self._open.items()):
            result = work.result()
            if work.is_decoded and (work.reason or result is not None):
                self._write(self._videos[number], work, result)
                del self._open[number]
                count += 1
        return count

    def _write(
        self, video: Video, work: _Work, result: tuple[np.ndarray, np.ndarray] | None
    ) -> None:
        reason = work.reason
        if not reason and result is not None and work.end is not None:
            rows, times = result
            with np.errstate(over="ignore"):  # found in the next line
                stored = rows.astype(self._settings.dtype)
            if not np.isfinite(stored).all():
                reason = "features beyond the largest float16; store them with --dtype=float32"
            reason = reason or self._store.copy_labels(video)
            if not reason:
                self._store.save(video, stored, times, work.end)
                self._num_saved += 1
        if reason:
            self._store.fail(video, reason)
