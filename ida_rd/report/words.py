"""What stands below figures and tables: of how many photographs they are, and how far they can be believed."""

from __future__ import annotations

import pandas as pd

from ida_rd.core.pairs import FEW, FEWEST
from ida_rd.core.typeset import counted

__all__ = ["about", "captions", "percent", "sizes", "warning"]


def percent(confidence: float) -> str:
    """Set a confidence as 95 %."""
    return f"{100 * confidence:.4g} %"


def sizes(scores: pd.DataFrame) -> str:
    """Say of how many photographs, tiles and samples the scores are.

    Parameters
    ----------
    scores : DataFrame
        ``ida_rd.csv``.
    """
    counts = sorted({(int(p), int(n), int(k)) for p, n, k in scores[["photographs", "images", "samples"]].to_numpy()})
    return "; ".join(f"N = {counted(p, n)}, K = {k} sample{'' if k == 1 else 's'}" for p, n, k in counts)


def about(scores: pd.DataFrame, confidence: float) -> str:
    """Say the same, and what the bars are, or why there are none."""
    fewest = int(scores.photographs.min())
    if fewest < FEWEST:
        return f"{sizes(scores)}; no intervals, which fewer than {FEWEST} photographs cannot give"
    return f"{sizes(scores)}; {percent(confidence)} intervals over photographs"


def warning(scores: pd.DataFrame, confidence: float) -> str:
    """Warn of few photographs, as HTML takes it; empty if there are enough."""
    fewest = int(scores.photographs.min())
    if fewest < FEWEST:
        return (
            f"With {counted(fewest, fewest)}, nothing can be said of others: fewer than {FEWEST} give no interval. The"
            " scores describe these photographs alone."
        )
    if fewest < FEW:
        return (
            f"With {fewest} photographs, fewer than {FEW}, the {percent(confidence)} intervals of skewed scores are too"
            " short: fewer of them hold than they say."
        )
    return ""


def captions(scores: pd.DataFrame, confidence: float, baseline: str) -> dict[str, str]:
    """Captions of the figures, by stem."""
    bars = about(scores, confidence)
    count = sizes(scores)
    return {
        "differences": f"How much more each downscaler loses than {baseline}, photograph by photograph (left of the"
        f" line: less). Filled: differs significantly (signs flipped by photograph, Holm's correction for all pairs,"
        f" level {1 - confidence:.2g}). {bars}, each for its pair by itself.",
        "matched": "What lies beyond bicubic's own score, for the blind decoder and for the same decoder adapted to"
        f" each downscaler: the bar between the two is what was unreadable, not lost. {bars}.",
        "scores": "Levels of the scores, one panel per distortion. The photographs are common to all downscalers, so"
        f" that whether these bars overlap says nothing about differences. {bars}.",
        "ranks": "A picture of mean ranks, by the leading distortion. A bar joins neighbours no two of which differ"
        f" significantly by the paired sign-flip tests (Holm's correction, level {1 - confidence:.2g}). {count}.",
        "rate_distortion": "How many bits the LR images need, and what is lost. Ringed: no other loses less at as low a"
        f" rate. {bars}.",
        "perception_distortion": f"Perceptual against pixel distance. {count}.",
        "heat_map": f"Upscalers and downscalers; the colour runs from each row's best to its worst. {count}.",
    }
