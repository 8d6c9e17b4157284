"""The pictures of a report: virtual sequences, accuracies, exemplars, curves, confusion, sweeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.seq.report import Results
from experiments.seq.results import RunResult
from experiments.seq_images.dataset import ImageDataset
from experiments.seq_images.episodes import Sampler
from experiments.seq_images.settings import Settings
from experiments.seq_images.training import METRICS
from experiments.seq_images.virtual_sequences import (
    OPERATIONS,
    draw_ends,
    sequence_key,
    virtual_sequences,
)
from experiments.shared import charts
from experiments.shared.lettering import label as safe
from experiments.shared.pictures import Drawing, Picture
from tempalign import heads

_SEQUENCES = 8
_EXEMPLARS = 6


def drawings(
    dataset: ImageDataset, settings: Settings, sampler: Sampler, results: Results
) -> list[tuple[str, Drawing]]:
    """Returns every picture that these results allow, by its file, in the order to show them.

    Args:
        dataset: of the runs.
        settings: of the job.
        sampler: of the first seed.
        results: where one run is drawn it is one of the first seed: picking the best would flatter.
    """
    found: list[tuple[str, Drawing]] = [
        ("virtual_sequences.png", partial(_sequences, dataset, settings)),
        ("accuracy.png", partial(_accuracies, results)),
    ]
    for method in ("seq", "seq_no_smooth"):
        of_method = [run for run in results.groups.get(method, []) if run.seed == settings.seeds[0]]
        if of_method:
            drawing = partial(_exemplars, dataset, settings, sampler, of_method[0], results)
            found.append(("exemplars.png", drawing))
            break
    panels = [
        charts.Panel("cross_entropy", "training", "cross-entropy"),
        *(charts.Panel(key, title, "accuracy (%)", 100) for key, title in METRICS.items()),
    ]
    caption = (
        "Cross-entropy in training (of the original images for the baseline, of the temporal mean "
        "of sequences for the others) and accuracy after every epoch."
    )
    found.append(("learning_curves.png", results.learning_curves(panels, caption)))
    found.append(("confusion.png", partial(_confusion, dataset, results)))
    return [*found, *results.sweeps()]


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
        title = f"{safe(dataset.class_names[label], 40)}: {names}"
        ax.set_title(title, fontsize=8, loc="left", pad=2)
        ax.set(xticks=[], yticks=[])
    caption = (
        "One virtual sequence of the first training image of some classes, with the operations "
        "that were drawn; their strength grows in a straight line from the first frame"
        + (", which is the image as it is." if settings.start == "image" else " to the last.")
    )
    return figure, Picture("virtual_sequences.png", "Virtual sequences", caption)


def _accuracies(results: Results) -> tuple[Figure, Picture]:
    methods = list(results.groups)
    figure = Figure(figsize=(10, 0.55 * len(methods) + 1.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for place, (method, look) in enumerate(
            zip(methods, charts.looks(len(methods)), strict=True)
        ):
            values = 100 * np.array([run.last[metric] for run in results.groups[method]])
            color = look["color"]
            ax.plot(values, np.full(len(values), place), "o", color=color, alpha=0.45, ms=5)
            spread = values.std(ddof=1) if len(values) > 1 else 0
            ax.errorbar(
                values.mean(), place + 0.22, xerr=spread, fmt="s", color=color, capsize=4, ms=5
            )
        ax.set(xlabel="accuracy (%)", title=title)
        charts.tidy(ax)
    axes[0].set_yticks(range(len(methods)), [results.names[method] for method in methods])
    axes[0].invert_yaxis()
    caption = (
        "Dots: the seeds. Squares: their mean, with one sample standard deviation to each side. "
        "The axes do not begin at 0."
    )
    return figure, Picture("accuracy.png", "Accuracy by method", caption)


def _exemplars(
    dataset: ImageDataset,
    settings: Settings,
    sampler: Sampler,
    run: RunResult,
    results: Results,
) -> tuple[Figure, Picture]:
    episode = sampler.draw(0, queries=settings.queries, support=run.variant.num_support)
    num_classes = len(dataset.class_names)
    head = heads.SeqClassifier(len(run.scaling.mean), num_classes, rngs=nnx.Rngs(0))
    head = nnx.merge(nnx.split(head)[0], run.params)
    support = run.scaling.apply(episode.support[:_EXEMPLARS].astype(np.float32))
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
        shown = list(dict.fromkeys([int(label), *strongest.tolist()]))[:3]
        for other, look in zip(shown, charts.looks(len(shown)), strict=True):
            ax.plot(time, exemplar[:, other], label=safe(dataset.class_names[other], 20), **look)
        ax.set_title(safe(dataset.class_names[label], 30), fontsize=9)
        ax.set_ylim(-0.03, 1.03)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(fontsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("frame", fontsize=9)
    figure.supylabel("probability", fontsize=9)
    caption = (
        "Exemplars of some classes (the titles): probabilities over time of the class itself and "
        "of the strongest others, in colours; in grey, the probability of the class in each "
        f"support sequence. {results.names[run.variant.method]}, seed {run.seed}, support of the "
        "first episode, weights after the last epoch."
    )
    return figure, Picture("exemplars.png", "Exemplars", caption)


def _confusion(dataset: ImageDataset, results: Results) -> tuple[Figure, Picture]:
    run = results.groups[results.shown][0]
    guesses = run.tested["images"]
    about = f"{results.names[results.shown]}, seed {run.seed}"
    figure, errors = charts.confusion(
        dataset.test.labels,
        guesses,
        dataset.class_names,
        f"Test images, {about}\n({100 * run.last['image_accuracy']:.2f} % right)",
    )
    return figure, Picture("confusion.png", "Confusion", f"{about}, test images: {errors}")
