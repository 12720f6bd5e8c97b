"""What scores amount to: the ladder that is scored beside them, their columns, and their words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.comparisons import losses, wide_by_photograph
from ida_rd.aggregate.ladder import amounts
from ida_rd.core.errors import UserError
from ida_rd.core.tables import marked_name
from ida_rd.core.typeset import markdown_table

__all__ = ["BLURS", "amount_words", "amounts_markdown", "anchors", "is_anchor", "ladder_table", "rungs", "with_amounts"]

BLURS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.6)  # LR pixels
PREFIX = "blur-ladder-"
NEAREST = f"{PREFIX}nearest"
COLUMNS = ("blur", "place", "blur_low", "blur_high", "percent", "percent_low", "percent_high")


def _rung(sigma: float) -> str:
    return f"{PREFIX}{round(100 * sigma):03d}"


def is_anchor(downscaler: str) -> bool:
    """Whether it is one of `anchors`."""
    return downscaler.startswith(PREFIX)


def rungs() -> list[dict[str, Any]]:
    """Bicubic with each of `BLURS`, as in ``params.yaml``.

    The blur is Pillow's, of the LR image: its variance is sigma squared however small that is. A sampled Gaussian of
    0.3 pixels, for comparison, hardly blurs at all.
    """
    bicubic: dict[str, Any] = {"method": "resample", "filter": "bicubic"}
    return [bicubic | ({"degrade": [{"gaussian_blur": {"sigma": sigma}}]} if sigma else {}) for sigma in BLURS]


def anchors(given: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The downscalers that scores are held against: `rungs`, and nearest.

    Raises
    ------
    UserError
        One of those that are scored is called like them.
    """
    if taken := [name for name in given if is_anchor(name)]:
        raise UserError(f"downscale: {taken[0]} is called like a rung of the ladder of blurs: give it another name")
    return dict(zip(map(_rung, BLURS), rungs(), strict=True)) | {NEAREST: {"method": "resample", "filter": "nearest"}}


def with_amounts(
    scores: pd.DataFrame, images: pd.DataFrame, ladder: pd.DataFrame, recipe: Mapping[str, Any]
) -> pd.DataFrame:
    """Give every row of a call's scores its blur-equivalent and its percentage; see `ida_rd.aggregate.ladder`.

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
    found: dict[tuple[str, str], dict[str, Any]] = {}
    photographs = dict(zip(images.image_id, images.photograph, strict=True))
    settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
    for name in recipe["distortion_order"]:
        both = pd.concat([images, ladder], ignore_index=True)
        wide = losses(both.pivot_table(name, "image_id", "downscaler"), recipe["distortions"][name]["better"])
        wide = wide_by_photograph(wide, photographs).dropna()
        own = [column for column in wide if not is_anchor(column)]
        values = amounts(
            wide[own].to_numpy(np.float64),
            wide[[_rung(sigma) for sigma in BLURS]].to_numpy(np.float64),
            wide[NEAREST].to_numpy(np.float64),
            np.array(BLURS),
            **settings,
        )
        found |= {(column, name): asdict(amount) for column, amount in zip(own, values, strict=True)}
    rows = [found[key] for key in zip(scores.downscaler, scores.distortion, strict=True)]
    return scores.assign(**{column: [row[column] for row in rows] for column in COLUMNS})


def ladder_table(ladder: pd.DataFrame, images: pd.DataFrame, recipe: Mapping[str, Any]) -> pd.DataFrame:
    """The rungs by themselves: upscaler, factor, blur in LR pixels, distortion and mean over photographs."""
    photographs = dict(zip(images.image_id, images.photograph, strict=True))
    rows = []
    for name in recipe["distortion_order"]:
        wide = wide_by_photograph(ladder.pivot_table(name, "image_id", "downscaler"), photographs)
        rows += [
            {"distortion": name, "downscaler": "bicubic", "blur": sigma, "mean": float(wide[_rung(sigma)].mean())}
            for sigma in BLURS
        ]
        rows += [{"distortion": name, "downscaler": "nearest", "blur": None, "mean": float(wide[NEAREST].mean())}]
    first = ladder.iloc[0]
    return pd.DataFrame(rows).assign(upscaler=first.upscaler, factor=first.factor)


def amounts_markdown(scores: pd.DataFrame, distortions: Mapping[str, Any], order: list[str], confidence: float) -> str:
    """Set what scores amount to as Markdown: one row per branch, best first, a cell per distortion."""
    lead = scores[scores.distortion == order[0]]
    ranked = lead.sort_values("mean", ascending=distortions[order[0]]["better"] == "lower", kind="stable")
    cells = scores.set_index(["downscaler", "distortion"])
    rows = []
    for row in ranked.itertuples():
        texts = [amount_words(cells.loc[(row.downscaler, name)]) for name in order]
        rows.append([marked_name(row.upscaler, row.marks), f"x{row.factor}", row.downscaler, *texts])
    heads = [f"blur by {distortions[name]['label']}" for name in order]
    lines = markdown_table(["upscaler", "factor", "downscaler", *heads], rows)
    lines += [
        "",
        f"blur: it loses as much as bicubic followed by a Gaussian blur of so many LR pixels [{confidence:.0%} interval"
        " over photographs]; behind it, the share of the way from the least loss here to nearest's.",
    ]
    return "\n".join(lines) + "\n"


def amount_words(row: Any) -> str:
    """A row's blur-equivalent and percentage in words."""
    if row["place"] == "less":
        text = "less than bicubic"
    elif row["place"] == "more":
        text = f"more than {BLURS[-1]:g}"
    else:
        text = f"{row['blur']:.2f}"
    low, high = row["blur_low"], row["blur_high"]
    if pd.notna(low) and pd.notna(high) and (row["place"] == "within" or low != high):
        ends = [f"more than {end:g}" if end >= BLURS[-1] else f"{end:.2f}" for end in (low, high)]
        text += f" [{', '.join(ends)}]"
    return text if pd.isna(row["percent"]) else f"{text}; {row['percent']:.0f} %"
