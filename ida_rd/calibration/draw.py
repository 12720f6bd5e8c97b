"""Cards as one figure: does a decoder stand where exact samples would?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from textwrap import fill

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.calibration.card import BALLS, LENGTHS, RATIO, Card
from ida_rd.calibration.text import Cards, verdict_of
from ida_rd.core.typeset import counted
from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below

__all__ = ["cards_figure"]

BAND, LINE, GOOD, BAD = "0.88", "0.45", "#007a56", "#a63c00"
WIDTH = 1.75  # inches, of a column
MOST = 10  # columns side by side
LOW, HIGH = 0.2, 2.0  # ratios that the axis has at least


def cards_figure(cards: Cards, title: str) -> Figure:
    """Draw a column per branch: rank histograms, coverage of balls, spread : skill.

    Grey: where exact samples would lie with so many photographs. Every upscaler and factor has rows of its own, with at
    most `MOST` columns.
    """
    branches = list(cards)
    one = list(dict.fromkeys((branch.upscaler, branch.factor) for branch in branches))
    blocks = []
    for key in one:
        mine = [branch for branch in branches if (branch.upscaler, branch.factor) == key]
        blocks += [mine[i : i + MOST] for i in range(0, len(mine), MOST)]
    columns = max(len(block) for block in blocks)
    first = cards[branches[0]]
    reach = _reach(list(cards.values()))
    tops = max(float(card.curves[card.curves.curve == "ranks"].value.max()) for card in cards.values())
    with matplotlib.rc_context(STYLE):
        size = (max(5.2, 1.1 + WIDTH * columns), 5.4 * len(blocks) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(3 * len(blocks), columns, squeeze=False)
        for row, block in enumerate(blocks):
            axes = grid[3 * row : 3 * row + 3]
            for i in range(columns):
                if i >= len(block):
                    for axis in axes[:, i]:
                        axis.set_axis_off()
                    continue
                branch, card = block[i], cards[block[i]]
                name = (
                    branch.downscaler if len(one) == 1 else f"{branch.upscaler} x{branch.factor}, {branch.downscaler}"
                )
                verdict = "\n".join(fill(part, 25) for part in verdict_of(card).split("; "))
                axes[0, i].set_title(f"{name}\n{verdict}", fontsize=8, color=BAD if card.verdict else GOOD)
                _ranks(axes[0, i], card, tops)
                _coverage(axes[1, i], card)
                _ratios(axes[2, i], card, reach, names=i == 0)
                for axis in axes[:2, i]:
                    axis.tick_params(labelleft=i == 0)
            axes[0, 0].set_ylabel("share of originals")
            axes[1, 0].set_ylabel("coverage of balls")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        style = {"ncols": len(labels), "frameon": False, "fontsize": 8, "columnspacing": 1.0, "handletextpad": 0.4}
        figure.legend(handles, labels, loc="outside upper center", **style)
        note = (
            f"{title}: {counted(first.photographs, first.images)}, K = {first.samples}. Grey: where exact samples lie"
            f" in {first.settings.confidence:.0%} of the cases, with so many photographs (each number by itself)."
        )
        write_below(figure, fill(note, int(15 * size[0])))
    return figure


def _reach(cards: Sequence[Card]) -> tuple[float, float]:
    """Limits of the axis of ratios, one for all columns."""
    ratios = pd.concat([card.rows[card.rows.quantity.isin([RATIO, LENGTHS])] for card in cards])
    usable = ratios[ratios.low.notna() & (ratios.low > 0)]
    if not len(usable):
        return LOW, HIGH
    return min(LOW, 0.9 * float(usable.value.min())), max(HIGH, 1.3 * float(usable.value.max()))


def _ranks(axis: Axes, card: Card, top: float) -> None:
    """The rank histogram of every space, as a line each; the band is that of the widest of them."""
    curves = card.curves[card.curves.curve == "ranks"]
    spaces = list(dict.fromkeys(curves.space))
    narrowest = curves[curves.space == spaces[0]]
    exact, at = float(narrowest.exact.iloc[0]), narrowest["at"].to_numpy()
    band = curves.groupby("at").band.max().to_numpy()
    axis.fill_between(at, exact - band, exact + band, color=BAND, linewidth=0)
    axis.axhline(exact, color=LINE, linewidth=0.8)
    looks = zip(spaces, cycle(COLOURS), cycle(MARKERS), strict=False)
    for space, colour, marker in looks:
        mine = curves[curves.space == space]
        axis.plot(mine["at"], mine.value, color=colour, marker=marker, markersize=3, linewidth=1.2, label=space)
    axis.set_ylim(0, max(1.1 * top, 2 * exact))
    axis.set_xticks([0, int(at[-1])])
    axis.set_xlabel("samples below the original", fontsize=8)


def _coverage(axis: Axes, card: Card) -> None:
    curve = card.curves[(card.curves.space == BALLS) & (card.curves.curve == "coverage")]
    at = np.concatenate([[0.0], curve["at"], [1.0]])
    band = np.concatenate([[0.0], curve.band, [0.0]])
    axis.fill_between(at, at - band, at + band, color=BAND, linewidth=0)
    axis.plot([0, 1], [0, 1], color=LINE, linewidth=0.8)
    axis.plot(at, np.concatenate([[0.0], curve.value, [1.0]]), color="black", linewidth=1.4)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_xticks([0, 0.5, 0.9], ["0", "50 %", "90 %"])
    axis.set_yticks([0, 0.5, 0.9], ["0", "50 %", "90 %"])
    axis.set_xlabel("share of samples in them", fontsize=8)


def _ratios(axis: Axes, card: Card, reach: tuple[float, float], *, names: bool) -> None:
    """Variance : bias^2 and ratios of lengths; the band of each is that of its own logarithm."""
    rows = card.rows[card.rows.quantity.isin([RATIO, LENGTHS])].reset_index(drop=True)
    for i, row in enumerate(rows.itertuples()):
        if math.isnan(row.low):
            axis.text(reach[1], i, "beyond", ha="right", va="center", fontsize=7, color=BAD)
            continue
        upper = row.high / row.value
        axis.fill_betweenx([i - 0.35, i + 0.35], 1 / upper, upper, color=BAND, linewidth=0)
        colour = COLOURS[0] if row.quantity == RATIO else COLOURS[1]
        marker = MARKERS[0 if row.quantity == RATIO else 1]
        axis.plot([row.low, row.high], [i, i], color=colour, linewidth=1.2)
        axis.plot([row.value], [i], linestyle="", color=colour, marker=marker, markersize=4)
    axis.axvline(1, color=LINE, linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xlim(*reach)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if reach[0] <= tick <= reach[1]]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    labels = [f"{row.space}{', lengths' if row.quantity == LENGTHS else ''}" for row in rows.itertuples()]
    axis.set_yticks(range(len(rows)), labels if names else [""] * len(rows))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel("spread : skill", fontsize=8)
