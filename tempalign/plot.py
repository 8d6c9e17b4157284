"""Pictures of alignments. Needs matplotlib: ``pip install "tempalign[plot]"``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from tempalign._dtw import Path
from tempalign._engine.arrays import as_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["alignment", "matches"]

# Okabe and Ito (2008): eight colours that stay apart under every common form of colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
PATH_COLOR = "#D55E00"
COST_COLORMAP = "Blues"
SEQUENCE_COLORMAP = "cividis"
MAX_LINES = 8  # one line a feature up to here (and up to the palette's size); an image beyond

_MARGIN_INCHES = 0.7
_GAP_INCHES = 0.08


def alignment(
    cost: jax.typing.ArrayLike,
    alignment: jax.typing.ArrayLike | Path,
    x: jax.typing.ArrayLike | None = None,
    y: jax.typing.ArrayLike | None = None,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    x_label: str = "x (frame)",
    y_label: str = "y (frame)",
    cost_label: str | None = "local cost",
) -> Figure:
    """Draws an alignment over its cost matrix, with the two sequences at the margins.

    A hard alignment (only zeros and ones, as `tempalign.dtw_alignment` returns) is drawn as a
    line through its cells; an expected alignment (as `tempalign.soft_dtw_alignment` returns) is
    laid over the costs, the more opaque the more probable the cell. Costs that are not finite
    (outside a band) are left grey.

    Args:
        cost: `[n, m]`, the local costs; rows are frames of `x`, columns frames of `y`.
        alignment: `[n, m]`, values in `[0, 1]`; or the path of one pair, as `tempalign.dtw_path`
            returns it.
        x: `[n, F]`, drawn at the left margin, or None. Up to eight features are drawn as
            lines, more of them as an image.
        y: `[m, G]`, drawn at the top margin, or None.
        ax: the axes to draw in (a `pyplot` one, say). By default a figure of its own is made,
            which no `pyplot` window holds: show it in a notebook, or use its `savefig`.
        figsize: width and height of that own figure, in inches. Only without `ax`.
        title: text above the picture.
        x_label: what the rows are.
        y_label: what the columns are.
        cost_label: text at the colour bar; None for no colour bar.

    Returns:
        The figure that was drawn in.

    Raises:
        ValueError: an argument has the wrong rank, size or range, or `figsize` came with `ax`.
        ImportError: matplotlib is not installed.
    """
    _need_matplotlib()
    from matplotlib import colormaps, ticker
    from matplotlib.figure import Figure

    cost_np = _matrix("cost", cost)
    if isinstance(alignment, Path):
        path = np.zeros_like(cost_np)
        path[tuple(_pairs(alignment, *cost_np.shape).T)] = 1
    else:
        path = _matrix("alignment", alignment)
    if path.shape != cost_np.shape:
        raise ValueError(
            f"alignment must have the shape of cost, {cost_np.shape}, but has {path.shape}"
        )
    # A little slack: an expected alignment is a gradient, computed in float32.
    if not (np.isfinite(path).all() and path.min() >= -1e-3 and path.max() <= 1 + 1e-3):
        raise ValueError("alignment must have values in [0, 1]: a path or an expected alignment")
    n, m = cost_np.shape
    x_np = None if x is None else _sequence("x", x, n, "rows")
    y_np = None if y is None else _sequence("y", y, m, "columns")
    if ax is not None and figsize is not None:
        raise ValueError("figsize is for a figure of its own; with ax, size ax's figure instead")

    if ax is None:
        size = figsize or _default_size(n, m, x_np is not None, y_np is not None)
        ax = Figure(figsize=size, layout="constrained").add_subplot()
    figure = _figure_of(ax)

    colors = colormaps[COST_COLORMAP].with_extremes(bad="0.8")
    image = ax.imshow(
        np.ma.masked_invalid(cost_np), cmap=colors, aspect="auto", interpolation="nearest"
    )
    _draw_path(ax, path)
    ax.set(xlim=(-0.5, m - 0.5), ylim=(n - 0.5, -0.5))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(
            ticker.MaxNLocator(9, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        )
    ax.set_xlabel(y_label)
    left = ax if x_np is None else _left_margin(ax, x_np)
    left.set_ylabel(x_label)
    top = ax if y_np is None else _top_margin(ax, y_np)
    if title is not None:
        top.set_title(title)
    if cost_label is not None:
        figure.colorbar(image, ax=ax, label=cost_label, fraction=0.05, pad=0.02)
    return figure


def matches(
    x: jax.typing.ArrayLike,
    y: jax.typing.ArrayLike,
    path: Path,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    x_label: str = "x",
    y_label: str = "y",
    max_links: int = 100,
) -> Figure:
    """Draws one series above the other, and lines between the frames that a path aligns.

    Args:
        x: `[n, F]`, drawn above, all features in the same scale.
        y: `[m, G]`, drawn below; only as many frames as are there, so cut off padding.
        path: of this pair, as `tempalign.dtw_path` returns it.
        ax: the axes to draw in; by default a figure of its own is made, see `alignment`.
        figsize: width and height of that own figure, in inches. Only without `ax`.
        title: text above the picture.
        x_label: what is drawn above.
        y_label: what is drawn below.
        max_links: of more aligned pairs than these, as many, evenly chosen, are shown.

    Returns:
        The figure that was drawn in.

    Raises:
        ValueError: an argument has the wrong rank or size, a path leaves the series, or `figsize`
            came with `ax`.
        TypeError: `path` is not a path.
        ImportError: matplotlib is not installed.
    """
    _need_matplotlib()
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    if not isinstance(path, Path):
        raise TypeError(f"path must be what tempalign.dtw_path returns, got {type(path).__name__}")
    upper, lower = (_sequence(name, one, None, "") for name, one in (("x", x), ("y", y)))
    pairs = _pairs(path, len(upper), len(lower))
    if max_links < 1:
        raise ValueError(f"max_links must be at least 1, got {max_links}")
    if ax is not None and figsize is not None:
        raise ValueError("figsize is for a figure of its own; with ax, size ax's figure instead")
    if ax is None:
        ax = Figure(figsize=figsize or (6.4, 3.6), layout="constrained").add_subplot()
    figure = _figure_of(ax)

    # The upper series stands clear of the lower one by a fifth of their height.
    heights = [np.nanmax(one) - np.nanmin(one) for one in (upper, lower)]
    gap = 0.2 * (sum(heights) or 1.0)
    lift = np.nanmax(lower) + gap - np.nanmin(upper)
    for one, up in ((upper, lift), (lower, 0.0)):
        frames = np.arange(len(one))
        for k, feature in enumerate(one.T):
            color = PALETTE[k % len(PALETTE)]
            ax.plot(frames, feature + up, color=color, linewidth=1.2, **_dot_if_single(len(one)))
    chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, max_links).round().astype(int))]
    # From the lowest line of the upper series to the highest of the lower one.
    tops = np.nanmin(upper, axis=1)[chosen[:, 0]] + lift
    bottoms = np.nanmax(lower, axis=1)[chosen[:, 1]]
    links = np.stack([np.stack([chosen[:, 0], tops], -1), np.stack([chosen[:, 1], bottoms], -1)], 1)
    ax.add_collection(LineCollection(list(links), colors="0.6", linewidths=0.7, zorder=0))
    ax.set_yticks([np.nanmean(upper) + lift, np.nanmean(lower)], [x_label, y_label])
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("frame")
    ax.margins(x=0.01)
    if title is not None:
        ax.set_title(title)
    return figure


def _need_matplotlib() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'tempalign.plot needs matplotlib, which is not installed: pip install "tempalign[plot]"'
        ) from error


def _pairs(path: Path, n: int, m: int) -> np.ndarray:
    """The pairs ``[k, 2]`` of one path."""
    pairs, count = np.asarray(path.pairs), np.asarray(path.num_pairs)
    if pairs.ndim != 2 or count.ndim != 0:
        raise ValueError(
            f"path must be that of one pair, pairs [n + m - 1, 2], but has {pairs.shape}; take one "
            "of a batch: tempalign.Path(path.pairs[0], path.num_pairs[0])"
        )
    found = pairs[: int(count)]
    if not len(found) or np.any(found < 0) or np.any(found >= (n, m)):
        raise ValueError(f"path must have pairs within {n} and {m} frames, but does not")
    return found


def _figure_of(ax: Axes) -> Figure:
    """The whole figure, also where `ax` lies in a subfigure of it."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax must belong to a figure, but was removed from its own")
    return figure


