"""What scores amount to, as tables and page say it; how it is computed is in `ida_rd.aggregate.amounts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

__all__ = ["amount_words", "amounts_note", "rungs_of"]


def rungs_of(recipe: Mapping[str, Any]) -> frozenset[str]:
    """Downscalers of a run that are rungs of its ladder and nothing else: they take part in no test, table or figure.

    Parameters
    ----------
    recipe : mapping
        ``data/plan/aggregate.json``. The ladder's first rung, bicubic itself, is a downscaler like the others.
    """
    return frozenset(name for name, _ in recipe.get("amounts", {}).get("ladder", [])[1:])


def amount_words(row: Any, end: float | None) -> str:
    """A row's blur-equivalent and percentage in words; empty where neither is known.

    Parameters
    ----------
    row : mapping
        Fields of `ida_rd.aggregate.ladder.Amount`.
    end : float or None
        The ladder's longest blur, in LR pixels; None where there is no ladder.
    """
    known = pd.notna(row["percent"])
    if end is None:
        if not known:
            return ""
        text = f"{row['percent']:z.0f} %"
        given = pd.notna(row["percent_low"]) and pd.notna(row["percent_high"])
        return text + (f" [{row['percent_low']:z.0f}, {row['percent_high']:z.0f}]" if given else "")
    if row["place"] == "less":
        text = "less than bicubic"
    elif row["place"] == "more":
        text = f"more than {end:g}"
    else:
        text = f"{row['blur']:.2f}"
    low, high = row["blur_low"], row["blur_high"]
    if pd.notna(low) and pd.notna(high) and (row["place"] == "within" or low != high):
        ends = [f"more than {value:g}" if value >= end else f"{value:.2f}" for value in (low, high)]
        text += f" [{', '.join(ends)}]"
    return f"{text}; {row['percent']:z.0f} %" if known else text


def amounts_note(confidence: str, *, ladder: bool, share: bool = True) -> str:
    """What the words mean; of a board, whose scores are of several runs, without the share."""
    said = f"[{confidence} interval over photographs]"
    # The best score, not the least loss: a score is also what the decoder cannot read, and for PSNR more is better.
    way = "the share of the way from the best score here to nearest's"
    if not ladder:
        return f"{way} {said}: it depends on which downscalers are here."
    blur = f"blur: it loses as much as bicubic followed by a Gaussian blur of so many LR pixels {said}"
    return f"{blur}; behind it, {way}." if share else f"{blur}."
