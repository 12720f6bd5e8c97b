"""Is the difference between two downscalers more than noise? Paired tests, ranks, agreement of rankings.

Everything is computed from image means: a table with one row per image and one column per downscaler, for one
upscaler, factor and distortion, turned so that more is worse (see `losses`). The latents of an image are common to all
downscalers, so that what makes an image hard, and most of what is drawn at random, cancels in a difference. What is
inferred is inferred from photographs: see `ida_rd.aggregate.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.statistics import Photographs, by_photograph, paired_difference
from ida_rd.core.seeds import generator

__all__ = [
    "Ranks",
    "differences",
    "halves",
    "holm",
    "losses",
    "mean_ranks",
    "rank_agreement",
    "taus",
    "wide_by_photograph",
]

SPLITS = 200  # random halves of the photographs
COLUMNS = (
    *("loses_less", "loses_more", "photographs", "images"),
    *("difference", "low", "high", "effect", "share", "p", "p_holm"),
)


def losses(means: pd.DataFrame, better: str) -> pd.DataFrame:
    """Turn image means so that more is worse; `better` is the distortion's direction."""
    return means if better == "lower" else -means


def differences(
    means: pd.DataFrame, photographs: Photographs | None = None, *, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Compare every two downscalers, image by image.

    Parameters
    ----------
    means : DataFrame
        (N images, D downscalers), losses. A missing value leaves its image out of that downscaler's pairs.
    photographs : mapping, optional
        Image id to photograph; without it, every image is one.
    confidence : float
        Of the intervals.
    resamples, seed : int
        As for `ida_rd.aggregate.statistics.sign_flip_p`.

    Returns
    -------
    DataFrame
        One row per pair: loses_less, loses_more (by the mean over the pair's photographs), photographs, images,
        difference (at least 0), low and high (interval of it, for the pair by itself), effect, share, p (see
        `ida_rd.aggregate.statistics.Difference`) and p_holm, corrected by Holm's method for all pairs of the table.
        Two differ significantly where p_holm is below 1 - confidence. Pairs with fewer than two common images are
        left out.

    References
    ----------
    .. [1] Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
    """
    order = list(means.mean().sort_values(kind="stable").index)
    rows: list[dict[str, Any]] = []
    for less, more in combinations(order, 2):
        if len((means[more] - means[less]).dropna()) < 2:
            continue
        settings: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
        found = paired_difference(means[less], means[more], photographs, **settings)
        if found.mean < 0:
            less, more = more, less
            found = paired_difference(means[less], means[more], photographs, **settings)
        row = asdict(found)
        rows.append({"loses_less": less, "loses_more": more, "difference": row.pop("mean"), **row})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return pd.DataFrame(rows, columns=list(COLUMNS))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for their number: the family's error is at most the level that they are compared with."""
    order = np.argsort(p, kind="stable")
    corrected = [0.0] * len(p)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = largest
    return corrected


@dataclass(frozen=True)
class Ranks:
    """Ranks of downscalers over photographs: a picture, no test.

    Whether two mean ranks differ depends on which others are ranked beside them (Benavoli, Corani and Mangili, JMLR 17,
    2016), so that pairs are tested by themselves: see `differences`.

    Attributes
    ----------
    photographs : int
        Those on which all downscalers have a value.
    mean : Series
        Mean rank per downscaler, 1 for the one that loses least; ties share their ranks.
    """

    photographs: int
    mean: pd.Series


def mean_ranks(means: pd.DataFrame, photographs: Photographs | None = None) -> Ranks:
    """Rank the downscalers photograph by photograph, best first.

    Parameters
    ----------
    means : DataFrame
        (N images, D downscalers), losses; images with a missing value are left out.
    photographs : mapping, optional
        Image id to photograph.
    """
    complete = wide_by_photograph(means.dropna(), photographs)
    table = stats.rankdata(complete.to_numpy(np.float64), axis=1) if len(complete) else np.empty(complete.shape)
    mean = table.mean(axis=0) if len(complete) else np.nan
    return Ranks(len(complete), pd.Series(mean, index=means.columns, dtype=float))


def wide_by_photograph(means: pd.DataFrame, photographs: Photographs | None) -> pd.DataFrame:
    """Mean over each photograph's images, column by column; rows in order of the photographs' names."""
    return pd.DataFrame({name: by_photograph(means[name], photographs) for name in means})


def rank_agreement(a: pd.Series, b: pd.Series) -> dict[str, float | int] | None:
    """Kendall's tau-b and Spearman's rho of two scores over the downscalers that both have; None below three."""
    common = pd.concat([a, b], axis=1, join="inner").dropna()
    if len(common) < 3 or common.iloc[:, 0].nunique() == 1 or common.iloc[:, 1].nunique() == 1:
        return None
    kendall = stats.kendalltau(common.iloc[:, 0], common.iloc[:, 1]).statistic
    spearman = stats.spearmanr(common.iloc[:, 0], common.iloc[:, 1]).statistic
    return {"downscalers": len(common), "kendall": float(kendall), "spearman": float(spearman)}


def halves(means: pd.DataFrame, photographs: Photographs | None, seed: int) -> dict[str, float | int] | None:
    """Would other photographs rank the downscalers alike? Agreement of two random halves of the photographs.

    Returns
    -------
    dict or None
        Means of Kendall's tau-b and Spearman's rho over 200 seeded splits, and the 2.5 and 97.5 percentiles
        of tau (low, high); None for fewer than three downscalers or four photographs. The halves have half the
        photographs, so that the whole set ranks better than this says.
    """
    complete = wide_by_photograph(means.dropna(), photographs)
    if complete.shape[1] < 3 or len(complete) < 4:
        return None
    rng = generator("halves", seed, len(complete))
    orders = np.stack([rng.permutation(len(complete)) for _ in range(SPLITS)])
    middle = len(complete) // 2
    values = complete.to_numpy(np.float64)
    kendall, spearman = _agreements(values[orders[:, :middle]].mean(axis=1), values[orders[:, middle:]].mean(axis=1))
    if not len(kendall):
        return None
    low, high = np.quantile(kendall, [0.025, 0.975])
    return {
        "downscalers": complete.shape[1],
        "kendall": float(kendall.mean()),
        "spearman": float(spearman.mean()),
        "low": float(low),
        "high": float(high),
    }


def _agreements(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kendall's tau-b and Spearman's rho row by row, as `rank_agreement`, all rows at once.

    Parameters
    ----------
    a, b : ndarray
        (S, D). A row all of whose values are alike in `a` or `b` has no ranking and is left out.
    """
    ranked = (np.ptp(a, axis=1) > 0) & (np.ptp(b, axis=1) > 0)
    a, b = a[ranked], b[ranked]
    u, v = (stats.rankdata(values, axis=1) for values in (a, b))
    u, v = u - u.mean(axis=1, keepdims=True), v - v.mean(axis=1, keepdims=True)
    spearman = (u * v).sum(axis=1) / np.sqrt(np.square(u).sum(axis=1) * np.square(v).sum(axis=1))
    return taus(a, b), spearman


def taus(a: NDArray[np.float64], b: NDArray[np.float64], *, tied: float = 0.0) -> NDArray[np.float64]:
    """Kendall's tau-b of many rankings at once: row by row of (S, D), as scipy's of each.

    Parameters
    ----------
    a, b : ndarray
        (S, D).
    tied : float
        Values whose relative difference is not larger than this are ties.

    Returns
    -------
    ndarray
        (S,); nan for a row all of whose values are alike in `a` or `b`.
    """
    i, j = np.triu_indices(a.shape[1], 1)
    x, y = (np.sign(values[:, i] - values[:, j]) for values in (a, b))
    if tied:
        for signs, values in ((x, a), (y, b)):
            signs[np.isclose(values[:, i], values[:, j], rtol=tied, atol=0)] = 0
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = (x * y).sum(axis=1) / np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return found
