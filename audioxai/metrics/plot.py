"""Pictures of measurements: scores with their intervals, and how explanations change as a network is randomised.

matplotlib is imported on use, as in :mod:`audioxai.report.plot`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audioxai.errors import ConfigError, InputError, nearest
from audioxai.metrics.registry import column_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


__all__ = ["plot_randomisation", "plot_results"]

_ARROWS = {1: " ↑", -1: " ↓", 0: ""}
_PANELS = 4  # beside each other


def plot_results(results: Any, metrics: Sequence[str] | None = None) -> Figure:
    """Means with their 95 % bootstrap intervals: one panel a metric, one row an explainer.

    Args:
        results: :class:`audioxai.metrics.Results` of :func:`audioxai.evaluate`.
        metrics: which; default all there are.

    Raises:
        InputError: there are no scores.
        ConfigError: no explainer has such a metric.
        ImpossibleScoresError: scores that no correct metric gives.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    results.rows()  # refuses impossible scores, and none
    known = list(dict.fromkeys(name for scores in results.scores.values() for name in scores))
    if not known:
        raise InputError("there are no scores to draw")
    if unknown := [name for name in metrics or () if name not in known]:
        raise ConfigError(f"there are no scores of metric {unknown[0]!r}; nearest: {nearest(unknown[0], known)}")
    shown, explainers = list(metrics or known), list(results.scores)
    columns = min(_PANELS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(1.5 + 2.6 * columns, lines * (0.9 + 0.24 * len(explainers))), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for panel, name in zip(panels, shown, strict=False):
        for row, explainer in enumerate(explainers):
            if name not in results.scores[explainer]:
                continue
            mean, (low, high) = results.mean(explainer, name), results.interval(explainer, name)
            if not math.isnan(low):
                panel.plot([low, high], [row, row], color="#8fb3d9", linewidth=4, solid_capstyle="butt")
            panel.plot([mean], [row], "o", color="#1f4e79", markersize=4)
        entry = column_of(name, results.own)
        panel.set_title(name + _ARROWS[0 if entry is None else entry.direction], fontsize=10)
        panel.set_yticks(range(len(explainers)), explainers, fontsize=8)
        panel.tick_params(axis="x", labelsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.grid(axis="x", color="#dddddd", linewidth=0.6)
        panel.set_ylim(len(explainers) - 0.5, -0.5)
    for panel in figure.axes[len(shown) :]:
        panel.set_visible(False)
    return figure


def plot_randomisation(found: Mapping[str, Any]) -> Figure:
    """Similarity to the untouched network's explanation after each randomised layer, one line an explainer.

    Shaded are 95 % bootstrap intervals over clips. A line that stays high belongs to a method that does not look at
    the network.

    Args:
        found: explainer to its :class:`audioxai.metrics.Randomisation`, over the same layers.

    Raises:
        InputError: there is nothing to draw.
        ConfigError: the explainers were randomised in other orders or layers.
    """
    from matplotlib.figure import Figure

    if not found:
        raise InputError("there is nothing to draw; give at least one explainer's randomisation")
    first = next(iter(found.values()))
    for name, one in found.items():
        if (one.layers, one.order) != (first.layers, first.order):
            raise ConfigError(
                f"{name!r} was randomised over other layers or in another order than {next(iter(found))!r}"
            )
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    steps = range(len(first.layers) + 1)
    for panel, measure in zip(figure.subplots(1, 2, sharey=True), ("SSIM", "Spearman"), strict=True):
        for name, one in found.items():
            curve = one.curve(measure)
            missing = int(one.similarity["Spearman"].isnan().sum())  # constant masks, such as empty ones
            label = f"{name}\n({missing} of {one.similarity['Spearman'].numel()} constant)" if missing else name
            (line,) = panel.plot(steps, [mean for mean, _, _ in curve], marker="o", markersize=3, label=label)
            panel.fill_between(
                steps, [low for _, low, _ in curve], [high for _, _, high in curve], color=line.get_color(), alpha=0.2
            )
        panel.axhline(0, color="#999999", linewidth=0.8)
        panel.set_title(f"{measure} with the explanation of the trained network", fontsize=10)
        panel.set_xticks(steps, ["none", *first.layers], rotation=60, ha="right", fontsize=8)
        panel.set_xlabel(f"layers randomised up to, {first.order.replace('_', ' ')}")
        panel.grid(color="#eeeeee")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure
