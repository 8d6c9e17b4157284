"""The pictures of a report: what the classifier is shown, accuracy by N, who is taken for whom."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tempalign
from experiments.grids.dataset import VideoDataset
from experiments.grids.settings import Settings
from experiments.grids.training import RunResult, Variant
from experiments.shared.reports import Picture

_DPI = 150


def draw_all(
    folder: Path, dataset: VideoDataset, settings: Settings, results: Sequence[RunResult]
) -> list[Picture]:
    """Draws every picture as PNG; returns them in the order to show them."""
    drawn = [_shown(dataset, settings, results), _accuracy(dataset, results)]
    drawn.append(_confusion(dataset, results))
    for figure, picture in drawn:
        figure.savefig(folder / picture.file, dpi=_DPI)
    return [picture for _, picture in drawn]


def _shown(
    dataset: VideoDataset, settings: Settings, results: Sequence[RunResult]
) -> tuple[Figure, Picture]:
    variants = [v for v in dict.fromkeys(result.variant for result in results) if v.n > 1]
    video = dataset.test.read(0)
    columns = settings.num_frames
    rows = max(len(variants), 1)
    figure = Figure(figsize=(2.2 * columns + 1, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, variant in zip(axes, variants, strict=False):
        grids = tempalign.time_layer(
            video,
            variant.n,
            num_frames=variant.num_frames,
            arrangement=variant.arrangement,
            size=settings.size,
        )
        for t, ax in enumerate(row):
            picture = np.asarray(grids[t])
            ax.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray")
            ax.set_title(f"{variant.name}: grid {t + 1}", fontsize=8)
    for ax in axes.flat:
        ax.set_axis_off()
    label = dataset.class_names[int(dataset.test.labels[0])]
    caption = f"The first test video ({label}) as the classifier sees it."
    return figure, Picture("grids.png", "Grids of frames", caption)


def _accuracy(dataset: VideoDataset, results: Sequence[RunResult]) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    ax = figure.add_subplot()
    names = list(dict.fromkeys(result.variant for result in results))
    for x, variant in enumerate(names):
        values = [100 * result.accuracy for result in results if result.variant == variant]
        ax.bar(x, np.mean(values), color="tab:blue" if variant.n > 1 else "tab:gray", width=0.7)
        ax.plot([x] * len(values), values, "k.", markersize=5)
    chance = 100 / len(dataset.class_names)
    ax.axhline(chance, color="tab:red", linestyle=":", label="guessing")
    ax.set_xticks(range(len(names)), [variant.name for variant in names], rotation=25, ha="right")
    ax.set_ylabel("test accuracy, percent")
    ax.set_ylim(0, 100)
    ax.legend()
    caption = "Mean over seeds; a dot is one seed. Grey: blind to the order of frames."
    return figure, Picture("accuracy.png", "Accuracy by what is shown", caption)


def _confusion(dataset: VideoDataset, results: Sequence[RunResult]) -> tuple[Figure, Picture]:
    chosen = _most_cells(results)
    one = next(result for result in results if result.variant == chosen)
    count = len(dataset.class_names)
    shares = np.zeros((count, count))
    np.add.at(shares, (dataset.test.labels, one.predictions), 1)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=ax, label="share of the true class")
    if count <= 25:
        ax.set_xticks(range(count), dataset.class_names, rotation=45, ha="right")
        ax.set_yticks(range(count), dataset.class_names)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    caption = f"{chosen.name}, seed {one.seed}, after the last epoch."
    return figure, Picture("confusion.png", "Who is taken for whom", caption)


def _most_cells(results: Sequence[RunResult]) -> Variant:
    """The variant with the largest grid: not the one with the best accuracy."""
    return max((result.variant for result in results), key=lambda variant: variant.n)
