"""The ladder that `ida_rd.score` and ``ida-rd assert`` score beside what they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ida_rd.aggregate.amounts import AMOUNTS, amounts_table
from ida_rd.aggregate.comparisons import wide_by_photograph
from ida_rd.core.errors import UserError
from ida_rd.plan.ladder import NEAREST, rung

__all__ = ["BLURS", "anchors", "is_anchor", "ladder_table", "rungs", "with_amounts"]

BLURS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.6)  # LR pixels
PREFIX = "blur-ladder-"
LAST = f"{PREFIX}nearest"


def _name(sigma: float) -> str:
    return f"{PREFIX}{round(100 * sigma):03d}"


def is_anchor(downscaler: str) -> bool:
    """Whether it is one of `anchors`."""
    return downscaler.startswith(PREFIX)


def rungs() -> list[dict[str, Any]]:
    """Bicubic with each of `BLURS`, as in ``params.yaml``."""
    return [rung(sigma) for sigma in BLURS]


def anchors(given: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The downscalers that scores are held against: `rungs`, and nearest.

    Raises
    ------
    UserError
        One of those that are scored is called like them.
    """
    if taken := [name for name in given if is_anchor(name)]:
        raise UserError(f"downscale: {taken[0]} is called like a rung of the ladder of blurs: give it another name")
    return dict(zip(map(_name, BLURS), rungs(), strict=True)) | {LAST: dict(NEAREST)}


def with_amounts(
    scores: pd.DataFrame, images: pd.DataFrame, ladder: pd.DataFrame, recipe: Mapping[str, Any]
) -> pd.DataFrame:
    """Give every row of a call's scores its blur-equivalent and its percentage.

    Parameters
    ----------
    scores, images : DataFrame
        Of one upscaler and factor; see `ida_rd.aggregate.results.Results`.
    ladder : DataFrame
        As `images`: image means of `anchors`.
    recipe : mapping
        Of the aggregation.

    Returns
    -------
    DataFrame
        With the fields of `ida_rd.aggregate.ladder.Amount`.
    """
    photographs = dict(zip(images.image_id, images.photograph, strict=True))
    both = pd.concat([images, ladder.assign(photograph=ladder.image_id.map(photographs))], ignore_index=True)
    table = amounts_table(
        both,
        recipe,
        shown=list(dict.fromkeys(images.downscaler)),
        ladder=[(_name(sigma), sigma) for sigma in BLURS],
        nearest=LAST,
    )
    found = table.set_index(["downscaler", "distortion"])[list(AMOUNTS)].to_dict("index")
    rows = [found[key] for key in zip(scores.downscaler, scores.distortion, strict=True)]
    return scores.assign(**{column: [row[column] for row in rows] for column in AMOUNTS})


def ladder_table(ladder: pd.DataFrame, images: pd.DataFrame, recipe: Mapping[str, Any]) -> pd.DataFrame:
    """The rungs by themselves: upscaler, factor, blur in LR pixels, distortion and mean over photographs."""
    photographs = dict(zip(images.image_id, images.photograph, strict=True))
    rows = []
    for name in recipe["distortion_order"]:
        wide = wide_by_photograph(ladder.pivot_table(name, "image_id", "downscaler"), photographs)
        rows += [
            {"distortion": name, "downscaler": "bicubic", "blur": sigma, "mean": float(wide[_name(sigma)].mean())}
            for sigma in BLURS
        ]
        rows += [{"distortion": name, "downscaler": "nearest", "blur": None, "mean": float(wide[LAST].mean())}]
    first = ladder.iloc[0]
    return pd.DataFrame(rows).assign(upscaler=first.upscaler, factor=first.factor)
