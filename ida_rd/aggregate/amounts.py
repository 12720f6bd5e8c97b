"""What scores amount to: the ladder and nearest beside them, as a table and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.comparisons import losses, wide_by_photograph
from ida_rd.aggregate.ladder import Amount, amounts
from ida_rd.aggregate.results import Results
from ida_rd.core.amounts import amount_words, amounts_note
from ida_rd.core.tables import marked_name
from ida_rd.core.typeset import interval, markdown_table

__all__ = ["AMOUNTS", "amounts_markdown", "amounts_of_run", "amounts_table", "ladder_of"]

AMOUNTS = tuple(Amount.__dataclass_fields__)
KEY = ["upscaler", "factor", "distortion", "downscaler"]


def amounts_table(
    images: pd.DataFrame,
    recipe: Mapping[str, Any],
    *,
    shown: Sequence[str],
    ladder: Sequence[tuple[str, float]],
    nearest: str | None,
) -> pd.DataFrame:
    """Say of every score of `shown` what it amounts to; see `ida_rd.aggregate.ladder`.

    Parameters
    ----------
    images : DataFrame
        One row per branch and image, with its photograph and the means of every distortion.
    recipe : mapping
        Of the aggregation.
    shown : sequence of str
        Downscalers of which something is said.
    ladder : sequence of (str, float)
        Downscalers that are rungs and their blurs in LR pixels, rising from 0; may be empty.
    nearest : str or None
        The downscaler that takes nearest neighbours.

    Returns
    -------
    DataFrame
        One row per upscaler, factor, distortion and downscaler, with the fields of `ida_rd.aggregate.ladder.Amount`.
        Photographs on which a branch has no value are left out, for all.
    """
    photographs = dict(zip(images.image_id, images.photograph, strict=True))
    settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
    names = [name for name, _ in ladder]
    rows: list[dict[str, Any]] = []
    for (upscaler, factor), group in images.groupby(["upscaler", "factor"], sort=False):
        for distortion in recipe["distortion_order"]:
            wide = losses(
                group.pivot_table(distortion, "image_id", "downscaler", dropna=False),
                recipe["distortions"][distortion]["better"],
            )
            wide = wide_by_photograph(wide, photographs).dropna()
            own = [column for column in wide if column in shown]
            if not len(wide):
                continue
            found = amounts(
                wide[own].to_numpy(np.float64),
                wide[names].to_numpy(np.float64),
                None if nearest is None else wide[nearest].to_numpy(np.float64),
                np.array([sigma for _, sigma in ladder]),
                **settings,
            )
            cell = {"upscaler": upscaler, "factor": factor, "distortion": distortion}
            rows += [{**cell, "downscaler": name, **asdict(one)} for name, one in zip(own, found, strict=True)]
    return pd.DataFrame(rows, columns=[*KEY, *AMOUNTS])


def ladder_of(recipe: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Rungs of a run and their blurs; empty where ``params.yaml`` names none."""
    return [(str(name), float(sigma)) for name, sigma in recipe.get("amounts", {}).get("ladder", [])]


def amounts_of_run(recipe: Mapping[str, Any], results: Results) -> pd.DataFrame:
    """`amounts_table` of all scores of a run that has a ladder, nearest, or both: its ``amounts.csv``."""
    shown, nearest = list(dict.fromkeys(results.shown.downscaler)), recipe["amounts"]["nearest"]
    return amounts_table(results.images, recipe, shown=shown, ladder=ladder_of(recipe), nearest=nearest)


def amounts_markdown(
    scores: pd.DataFrame,
    distortions: Mapping[str, Any],
    order: Sequence[str],
    confidence: float,
    end: float | None,
    *,
    with_scores: bool = False,
) -> str:
    """Set what scores amount to as Markdown: one row per branch, best first, a cell per distortion.

    Parameters
    ----------
    scores : DataFrame
        With the fields of `ida_rd.aggregate.ladder.Amount`.
    distortions, order, confidence
        As for `ida_rd.aggregate.tables.markdown_table`.
    end : float or None
        The ladder's longest blur; None where there is no ladder.
    with_scores : bool
        Whether each cell begins with the score itself.
    """
    rows = []
    for (upscaler, factor), group in scores.groupby(["upscaler", "factor"], sort=False):
        lead = group[group.distortion == order[0]]
        ranked = lead.sort_values("mean", ascending=distortions[order[0]]["better"] == "lower", kind="stable")
        cells = group.set_index(["downscaler", "distortion"])
        for row in ranked.itertuples():
            of = [cells.loc[(row.downscaler, name)] for name in order]
            texts = [amount_words(one, end) for one in of]
            if with_scores:
                values = [interval(one["mean"], one["ci_low"], one["ci_high"]) for one in of]
                said = [f"blur {text}" if text and end is not None else text for text in texts]
                texts = ["; ".join(filter(None, pair)) for pair in zip(values, said, strict=True)]
            rows.append([marked_name(upscaler, row.marks), f"x{factor}", str(row.downscaler), *texts])
    heads = [distortions[name]["label"] if with_scores else f"blur by {distortions[name]['label']}" for name in order]
    lines = markdown_table(["upscaler", "factor", "downscaler", *heads], rows)
    note = amounts_note(f"{confidence:.0%}", ladder=end is not None)
    return "\n".join([*lines, "", f"Behind each score: {note}" if with_scores and end is None else note]) + "\n"
