"""The pictures of a report: accuracy by matching, by temperature, learning curves, alignments."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.few_shot.data import Meta
from experiments.few_shot.models import make_head
from experiments.few_shot.results import RunResult, Score, Scores, mean, source_name
from experiments.few_shot.sampling import sample_episodes
from experiments.few_shot.settings import ORDER_BLIND, Settings
from experiments.shared.charts import Panel, confusion, curves, legend, looks, sweep, tidy
from experiments.shared.lettering import label
from experiments.shared.pictures import Drawing, Picture
from tempalign import plot
from tempalign.heads import FewShotHead

_SEARCHED = 200  # episodes looked through for a query that is right and one that is wrong
_MAX_PANELS = 6


def drawings(
    data: Meta,
    settings: Settings,
    scores: Scores,
    results: Sequence[RunResult],
    confused: Mapping[str, Sequence[Score]],
    features: Callable[[], np.ndarray],
) -> list[tuple[str, Drawing]]:
    """Returns every picture that these results allow, in the order to show them.

    Args:
        data: its meta-test samples are shown.
        settings: say what to compare.
        scores: every evaluation.
        results: every training; alignments are drawn with the first one through tam, whatever its
            accuracy.
        confused: the results, by title, that confusion is shown of, each its scores over seeds.
        features: makes the features of the meta-test samples before any training.
    """
    found: list[tuple[str, Drawing]] = [("matching.png", partial(_by_matching, settings, scores))]
    if len(settings.gammas) > 1:
        found.append(("gamma.png", partial(_by_gamma, settings, scores)))
    if results:
        found.append(("learning_curves.png", partial(_learning_curves, results)))
    for number, (title, group) in enumerate(confused.items()):
        name = f"confusion{f'_{number + 1}' if number else ''}.png"
        found.append((name, partial(_confusion, data, title, group)))
    through_tam = [result for result in results if result.source.through == "tam"]
    model = through_tam[0].model if through_tam else None
    made = through_tam[0].features if through_tam else features
    return [*found, ("alignments.png", partial(_alignments, data, settings, model, made))]


def _error(found: Sequence[Score]) -> float:
    """Half the width of an error bar, in percent: the interval, or the spread of seeds if wider."""
    interval = statistics.fmean(score.interval for score in found)
    if len(found) > 1:
        interval = max(interval, statistics.stdev(score.accuracy for score in found))
    return 100 * interval


def _by_matching(settings: Settings, scores: Scores) -> tuple[Figure, Picture]:
    sources = scores.sources()
    matchings = (ORDER_BLIND, *settings.matchings)
    columns = len(settings.shots)
    width = 1.5 + 0.42 * len(matchings) * max(len(sources), 2) * 0.8
    figure = Figure(figsize=(min(width, 8) * columns, 4.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    bar = 0.8 / len(sources)
    for ax, shots in zip(axes, settings.shots, strict=True):
        for index, (source, look) in enumerate(zip(sources, looks(len(sources)), strict=True)):
            for place, matching in enumerate(matchings):
                found = scores.find(source, matching, settings.gamma, shots, settings.gamma)
                if found:
                    ax.bar(
                        place + (index - (len(sources) - 1) / 2) * bar,
                        100 * mean(found),
                        width=bar,
                        color=look["color"],
                        yerr=_error(found),
                        error_kw={"linewidth": 1.0, "capsize": 1.5},
                        label=source_name(source) if place == 0 else None,
                    )
        ax.axhline(100 / settings.way, color="0.35", linestyle=":", linewidth=1.2, label="chance")
        ax.set_xticks(range(len(matchings)), [name.replace("_", "\n") for name in matchings])
        ax.set_title(f"{settings.way}-way {shots}-shot")
        tidy(ax)
        ax.grid(False, axis="x")
    axes[0].set_ylabel("accuracy (%)")
    handles, labels = axes[0].get_legend_handles_labels()
    legend(figure, dict(zip(labels, handles, strict=True)))
    caption = (
        f"Accuracy over {settings.episodes:,} episodes by matching and features. Bars: the 95 % "
        "interval over episodes, or one standard deviation over seeds where that is wider. "
        "order_blind, min and mean do not see the order of the frames."
    )
    return figure, Picture("matching.png", "Accuracy by matching", caption)


def _by_gamma(settings: Settings, scores: Scores) -> tuple[Figure, Picture]:
    lines = {}
    for shots in settings.shots:
        for source in ("", "tam"):
            found = {
                gamma: group
                for gamma in settings.gammas
                if (group := scores.find(source, "tam", gamma, shots, gamma))
            }
            if found:
                lines[f"{source_name(source)}, {shots}-shot"] = found
    figure = sweep(
        {
            name: {gamma: [100 * score.accuracy for score in group] for gamma, group in of.items()}
            for name, of in lines.items()
        },
        x_label="gamma, temperature of the soft minimum",
        y_label="accuracy (%)",
        log=True,
        errors={
            name: {gamma: _error(group) for gamma, group in of.items()}
            for name, of in lines.items()
        },
    )
    caption = (
        "Accuracy of tam by its temperature (Fig. 5 of the paper); trained encoders are trained "
        "and matched at the same one. Bars as above."
    )
    return figure, Picture("gamma.png", "Accuracy by temperature", caption)


def _learning_curves(results: Sequence[RunResult]) -> tuple[Figure, Picture]:
    histories: dict[str, list] = {}
    lines: dict[str, list[str]] = {}
    for result in results:
        name = through = result.source.through
        if through.startswith("tam"):
            name += f", gamma {result.source.gamma:g}"
        histories.setdefault(name, []).append(result.history)
        lines.setdefault(through, []).append(name)
    panels = [
        Panel("loss", source_name(through), "training loss (Eq. 8)", lines=names)
        for through, names in lines.items()
    ]
    if "val_accuracy" in results[0].history[0]:
        panels.append(Panel("val_accuracy", "meta-validation", "accuracy (%)", scale=100))
    caption = (
        "Means over seeds after every epoch, in bands of one standard deviation. Each matching has "
        "a panel of its own, as its loss has a scale of its own."
    )
    return curves(histories, panels), Picture("learning_curves.png", "Learning curves", caption)


def _confusion(data: Meta, title: str, group: Sequence[Score]) -> tuple[Figure, Picture]:
    """Who is taken for whom, the queries of all seeds together."""
    truth, guess = (
        np.concatenate(part) for part in zip(*(one.guesses() for one in group), strict=True)
    )
    seeds = f"{len(group)} seeds, " if len(group) > 1 else ""
    figure, text = confusion(
        truth, guess, data.test.class_names, f"{title}, {seeds}{100 * mean(group):.2f} % right"
    )
    caption = f"{title}: classes that queries are taken for, all episodes together. "
    return figure, Picture(
        "", f"Confusion, {title}", caption + text.replace("test items", "queries")
    )


def _alignments(
    data: Meta,
    settings: Settings,
    trained: FewShotHead | None,
    features: Callable[[], np.ndarray],
) -> tuple[Figure, Picture]:
    """A query that is right and one that is wrong, each against one support of every class."""
    model = trained or FewShotHead()
    head = make_head("tam", settings.gamma, settings.boundary)
    split, x = data.test, features()
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
        found = [np.asarray(one) for one in of_episode(x[q], x[s])]
        for index, right in enumerate(found[1].argmin(-1) == truth):
            chosen.setdefault(bool(right), (number, index, [one[index] for one in found]))
        if len(chosen) == 2:
            break
    panels = min(settings.way, _MAX_PANELS)
    figure = Figure(figsize=(2.5 * panels + 0.9, 3.1 * len(chosen)), layout="constrained")
    parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
    for part, right in zip(parts, sorted(chosen, reverse=True), strict=True):
        number, index, (costs, distances, paths) = chosen[right]
        names = [
            label(split.class_names[k], 20) for k in split.labels[np.asarray(support)[number, :, 0]]
        ]
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
    named = source_name("tam" if trained else "")
    caption = (
        f"The first query in the episodes that is classified rightly and the first that is not, "
        f"each against one support of every class, the true class first ({named}). Darker is "
        "a greater cosine distance, orange the expected alignment of tam; above each its distance: "
        "the smallest wins."
    )
    return figure, Picture("alignments.png", "Alignments of queries with their supports", caption)
