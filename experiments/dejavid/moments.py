"""The picture of a classified video: which of its moments each step of a centroid found."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments.dejavid.pictures import digits, path_through, weighted_cost
from experiments.extract_tse.clips import Clip, stills
from experiments.shared.lettering import label as lettered
from experiments.shared.pictures import Picture
from experiments.tse.batches import padded_length
from tempalign import plot

_COLUMNS = 8  # steps beside each other; more go on below
_NAME_WIDTH = 40


class Moment(NamedTuple):
    """What one step of a centroid found in a video.

    Attributes:
        frame: the number of the frame in the middle.
        seconds: its time, since the first frame.
        begin: the time of the first frame of all windows that the path aligned to the step.
        end: of the last.
        cost: what the step adds to the distance.
    """

    frame: int
    seconds: float
    begin: float
    end: float
    cost: float


def moments(
    clip: Clip,
    x: np.ndarray,
    centroid: np.ndarray,
    weight: np.ndarray,
    *,
    diagonal: bool,
) -> list[Moment]:
    """Returns what each step of a centroid found, along the warping path.

    Args:
        clip: the video.
        x: float32 ``[T, F]``, its rows as the centroid has them (scaled).
        centroid: ``[T_c, F]``.
        weight: ``[T_c, F]``.
        diagonal: whether the path may move diagonally.
    """
    cost = weighted_cost(x, centroid, weight)
    # Padded, so that videos of about one length are compiled once.
    padded = np.pad(cost, ((0, 0), (0, padded_length(len(x)) - len(x))))
    path = np.asarray(path_through(padded, len(x), diagonal))[:, : len(x)]
    found = []
    for on_path, costs in zip(path > 0, cost, strict=True):
        rows = np.flatnonzero(on_path)
        middle = rows[len(rows) // 2]
        found.append(
            Moment(
                int(clip.middles[middle]),
                float(clip.seconds[middle, 1]),
                float(clip.seconds[rows[0], 0]),
                float(clip.seconds[rows[-1], 2]),
                float(costs[rows].sum()),
            )
        )
    return found


def draw_moments(
    title: str,
    clip: Clip,
    names: Sequence[str],
    found: Sequence[Sequence[Moment]],
    max_pixels: int,
) -> tuple[Figure, Picture]:
    """Draws the frames that the steps found, a row for each class, and when they are.

    Args:
        title: what the video is called.
        clip: the video, which is decoded once more.
        names: of the classes, the predicted one first.
        found: the moments of each class, `T_c` of them.
        max_pixels: see `experiments.extract_tse.clips.stills`.

    Raises:
        UserError: the video cannot be decoded any more.
    """
    pictures = stills(clip.path, [one.frame for row in found for one in row], max_pixels)
    height, width = next(iter(pictures.values())).shape[:2]
    steps = len(found[0])
    columns = min(steps, _COLUMNS)
    lines = -(-steps // columns)
    side = 1.7
    tall = side * min(max(height / width, 0.5), 1.8) + 0.75
    figure = Figure(
        figsize=(max(side * columns, 5.0) + 0.4, (tall * lines + 0.3) * len(found) + 1.7),
        layout="constrained",
    )
    figure.suptitle(lettered(title), fontsize=12, weight="bold")
    heights = [*([tall * lines + 0.3] * len(found)), 1.3]
    *rows, last = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    roles = ("predicted", "runner-up")
    for sub, role, name, row in zip(rows, roles, names, found, strict=False):
        total = sum(one.cost for one in row)
        sub.suptitle(
            f"{role}: {lettered(name, _NAME_WIDTH)}, distance {digits(total)}", fontsize=11
        )
        axes = sub.subplots(lines, columns, squeeze=False).ravel()
        for number, ax in enumerate(axes):
            if number >= steps:
                ax.set_visible(False)
                continue
            one = row[number]
            ax.imshow(pictures[one.frame])
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"step {number + 1}: {one.seconds:.2f} s", fontsize=9)
            span = f"{one.begin:.2f} to {one.end:.2f} s"
            ax.set_xlabel(f"{span}\ncost {digits(one.cost)}", fontsize=8)
    _draw_times(last.subplots(), clip, roles, found)
    caption = (
        "Which moments of the video each step of a centroid found: the frame in the middle of the "
        "windows that the warping path aligned to the step, the time from the first to the last "
        "frame of those windows, and what they add to the distance. The smaller distance wins."
    )
    return figure, Picture("moments.png", "Moments", caption)


def _draw_times(ax, clip: Clip, roles: Sequence[str], found: Sequence[Sequence[Moment]]) -> None:
    """When in the video the frames above are; lines between classes join the same step."""
    times = np.array([[one.seconds for one in row] for row in found])
    levels = -np.arange(len(found))
    ax.plot(times, levels, color="0.7", linewidth=0.8, zorder=1)
    for level, row, color in zip(levels, times, plot.PALETTE, strict=False):
        ax.plot(row, np.full(len(row), level), "o", color=color, markersize=5)
    ax.set_yticks(levels, roles[: len(found)])
    ax.set_ylim(levels[-1] - 0.5, 0.5)
    end = max(float(clip.seconds[:, 2].max()), 1e-3)
    ax.set_xlim(-0.01 * end, 1.01 * end)
    ax.set_xlabel("seconds from the beginning of the video")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(True, axis="x")
