"""The pictures of a report: accuracy by matching, by temperature, learning curves, alignments."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.episodes.data import MetaData
from experiments.episodes.models import make_head
from experiments.episodes.results import RunResult, Score, Scores, source_name
from experiments.episodes.sampling import sample_episodes
from experiments.episodes.settings import ORDER_BLIND, Settings
from experiments.shared.reports import Picture
from tempalign import plot
from tempalign.heads import FewShotHead

_DPI = 150
_SEARCHED = 200  # episodes looked through for a query that is right and one that is wrong
_MAX_PANELS = 6


def draw_all(
    folder: Path,
    data: MetaData,
    settings: Settings,
    scores: Scores,
    results: Sequence[RunResult],
) -> list[Picture]:
    """Draws every picture that these results allow, as PNG.

    Args:
        folder: where to.
        data: of the job.
        settings: of the job.
        scores: every evaluation.
        results: every training; alignments are drawn with the first one through tam, whatever its
            accuracy.

    Returns:
        What was drawn, in the order to show it.
    """
    drawn = [_by_matching(settings, scores)]
    if len(settings.gammas) > 1:
        drawn.append(_by_gamma(settings, scores))
    if results:
        drawn.append(_learning_curves(results))
    through_tam = [result for result in results if result.run.through == "tam"]
    drawn.append(_alignments(data, settings, through_tam[0] if through_tam else None))
    for figure, picture in drawn:
        figure.savefig(folder / picture.file, dpi=_DPI)
    return [picture for _, picture in drawn]


def _error(found: Sequence[Score]) -> float:
    """Half the width of an error bar, in percent: the interval, or the spread of seeds if wider."""
    interval = statistics.fmean(score.interval for score in found)
    if len(found) > 1:
        interval = max(interval, statistics.stdev(score.accuracy for score in found))
    return 100 * interval


def _mean(found: Sequence[Score]) -> float:
    return 100 * statistics.fmean(score.accuracy for score in found)


def _by_matching(settings: Settings, scores: Scores) -> tuple[Figure, Picture]:
    sources = scores.sources()
    matchings = (ORDER_BLIND, *settings.matchings)
    columns = len(settings.shots)
    width = 1.5 + 0.42 * len(matchings) * max(len(sources), 2) * 0.8
    figure = Figure(figsize=(min(width, 8) * columns, 4.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    bar = 0.8 / len(sources)
    for ax, shots in zip(axes, settings.shots, strict=True):
        for index, (source, color) in enumerate(zip(sources, plot.PALETTE, strict=False)):
            for place, matching in enumerate(matchings):
                found = scores.find(source, matching, settings.gamma, shots, settings.gamma)
                if found:
                    ax.bar(
                        place + (index - (len(sources) - 1) / 2) * bar,
                        _mean(found),
                        width=bar,
                        color=color,
                        yerr=_error(found),
                        error_kw={"linewidth": 1.0, "capsize": 1.5},
                        label=source_name(source) if place == 0 else None,
                    )
        ax.axhline(100 / settings.way, color="0.35", linestyle=":", linewidth=1.2, label="chance")
        ax.set_xticks(range(len(matchings)), [name.replace("_", "\n") for name in matchings])
        ax.set_title(f"{settings.way}-way {shots}-shot")
        ax.set_axisbelow(True)
        ax.grid(axis="y", alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy (%)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    caption = (
        f"Accuracy over {settings.episodes:,} episodes by matching and features. Bars: the 95 % "
        "interval over episodes, or one standard deviation over seeds where that is wider. "
        "order_blind, min and mean do not see the order of the frames."
    )
    return figure, Picture("matching.png", "Accuracy by matching", caption)


def _by_gamma(settings: Settings, scores: Scores) -> tuple[Figure, Picture]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.add_subplot()
    gammas = sorted(settings.gammas)
    for shots, color in zip(settings.shots, plot.PALETTE, strict=False):
        for source, style in (("", "--"), ("tam", "-")):
            found = [scores.find(source, "tam", gamma, shots, gamma) for gamma in gammas]
            if all(found):
                ax.errorbar(
                    gammas,
                    [_mean(one) for one in found],
                    yerr=[_error(one) for one in found],
                    color=color,
                    linestyle=style,
                    marker="o",
                    markersize=4,
                    capsize=2,
                    label=f"{source_name(source)}, {shots}-shot",
                )
    ax.set_xscale("log")
    ax.set_xticks(gammas, [f"{gamma:g}" for gamma in gammas])
    ax.minorticks_off()
    ax.set(xlabel="gamma, temperature of the soft minimum", ylabel="accuracy (%)")
    ax.grid(alpha=0.3, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    caption = (
        "Accuracy of tam by its temperature (Fig. 5 of the paper); trained encoders are trained "
        "and matched at the same one. Bars as above."
    )
    return figure, Picture("gamma.png", "Accuracy by temperature", caption)


def _learning_curves(results: Sequence[RunResult]) -> tuple[Figure, Picture]:
    validated = "val_accuracy" in results[0].history[0]
    keys = [("loss", "training loss (Eq. 8)", 1.0)]
    keys += [("val_accuracy", "meta-validation accuracy (%)", 100.0)] * validated
    figure = Figure(figsize=(5.2 * len(keys), 4.0), layout="constrained")
    axes = figure.subplots(1, len(keys), squeeze=False)[0]
    names = list(dict.fromkeys((one.run.through, one.run.gamma) for one in results))
    for place, (through, gamma) in enumerate(names):
        group = [one for one in results if (one.run.through, one.run.gamma) == (through, gamma)]
        label = f"{through}, gamma {gamma:g}" if through.startswith("tam") else through
        for ax, (key, _, scale) in zip(axes, keys, strict=True):
            values = scale * np.array([[entry[key] for entry in one.history] for one in group])
            ax.plot(
                range(1, values.shape[1] + 1),
                values.mean(axis=0),
                color=plot.PALETTE[place % len(plot.PALETTE)],
                marker="o" if values.shape[1] == 1 else "",
                label=label,
            )
    for ax, (_, label, _) in zip(axes, keys, strict=True):
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    caption = (
        "Means over seeds after every epoch. Losses of different matchings are on different scales."
    )
    return figure, Picture("learning_curves.png", "Learning curves", caption)


def _alignments(
    data: MetaData, settings: Settings, result: RunResult | None
) -> tuple[Figure, Picture]:
    """A query that is right and one that is wrong, each against one support of every class."""
    model = FewShotHead() if result is None else result.model
    head = make_head("tam", settings.gamma, settings.boundary)
    split = data.test
    query, support = sample_episodes(
        settings.episode_seed,
        jnp.arange(min(_SEARCHED, settings.episodes)),
        split.classes,
        way=settings.way,
        shots=1,
        queries=settings.queries,
    )

    @jax.jit
    def of_episode(query: jax.Array, support: jax.Array) -> tuple[jax.Array, ...]:
        costs = head.frame_costs(model.encode(query), model.encode(support))[:, :, 0]
        distances, pullback = jax.vjp(head.match, costs)
        # The gradient of the score in the local costs is the expected alignment.
        return costs, distances, pullback(jnp.ones_like(distances))[0]

    truth = np.arange(settings.way).repeat(settings.queries)
    chosen: dict[bool, tuple[int, int, list[np.ndarray]]] = {}
    for number, (q, s) in enumerate(zip(np.asarray(query), np.asarray(support), strict=True)):
        found = [np.asarray(one) for one in of_episode(split.features[q], split.features[s])]
        for index, right in enumerate(found[1].argmin(-1) == truth):
            chosen.setdefault(bool(right), (number, index, [one[index] for one in found]))
        if len(chosen) == 2:
            break
    panels = min(settings.way, _MAX_PANELS)
    figure = Figure(figsize=(2.5 * panels + 0.9, 3.1 * len(chosen)), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, right in zip(parts, sorted(chosen, reverse=True), strict=True):
        number, index, (costs, distances, paths) = chosen[right]
        names = [split.class_names[k] for k in split.labels[np.asarray(support)[number, :, 0]]]
        # The true class, then the others, nearest first.
        order = sorted(range(settings.way), key=lambda k: (k != truth[index], distances[k]))
        part.suptitle(
            f"query of class {names[truth[index]]}, taken for "
            f"{names[int(distances.argmin())]}: {'right' if right else 'WRONG'}",
            fontsize=11,
            weight="bold",
        )
        axes = part.subplots(1, panels, squeeze=False)[0]
        for ax, k in zip(axes, order, strict=False):
            plot.alignment(
                costs[k],
                np.clip(paths[k], 0, 1),
                ax=ax,
                title=f"{names[k]}: {distances[k]:.3f}",
                x_label="query (segment)" if ax is axes[0] else "",
                y_label="support (segment)",
                cost_label="cosine distance" if ax is axes[-1] else None,
            )
        for ax in axes:
            ax.images[0].set_clim(costs.min(), costs.max())
            ax.title.set_fontsize(10)
    features = source_name("tam" if result else "")
    caption = (
        f"The first query in the episodes that is classified rightly and the first that is not, "
        f"each against one support of every class, the true class first ({features}). Darker is "
        "a greater cosine distance, orange the expected alignment of tam; above each its distance: "
        "the smallest wins."
    )
    return figure, Picture("alignments.png", "Alignments of queries with their supports", caption)
