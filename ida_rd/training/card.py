"""What every model card needs: credits of the photographs, trainings, a figure of heats, and a command that writes it.

The text of a card is its experiment's; ``experiments/train-flow-compact/card.py`` is an example.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import skimage
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path, sha256_file, write_text
from ida_rd.core.foreign import MEBIBYTE, decoding
from ida_rd.core.images import read_image
from ida_rd.core.names import cell_problem
from ida_rd.core.readers import read_content, read_json
from ida_rd.training.measure import Rounded
from ida_rd.training.patches import Pixels
from ida_rd.training.record import read_run

__all__ = [
    "CREDIT",
    "begun_from",
    "card_command",
    "credits",
    "draw_heats",
    "earlier_phases",
    "kept_phases",
    "licences",
    "provenance",
    "ran",
    "shown_rows",
]

LARGEST_CREDITS = 16 * MEBIBYTE
CREDIT = ("file", "title", "author", "licence", "source")
# Name, top and left of the crops shown of scikit-image's photographs (public domain or CC0).
SHOWN = (("astronaut", 30, 160), ("coffee", 150, 200), ("chelsea", 80, 120))
SHOWN_SIDE = 144


def licences(images: Sequence[Mapping[str, str]]) -> str:
    """Licences of the training photographs, the most common first, with their counts."""
    counts = Counter(row.get("licence", "not stated") for row in images)
    return ", ".join(f"{name} ({n})" for name, n in counts.most_common())


def provenance(images: Sequence[Mapping[str, str]], weights: Path) -> str:
    """Return what a card says of the licence of weights and of their training data."""
    free = "" if any("SA" in str(row.get("licence")) for row in images) else "None is under a share-alike licence."
    return (
        f"* **Licence of the weights**: Apache-2.0. sha256 `{sha256_file(weights)}`.\n"
        f"* **Training data**: {len(images)} photographs, each credited in `{weights.stem}.csv`, with their licences as"
        f" declared at the\n  source: {licences(images)}. {free}"
    )


def begun_from(training: Mapping[str, Any]) -> str:
    """First cell of a training in a card's table: the weights that it began from."""
    return f"`{training['initial'][:12]}`" if training.get("initial") else "scratch"


def ran(training: Mapping[str, Any], last: Mapping[str, Any], *precision: str) -> str:
    """Cells of a training: seed, steps that were skipped, minutes, what it ran on, code; `last` is of its log."""
    on = ", ".join([training["device"], *precision, f"torch {training['torch'].split('+')[0]}"])
    done = f"{training['config']['seed']} | {last['skipped']} | {last['seconds'] / 60:.0f}"
    return f"{done} | {on} | `{training['commit'][:12]}`"


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


@torch.inference_mode()
def shown_rows(
    parts: Callable[[str, Pixels], Sequence[Tensor]], rounded: Callable[[Tensor], Rounded]
) -> list[list[Pixels]]:
    """Crops of photographs that any reader has, each with what `parts` makes of it, (1, 3, H, W), by its name."""
    rows = []
    for name, y, x in SHOWN:
        photo = read_image(Path(skimage.__file__).parent / "data" / f"{name}.png")
        hr = np.ascontiguousarray(photo[y : y + SHOWN_SIDE, x : x + SHOWN_SIDE])
        rows.append([hr, *(rounded(part).sr[0].transpose(1, 2, 0) for part in parts(name, hr))])
    return rows


@matplotlib.rc_context({"text.parse_math": False})  # a title with two $ is a title
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
    plot = Figure(figsize=(12, 8))
    FigureCanvasAgg(plot)
    parts = plot.subfigures(2, 1, height_ratios=(1, 2), squeeze=False)[:, 0]
    axes = parts[0].subplots(1, len(labels), squeeze=False, gridspec_kw={"wspace": 0.5})[0]
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        at = sorted(heats)  # a file of figures has them in the order of their texts
        ax.plot(at, [heats[heat][name] for heat in at], marker="o")
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


def card_command(
    description: str,
    by: str,
    own: Callable[[Mapping[str, Any]], bool],
    other: str,
    phase: Callable[[dict[str, Any], list[dict[str, Any]]], str],
    card: Callable[[dict[str, Any], dict[str, Any], list[str], Path], str],
    figure: Callable[[Path, dict[str, Any]], None],
) -> None:
    """Write card, credits and figure beside the weights that a command line names.

    The figures are written by the script `by`; a run whose settings are not of this model is said not to be `other`.
    `phase` makes a row of a training's record and log, `card` the text of figures, last record, rows and weights.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="the --out of each training, in order")
    parser.add_argument("--weights", type=Path, required=True, help="the exported .safetensors file")
    parser.add_argument("--figures", type=Path, required=True, help=f"the JSON file that {by} wrote")
    a = parser.parse_args()
    figures = read_json(a.figures, hint=f"{by} writes it")
    runs = [read_run(run) for run in a.runs]
    for run, (training, log) in zip(a.runs, runs, strict=True):
        if not own(training["config"]) or not log:
            raise UserError(f"{run}: is not {other}")
    last = runs[-1][0]
    write_text(a.weights.with_suffix(".md"), card(figures, last, [phase(*one) for one in runs], a.weights))
    write_text(a.weights.with_suffix(".csv"), credits(last))
    figure(a.weights, figures)
