"""The figure of a study."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.aggregate.statistics import Score
from ida_rd.report.figures import COLOURS, MARKERS, STYLE
from ida_rd.study.judge import Result
from ida_rd.study.settings import Study

__all__ = ["draw"]


def draw(study: Study, results: list[Result], label: str) -> Figure:
    """Ladders as curves, one panel each; otherwise points, one row per condition and one colour per group."""
    with matplotlib.rc_context(STYLE):
        if study.kind in ("ladders", "threshold"):
            return _curves(study, results, label)
        return _points(study, results, label)


def _curves(study: Study, results: list[Result], label: str) -> Figure:
    columns = min(3, len(study.panels))
    rows = -(-len(study.panels) // columns)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.2 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis, (name, panel) in zip(axes, study.panels.items(), strict=False):
        for i, result in enumerate(results):
            rungs = [c for c in panel.conditions if c in result.scores]
            _errorbars(axis, np.arange(len(rungs)), [result.scores[c] for c in rungs], i, result, line="-")
        axis.set_xticks(
            range(len(panel.conditions)),
            [f"{level:g}" if isinstance(level, float) else str(level) for level in panel.conditions.values()],
        )
        if len(panel.conditions) > 5:
            axis.tick_params(axis="x", labelsize=7, rotation=45)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(panel.axis, fontsize=8)
        axis.grid(axis="y", color="0.9", linewidth=0.7)
        axis.set_axisbelow(True)
    for axis in axes[len(study.panels) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel(label)
    _legend(figure, axes[0], results, study)
    return figure


def _errorbars(axis: Axes, at: Any, scores: list[Score], i: int, result: Result, *, line: str) -> None:
    mean = np.array([score.mean for score in scores])
    error = np.array([[s.mean - s.ci_low for s in scores], [s.ci_high - s.mean for s in scores]]).clip(0)
    axis.errorbar(
        at,
        mean,
        yerr=error,
        fmt=MARKERS[i % len(MARKERS)] + line,
        color=COLOURS[i % len(COLOURS)],
        markersize=4,
        capsize=2,
        linewidth=1.1,
        label=result.title,
    )


def _legend(figure: Figure, axis: Axes, results: list[Result], study: Study) -> None:
    if len(results) > 1:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    else:
        title = f"{study.title}\n{study.data}, {results[0].title}"
        figure.suptitle(title, fontsize=10)


def _points(study: Study, results: list[Result], label: str) -> Figure:
    panel_of = {name: panel for panel, group in study.panels.items() for name in group.conditions}
    panels = list(study.panels)
    count = max(len(result.scores) for result in results)
    figure = Figure(figsize=(1.6 + 3.4 * len(results), 1.3 + 0.2 * count), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, result in zip(axes, results, strict=True):
        names = result.ranked(list(panel_of))
        for i, name in enumerate(names):
            score, group = result.scores[name], panels.index(panel_of[name])
            error = np.array([[score.mean - score.ci_low], [score.ci_high - score.mean]]).clip(0)
            axis.errorbar(
                score.mean,
                i,
                xerr=error,
                fmt=MARKERS[group % len(MARKERS)],
                color=COLOURS[group % len(COLOURS)],
                markersize=4,
                capsize=2,
                linewidth=1.1,
                label=panels[group],
            )
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(label)
        axis.set_title(result.title, fontsize=9)
        axis.grid(axis="both", color="0.92", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    if len(panels) > 1:
        shown = {name: handles[name] for name in panels if name in handles}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"{study.title}\n{study.data}", fontsize=10)
    return figure
