"""The charts that several systems draw: curves, sweeps, confusion. All are made inside a style.

See `experiments.shared.pictures` for the style, and for how a chart becomes a picture of a report.
"""

import itertools
import re
import statistics
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.shared.lettering import dress, label, readable
from experiments.shared.tables import display_width
from tempalign import plot

MAX_NAMED_CLASSES = 25  # more class names than that cannot be read along an axis

_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
_PANEL = (5.2, 3.9)  # inches


def looks(count: int) -> list[dict[str, Any]]:
    """Returns colour, dashes and width of so many lines, which stay apart where they coincide."""
    colors = [color for color in plot.PALETTE if color != "#F0E442"]  # yellow on white
    return [
        {
            "color": colors[index % len(colors)],
            # The first pass and the next ones go through the dashes at another place.
            "linestyle": _DASHES[(index + index // len(colors)) % len(_DASHES)],
            # Each narrower than those before, which it may lie on.
            "linewidth": 1.5 + 0.35 * (min(count, len(colors)) - 1 - index % len(colors)),
        }
        for index in range(count)
    ]


def tidy(ax: Axes, *, whole_numbers: bool = False) -> None:
    """Gives axes with lines or bars a grid and no box.

    Args:
        ax: the axes.
        whole_numbers: whether x counts something, such as epochs.
    """
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    if whole_numbers:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def legend(figure: Figure, handles: Mapping[str, Any], *, max_columns: int = 4) -> None:
    """Puts a legend below the axes, in as many columns as fit; the figure grows by its height.

    Args:
        figure: with layout="constrained".
        handles: by what to call them.
        max_columns: no more than these.
    """
    if not handles:
        return
    for columns in range(min(max_columns, len(handles)), 0, -1):
        made = figure.legend(
            list(handles.values()),
            [label(name) for name in handles],
            loc="outside lower center",
            ncols=columns,
            handlelength=2.8,
        )
        dress(figure)
        size = made.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        if size.width <= 0.98 * figure.bbox.width or columns == 1:
            break
        made.remove()
    # Of names that are too long for one column, the figure grows in width, too.
    width = max(figure.get_figwidth(), 1.03 * size.width / figure.dpi)
    figure.set_size_inches(width, figure.get_figheight() + size.height / figure.dpi)


@dataclass(frozen=True)
class Panel:
    """One axes of curves.

    Attributes:
        key: of the entries of a history; lines whose entries have none there are left out.
        title: above the axes.
        y_label: beside them.
        scale: what values are multiplied by, such as 100 for percent.
        lines: names of the lines to show here; None for all. Losses that are on different scales
            need panels of their own.
        references: horizontal lines by name, such as baselines, values as in the entries. All of
            them are drawn: it is the strongest that a curve must reach.
    """

    key: str
    title: str
    y_label: str
    scale: float = 1.0
    lines: Collection[str] | None = None
    references: Mapping[str, float] | None = None


def curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], panels: Sequence[Panel]
) -> Figure:
    """Draws learning curves: means over seeds, with bands of one sample standard deviation.

    Args:
        histories: by the line's name, one history a seed; an entry has "epoch" and the keys of the
            panels (None or missing where there is nothing to draw).
        panels: from left to right; those that no entry has anything for are left out.

    Raises:
        ValueError: there is nothing to draw.
    """
    entries = [entry for of_seeds in histories.values() for one in of_seeds for entry in one]
    panels = [p for p in panels if any(entry.get(p.key) is not None for entry in entries)]
    if not panels:
        raise ValueError("no epoch has anything to draw")
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    handles: dict[str, Any] = {}
    for ax, panel in itertools.zip_longest(axes, panels):
        if panel is None:
            ax.set_visible(False)
            continue
        for (name, of_seeds), look in zip(histories.items(), looks(len(histories)), strict=True):
            if panel.lines is None or name in panel.lines:
                line = _curve(ax, of_seeds, panel, look)
                handles |= {} if line is None else {name: line}
        handles |= _references(ax, panel.references or {}, panel.scale)
        ax.set(xlabel="epoch", ylabel=panel.y_label, title=panel.title)
        tidy(ax, whole_numbers=True)
    legend(figure, handles)
    return figure


