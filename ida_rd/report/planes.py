"""Figures that compare: what a lower rate costs, where the upscalers disagree, how even the test set is."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below

__all__ = [
    "balance_figure",
    "heat_map",
    "pareto_front",
    "perception_distortion_figure",
    "rate_distortion_figure",
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


def rate_distortion_figure(scores: pd.DataFrame, descriptor: dict[str, Any], note: str = "") -> Figure:
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
        write_below(figure, note)
        for axis, (_, group) in zip(axes, cells, strict=True):
            _label_points(figure, axis, group.rate_bpp.to_numpy(), group["mean"].to_numpy(), list(group.downscaler))
    return figure


def perception_distortion_figure(
    scores: pd.DataFrame, perceptual: str, pixel: str, descriptors: dict[str, dict[str, Any]], note: str = ""
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
        write_below(figure, note)
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


def heat_map(scores: pd.DataFrame, descriptor: dict[str, Any], note: str = "") -> Figure | None:
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
        write_below(figure, note)
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
    counts = {"candidates": groups.pool, "test set": groups.chosen}
    shares = {name: count / count.sum() for name, count in counts.items()}
    y = np.arange(len(groups))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.1 + max(0.17 * len(groups), 0.8)), layout="constrained")
        axis = figure.subplots()
        for i, (name, share) in enumerate(shares.items()):
            axis.plot(
                100 * share,
                y,
                MARKERS[i],
                color=COLOURS[i],
                markersize=4.5,
                label=f"{name} ({counts[name].sum()})",
                zorder=3,
            )
        axis.hlines(y, 100 * shares["candidates"], 100 * shares["test set"], color="0.75", linewidth=1, zorder=1)
        axis.axvline(100 / len(groups), color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        axis.set_yticks(y, labels, fontsize=8 if len(groups) <= 40 else 6)
        axis.invert_yaxis()
        axis.set_xlabel("% of the images (dotted: all groups alike)")
        axis.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
