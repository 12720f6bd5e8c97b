"""Who loses more than whom: paired differences to a baseline, and mean ranks."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.report.pairs import ties, to_baseline
from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below

__all__ = ["differences_figure", "ranks_figure"]

WHY = "p of sign flips by photograph, Holm's correction"


def differences_figure(
    pairs: pd.DataFrame,
    ranks: pd.DataFrame,
    distortions: dict[str, dict[str, Any]],
    order: list[str],
    baseline: str,
    confidence: float,
    note: str = "",
) -> Figure | None:
    """Draw how much more each downscaler loses than the baseline, with paired intervals.

    One row of panels per upscaler and factor, one column per distortion; all share their rows, sorted by the mean rank
    by the leading distortion, and each column its axis. Filled: differs significantly. None for one downscaler.

    Parameters
    ----------
    pairs, ranks : DataFrame
        ``differences.csv`` and ``ranks.csv``.
    distortions : dict
        Their descriptors.
    order : list of str
        Distortions, the leading one first.
    baseline : str
        A downscaler.
    confidence : float
        Of the run.
    note : str
        What stands below.
    """
    means = ranks[ranks.distortion == order[0]].groupby("downscaler", sort=True).mean_rank.mean()
    downscalers = [str(name) for name in means.sort_values(kind="stable").index]
    found = to_baseline(pairs, baseline)
    if not len(found):
        return None
    cells = list(dict.fromkeys(zip(ranks.upscaler, ranks.factor, strict=True)))
    with matplotlib.rc_context(STYLE):
        size = (1.4 + 2.0 * len(order), 0.9 + (0.45 + 0.26 * len(downscalers)) * len(cells))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(cells), len(order), sharex="col", sharey=True, squeeze=False)
        for i, (upscaler, factor) in enumerate(cells):
            mine = found[(found.upscaler == upscaler) & (found.factor == factor)]
            for axis, name in zip(grid[i], order, strict=True):
                rows = mine[mine.distortion == name].set_index("downscaler").reindex(downscalers)
                _difference_panel(axis, rows, downscalers.index(baseline), i, 1 - confidence)
            if len(cells) > 1:
                grid[i][0].set_ylabel(f"{upscaler}, x{factor}")
        for axis, name in zip(grid[-1], order, strict=True):
            axis.set_xlabel(distortions[name]["label"])
        names = [f"{name} (baseline)" if name == baseline else name for name in downscalers]
        grid[0][0].set_yticks(range(len(names)), names)
        grid[0][0].invert_yaxis()
        title = f"Difference to {baseline}; right of the line: loses more"
        if len(cells) == 1:
            title += f" ({cells[0][0]}, x{cells[0][1]})"
        figure.suptitle(title, fontsize=10)
        below = f"Filled: differs significantly at {1 - confidence:.2g} ({WHY} for all pairs)"
        write_below(figure, below, note)
    return figure


def _difference_panel(axis: Axes, rows: pd.DataFrame, baseline: int, series: int, level: float) -> None:
    colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
    y = np.arange(len(rows))
    axis.axvline(0, color="0.4", linewidth=0.9, zorder=1)
    axis.plot([0], [baseline], "|", color="black", markersize=11, markeredgewidth=2, zorder=3)
    shown = rows.difference.notna().to_numpy()
    for significant, face in ((True, colour), (False, "white")):
        drawn = shown & ((rows.p_holm < level) == significant).to_numpy()
        look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 5, "zorder": 2}
        axis.plot(rows.difference[drawn], y[drawn], marker, linestyle="none", **look)
    given = rows.low.notna().to_numpy()  # nothing is drawn where there is no interval
    mean, low, high = (column[given].to_numpy() for column in (rows.difference, rows.low, rows.high))
    axis.errorbar(
        mean, y[given], xerr=[mean - low, high - mean], fmt="none", ecolor=colour, elinewidth=1.2, capsize=2.5, zorder=3
    )
    axis.grid(axis="x", color="0.92", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.locator_params(axis="x", nbins=4)
    axis.margins(y=0.6 / max(len(rows), 1))


def ranks_figure(
    ranks: pd.DataFrame, pairs: pd.DataFrame, *, confidence: float, label: str, note: str = ""
) -> Figure | None:
    """Mean ranks on a line (as Demsar draws them, JMLR 2006), a bar over neighbours that do not differ significantly.

    Whether two differ is said by the paired tests: Nemenyi's verdict on a pair of ranks depends on which others are
    ranked beside them (Benavoli, Corani and Mangili, JMLR 17, 2016).

    Parameters
    ----------
    ranks, pairs : DataFrame
        ``ranks.csv`` and ``differences.csv`` of one distortion; one panel per upscaler and factor. None if none has
        three downscalers.
    confidence : float
        Of the run.
    label : str
        The distortion's.
    note : str
        What stands below.
    """
    cells = [
        (key, group.sort_values("mean_rank", kind="stable"))
        for key, group in ranks.dropna(subset=["mean_rank"]).groupby(["upscaler", "factor"], sort=False)
        if len(group) >= 3
    ]
    if not cells:
        return None
    groups = [
        ties(list(group.downscaler), pairs[(pairs.upscaler == u) & (pairs.factor == f)], 1 - confidence)
        for (u, f), group in cells
    ]
    deep = max(len(bars) for bars in groups)
    with matplotlib.rc_context(STYLE):
        height = (2.2 + 0.6 * deep + max((len(group) + 1) // 2 for _, group in cells)) * 0.24
        figure = Figure(figsize=(7.2, height * len(cells) + 0.7), layout="constrained")
        axes = figure.subplots(len(cells), 1, squeeze=False)[:, 0]
        for axis, ((upscaler, factor), group), bars in zip(axes, cells, groups, strict=True):
            _ranks_panel(axis, group.set_index("downscaler").mean_rank, bars)
            axis.set_title(f"{upscaler}, x{factor}: mean rank by {label}", fontsize=9)
        below = f"A picture of ranks. Bars: no significant difference at {1 - confidence:.2g} ({WHY})"
        write_below(figure, below, note)
    return figure


def _ranks_panel(axis: Axes, ranks: pd.Series, bars: list[tuple[int, int]]) -> None:
    """`ranks` in rising order; `bars` from which place to which."""
    count = len(ranks)
    half = (count + 1) // 2
    bar = 0.6
    below = bar * len(bars) + 0.8
    axis.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axis.vlines(tick, 0, 0.25, color="black", linewidth=1)
        axis.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=8)
    for i, (first, last) in enumerate(bars):
        axis.hlines(-bar * (i + 0.7), ranks.iloc[first] - 0.05, ranks.iloc[last] + 0.05, color="black", linewidth=3)
    margin = 0.35 * count
    for place, (name, rank) in enumerate(ranks.items()):
        left = place < half
        row = place if left else count - 1 - place
        y = -below - row
        end = 1 - 0.08 * count if left else count + 0.08 * count
        axis.plot([rank, rank, end], [0, y, y], color="0.35", linewidth=0.9)
        text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        axis.text(end, y, f" {text} ", ha="right" if left else "left", va="center", fontsize=8)
    axis.set(xlim=(1 - margin, count + margin), ylim=(-below - half + 0.3, 1.6))
    axis.axis("off")
