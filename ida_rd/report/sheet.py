"""A sheet of images in rows: one raster, and text around it. An artist for every image takes many times as long."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ida_rd.report.style import STYLE

__all__ = ["sheet_figure"]

SIDE = 1.45  # inches, of an image's width
GAP, TEXT = 0.03, 0.17  # between images, beside and below
LEFT, RIGHT, ABOVE, BELOW = 0.28, 0.08, 0.58, 0.62  # margins
DPI = 200  # of the raster, as of the PNG
COLOUR_MAP = "magma"
Row = tuple[str, list[tuple[NDArray[Any] | None, str]]]


def sheet_figure(
    title: str, columns: list[str], rows: list[Row], size: tuple[int, int], top: float, meaning: str
) -> Figure:
    """Draw images in rows and columns.

    Parameters
    ----------
    title : str
        Of the sheet.
    columns : list of str
        Their titles.
    rows : list
        Each a name, and images with a text below: (h, w, 3) uint8 as they are, (h, w) in colours, None: white.
    size : tuple of int
        Height and width of the HR image, whose shape all have here.
    top : float
        Value at the bright end of the colours.
    meaning : str
        What the colours show.
    """
    tall = SIDE * size[0] / size[1]
    across, down = SIDE + GAP, tall + TEXT
    inner = across * len(columns) - GAP, down * len(rows)
    width, height = LEFT + inner[0] + RIGHT, ABOVE + inner[1] + BELOW
    colours = matplotlib.colormaps[COLOUR_MAP]
    raster = np.full((round(inner[1] * DPI), round(inner[0] * DPI), 3), 255, np.uint8)
    shape = max(1, round(tall * DPI)), round(SIDE * DPI)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axis = figure.add_axes((LEFT / width, BELOW / height, inner[0] / width, inner[1] / height))
        axis.set(xlim=(0, inner[0]), ylim=(inner[1], 0))
        axis.axis("off")
        for i, (name, cells) in enumerate(rows):
            axis.text(-0.06, i * down + tall / 2, name, rotation=90, ha="right", va="center", fontsize=9)
            for j, (image, text) in enumerate(cells):
                if image is not None:
                    y, x = round(i * down * DPI), round(j * across * DPI)
                    place = raster[y : y + shape[0], x : x + shape[1]]
                    place[:] = _sized(image, place.shape[:2], colours, top)
                if text:
                    axis.text(j * across + SIDE / 2, i * down + tall + 0.02, text, ha="center", va="top", fontsize=7)
        for j, text in enumerate(columns):
            axis.text(j * across + SIDE / 2, -0.05, text, ha="center", va="bottom", fontsize=8)
        axis.imshow(raster, extent=(0, inner[0], inner[1], 0), aspect="auto", interpolation="nearest")
        maps = (len(columns) - 2) // 2
        first = LEFT + (len(columns) - maps) * across
        span = maps * across - GAP
        bar = figure.add_axes(((first + 0.2 * span) / width, 0.42 / height, 0.6 * span / width, 0.07 / height))
        mappable = matplotlib.cm.ScalarMappable(Normalize(0, top), colours)
        figure.colorbar(mappable, cax=bar, orientation="horizontal").set_label(meaning, fontsize=8)
        figure.suptitle(title, y=1 - 0.08 / height, va="top", fontsize=10)
    return figure


def _sized(image: NDArray[Any], shape: tuple[int, ...], colours: Any, top: float) -> NDArray[np.uint8]:
    """The nearest pixels of an image, at another size."""
    down, across = ((np.arange(to) + 0.5) * have / to for to, have in zip(shape, image.shape[:2], strict=True))
    picked = image[down.astype(int)[:, None], across.astype(int)]
    if picked.ndim == 3:
        return picked
    return colours(np.clip(picked / (top or 1), 0, 1), bytes=True)[..., :3]
