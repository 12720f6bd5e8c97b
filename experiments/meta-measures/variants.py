"""Score the same photographs again: mirrored, shifted by a pixel, cut elsewhere, and at other sizes.

By every upscaler and distortion of the run, with the image ids of the run, so that latents have the keys that they had;
they meet other pixels, and a change holds that noise too. What is cut is cut out of the whole photograph. Finished
units are kept in the experiment's store: a run that was interrupted goes on.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from ida_rd import score
from ida_rd.aggregate.results import photographs_in
from ida_rd.core.candidates import cut, read_candidate_file
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.images import ImageError
from ida_rd.core.methods import Parameters, open_method, validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table, write_table

sys.path.append(str(Path(__file__).resolve().parents[1] / "reliability"))
from retest import varied  # type: ignore[import-not-found]

Image = NDArray[np.uint8]
Place = tuple[int, int, int, int]
CHANGES = ("flip", "shift", "elsewhere")
HERE = "run this in the folder of the experiment"
FEWEST = 2  # photographs that can be scored


class Switch(Parameters):
    """Section ``switch``."""

    downscalers: list[str] = Field(min_length=1)
    others: int = Field(ge=1)


class Variants(Parameters):
    """Section ``variants``."""

    photographs: int = Field(ge=FEWEST)
    downscalers: list[str] = Field(min_length=3)
    changes: list[str]
    sides: list[int]


class Tasks(Parameters):
    """Section ``tasks``."""

    radius: float = Field(gt=0)
    ratio: float = Field(gt=0, le=1)
    classifier: str | None = None


class Criterion(Parameters):
    """What a value must reach, and what it would be by chance."""

    at_least: float | None = None
    at_most: float | None = None
    chance: float | None = None


class Criteria(Parameters):
    """Section ``criteria``."""

    switch: Criterion
    switch_auc: Criterion = Field(alias="switch-auc")
    empty: Criterion
    tau: Criterion
    change: Criterion
    ladder: Criterion
    task: Criterion


class Meta(Parameters):
    """``meta.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    ranked: list[str] = Field(min_length=3)
    empty: list[str] = Field(min_length=1)
    ladders: dict[str, list[str]]
    switch: Switch
    variants: Variants
    tasks: Tasks
    criteria: Criteria


def read_settings(plan: dict[str, Any]) -> Meta:
    """Read ``meta.yaml``, and refuse what the run does not know.

    Raises
    ------
    UserError
        In one line, all that is wrong.
    """
    meta = validate(Meta, read_yaml("meta.yaml", hint=HERE), where="meta.yaml")
    known = {branch["downscaler"] for branch in plan["branches"]}
    named = [*meta.ranked, *meta.empty, *meta.switch.downscalers, *meta.variants.downscalers]
    named += [name for rungs in meta.ladders.values() for name in rungs]
    if wrong := sorted(set(named) - known):
        raise UserError(f"meta.yaml: params.yaml has no downscaler {', '.join(wrong)}: correct one of them")
    if odd := [name for name in meta.variants.changes if name not in CHANGES]:
        raise UserError(f"meta.yaml: variants.changes: {odd[0]} is not known: use {', '.join(CHANGES)}")
    if short := [name for name, rungs in meta.ladders.items() if len(rungs) < 2]:
        raise UserError(f"meta.yaml: ladders: {short[0]} has fewer than two rungs: give at least two")
    if meta.criteria.empty.chance is not None:
        raise UserError("meta.yaml: criteria: empty: its chance follows from ranked and empty: leave it out")
    for name, one in meta.criteria:
        if (one.at_least is None) == (one.at_most is None):
            raise UserError(f"meta.yaml: criteria: {name.replace('_', '-')}: give either at_least or at_most")
    return meta


def criteria_of(meta: Meta) -> dict[str, dict[str, float | None]]:
    """What each measure must reach, and what chance would give."""
    found: dict[str, dict[str, float | None]] = meta.criteria.model_dump(by_alias=True)
    # Of R real and E empty images in any order, all R come first in one of so many orders.
    found["empty"]["chance"] = 1 / math.comb(len(meta.ranked) + len(meta.empty), len(meta.empty))
    return found


def around(image: Image, place: Place, side: int) -> Image | None:
    """A square about the middle of a tile, moved inside the photograph; None where it is larger than that."""
    height, width = image.shape[:2]
    if side > min(height, width):
        return None
    left, top = place[0] + place[2] // 2 - side // 2, place[1] + place[3] // 2 - side // 2
    return cut(image, min(max(left, 0), width - side), min(max(top, 0), height - side), side, side)


