"""The pictures of a report: what is shown, accuracy, learning curves, who is taken for whom."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

import tempalign
from experiments.shared import charts
from experiments.shared.lettering import label
from experiments.shared.pictures import Drawing, Picture
from experiments.time_layer.dataset import VideoDataset
from experiments.time_layer.settings import Settings
from experiments.time_layer.training import Groups, Method, RunResult
from tempalign import plot

_MAX_GRIDS = 6  # more of a video are too small to see


def drawings(
    dataset: VideoDataset, settings: Settings, groups: Groups, best: Method | None
) -> list[tuple[str, Drawing]]:
    """Returns every picture of a report, in the order to show them.

    Args:
        dataset: of the runs.
        settings: of the job.
        groups: the results of all seeds by method.
        best: the method to show in detail, with its first seed: picking a seed would flatter.
    """
    found: list[tuple[str, Drawing]] = []
    if any(method.sees_order for method in groups):
        found.append(("grids.png", partial(_grids, dataset, settings, groups)))
    found.append(("accuracy.png", partial(_accuracy, dataset, groups)))
    found.append(("learning_curves.png", partial(_learning_curves, dataset, groups)))
    if best is not None:
        found.append(("confusion.png", partial(_confusion, dataset, groups[best][0])))
    return found


def _grids(dataset: VideoDataset, settings: Settings, groups: Groups) -> tuple[Figure, Picture]:
    methods = [method for method in groups if method.sees_order]
    video = dataset.test.read(0)
    columns = min(settings.num_frames, _MAX_GRIDS)
    shown = np.arange(columns) * settings.num_frames // columns
    figure = Figure(figsize=(2.2 * columns + 1, 2.5 * len(methods)), layout="constrained")
    axes = figure.subplots(len(methods), columns, squeeze=False)
    for row, method in zip(axes, methods, strict=True):
        grids = tempalign.time_layer(
            video,
            method.n,
            num_frames=method.num_frames,
            arrangement=method.arrangement,
            size=settings.size,
        )
        for ax, t in zip(row, shown, strict=True):
            picture = np.asarray(grids[t])
            most = np.iinfo(picture.dtype).max
            grey = {} if picture.shape[-1] == 3 else {"cmap": "gray", "vmin": 0, "vmax": most}
            ax.imshow(picture if not grey else picture[..., 0], **grey)
            for edge in np.arange(1, method.n) * settings.side / method.n - 0.5:
                ax.axhline(edge, color="white", linewidth=1)
                ax.axvline(edge, color="white", linewidth=1)
            ax.set_title(f"{method.name}\ngrid {t + 1} of {settings.num_frames}", fontsize=9)
            ax.set_axis_off()
    name = dataset.class_names[int(dataset.test.labels[0])]
    caption = f"The first test video ({dataset.test.ids[0]}: {name}) as the classifier sees it."
    return figure, Picture("grids.png", "Grids of frames", caption)


def _accuracy(dataset: VideoDataset, groups: Groups) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(max(4.0, 0.8 * len(groups) + 1.2), 4.2), layout="constrained")
    ax = figure.add_subplot()
    for x, (method, runs) in enumerate(groups.items()):
        values = [100 * run.accuracy for run in runs]
        ax.bar(x, np.mean(values), color=plot.PALETTE[0] if method.sees_order else "0.65")
        if len(values) > 1:
            ax.plot([x] * len(values), values, "k.", markersize=5)
    line = ax.axhline(100 / len(dataset.class_names), color="0.15", linestyle="--", linewidth=1.4)
    names = [label(method.name) for method in groups]
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.set(ylabel="test accuracy (%)", ylim=(0, 100))
    charts.tidy(ax)
    ax.xaxis.grid(False)
    charts.legend(figure, {"guessing": line})
    seeds = {run.seed for runs in groups.values() for run in runs}
    dots = "Bars are means over seeds, a dot is one seed. " if len(seeds) > 1 else ""
    caption = f"{dots}Grey: blind to the order of frames."
    return figure, Picture("accuracy.png", "Accuracy by what is shown", caption)


def _learning_curves(dataset: VideoDataset, groups: Groups) -> tuple[Figure, Picture]:
    histories = {
        method.name: [run.trained.history for run in runs] for method, runs in groups.items()
    }
    guessing = {"guessing": 1 / len(dataset.class_names)}
    accuracies = (("val", "Validation"), ("test", "Test"))
    panels = [
        charts.Panel("loss", "Training loss", "cross-entropy"),
        *(
            charts.Panel(f"{key}_accuracy", f"{name} accuracy", "%", 100, references=guessing)
            for key, name in accuracies
        ),
    ]
    caption = "After every epoch. Means over seeds; bands are one sample standard deviation."
    return charts.curves(histories, panels), Picture(
        "learning_curves.png", "Learning curves", caption
    )


def _confusion(dataset: VideoDataset, run: RunResult) -> tuple[Figure, Picture]:
    about = f"{run.method.name}, seed {run.seed}, epoch {run.last['epoch']}"
    figure, errors = charts.confusion(
        dataset.test.labels,
        run.predictions,
        dataset.class_names,
        f"{about} ({100 * run.accuracy:.2f} % right)",
    )
    caption = f"{about}, the first of its seeds: {errors}"
    return figure, Picture("confusion.png", "Who is taken for whom", caption)
