"""Measures of one image on LR images of falling size, beside the score and the supplement's Table 12.

Table 12 says that measures with no reference cannot judge small LR images. Here every cell says what it rests on: how
many patches, or how near to what the machine was trained on. Where a measure is not defined there is a dash, with the
reason. The LR images are those of the run (`reduce_image` by its recipes), and of more sizes by the same recipes; the
score stands beside those that were scored.

The pipeline has no stage for these measures: they judge one image and decide nothing that another stage reads, so this
script calls them, and the root's pipeline stays as it is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from told import Facts, draw, findings, latex, page

from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, by_photograph, mean_interval, paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import OpenedMethod, Parameters, open_method, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.software import MissingSoftware
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.weights import MissingWeights
from ida_rd.downscale.work import reduce_image
from ida_rd.engine.local import run_units
from ida_rd.quality.contract import Measure, Undefined
from ida_rd.quality.niqe.model import Pristine, constant, of_one_patch, read_pristine
from ida_rd.quality.niqe.patches import features, tiles_of
from ida_rd.report.figures import save
from ida_rd.study.record import write_record

SCORE = "ida-rd"
ONE_PATCH = "one patch"  # what NIQE's released program gives there, by our model; see `of_one_patch`
KEYS = ["measure", "size", "downscaler"]


class Compared(Parameters):
    """``nr-iqa.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    sizes: list[int] = Field(min_length=1)
    blurs: dict[str, float] = Field(min_length=1)
    measures: dict[str, dict[str, Any]] = Field(min_length=1)
    fewer: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    toolbox_bias: float
    paper: dict[str, dict[int, list[float]]] = Field(default_factory=dict)


