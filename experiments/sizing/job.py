"""The script: three tables of a training that is not run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from experiments.shared import command
from experiments.shared.tables import Table
from experiments.sizing import memory, seconds
from experiments.sizing.settings import Settings
from tempalign.kernels.gpu import specs

_HEADER = 128  # bytes of a .npy file before its numbers


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Says what a training needs and exits, see `experiments.shared.command`."""
    command.main(description, Settings, run, argv, go_on="the same command")


def run(settings: Settings) -> str:
    """Returns the tables."""
    return "\n\n".join([_what(settings), _memory(settings), _time(settings), _reading(settings)])


def _what(settings: Settings) -> str:
    step, card = settings.step, specs.CARDS[settings.card]
    return (
        f"DejaVid: {settings.videos:,} training videos of {settings.frames} frames with "
        f"{settings.features:,} features, {settings.classes:,} classes of {settings.steps} steps; "
        f"{settings.batch:,} videos a step.\n"
        f"{settings.devices} x {card.name}, each with {step.videos:,} videos of a step and the "
        f"centroids of {step.classes:,} classes."
    )


def _memory(settings: Settings) -> str:
    parts = memory.of_training(settings)
    total = sum(parts.values())
    card = specs.CARDS[settings.card]
    rows = [*_bytes(parts), *_bytes({"together": total})]
    share = f"{100 * total / card.memory:.1f} % of the card's {size(card.memory)}"
    fits = "fits" if total <= card.memory else "does not fit: give a smaller --batch or more cards"
    once = memory.of_first_centroids(settings)
    return "\n".join(
        [
            Table(("memory of a device", ""), tuple(rows)).to_text(),
            f"That is {share}: it {fits}.",
            f"Before training the samples of the first centroids take at least {size(once)}, in "
            f"the host and on a device ({settings.dba_samples} a class, --dba_samples).",
        ]
    )


def _time(settings: Settings) -> str:
    least = seconds.predicted(settings)
    expected, how = seconds.as_measured(settings)
    both = (least, expected)

    def row(name: str, values: Iterable[float], scale: float = 1e3) -> tuple[str, str, str]:
        one, other = (f"{scale * value:.4g}" for value in values)
        return name, one, other

    rows = [
        row("a step, ms: costs", (of.costs for of in both)),
        row("a step, ms: along paths", (of.paths for of in both)),
        row("a step, ms: AdamW", (of.optimizer for of in both)),
        row("a step, ms: sum of gradients", (of.exchange for of in both)),
        row("a step, ms", (of.step for of in both)),
        row(f"training of an epoch, s ({least.steps:,} steps)", (of.training for of in both), 1),
    ]
    if settings.test_videos:
        rows.append(row(f"its test, s ({least.tests:,} steps)", (of.test for of in both), 1))
    hours = (settings.epochs * of.epoch / 3600 for of in both)
    rows.append(row(f"{settings.epochs} epochs, hours", hours, 1))
    return "\n".join(
        [
            Table(("seconds of the devices", "predicted", "expected"), tuple(rows)).to_text(),
            "predicted: from instruction counts of the compiled kernels, at full clock; the least "
            "that this code can take.",
            f"expected: {how}.",
            "AdamW and the sum of gradients: from the bandwidth of memory and links, in both. Not "
            "counted: starts of kernels (a step of less than about 0.2 ms is all starts), reading, "
            "reports.",
        ]
    )


def _reading(settings: Settings) -> str:
    rates = [
        settings.videos / of.training / settings.num_processes
        for of in (seconds.predicted(settings), seconds.as_measured(settings)[0])
    ]
    ahead = 2 * settings.num_threads * settings.batch // settings.num_processes
    record, checkpoint = settings.record_bytes, memory.of_checkpoint(settings)
    videos = settings.videos + settings.test_videos
    rows = [
        ("records/s, of each process", *(f"{rate:,.0f}" for rate in rates)),
        ("GB/s, of each process", *(f"{rate * record / 1e9:.3g}" for rate in rates)),
    ]
    stored = {
        f"{videos:,} videos on disk": videos * (record + _HEADER),
        "one video": record,
        "batches read ahead, in the memory of each process": ahead * record,
        "one checkpoint": checkpoint,
        f"those of a run ({settings.keep_checkpoints} and a new one)": checkpoint
        * (settings.keep_checkpoints + 1),
    }
    columns = ("reading that keeps up", "predicted", "expected")
    return "\n\n".join(
        [
            Table(columns, tuple(rows)).to_text(),
            Table(("sizes", ""), tuple(_bytes(stored))).to_text(),
        ]
    )


def size(count: float) -> str:
    """Returns a number of bytes as the tables show it, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.4g} {unit}"


def _bytes(parts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, size(count)) for name, count in parts.items()]
