"""Figures that compare: who differs from whom, what a lower rate costs, where the upscalers disagree."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ida_rd.report.style import COLOURS, MARKERS, STYLE

__all__ = [
    "balance_figure",
    "critical_difference_figure",
    "heat_map",
    "pareto_front",
    "perception_distortion_figure",
    "rate_distortion_figure",
    "undecided_groups",
]

Cells = list[tuple[tuple[str, int], pd.DataFrame]]
MOST_GROUPS = 1000
# Where a label can go around its point: offsets in points, horizontal and vertical alignment.
PLACES = [
    ((6, 0), "left", "center"),
    ((-6, 0), "right", "center"),
    ((0, 6), "center", "bottom"),
    ((0, -6), "center", "top"),
    ((5, 5), "left", "bottom"),
    ((5, -5), "left", "top"),
    ((-5, 5), "right", "bottom"),
    ((-5, -5), "right", "top"),
    ((6, 14), "left", "bottom"),
    ((6, -14), "left", "top"),
    ((-6, 14), "right", "bottom"),
    ((-6, -14), "right", "top"),
]


def undecided_groups(ranks: pd.Series, critical_difference: float) -> list[tuple[float, float]]:
    """Return the longest runs of mean ranks that lie within the critical difference, as (first, last)."""
    values = np.sort(ranks.to_numpy(np.float64))
    runs: list[tuple[float, float]] = []
    for i, first in enumerate(values):
        last = values[np.searchsorted(values, first + critical_difference, side="left") - 1]
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((float(values[i]), float(last)))
    return runs


def critical_difference_figure(ranks: pd.DataFrame, confidence: float, label: str) -> Figure | None:
    """Mean ranks on a line, a bar over those that do not differ by Nemenyi's test (Demsar, JMLR 2006, fig. 1).

    Parameters
    ----------
    ranks : DataFrame
        Of one distortion; one panel per upscaler and factor. None if none has three downscalers.
    """
    cells = [
        (key, g) for key, g in ranks.groupby(["upscaler", "factor"], sort=False) if g.critical_difference.notna().all()
    ]
    if not cells:
        return None
    rows = max((len(g) + 1) // 2 for _, g in cells)
    bars = [undecided_groups(g.mean_rank, float(g.critical_difference.iloc[0])) for _, g in cells]
    deep = max(len(b) for b in bars)
    with matplotlib.rc_context(STYLE):
        unit = 0.24
        height = (2.2 + 0.6 * deep + rows) * unit
        figure = Figure(figsize=(7.2, height * len(cells) + 0.2), layout="constrained")
        axes = figure.subplots(len(cells), 1, squeeze=False)[:, 0]
        for axis, ((upscaler, factor), group), groups in zip(axes, cells, bars, strict=True):
            _ranks_panel(axis, group.set_index("downscaler").mean_rank, group, groups)
            critical = float(group.critical_difference.iloc[0])
            title = f"{upscaler}, x{factor}: mean rank by {label}, {int(group.images.iloc[0])} images"
            axis.set_title(f"{title} (critical difference {critical:.2f} at {1 - confidence:.2g})", fontsize=9)
    return figure


def _ranks_panel(axis: Axes, ranks: pd.Series, group: pd.DataFrame, groups: list[tuple[float, float]]) -> None:
    count = len(ranks)
    ordered = ranks.sort_values(kind="stable")
    half = (count + 1) // 2
    bar = 0.6
    below = bar * len(groups) + 0.8
    axis.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axis.vlines(tick, 0, 0.25, color="black", linewidth=1)
        axis.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=8)
    for i, (first, last) in enumerate(groups):
        axis.hlines(-bar * (i + 0.7), first - 0.05, last + 0.05, color="black", linewidth=3)
    margin = 0.35 * count
    for place, (name, rank) in enumerate(ordered.items()):
        left = place < half
        row = place if left else count - 1 - place
        y = -below - row
        end = 1 - 0.08 * count if left else count + 0.08 * count
        axis.plot([rank, rank, end], [0, y, y], color="0.35", linewidth=0.9)
        text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        axis.text(end, y, f" {text} ", ha="right" if left else "left", va="center", fontsize=8)
    axis.set(xlim=(1 - margin, count + margin), ylim=(-below - half + 0.3, 1.6))
    axis.axis("off")


def pareto_front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the points than which no other is as low in both and lower in one, by rising `x`.

    Parameters
    ----------
    x, y : ndarray
        (N,), less is better.
    """
    order = np.lexsort((y, x))
    front, best = [], np.inf
    for i in order:
        if y[i] < best:
            front.append(i)
            best = y[i]
    return np.array(front, dtype=int)