def sweep(
    lines: Mapping[str, Mapping[float, Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    references: Mapping[str, float] | None = None,
    errors: Mapping[str, Mapping[float, float]] | None = None,
) -> Figure:
    """Draws what a swept parameter does: means with error bars.

    Args:
        lines: by name, then by the value of the parameter: one number a seed.
        x_label: names the parameter.
        y_label: what is drawn.
        log: whether the parameter's axis is logarithmic.
        references: horizontal lines by name.
        errors: half the error bars, by name and value; the sample standard deviation over seeds by
            default.
    """
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    ax = figure.add_subplot()
    handles: dict[str, Any] = {}
    for (name, by_value), look in zip(lines.items(), looks(len(lines)), strict=True):
        values = sorted(by_value)
        spread = [
            errors[name][value] if errors else _deviation(by_value[value]) for value in values
        ]
        means = [statistics.fmean(by_value[value]) for value in values]
        handles[name] = ax.errorbar(values, means, spread, marker="o", ms=4.5, capsize=3, **look)
    handles |= _references(ax, references or {}, 1.0)
    if log:
        ax.set_xscale("log")
    ticks = sorted({value for by_value in lines.values() for value in by_value})
    if len(ticks) <= 12:
        ax.set_xticks(ticks, [f"{value:g}" for value in ticks])
        ax.minorticks_off()
    ax.set(xlabel=x_label, ylabel=y_label)
    tidy(ax)
    legend(figure, handles, max_columns=3)
    return figure


def confusion(
    labels: np.ndarray, guesses: np.ndarray, class_names: Sequence[str], title: str
) -> tuple[Figure, str]:
    """Draws who is taken for whom.

    Args:
        labels: int [N], the true classes.
        guesses: int [N].
        class_names: [C].
        title: what guessed: method, seed, accuracy.

    Returns:
        (figure, sentences for the caption: the number of errors and the most frequent).
    """
    count = len(class_names)
    counts = np.zeros((count, count), int)
    np.add.at(counts, (labels, guesses), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = count <= MAX_NAMED_CLASSES
    named = few and readable(class_names)
    names = [label(name, 24) for name in class_names]
    side = min(max(0.45 * count, 2.6), 8.5) if few else 7.0
    room = 0.075 * max(map(display_width, names)) if named else 0.3
    width = side + room + 1.7
    figure = Figure(figsize=(width, side + room + 1.3), layout="constrained")
    # Above the whole figure, for which it is broken into lines: above the axes it might be cut.
    whole = re.sub(r"[ \n\t]+", " ", title).replace(" %", "\N{NO-BREAK SPACE}%")
    title = textwrap.fill(whole, max(20, int(width / 0.095)))
    figure.suptitle(title, fontsize=11)
    ax = figure.add_subplot()
    # The root spreads the small shares: a few errors beside a strong diagonal stay visible.
    image = ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=ax, label="share of the true class", fraction=0.046, pad=0.03)
    if few:
        size = min(9, 30 / len(str(counts.max())))
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.35 else "black"
            ax.text(
                column, row, counts[row, column], color=color, ha="center", va="center", size=size
            )
    if named:
        short = max(map(display_width, names)) <= 3
        turned: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(count), names, **({} if short else turned))
        ax.set_yticks(range(count), names)
    elif few:
        ax.set_xticks(range(count))
        ax.set_yticks(range(count))
    else:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
    unit = "class" if named else "class (number)"
    ax.set(xlabel=f"predicted {unit}", ylabel=f"true {unit}")
    return figure, _about_errors(counts, class_names, few and not named)


def _about_errors(counts: np.ndarray, class_names: Sequence[str], numbered: bool) -> str:
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:5]
    most = [
        f"{class_names[row]} taken for {class_names[column]} ({wrong[row, column]:,})"
        for row, column in zip(*np.unravel_index(pairs, wrong.shape), strict=True)
        if wrong[row, column]
    ]
    errors, total = int(wrong.sum()), int(counts.sum())
    text = f"{errors:,} error{'' if errors == 1 else 's'} in {total:,} test items."
    text += f" Most often: {'; '.join(most)}." if most else ""
    if numbered:
        names = ", ".join(f"{k}: {name}" for k, name in enumerate(class_names))
        text += f" No font here has the characters of all names: the numbers are {names}."
    elif len(counts) > MAX_NAMED_CLASSES:
        text += " Classes are numbered from 0, in the order of report.json."
    return text


def _curve(
    ax: Axes,
    histories: Sequence[Sequence[Mapping[str, Any]]],
    panel: Panel,
    look: Mapping[str, Any],
) -> Artist | None:
    """A mean over seeds and its band; None where no entry has the key."""
    by_epoch: dict[int, list[float]] = {}
    for history in histories:
        for entry in history:
            if entry.get(panel.key) is not None:
                by_epoch.setdefault(entry["epoch"], []).append(panel.scale * entry[panel.key])
    if not by_epoch:
        return None
    epochs = sorted(by_epoch)
    mean = np.array([statistics.fmean(by_epoch[epoch]) for epoch in epochs])
    # A line through one epoch would be invisible.
    marker: dict[str, Any] = {"marker": "o", "markersize": 6} if len(epochs) == 1 else {}
    (line,) = ax.plot(epochs, mean, **look, **marker)
    if len(histories) > 1:
        spread = np.array([_deviation(by_epoch[epoch]) for epoch in epochs])
        if len(epochs) == 1:
            ax.errorbar(epochs, mean, spread, color=look["color"], capsize=4)
        ax.fill_between(
            epochs, mean - spread, mean + spread, color=look["color"], alpha=0.15, linewidth=0
        )
    return line


def _references(ax: Axes, references: Mapping[str, float], scale: float) -> dict[str, Any]:
    """Grey lines, the strongest dark."""
    best = max(references.values(), default=None)
    return {
        name: ax.axhline(
            scale * value,
            color="0.15" if value == best else "0.55",
            linestyle=_DASHES[1 + index % (len(_DASHES) - 1)],
            linewidth=1.4,
        )
        for index, (name, value) in enumerate(references.items())
    }


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
