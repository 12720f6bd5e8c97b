"""Is a downscaler not worse than another by more than a margin? A one-sided test on paired differences.

The values are photographs' differences, what one loses minus what the other loses, minus the margin. The hypothesis is
that their mean is zero or above; a small p says that it is below.

Which test: simulation on the real differences of resize functions over 200 photographs, set on the margin and
resampled, 5 to 50 at a time. The percentile bootstrap passes wrongly too often by far (it takes the spread of few
values for that of all), the bootstrap of t and Student's t too often, since differences lean to the right: a few
photographs lose much, and a sample without them looks too good. Hall's t corrects for skewness, as far as few values
show it. So a pass must convince Student's t and Hall's, and p is 1.5 times the larger: with that, no pair passes
wrongly more often than the level says. ``docs/ci.md`` has the shares, and the power that is left.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ida_rd.core.seeds import generator

__all__ = ["SKEWED", "noninferiority_p", "pass_rate", "upper_bound"]

SKEWED = 1.5  # what few values do not show of their skewness; see above
Values = NDArray[np.float64]


def noninferiority_p(values: Values) -> Values:
    """Test that the mean is zero or above, against below.

    Parameters
    ----------
    values : ndarray
        (..., P), one per photograph, at least three.

    Returns
    -------
    ndarray
        (...): p. Where all values are the same it is 0 below zero, and 1 otherwise.

    References
    ----------
    .. [1] Hall, "On the removal of skewness by transformation", J. R. Statist. Soc. B 54, 1992: the transform of
       section 2, monotone, with the skewness of the sample.
    """
    count = values.shape[-1]
    mean, spread, skewness = _moments(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = mean / spread
        hall = u + skewness * u**2 / 3 + skewness**2 * u**3 / 27 + skewness / (6 * count)
    p = np.minimum(1.0, SKEWED * stats.t.cdf(math.sqrt(count) * np.maximum(u, hall), count - 1))
    return np.where(spread > 0, p, np.where(mean < 0, 0.0, 1.0))


def upper_bound(values: Values, level: float) -> float:
    """One-sided upper bound of the mean: `noninferiority_p` of the values less a number above it is below `level`.

    Parameters
    ----------
    values : ndarray
        (P,), one per photograph, at least three.
    level : float
    """
    count = len(values)
    mean, spread, skewness = (float(x) for x in _moments(values))
    if spread == 0:
        return mean
    at = float(stats.t.ppf(level / SKEWED, count - 1)) / math.sqrt(count)
    # Hall's transform is a cube: g u' = (1 + g u / 3)^3 - 1 + g^2 / 6n.
    g, hall = skewness, at
    if abs(g) > 1e-9:
        hall = 3 / g * float(np.cbrt(1 + g * at - g * g / (6 * count)) - 1)
    return mean - spread * min(at, hall)


def _moments(values: Values) -> tuple[Values, Values, Values]:
    """Mean, standard deviation (n - 1) and skewness (without bias for normal values' cumulants) along the last axis."""
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    centred = values - mean[..., None]
    second, third = (centred**2).mean(axis=-1), (centred**3).mean(axis=-1)
    tiny = second <= (1e-12 * np.abs(values).max(axis=-1)) ** 2  # all the same, but for rounding
    second = np.where(tiny, 0.0, second)
    safe = np.where(second > 0, second, 1.0)
    skewness = np.where(second > 0, third / safe**1.5, 0.0) * math.sqrt(count * (count - 1)) / (count - 2)
    return mean, np.sqrt(second * count / (count - 1)), skewness


def pass_rate(differences: Values, *, margin: float, photographs: int, level: float, draws: int, seed: int) -> float:
    """How often the test passes, for photographs resampled from those whose differences are given.

    Parameters
    ----------
    differences : ndarray
        (P,), one per photograph. Centre them for the power at no difference; set their mean to the margin for the
        error.
    margin : float
    photographs : int
        How many are drawn each time.
    level : float
    draws, seed : int
    """
    chosen = generator("noninferiority", seed, photographs).integers(0, len(differences), (draws, photographs))
    return float((noninferiority_p(differences[chosen] - margin) < level).mean())
