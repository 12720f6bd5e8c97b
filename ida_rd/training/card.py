"""What every model card needs: credits of the photographs, earlier trainings, a figure of heats.

The text of a card is its experiment's; ``experiments/train-flow-compact/card.py`` is an example.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path
from ida_rd.core.foreign import MEBIBYTE, decoding
from ida_rd.core.names import cell_problem
from ida_rd.core.readers import read_content
from ida_rd.training.patches import Pixels

__all__ = ["CREDIT", "credits", "draw_heats", "earlier_phases", "kept_phases", "licences"]

LARGEST_CREDITS = 16 * MEBIBYTE
CREDIT = ("file", "title", "author", "licence", "source")


def licences(images: Sequence[Mapping[str, str]]) -> str:
    """Licences of the training photographs, the most common first, with their counts."""
    counts = Counter(row.get("licence", "not stated") for row in images)
    return ", ".join(f"{name} ({n})" for name, n in counts.most_common())


def credits(training: Mapping[str, Any]) -> str:
    """Return the credits of the training photographs as CSV, from the record of a run."""
    for row in training["images"]:
        for key in CREDIT:
            if problem := cell_problem(str(row.get(key, ""))):
                raise UserError(f"{row.get('file')}: its {key}, {str(row[key])[:60]!r}, {problem}: change it")
    text = io.StringIO()
    writer = csv.DictWriter(text, CREDIT, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(training["images"])
    return text.getvalue()


def earlier_phases(card: Path, training: Mapping[str, Any]) -> list[str]:
    """Rows of trainings in an older card, which must be that of the weights that `training` started from."""
    begun = training.get("initial") or "nothing"
    if not card.is_file() or f"`{begun}`" not in (text := card.read_text(encoding="utf-8")):
        raise UserError(
            f"--earlier {card}: is not the card of the weights that the first run started from ({begun[:12]})"
        )
    return _rows(text)


def kept_phases(card: Path, weights: str) -> tuple[list[str], list[dict[str, str]]]:
    """Rows of trainings, and the credits, of an existing card of the weights with sha256 `weights`."""
    if not card.is_file() or f"sha256 `{weights}`" not in (text := card.read_text(encoding="utf-8")):
        raise UserError(f"--rewrite {card}: is not the card of these weights ({weights[:12]}); name theirs")
    path, hint = card.with_suffix(".csv"), "the credits of a card lie beside it: restore them"
    data = read_content(path, hint=hint, limit=LARGEST_CREDITS)
    with decoding(f"{path}: not the credits of a card", hint):
        found = list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
        if not found or any({*row} != {*CREDIT} or None in row.values() for row in found):
            raise ValueError(f"its columns are not {', '.join(CREDIT)}")
    return _rows(text), found


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("| scratch |", "| `"))]


def draw_heats(
    path: Path,
    heats: Mapping[float, Mapping[str, float]],
    labels: Mapping[str, str],
    preset: float,
    columns: Sequence[str],
    rows: Sequence[Sequence[Pixels]],
    *,
    axis: str = "heat",
) -> None:
    """Draw distances against heat, or what `axis` names instead, above a grid of images, as WebP.

    Parameters
    ----------
    path : Path
        The file to write.
    heats : dict
        Distances by heat.
    labels : dict
        Which of them are drawn, and the label of each axis.
    preset : float
        The heat to mark.
    columns : sequence of str
        Titles of the grid's columns.
    rows : sequence of sequence of ndarray
        Images (H, W, 3), uint8.
    """
    with matplotlib.rc_context({"text.parse_math": False}):  # a title with two $ is a title
        _draw_heats(path, heats, labels, preset, columns, rows, axis)


def _draw_heats(
    path: Path,
    heats: Mapping[float, Mapping[str, float]],
    labels: Mapping[str, str],
    preset: float,
    columns: Sequence[str],
    rows: Sequence[Sequence[Pixels]],
    axis: str,
) -> None:
    plot = Figure(figsize=(12, 8))
    FigureCanvasAgg(plot)
    parts = plot.subfigures(2, 1, height_ratios=(1, 2), squeeze=False)[:, 0]
    axes = parts[0].subplots(1, len(labels), squeeze=False)[0]
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        ax.plot(list(heats), [row[name] for row in heats.values()], marker="o")
        ax.axvline(preset, color="grey", linestyle=":")
        ax.set(xlabel=axis, ylabel=label)
    grid = parts[1].subplots(len(rows), len(columns), squeeze=False)
    for i, (line, images) in enumerate(zip(grid, rows, strict=True)):
        for ax, image, title in zip(line, images, columns, strict=True):
            ax.imshow(image)
            ax.set_axis_off()
            if i == 0:
                ax.set_title(title, fontsize=9)
    with atomic_path(path) as temporary:
        plot.savefig(temporary, format="webp", dpi=110, pil_kwargs={"quality": 90})
