"""The secondary measures as numbers with intervals over photographs: pure functions of arrays.

Values of scores are losses: more is worse. What is inferred is inferred from photographs, the first axis everywhere.

A share is that of photographs, or a mean of each photograph's own share, and its interval is Wilson's (J. American
Statistical Association 22, 1927) for as many trials as there are photographs: of all numbers in [0, 1] of one mean,
zeros and ones vary most, so that it is too wide rather than too narrow. All other intervals resample photographs and
take the percentiles at which a mean's would be Student's (Hesterberg, The American Statistician 69, 2015, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.comparisons import taus
from ida_rd.aggregate.statistics import mean_interval
from ida_rd.core.pairs import FEWEST
from ida_rd.core.seeds import generator

Values = NDArray[np.float64]
DIGITS = 12  # beyond these, sums of the same numbers in another order differ


@dataclass(frozen=True)
class Setting:
    """Of the intervals."""

    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """A number, its interval (None for fewer than `FEWEST` photographs), and what else there is to say."""

    value: float
    low: float | None
    high: float | None
    photographs: int
    detail: str = ""


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share of `count` trials."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return round(middle - half, DIGITS), round(middle + half, DIGITS)


def mean_share(shares: Values, setting: Setting, detail: str = "") -> Measured:
    """Mean of photographs' shares, (P,) in [0, 1]."""
    value, count = float(shares.mean()), len(shares)
    low, high = wilson(value, count, setting.confidence) if count >= FEWEST else (None, None)
    return Measured(value, low, high, count, detail)


def drawn(count: int, setting: Setting) -> Values:
    """Weights of the photographs in each resample: (B, P), rows that sum to 1."""
    rng = generator("meta", setting.seed, count)
    return rng.multinomial(count, np.full(count, 1 / count), size=setting.resamples) / count


def resampled(statistic: Callable[[Values], Values], count: int, setting: Setting, detail: str = "") -> Measured | None:
    """A statistic of weights of the photographs, (B, P) to (B,); None where it has no value.

    Resamples in which it has none are left out.
    """
    value = round(float(statistic(np.full((1, count), 1 / count))[0]), DIGITS)
    if math.isnan(value):
        return None
    if count < FEWEST:
        return Measured(value, None, None, count, detail)
    tail = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf((1 + setting.confidence) / 2, count - 1))
    low, high = np.nanquantile(statistic(drawn(count, setting)), [tail, 1 - tail])
    return Measured(value, round(float(low), DIGITS), round(float(high), DIGITS), count, detail)


def rank_agreement(a: Values, b: Values, setting: Setting, detail: str = "") -> Measured | None:
    """Kendall's tau of the means over photographs of (P, D) and (P, D); photographs are drawn with both."""
    # Means of the same numbers in another order differ in their last digits: those are ties.
    return resampled(lambda weights: taus(weights @ a, weights @ b, tied=1e-12), len(a), setting, detail)


def change(before: Values, after: Values, setting: Setting) -> Measured | None:
    """Root mean square over D scores of what they change, each in half-widths of its interval before.

    Its interval leans upwards, as that of any length does: resampling adds to it. None where intervals have no width.
    """
    ends = [mean_interval(column, setting.confidence) for column in before.T]
    if any(low is None for low, _ in ends):
        return None
    half = np.array([(high - low) / 2 for low, high in ends])  # type: ignore[operator]
    if not half.all():
        return None
    moved = (after - before) / half
    where = int(np.abs(moved.mean(axis=0)).argmax())
    detail = f"largest {moved.mean(axis=0)[where]:+.2f}"
    return resampled(lambda weights: np.sqrt(((weights @ moved) ** 2).mean(axis=1)), len(before), setting, detail)


def switched(own: Values, others: Values, setting: Setting) -> Measured:
    """Share of pairs in which a reconstruction is nearer to its own image than to another.

    Parameters
    ----------
    own : ndarray
        (P, N), losses of reconstructions against their own images.
    others : ndarray
        (P, N, M), the same against M others; nan for one that there is not, at least one of each photograph is none.
    setting : Setting
    """
    return mean_share(np.nanmean(_beats(own[..., None], others), axis=(1, 2)), setting)


def switched_auc(own: Values, others: Values, setting: Setting) -> Measured | None:
    """How well the loss alone tells own images from others, whatever the photograph: the area under the ROC curve.

    The probability that a reconstruction of one photograph against its own image, (P, N), loses less than one of
    another photograph against an image that is not its own, (P, N, M); a tie is half. The N conditions are kept apart.
    """
    table = np.stack([np.nanmean(_beats(own[i], others.transpose(0, 2, 1)), axis=(1, 2)) for i in range(len(own))])
    # Pairs of one photograph are the measure before this one; a resample has more of them than there are.
    apart = 1 - np.eye(len(own))
    table = table * apart

    def area(weights: Values) -> Values:
        with np.errstate(invalid="ignore"):
            found: Values = ((weights @ table) * weights).sum(axis=1) / ((weights @ apart) * weights).sum(axis=1)
        return found

    return resampled(area, len(own), setting)


def _beats(less: Values, more: Values) -> Values:
    return np.where(np.isnan(more), np.nan, (less < more) + 0.5 * (less == more))


def undefined(reason: str) -> Measured:
    """A measure that these images have no number for, and why."""
    return Measured(math.nan, None, None, 0, reason)


def beats_empty(real: Values, empty: Values, names: tuple[list[str], list[str]], setting: Setting) -> Measured:
    """Share of photographs on which each of (P, R) loses less than each of (P, E); `detail` names the weakest pair."""
    wins = real[:, :, None] < empty[:, None, :]
    shares = wins.mean(axis=0)
    r, e = np.unravel_index(int(shares.argmin()), shares.shape)
    detail = f"{names[0][r]} beats {names[1][e]} on {shares[r, e]:.0%}" if shares[r, e] < 1 else ""
    return mean_share(wins.all(axis=(1, 2)).astype(float), setting, detail)


def rises(rungs: Values, setting: Setting) -> Measured:
    """Share of photographs and steps that rise, of (P, L) from the mildest rung to the strongest.

    `detail` has Page's test of the trend (J. American Statistical Association 58, 1963) and the median over photographs
    of Spearman's rho.
    """
    steps = (np.diff(rungs, axis=1) > 0).mean(axis=1)
    order = np.arange(rungs.shape[1])
    rho = [float(stats.spearmanr(order, row).statistic) for row in rungs if np.ptp(row) > 0]
    said = [f"median rho {np.median(rho):+.2f}"] if rho else []
    if rungs.shape[1] > 2 and len(rungs) > 1:
        page = stats.page_trend_test(rungs, method="asymptotic")
        said.append(f"Page's p {page.pvalue:.2g}")
    return mean_share(steps, setting, ", ".join(said))
