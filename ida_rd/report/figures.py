"""The figures of a run: scores with intervals, and contact sheets of real reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import marked_name

__all__ = ["contact_sheet", "save", "score_figure", "telling_images"]

matplotlib.use("Agg")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ida-rd",  # the same picture gives the same file
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text stays text
    "text.parse_math": False,  # a name with two $ is a name
}
# Okabe and Ito's palette: the colour-blind can distinguish its colours, and everyone the markers, in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
Maps = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[Any]]
DIFFERENCE_RANGE = 64  # grey levels at the bright end of the difference maps
SHOWN_SAMPLES = 3
MOST_PIXELS = 65_000  # a side of a PNG: what matplotlib can draw


def save(figure: Figure, stem: Path) -> None:
    """Write a figure as PNG, SVG and PDF, without a date in it."""
    with matplotlib.rc_context(STYLE):
        dpi = min(200.0, MOST_PIXELS / max(figure.get_size_inches()))
        figure.savefig(stem.with_suffix(".png"), dpi=dpi, metadata={"Software": None})
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None, "Creator": None, "Producer": None})


def score_figure(table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str]) -> Figure:
    """Points with intervals: one row per downscaler, panel per distortion, and colour per upscaler and factor.

    Rows are sorted by the leading distortion, best on top.
    """
    lead = order[0]
    sign = 1 if distortions[lead]["better"] == "lower" else -1
    means = table[table.distortion == lead].groupby("downscaler")["mean"].mean() * sign
    downscalers = list(means.sort_values(kind="stable").index)
    series = list(dict.fromkeys(zip(table.upscaler, table.factor, strict=True)))
    with matplotlib.rc_context(STYLE):
        height = 1.3 + 0.28 * len(downscalers) * max(1, 0.5 * len(series))
        figure = Figure(figsize=(1.1 + 2.0 * len(order), height), layout="constrained")
        axes = figure.subplots(1, len(order), sharey=True, squeeze=False)[0]
        for axis, name in zip(axes, order, strict=True):
            _panel(axis, table[table.distortion == name], downscalers, series)
            better = distortions[name]["better"]
            axis.set_xlabel(f"{distortions[name]['label']}\n({better} is better)")
        axes[0].set_yticks(range(len(downscalers)), downscalers)
        axes[0].invert_yaxis()
        if len(series) > 1:
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        else:
            figure.suptitle(f"IDA-RD with {series[0][0]}, x{series[0][1]}", fontsize=10)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, downscalers: list[str], series: list[tuple[str, int]]) -> None:
    for i, (upscaler, factor) in enumerate(series):
        mine = rows[(rows.upscaler == upscaler) & (rows.factor == factor)].set_index("downscaler").loc[downscalers]
        y = np.arange(len(downscalers)) + 0.6 * ((i + 0.5) / len(series) - 0.5)
        mean = mine["mean"].to_numpy()
        error = np.stack([mean - mine.ci_low.to_numpy(), mine.ci_high.to_numpy() - mean]).clip(0)
        axis.errorbar(
            mean,
            y,
            xerr=error,
            fmt=MARKERS[i % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            markersize=4.5,
            capsize=2.5,
            linewidth=1.1,
            label=f"{upscaler}, x{factor}",
        )
    axis.grid(axis="x", color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)


def telling_images(scores: pd.DataFrame, count: int) -> list[str]:
    """Pick the images to show: ranked by how far apart the downscalers lie on them, evenly from the first.

    Parameters
    ----------
    scores : DataFrame
        Score per image id (rows) and downscaler (columns).
    count : int
        1: the image on which the downscalers differ most; 2: that one and the median one; ...
    """
    spread = (scores.max(axis=1) - scores.min(axis=1)).sort_values(ascending=False, kind="stable")
    count = min(count, len(spread))
    return [str(spread.index[i * len(spread) // count]) for i in range(count)]


def contact_sheet(
    project: Project,
    image_id: str,
    upscaler: str,
    factor: int,
    marks: str,
    downscalers: list[str],
    scores: dict[tuple[str, int], float],
    label: str,
    maps: Maps | None,
) -> Figure:
    """Draw HR | LR | SR samples | where they differ: one row per downscaler, the score on each sample.

    Parameters
    ----------
    project : Project
    image_id : str
    upscaler : str
    factor : int
    marks : str
        What must be known about the upscaler.
    downscalers : list of str
        Rows, in this order.
    scores : dict
        (downscaler, sample) to the leading distortion; samples that are not there are not shown.
    label : str
        Name of that distortion.
    maps : callable, optional
        Takes HR (H, W, 3) and SR (K, H, W, 3), both uint8, and returns where that distortion lies, (K, H, W).
        None: the absolute difference of the pixels is drawn.
    """
    samples = sorted({k for _, k in scores})[:SHOWN_SAMPLES]
    columns = 2 + 2 * len(samples)
    hr = _read(project.hr / f"{image_id}.png")
    side = 1.45
    sr = {
        key: _read(project.sr_of(Branch(upscaler, factor, key[0])) / image_id / f"{key[1]}.webp")
        for key in ((downscaler, k) for downscaler in downscalers for k in samples)
        if key in scores
    }
    differences = dict(zip(sr, (maps or _absolute)(hr, np.stack(list(sr.values()))), strict=True))
    top = float(np.quantile(list(differences.values()), 0.995)) if maps else DIFFERENCE_RANGE
    with matplotlib.rc_context(STYLE):
        width, height = side * columns + 0.5, side * len(downscalers) * hr.shape[0] / hr.shape[1] + 1.1
        layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        figure = Figure(figsize=(width, height), layout=layout)
        axes = figure.subplots(len(downscalers), columns, squeeze=False)
        for row, downscaler in zip(axes, downscalers, strict=True):
            lr = _read(project.lr_of(downscaler, factor) / f"{image_id}.png")
            _show(row[0], hr)
            _show(row[1], lr)
            row[0].set_ylabel(downscaler, fontsize=9)
            for i, k in enumerate(samples):
                left, right = row[2 + i], row[2 + len(samples) + i]
                if (downscaler, k) not in scores:
                    _show(left, np.full_like(hr, 255))
                    _show(right, np.full_like(hr, 255))
                    left.set_xlabel("not finite", fontsize=7, labelpad=1)
                    continue
                _show(left, sr[downscaler, k])
                left.set_xlabel(f"{label} {scores[downscaler, k]:.3f}", fontsize=7, labelpad=1)
                difference = differences[downscaler, k]
                last = right.imshow(difference, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
                right.set(xticks=[], yticks=[])
        titles = ["HR", f"LR ({factor} times smaller)", *(f"SR sample {k + 1}" for k in samples)]
        titles += [f"where {k + 1} differs" if maps else f"|SR {k + 1} - HR|" for k in samples]
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=8)
        bar = figure.colorbar(last, ax=axes[:, 2 + len(samples) :], location="bottom", shrink=0.6, pad=0.01, aspect=40)
        meaning = f"{label}, locally" if maps else "mean absolute difference, of 255"
        bar.set_label(meaning, fontsize=8)
        figure.suptitle(f"{image_id}, reconstructed by {marked_name(upscaler, marks)}", fontsize=10)
    return figure


def _absolute(hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.abs(sr.astype(int) - hr).mean(axis=3)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` again") from None


def _show(axis: Axes, image: NDArray[np.uint8]) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
