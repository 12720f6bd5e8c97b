"""Rank histograms: where the original stands among its samples.

Of K samples and the original, which are exchangeable if the samples are exact, the original's rank is uniform on
0 ... K: Talagrand's diagram, Hamill [1]_; for posteriors, simulation-based calibration, Talts et al. [2]_, theorem 1.
It holds for every function of image and LR image: a pixel, a coefficient, a projection of features. With u uniform on
[0, 1), ``(rank + u) / (K + 1)`` is the probability integral transform (PIT), uniform on [0, 1).

Samples that are too alike leave the original outside more often (the histogram is a U), too wide ones less often (a
hill), shifted ones to one side (a slope). Jolliffe and Primo [3]_ split the departure from uniform into orthogonal
contrasts of which the first are these; the polynomials of degrees 1 to `DEGREES` here. Their chi-squared test takes
cases for independent. Pixels are not: here an image has one histogram, and photographs are resampled.

References
----------
.. [1] Hamill, "Interpretation of rank histograms for verifying ensemble forecasts", Mon. Weather Rev. 129, 2001.
.. [2] Talts, Betancourt, Simpson, Vehtari, Gelman, "Validating Bayesian inference algorithms with simulation-based
   calibration", arXiv 1804.06788, 2018.
.. [3] Jolliffe, Primo, "Evaluating rank histograms using decompositions of the chi-square test statistic", Mon. Weather
   Rev. 136, 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ida_rd.calibration.resampling import Settings, joint_p

__all__ = [
    "DEGREES",
    "central_coverage",
    "contrasts",
    "coverage",
    "mean_rank",
    "outside",
    "rank_histogram",
    "uniformity",
]

Array = NDArray[np.float64]
DEGREES = 4


def rank_histogram(original: NDArray, samples: NDArray) -> Array:
    """Share of the values of each rank, (K + 1,).

    Where values are equal, as levels of 8 bits often are, all ranks that a draw could give get the same share: the
    expectation of ties broken at random.

    Parameters
    ----------
    original : ndarray
        (...), at least one value.
    samples : ndarray
        (K, ...).
    """
    count = len(samples)
    below = (samples < original).sum(axis=0).ravel()
    tied = (samples == original).sum(axis=0).ravel()
    pairs = np.bincount(below * (count + 1) + tied, minlength=(count + 1) ** 2).reshape(count + 1, count + 1)
    found = np.zeros(count + 1)
    for first, ties in zip(*np.nonzero(pairs), strict=True):
        found[first : first + ties + 1] += pairs[first, ties] / (ties + 1)
    return found / below.size


def contrasts(count: int) -> Array:
    """Orthonormal polynomials on ranks 0 ... `count`, of degrees 1 to `DEGREES` at most, (count + 1, degrees)."""
    degrees = min(DEGREES, count)
    powers = np.vander(np.linspace(-1, 1, count + 1), degrees + 1, increasing=True)
    return np.linalg.qr(powers)[0][:, 1:]


def uniformity(histograms: Array, settings: Settings) -> float:
    """Test whether ranks are uniform: p, from one histogram per photograph (n, K + 1)."""
    return joint_p(histograms @ contrasts(histograms.shape[1] - 1), settings)


def outside(histograms: Array) -> Array:
    """Share of originals outside all of their samples, (...); of exact samples ``2 / (K + 1)``."""
    return histograms[..., 0] + histograms[..., -1]


def mean_rank(histograms: Array) -> Array:
    """Mean of the PIT, (...); of exact samples 1/2, below it if samples are too large (too bright)."""
    return histograms @ ((np.arange(histograms.shape[-1]) + 0.5) / histograms.shape[-1])


def coverage(histograms: Array, level: float) -> Array:
    """Share of the PIT below `level`, (...); of exact samples `level`.

    Within a rank the PIT is uniform: the cumulative histogram, with straight lines between its steps.
    """
    bins = histograms.shape[-1]
    filled = np.clip(level * bins - np.arange(bins), 0, 1)
    return histograms @ filled


def central_coverage(histograms: Array, level: float) -> Array:
    """Share of the PIT within `level` / 2 of 1/2, (...): how often central regions hold the original."""
    return coverage(histograms, (1 + level) / 2) - coverage(histograms, (1 - level) / 2)
