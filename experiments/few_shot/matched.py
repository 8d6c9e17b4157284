"""The picture of a classified video: its frames beside those of the nearest labelled ones."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.extract_tse.clips import stills
from experiments.few_shot.models import make_head, mean_distances
from experiments.few_shot.readers import Sample, Shown
from experiments.few_shot.settings import ORDER_BLIND, Settings
from experiments.shared.lettering import label as lettered
from experiments.shared.pictures import Picture
from tempalign import plot
from tempalign.heads import FewShotHead

_MOST = 16  # stills along a side
_NAME_WIDTH = 32
_PATHS = ("diagonal", "dtw", "tam", "tam_symmetric")


class Match(NamedTuple):
    """A query beside one labelled sample of a class.

    Attributes:
        class_name: of the labelled sample.
        distance: to the class, which decides.
        pair: to this sample of it.
        costs: ``[T, T]``, of the query's segments (rows) and the sample's.
        path: ``[T, T]``, the expected alignment in [0, 1]; None where the matching has none.
        support: the sample.
    """

    class_name: str
    distance: float
    pair: float
    costs: np.ndarray
    path: np.ndarray | None
    support: Sample


def match(
    head: FewShotHead,
    settings: Settings,
    method: str,
    query: np.ndarray,
    class_name: str,
    distance: float,
    support: Sequence[Sample],
) -> Match:
    """Returns a query ``[T, F]`` beside the nearest of a class's samples.

    Args:
        head: that was trained.
        settings: of its job.
        method: what it was trained through.
        query: features, as the head is given them.
        class_name: of the class.
        distance: to it.
        support: its samples.
    """
    x, y = (jnp.asarray(one) for one in (query[None], np.stack([s.features for s in support])))
    matching = "mean" if method == ORDER_BLIND else method
    plain = make_head(matching, settings.gamma, settings.boundary)
    costs = plain.frame_costs(head.encode(x), head.encode(y)[None])[0, 0]
    distances, pullback = jax.vjp(plain.match, costs)
    path = None
    if method in _PATHS:
        # The gradient of the score in the local costs is the expected alignment; that of a mean
        # or of both ways added has another scale.
        weights = np.asarray(pullback(jnp.ones_like(distances))[0])
        path = weights / max(float(weights.max()), 1e-9)
    elif method == ORDER_BLIND:
        means = head.means(y)[:, None, None]  # type: ignore[attr-defined]
        each = [mean_distances(head.means(x), one)[0, 0] for one in means]  # type: ignore[attr-defined]
        distances = x.shape[-2] * jnp.stack(each)
    nearest = int(np.argmin(distances))
    return Match(
        class_name,
        distance,
        float(distances[nearest]),
        np.asarray(costs[nearest]),
        None if path is None else path[nearest],
        support[nearest],
    )


def draw_matches(title: str, query: Shown, found: Sequence[Match]) -> tuple[Figure, Picture]:
    """Draws a query's frames down the left, and those of a labelled video of each class on top.

    Args:
        title: what the query is called.
        query: the video, which is decoded once more.
        found: the nearest class, and the second.

    Raises:
        UserError: a video cannot be decoded any more.
    """
    count = len(query.frames)
    size = min(max(0.55 * (count + 2), 4.0), 9.0)
    figure = Figure(figsize=(size * len(found) + 0.6, size + 1.0), layout="constrained")
    figure.suptitle(lettered(title), fontsize=12, weight="bold")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    left = stills(query.path, query.frames.tolist(), query.max_pixels)
    low = min(float(one.costs.min()) for one in found)
    high = max(float(one.costs.max()) for one in found)
    for ax, one, role in zip(axes, found, ("nearest", "second"), strict=False):
        ax.imshow(
            one.costs,
            cmap="Greys",
            vmin=low,
            vmax=max(high, low + 1e-6),
            extent=(0, one.costs.shape[1], count, 0),
        )
        _along(ax, query, left, is_top=False)
        shown = one.support.shown
        if shown is not None:
            top = stills(shown.path, shown.frames.tolist(), shown.max_pixels)
            _along(ax, shown, top, is_top=True)
        if one.path is not None:
            rows, columns = np.nonzero(one.path > 0.02)
            ax.scatter(
                columns + 0.5,
                rows + 0.5,
                s=(150 * (8 / count) ** 2 if count > 8 else 150) * one.path[rows, columns],
                color=plot.PALETTE[1],
                zorder=3,
                linewidths=0,
            )
        ax.set_xlim(-1.55, one.costs.shape[1])
        ax.set_ylim(count, -1.55)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(
            f"{role}: {lettered(one.class_name, _NAME_WIDTH)}\ndistance {one.distance:.3f}, "
            f"to this one {one.pair:.3f}",
            fontsize=10,
        )
    figure.colorbar(axes[0].images[0], ax=list(axes), shrink=0.6, label="cosine distance of frames")
    caption = (
        "The frames of the video (down, each the middle of its segment) and of the nearest "
        "labelled video of each of the two nearest classes (along the top). Darker is a greater "
        "distance of two frames; orange is how they are aligned, larger dots more surely. The "
        "smaller distance wins."
    )
    return figure, Picture("matched.png", "How a video is matched", caption)


def _along(ax: Axes, shown: Shown, pictures: dict[int, np.ndarray], *, is_top: bool) -> None:
    """Draws the frames of a video along a side of the costs, and when they are."""
    count = len(shown.frames)
    step = -(-count // _MOST)
    for place in range(0, count, step):
        picture = pictures[int(shown.frames[place])]
        height, width = picture.shape[:2]
        scale = 0.96 * step / max(height, width)
        high, wide = height * scale, width * scale
        middle = place + step / 2
        x, y = (middle, -0.5 * step) if is_top else (-0.5 * step, middle)
        ax.imshow(
            picture, extent=(x - wide / 2, x + wide / 2, y + high / 2, y - high / 2), zorder=2
        )
        seconds = float(shown.seconds[place])
        text = f"{seconds:.1f} s" if np.isfinite(seconds) else f"{shown.frames[place]}"
        place_x, place_y = (middle, -1.1 * step) if is_top else (-1.05 * step, middle)
        ax.text(
            place_x, place_y, text, fontsize=6,
            ha="center" if is_top else "right", va="bottom" if is_top else "center",
        )  # fmt: skip
