"""The one picture: what a segment is, and how many each method got right in each recording."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from experiments.arrow_of_time.folds import Item
from experiments.arrow_of_time.results import CHANCE, Method
from experiments.arrow_of_time.segments import DIRECTIONS
from experiments.shared.charts import legend, looks, tidy
from experiments.shared.comparison import Comparison
from experiments.shared.lettering import label
from experiments.shared.pictures import Picture
from experiments.vision.video import read_video

_SHOWN = 6  # frames of each example
_HEIGHT = 96  # of a frame in the strip, in pixels
_LARGEST = 220  # of a dot's area


def draw(
    items: Sequence[Item],
    methods: Sequence[Method],
    recordings: np.ndarray,
    compared: Mapping[str, Comparison],
) -> tuple[Figure, Picture]:
    """Draws one segment of each recording, and all accuracies.

    Args:
        items: both directions of all segments.
        methods: in the order to show them.
        recordings: ``[N]``, that of each item.
        compared: intervals of the methods that see the order.
    """
    names = [str(name) for name in np.unique(recordings)]
    figure = Figure(figsize=(11, 1.6 + 0.62 * max(len(methods), len(names))), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25), squeeze=False)[0]
    _strips(left, items, names)
    handles = _accuracies(right.add_subplot(), methods, recordings, names, compared)
    legend(figure, handles, max_columns=5)
    return figure, Picture(
        "",
        "What is told forward from reversed, and how often rightly",
        f"Left: {_SHOWN} frames of one segment of each recording, forward; the other class is the "
        "same from right to left. Right: a dot a recording, its area the number of segments; bars "
        "are the accuracy on all, with the 95 % interval when other recordings are drawn.",
    )


def _strips(figure: FigureBase, items: Sequence[Item], names: Sequence[str]) -> None:
    axes = np.atleast_1d(figure.subplots(len(names), 1))
    for ax, name in zip(axes, names, strict=True):
        of_recording = [
            item.segment
            for item in items
            if item.segment.recording == name and item.direction == DIRECTIONS[0]
        ]
        segment = of_recording[len(of_recording) // 2]
        frames = read_video(segment.shot, max_frames=segment.first + segment.count)
        places = segment.first + np.linspace(0, segment.count - 1, _SHOWN).astype(int)
        ax.imshow(np.concatenate([_square(frames[place]) for place in places], axis=1))
        ax.set_ylabel(label(name, 14), rotation=0, ha="right", va="center")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)


def _square(picture: np.ndarray) -> np.ndarray:
    """The middle of a frame, as encoders that crop see it, and a white edge."""
    side = min(picture.shape[:2])
    top, start = ((whole - side) // 2 for whole in picture.shape[:2])
    places = np.arange(_HEIGHT) * side // _HEIGHT
    small = picture[top : top + side, start : start + side][places][:, places]
    return np.pad(small, ((0, 0), (0, 4), (0, 0)), constant_values=255)


def _accuracies(
    ax: Axes,
    methods: Sequence[Method],
    recordings: np.ndarray,
    names: Sequence[str],
    compared: Mapping[str, Comparison],
) -> dict[str, object]:
    sizes = np.array([(recordings == name).sum() for name in names])
    handles: dict[str, object] = {}
    for name, size, look in zip(names, sizes, looks(len(names)), strict=True):
        of_recording = recordings == name
        values = [100 * method.right[:, of_recording].mean() for method in methods]
        handles[name] = ax.scatter(
            values,
            np.arange(len(methods)),
            s=_LARGEST * size / sizes.max(),
            color=look["color"],
            alpha=0.55,
            linewidths=0,
        )
    for place, method in enumerate(methods):
        mean = 100 * method.right.mean()
        ax.plot([mean, mean], [place - 0.33, place + 0.33], color="black", linewidth=2.2)
        one = compared.get(method.name)
        if one is not None and one.over_units is not None:
            ends = [100 * (CHANCE + end) for end in one.over_units]
            ax.plot(ends, [place, place], color="black", linewidth=1.2)
    ax.axvline(100 * CHANCE, color="0.4", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(methods)), [label(method.name, 40) for method in methods])
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("accuracy, % (50 is chance)")
    tidy(ax)
    return handles