def rate_distortion_figure(scores: pd.DataFrame, descriptor: dict[str, Any]) -> Figure:
    """Bits of the losslessly coded LR image against the score, and which downscalers are best at their rate.

    Parameters
    ----------
    scores : DataFrame
        ``ida_rd.csv`` of one distortion; one panel per upscaler and factor.
    """
    cells: Cells = list(scores.groupby(["upscaler", "factor"], sort=False))
    sign = 1 if descriptor["better"] == "lower" else -1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4 * len(cells), 4.0), layout="constrained")
        axes = figure.subplots(1, len(cells), squeeze=False)[0]
        for i, (axis, ((upscaler, factor), group)) in enumerate(zip(axes, cells, strict=True)):
            x, y = group.rate_bpp.to_numpy(), group["mean"].to_numpy()
            error = np.stack([y - group.ci_low.to_numpy(), group.ci_high.to_numpy() - y]).clip(0)
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            front = pareto_front(x, sign * y)
            axis.step(x[front], y[front], where="post", color="0.6", linewidth=1, zorder=1)
            axis.errorbar(x, y, error, fmt="none", ecolor="0.8", elinewidth=0.8, zorder=2)
            axis.scatter(x, y, s=22, marker=marker, color=colour, zorder=3)
            inside = np.isin(np.arange(len(x)), front)
            axis.scatter(x[inside], y[inside], s=70, facecolors="none", edgecolors="black", linewidths=0.9, zorder=3)
            axis.set(xlabel="bits of the LR image (lossless WebP) per HR pixel", title=f"{upscaler}, x{factor}")
            axis.set_ylabel(f"{descriptor['label']} ({descriptor['better']} is better)")
            axis.margins(0.12)
        figure.suptitle("Rate and distortion; ringed: none loses less at as low a rate", fontsize=10)
        for axis, (_, group) in zip(axes, cells, strict=True):
            _label_points(figure, axis, group.rate_bpp.to_numpy(), group["mean"].to_numpy(), list(group.downscaler))
    return figure


def perception_distortion_figure(
    scores: pd.DataFrame, perceptual: str, pixel: str, descriptors: dict[str, dict[str, Any]]
) -> Figure:
    """LPIPS against PSNR (Blau and Michaeli, CVPR 2018): do the downscalers trade one for the other?"""
    wide = scores.pivot_table("mean", ["upscaler", "factor", "downscaler"], "distortion", sort=False).reset_index()
    cells: Cells = list(wide.groupby(["upscaler", "factor"], sort=False))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4 * len(cells), 4.0), layout="constrained")
        axes = figure.subplots(1, len(cells), squeeze=False)[0]
        for i, (axis, ((upscaler, factor), group)) in enumerate(zip(axes, cells, strict=True)):
            style = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)]}
            axis.scatter(group[pixel], group[perceptual], s=22, **style)
            axis.set(title=f"{upscaler}, x{factor}")
            for name, write in ((pixel, axis.set_xlabel), (perceptual, axis.set_ylabel)):
                write(f"{descriptors[name]['label']} ({descriptors[name]['better']} is better)")
            axis.margins(0.12)
        for axis, (_, group) in zip(axes, cells, strict=True):
            names = list(group.downscaler)
            _label_points(figure, axis, group[pixel].to_numpy(), group[perceptual].to_numpy(), names)
    return figure


