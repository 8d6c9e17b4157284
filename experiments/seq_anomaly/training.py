"""A run of SEQ on videos: what its episodes are, and how the test split is scored."""

from collections.abc import Mapping
from functools import partial

import jax
import numpy as np
from flax import nnx

from experiments.seq.results import Variant
from experiments.seq.steps import Episode, Params, Tested, in_parts
from experiments.seq.training import SeqRun
from experiments.seq_anomaly.dataset import AnomalyDataset, frame_scores
from experiments.seq_anomaly.metrics import evaluate
from experiments.seq_anomaly.settings import Settings
from experiments.seq_anomaly.windows import Sampler
from experiments.shared.scaling import Scaling

METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "pr_area": "PR area (trapezoid)",
}
"""What is measured after every epoch, and how reports name it."""

_AT_ONCE = 4096  # rows: one compilation for videos of every length


class AnomalyRun(SeqRun):
    """A run on videos.

    What it says of the test split is the score of every frame, float32, video after video: the
    log-odds of an anomaly ("log_odds"). As probabilities, the largest of them would be ties.
    """

    def __init__(
        self,
        dataset: AnomalyDataset,
        sampler: Sampler,
        settings: Settings,
        variant: Variant,
        seed: int,
    ) -> None:
        """Prepares a run.

        Args:
            dataset: scored on its test split after every epoch.
            sampler: of its training split.
            settings: see `Settings`.
            variant: what to train.
            seed: of the first weights and the windows.
        """
        self._labels = dataset.test_labels
        super().__init__(
            settings,
            variant,
            seed,
            scaling=sampler.scaling,
            num_classes=2,
            untested={"log_odds": np.zeros(len(self._labels), np.float32)},
            scaled=True,
        )
        self._dataset, self._sampler, self._seed = dataset, sampler, seed
        self._support, self._by_frame = variant.num_support, variant.method == "baseline"

    def draw(self, step: int) -> Episode:
        """Returns the episode of a step."""
        return self._sampler.draw(
            self._seed, step, num_support=self._support, by_frame=self._by_frame
        )

    def test(self, params: Params) -> tuple[Tested, Mapping[str, float]]:
        """Scores the test split."""
        videos = self._dataset.test
        # All rows at once, which is fewer calls than video by video.
        rows = np.concatenate([video.features for video in videos])
        scores = score_rows(self.spec.graphdef, params, rows, self._sampler.scaling)
        of_videos = np.split(scores, np.cumsum([len(video.features) for video in videos])[:-1])
        log_odds = np.concatenate(
            [
                frame_scores(part, video.num_frames, self._dataset.frames_per_row)
                for part, video in zip(of_videos, videos, strict=True)
            ]
        )
        return {"log_odds": log_odds}, evaluate(self._labels, log_odds)._asdict()


def score_rows(
    graphdef: nnx.GraphDef, params: Params, rows: np.ndarray, scaling: Scaling
) -> np.ndarray:
    """Returns the log-odds of an anomaly, float32 [R], of rows [R, F] of features."""
    return in_parts(
        lambda part: _log_odds(graphdef, params, part, scaling),
        rows.astype(np.float32, copy=False),
        _AT_ONCE,
    )


def probability(log_odds: np.ndarray) -> np.ndarray:
    """Returns the probabilities of log-odds, float64, for display: beyond 37 they are all 1."""
    return np.exp(-np.logaddexp(0, -log_odds.astype(np.float64)))


@partial(jax.jit, static_argnames="graphdef")
def _log_odds(
    graphdef: nnx.GraphDef, params: Params, rows: jax.Array, scaling: Scaling
) -> jax.Array:
    scores = nnx.merge(graphdef, params)(scaling.apply(rows))
    return scores[:, 1] - scores[:, 0]
