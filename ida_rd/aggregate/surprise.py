"""How far a decoder is from home on each downscaler, from its own likelihood: a table beside the scores.

It ranks nothing. Bits of HR given LR are, for a deterministic downscaler and an ideal decoder, those of the HR image
less those of the LR image: an LR image that needs many bits, such as one by nearest neighbours, leaves few. What is
read here is the *decoder*: how many bits more it needs than on LR images of the kind that it was trained with, and
whether its latents are as wide as they were then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.statistics import Photographs, by_photograph, mean_interval
from ida_rd.core.files import write_text
from ida_rd.core.pairs import AWAY, USUAL
from ida_rd.core.tables import marked_name, write_table
from ida_rd.core.typeset import interval, markdown_table

__all__ = ["surprise_markdown", "surprise_table", "write_surprise_tables"]

COLUMNS = ("upscaler", "factor", "downscaler", "photographs", "bits", "excess", "low", "high", "z2")


def surprise_table(rows: pd.DataFrame, photographs: Photographs, confidence: float) -> pd.DataFrame:
    """Mean bits and latents of every downscaler.

    Parameters
    ----------
    rows : DataFrame
        ``data/surprise.csv``: upscaler, factor, downscaler, image_id, bits, z2.
    photographs : mapping
        Image id to photograph.
    confidence : float
        Of the intervals.

    Returns
    -------
    DataFrame
        One row per upscaler, factor and downscaler: photographs; bits per sub-pixel; excess, those beyond bicubic's,
        with its interval over photographs (low, high), empty where there is no downscaler of that name; z2, the mean
        square of the latents.
    """
    found: list[dict[str, Any]] = []
    for (upscaler, factor), group in rows.groupby(["upscaler", "factor"], sort=False):
        wide = {
            name: {key: by_photograph(of.set_index("image_id")[key], photographs) for key in ("bits", "z2")}
            for name, of in group.groupby("downscaler", sort=False)
        }
        home = wide.get(USUAL)
        for name, of in wide.items():
            row = {"upscaler": upscaler, "factor": factor, "downscaler": name, "photographs": len(of["bits"])}
            row |= {"bits": of["bits"].mean(), "z2": of["z2"].mean()}
            if home is not None:
                values = (of["bits"] - home["bits"]).dropna().to_numpy(np.float64)
                low, high = mean_interval(values, confidence)
                row |= {"excess": float(values.mean()) if len(values) else None, "low": low, "high": high}
            found.append(row)
    return pd.DataFrame(found, columns=list(COLUMNS))


def surprise_markdown(table: pd.DataFrame, upscalers: dict[str, Any], confidence: float) -> str:
    """Set it, those that surprise the decoder most first."""
    rows = []
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        name = marked_name(upscaler, ", ".join(upscalers[f"x{factor}/{upscaler}"]["marks"]))
        for row in group.sort_values("z2", ascending=False, kind="stable").to_dict("records"):
            given = row["excess"] is not None and not pd.isna(row["excess"])
            excess = interval(row["excess"], row["low"], row["high"]) if given else ""
            excess = "baseline" if row["downscaler"] == USUAL else excess
            rows.append([name, f"x{factor}", row["downscaler"], f"{row['bits']:.3f}", excess, f"{row['z2']:.2f}"])
    head = ["upscaler", "factor", "downscaler", "bits per sub-pixel", f"beyond {USUAL}", "latents' mean square"]
    lines = markdown_table(head, rows)
    return "\n".join([*lines, "", *_notes(confidence)]) + "\n"


def write_surprise_tables(folder: Path, rows: pd.DataFrame, photographs: Photographs, recipe: dict[str, Any]) -> None:
    """Write ``surprise.csv`` and ``surprise.md`` into `folder`, if any decoder has a likelihood.

    Parameters
    ----------
    folder : Path
    rows, photographs
        As for `surprise_table`.
    recipe : dict
        ``data/plan/aggregate.json``.
    """
    if not len(rows):
        return
    table = surprise_table(rows, photographs, recipe["confidence"])
    write_table(folder / "surprise.csv", table)
    write_text(folder / "surprise.md", surprise_markdown(table, recipe["upscalers"], recipe["confidence"]))


def _notes(confidence: float) -> list[str]:
    return [
        "How far the decoder is from home, by its own likelihood of the HR image given each LR image: no measure of"
        f" what was lost, and no ranking. Intervals of {confidence:.0%} over photographs. The latents' mean square is"
        f" 1 where the decoder meets what it was trained with; above {AWAY:g}, a part of the score is what it could not"
        " read.",
    ]