class _Unit(NamedTuple):
    image_id: str
    hr: Path


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro balance` again") from None


def open_measures(compared: Compared) -> tuple[dict[str, OpenedMethod], dict[str, str]]:
    """The measures whose files and packages are here, and why others are left out."""
    found, missing = {}, {}
    for name, entry in compared.measures.items():
        if name in (SCORE, ONE_PATCH) or not isinstance(entry.get("method"), str):
            raise UserError(f"nr-iqa.yaml: measures.{name}: give it another name, and a method such as niqe")
        recipe = {"stage": "quality", "method": entry["method"]}
        recipe["parameters"] = {key: value for key, value in entry.items() if key != "method"}
        method = open_method(recipe, where=f"nr-iqa.yaml: measures.{name}")
        try:
            method.module.load(method.parameters)
            found[name] = method
        except MissingSoftware as error:
            missing[name] = str(error)
        except MissingWeights as error:
            files = ", ".join(method.module.describe(method.parameters).weights)
            missing[name] = f"its files are not here ({files}: see `ida-rd weights verify`)" if files else str(error)
    return found, missing


def _measure(compared: Compared, opened: dict[str, Measure], pristine: Pristine, unit: _Unit) -> list[dict[str, Any]]:
    """Every measure of every LR image of one HR image."""
    hr = _read(unit.hr)
    side = min(hr.shape[:2])
    rows = []
    for name in compared.blurs:
        recipe = read_recipe(Project(), "downscale", _any_factor(), name)
        method = open_method(recipe)
        for size in compared.sizes:
            if side % size or any(length % (side // size) for length in hr.shape[:2]):
                raise UserError(f"nr-iqa.yaml: sizes: {size} does not divide {side}, the side of {unit.hr}")
            lr, _ = reduce_image(method, recipe | {"factor": side // size}, unit.image_id, hr)
            begun = {"image_id": unit.image_id, "size": size, "downscaler": name}
            for key, measure in opened.items():
                row: dict[str, Any] = begun | {"measure": key, "value": None, "undefined": "", "marks": ""}
                try:
                    score = measure.score(lr)
                    row |= {"value": score.value, "marks": "; ".join(score.marks), **score.facts}
                except Undefined as reason:
                    row["undefined"] = str(reason)
                rows.append(row)
            if tiles_of(*lr.shape[:2]) == 1:
                value = of_one_patch(pristine, features(lr)[0][0])
                rows.append(begun | {"measure": ONE_PATCH, "value": value, "undefined": "", "marks": ""})
    return rows


def _any_factor() -> str:
    """What is named first of the factors that were planned: recipes differ by factor in nothing else."""
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    return f"x{plan['branches'][0]['factor']}"


def _make_worker(compared: Compared) -> partial:
    opened = {name: method.module.load(method.parameters) for name, method in open_measures(compared)[0].items()}
    return partial(_measure, compared, opened, read_pristine())


def compute(compared: Compared, images: list[str]) -> pd.DataFrame:
    """One row per image, size, downscaler and measure."""
    units = [_Unit(image_id, Path(f"data/hr/{image_id}.png")) for image_id in images]
    found = run_units(partial(_make_worker, compared), units, label="nr-iqa")
    table = pd.DataFrame([row for _, part in found for row in part])
    return table.sort_values([*KEYS, "image_id"], ignore_index=True)


def scores(plan: dict[str, Any], compared: Compared, side: int) -> tuple[pd.DataFrame, str, dict[str, str]]:
    """The run's score of the same LR images, in rows alike; who made the reconstructions; and the score's name."""
    lead = plan["distortion_order"][0]
    upscalers = sorted({branch["upscaler"] for branch in plan["branches"]})
    rows = []
    for branch in plan["branches"]:
        if branch["upscaler"] != upscalers[0] or branch["downscaler"] not in compared.blurs:
            continue
        path = f"data/distortion/{upscalers[0]}/x{branch['factor']}/{branch['downscaler']}.csv"
        table = read_table(path, hint="run `dvc repro distort`")
        means = table[table.finite].groupby("image_id")[lead].mean()
        begun = {"size": side // branch["factor"], "downscaler": branch["downscaler"], "measure": SCORE}
        rows += [begun | {"image_id": str(image_id), "value": value} for image_id, value in means.items()]
    label, better = (plan["distortions"][lead][key] for key in ("label", "better"))
    found = pd.DataFrame(rows).assign(undefined="", marks="")
    if not found["size"].isin(compared.sizes).any():
        sides = ", ".join(str(size) for size in sorted(set(found["size"])))
        raise UserError(f"nr-iqa.yaml: sizes: the run scored LR images of {sides} pixels: name one of these too")
    return found[found["size"].isin(compared.sizes)], upscalers[0], {"label": f"IDA-RD: {label}", "better": better}


def summarised(compared: Compared, rows: pd.DataFrame, photographs: Photographs, confidence: float) -> pd.DataFrame:
    """One row per measure, size and downscaler: mean over photographs, what it rests on, and the paper's cell."""
    found = []
    for (measure, size, downscaler), part in rows.groupby(KEYS, sort=False):
        values = by_photograph(part.set_index("image_id").value.astype(float), photographs).to_numpy(np.float64)
        row = dict(zip(KEYS, (measure, size, downscaler), strict=True))
        low, high = mean_interval(values, confidence) if len(values) else (None, None)
        row |= {"blur": compared.blurs[downscaler], "mean": values.mean() if len(values) else np.nan}
        row |= {"ci_low": low, "ci_high": high, "images": int(part.value.notna().sum())}
        row |= {"marked": int((part.marks != "").sum()), "undefined": int((part.undefined != "").sum())}
        row["reason"] = "" if not row["undefined"] else str(part.undefined[part.undefined != ""].mode()[0])
        for fact in ("patches", "kernel"):
            row[f"least_{fact}"] = part[fact].min() if fact in part else np.nan
        row["paper"] = paper_cell(compared, str(measure), int(size), str(downscaler))
        found.append(row)
    return pd.DataFrame(found)


def paper_cell(compared: Compared, measure: str, size: int, downscaler: str) -> float:
    """What Table 12 prints; NaN where it has no such cell."""
    cells = compared.paper.get(measure, {}).get(size, [])
    place = [*compared.blurs].index(downscaler)
    return cells[place] if place < len(cells) else float("nan")


def by_fewer(
    compared: Compared, rows: pd.DataFrame, photographs: Photographs, settings: dict[str, Any]
) -> pd.DataFrame:
    """By how much a measure of fewer patches is higher on the same images without blur; one row per pair and size."""
    found: list[dict[str, Any]] = []
    first = next(iter(compared.blurs))
    if "patches" not in rows:  # no image is large enough for any
        return pd.DataFrame(found)
    for more, fewer in compared.fewer.items():
        for size in compared.sizes:
            wide = rows[(rows["size"] == size) & (rows.downscaler == first)]
            wide = wide.pivot(index="image_id", columns="measure", values=["value", "patches"])
            if not {("value", more), ("value", fewer)} <= {*wide.columns}:
                continue
            a, b = (wide["value"][name].astype(float).dropna() for name in (more, fewer))
            counts = [float(wide["patches"][name].astype(float).min()) for name in (more, fewer)]
            if a.empty or b.empty or counts[0] == counts[1]:
                continue
            difference = paired_difference(a, b, photographs, **settings)
            row = {"measure": more, "fewer": fewer, "size": size, "patches": counts[0], "patches_fewer": counts[1]}
            found.append(row | {"difference": difference.mean, "ci_low": difference.low, "ci_high": difference.high})
    return pd.DataFrame(found)


def constants(compared: Compared, rows: pd.DataFrame) -> dict[str, Any]:
    """What the released program gives for one patch: by model, and the range over our own images."""
    found: dict[str, Any] = {"own": constant(read_pristine())}
    found |= {name: constant(read_pristine(path)) for name, path in compared.models.items()}
    single = rows[rows.measure == ONE_PATCH]
    spread = [float(single.value.min()), float(single.value.max())] if len(single) else None
    return {"by_model": found, "ours": spread, "images": int(single.image_id.nunique()), "cells": len(single)}


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Compared, read_yaml("nr-iqa.yaml", hint=here), where="nr-iqa.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    known = {branch["downscaler"] for branch in plan["branches"]}
    if odd := sorted(compared.blurs.keys() - known):
        raise UserError(f"nr-iqa.yaml: blurs: params.yaml has no downscaler {', '.join(odd)}")
    subset = read_table("data/subset.csv", hint="run `dvc repro balance`")
    photographs = photographs_in(subset)
    images = sorted(photographs)
    opened, missing = open_measures(compared)
    side = min(_read(Path(f"data/hr/{images[0]}.png")).shape[:2])
    measured = compute(compared, images)
    scored, upscaler, score = scores(plan, compared, side)
    rows = pd.concat([measured, scored], ignore_index=True)
    settings = {key: plan[key] for key in ("confidence", "resamples", "seed")}
    table = summarised(compared, rows[rows.measure != ONE_PATCH], photographs, plan["confidence"])
    described = {name: method.module.describe(method.parameters) for name, method in opened.items()}
    facts = Facts(
        data=compared.data,
        side=side,
        images=len(images),
        photographs=len(set(photographs.values())),
        confidence=plan["confidence"],
        sizes=compared.sizes,
        blurs=compared.blurs,
        labels={name: one.label for name, one in described.items()} | {SCORE: f"{score['label']} ({upscaler})"},
        better={name: one.better for name, one in described.items()} | {SCORE: score["better"]},
        missing=missing,
        paper=compared.paper,
        table=table,
        fewer=by_fewer(compared, measured, photographs, settings),
        constants=constants(compared, measured),
        toolbox_bias=compared.toolbox_bias,
        bias={name: -method.module.load(method.parameters).machine.rho for name, method in opened.items()
              if method.module.__name__.endswith(".brisque")},
    )  # fmt: skip
    with atomic_folder(Path("results") / compared.data) as folder:
        write_record(plan, folder, images=False)
        write_table(folder / "images.csv", rows.drop(columns="marks").round({"value": 6, "kernel": 4, "reach": 4}))
        write_table(folder / "table.csv", table)
        write_text(folder / "nr-iqa.md", page(facts))
        write_text(folder / "nr-iqa.tex", latex(facts))
        write_json(folder / "nr-iqa.json", {"constants": facts.constants, "findings": findings(facts)})
        save(draw(facts), folder / "nr-iqa")
    print(page(facts))


if __name__ == "__main__":
    exit_with_line(main)
