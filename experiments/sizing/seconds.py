"""The seconds of a step and of an epoch, each by what they are known."""

import dataclasses

from experiments.sizing.settings import Settings
from tempalign.kernels.gpu import specs, timings

MEASURED_CARD = "h200"
"""The card on which the kernels were run; of others there are predictions alone."""

_FLOAT = 4


@dataclasses.dataclass(frozen=True)
class Seconds:
    """The parts of a training step on each device, and what an epoch takes.

    Attributes:
        costs: of all centroid steps and frames.
        paths: the shortest ones, the distances along them and their gradients.
        optimizer: AdamW.
        exchange: gradients summed over devices.
        steps: of an epoch.
        tests: steps of the test that an epoch ends with.
    """

    costs: float
    paths: float
    optimizer: float
    exchange: float
    steps: int
    tests: int

    @property
    def step(self) -> float:
        """One training step, the gradients sent when all of them are there."""
        return self.costs + self.paths + self.optimizer + self.exchange

    @property
    def training(self) -> float:
        """The training steps of an epoch."""
        return self.steps * self.step

    @property
    def test(self) -> float:
        """The test at its end: costs, and paths that are found but not walked along."""
        return self.tests * self.costs

    @property
    def epoch(self) -> float:
        """All of it."""
        return self.training + self.test


def predicted(settings: Settings, slower: tuple[float, float] = (1.0, 1.0)) -> Seconds:
    """What the instructions of the compiled kernels take.

    Args:
        settings: the sizes.
        slower: how many times longer costs, and what is done along paths, take than that.
    """
    card, step = specs.CARDS[settings.card], settings.step
    of = timings.predicted(step, card, half=settings.path_precision == "float16")
    along = of["path_cost"] + of["path_gradient_class"] + of["short_path"]
    gradients = 2 * _FLOAT * step.classes * step.steps * step.features
    link = settings.link_gb * 1e9 or card.link
    shards = settings.batch_shards
    return Seconds(
        slower[0] * of["weighted_cost"],
        slower[1] * along,
        of["AdamW"],
        # Every byte is sent once to be added and once to be known, in a ring.
        2 * (shards - 1) / shards * gradients / link,
        settings.steps_per_epoch,
        -(-settings.test_videos // settings.batch),
    )


def as_measured(settings: Settings) -> tuple[Seconds, str]:
    """The same as the kernels were measured, and a sentence on where that is from.

    A step of the sizes and on the card that were measured takes what was measured; any other, its
    own prediction and so many times longer as Kinetics-400 took than its own.
    """
    slower = timings.slower_than_predicted(MEASURED_CARD)
    whole = timings.measured("weighted-dtw-grad-k400", MEASURED_CARD)
    assert slower is not None and whole is not None
    card, date = specs.CARDS[MEASURED_CARD].name, timings.MEASURED_ON
    scaled = f"costs {slower[0]:.2f}, along paths {slower[1]:.2f}"
    same = settings.step == timings.Step.of_dejavid("k400") and settings.card == MEASURED_CARD
    if same and settings.path_precision == "float32":
        how = (
            f"costs and gradients of these sizes were measured on one {card}, {date}: "
            f"{whole.following_ms} ms; distances along paths that are fixed for an epoch, which "
            f"those had not, by their prediction times {slower[1]:.2f}"
        )
    else:
        how = (
            f"the prediction, times what Kinetics-400 took on one {card} over its own prediction, "
            f"{date}: {scaled}"
        )
    if settings.card != MEASURED_CARD:
        how += f"; on an {specs.CARDS[settings.card].name} nothing was measured"
    return predicted(settings, slower), how
