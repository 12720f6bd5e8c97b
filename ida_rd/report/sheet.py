"""A sheet of images in rows: one raster, and text around it. An artist for every image takes many times as long.

Everything is laid out in whole pixels, so that each pixel of the PNG is one of an image (or a whole number of them is).
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ida_rd.report.style import STYLE, without_date

__all__ = ["Cell", "save_sheet", "sheet_figure"]

DPI = 176
WIDEST = 320  # pixels: wider images are drawn smaller, narrow ones a whole number of times larger
TALLEST = 60_000  # pixels of a sheet: matplotlib draws fewer than 65,536
GAP, TEXT = 6, 30  # pixels between images, beside and below
LEFT, RIGHT, ABOVE, BELOW = 50, 14, 48, 10  # margins
LEVELS = 16  # of the colours: a map of few is told apart more easily, and takes half the bytes
COLOUR_MAP = "magma"
Cell = tuple[NDArray[Any] | None, str]
Row = tuple[str, list[Cell]]


def sheet_figure(
    title: str, original: NDArray[np.uint8], columns: list[str], rows: list[Row], top: float, meaning: str
) -> Figure:
    """Draw images in rows and columns, below the original.

    Parameters
    ----------
    title : str
        Of the sheet.
    original : ndarray
        (H, W, 3) uint8, whose shape all have here.
    columns : list of str
        Titles.
    rows : list
        Each a name, and images with a text below: (h, w, 3) uint8 as they are, (h, w) in colours, None: white.
    top : float
        Value at the bright end of the colours.
    meaning : str
        What the colours show.
    """
    tall, wide = _size(original.shape[0], original.shape[1], len(rows))
    across, down = wide + GAP, tall + TEXT
    inner = across * max(len(columns), 3) - GAP
    width, height = LEFT + inner + RIGHT, ABOVE + down * (len(rows) + 1) + BELOW
    colours = matplotlib.colormaps[COLOUR_MAP].resampled(LEVELS)
    raster = np.full((height, width, 3), 255, np.uint8)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.axis("off")
        _place(raster, original, LEFT, ABOVE, (tall, wide), colours, top)
        axis.text(LEFT - 10, ABOVE + tall / 2, "HR", rotation=90, ha="right", va="center", fontsize=9)
        for i, (name, cells) in enumerate(rows, start=1):
            y = ABOVE + i * down
            axis.text(LEFT - 10, y + tall / 2, name, rotation=90, ha="right", va="center", fontsize=9)
            for j, (image, text) in enumerate(cells):
                x = LEFT + j * across
                if image is not None:
                    _place(raster, image, x, y, (tall, wide), colours, top)
                if text:
                    axis.text(x + wide / 2, y + tall + 4, text, ha="center", va="top", fontsize=7)
        for j, text in enumerate(columns):
            axis.text(LEFT + j * across + wide / 2, ABOVE + down - 6, text, ha="center", va="bottom", fontsize=8)
        axis.imshow(raster, extent=(0, width, height, 0), aspect="auto", interpolation="none")
        start, span = LEFT + across + 0.1 * wide, 1.8 * wide + GAP
        bar = figure.add_axes((start / width, 1 - (ABOVE + 0.4 * tall) / height, span / width, 14 / height))
        mappable = matplotlib.cm.ScalarMappable(Normalize(0, top or 1), colours)
        figure.colorbar(mappable, cax=bar, orientation="horizontal").set_label(meaning, fontsize=8)
        figure.suptitle(title, y=1 - 14 / height, va="top", fontsize=10)
    return figure


def save_sheet(figure: Figure, stem: Path) -> None:
    """Write a sheet as PNG and PDF. An SVG would hold the PNG as text, and be half as large again."""
    with matplotlib.rc_context(STYLE):
        (raster,) = figure.axes[0].images
        canvas = FigureCanvasAgg(figure)
        raster.set_visible(False)  # its pixels need no resampling: text, on white, is laid over them
        canvas.draw()
        raster.set_visible(True)
        pixels = np.minimum(np.asarray(canvas.buffer_rgba())[..., :3], np.asarray(raster.get_array()))
        with ThreadPoolExecutor(1) as beside:
            # Packing needs no lock of Python's, so that two files take the time of one.
            # Searching for longer repetitions makes photographs 6 % smaller, and takes three times as long.
            options: dict[str, Any] = {"dpi": (DPI, DPI), "compress_level": 6, "compress_type": zlib.Z_RLE}
            written = beside.submit(Image.fromarray(pixels).save, stem.with_suffix(".png"), **options)
            figure.savefig(stem.with_suffix(".pdf"), metadata=without_date("pdf"))
            written.result()


def _size(tall: int, wide: int, rows: int) -> tuple[int, int]:
    """Height and width of an image on a sheet of so many rows."""
    scale: float = WIDEST // wide if wide <= WIDEST else WIDEST / wide
    most = (TALLEST - ABOVE - BELOW) / (rows + 1) - TEXT
    scale = min(scale, max(most, 1) / tall)
    return max(1, round(tall * scale)), max(1, round(wide * scale))


def _place(
    raster: NDArray[np.uint8], image: NDArray[Any], x: int, y: int, shape: tuple[int, int], colours: Any, top: float
) -> None:
    sized = _sized(image, shape)
    if sized.ndim == 2:
        sized = colours(np.clip(sized / (top or 1), 0, 1), bytes=True)[..., :3]
    raster[y : y + shape[0], x : x + shape[1]] = sized


def _sized(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """An image at another size: the nearest pixels of a smaller one, weighted means of a larger one's."""
    if image.shape[0] <= shape[0]:
        down, across = ((np.arange(to) + 0.5) * have / to for to, have in zip(shape, image.shape[:2], strict=True))
        return image[down.astype(int)[:, None], across.astype(int)]
    picture = Image.fromarray(image if image.ndim == 3 else image.astype(np.float32))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR))
