"""How many photographs and samples show that two downscalers differ? What a score's variance is made of.

A score's rows follow a nested random-effects model: the value of sample k of image j of photograph i is
m + a_i + t_ij + e_ijk, with variance B between photographs, T between the images (tiles) of a photograph and W between
samples of an image. The mean over P photographs with M images each and K samples then has the variance
(B + (T + W / K) / M) / P. The same holds for the difference of two downscalers, sample by sample: the latents are
common, so that all parts of it are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ida_rd.aggregate.statistics import Photographs, by_photograph
from ida_rd.core.errors import UserError

__all__ = ["Components", "components", "paired_rows", "photographs_needed"]

MOST_PHOTOGRAPHS = 10**6


@dataclass(frozen=True)
class Components:
    """Parts of the variance of a score, or of a difference of two.

    Attributes
    ----------
    mean : float
    between : float
        Variance between photographs; 0 where what is below explains the spread of their means.
    tiles : float or None
        Variance between the images of a photograph; None where no photograph has two.
    within : float or None
        Variance between the samples of an image; None where no image has two.
    samples : float
        Samples per image, K (harmonic mean, if some are lost).
    images_each : float
        Images per photograph, M (harmonic mean).
    photographs, images : int
    """

    mean: float
    between: float
    tiles: float | None
    within: float | None
    samples: float
    images_each: float
    photographs: int
    images: int

    def share_of_samples(self) -> float | None:
        """Part of the variance of an image mean that more samples would remove."""
        if self.within is None:
            return None
        total = self.between + (self.tiles or 0.0) + self.within / self.samples
        return self.within / self.samples / total if total > 0 else 0.0

    def variance_of_photograph_mean(self, samples: int) -> float:
        """Variance over photographs of the mean of their images, with K samples each."""
        if self.within is None:
            if samples != self.samples:
                raise UserError("one sample per image does not show how samples differ: run with samples: 2 or more")
            sampled = 0.0
        else:
            sampled = self.within / samples
        return self.between + ((self.tiles or 0.0) + sampled) / self.images_each

    def intraclass_correlation(self) -> float | None:
        """How alike two images of a photograph are: the share of the variance of image means between photographs."""
        if self.tiles is None:
            return None
        total = self.between + self.tiles + (self.within or 0.0) / self.samples
        return self.between / total if total > 0 else 0.0

    def design_effect(self) -> float | None:
        """By how much the variance is larger than if all images were of different photographs: 1 + (M - 1) ICC."""
        correlation = self.intraclass_correlation()
        return None if correlation is None else 1 + (self.images_each - 1) * correlation


def components(values: pd.DataFrame, column: str, photographs: Photographs | None = None) -> Components:
    """Estimate the parts by the method of moments (nested analysis of variance on means).

    Parameters
    ----------
    values : DataFrame
        Columns image_id and `column`, one row per sample; missing values are left out.
    column : str
    photographs : mapping, optional
        Image id to photograph; without it, every image is one.

    Raises
    ------
    UserError
        Fewer than two photographs.
    """
    groups = values.dropna(subset=[column]).groupby("image_id", sort=True)[column]
    means, sizes = groups.mean(), groups.size()
    of = pd.Series([photographs[str(i)] if photographs else str(i) for i in means.index], index=means.index, dtype=str)
    whole = by_photograph(means, photographs)
    if len(whole) < 2:
        raise UserError(f"{column}: {len(whole)} photographs have a value; at least two are needed")
    samples = float(len(sizes) / (1 / sizes).sum())
    counts = means.groupby(of).size()
    each = float(len(counts) / (1 / counts).sum())
    spread = groups.var(ddof=1).dropna()
    within = float(spread.mean()) if len(spread) else None
    # Of the image means within their photographs; what samples add to it is taken off.
    apart = float((means - means.groupby(of).transform("mean")).pow(2).sum())
    freedom = len(means) - len(whole)
    tiles = max(apart / freedom - (within or 0.0) / samples, 0.0) if freedom else None
    below = ((tiles or 0.0) + (within or 0.0) / samples) / each
    between = max(float(whole.var(ddof=1)) - below, 0.0)
    return Components(float(whole.mean()), between, tiles, within, samples, each, len(whole), len(means))


def paired_rows(a: pd.DataFrame, b: pd.DataFrame, distortion: str) -> pd.DataFrame:
    """Difference b minus a of every sample that both have: columns image_id, sample and `distortion`."""
    keys = ["image_id", "sample"]
    both = a[a.finite].merge(b[b.finite], on=keys, suffixes=("_a", "_b"))
    return both[keys].assign(**{distortion: both[f"{distortion}_b"] - both[f"{distortion}_a"]})


def photographs_needed(difference: Components, samples: int, *, power: float, level: float) -> int | None:
    """Return the least number of photographs for which a paired t-test sees a difference as large as the pilot's.

    Parameters
    ----------
    difference : Components
        Of the pilot run's paired differences; each photograph has as many images as there.
    samples : int
        K, samples per image.
    power : float
        Probability that the test sees it, if it is as large as in the pilot.
    level : float
        Two-sided level of the test. (The sign-flip test of `ida_rd.aggregate.statistics` has nearly the same power.)

    Returns
    -------
    int or None
        None if a million photographs are not enough.
    """
    variance = difference.variance_of_photograph_mean(samples)
    if variance == 0:
        return 2 if difference.mean != 0 else None
    effect = abs(difference.mean) / float(np.sqrt(variance))

    def reached(count: int) -> bool:
        limit = stats.t.isf(level / 2, count - 1)
        return float(stats.nct.sf(limit, count - 1, effect * np.sqrt(count))) >= power

    if effect < 1e-3 or not reached(MOST_PHOTOGRAPHS):
        return None
    low, high = 1, 2
    while not reached(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
