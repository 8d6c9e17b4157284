"""The windows of an episode: which rows, at which speed, of which class; a function of a seed."""

import numpy as np

from experiments.seq.steps import Episode
from experiments.seq_anomaly.dataset import CLASS_NAMES, AnomalyDataset, row_labels
from experiments.seq_anomaly.settings import Settings
from experiments.shared.errors import UserError
from experiments.shared.scaling import Scaling

_CLASSES = np.arange(2, dtype=np.int32)


class Sampler:
    """Draws episodes from the training videos.

    A query is of the class of most of its rows; where an event begins or ends it has rows of both.
    A support window has rows of its class only, because the exemplar stands for that class.

    Attributes:
        scaling: of the rows; those of episodes are scaled already.
    """

    def __init__(self, dataset: AnomalyDataset, settings: Settings) -> None:
        """Standardises the rows and lists the windows of each class.

        Args:
            dataset: whose training split is drawn from.
            settings: tau, batch size, speed.

        Raises:
            UserError: no window has normal rows only, or none anomalous rows only.
        """
        self._settings = settings
        rows = np.concatenate([video.features for video in dataset.train]).astype(np.float32)
        self.scaling = Scaling.fit([rows])
        self._rows = self.scaling.apply(rows, out=rows)
        labels = [row_labels(video.labels, dataset.frames_per_row) for video in dataset.train]
        self._labels = np.concatenate(labels).astype(np.int32)
        self._row_classes = [np.flatnonzero(self._labels == label) for label in (0, 1)]
        ends = np.cumsum([len(part) for part in labels])
        window = settings.tau
        starts, first, last = [], [], []
        for part, end in zip(labels, ends, strict=True):
            count = len(part) - window + 1
            starts.append(end - len(part) + np.arange(count))
            first += [end - len(part)] * count
            last += [end - 1] * count
        self._starts, self._first, self._last = np.concatenate(starts), first, last
        in_window = self._labels[self._starts[:, None] + np.arange(window)]
        majority = 2 * in_window.sum(axis=1) >= window
        self._query = [np.flatnonzero(majority == label) for label in (0, 1)]
        self._support = [np.flatnonzero((in_window == label).all(axis=1)) for label in (0, 1)]
        for name, chosen in zip(CLASS_NAMES, self._support, strict=True):
            if not len(chosen):
                raise UserError(
                    f"{dataset.name}: no {name} stretch of a training video is as long as "
                    f"--tau={window} rows; give a smaller --tau"
                )

    def draw(self, seed: int, step: int, *, num_support: int, by_frame: bool) -> Episode:
        """Draws the episode of a step; its queries are the same for all methods that see windows.

        Args:
            seed: of the run.
            step: counted from 0.
            num_support: N, support windows of each class.
            by_frame: fill the queries with rows drawn one by one instead of windows.
        """
        rng = np.random.default_rng([seed, step])
        settings = self._settings
        half = settings.batch_size // 2
        size = (half, settings.tau)
        if by_frame:
            chosen = np.concatenate([rng.choice(rows, size) for rows in self._row_classes])
            query, frame_labels = self._rows[chosen], self._labels[chosen]
        else:
            windows = np.concatenate([rng.choice(found, half) for found in self._query])
            query, frame_labels = self._played(windows, rng)
        support = np.stack([rng.choice(found, num_support) for found in self._support])
        rows = self._starts[support][..., None] + np.arange(settings.tau)
        majority = 2 * frame_labels.sum(axis=1) >= settings.tau
        return Episode(query, majority.astype(np.int32), self._rows[rows], _CLASSES, frame_labels)

    def _played(
        self, windows: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Windows about the same middle, at a speed of each one's own."""
        window = self._settings.tau
        first, last = np.array(self._first)[windows], np.array(self._last)[windows]
        most = np.log(self._settings.max_speed)
        speed = np.exp(rng.uniform(-most, most, len(windows)))
        speed = np.minimum(speed, (last - first) / (window - 1))  # the video's own length at most
        middle = self._starts[windows] + (window - 1) / 2
        reach = speed * (window - 1) / 2
        middle = np.clip(middle, first + reach, last - reach)
        positions = np.linspace(middle - reach, middle + reach, window, axis=1)
        below = np.clip(np.floor(positions), first[:, None], last[:, None]).astype(int)
        above = np.minimum(below + 1, last[:, None])
        share = (positions - below).astype(np.float32)[..., None]
        query = (1 - share) * self._rows[below] + share * self._rows[above]
        return query, self._labels[np.where(share[..., 0] < 0.5, below, above)]
