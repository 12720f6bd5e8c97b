"""Draw the figures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ida_rd.core.methods import open_method
from ida_rd.core.pairs import baseline_of
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import marked_name, read_table
from ida_rd.engine.device import device_name
from ida_rd.report.differences import differences_figure, ranks_figure
from ida_rd.report.figures import Maps, contact_sheet, save, score_figure, telling_images
from ida_rd.report.matched import matched_figure
from ida_rd.report.planes import (
    balance_figure,
    heat_map,
    perception_distortion_figure,
    rate_distortion_figure,
)
from ida_rd.report.sheet import save_sheet
from ida_rd.report.words import about, sizes

__all__ = ["draw", "leading_maps"]


def draw(project: Project, recipe: dict[str, Any], tables: dict[str, pd.DataFrame], target: Path) -> list[str]:
    """Draw what there is to draw of a run, as PNG, SVG and PDF, sheets without SVG; return the stems, sheets last."""
    distortions, order, confidence = recipe["distortions"], recipe["distortion_order"], recipe["confidence"]
    lead = order[0]
    label = distortions[lead]["label"]
    scores = tables["ida_rd"]
    count, bars = sizes(scores), about(scores, confidence)
    named, ranks, pairs = (_with_marks(tables[t], recipe["upscalers"]) for t in ("ida_rd", "ranks", "differences"))
    first = named[named.distortion == lead]
    leading = ranks[ranks.distortion == lead], pairs[pairs.distortion == lead]
    figures: dict[str, Figure | None] = {
        "differences": differences_figure(
            pairs,
            ranks,
            distortions,
            order,
            baseline_of(ranks, lead),
            confidence,
            f"{bars}, each for its pair by itself",
        ),
        "matched": _matched(tables, lead, label, bars),
        "scores": score_figure(named, distortions, order, f"{bars}; whether they overlap says nothing of differences"),
        "ranks": ranks_figure(*leading, confidence=confidence, label=label, note=count),
        "rate_distortion": rate_distortion_figure(first, distortions[lead], bars),
        "heat_map": heat_map(first, distortions[lead], count),
        "balance": balance_figure(tables["balance"]),
    }
    learned = [name for name in order if distortions[name]["kind"] == "learned"]
    # PSNR before MSE, as the field draws it.
    pixel = sorted((n for n in order if distortions[n]["kind"] == "pixel"), key=lambda n: distortions[n]["squared"])
    if learned and pixel:
        plane = perception_distortion_figure(named, learned[0], pixel[0], distortions, count)
        figures["perception_distortion"] = plane
    drawn = {stem: figure for stem, figure in figures.items() if figure is not None}
    for stem, figure in drawn.items():
        save(figure, target / stem)
    return [*drawn, *_contact_sheets(project, recipe, scores[scores.distortion == lead], target)]


def _matched(tables: dict[str, pd.DataFrame], lead: str, label: str, note: str) -> Figure | None:
    if "matched" not in tables:
        return None
    table = tables["matched"]
    return matched_figure(table[table.distortion == lead], label, note)


def _with_marks(table: pd.DataFrame, upscalers: dict[str, Any]) -> pd.DataFrame:
    """Name every upscaler with what must be known about it."""
    keys = zip(table.upscaler, table.factor, strict=True)
    return table.assign(upscaler=[marked_name(u, ", ".join(upscalers[f"x{f}/{u}"]["marks"])) for u, f in keys])


def _contact_sheets(project: Project, recipe: dict[str, Any], table: pd.DataFrame, target: Path) -> list[str]:
    """One per upscaler, factor and shown image."""
    distortions, lead = recipe["distortions"], recipe["distortion_order"][0]
    maps = leading_maps(recipe["methods"][lead]) if recipe["images"] else None
    stems: list[str] = []
    sign = 1 if distortions[lead]["better"] == "lower" else -1
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        ranked = group.assign(key=group["mean"] * sign).sort_values(["key", "downscaler"])
        downscalers = list(ranked.downscaler)
        rows = pd.concat(
            [
                read_table(project.rows_of(Branch(upscaler, factor, name)), hint="run `dvc repro distort`").assign(
                    downscaler=name
                )
                for name in downscalers
            ]
        )
        marks = group.marks.fillna("").iloc[0]
        rows = rows[rows.finite]
        means = rows.pivot_table(lead, index="image_id", columns="downscaler", aggfunc="mean")
        for image_id in telling_images(means, recipe["images"]):
            mine = rows[rows.image_id == image_id]
            keys = zip(mine.downscaler, mine["sample"], mine[lead], strict=True)
            scores = {(downscaler, int(k)): float(value) for downscaler, k, value in keys}
            label = distortions[lead]["label"]
            stem = f"contact_sheet-{upscaler}-x{factor}-{len(stems) + 1}"
            sheet = contact_sheet(project, image_id, upscaler, factor, marks, downscalers, scores, label, maps)
            save_sheet(sheet, target / stem)
            stems.append(stem)
    return stems


def leading_maps(recipe: dict[str, Any]) -> Maps | None:
    """Load the leading distortion; return what maps it over an image, None if it cannot."""
    method = open_method(recipe)
    if not getattr(method.module, "MAPS", True):  # it need not be loaded to see that
        return None
    loaded = method.module.load(method.parameters, device_name())
    if not hasattr(loaded, "maps"):
        return None

    def maps(hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> NDArray[Any]:
        reference = loaded.reference(np.ascontiguousarray(hr.transpose(2, 0, 1)))
        planes = np.ascontiguousarray(sr.transpose(0, 3, 1, 2))
        return np.concatenate([loaded.maps(reference, one[None]) for one in planes])  # all at once need much memory

    return maps
