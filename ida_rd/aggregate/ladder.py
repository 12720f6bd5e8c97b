"""What a loss amounts to: the Gaussian blur by which bicubic loses as much.

The ladder is bicubic, followed by blurs of 0 and more LR pixels, scored on the same images by the same upscaler. Its
means over photographs are joined by straight lines, and the equivalent of a loss is the least blur at which the line
reaches it. As a function of the loss it never falls, whatever the line does.

Why not isotonic regression: some decoders lose less after a little blur (which takes away aliasing that they would
enlarge), and then by some distortions the ladder falls before it rises. Pooled, its flat beginning would give bicubic
itself the blur at its end. The first crossing leaves rungs where they are: bicubic has 0, each rung above all before it
has its own blur, and less than bicubic is what loses less than bicubic. Why straight lines: a point of the line is then
a weighted mean of two rungs for each photograph, too, which a test of paired differences needs; rungs stand so close
that a curve is hardly elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ida_rd.core.errors import UserError
from ida_rd.core.pairs import FEWEST
from ida_rd.core.seeds import generator

__all__ = ["Amount", "amounts", "beyond_ladder", "crossing"]

Values = NDArray[np.float64]
ALIKE = 1e-12  # relative: means of the same numbers
AT_ONCE = 4_000_000  # photographs that are drawn


@dataclass(frozen=True)
class Amount:
    """What a loss amounts to.

    Attributes
    ----------
    blur : float or None
        Standard deviation of the blur in LR pixels; where `place` is less, 0, and where it is more, the ladder's end.
        None without a ladder.
    place : str or None
        ``within`` the ladder, ``less`` than bicubic, or ``more`` than the ladder's end.
    blur_low, blur_high : float or None
        Its interval, in [0, the ladder's end]; None for fewer than `FEWEST` photographs.
    percent : float or None
        Of the way from the best score to nearest's; None where nearest's is not worse than that, or is not there.
    percent_low, percent_high : float or None
    """

    blur: float | None
    place: str | None
    blur_low: float | None
    blur_high: float | None
    percent: float | None
    percent_low: float | None
    percent_high: float | None


def crossing(losses: Values, ladder: Values, sigmas: Values) -> Values:
    """Least blur at which the line through the rungs reaches a loss; infinite where it does not.

    Parameters
    ----------
    losses : ndarray
        (B,).
    ladder : ndarray
        (B, R), or (1, R) for all; losses of the rungs.
    sigmas : ndarray
        (R,), rising from 0.
    """
    ladder = np.broadcast_to(ladder, (len(losses), ladder.shape[1]))
    reached = ladder >= losses[:, None] - ALIKE * np.abs(losses[:, None])
    at = reached.argmax(axis=1)
    rows, before = np.arange(len(losses)), np.maximum(at - 1, 0)
    low, high = ladder[rows, before], ladder[rows, at]
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(at > 0, np.clip((losses - low) / rise, 0.0, 1.0), 0.0)
    found = sigmas[before] + share * (sigmas[at] - sigmas[before])
    return np.where(reached.any(axis=1), found, np.inf)


def amounts(
    losses: Values,
    ladder: Values,
    nearest: Values | None,
    sigmas: Values,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Amount]:
    """Say of each downscaler what its loss amounts to.

    Parameters
    ----------
    losses : ndarray
        (P photographs, D downscalers), more is worse.
    ladder : ndarray
        (P, R), of the rungs; the first is bicubic. R may be 0.
    nearest : ndarray or None
        (P,).
    sigmas : ndarray
        (R,), of the rungs, in LR pixels.
    confidence, resamples, seed : float, int, int
        Of the intervals: photographs are resampled, for all columns the same ones. The quantiles are those with which
        the interval of a mean would be Student's, not those of a percentile bootstrap, which is too short for few
        values.

    References
    ----------
    .. [1] Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section
       3.3: the expanded percentile interval.
    """
    count = len(losses)
    table = np.column_stack([losses, ladder] if nearest is None else [losses, ladder, nearest])
    means = table.mean(axis=0, keepdims=True)
    drawn, quantiles = means, None
    if count >= FEWEST:
        drawn = _resampled(table, resamples, seed)
        tail = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf((1 + confidence) / 2, count - 1))
        quantiles = (tail, 1 - tail)
    rungs = slice(losses.shape[1], losses.shape[1] + len(sigmas))
    # Where there is a ladder, bicubic is always there to be the least.
    least = int(np.argmin(means[0, : rungs.start + 1]))
    found = []
    for column in range(losses.shape[1]):
        both = []
        for values in (means, drawn):
            blur = (
                crossing(values[:, column], values[:, rungs], sigmas) if len(sigmas) else np.full(len(values), np.inf)
            )
            way = (values[:, -1] if nearest is not None else 0.0) - values[:, least]
            with np.errstate(divide="ignore", invalid="ignore"):
                share = 100 * (values[:, column] - values[:, least]) / way
            both.append((blur, share, way))
        (blur, share, way), (blurs, shares, _) = both
        lows: list[float | None] = [None] * 4
        known = nearest is not None and bool(way[0] > 0)
        if quantiles is not None and len(sigmas):
            lows[:2] = [float(x) for x in np.quantile(np.minimum(blurs, sigmas[-1]), quantiles)]
        if quantiles is not None and known:
            lows[2:] = [float(x) for x in np.quantile(shares, quantiles)]
        place = None
        if len(sigmas):
            less = means[0, column] < means[0, rungs.start] * (1 - math.copysign(ALIKE, means[0, rungs.start]))
            place = "less" if less else "within" if np.isfinite(blur[0]) else "more"
        found.append(
            Amount(
                blur=float(min(blur[0], sigmas[-1])) if len(sigmas) else None,
                place=place,
                blur_low=lows[0],
                blur_high=lows[1],
                percent=float(share[0]) if known else None,
                percent_low=lows[2],
                percent_high=lows[3],
            )
        )
    return found


def _resampled(table: Values, resamples: int, seed: int) -> Values:
    """Means of the columns over photographs drawn with replacement: (resamples, columns)."""
    count = len(table)
    rng = generator("amounts", seed, count)
    parts, left = [], resamples
    while left:
        rows = min(left, max(1, AT_ONCE // count))
        chosen = rng.integers(0, count, (rows, count))
        weights = np.zeros((rows, count))
        np.add.at(weights, (np.arange(rows)[:, None], chosen), 1 / count)
        parts.append(weights @ table)
        left -= rows
    return np.concatenate(parts)


def beyond_ladder(mine: Values, reference: Values, ladder: Values, sigmas: Values, blur: float) -> tuple[Values, float]:
    """How far a downscaler is beyond a reference's loss and so many LR pixels of blur more.

    The limit is the ladder's loss at s1 = s0 + `blur`, where s0 is the reference's equivalent (0 where it loses less
    than bicubic). It is estimated on the same photographs, and the values carry that: to first order, a photograph
    moves (mine - limit) by m - l(s1) - r (f - l(s0)), where m, f and l are what mine, the reference and the ladder lose
    on it and r is the ratio of the ladder's slopes at s1 and s0.

    Parameters
    ----------
    mine, reference : ndarray
        (P,), losses.
    ladder : ndarray
        (P, R).
    sigmas : ndarray
        (R,).
    blur : float

    Returns
    -------
    values : ndarray
        (P,): their mean is that of mine minus the limit.
    margin : float
        The limit minus the reference's loss, in the distortion's unit.

    Raises
    ------
    UserError
        The limit is beyond the ladder, or such a blur costs nothing.
    """
    means = ladder.mean(axis=0)
    end = f"the ladder of blurs ends at {sigmas[-1]:g} LR pixels"
    s0 = float(crossing(np.array([reference.mean()]), means[None], sigmas)[0])
    if not np.isfinite(s0):
        raise UserError(f"--margin blur:{blur:g}: what it is compared with loses more than all of them, {end}")
    s1 = s0 + blur
    if s1 > sigmas[-1]:
        raise UserError(f"--margin blur:{blur:g}: is {s1:.2f} from bicubic, and {end}: give a smaller one")
    at0, slope0 = _point(s0, means, sigmas)
    at1, slope1 = _point(s1, means, sigmas)
    margin = float(means @ at1 - reference.mean())
    if not margin > ALIKE * abs(float(reference.mean())):
        raise UserError(
            f"--margin blur:{blur:g}: a blur of {s1:.2f} LR pixels loses no more than what it is compared with, by this"
            " distortion: give a larger one, or a margin in its unit"
        )
    values = mine - ladder @ at1
    if s0 > 0 and slope0 > 0:
        values = values - slope1 / slope0 * (reference - ladder @ at0)
    return values, margin


def _point(sigma: float, means: Values, sigmas: Values) -> tuple[Values, float]:
    """Weights of the rungs at a blur, and the slope there; in a dip, the rung before it and no slope."""
    upper = int(np.clip(np.searchsorted(sigmas, sigma), 1, len(sigmas) - 1))
    width = sigmas[upper] - sigmas[upper - 1]
    weights = np.zeros(len(sigmas))
    weights[upper] = (sigma - sigmas[upper - 1]) / width
    weights[upper - 1] = 1 - weights[upper]
    highest = int(np.argmax(means[:upper]))
    if means @ weights >= means[highest]:
        return weights, float((means[upper] - means[upper - 1]) / width)
    return np.eye(len(sigmas))[highest], 0.0