def _matrix(name: str, value: jax.typing.ArrayLike) -> np.ndarray:
    array = as_numpy(value, name).astype(np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be a matrix [n, m] that is not empty, but has {array.shape}")
    return array


def _sequence(name: str, value: jax.typing.ArrayLike, length: int | None, what: str) -> np.ndarray:
    array = as_numpy(value, name).astype(np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name} must be a sequence [frames, features], but has {array.shape}")
    if length is not None and array.shape[0] != length:
        raise ValueError(
            f"{name} must have as many frames as cost has {what}, {length}, "
            f"but has {array.shape[0]}"
        )
    return array


def _default_size(n: int, m: int, left: bool, top: bool) -> tuple[float, float]:
    """Cells are about as wide as high, as far as a picture of 3 x 1.8 to 6 x 4 inches allows."""
    scale = min(6.0 / m, 4.0 / n)
    margin = _MARGIN_INCHES + _GAP_INCHES
    width = min(max(m * scale, 3.0), 6.0) + margin * left
    height = min(max(n * scale, 1.8), 4.0) + margin * top
    return width + 1.6, height + 0.9


def _draw_path(ax: Axes, path: np.ndarray) -> None:
    if np.isin(path, (0.0, 1.0)).all():
        rows, columns = np.nonzero(path)
        order = np.lexsort((rows, rows + columns))  # along the anti-diagonals, as time runs
        ax.plot(
            columns[order],
            rows[order],
            color=PATH_COLOR,
            linewidth=2,
            marker="o",
            markersize=_marker_size(path.shape),
            solid_capstyle="round",
            clip_on=False,
        )
        return
    from matplotlib.colors import to_rgb

    overlay = np.empty((*path.shape, 4))
    overlay[..., :3] = to_rgb(PATH_COLOR)
    overlay[..., 3] = np.sqrt(np.clip(path, 0.0, 1.0))  # the root keeps thin tails visible
    ax.imshow(overlay, aspect="auto", interpolation="nearest")


def _marker_size(shape: tuple[int, ...]) -> float:
    """Dots shrink, and then go, as cells get small."""
    size = max(shape)
    return 5.0 if size <= 24 else 3.5 if size <= 64 else 0.0


def _left_margin(ax: Axes, x: np.ndarray) -> Axes:
    """The row sequence, time running down beside the rows."""
    from matplotlib.transforms import BboxTransformTo, ScaledTranslation, blended_transform_factory

    inches = _figure_of(ax).dpi_scale_trans + ScaledTranslation(0, 0, BboxTransformTo(ax.bbox))
    bounds = (-_MARGIN_INCHES - _GAP_INCHES, 0.0, _MARGIN_INCHES, 1.0)
    margin = ax.inset_axes(
        bounds, transform=blended_transform_factory(inches, ax.transAxes), sharey=ax
    )
    frames = np.arange(len(x))
    if x.shape[1] <= MAX_LINES:
        for feature, color in zip(x.T, PALETTE, strict=False):
            margin.plot(feature, frames, color=color, linewidth=1.2, **_dot_if_single(len(x)))
    else:
        _draw_image(margin, x, extent=(0, x.shape[1], len(x) - 0.5, -0.5))
    margin.set_xticks([])
    ax.tick_params(axis="y", labelleft=False, left=False)
    return margin


def _top_margin(ax: Axes, y: np.ndarray) -> Axes:
    """The column sequence, time running right above the columns."""
    from matplotlib.transforms import BboxTransformTo, ScaledTranslation, blended_transform_factory

    inches = _figure_of(ax).dpi_scale_trans + ScaledTranslation(0, 1, BboxTransformTo(ax.bbox))
    bounds = (0.0, _GAP_INCHES, 1.0, _MARGIN_INCHES)
    margin = ax.inset_axes(
        bounds, transform=blended_transform_factory(ax.transAxes, inches), sharex=ax
    )
    frames = np.arange(len(y))
    if y.shape[1] <= MAX_LINES:
        for feature, color in zip(y.T, PALETTE, strict=False):
            margin.plot(frames, feature, color=color, linewidth=1.2, **_dot_if_single(len(y)))
    else:
        _draw_image(margin, y.T, extent=(-0.5, len(y) - 0.5, y.shape[1], 0))
    margin.set_yticks([])
    margin.tick_params(axis="x", labelbottom=False, bottom=False)
    return margin


def _dot_if_single(length: int) -> dict[str, Any]:
    """A line through one frame would be invisible."""
    return {"marker": "o", "markersize": 3} if length == 1 else {}


def _draw_image(ax: Axes, image: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """Colours span the middle 98 % of the values: one outlier must not wash out the rest."""
    low, high = np.nanpercentile(np.where(np.isfinite(image), image, np.nan), (1, 99))
    ax.imshow(
        np.ma.masked_invalid(image),
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap=SEQUENCE_COLORMAP,
        vmin=low,
        vmax=max(high, low + 1e-12),
    )
