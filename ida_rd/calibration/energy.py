"""Which of two decoders has the lower energy score: paired by photograph, on the same downscaler.

A score of one decoder depends on the photographs far more than on the decoder. Differences do not, so decoders whose
intervals overlap may differ clearly. The test is that of every paired comparison here: signs are flipped by photograph,
and p is corrected by Holm's method over all pairs of decoders, downscalers and spaces of a factor.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import sign_flip_p
from ida_rd.calibration.resampling import of_mean
from ida_rd.calibration.text import Cards
from ida_rd.core.pairs import FEWEST
from ida_rd.core.typeset import markdown_table

__all__ = ["energy_differences", "energy_markdown"]

FLIPS = 20_000  # of signs: the smallest p must outlast a correction for hundreds of comparisons


def energy_differences(cards: Cards) -> pd.DataFrame:
    """Compare every two decoders of a factor on every downscaler that both have a card of.

    Parameters
    ----------
    cards : mapping
        By branch.

    Returns
    -------
    DataFrame
        factor, downscaler, space, first and second decoder, difference (first less second; below 0 the first is
        better), its interval by itself, p, p_holm, photographs. Empty for one decoder.
    """
    rows: list[dict[str, Any]] = []
    for a, b in combinations(cards, 2):
        if (a.factor, a.downscaler) != (b.factor, b.downscaler):
            continue
        mine, theirs = cards[a], cards[b]
        both = mine.energies.index.intersection(theirs.energies.index)
        for space in (name for name in mine.energies if name in theirs.energies):
            values = (mine.energies.loc[both, space] - theirs.energies.loc[both, space]).to_numpy()
            if len(values) < FEWEST:
                continue
            found = of_mean(values, 0.0, mine.settings)
            row = {"factor": a.factor, "downscaler": a.downscaler, "space": space}
            row |= {"first": a.upscaler, "second": b.upscaler, "difference": found.value}
            row |= {"low": found.low, "high": found.high, "p": sign_flip_p(values, FLIPS, mine.settings.seed)}
            rows.append(row | {"photographs": len(values)})
    table = pd.DataFrame(rows)
    for _, of_factor in table.groupby("factor") if rows else []:
        table.loc[of_factor.index, "p_holm"] = holm(list(of_factor.p))
    return table


def energy_markdown(table: pd.DataFrame, level: float) -> list[str]:
    """Say for every pair of decoders which has the lower score, and on which downscalers."""
    lines: list[str] = []
    for factor, of_factor in table.groupby("factor") if len(table) else []:
        body = []
        for (first, second), rows in of_factor.groupby(["first", "second"], sort=False):
            for space, mine in rows.groupby("space", sort=False):
                shown = mine.p_holm < level
                cells = [", ".join(mine.downscaler[kept]) or "none" for kept in _parts(mine.difference, shown)]
                body.append([str(first), str(second), str(space), *cells])
        head = ["decoder", "and", "by", "the first is lower on", "the second is lower on", "not shown on"]
        lines += [f"## Energy scores, x{factor}: paired differences", "", *markdown_table(head, body), ""]
    if lines:
        lines.append(
            "Lower: the mean difference over photographs is, and its p, of signs flipped by photograph and corrected by"
            f" Holm's method over all rows of a factor, is below {level:.2g}. `energy.csv` has the differences."
        )
    return lines


def _parts(difference: pd.Series, shown: pd.Series) -> tuple[pd.Series, pd.Series, pd.Series]:
    return shown & (difference < 0), shown & (difference > 0), ~shown
