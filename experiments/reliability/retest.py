"""Score the same photographs again: with other latents, turned, shifted by a pixel, cut otherwise.

What a person would call the same measurement should give the same result. `ida_rd.score` measures each variant with
the image ids of the run, so that latents have the keys that they had, except in variant ``seed``. In the other variants
they meet other pixels, and a change holds that noise too: ``seed`` says how large it is by itself.

Finished units are kept in the experiment's store: a run that was interrupted goes on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from ida_rd import score
from ida_rd.aggregate.results import photographs_in
from ida_rd.core.candidates import cut, read_candidate_file, rectangles
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.images import ImageError
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table, write_table

Image = NDArray[np.uint8]
KNOWN = re.compile(r"seed|flip|rot90|shift|whole|crop-[1-9]\d*")


class Retest(Parameters):
    """Section ``retest``."""

    photographs: int = Field(ge=2)
    downscalers: list[str] = Field(min_length=2)
    variants: list[str] = Field(min_length=1)


class Settings(Parameters):
    """``reliability.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    decoders: dict[str, list[str]] = Field(min_length=1)
    preset: str
    baseline: str
    photographs: list[int] = Field(min_length=1)
    splits: int = Field(default=2000, ge=100)
    smallest: float = Field(gt=0)
    retest: Retest


def varied(image: Image, place: tuple[int, int, int, int], variant: str, multiple: int) -> Image:
    """Cut one variant out of a whole photograph.

    Parameters
    ----------
    image : ndarray
        (H, W, 3).
    place : tuple
        x, y, width, height of the tile that was scored.
    variant : str
    multiple : int
        What the sides of a whole photograph are cut to a multiple of.

    Raises
    ------
    UserError
        The photograph is too small for it.
    """
    x, y, width, height = place
    tile = cut(image, *place)
    if variant == "flip":
        return np.ascontiguousarray(tile[:, ::-1])
    if variant == "rot90":
        return np.ascontiguousarray(np.rot90(tile))
    if variant == "shift":
        step = 1 if x + width < image.shape[1] else -1
        if x + step < 0:
            raise UserError(f"shift: the tile is as wide as its photograph, {width} pixels: leave it out of variants")
        return cut(image, x + step, y, width, height)
    if variant == "whole":
        return cut(image, *rectangles("", image.shape[1], image.shape[0], None, multiple)[0][1:])
    if variant.startswith("crop-"):
        side = int(variant.removeprefix("crop-"))
        if side > min(width, height) or side % multiple:
            raise UserError(
                f"{variant}: give a multiple of {multiple} up to {min(width, height)}, the side of the tiles"
            )
        return cut(tile, (width - side) // 2, (height - side) // 2, side, side)
    return tile


def chosen(subset: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first tile of each of the first `count` photographs of the test set."""
    return subset[~subset.image_id.map(photographs_in(subset)).duplicated()].head(count)


def check(settings: Settings, plan: dict[str, Any]) -> None:
    """Refuse names that the run does not know."""
    upscalers = {branch["upscaler"] for branch in plan["branches"]}
    downscalers = {branch["downscaler"] for branch in plan["branches"]}
    named = [*settings.retest.downscalers, settings.baseline]
    wrong = [f"downscaler {name}" for name in named if name not in downscalers]
    named = [settings.preset, *(name for names in settings.decoders.values() for name in names)]
    wrong += [f"upscaler {name}" for name in named if name not in upscalers]
    if wrong:
        raise UserError(f"reliability.yaml: params.yaml has no {', '.join(wrong)}: correct one of them")
    if settings.baseline not in settings.retest.downscalers:
        raise UserError(f"reliability.yaml: retest.downscalers lacks the baseline, {settings.baseline}: add it")
    if odd := [name for name in settings.retest.variants if not KNOWN.fullmatch(name)]:
        raise UserError(
            f"reliability.yaml: retest.variants: {odd[0]} is not known: use seed, flip, rot90, shift, whole, crop-128"
        )
    if len({branch["factor"] for branch in plan["branches"]}) > 1:
        raise UserError("params.yaml: factors: give one factor: the study is of one")


def primary(plan: dict[str, Any]) -> str:
    """The distortion that leads."""
    order = plan["distortion_order"]
    return str(plan["primary"] if plan.get("primary") in order else order[0])


def retest(settings: Settings, plan: dict[str, Any], parameters: dict[str, Any], subset: pd.DataFrame) -> pd.DataFrame:
    """Measure all variants: one row per variant, downscaler and photograph, with what it was; losses."""
    factor, lead = plan["branches"][0]["factor"], primary(plan)
    sign = -1.0 if plan["distortions"][lead]["better"] == "higher" else 1.0
    tiles = chosen(subset, settings.retest.photographs)
    folder = parameters["images"].get("path")
    names = settings.retest.downscalers
    before = {}
    for name in names:
        path = f"data/distortion/{settings.preset}/x{factor}/{name}.csv"
        rows = read_table(path, hint="run `dvc repro distort`")
        before[name] = rows[rows.finite].groupby("image_id")[lead].mean()
    frames = []
    for variant in settings.retest.variants:
        images = {}
        for row in tiles.itertuples():
            try:
                whole = read_candidate_file(row.file, folder)
            except ImageError as error:
                raise UserError(f"{row.file}: {error}; run `dvc repro` again") from None
            place = (row.x, row.y, row.width, row.height)
            try:
                images[row.image_id] = varied(whole, place, variant, factor)
            except UserError as error:
                raise UserError(f"{row.file}: {error}") from None
        print(f"retest: {variant}", flush=True)
        found = score(
            {name: parameters["downscalers"][name] for name in names},
            images,
            factor=factor,
            upscaler=parameters["upscalers"][settings.preset],
            samples=parameters["samples"],
            distortions={lead: parameters["distortions"][lead]},
            seed=parameters["seed"] + (variant == "seed"),
            missing_weights="error",
        )
        after = found.rows[found.rows.finite].groupby(["downscaler", "image_id"])[lead].mean()
        for name in names:
            table = pd.DataFrame({"before": before[name], "after": after[name]}).dropna() * sign
            frames.append(table.rename_axis("image_id").reset_index().assign(variant=variant, downscaler=name))
    return pd.concat(frames, ignore_index=True)[["variant", "downscaler", "image_id", "before", "after"]]


def main() -> None:
    here = "run this in the folder of the experiment"
    settings = validate(Settings, read_yaml("reliability.yaml", hint=here), where="reliability.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    check(settings, plan)
    subset = read_table("data/subset.csv", hint="run `dvc repro balance`")
    write_table(Path("data/retest.csv"), retest(settings, plan, read_yaml("params.yaml", hint=here), subset))


if __name__ == "__main__":
    exit_with_line(main)
