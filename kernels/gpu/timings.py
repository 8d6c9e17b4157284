"""How long a training step of DejaVid takes on a card: as measured, and as the code predicts.

The one place of both kinds of numbers: `python -m experiments.sizing` computes with them, and the
tables of `RESULTS.md` are compared with them by a test. Who measures again changes both.
"""

import dataclasses

from tempalign.kernels.gpu import path_sums, weighted_cost
from tempalign.kernels.gpu.specs import CARDS, DEJAVID, Card

# Warp instructions, by `python -m tempalign.kernels.gpu.deviceless`.
_PATH_COST, _PATH_GRADIENT = 33, 52  # of a cell of a path and 256 features: loads, sums and loops
_FORWARDS, _BACK = 87, 209 / 4  # of short_path, of a frame of 32 pairs
_CYCLES_OF_LANES = 128  # `Form.cycles` are those of a card with so many lanes
_ADAMW_PASSES = 7  # over the parameters: read both, two moments and gradients, write all but these


@dataclasses.dataclass(frozen=True)
class Measured:
    """A row of the table that was measured on a card.

    Attributes:
        workload: of the benchmark.
        who: the implementation.
        card: see `specs.CARDS`.
        median_ms: where each call is waited for.
        following_ms: of calls that follow each other, as in training; None: not measured.
        following_half_ms: likewise, with float16 paths.
    """

    workload: str
    who: str
    card: str
    median_ms: float
    following_ms: float | None = None
    following_half_ms: float | None = None


MEASURED = (
    Measured("weighted-dtw-grad-k400", "xla", "h200", 10.70),
    Measured("weighted-dtw-grad-k400", "pallas", "h200", 2.32, 1.97, 2.07),
    Measured("weighted-dtw-grad-ssv2", "xla", "h200", 28.72),
    Measured("weighted-dtw-grad-ssv2", "pallas", "h200", 3.54),
    Measured("weighted-dtw-grad-hmdb51", "xla", "h200", 3.95),
    Measured("weighted-dtw-grad-hmdb51", "pallas", "h200", 0.7180),
    Measured("weighted-dtw-grad-k400-float16-paths", "xla", "h200", 10.71),
    Measured("weighted-dtw-grad-k400-float16-paths", "pallas", "h200", 2.28),
    Measured("weighted-dtw-grad-ssv2-float16-paths", "xla", "h200", 28.69),
    Measured("weighted-dtw-grad-ssv2-float16-paths", "pallas", "h200", 4.08),
    Measured("weighted-dtw-grad-hmdb51-float16-paths", "xla", "h200", 3.50),
    Measured("weighted-dtw-grad-hmdb51-float16-paths", "pallas", "h200", 0.6451),
    Measured("weighted-cost-k400", "xla", "h200", 6.14),
    Measured("weighted-cost-k400", "pallas", "h200", 1.26, 1.06),
    Measured("weighted-cost-ssv2", "xla", "h200", 21.21),
    Measured("weighted-cost-ssv2", "pallas", "h200", 2.25),
    Measured("weighted-cost-hmdb51", "xla", "h200", 1.19),
    Measured("weighted-cost-hmdb51", "pallas", "h200", 0.3183),
)
MEASURED_ON = "2026-11-26"


@dataclasses.dataclass(frozen=True)
class Step:
    """The sizes of a step on one device.

    Attributes:
        classes: that it has the centroids of.
        steps: of a centroid.
        features: of a frame.
        frames: of a video.
        videos: that it has of the batch.
    """

    classes: int
    steps: int
    features: int
    frames: int
    videos: int

    @classmethod
    def of_dejavid(cls, name: str) -> "Step":
        """Those of a data set of the paper, the whole batch on one device."""
        spec = DEJAVID[name]
        return cls(spec.num_classes, spec.num_steps, spec.num_features, spec.num_frames, spec.batch)


def predicted(step: Step, card: Card, *, half: bool = False) -> dict[str, float]:
    """Seconds of each kernel of a step, if nothing but issuing instructions took time.

    So the least that this code can take: loads that nothing hides, starts of kernels and what XLA
    does between them are on top. Paths are decided by copies of the parameters, as in training.

    Args:
        step: its sizes.
        card: its multiprocessors and clock.
        half: whether paths are looked for in float16.

    Returns:
        By kernel; AdamW, which is not ours, by the bytes that it moves.
    """
    warps_a_second = card.float32_rate / 32
    pairs, cells = step.classes * step.videos, step.steps + step.frames - 1
    blocks = path_sums.padded_features(step.features) // path_sums.FEATURES
    cells_and_blocks = pairs * cells * blocks
    warps = -(-pairs // 32)
    rows, columns = step.classes * step.steps, step.videos * step.frames
    form, how, *_ = weighted_cost.layout(rows, columns, step.features, half=half, cores=card.cores)
    slower = _CYCLES_OF_LANES / card.lanes
    parameters = 2 * 4 * step.classes * step.steps * step.features
    return {
        "weighted_cost": how.cycles(form, card.cores) * slower / (card.clock_ghz * 1e9),
        "path_cost": cells_and_blocks * _PATH_COST / warps_a_second,
        "path_gradient_class": cells_and_blocks * _PATH_GRADIENT / warps_a_second,
        "short_path": warps * step.frames * (_FORWARDS + _BACK) / warps_a_second,
        "AdamW": _ADAMW_PASSES * parameters / card.bandwidth,
    }


def measured(workload: str, card: str, who: str = "pallas") -> Measured | None:
    """The row of a workload, None where it was not measured."""
    for row in MEASURED:
        if (row.workload, row.who, row.card) == (workload, who, card):
            return row
    return None


def slower_than_predicted(card: str) -> tuple[float, float] | None:
    """How many times longer than predicted kernels take one after the other, as measured.

    Of Kinetics-400, the one data set of which that was measured.

    Returns:
        (of the costs, of what is done along paths), None for a card that was not measured.
    """
    costs = measured("weighted-cost-k400", card)
    whole = measured("weighted-dtw-grad-k400", card)
    if costs is None or whole is None or not costs.following_ms or not whole.following_ms:
        return None
    least = predicted(Step.of_dejavid("k400"), CARDS[card])
    along = least["path_gradient_class"] + least["short_path"]
    return (
        costs.following_ms / 1e3 / least["weighted_cost"],
        (whole.following_ms - costs.following_ms) / 1e3 / along,
    )
