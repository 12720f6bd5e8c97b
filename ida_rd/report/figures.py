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
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import marked_name
from ida_rd.report.sheet import Cell, sheet_figure
from ida_rd.report.style import COLOURS, MARKERS, STYLE, without_date, write_below

__all__ = ["contact_sheet", "save", "score_figure", "telling_images"]

matplotlib.use("Agg")
Maps = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[Any]]
DIFFERENCE_RANGE = 64.0  # grey levels at the bright end of the difference maps
SHOWN_SAMPLES = 3
MOST_PIXELS = 65_000  # a side of a PNG: what matplotlib can draw


def save(figure: Figure, stem: Path, *, dpi: float = 200.0) -> None:
    """Write a figure as PNG, SVG and PDF, without a date in it; `dpi` is that of the PNG."""
    with matplotlib.rc_context(STYLE):
        dpi = min(dpi, MOST_PIXELS / max(figure.get_size_inches()))
        figure.savefig(stem.with_suffix(".png"), dpi=dpi, metadata=without_date("png"))
        figure.set_layout_engine("none")  # found once: all three are laid out alike, and it takes as long as drawing
        for form in ("svg", "pdf"):
            figure.savefig(stem.with_suffix(f".{form}"), metadata=without_date(form))


def score_figure(
    table: pd.DataFrame, distortions: dict[str, dict[str, Any]], order: list[str], note: str = ""
) -> Figure:
    """Points with intervals: one row per downscaler, panel per distortion, and colour per upscaler and factor.

    Rows are sorted by the leading distortion, best on top. `note` stands below.
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
        write_below(figure, note)
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
    """Draw HR, and per downscaler LR | SR samples | where they differ from HR, with the score on each sample.

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
    hr = _read(project.hr / f"{image_id}.png")
    rows: list[tuple[str, list[Cell]]] = []
    means = []
    for name in downscalers:
        folder = project.sr_of(Branch(upscaler, factor, name)) / image_id
        found = {k: _read(folder / f"{k}.webp") for k in samples if (name, k) in scores}
        mean = (maps or _absolute)(hr, np.stack(list(found.values()))).mean(axis=0) if found else None
        lr = _read(project.lr_of(name, factor) / f"{image_id}.png")
        shown: list[Cell] = [
            (found[k], f"{label} {scores[name, k]:.3g}") if k in found else (None, "not finite") for k in samples
        ]
        rows.append((name, [(lr, ""), *shown, (mean, "")]))
        means += [] if mean is None else [mean]
    count = len(samples)
    over = f"mean of {count} samples" if count > 1 else "one sample"
    return sheet_figure(
        f"{image_id}, reconstructed by {marked_name(upscaler, marks)}",
        hr,
        [
            f"LR ({factor} times smaller)",
            *(f"SR sample {k + 1}" for k in samples),
            "where they differ" if maps else "mean |SR - HR|",
        ],
        rows,
        float(np.quantile(means, 0.995)) if maps else DIFFERENCE_RANGE,
        f"{label}, locally, {over}" if maps else f"absolute difference, of 255, {over}",
    )


def _absolute(hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.abs(sr.astype(int) - hr).mean(axis=3)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` again") from None
