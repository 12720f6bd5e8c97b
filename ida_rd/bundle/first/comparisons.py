"""Is the difference between two downscalers more than noise? Paired tests, ranks, agreement of rankings.

Everything is computed from image means: a table with one row per image and one column per downscaler, for one
upscaler, factor and distortion, turned so that more is worse (see `losses`). The latents of an image are common to all
downscalers, so that what makes an image hard, and most of what is drawn at random, cancels in a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.comparisons import holm, rank_agreement
from ida_rd.bundle.first.statistics import bootstrap_interval
from ida_rd.core.seeds import generator

__all__ = ["Ranks", "differences", "halves", "ranks"]

SPLITS = 200  # random halves of the images


def differences(means: pd.DataFrame, *, confidence: float, resamples: int, seed: int) -> pd.DataFrame:
    """Compare every two downscalers, image by image.

    Parameters
    ----------
    means : DataFrame
        (N images, D downscalers), losses. A missing value leaves its image out of that downscaler's pairs.
    confidence, resamples, seed
        As for `bootstrap_interval`.

    Returns
    -------
    DataFrame
        One row per pair: loses_less, loses_more, images, difference (of the means over the pair's images, at least 0),
        low and high (BCa bootstrap interval of it over images), p (Wilcoxon's signed-rank test, two-sided) and
        p_holm (corrected by Holm's method for all pairs of the table). Pairs with fewer than two common images
        are left out.

    References
    ----------
    .. [1] Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945.
    .. [2] Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
    """
    order = list(means.mean().sort_values(kind="stable").index)
    rows: list[dict[str, Any]] = []
    values: list[NDArray[np.float64]] = []
    for less, more in combinations(order, 2):
        value = (means[more] - means[less]).dropna().to_numpy(np.float64)
        if len(value) < 2:
            continue
        turned = value.mean() < 0  # possible if images are missing
        if turned:
            less, more, value = more, less, -value
        rows.append({"loses_less": less, "loses_more": more, "images": len(value), "difference": float(value.mean())})
        values.append(value)
    for count in {len(value) for value in values}:  # those of equal size are resampled together
        places = [i for i, value in enumerate(values) if len(value) == count]
        low, high = bootstrap_interval(np.stack([values[i] for i in places]), confidence, resamples, seed)
        for i, a, b in zip(places, low, high, strict=True):
            rows[i] |= {"low": float(a), "high": float(b), "p": _signed_rank(values[i])}
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    columns = ["loses_less", "loses_more", "images", "difference", "low", "high", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def _signed_rank(values: NDArray[np.float64]) -> float:
    if not values.any():
        return 1.0
    return float(stats.wilcoxon(values).pvalue)


@dataclass(frozen=True)
class Ranks:
    """Ranks of downscalers over images.

    Attributes
    ----------
    images : int
        Images on which all downscalers have a value.
    mean : Series
        Mean rank per downscaler, 1 for the one that loses least; ties share their ranks.
    friedman_p : float or None
        Friedman's test that all downscalers rank alike; None for fewer than three.
    critical_difference : float or None
        Nemenyi's: mean ranks that lie further apart differ at the level 1 - confidence.
    """

    images: int
    mean: pd.Series
    friedman_p: float | None
    critical_difference: float | None


def ranks(means: pd.DataFrame, confidence: float) -> Ranks:
    """Rank the downscalers image by image, best first.

    Parameters
    ----------
    means : DataFrame
        (N images, D downscalers), losses; images with a missing value are left out.
    confidence : float
        Between 0 and 1.

    References
    ----------
    .. [1] Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.2.2.
    """
    complete = means.dropna()
    count, methods = complete.shape
    table = stats.rankdata(complete.to_numpy(np.float64), axis=1) if count else np.empty((0, methods))
    mean = pd.Series(table.mean(axis=0) if count else np.nan, index=means.columns, dtype=float)
    if methods < 3 or count < 2:
        return Ranks(count, mean, None, None)
    if (complete.nunique(axis=1) == 1).all():  # all are alike on every image: the test would divide by zero
        friedman = 1.0
    else:
        friedman = float(stats.friedmanchisquare(*complete.to_numpy(np.float64).T).pvalue)
    range_quantile = float(stats.studentized_range.ppf(confidence, methods, np.inf))
    critical = range_quantile / np.sqrt(2) * np.sqrt(methods * (methods + 1) / (6 * count))
    return Ranks(count, mean, friedman, float(critical))


def halves(means: pd.DataFrame, seed: int) -> dict[str, float | int] | None:
    """Would other images rank the downscalers alike? Agreement of two random halves of the images.

    Returns
    -------
    dict or None
        Means of Kendall's tau-b and Spearman's rho over 200 seeded splits, and the 2.5 and 97.5 percentiles
        of tau (low, high); None for fewer than three downscalers or four images. The halves have half the images,
        so that the whole set ranks better than this says.
    """
    complete = means.dropna()
    if complete.shape[1] < 3 or len(complete) < 4:
        return None
    rng = generator("halves", seed, len(complete))
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(len(complete))
        middle = len(complete) // 2
        agreement = rank_agreement(complete.iloc[order[:middle]].mean(), complete.iloc[order[middle:]].mean())
        if agreement is not None:
            found.append((agreement["kendall"], agreement["spearman"]))
    if not found:
        return None
    kendall, spearman = np.array(found).T
    low, high = np.quantile(kendall, [0.025, 0.975])
    return {
        "downscalers": complete.shape[1],
        "kendall": float(kendall.mean()),
        "spearman": float(spearman.mean()),
        "low": float(low),
        "high": float(high),
    }
