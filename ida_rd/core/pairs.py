"""What the paired differences of a run say: who differs from whom, and where the distortions disagree.

There is one rule: two downscalers differ significantly where p_holm of ``differences.csv`` is below 1 - confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

__all__ = [
    "AWAY",
    "FEW",
    "FEWEST",
    "USUAL",
    "Disagreement",
    "baseline_of",
    "disagreements",
    "least_p",
    "ties",
    "to_baseline",
]

USUAL = "bicubic"  # what other downscalers are compared with, and the LR images that most decoders were trained with
AWAY = 1.1  # mean square of the latents, 1 in training, from which a decoder is said to be away from home
FEWEST = 5  # photographs: with fewer, there are no intervals
FEW = 12  # photographs: with fewer, those of skewed scores are too short, and readers are told so
CELL = ["upscaler", "factor"]


def ties(order: Sequence[str], pairs: pd.DataFrame, level: float) -> list[tuple[int, int]]:
    """Find the runs of neighbours in a ranking no two of which differ significantly.

    Parameters
    ----------
    order : sequence of str
        Downscalers, ranked.
    pairs : DataFrame
        Rows of ``differences.csv`` of one upscaler, factor and distortion. A pair that is not in it does not differ.
    level : float
        1 - confidence.

    Returns
    -------
    list of (int, int)
        First and last place of each run of two or more that lies in no longer one.
    """
    differ = {frozenset((row.loses_less, row.loses_more)) for row in pairs.itertuples() if row.p_holm < level}
    found: list[tuple[int, int]] = []
    for i in range(len(order)):
        j = i
        while j + 1 < len(order) and not any(frozenset((order[k], order[j + 1])) in differ for k in range(i, j + 1)):
            j += 1
        if j > i and (not found or j > found[-1][1]):
            found.append((i, j))
    return found


@dataclass(frozen=True)
class Disagreement:
    """A pair that differs significantly one way by some distortions, and the other way by others.

    Attributes
    ----------
    upscaler, factor
    less, more : str
        Downscalers: which loses less, by the first distortion by which they differ significantly.
    by, against : tuple of (str, float)
        Distortions by which `less` loses less, and those by which it loses more, each with its p_holm.
    """

    upscaler: str
    factor: int
    less: str
    more: str
    by: tuple[tuple[str, float], ...]
    against: tuple[tuple[str, float], ...]


def disagreements(pairs: pd.DataFrame, order: Sequence[str], level: float) -> list[Disagreement]:
    """Find the pairs on which distortions disagree, both significantly; those that concern the first come first.

    Parameters
    ----------
    pairs : DataFrame
        ``differences.csv``.
    order : sequence of str
        Distortions, the leading one first.
    level : float
        1 - confidence.
    """
    place = {name: i for i, name in enumerate(order)}
    significant = pairs[pairs.p_holm < level].sort_values("distortion", key=lambda c: c.map(place), kind="stable")
    found = []
    for (upscaler, factor), group in significant.groupby(CELL, sort=False):
        sides: dict[tuple[str, str], list[tuple[str, float]]] = {}
        for row in group.itertuples():
            sides.setdefault((row.loses_less, row.loses_more), []).append((row.distortion, float(row.p_holm)))
        seen = set()
        for (less, more), by in sides.items():
            seen.add((less, more))
            if (more, less) in sides and (more, less) not in seen:
                found.append(Disagreement(upscaler, factor, less, more, tuple(by), tuple(sides[more, less])))
    return sorted(found, key=lambda one: one.by[0][0] != order[0])


def baseline_of(ranks: pd.DataFrame, lead: str) -> str:
    """The downscaler that others are compared with: bicubic, or else the one of the best mean rank.

    Parameters
    ----------
    ranks : DataFrame
        ``ranks.csv``.
    lead : str
        The leading distortion.
    """
    if (ranks.downscaler == USUAL).any():
        return USUAL
    means = ranks[ranks.distortion == lead].groupby("downscaler", sort=True).mean_rank.mean()
    return str(means.sort_values(kind="stable").index[0])


def to_baseline(pairs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """How much more each downscaler loses than the baseline: the pairs that it is in, turned.

    Returns
    -------
    DataFrame
        upscaler, factor, distortion, downscaler, difference (below 0: loses less than the baseline), low, high,
        effect (with the sign of the difference), share, p_holm.
    """
    columns = [*CELL, "distortion", "downscaler", "difference", "low", "high", "effect", "share", "p_holm"]
    more, less = pairs[pairs.loses_less == baseline], pairs[pairs.loses_more == baseline]
    more = more.assign(downscaler=more.loses_more)
    # Of its own columns: a frame without rows would take the rows of any other.
    less = less.assign(
        downscaler=less.loses_less,
        difference=-less.difference,
        low=-less.high,
        high=-less.low,
        effect=-less.effect,
    )
    return pd.concat([more, less], ignore_index=True)[columns]


def least_p(pairs: pd.DataFrame) -> float:
    """The least corrected p that so many photographs and pairs can give, however clear the differences.

    Parameters
    ----------
    pairs : DataFrame
        Rows of ``differences.csv`` of one upscaler, factor and distortion.
    """
    return min(1.0, len(pairs) * 2.0 ** (1 - int(pairs.photographs.max()))) if len(pairs) else 1.0
