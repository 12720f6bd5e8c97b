"""Several decoders at a glance: the few numbers of their cards that a reader compares, side by side."""

from __future__ import annotations

from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.calibration.card import BALLS, LENGTHS, LEVELS, RATIO, Card
from ida_rd.calibration.text import Cards, row_of
from ida_rd.core.project import Branch
from ida_rd.core.typeset import counted
from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below

__all__ = ["glance_figure", "several"]

LINE = "0.45"
ENERGY = "energy score"
# Space, quantity, and title; what is a ratio stands on a logarithmic axis.
PANELS = (
    ("pixels", RATIO, "variance : bias²,\npixels"),
    ("features", RATIO, "variance : bias²,\nfeatures"),
    ("features", LENGTHS, "spread : skill by lengths,\nfeatures"),
    (BALLS, f"coverage {LEVELS[0]:.0%}", f"coverage of\n{LEVELS[0]:.0%} balls"),
    (BALLS, f"coverage {LEVELS[1]:.0%}", f"coverage of\n{LEVELS[1]:.0%} balls"),
    ("features", ENERGY, "energy score of features\n(lower is better)"),
)


def several(cards: Cards) -> bool:
    """Whether there is more than one decoder, so that some can be compared."""
    return len({(branch.upscaler, branch.factor) for branch in cards}) > 1


def glance_figure(cards: Cards, title: str) -> Figure:
    """Draw a panel per number, a row per downscaler in it, and a marker per upscaler and factor."""
    decoders = list(dict.fromkeys((branch.upscaler, branch.factor) for branch in cards))
    downscalers = list(dict.fromkeys(branch.downscaler for branch in cards))
    first = next(iter(cards.values()))
    with matplotlib.rc_context(STYLE):
        size = (2.1 * len(PANELS) + 0.8, 0.9 + len(downscalers) * max(0.3, 0.11 * len(decoders) + 0.12))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True, squeeze=False)[0]
        for axis, (space, quantity, name) in zip(axes, PANELS, strict=True):
            for i, decoder in enumerate(decoders):
                offset = 0.7 * ((i + 0.5) / len(decoders) - 0.5)
                found = {branch: card for branch, card in cards.items() if (branch.upscaler, branch.factor) == decoder}
                places = {branch: downscalers.index(branch.downscaler) + offset for branch in found}
                _points(axis, found, places, space, quantity, i, f"{decoder[0]}, x{decoder[1]}")
            axis.set_title(name, fontsize=8)
            if quantity != ENERGY and (row := row_of(first, space, quantity)) is not None:
                axis.axvline(float(row.exact), color=LINE, linewidth=0.8, zorder=0)
            if quantity in (RATIO, LENGTHS):
                axis.set_xscale("log")
                ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5) if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.minorticks_off()
        axes[0].set_yticks(range(len(downscalers)), downscalers)
        axes[0].set_ylim(len(downscalers) - 0.5, -0.5)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
        note = (
            f"{title}: {counted(first.photographs, first.images)}, K = {first.samples};"
            f" {first.settings.confidence:.0%} intervals. Line: where exact samples lie."
        )
        write_below(figure, fill(note, int(15 * size[0])))
    return figure


def _points(
    axis: Axes, cards: dict[Branch, Card], places: dict[Branch, float], space: str, quantity: str, at: int, name: str
) -> None:
    """The values of one decoder with their intervals; what a card does not have is left out."""
    found = [(row_of(card, space, quantity), places[branch]) for branch, card in cards.items()]
    rows = [(row, place) for row, place in found if row is not None]
    values, low, high = (np.array([float(row[key]) for row, _ in rows]) for key in ("value", "low", "high"))
    axis.errorbar(
        values,
        [place for _, place in rows],
        xerr=np.nan_to_num(np.stack([values - low, high - values])).clip(0),  # an interval need not hold its value
        linestyle="",
        color=COLOURS[at % len(COLOURS)],
        marker=MARKERS[at % len(MARKERS)],
        markersize=3.5,
        linewidth=1,
        label=name,
    )