def elsewhere(image: Image, place: Place) -> Image | None:
    """A tile of the same size, in the corner that is farthest away; None where the tile is the whole photograph."""
    x, y, width, height = place
    far_x, far_y = (0 if at > (whole - own) / 2 else whole - own for at, own, whole in (
        (x, width, image.shape[1]), (y, height, image.shape[0])))  # fmt: skip
    return None if (far_x, far_y) == (x, y) else cut(image, far_x, far_y, width, height)


def made(image: Image, place: Place, variant: str, factor: int) -> Image | None:
    """One variant of a tile; None where the photograph is too small for it."""
    if variant.startswith("side-"):
        return around(image, place, int(variant.removeprefix("side-")))
    if variant == "elsewhere":
        return elsewhere(image, place)
    if variant == "shift" and place[2] == image.shape[1]:
        return None
    found: Image = varied(image, place, variant, factor)
    return found


def variant_names(variants: Variants, factor: int) -> list[str]:
    """Names of all variants; raises UserError for a side that the factor does not divide."""
    if odd := [side for side in variants.sides if side < factor or side % factor]:
        raise UserError(f"meta.yaml: variants.sides: {odd[0]} is no multiple of the factor, {factor}: give one that is")
    return [*variants.changes, *(f"side-{side}" for side in variants.sides)]


def losses_before(plan: dict[str, Any], upscaler: str, factor: int, names: list[str]) -> dict[str, pd.DataFrame]:
    """By distortion: losses, more is worse, of all images (rows) after the downscalers `names` (columns)."""
    found: dict[str, dict[str, pd.Series]] = {distortion: {} for distortion in plan["distortion_order"]}
    for name in names:
        rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
        means = rows[rows.finite].groupby("image_id")
        for distortion, columns in found.items():
            columns[name] = sign_of(plan, distortion) * means[distortion].mean()
    return {distortion: pd.DataFrame(columns) for distortion, columns in found.items()}


def sign_of(plan: dict[str, Any], distortion: str) -> float:
    """-1 for a similarity: losses are turned so that more is worse."""
    return -1.0 if plan["distortions"][distortion]["better"] == "higher" else 1.0


def branches_of(plan: dict[str, Any]) -> list[tuple[str, int]]:
    """Upscalers and factors of a run."""
    return list(dict.fromkeys((branch["upscaler"], branch["factor"]) for branch in plan["branches"]))


def smallest_side(plan: dict[str, Any], distortion: str) -> int:
    """The smallest side of an image, in pixels, that a distortion of the run compares."""
    method = open_method(plan["recipes"]["distort"]["distortions"][distortion])
    return int(method.module.describe(method.parameters).minimum_side)


def compute(meta: Meta, plan: dict[str, Any], parameters: dict[str, Any], subset: pd.DataFrame) -> pd.DataFrame:
    """Measure all variants: one row per upscaler, factor, variant, downscaler and image, a column per distortion.

    A distortion that cannot compare images so small has no value there.
    """
    tiles = subset[~subset.image_id.map(photographs_in(subset)).duplicated()].head(meta.variants.photographs)
    frames = []
    for upscaler, factor in branches_of(plan):
        for variant in variant_names(meta.variants, factor):
            images = {}
            for row in tiles.itertuples():
                try:
                    whole = read_candidate_file(row.file, parameters["images"].get("path"))
                except ImageError as error:
                    raise UserError(f"{row.file}: {error}; run `dvc repro` again") from None
                image = made(whole, (row.x, row.y, row.width, row.height), variant, factor)
                if image is not None:
                    images[row.image_id] = image
            print(f"{upscaler} x{factor}, {variant}: {len(images)} photographs", flush=True)
            side = min((min(image.shape[:2]) for image in images.values()), default=0)
            names = [name for name in plan["distortion_order"] if smallest_side(plan, name) <= side]
            if len(images) < FEWEST or not names:
                continue
            found = score(
                {name: parameters["downscalers"][name] for name in meta.variants.downscalers},
                images,
                factor=factor,
                upscaler=parameters["upscalers"][upscaler],
                samples=parameters["samples"],
                distortions={name: parameters["distortions"][name] for name in names},
                seed=parameters["seed"],
                missing_weights="error",
            )
            means = found.rows[found.rows.finite].groupby(["downscaler", "image_id"])[names].mean()
            for name in names:
                means[name] *= sign_of(plan, name)
            frames.append(means.reset_index().assign(upscaler=upscaler, factor=factor, variant=variant))
    columns = ["upscaler", "factor", "variant", "downscaler", "image_id", *plan["distortion_order"]]
    return pd.concat(frames, ignore_index=True).reindex(columns=columns) if frames else pd.DataFrame(columns=columns)


def main() -> None:
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    meta = read_settings(plan)
    subset = read_table("data/subset.csv", hint="run `dvc repro balance`")
    write_table(Path("data/variants.csv"), compute(meta, plan, read_yaml("params.yaml", hint=HERE), subset))


if __name__ == "__main__":
    exit_with_line(main)
