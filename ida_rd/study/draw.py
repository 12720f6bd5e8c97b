"""The figure of a study."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ida_rd.report.figures import COLOURS, MARKERS, STYLE
from ida_rd.study.judge import Comparison, Result, Setting
from ida_rd.study.settings import Panel, Study

__all__ = ["draw"]

Ends = tuple[float, float | None, float | None]  # a value and its interval
LEAST = 1e-3  # differences below this are drawn on a linear scale
BELOW = 10**0.5  # how far left of the faintest rung the one without degradation stands


def draw(study: Study, setting: Setting, results: list[Result]) -> Figure:
    """Draw scores or differences, by the kind of study.

    Ladders: scores by rung, one panel each. Thresholds: differences to the first rung by level. A ranking: differences
    to the baseline, one row per condition. An order: scores, likewise. All panels share their axes and rows.
    """
    with matplotlib.rc_context(STYLE):
        if study.kind == "ladders":
            return _curves(study, setting, results, _ladder)
        if study.kind == "threshold":
            return _curves(study, setting, results, _threshold)
        return _points(study, setting, results)


def _subtitle(
    study: Study, setting: Setting, results: list[Result], what: str, width: float, notes: Sequence[str] = ()
) -> str:
    """Title, what the figure is of, how many images it is of, and what its intervals are."""
    counts = list(dict.fromkeys(result.counts for result in results))
    text = [f"{study.data}: {counts[0]}"] if len(counts) == 1 else [study.data]
    text += [f"{what} with Student's {setting.confidence:.0%} intervals over photographs", *notes]
    columns = max(40, int(width * 14))
    return "\n".join([*textwrap.wrap(study.title, columns), *textwrap.wrap("; ".join(text), columns)])


def _name(result: Result, results: list[Result]) -> str:
    """Its title; with its counts where they are not those of all."""
    alike = len({result.counts for result in results}) == 1
    return result.title if alike else f"{result.title}\n{result.counts}"


def _curves(study: Study, setting: Setting, results: list[Result], one: Callable[..., None]) -> Figure:
    columns = min(3, len(study.panels))
    rows = -(-len(study.panels) // columns)
    width = 2.6 * columns + 0.6
    figure = Figure(figsize=(width, 2.3 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis, (name, panel) in zip(axes, study.panels.items(), strict=False):
        for i, result in enumerate(results):
            one(axis, name, panel, result, i)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(panel.axis, fontsize=8)
        axis.grid(axis="y", color="0.9", linewidth=0.7)
        axis.set_axisbelow(True)
    for axis in axes[len(study.panels) :]:
        axis.set_visible(False)
    seen = study.kind == "threshold"
    for axis in axes[::columns]:
        axis.set_ylabel(f"{setting.label}, difference\nfrom no degradation" if seen else setting.label)
    what = "differences, paired by image," if seen else "scores"
    notes = ["filled: shown"] if seen else []
    if seen:
        axes[0].set_yscale("symlog", linthresh=LEAST, linscale=0.5)
        axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if len(results) > 1:
        handles = [_handle(i, _name(result, results)) for i, result in enumerate(results)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    else:
        notes += [results[0].title]
    figure.suptitle(_subtitle(study, setting, results, what, width, notes), fontsize=9)
    return figure


def _ladder(axis: Axes, name: str, panel: Panel, result: Result, i: int) -> None:
    rungs = [c for c in panel.conditions if c in result.conditions]
    scores = [result.conditions[c].score for c in rungs]
    at = [list(panel.conditions).index(c) for c in rungs]
    _errorbars(axis, at, [(s.mean, s.ci_low, s.ci_high) for s in scores], i, line="-")
    _steps(axis, panel)


def _threshold(axis: Axes, name: str, panel: Panel, result: Result, i: int) -> None:
    compared = [c for c in result.comparisons if c.panel == name]
    levels = [panel.conditions[c.condition] for c in compared]
    at: list[float] = [float(list(panel.conditions).index(c.condition)) for c in compared]
    first: float = 0
    if panel.log is not None and all(isinstance(level, int | float) for level in levels):
        at = [abs(float(level) - panel.log) for level in levels]
        axis.set_xscale("log")
        first = _decades(axis, panel, at)
    else:
        _steps(axis, panel)
    axis.axhline(0, color="0.4", linewidth=0.8, zorder=0)
    if not panel.aside:  # its conditions need not be a ladder
        means = [0.0, *(c.difference.mean for c in compared)]
        axis.plot([first, *at], means, color=_colour(i), linewidth=1.1, zorder=1)
    for x, comparison in zip(at, compared, strict=True):
        _errorbars(axis, [x], [_ends(comparison)], i, line="", filled=comparison.shown)


def _decades(axis: Axes, panel: Panel, at: Sequence[float]) -> float:
    """Ticks at decades of the distance from the first rung, which itself stands at the left; where it does."""
    low, high = min(at), max(at)
    first = low / BELOW
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    sign = math.copysign(1, float(list(panel.conditions.values())[-1]) - float(panel.log or 0))
    ticks = [10.0**power for power in powers]
    labels = [f"{(panel.log or 0) + sign * tick:g}" for tick in ticks]
    axis.xaxis.set_major_locator(FixedLocator([first, *ticks]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels([f"{panel.log:g}", *labels], fontsize=7)
    axis.set_xlim(first / 1.5, high * 1.5)
    return first


def _steps(axis: Axes, panel: Panel) -> None:
    """One tick per rung."""
    axis.set_xticks(
        range(len(panel.conditions)),
        [f"{level:g}" if isinstance(level, float) else str(level) for level in panel.conditions.values()],
    )
    axis.set_xlim(-0.25, len(panel.conditions) - 0.75)
    if len(panel.conditions) > 5:
        axis.tick_params(axis="x", labelsize=7, rotation=45)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _ends(comparison: Comparison) -> Ends:
    return comparison.difference.mean, comparison.difference.low, comparison.difference.high


def _error(values: Sequence[Ends]) -> Any:
    """Lengths of bars, (2, N); none where there is no interval."""
    low = [0.0 if a is None else mean - a for mean, a, _ in values]
    high = [0.0 if b is None else b - mean for mean, _, b in values]
    return np.array([low, high]).clip(0)


def _style(i: int, line: str, filled: bool) -> dict[str, Any]:
    """Colour and marker of the i-th series; open where nothing is shown."""
    fill = _colour(i) if filled else "white"
    style = {"fmt": MARKERS[i % len(MARKERS)] + line, "color": _colour(i), "markerfacecolor": fill}
    return style | {"markersize": 4, "capsize": 2, "linewidth": 1.1}


def _errorbars(
    axis: Axes, at: Sequence[float], values: Sequence[Ends], i: int, *, line: str, filled: bool = True
) -> None:
    axis.errorbar(at, [v[0] for v in values], yerr=_error(values), **_style(i, line, filled))


def _handle(i: int, label: str) -> Line2D:
    return Line2D([], [], color=_colour(i), marker=MARKERS[i % len(MARKERS)], markersize=4, linewidth=1.1, label=label)


def _rows(study: Study, results: list[Result]) -> list[str]:
    """The rows of all panels: of an order, group by group as claimed; the first upscaler ranks what is in one."""
    if study.kind == "order":
        return [c for panel in study.panels.values() for c in results[0].ranked(list(panel.conditions))]
    return results[0].ranked([c for panel in study.panels.values() for c in panel.conditions])


def _points(study: Study, setting: Setting, results: list[Result]) -> Figure:
    panel_of = {name: panel for panel, group in study.panels.items() for name in group.conditions}
    panels = list(study.panels)
    names = _rows(study, results)
    ranking = study.kind == "ranking" and study.baseline in results[0].conditions
    width = 1.6 + 3.4 * len(results)
    figure = Figure(figsize=(width, 1.7 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False, sharex=True, sharey=True)[0]
    margin = study.margin(setting.lead)
    for axis, result in zip(axes, results, strict=True):
        compared = {c.condition: c for c in result.comparisons}
        if ranking:
            axis.axvline(0, color="0.4", linewidth=0.8, zorder=0)
            if margin is not None:
                axis.axvspan(-margin, margin, color="0.9", zorder=0, linewidth=0)
        for i, name in enumerate(names):
            if name not in result.conditions:
                continue
            score, comparison = result.conditions[name].score, compared.get(name)
            values: Ends = (score.mean, score.ci_low, score.ci_high)
            if ranking:
                values = _ends(comparison) if comparison else (0.0, None, None)
            filled = not ranking or comparison is None or comparison.shown or comparison.reversed
            axis.errorbar(values[0], i, xerr=_error([values]), **_style(panels.index(panel_of[name]), "", filled))
        axis.set_xlabel(f"{setting.label}, difference\nfrom {study.baseline}" if ranking else setting.label)
        axis.set_title(_name(result, results), fontsize=9)
        axis.grid(axis="both", color="0.92", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), names, fontsize=7)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    if len(panels) > 1:
        used = [panel for panel in panels if any(c in names for c in study.panels[panel].conditions)]
        handles = [_handle(panels.index(panel), panel) for panel in used]
        for handle in handles:
            handle.set_linestyle("")
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    what = "differences, paired by image," if ranking else "scores"
    notes = ["filled: significant by Holm's method"] if ranking else []
    if ranking and margin is not None:
        notes += [f"grey: ±{margin:g}"]
    figure.suptitle(_subtitle(study, setting, results, what, width, notes), fontsize=9)
    return figure
