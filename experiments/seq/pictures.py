"""The pictures of a report: virtual sequences, accuracies, exemplars, learning curves, sweeps."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.seq.dataset import ImageDataset
from experiments.seq.episodes import Sampler
from experiments.seq.results import NAMES, RunResult
from experiments.seq.settings import SWEEPS, Settings
from experiments.seq.steps import Scaling
from experiments.seq.virtual_sequences import (
    OPERATIONS,
    draw_ends,
    sequence_key,
    virtual_sequences,
)
from experiments.shared.reports import Picture
from tempalign import heads, plot

_DPI = 130
_SEQUENCES = 8
_EXEMPLARS = 6
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)))
_METRICS = {"image_accuracy": "test images", "sequence_accuracy": "virtual test sequences"}


def draw_all(
    folder: Path,
    dataset: ImageDataset,
    settings: Settings,
    sampler: Sampler,
    runs: Sequence[RunResult],
) -> list[Picture]:
    """Draws every picture that these results allow, as PNG.

    Args:
        folder: where to.
        dataset: of the runs.
        settings: of the job.
        sampler: of the first seed.
        runs: of the first seed, where one run is drawn: picking the best would flatter.

    Returns:
        What was drawn, in the order to show it.
    """
    main = [run for run in runs if not run.variant.swept]
    drawn = [_sequences(dataset, settings), _accuracies(main)]
    aligned = [run for run in main if run.variant.method in ("seq", "seq_no_smooth")]
    if aligned:
        drawn.append(_exemplars(dataset, settings, sampler, aligned[0]))
    drawn.append(_learning(main))
    drawn += [
        _sweep(runs, name) for name in SWEEPS if any(run.variant.swept == name for run in runs)
    ]
    for figure, picture in drawn:
        figure.savefig(folder / picture.file, dpi=_DPI)
    return [picture for _, picture in drawn]


def _sequences(dataset: ImageDataset, settings: Settings) -> tuple[Figure, Picture]:
    train, count = dataset.train, len(dataset.class_names)
    labels = np.linspace(0, count - 1, min(_SEQUENCES, count)).round().astype(int)
    rows = np.array([np.flatnonzero(train.labels == label)[0] for label in labels])
    frames = virtual_sequences(
        jnp.asarray(train.images[rows], jnp.float32) / 255,
        jnp.asarray(rows),
        settings.augment_seed,
        tau=settings.tau,
        start=settings.start,
        border=settings.border,
    )
    strips = np.asarray(frames[:, 0])
    figure = Figure(
        figsize=(1.1 * settings.tau + 1.6, 1.25 * len(rows) + 0.2), layout="constrained"
    )
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, row, label, strip in zip(axes, rows, labels, strips, strict=True):
        ax.imshow(np.clip(np.concatenate(list(strip), axis=1), 0, 1), interpolation="nearest")
        for t in range(1, settings.tau):
            ax.axvline(t * strip.shape[2] - 0.5, color="white", linewidth=1)
        key = sequence_key(settings.augment_seed, row, 0)
        chosen = np.asarray(draw_ends(key, start=settings.start)[2])
        names = ", ".join(name for name, on in zip(OPERATIONS, chosen, strict=True) if on)
        ax.set_title(f"{dataset.class_names[label]}: {names}", fontsize=8, loc="left", pad=2)
        ax.set(xticks=[], yticks=[])
    caption = (
        "One virtual sequence of the first training image of some classes, with the operations "
        "that were drawn; their strength grows in a straight line from the first frame"
        + (", which is the image as it is." if settings.start == "image" else " to the last.")
    )
    return figure, Picture("virtual_sequences.png", "Virtual sequences", caption)


def _accuracies(runs: Sequence[RunResult]) -> tuple[Figure, Picture]:
    methods = list(dict.fromkeys(run.variant.method for run in runs))
    figure = Figure(figsize=(10, 0.55 * len(methods) + 1.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (metric, title) in zip(axes, _METRICS.items(), strict=True):
        for place, (method, color) in enumerate(zip(methods, plot.PALETTE, strict=False)):
            values = 100 * np.array([r.last[metric] for r in runs if r.variant.method == method])
            ax.plot(values, np.full(len(values), place), "o", color=color, alpha=0.45, ms=5)
            spread = values.std(ddof=1) if len(values) > 1 else 0
            ax.errorbar(
                values.mean(), place + 0.22, xerr=spread, fmt="s", color=color, capsize=4, ms=5
            )
        ax.set(xlabel="accuracy (%)", title=title)
        ax.grid(axis="x", alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(methods)), [NAMES[method] for method in methods])
    axes[0].invert_yaxis()
    caption = (
        "Dots: the seeds. Squares: their mean, with one sample standard deviation to each side. "
        "The axes do not begin at 0."
    )
    return figure, Picture("accuracy.png", "Accuracy by method", caption)


def _exemplars(
    dataset: ImageDataset, settings: Settings, sampler: Sampler, run: RunResult
) -> tuple[Figure, Picture]:
    episode = sampler.draw(0, queries=settings.queries, support=run.variant.num_support)
    num_classes = len(dataset.class_names)
    head = heads.SeqClassifier(len(run.mean), num_classes, rngs=nnx.Rngs(0))
    head = nnx.merge(nnx.split(head)[0], run.params)
    support = Scaling(run.mean, run.std).apply(episode.support[:_EXEMPLARS])
    exemplars = np.asarray(
        head.exemplars(support, gamma=run.variant.gamma, num_iters=settings.exemplar_iterations)
    )
    single = np.asarray(jax.nn.softmax(head(support)))
    columns = min(3, len(exemplars))
    rows = -(-len(exemplars) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.5 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    time = np.arange(1, settings.tau + 1)
    for ax in axes[len(exemplars) :]:
        ax.set_visible(False)
    for ax, label, exemplar, sequences in zip(
        axes, episode.classes[:_EXEMPLARS], exemplars, single, strict=False
    ):
        for sequence in sequences:
            ax.plot(time, sequence[:, label], color="0.75", linewidth=0.9)
        strongest = np.argsort(-exemplar.mean(axis=0), kind="stable")[:3]
        shown = dict.fromkeys([int(label), *strongest.tolist()])
        for other, color, style in zip(list(shown)[:3], plot.PALETTE, _STYLES, strict=False):
            ax.plot(
                time,
                exemplar[:, other],
                color=color,
                linestyle=style,
                label=dataset.class_names[other],
            )
        ax.set_title(dataset.class_names[label], fontsize=9)
        ax.set_ylim(-0.03, 1.03)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(fontsize=7, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("frame", fontsize=9)
    figure.supylabel("probability", fontsize=9)
    caption = (
        "Exemplars of some classes (the titles): probabilities over time of the class itself and "
        "of the strongest others, in colours; in grey, the probability of the class in each "
        f"support sequence. {NAMES[run.variant.method]}, seed {run.seed}, support of the first "
        "episode, weights after the last epoch."
    )
    return figure, Picture("exemplars.png", "Exemplars", caption)


def _learning(runs: Sequence[RunResult]) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3)
    methods = list(dict.fromkeys(run.variant.method for run in runs))
    curves = {"cross_entropy": 1, **dict.fromkeys(_METRICS, 100)}
    for method, color, style in zip(methods, plot.PALETTE, _STYLES, strict=False):
        histories = [run.history for run in runs if run.variant.method == method]
        epochs = [entry["epoch"] for entry in histories[0]]
        for ax, (key, scale) in zip(axes, curves.items(), strict=True):
            values = scale * np.array([[entry[key] for entry in h] for h in histories])
            mean = values.mean(axis=0)
            marker = "o" if len(epochs) == 1 else None
            ax.plot(epochs, mean, color=color, linestyle=style, marker=marker, label=NAMES[method])
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                ax.fill_between(
                    epochs, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0
                )
    axes[0].set(ylabel="cross-entropy", title="training")
    for ax, title in zip(axes[1:], _METRICS.values(), strict=True):
        ax.set(ylabel="accuracy (%)", title=title)
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    caption = (
        "Cross-entropy in training (of the original images for the baseline, of the temporal mean "
        "of sequences for the others) and accuracy after every epoch; bands are one sample "
        "standard deviation over seeds."
    )
    return figure, Picture("learning_curves.png", "Learning curves", caption)


def _sweep(runs: Sequence[RunResult], name: str) -> tuple[Figure, Picture]:
    of_seq = [r for r in runs if r.variant.method == "seq" and r.variant.swept in ("", name)]
    values = sorted({getattr(run.variant, name) for run in of_seq})
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    ax = figure.subplots()
    for (metric, title), color, style in zip(_METRICS.items(), plot.PALETTE, _STYLES, strict=False):
        groups = [
            100 * np.array([r.last[metric] for r in of_seq if getattr(r.variant, name) == value])
            for value in values
        ]
        spread = [group.std(ddof=1) if len(group) > 1 else 0 for group in groups]
        means = [group.mean() for group in groups]
        ax.errorbar(
            values, means, yerr=spread, color=color, linestyle=style, marker="o", capsize=3,
            label=title,
        )  # fmt: skip
        plain = [r.last[metric] for r in runs if r.variant.method == "trajectory"]
        if plain:
            ax.axhline(100 * np.mean(plain), color=color, linestyle=":", linewidth=1, alpha=0.7)
    if name != "num_support":
        ax.set_xscale("log")
    ax.set(xlabel="N" if name == "num_support" else name, ylabel="accuracy (%)")
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    caption = (
        f"SEQ by {name}, mean and one sample standard deviation over seeds. Thin dotted lines: "
        "+ feature trajectory. The axis does not begin at 0."
    )
    return figure, Picture(f"sweep_{name}.png", f"Sweep of {name}", caption)
