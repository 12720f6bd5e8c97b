"""Draw the figures and write the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from numpy.typing import NDArray

from stages.core.engine import device_name
from stages.core.files import read_json, write_text
from stages.core.methods import find_method, validate
from stages.core.tables import read_table
from stages.report.figures import Maps, contact_sheet, save, score_figure, telling_images

__all__ = ["draw", "write_page"]

TEMPLATES = Path(__file__).with_name("templates")


def draw(recipe: dict[str, Any], table: pd.DataFrame, distortions: dict[str, Any], target: Path) -> list[str]:
    """Write ``scores`` and one contact sheet per upscaler, factor and shown image; return the sheets' stems."""
    order = recipe["distortion_order"]
    save(score_figure(table, distortions, order), target / "scores")
    lead = order[0]
    maps = leading_maps(lead, recipe["lead"]) if recipe["images"] else None
    stems: list[str] = []
    sign = 1 if distortions[lead]["better"] == "lower" else -1
    for (upscaler, factor), group in table[table.distortion == lead].groupby(["upscaler", "factor"], sort=False):
        ranked = group.assign(key=group["mean"] * sign).sort_values(["key", "downscaler"])
        downscalers = list(ranked.downscaler)
        folder = f"{upscaler}/x{factor}"
        rows = pd.concat(
            [
                read_table(f"data/distortion/{folder}/{name}.csv", hint="run `dvc repro distort`").assign(
                    downscaler=name
                )
                for name in downscalers
            ]
        )
        rows = rows[rows.finite]
        means = rows.pivot_table(lead, index="image_id", columns="downscaler", aggfunc="mean")
        for image_id in telling_images(means, recipe["images"]):
            mine = rows[rows.image_id == image_id]
            keys = zip(mine.downscaler, mine["sample"], mine[lead], strict=True)
            scores = {(downscaler, int(k)): float(value) for downscaler, k, value in keys}
            label = distortions[lead]["label"]
            stem = f"contact_sheet-{upscaler}-x{factor}-{len(stems) + 1}"
            save(contact_sheet(image_id, folder, downscalers, scores, label, maps), target / stem)
            stems.append(stem)
    return stems


def leading_maps(name: str, entry: dict[str, Any]) -> Maps | None:
    """Load the leading distortion; return what tells where it lies in an image, None where it does not know."""
    method = find_method("distort", entry["method"], where=f"distortions.{name}")
    parameters = validate(method.Parameters, entry["parameters"], where=f"distortions.{name}")
    loaded = method.load(parameters, device_name())
    if not hasattr(loaded, "maps"):
        return None

    def maps(hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> NDArray[Any]:
        reference = loaded.reference(np.ascontiguousarray(hr.transpose(2, 0, 1)))
        planes = np.ascontiguousarray(sr.transpose(0, 3, 1, 2))
        return np.concatenate([loaded.maps(reference, one[None]) for one in planes])  # all at once need much memory

    return maps


def write_page(
    recipe: dict[str, Any],
    table: pd.DataFrame,
    distortions: dict[str, Any],
    plots: Path,
    sheets: list[str],
    target: Path,
) -> None:
    """Write ``index.html`` with its pictures beside it: a folder that can be opened, moved and sent."""
    for stem in ["scores", *sheets]:
        shutil.copyfile(plots / f"{stem}.png", target / f"{stem}.png")
    shutil.copyfile(plots / "scores.svg", target / "scores.svg")
    provenance = read_json("metrics/provenance.json", hint="run `dvc repro aggregate`")
    balance = read_json("metrics/balance.json", hint="run `dvc repro balance`")
    order = recipe["distortion_order"]
    lead = order[0]
    ascending = distortions[lead]["better"] == "lower"
    rows = []
    for _, group in table.groupby(["upscaler", "factor"], sort=False):
        cells = group.set_index(["downscaler", "distortion"]).to_dict("index")
        ranked = group[group.distortion == lead].sort_values(["mean", "downscaler"], ascending=[ascending, True])
        best = {name: _best(group[group.distortion == name], distortions[name]["better"]) for name in order}
        for downscaler in ranked.downscaler:
            first = cells[downscaler, lead]
            values = [{**cells[downscaler, name], "best": best[name] == downscaler} for name in order]
            rows.append({**first, "downscaler": downscaler, "values": values})
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html").render(
        rows=rows,
        distortions=[distortions[name] for name in order],
        lead=distortions[lead],
        sheets=sheets,
        skipped=provenance["skipped"],
        balance=balance,
        provenance=provenance,
        parameters=yaml.safe_dump(recipe["parameters"], sort_keys=False, allow_unicode=True),
        weights={key: value for r in _recipes(provenance) for key, value in r.get("weights", {}).items()},
    )
    write_text(target / "index.html", page)


def _best(rows: pd.DataFrame, better: str) -> str:
    return str(rows.sort_values(["mean", "downscaler"], ascending=[better == "lower", True]).downscaler.iloc[0])


def _recipes(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    methods = provenance["methods"]
    return [r for r in methods.values() if "weights" in r] + list(methods["distort"]["distortions"].values())