def _label_points(figure: Figure, axis: Axes, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Name every point where there is room around it; where there is none, the point stays without a name."""
    figure.draw_without_rendering()
    points = axis.transData.transform(np.column_stack([x, y]))
    radius = 4 * figure.dpi / 72
    taken = [Bbox([p - radius, p + radius]) for p in points]
    inside = axis.get_window_extent()
    for i in np.argsort(-points[:, 1], kind="stable"):
        for offset, horizontal, vertical in PLACES:
            text = axis.annotate(
                names[i], (x[i], y[i]), offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=7.5
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            free = not any(box.overlaps(other) for j, other in enumerate(taken) if j != i)
            if free and inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1:
                taken.append(box)
                break
            text.remove()


def heat_map(scores: pd.DataFrame, descriptor: dict[str, Any]) -> Figure | None:
    """Upscaler by downscaler: each row from its own best (light) to its own worst (dark), the scores written in.

    Scores of different upscalers are not comparable, but their orders are: hence a scale for each row.
    None for one upscaler and factor.
    """
    scores = scores.assign(row=scores.upscaler + ", x" + scores.factor.astype(str))
    table = scores.pivot_table("mean", "row", "downscaler", sort=False)
    if len(table) < 2:
        return None
    sign = 1 if descriptor["better"] == "lower" else -1
    loss = sign * table
    low, span = loss.min(axis=1), (loss.max(axis=1) - loss.min(axis=1)).replace(0, 1)
    scaled = loss.sub(low, axis=0).div(span, axis=0)
    order = list(scaled.mean().sort_values(kind="stable").index)
    scaled, table = scaled[order], table[order]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.8 + 0.72 * len(order), 1.3 + 0.42 * len(table)), layout="constrained")
        axis = figure.subplots()
        axis.imshow(scaled, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        for (i, j), value in np.ndenumerate(table.to_numpy()):
            if np.isfinite(value):
                ink = "white" if scaled.iloc[i, j] > 0.55 else "black"
                text = f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
                axis.text(j, i, text, ha="center", va="center", color=ink, fontsize=7.5)
        axis.set_xticks(range(len(order)), order, rotation=40, ha="right")
        axis.set_yticks(range(len(table)), list(table.index))
        axis.set_title(
            f"{descriptor['label']}, {descriptor['better']} is better; colour: from each row's best to its worst",
            fontsize=9,
        )
    return figure


def balance_figure(groups: pd.DataFrame) -> Figure | None:
    """Shares of the groups before and after the selection: all candidates, and the test set.

    None for more groups than anyone can tell apart.

    Parameters
    ----------
    groups : DataFrame
        ``metrics/balance.csv``: one row per group or joint cell, images of the pool and images chosen.
    """
    if len(groups) > MOST_GROUPS:
        return None
    names = [column for column in groups if column not in ("pool", "chosen", "short")]
    labels = [", ".join(str(row[name]) for name in names) for row in groups[names].to_dict("records")]
    if names == ["cluster"]:
        labels = [f"cluster {label}" for label in labels]
    shares = {"candidates": groups.pool / groups.pool.sum(), "test set": groups.chosen / groups.chosen.sum()}
    y = np.arange(len(groups))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.1 + max(0.17 * len(groups), 0.8)), layout="constrained")
        axis = figure.subplots()
        for i, (name, share) in enumerate(shares.items()):
            axis.plot(100 * share, y, MARKERS[i], color=COLOURS[i], markersize=4.5, label=name, zorder=3)
        axis.hlines(y, 100 * shares["candidates"], 100 * shares["test set"], color="0.75", linewidth=1, zorder=1)
        axis.axvline(100 / len(groups), color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        axis.set_yticks(y, labels, fontsize=8 if len(groups) <= 40 else 6)
        axis.invert_yaxis()
        axis.set_xlabel("% of the images (dotted: all groups alike)")
        axis.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
